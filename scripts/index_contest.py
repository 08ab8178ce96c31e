"""Builds all indexes of `benchmark_index.py` over the same vectors, sets them, and times them in turns."""

import functools
import gc
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import click
import numpy as np
from index_measuring import Trial, answers, choose, in_turns, recalls, walk
from index_peers import PEERS, Built, Setting, ours
from index_tables import EXACT, OURS, OURS_EXACT, OURS_SMALL, Document
from index_vectors import Vectors

from index import ExactIndex, Goal, NothingMeetsError, OperatingPoint, Workload, candidate_kinds
from index import choose as choose_index
from index.choosing.trials import build, exact_trial, first_meeting, time_trials

K = 100
SLOWER = 2.0  # times FAISS Flat: slower settings are not searched


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    recall_target: float
    queries: int
    timed: int
    rounds: int
    seed: int
    only: tuple[str, ...]


@dataclass
class Contender:
    """One line of a table before it is timed."""

    built: Built
    build_seconds: float
    chosen: Setting
    label: str
    met: bool
    trials: list[Trial]
    tuning: Document


@dataclass(frozen=True)
class Tuning:
    """What tuning took, from what, and how long: `point` is None where nothing fits."""

    point: OperatingPoint | None
    met: bool
    points: tuple[OperatingPoint, ...]
    seconds: float


