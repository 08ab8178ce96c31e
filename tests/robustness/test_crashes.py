"""Faults 23 and 24: whatever ends a command, at whatever file-system step, a whole bundle answers."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import ROOT, environment
from tests.support.crashing import Point, Steps

if TYPE_CHECKING:
    from retrieval.pipeline.build import Build

COMMANDS = 7


def crashes(build: Path, *arguments: object) -> list[str]:
    """What the program says when nothing went wrong."""
    words = [sys.executable, "-m", "tests.support.crashing_commands", "--build", build, *arguments]
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=False, cwd=ROOT, env=environment()
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def build(tiny_build: "Build", tmp_path: Path) -> Path:
    from tests.support.crash_scenarios import pickled

    path = tmp_path / "build.pickle"
    path.write_bytes(pickled(tiny_build))
    return path


def test_a_command_that_ends_at_steps_spread_over_its_work_leaves_the_old_bundle_or_the_new_one(
    build: Path,
) -> None:
    *each, total = crashes(build, "--sample", 2, "--by", "both")
    assert len(each) == COMMANDS and all(line.endswith(", all survived") for line in (*each, total))
    for kind in ("mkdir", "open", "write", "fsync", "flock", "truncate", "rename", "replace"):
        assert f" {kind}" in each[0]
    assert " unlink" in each[-1] and " rmdir" in each[-1]


@pytest.mark.slow
@pytest.mark.parametrize("by", ["kill", "disk"])
def test_a_command_that_ends_at_any_step_leaves_the_old_bundle_or_the_new_one(build: Path, by: str) -> None:
    *each, total = crashes(build, "--by", by)
    print("", *each, total, sep="\n")
    assert len(each) == COMMANDS and all(line.endswith(", all survived") for line in (*each, total))
    assert by == "disk" or all(re.search(r" at (\d+) of \1 steps ", line) for line in each)


# What the tests above stand on


def left_by(folder: Path, point: Point | None) -> tuple[int, dict[str, bytes]]:
    """What a process that writes two files, the first of them synced, leaves; and how it ended."""
    child = os.fork()
    if not child:
        Steps(folder, point).watch()
        for name in ("first", "second"):
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT)
            os.write(descriptor, b"12345678")
            if name == "first":
                os.fsync(descriptor)
            os.close(descriptor)
        os.rename(folder / "second", folder / "third")  # noqa: PTH104
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("step", "moment", "left"),
    [
        (0, "before", {}),
        (0, "after", {"first": b""}),
        (1, "half way", {"first": b"1234"}),
        (1, "after", {"first": b"12345678"}),
        (1, "power cut", {"first": b""}),
        (2, "power cut", {"first": b"12345678"}),
        (4, "half way", {"first": b"12345678", "second": b"1234"}),
        (5, "before", {"first": b"12345678", "second": b"12345678"}),
        (5, "after", {"first": b"12345678", "third": b"12345678"}),
        (5, "power cut", {"first": b"12345678", "third": b""}),
    ],
)
def test_a_process_dies_where_it_is_told(
    tmp_path: Path, step: int, moment: str, left: dict[str, bytes]
) -> None:
    assert left_by(tmp_path, Point(step, moment)) == (-9, left)


def test_a_process_that_is_not_told_lives(tmp_path: Path) -> None:
    assert left_by(tmp_path, None) == (0, {"first": b"12345678", "third": b"12345678"})
