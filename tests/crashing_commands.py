"""Kills the commands that write at every file-system step, and looks at what is left each time.

    python -m tests.crashing_commands               every step, at every moment of it: minutes
    python -m tests.crashing_commands --sample 10   about ten points of each command, spread over its steps
    python -m tests.crashing_commands --disk        the disk full or broken there instead

What takes long to load is loaded once; each case is a process that goes on from there.
"""

import argparse
import copyreg
import fcntl
import gc
import importlib
import json
import os
import pickle
import random
import shlex
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from index import AnnIndex
from retrieval import building, bundles, publishing, storage
from retrieval.cli import main
from retrieval.durable import UNFINISHED
from retrieval.page import rendering
from retrieval.settings import BuildSettings, NeuralMFSettings, TowerSettings
from tests.crashing import REFUSED, Point, Step, Steps
from tests.states import bundle_names, state_of

# What the commands would load, each time, before they write.
LOADED = (
    *("safetensors.numpy", "retrieval.changed_bundles", "retrieval.datasets", "retrieval.gate"),
    *("retrieval.new_items", "retrieval.users", "retrieval.cli.build_index", "retrieval.cli.bundles"),
    *("retrieval.cli.group", "retrieval.cli.index", "retrieval.cli.report_text"),
)
NEW_ITEMS = "movieId,title,genres\n5000,Late (1999),Comedy|Drama\n"
BUILD = "build-index --dataset sample --threads 1"
SEED = 6


@dataclass(frozen=True)
class Scenario:
    """A command that writes, and what it meets.

    Attributes:
        words: of its line; {oldest} is the name of a bundle.
        template: the artifacts before, see `make_templates`.
        code: the command's exit code.
        changes: whether another bundle answers afterwards.
        builds: whether it writes a bundle, whose name is another each time.
    """

    name: str
    words: str
    template: str
    code: int = 0
    changes: bool = True
    builds: bool = True


SCENARIOS = (
    Scenario("the first build", BUILD, "none"),
    Scenario("the next build", BUILD, "one"),
    Scenario("a build held back", f"{BUILD} --max-regression 0.01", "better", code=7, changes=False),
    Scenario("index add", "index add --items new.csv", "one"),
    Scenario("bundles promote", "bundles promote {oldest}", "four", builds=False),
    Scenario("bundles rollback", "bundles rollback", "four", builds=False),
    Scenario("bundles prune", "bundles prune --keep 1", "four", changes=False, builds=False),
)


def pickled(build: building.Build) -> bytes:
    """A build, to be handed to processes that are to start with one."""
    copyreg.pickle(
        AnnIndex, lambda ann: (_ann, (ann.to_bytes(), ann.factory, ann.settings, ann.size, ann.dimension))
    )
    return pickle.dumps(build)


def _ann(data: Any, factory: str, settings: Any, size: int, dimension: int) -> AnnIndex:
    return AnnIndex.from_bytes(data, factory=factory, settings=settings, size=size, dimension=dimension)


def make_build(path: Path) -> None:
    """The sample, built in a moment."""
    from retrieval.datasets import load_dataset

    table = load_dataset("sample", Path("unused"), print)
    settings = BuildSettings(
        towers=TowerSettings(dimension=8, max_epochs=1),
        neural_mf=NeuralMFSettings(dimension=4, max_epochs=1),
        index="IVF8,Flat",
        candidates=20,
        threads=1,
        device="cpu",
    )
    build = building.build(table.interactions, items=table.items, settings=settings, name=table.name)
    path.write_bytes(pickled(build))


class Clock(datetime):
    """A minute later each time, so that bundles are named in the order they were written."""

    time = datetime(2026, 1, 1, tzinfo=UTC)

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        cls.time += timedelta(minutes=1)
        return cls.time


def make_templates(folder: Path, build: building.Build) -> None:
    """Artifacts as the commands meet them: none, one bundle, one better than the build, and four bundles.

    The one bundle serves what was fitted on train only, so that it answers otherwise than the build.
    """
    other = replace(build, served=build.evaluated)
    better = replace(other, validation_ndcg=build.validation_ndcg + 0.3)
    publishing.datetime = Clock  # type: ignore[attr-defined]
    for name, versions in {"one": [other], "better": [better], "four": [other, build, other, build]}.items():
        for version in versions:
            with publishing.new_bundle(folder / name / "artifacts") as writer:
                storage.write_build(writer, version)
    (folder / "none").mkdir()


