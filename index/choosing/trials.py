"""Tries a kind of index: builds it, finds the least effort that meets a goal, and times it beside others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from index.base import ItemIndex
from index.choosing.kinds import EXACT, IndexKind, ladder
from index.choosing.measuring import OperatingPoint, Workload, evenly_spread, standard_error
from index.errors import InputError
from index.exact import ExactIndex
from index.faiss_index import AnnIndex, faiss_threads
from index.search_settings import SearchSettings

_ROUNDS = 5  # in which the finalists take turns
TIMED = 100  # queries a round
_A_KIND = 3  # settings of a kind that go into the final
# A setting must meet the target by two standard errors: one that meets it by luck fails on other users.
_MARGIN = 2.0
_LEAST_NOISE = 0.05  # medians nearer to each other than this share count as the same
# Codes scanned in the time that scoring one vector again takes. Measured: .2 to 8, at 3,000 to 200,000 items.
_CODES_A_REFINEMENT = 4.0


@dataclass(frozen=True)
class Goal:
    """The recall that an index must reach, and limits on memory and time.

    Attributes:
        recall: least share of the exact candidates that it must find; None: any.
        memory_limit: most bytes that it may take; None: any.
        minutes: that building and measuring may take; a kind that is predicted to take longer is left out.
        accept: a further condition on an index at its settings, such as a limit on the loss of NDCG.

    Raises:
        InputError: if a number is out of range.
    """

    recall: float | None = 0.95
    memory_limit: int | None = None
    minutes: float = 6.0
    accept: Callable[[ItemIndex], bool] | None = None

    def __post_init__(self) -> None:
        if self.recall is not None and not 0 < self.recall <= 1:
            raise InputError(f"recall target is {self.recall}; expected above 0 and at most 1, such as 0.95")
        if self.memory_limit is not None and self.memory_limit < 1:
            raise InputError(f"memory limit is {self.memory_limit} bytes; expected at least 1")
        if not 0 < self.minutes < float("inf"):
            raise InputError(f"{self.minutes} minutes; expected a positive number")

    def fits(self, n_bytes: float) -> bool:
        """Whether an index of so many bytes is small enough."""
        return self.memory_limit is None or n_bytes <= self.memory_limit


@dataclass(frozen=True, eq=False)
class Trial:
    """An index at its settings, before it is timed.

    Attributes:
        index: with the settings on trial.
        kind: of the index.
        recalls: shape (q,), float64: of each query.
        meets: whether it meets the goal.
        n_bytes: that the index takes.
        build_seconds: that building took.
    """

    index: AnnIndex | ExactIndex
    kind: IndexKind
    recalls: NDArray[np.float64]
    meets: bool
    n_bytes: int
    build_seconds: float

    @property
    def is_reference(self) -> bool:
        """Whether it is exact search in numpy, which the others are compared with."""
        return self.kind.factory == EXACT


@dataclass(frozen=True, eq=False)
class TimedTrial:
    """A trial, and its recall, cost and latency as one operating point."""

    trial: Trial
    point: OperatingPoint


def build(kind: IndexKind, vectors: NDArray[np.float32], seed: int, threads: int) -> tuple[AnnIndex, float]:
    """Build an index of this kind; return it and the seconds that it took."""
    start = perf_counter()
    index = AnnIndex.build(vectors, kind.factory, seed=seed, threads=threads)
    return index, perf_counter() - start


def exact_trial(workload: Workload, goal: Goal) -> Trial:
    """The trial of exact search, whose recall is 1 and which needs no building."""
    kind = IndexKind(EXACT, "exact", EXACT)
    n_bytes = workload.exact.n_bytes
    return Trial(workload.exact, kind, np.ones(len(workload)), goal.fits(n_bytes), n_bytes, 0.0)


def first_meeting(
    built: tuple[AnnIndex, float], kind: IndexKind, workload: Workload, goal: Goal
) -> list[Trial]:
    """On each line of an index's ladder, find the setting with the least effort that meets the goal.

    A line without one gives its setting with the most effort.
    """
    index, seconds = built
    n_bytes = index.n_bytes

    def trial(settings: SearchSettings) -> Trial:
        at = index.with_settings(settings)
        recalls = workload.recalls(at)
        sure = float(recalls.mean()) - _MARGIN * standard_error(recalls)
        enough = goal.recall is None or sure >= goal.recall
        meets = goal.fits(n_bytes) and enough and (goal.accept is None or goal.accept(at))
        return Trial(at, kind, recalls, meets, n_bytes, seconds)

    trials, reach = [], None
    for line in ladder(index):
        # A line with a larger k_factor needs no larger nprobe than the line before it.
        found = _first(line if reach is None else line[:reach], trial)
        trials.append(found)
        if found.meets:
            place = 1 + next(i for i, each in enumerate(line) if _same(each, found.index))
            if place == reach:  # a larger k_factor no longer saves probes
                break
            reach = place
    return trials


def _same(settings: SearchSettings, index: AnnIndex | ExactIndex) -> bool:
    return isinstance(index, AnnIndex) and settings == index.settings


def _first(line: Sequence[SearchSettings], trial: Callable[[SearchSettings], Trial]) -> Trial:
    """The first setting of a line that meets the goal, else the last.

    By bisection, because a setting with more effort finds more.
    """
    low, high, best = 0, len(line) - 1, trial(line[-1])
    if not best.meets:
        return best
    while low < high:
        middle = (low + high) // 2
        tried = trial(line[middle])
        if tried.meets:
            high, best = middle, tried
        else:
            low = middle + 1
    return best


def effort(trial: Trial, k: int) -> float:
    """About how many codes a search for k scans.

    Counted and not timed, so that it is the same number every time.
    """
    index = trial.index
    if not isinstance(index, AnnIndex):
        return float(index.size)
    nprobe, k_factor = index.settings.nprobe, index.settings.k_factor
    scanned = index.size if index.nlist is None or nprobe is None else index.size * nprobe / index.nlist
    return scanned + _CODES_A_REFINEMENT * k * (k_factor or 0.0)


def time_trials(
    trials: Sequence[Trial], workload: Workload, costs: Sequence[float] | None = None
) -> list[TimedTrial]:
    """Time the finalists of each kind, one query at a time on one thread; the order of `trials` is kept.

    Args:
        trials: of one kind or of several.
        workload: `TIMED` of its queries are asked, spread evenly.
        costs: of each trial, such as its `effort`, by which the finalists are picked. None: by the median of
            one round of searches, which goes by the clock and so need not repeat.
    """
    some = workload.take(evenly_spread(len(workload), TIMED))
    with faiss_threads(1):
        if costs is None:
            glance = np.median(some.seconds([trial.index for trial in trials], 1), axis=(1, 2))
        else:
            glance = np.asarray(costs)
        finalists = [trials[i] for i in _finalists(trials, glance)]
        # shape (finalists, rounds, q)
        milliseconds = 1e3 * some.seconds([trial.index for trial in finalists], _ROUNDS)
    return [
        TimedTrial(trial, operating_point(trial, times))
        for trial, times in zip(finalists, milliseconds, strict=True)
    ]


def _finalists(trials: Sequence[Trial], costs: NDArray[np.float64]) -> list[int]:
    """The cheapest `_A_KIND` of each kind that meet the goal, or its one with the highest recall."""
    kept: list[int] = []
    for kind in dict.fromkeys(trial.kind for trial in trials):
        mine = [i for i, trial in enumerate(trials) if trial.kind == kind]
        meeting = sorted((i for i in mine if trials[i].meets), key=lambda i: costs[i])[:_A_KIND]
        kept += meeting or [max(mine, key=lambda i: (trials[i].recalls.mean(), -costs[i]))]
    return sorted(kept)


def operating_point(trial: Trial, milliseconds: NDArray[np.float64]) -> OperatingPoint:
    """Recall, size and latency of a trial, whose searches took these times: shape (rounds, q)."""
    p50, p99 = np.percentile(milliseconds, [50, 99])
    settings = trial.index.settings if isinstance(trial.index, AnnIndex) else SearchSettings()
    return OperatingPoint(
        trial.kind.factory,
        settings,
        float(trial.recalls.mean()),
        standard_error(trial.recalls),
        float(p50),
        float(p99),
        trial.n_bytes / trial.index.size,
        trial.build_seconds,
        trial.kind.is_exact,
        trial.kind.family,
        trial.recalls,
        milliseconds,
    )


def noise(measured: OperatingPoint) -> float:
    """By what share a point's median may be off: two standard errors over the rounds, at least 5 %."""
    medians = np.median(measured.milliseconds, axis=1)
    return max(_LEAST_NOISE, 2 * standard_error(medians) / float(medians.mean()))
