"""Choose an index by measurement: on the catalogue's own vectors, with real queries, within limits.

No recipe is right for all vectors: what wins on one catalogue loses on the next. So the kinds worth a try
(`kinds`) are built and asked, large catalogues after rounds on samples that leave only the promising ones
(successive halving, Jamieson and Talwalkar, AISTATS 2016), and the fastest setting that meets the goal is
proved on queries that it was not chosen by.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from index.base import check_queries, check_vectors
from index.choosing.kinds import EXACT, IndexKind, candidate_kinds, ladder
from index.choosing.measuring import OperatingPoint, Workload, evenly_spread, standard_error
from index.choosing.shortlist import narrow
from index.choosing.trials import (
    TIMED,
    Goal,
    Trial,
    build,
    effort,
    exact_trial,
    first_meeting,
    noise,
    point,
    timed,
)
from index.errors import InputError
from index.exact import ExactIndex
from index.faiss_index import AnnIndex, faiss_threads
from index.item_lists import ItemLists

_Say = Callable[[str], None]


@dataclass(frozen=True)
class HeldOut:
    """Recall of the chosen index on queries that did not choose it; `error` is the mean's standard error."""

    recall: float
    error: float
    queries: int


@dataclass(frozen=True, eq=False)
class Tuned:
    """What was chosen, and all that was measured.

    Attributes:
        index: what to serve: the fastest that meets the goal.
        approximate: the fastest of those whose answers are not exact search's by construction; `index`
            itself, unless exact search is faster.
        chosen, chosen_approximate: what they cost and give.
        points: all settings that were timed on the whole catalogue.
        held_out: of `index`.
        seconds: that everything took.
    """

    index: AnnIndex | ExactIndex
    approximate: AnnIndex
    chosen: OperatingPoint
    chosen_approximate: OperatingPoint
    points: tuple[OperatingPoint, ...]
    held_out: HeldOut
    seconds: float


class NothingMeetsError(ValueError):
    """No index meets the goal within its limits; `best` is the one with the highest recall that fits."""

    def __init__(self, message: str, best: OperatingPoint | None) -> None:
        super().__init__(message)
        self.best = best


def tune(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    goal: Goal,
    *,
    exclude: ItemLists | None = None,
    kinds: Sequence[IndexKind] | None = None,
    seed: int,
    threads: int,
    say: _Say = lambda message: None,
) -> Tuned:
    """Find the fastest index that meets the goal.

    Args:
        vectors: shape (n, d), float32: the catalogue.
        queries: shape (q, d), float32, at least two: a sample of what will be asked. Half of them, drawn by
            the seed, chooses; the others prove.
        k: number of candidates.
        exclude: a list of item rows for each query, which are not to be returned.
        kinds: what to choose from; None: `candidate_kinds` and exact search. Where they are named, one of
            them is taken even if it misses the goal, and exact search is a reference only. One alone is
            set by recall and by `effort`, not by the clock, so that it repeats.
        threads: of FAISS while building; searches are timed one query at a time on one.
        say: is told of what was left out, and why.

    Raises:
        NothingMeetsError: if no kind meets the goal within its limits.
        InputError: for vectors and queries that cannot be indexed or asked.
    """
    start = perf_counter()
    check_vectors(vectors)
    check_queries(queries, vectors.shape[1], k)
    if len(queries) < 2:
        raise InputError(f"{len(queries)} queries; expected two at least, one to choose and one to prove")
    named = kinds is not None
    exact = ExactIndex(vectors)
    whole = Workload(exact, queries, k, exclude)
    shuffled = np.random.default_rng(seed).permutation(len(queries))
    choosing, proving = (whole.take(np.sort(part)) for part in np.array_split(shuffled, 2))
    deadline = start + 60 * goal.minutes
    if kinds is None:
        possible = candidate_kinds(vectors, small=goal.memory_limit is not None)
        kinds = narrow(possible, choosing, goal, deadline, seed, threads, say)
    trials: list[Trial] = []
    for kind in kinds:
        if trials and perf_counter() > deadline:
            say(f"no time left to try {kind.factory}")
            continue
        trials += first_meeting(build(kind, vectors, seed, threads), kind, choosing, goal)
    trials.append(exact_trial(choosing, goal))
    alone = named and len(kinds) == 1
    trials, points = timed(trials, choosing, [effort(trial, k) for trial in trials] if alone else None)
    order = _by_effort(trials, k) if alone else _by_speed(points, trials)
    pool = [i for i in order if not named or trials[i].kind.factory != EXACT]
    chosen, held_out = _proved(pool, trials, points, proving, goal, named)
    others = [i for i in pool if not trials[i].kind.is_exact]
    approximate = chosen if chosen in others or named else _best_effort(others, trials, points)
    return Tuned(
        trials[chosen].index,
        _ann(trials[approximate].index),
        points[chosen],
        points[approximate],
        tuple(points),
        held_out,
        perf_counter() - start,
    )


