"""Faults 28 and 29: several processes in one artifacts folder at a time."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from retrieval.bundles import registry
from retrieval.bundles.current import read_current_file
from retrieval.bundles.lock import LOCK
from retrieval.bundles.writer import copy_bundle, new_bundle
from retrieval.disk import UNFINISHED
from retrieval.pipeline.save import write_build
from retrieval.recommender import Recommender
from retrieval.reporting.page import rendering
from tests.support.commands import ROOT, SCRIPTS, Bench, environment
from tests.support.states import bundle_names, state_of

if TYPE_CHECKING:
    from retrieval.pipeline.build import Build

# A reader's pause before each of a bundle's files: in the slow one's time all it reads may be pruned.
PAUSES = (0.0, 0.005, 0.02)


# 28: two that write


@pytest.fixture
def building(own_artifacts: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A build that holds the lock, for seconds."""
    words = [SCRIPTS / "build-index", "--dataset", "sample", "--artifacts", own_artifacts]
    (own_artifacts / LOCK).write_text("")
    with subprocess.Popen(words, env=environment(), stdout=subprocess.DEVNULL) as process:
        while not (own_artifacts / LOCK).read_text().endswith("\n"):
            assert process.poll() is None
            time.sleep(0.01)
        yield process
        process.kill()


def test_28_the_second_of_two_builds_is_told_of_the_first_and_a_dead_one_holds_nothing(
    building: "subprocess.Popen[bytes]", own_artifacts: Path, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, own_artifacts)
    answer = bench.answer()
    items = bench.write("new.csv", "movieId,title,genres\n5000,Late (1999),Comedy\n")
    name = bundle_names(own_artifacts)[0]
    for number, words in enumerate(
        (
            ["build-index", "--dataset", "sample"],
            ["retrieval", "index", "add", "--items", "new.csv"],
            ["retrieval", "bundles", "promote", name],
            ["retrieval", "bundles", "prune", "--keep", "1"],
        )
    ):
        given = f"`{' '.join(words[: 1 if number == 0 else 3])}` while a build is running there"
        line = bench.refused(28, *words, code=6, given=given)
        assert f"(process {building.pid})" in line and "wait for it" in line
    assert bench.answer() == answer
    assert building.poll() is None, "it ended too soon to say anything"
    building.kill()
    building.wait()
    assert list(own_artifacts.rglob(UNFINISHED + "*"))
    added = bench.run("retrieval", "index", "add", "--items", items, "--json").json
    assert added["added"] == 1 and not list(own_artifacts.rglob(UNFINISHED + "*"))


# 29: some that read, one that writes

READER = """
import json, sys, time
from collections import Counter
from pathlib import Path
from tests.support.states import state_of

artifacts, stop, pause = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
found = Counter()
state_of(artifacts)
print("ready", flush=True)
while not stop.exists():
    try:
        found[state_of(artifacts, pause=lambda: time.sleep(pause))] += 1
    except Exception as error:
        found[f"{type(error).__name__}: {error}"] += 1
print(json.dumps(found))
"""


@pytest.fixture
def two_folders(tiny_build: "Build", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two bundles that answer otherwise. Writing takes no time, so that much happens in little."""
    monkeypatch.setattr(rendering, "render_page", lambda *_: "the page")
    monkeypatch.setattr(os, "fsync", lambda _: None)
    folders = []
    for name, build in (("a", tiny_build), ("b", replace(tiny_build, served=tiny_build.evaluated))):
        with new_bundle(tmp_path / name) as writer:
            folders.append(write_build(writer, build))
    return folders[0], folders[1]


def change(artifacts: Path, folders: tuple[Path, Path], seconds: float) -> Counter[str]:
    """Publish, promote, roll back and prune, over and over, at least thrice; how often each."""
    done: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end or done["promoted"] < 3:
        for folder in (*folders, *folders):
            copy_bundle(folder, artifacts)
        registry.prune(artifacts, 2)
        registry.rollback(artifacts)
        registry.promote(artifacts, bundle_names(artifacts)[0])
        # All that a reader may just have found to be current goes at once.
        for folder in folders:
            copy_bundle(folder, artifacts)
        registry.prune(artifacts, 1)
        done.update({"published": 6, "pruned": 2, "rolled back": 1, "promoted": 1})
    return done


@pytest.mark.parametrize("seconds", [2.0, pytest.param(60.0, marks=pytest.mark.slow)])
def test_29_who_reads_while_bundles_come_and_go_gets_all_of_one(
    two_folders: tuple[Path, Path], tmp_path: Path, seconds: float
) -> None:
    artifacts, stop, states = tmp_path / "artifacts", tmp_path / "stop", set()
    for folder in two_folders:
        copy_bundle(folder, artifacts)
        states.add(state_of(artifacts))
    assert len(states) == 2
    held, gone = Recommender.load(artifacts), read_current_file(artifacts)[0]
    answers = [held.recommend([user], 5)[0].to_json() for user in (1, 42)]
    words = [sys.executable, "-c", READER, str(artifacts), str(stop)]
    readers = [
        subprocess.Popen([*words, str(pause)], stdout=subprocess.PIPE, env=environment(), cwd=ROOT, text=True)
        for pause in PAUSES
    ]
    for reader in readers:
        assert reader.stdout is not None and reader.stdout.readline() == "ready\n"
    try:
        done = change(artifacts, two_folders, seconds)
    finally:
        stop.touch()
    found: Counter[str] = Counter()
    for reader in readers:
        found.update(json.loads(reader.communicate(timeout=60)[0]))
    counts = ", ".join(f"{number:,} {what}" for what, number in done.items())
    print(f"\n{found.total():,} reads by {len(PAUSES)} processes while bundles were {counts}")
    assert set(found) == states, {what: found[what] for what in set(found) - states}
    # Who had one open before it was pruned goes on with it.
    assert gone not in bundle_names(artifacts)
    assert [held.recommend([user], 5)[0].to_json() for user in (1, 42)] == answers
