"""Kills the commands that write at every file-system step, and looks at what is left each time.

    python -m tests.support.crashing_commands               every step, at every moment of it: minutes
    python -m tests.support.crashing_commands --sample 10   about ten points of each command, spread over it
    python -m tests.support.crashing_commands --by disk     the disk full or broken there instead

What takes long to load is loaded once; each case is a process that goes on from there.
"""

import argparse
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
import warnings
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from retrieval.bundles import registry
from retrieval.bundles.lock import LOCK
from retrieval.cli import main
from retrieval.disk import UNFINISHED
from retrieval.pipeline import build as build_module
from retrieval.reporting.page import rendering
from tests.support.crash_scenarios import NEW_ITEMS, SCENARIOS, Scenario, make_build, make_templates
from tests.support.crashing import REFUSED, Point, Step, Steps
from tests.support.states import bundle_names, state_of

# Python 3.12 and later warn of a fork where libraries have started threads; the tests look at stderr.
warnings.filterwarnings("ignore", "This process", DeprecationWarning)
# What the commands would load, each time, before they write.
LOADED = (
    "safetensors.numpy",
    "scipy.stats",
    "retrieval.catalogue.new_items",
    "retrieval.catalogue.publish",
    "retrieval.cli.build_index",
    "retrieval.cli.bundles",
    "retrieval.cli.commands",
    "retrieval.cli.index",
    "retrieval.data.datasets",
    "retrieval.data.users",
    "retrieval.pipeline.gate",
    "retrieval.reporting.text.report",
)
WHAT = {"kill": "kills", "disk": "failures of the disk", "both": "kills and failures of the disk"}
SEED, SHOWN = 6, 20


@dataclass(frozen=True)
class Swept:
    """What came of a command that was ended at many points.

    Attributes:
        points: how many.
        steps: in how many steps they are.
        of: how many steps the command takes, by kind.
        wrong: what was, point by point.
    """

    points: int
    steps: int
    of: Counter[str]
    wrong: list[str]

    def text(self, name: str, what: str) -> str:
        """In a line."""
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in self.of.items())
        outcome = f"{len(self.wrong):,} went wrong" if self.wrong else "all survived"
        steps = f"{self.steps:,} of {self.of.total():,} steps ({kinds})"
        return f"{name}: {self.points:,} {what} at {steps}, {outcome}"

    def __add__(self, other: "Swept") -> "Swept":
        points, steps = self.points + other.points, self.steps + other.steps
        return Swept(points, steps, self.of + other.of, self.wrong + other.wrong)


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
        if self._in_a_process(lambda: make_templates(folder, pickle.loads(build))) != 0:
            raise RuntimeError(self._said())
        for name in LOADED:
            importlib.import_module(name)
        gc.freeze()  # or each process copies what its collector looks at

    def sweep(self, scenario: Scenario, sample: int | None, by: str) -> Swept:
        """End a command at every point, or at some.

        Args:
            by: "kill", "disk", which fails, or "both".
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
            for moment in (() if by == "kill" else step.refusals) + (() if by == "disk" else step.moments)
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
        kinds = Counter(step.kind for step in taken)
        return Swept(len(points), len({point.step for point in points}), kinds, wrong)

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
            assert not registry.problems(artifacts, name), "a bundle is not whole"
        code = self._command(scenario)
        assert code == scenario.code, f"the next command ended with {code}: {self._said()}"
        assert state_of(artifacts, named) == nexts[state], "the next command left another bundle current"
        assert not list(artifacts.rglob(UNFINISHED + "*")), "there are leftovers"
        assert scenario.builds or bundle_names(artifacts) == names, "other bundles are left"
        with (artifacts / LOCK).open() as file:
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
            build_module.build = lambda *_, **__: pickle.loads(self._build)  # type: ignore[assignment]
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
    drawn = {chance.choice(points[low:high]) for low, high in pairwise(edges) if low < high}
    drawn |= {point for point in points if taken[point.step].kind in ("rename", "replace")}
    return sorted(drawn, key=points.index)


def run(arguments: list[str]) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.crashing_commands", allow_abbrev=False)
    parser.add_argument("--sample", type=int, help="about how many points of each command; all unless given")
    parser.add_argument("--by", choices=WHAT, default="kill", help="what ends the commands")
    parser.add_argument("--build", type=Path, help="a pickled build")
    parser.add_argument("--only", choices=[scenario.name for scenario in SCENARIOS])
    given = parser.parse_args(arguments)
    what, total = WHAT[given.by], Swept(0, 0, Counter(), [])
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
        for scenario in chosen:
            swept = runner.sweep(scenario, given.sample, given.by)
            print(swept.text(scenario.name, what), flush=True)
            total += swept
    print(total.text("together", what))
    for line in total.wrong[:SHOWN]:
        print(line)
    return 1 if total.wrong else 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
