"""`build-index --resume` by the real command: killed anywhere, it ends as a build that ran through."""

import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from retrieval.bundles.bundle import open_bundle
from retrieval.training.checkpoints import FOLDER, SUFFIX
from tests.support.commands import SCRIPTS, Bench, environment, record, run
from tests.support.forking import FORK_EACH

BUILD = shlex.split(
    "--dataset sample --dimension 8 --members 2 --epochs 2 --threads 1 --index IVF8,Flat --candidates 20"
)
# Of the weights and ids, whatever else is in a bundle: times it took, for one.
SAME = ("towers.safetensors", "neural_mf.safetensors", "item_vectors.npy", "user_vectors.npy", "index.faiss")
SAME += ("user_ids.npy", "item_ids.npy", "seen_items.npy")

# What takes long to load is loaded once; each case is a process of its own that goes on from there, keeps
# the state after every epoch, and kills itself at the n-th time: before that is done, half way or after.
DRIVER = """
import json, os, signal, sys
import scipy.stats, torch._dynamo
import retrieval.pipeline.build, retrieval.pipeline.save
from retrieval.training import checkpoints, loop
from retrieval import disk
from retrieval.evaluation import uncertainty
from retrieval.cli import build_index_main
from tests.support.warm_commands import leave_out_what_takes_long

torch.set_num_threads(1)
leave_out_what_takes_long(setattr)
checkpoints.SECONDS, uncertainty.RESAMPLES = 0.0, 200
arguments, folder, cases = json.loads(sys.argv[1])
die = lambda: os.kill(os.getpid(), signal.SIGKILL)

def run(name, artifacts, more, at, when):
    replace, count = disk.replace_file, 0
    def replacing(path, data):
        nonlocal count
        count += 1
        if count == at and when == "before":
            die()
        if count == at and when == "half":
            disk.write_file(path.with_name(disk.UNFINISHED + path.name), data[: len(data) // 2])
            die()
        replace(path, data)
        if count == at:
            die()
    checkpoints.replace_file = replacing
    run_epoch = loop.Loop._run_epoch
    def overflowing(self, state):
        if state.epoch + 1 == at:
            next(self.model.parameters()).data.fill_(float("inf"))
        run_epoch(self, state)
    if when == "overflow":
        loop.Loop._run_epoch = overflowing
    redirect(name)
    sys.argv = ["build-index", *arguments, "--artifacts", f"{folder}/{artifacts}", *more]
    build_index_main()
"""


@dataclass(frozen=True)
class Kill:
    """Where a build is killed, by how often it has kept its state, and what its resumption says."""

    at: int
    when: str
    note: str

    @property
    def name(self) -> str:
        return f"{self.when}-{self.at}"


# Two epochs of every fit, of two members: kept are 1, end; 1, end; NeuralMF's 1, end; and the refit's.
KILLS = [
    Kill(1, "before", "nothing to resume in {folder}: the build begins at the start"),
    Kill(4, "half", "resuming: TwoTowerBPR member 2, epoch 2"),
    Kill(8, "after", "resuming: after refit of TwoTowerBPR member 1"),
]