class Runner:
    """Runs scenarios below a folder.

    Args:
        folder: empty, and this runner's own.
        build: a pickled build, which `build-index` is given in place of one of its own: what comes before
            the first file is written takes seconds, and writes nothing.
    """

    def __init__(self, folder: Path, build: bytes) -> None:
        self._folder, self._build = folder, build
        self._case = folder / "case"
        rendering.render_page = lambda *_: "the page, which takes seconds to draw"  # type: ignore[assignment]
        self._in_a_process(lambda: make_templates(folder, pickle.loads(build)))
        for name in LOADED:
            importlib.import_module(name)
        gc.freeze()  # or each process copies what its collector looks at

    def sweep(self, scenario: Scenario, sample: int | None, disk: bool, say: Any = print) -> list[str]:
        """Kill a command at every point, or at some; returns what was wrong, point by point.

        Args:
            disk: do not kill it, but let its disk fail.
        """
        artifacts = self._artifacts(scenario)
        old = state_of(artifacts, not scenario.builds)
        code = self._command(scenario)
        taken = [Step(*each) for each in json.loads((self._folder / "steps.json").read_text())]
        new, names = state_of(artifacts, not scenario.builds), bundle_names(artifacts)
        again_code = self._command(scenario)
        again = state_of(artifacts, not scenario.builds)
        assert code == again_code == scenario.code, (code, self._said())
        assert (old != new) == scenario.changes
        points = [
            Point(number, moment)
            for number, step in enumerate(taken)
            for moment in (step.refusals if disk else step.moments)
        ]
        if sample is not None:
            points = spread(points, taken, sample)
        wrong, turned = [], False
        for point in points:
            try:
                state = self._one(scenario, point, {old: new, new: again}, names)
                assert not (turned and state == old), "it went back to the old bundle"
                turned = turned or (state == new != old)
            except Exception as error:
                step = taken[point.step]
                told = str(error).splitlines()[:1] or [repr(error)]
                wrong.append(f"{scenario.name}: {point.moment}: {step.kind} {step.path}: {told[0]}")
        kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(step.kind for step in taken).items())
        outcome = f"{len(wrong):,} went wrong" if wrong else "all survived"
        at = len({point.step for point in points})
        what = "failures" if disk else "kills"
        say(f"{scenario.name}: {len(points):,} {what} at {at:,} of {len(taken):,} steps ({kinds}), {outcome}")
        return wrong

    def _one(self, scenario: Scenario, point: Point, nexts: dict[str, str], names: list[str]) -> str:
        """Let a command fail at a point and look at what is left; returns what answered then.

        Args:
            nexts: what answers after the next command, by what may answer before it.
        """
        artifacts, named = self._artifacts(scenario), not scenario.builds
        code = self._command(scenario, point)
        if point.moment in REFUSED:
            told = (self._folder / "said").read_text()
            one_line = told.startswith("error: ") and told.count("\n") == 1
            assert code == 6 and one_line, f"it ended with {code}: {self._said()}"
            assert not list(artifacts.rglob(UNFINISHED + "*")), "there are leftovers"
        else:
            assert code == -9, f"it was to be killed, but ended with {code}: {self._said()}"
        state = state_of(artifacts, named)
        assert state in nexts, "neither the old bundle nor the new one answers"
        for name in bundle_names(artifacts):
            assert not bundles.problems(artifacts, name), "a bundle is not whole"
        code = self._command(scenario)
        assert code == scenario.code, f"the next command ended with {code}: {self._said()}"
        assert state_of(artifacts, named) == nexts[state], "the next command left another bundle current"
        assert not list(artifacts.rglob(UNFINISHED + "*")), "there are leftovers"
        assert scenario.builds or bundle_names(artifacts) == names, "other bundles are left"
        with (artifacts / publishing.LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return state

    def _artifacts(self, scenario: Scenario) -> Path:
        shutil.rmtree(self._case, ignore_errors=True)
        shutil.copytree(self._folder / scenario.template, self._case)
        (self._folder / "new.csv").write_text(NEW_ITEMS)
        return self._case / "artifacts"

    def _command(self, scenario: Scenario, point: Point | None = None) -> int:
        """The exit code of the command in a process of its own; minus the signal that ended it."""
        steps = Steps(self._case, point)
        artifacts = self._case / "artifacts"
        oldest = bundle_names(artifacts)[:1]
        words = [word.format(oldest=oldest and oldest[0]) for word in shlex.split(scenario.words)]

        def work() -> None:
            os.chdir(self._folder)
            building.build = lambda *_, **__: pickle.loads(self._build)  # type: ignore[assignment]
            sys.argv = ["retrieval", *words, "--artifacts", str(artifacts)]
            try:
                steps.watch()
                main()
            finally:
                taken = [(step.kind, step.path) for step in steps.taken]
                (self._folder / "steps.json").write_text(json.dumps(taken))

        return self._in_a_process(work)

    def _in_a_process(self, work: Any) -> int:
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        code: Any = 1
        try:
            said = os.open(self._folder / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(said, 1)
            os.dup2(said, 2)
            work()
            code = 0
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def _said(self) -> str:
        """The last line of the last command."""
        lines = (self._folder / "said").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "(nothing)"


def spread(points: list[Point], taken: list[Step], number: int) -> list[Point]:
    """One point of each of that many even stretches, and all in which something gets its last name."""
    chance = random.Random(SEED)
    edges = [len(points) * part // number for part in range(number + 1)]
    drawn = {chance.choice(points[low:high]) for low, high in zip(edges, edges[1:], strict=False) if low < high}
    drawn |= {point for point in points if taken[point.step].kind in ("rename", "replace")}
    return sorted(drawn, key=points.index)


def run(arguments: list[str]) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.crashing_commands", allow_abbrev=False)
    parser.add_argument("--sample", type=int, help="about how many points of each command; all unless given")
    parser.add_argument("--disk", action="store_true", help="let the disk fail instead of killing")
    parser.add_argument("--build", type=Path, help="a pickled build")
    parser.add_argument("--only", choices=[scenario.name for scenario in SCENARIOS])
    given = parser.parse_args(arguments)
    counts: list[str] = []

    def say(line: str) -> None:
        counts.append(line)
        print(line, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        build = given.build or Path(folder, "build.pickle")
        if not build.exists():
            child = os.fork()
            if not child:
                make_build(build)
                os._exit(0)
            os.waitpid(child, 0)
        runner = Runner(Path(folder), build.read_bytes())
        chosen = [scenario for scenario in SCENARIOS if given.only in (None, scenario.name)]
        wrong = [line for scenario in chosen for line in runner.sweep(scenario, given.sample, given.disk, say)]
    kills, steps = (
        sum(int(line.split(": ")[1].split()[at].replace(",", "")) for line in counts) for at in (0, 3)
    )
    outcome = f"{len(wrong):,} went wrong" if wrong else "all survived"
    print(f"{kills:,} {'failures' if given.disk else 'kills'} at {steps:,} steps, {outcome}")
    print(*wrong[:20], sep="\n", end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