class Contest:
    """All indexes over the vectors of one kind and size."""

    def __init__(self, vectors: Vectors, options: Options) -> None:
        self.vectors, self.options = vectors, options
        exact = ExactIndex(vectors.items)
        self.choosing_truth = exact.search(vectors.choosing, K).rows
        self.held_out_truth = exact.search(vectors.held_out, K).rows
        self.contenders: dict[str, Contender] = {}
        self.failed: dict[str, str] = {}
        self.slowest_ms = np.inf

    def attempt(self, built: Built, setting: Setting) -> Trial:
        """Measure recall and time of a setting on the choosing queries."""
        given, seconds = answers(built.asking(setting), self.vectors.choosing)
        found = [built.rows(answer) for answer in given]
        recall = float(recalls(found, self.choosing_truth).mean())
        return Trial(setting, recall, 1000 * float(np.median(seconds)))

    def enter(self, name: str, prepare: Callable[[], Contender]) -> None:
        """Add a contender; one that fails is reported, so that a run of an hour does not end with it."""
        gc.collect()
        try:
            entered = prepare()
        except Exception as error:
            self.failed[name] = f"failed with {type(error).__name__}: {' '.join(str(error).split())}"
            say(f"  {name} {self.failed[name]}")
            return
        self.contenders[name] = entered
        say(
            f"  {name}: {entered.label or 'nothing to set'}{'' if entered.met else ', misses the target'}, "
            f"built in {entered.build_seconds:.1f} s"
        )

    def peer(self, build: Callable[[Any, int, int], Built]) -> Contender:
        """Build another library's index and look for its setting."""
        target = self.options.recall_target
        start = time.perf_counter()
        built = build(self.vectors.items, K, self.options.seed)
        seconds = time.perf_counter() - start
        trials: list[Trial] = []
        for sweep in built.sweeps:
            meeting = [trial.p50_ms for trial in trials if trial.recall >= target]
            slowest = min([self.slowest_ms, *(1.5 * each for each in meeting)])

            def attempt(setting: Setting) -> Trial:
                return self.attempt(built, setting)

            trials += walk(attempt, sweep.knob, sweep.values, sweep.fixed, target, slowest)
        if not built.sweeps:
            trials.append(self.attempt(built, {}))
        trial, met = choose(trials, target)
        label = " ".join(f"{name}={value}" for name, value in trial.setting.items())
        return Contender(built, seconds, trial.setting, label, met, trials, {})

    def tune(self, memory_limit: int | None = None) -> Tuning:
        """What `index.choose` takes within the memory; no index is kept, as there are others to come."""
        options = self.options
        goal = Goal(recall=options.recall_target, memory_limit=memory_limit)
        start = time.perf_counter()
        point: OperatingPoint | None
        try:
            chosen = choose_index(
                self.vectors.items,
                self.vectors.choosing,
                K,
                goal,
                seed=options.seed,
                threads=1,
                say=lambda line: say(f"    {line}"),
            )
            point, points, met = chosen.chosen, chosen.points, True
        except NothingMeetsError as error:
            say(f"    {error}")
            point, met = error.best, False
            points = () if point is None else (point,)
        seconds = time.perf_counter() - start
        say(f"  tuned in {seconds:.0f} s: {'nothing fits' if point is None else point.name}")
        return Tuning(point, met, points, seconds)

    def point(self, point: OperatingPoint | None, met: bool, document: Document) -> Contender:
        """Build one of our operating points, by itself, and try settings around it for the curve."""
        if point is None:
            raise ValueError("nothing fits into the memory allowed")
        start = time.perf_counter()
        built, around = ours(self.vectors.items, point.factory, point.settings, K, self.options.seed)
        seconds = time.perf_counter() - start
        trials = []
        for setting in around:
            trials.append(self.attempt(built, setting))
            if trials[-1].p50_ms > self.slowest_ms:
                break
        chosen = asdict(point.settings)
        setting = {name: value for name, value in chosen.items() if value is not None}
        return Contender(built, seconds, setting, point.name, met, trials, document)

    def run(self) -> list[Document]:
        """Enter every index, then time all in turns; returns an entry for each."""
        limits = {OURS: None, OURS_SMALL: self.vectors.items.nbytes // 2}
        tunings = {name: self.tune(limit) for name, limit in limits.items() if self.wanted(name)}
        for peer in PEERS:
            if peer.installed and self.wanted(peer.name):
                self.enter(peer.name, functools.partial(self.peer, peer.build))
                if peer.name == EXACT and peer.name in self.contenders:
                    self.slowest_ms = SLOWER * self.contenders[peer.name].trials[0].p50_ms
        for name, each in tunings.items():
            document = {
                "tuning_seconds": each.seconds,
                "points": [point.to_json() for point in each.points],
            }
            self.enter(name, functools.partial(self.point, each.point, each.met, document))
        if self.wanted(OURS_EXACT):
            self.enter(OURS_EXACT, functools.partial(self.point, self.fastest_exact(), True, {}))
        ours_first = sorted(self.contenders, key=lambda name: not name.startswith(OURS))
        say(f"  timing {len(ours_first)} indexes in {self.options.rounds} rounds")
        asks = {name: self.contenders[name].built.asking(self.contenders[name].chosen) for name in ours_first}
        seconds = in_turns(asks, self.vectors.held_out[: self.options.timed], self.options.rounds)
        return [self.entry(name, seconds[name]) for name in ours_first]

    def fastest_exact(self) -> OperatingPoint:
        """The kind that is exact by construction and the fastest here; narrowing leaves the others out."""
        workload, goal = Workload(ExactIndex(self.vectors.items), self.vectors.choosing[:64], K), Goal(None)
        entries = [exact_trial(workload, goal)]
        for kind in candidate_kinds(self.vectors.items):
            if kind.is_exact:
                built = build(kind, self.vectors.items, self.options.seed, 1)
                entries += first_meeting(built, kind, workload, goal)
        points = [each.point for each in time_trials(entries, workload)]
        return min(points, key=lambda point: point.p50_ms)

    def wanted(self, name: str) -> bool:
        """Whether `--only` lets it in."""
        return not self.options.only or name in self.options.only

    def entry(self, name: str, seconds: np.ndarray) -> Document:
        """A line of the table, with everything it comes from."""
        each = self.contenders[name]
        given, _ = answers(each.built.asking(each.chosen), self.vectors.held_out)
        recall = recalls([each.built.rows(answer) for answer in given], self.held_out_truth)
        p50, p99 = np.percentile(1000 * seconds, [50, 99])
        return {
            "library": name,
            "setting": each.label,
            "met": each.met,
            "recall": float(recall.mean()),
            "recall_error": float(recall.std(ddof=1) / np.sqrt(len(recall))),
            "p50_ms": float(p50),
            "p99_ms": float(p99),
            "build_seconds": each.build_seconds,
            "bytes_per_item": each.built.n_bytes / len(self.vectors.items),
            "trials": [asdict(trial) for trial in each.trials],
            **each.tuning,
        }


def say(line: str) -> None:
    """Print a line of progress on stderr."""
    click.echo(line, err=True)
