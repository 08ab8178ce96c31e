"""One index on trial: built, set so that it meets a goal with the least effort, and timed beside others."""

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
# Two standard errors: what meets the target by luck alone fails on other users.
_MARGIN = 2.0
_LEAST_NOISE = 0.05  # medians nearer to each other than this are the same
# Codes that take as long as one vector that is scored again; measured: 0.2 to 8, from 3,000 to 200,000 items.
_CODES_A_REFINEMENT = 4.0


@dataclass(frozen=True)
class Goal:
    """What an index must do, and what it may take.

    Attributes:
        recall: least share of the exact candidates it must find; None: any.
        memory_limit: most bytes it may take; None: any.
        minutes: that building and measuring may take; what is predicted to take longer is left out.
        accept: a further condition, asked of an index as it is set.

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
    """An index as it is set, and what is known of it before it is timed."""

    index: AnnIndex | ExactIndex
    kind: IndexKind
    recalls: NDArray[np.float64]
    meets: bool
    n_bytes: int
    build_seconds: float


def build(kind: IndexKind, vectors: NDArray[np.float32], seed: int, threads: int) -> tuple[AnnIndex, float]:
    """The index of a kind, and the seconds that it took."""
    start = perf_counter()
    index = AnnIndex.build(vectors, kind.factory, seed=seed, threads=threads)
    return index, perf_counter() - start


def exact_trial(workload: Workload, goal: Goal) -> Trial:
    """Exact search, which is always there to be chosen."""
    kind = IndexKind(EXACT, "exact", EXACT)
    n_bytes = workload.exact.n_bytes
    return Trial(workload.exact, kind, np.ones(len(workload)), goal.fits(n_bytes), n_bytes, 0.0)


def first_meeting(
    built: tuple[AnnIndex, float], kind: IndexKind, workload: Workload, goal: Goal
) -> list[Trial]:
    """On each line of an index's ladder the setting that looks at the least and meets the goal.

    Where a line has none, the one that looks at the most stands for it.
    """
    index, seconds = built
    n_bytes = index.n_bytes

    def trial(settings: SearchSettings) -> Trial:
        at = index.with_settings(settings)
        recalls = workload.recalls(at)
        # Less what it may owe to luck.
        sure = float(recalls.mean()) - _MARGIN * standard_error(recalls)
        enough = goal.recall is None or sure >= goal.recall
        meets = goal.fits(n_bytes) and enough and (goal.accept is None or goal.accept(at))
        return Trial(at, kind, recalls, meets, n_bytes, seconds)

    trials, reach = [], None
    for line in ladder(index):
        # A line that refines more needs no more lists than the one before it.
        found = _first(line if reach is None else line[:reach], trial)
        trials.append(found)
        if found.meets:
            place = 1 + next(i for i, each in enumerate(line) if _same(each, found.index))
            if place == reach:  # more refinement gains nothing any more
                break
            reach = place
    return trials


def _same(settings: SearchSettings, index: AnnIndex | ExactIndex) -> bool:
    return isinstance(index, AnnIndex) and settings == index.settings


def _first(line: Sequence[SearchSettings], trial: Callable[[SearchSettings], Trial]) -> Trial:
    """The first of a line that meets, by bisection, as what looks at more finds more; else the last."""
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
    """About what a search for k takes, in codes looked at: counted, so that it is the same every time."""
    index = trial.index
    if not isinstance(index, AnnIndex):
        return float(index.size)
    nprobe, k_factor = index.settings.nprobe, index.settings.k_factor
    scanned = index.size if index.nlist is None or nprobe is None else index.size * nprobe / index.nlist
    return scanned + _CODES_A_REFINEMENT * k * (k_factor or 0.0)


def timed(
    trials: Sequence[Trial], workload: Workload, efforts: Sequence[float] | None = None
) -> tuple[list[Trial], list[OperatingPoint]]:
    """Time the trials, but for those of a kind slow at first sight: who is left, and what each costs.

    Args:
        efforts: of each trial; where they are given, they say what is slow in place of the clock.
    """
    some = workload.take(evenly_spread(len(workload), TIMED))
    with faiss_threads(1):
        if efforts is None:
            glance = np.median(some.seconds([trial.index for trial in trials], 1), axis=(1, 2))
        else:
            glance = np.asarray(efforts)
        finalists = [trials[i] for i in _finalists(trials, glance)]
        milliseconds = 1e3 * some.seconds([trial.index for trial in finalists], _ROUNDS)
    return finalists, [point(trial, times) for trial, times in zip(finalists, milliseconds, strict=True)]


def _finalists(trials: Sequence[Trial], seconds: NDArray[np.float64]) -> list[int]:
    """The fastest few of each kind that meet the goal, or its one of the highest recall."""
    kept: list[int] = []
    for kind in dict.fromkeys(trial.kind for trial in trials):
        mine = [i for i, trial in enumerate(trials) if trial.kind == kind]
        meeting = sorted((i for i in mine if trials[i].meets), key=lambda i: seconds[i])[:_A_KIND]
        kept += meeting or [max(mine, key=lambda i: (trials[i].recalls.mean(), -seconds[i]))]
    return sorted(kept)


def point(trial: Trial, milliseconds: NDArray[np.float64]) -> OperatingPoint:
    """What a trial gives and costs; its times of shape (rounds, q)."""
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
    """By what share the median of a point's times may be off: two standard errors over the rounds."""
    medians = np.median(measured.milliseconds, axis=1)
    return max(_LEAST_NOISE, 2 * standard_error(medians) / float(medians.mean()))