def _by_speed(points: Sequence[OperatingPoint], trials: Sequence[Trial]) -> list[int]:
    """Entries that meet the goal, the one to take first; of those as fast the simpler, then the smaller."""
    left = [i for i, trial in enumerate(trials) if trial.meets]
    order = []
    while left:
        best = min(left, key=lambda i: points[i].p50_ms)
        within = points[best].p50_ms * (1 + noise(points[best]))
        ties = [i for i in left if points[i].p50_ms <= within]
        simplest = min(ties, key=lambda i: (trials[i].kind.simplicity, trials[i].n_bytes, points[i].p50_ms))
        order.append(simplest)
        left.remove(simplest)
    return order


def _by_effort(trials: Sequence[Trial], k: int) -> list[int]:
    """As `_by_speed`, without the clock; of the same effort the one that was tried first."""
    meeting = [i for i, trial in enumerate(trials) if trial.meets]
    return sorted(meeting, key=lambda i: effort(trials[i], k))


def _proved(
    order: Sequence[int],
    trials: Sequence[Trial],
    points: Sequence[OperatingPoint],
    proving: Workload,
    goal: Goal,
    named: bool,
) -> tuple[int, HeldOut]:
    """The first of the order that meets the recall on the held-out queries; then only safer ones follow."""
    least = 0.0
    for i in order:
        if points[i].recall < least:
            continue
        held_out = _held_out(trials[i], proving)
        if goal.recall is None or held_out.recall >= goal.recall:
            return i, held_out
        least = points[i].recall + standard_error(trials[i].recalls)
    fitting = [
        i for i, trial in enumerate(trials) if goal.fits(trial.n_bytes) and not (named and _is_oracle(trial))
    ]
    if not fitting:
        smallest = min(trials, key=lambda trial: trial.n_bytes)
        raise NothingMeetsError(
            f"no index of these {smallest.index.size:,} items fits into {goal.memory_limit:,} bytes; the "
            f"smallest, {smallest.index.name}, takes {smallest.n_bytes:,}",
            None,
        )
    best = max(fitting, key=lambda i: points[i].recall)
    if named:
        return best, _held_out(trials[best], proving)
    raise NothingMeetsError(_nothing_meets(goal, points[best]), points[best])


def _held_out(trial: Trial, proving: Workload) -> HeldOut:
    recalls = proving.recalls(trial.index)
    return HeldOut(float(recalls.mean()), standard_error(recalls), len(recalls))


def _nothing_meets(goal: Goal, best: OperatingPoint) -> str:
    wanted = [] if goal.recall is None else [f"a recall of {goal.recall:g}"]
    wanted += [] if goal.accept is None else ["the loss allowed"]
    proved = ""
    if goal.recall is not None and best.recall >= goal.recall:
        proved = " where it was chosen, but less on the queries that did not choose it"
    limit = "" if goal.memory_limit is None else f" within {goal.memory_limit:,} bytes"
    return (
        f"nothing reaches {' and '.join(wanted) or 'the goal'}{limit}; the best that fits is {best.name} "
        f"with a recall of {best.recall:.4f}{proved}"
    )


def _is_oracle(trial: Trial) -> bool:
    return trial.kind.factory == EXACT


def _best_effort(others: Sequence[int], trials: Sequence[Trial], points: Sequence[OperatingPoint]) -> int:
    """The first of the approximate ones that meet; where none does, that of the highest recall."""
    if others:
        return others[0]
    approximate = [i for i, trial in enumerate(trials) if not trial.kind.is_exact] or [
        i for i, trial in enumerate(trials) if not _is_oracle(trial)
    ]
    return max(approximate, key=lambda i: points[i].recall)


def _ann(index: AnnIndex | ExactIndex) -> AnnIndex:
    if not isinstance(index, AnnIndex):
        raise InputError(f"{index.name} is no FAISS index")
    return index


def sweep(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    *,
    exclude: ItemLists | None = None,
    kinds: Sequence[IndexKind] | None = None,
    seed: int,
    threads: int,
    say: _Say = lambda message: None,
) -> tuple[OperatingPoint, ...]:
    """Every kind over its ladder, nothing chosen; exact search first.

    Kinds are measured one after the other, so that one index at a time is in memory.

    Args:
        as `tune`'s.
    """
    workload = Workload(ExactIndex(vectors), queries, k, exclude)
    some = workload.take(evenly_spread(len(workload), TIMED))

    def measured(trials: Sequence[Trial]) -> Iterator[OperatingPoint]:
        with faiss_threads(1):
            milliseconds = 1e3 * some.seconds([trial.index for trial in trials], 2)
        return (point(trial, times) for trial, times in zip(trials, milliseconds, strict=True))

    points = [*measured([exact_trial(workload, Goal())])]
    for kind in candidate_kinds(vectors, small=True) if kinds is None else kinds:
        say(kind.factory)
        index, seconds = build(kind, vectors, seed, threads)
        n_bytes = index.n_bytes
        set_indexes = [
            index.with_settings(settings) for line in ladder(index, coarse=True) for settings in line
        ]
        points += measured(
            [Trial(at, kind, workload.recalls(at), True, n_bytes, seconds) for at in set_indexes]
        )
    return tuple(points)