def weights_of(artifacts: Path) -> dict[str, str]:
    """Digests of the weights and ids of the current bundle, and how its training went."""
    manifest = open_bundle(artifacts).manifest
    files = {name: entry.sha256 for name, entry in manifest.files.items() if name.endswith(SAME)}
    assert len(files) == 2 * len(SAME)
    return files | {"training": json.dumps(manifest.document["training"])}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a build that ran through, and of each case the one killed and the one resumed."""
    folder = tmp_path_factory.mktemp("killed")
    cases: list[tuple[str, str, list[str], int, str]] = [("whole", "whole", [], 0, "")]
    for kill in KILLS:
        cases.append((f"{kill.name}-killed", kill.name, [], kill.at, kill.when))
        cases.append((f"{kill.name}-resumed", kill.name, ["--resume"], 0, ""))
    # A weight overflows in the second epoch. No learning rate does that on every processor: one that broke
    # in epoch 2 on one machine broke in epoch 1 on another.
    cases += [("broken", "broken", [], 2, "overflow"), ("again", "broken", ["--resume"], 2, "overflow")]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER + FORK_EACH, json.dumps([[*BUILD, "--json"], str(folder), cases])],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: kill.name)
def test_a_killed_build_that_is_resumed_has_the_same_weights(killed: Path, kill: Kill) -> None:
    def left(name: str) -> list[str]:
        return [(killed / f"{kill.name}-{name}.{end}").read_text() for end in ("code", "out", "err")]

    assert left("killed") == ["-9", "", ""]
    code, out, err = left("resumed")
    artifacts = killed / kill.name
    assert (code, err) == ("0", kill.note.format(folder=artifacts / FOLDER) + "\n")
    assert json.loads(out)["published"]
    assert weights_of(artifacts) == weights_of(killed / "whole")
    assert {path.name for path in artifacts.iterdir()} == {"builds", "current", ".lock"}


def ended(artifacts: Path, *more: str) -> tuple[int, str]:
    ran = run("build-index", *BUILD, "--artifacts", artifacts, *more)
    return ran.code, ran.err


@pytest.mark.slow
def test_the_scripts_themselves_killed_at_a_moment_of_their_own(killed: Path, tmp_path: Path) -> None:
    """No driver: the installed command, killed as soon as a fit is over, then resumed."""
    artifacts = tmp_path / "artifacts"
    path = artifacts / FOLDER / f"twotowerbpr-member-1{SUFFIX}"
    words = [str(SCRIPTS / "build-index"), *BUILD, "--artifacts", str(artifacts)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, env=environment()) as process:
        end = time.monotonic() + 90
        while not path.exists():
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.005)
        process.kill()
    code, err = ended(artifacts, "--resume", "--learning-rate", "0.2", "--threads", "2")
    differing = "learning_rate was 0.006, is 0.2, threads was 1, is 2"
    assert code == 2 and err.startswith(f"error: --resume: {path.parent} is of another build: {differing}; ")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    code, err = ended(artifacts, "--resume")
    assert (code, err) == (
        4,
        f"error: {path}: damaged checkpoint: its SHA-256 is another; delete it, or build without --resume\n",
    )
    path.write_bytes(whole)
    assert not (artifacts / "current").exists()
    code, err = ended(artifacts, "--resume")
    assert code == 0 and re.fullmatch(r"resuming: [^\n]*\n", err), err
    assert weights_of(artifacts) == weights_of(killed / "whole")


def test_training_that_breaks_down_publishes_nothing_and_keeps_the_last_good_state(bench: Bench) -> None:
    before = {path.name for path in (bench.artifacts / "builds").iterdir()}
    ran = bench.run("build-index", *BUILD, "--learning-rate", "1e30")
    line = record(32, "`build-index --learning-rate 1e30`", ran).refusal(3)
    assert re.search(r"training broke down in epoch 1 \(loss (inf|nan)\); lower the learning rate", line)
    assert {path.name for path in (bench.artifacts / "builds").iterdir()} == before
    assert not (bench.artifacts / FOLDER).exists()
    assert bench.answer()


def test_the_state_before_training_broke_down_stays(killed: Path) -> None:
    for name, note in (("broken", ""), ("again", "resuming: TwoTowerBPR member 1, epoch {epoch}\n")):
        code, err = ((killed / f"{name}.{end}").read_text() for end in ("code", "err"))
        found = re.search(r"error: training broke down in epoch (\d+) \(loss (inf|nan)\); ", err)
        assert code == "3" and found and int(found[1]) == 2, err
        assert err.startswith(note.format(epoch=found[1]) + "error: ")
    kept = {path.name for path in (killed / "broken" / FOLDER).iterdir()}
    assert kept == {f"twotowerbpr-member-1{SUFFIX}"}
    assert not (killed / "broken" / "current").exists()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_build_killed_at_any_moments_ends_with_the_same_weights(
    killed: Path, tmp_path: Path, seed: int
) -> None:
    chance, artifacts, more = random.Random(seed), tmp_path / "artifacts", list[str]()
    words = [str(SCRIPTS / "build-index"), *BUILD, "--json", "--artifacts", str(artifacts)]
    for _ in range(3):
        with subprocess.Popen([*words, *more], stdout=subprocess.DEVNULL, env=environment()) as process:
            try:
                process.wait(chance.uniform(2.0, 8.0))
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
        more = ["--resume"]
    assert run("build-index", *BUILD, "--artifacts", artifacts, "--resume").code == 0
    assert weights_of(artifacts) == weights_of(killed / "whole")
