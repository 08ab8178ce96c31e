"""Chooses an index by measurement: on the catalogue's own vectors, with real queries, within limits.

No recipe is right for all vectors, and the kind that wins on one catalogue loses on the next. Of the best
hundred of 200,000 items, an IVF index that probes 32 of 1,024 lists finds .995 where trained towers made the
vectors; on made-up clusters one that probes 128 of 1,788 finds .778.

`choose` builds and measures the kinds worth a try (`kinds`) and takes the fastest setting that meets the goal
and is proved on other queries. On a large catalogue, rounds on samples leave only the promising kinds
(successive halving, Jamieson and Talwalkar, AISTATS 2016). `set_to_target` sets one kind that was named.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from index.choosing.kinds import IndexKind, candidate_kinds
from index.choosing.measuring import OperatingPoint, Workload
from index.choosing.proof import HeldOut, first_proved, held_out, split_workload
from index.choosing.shortlist import narrow
from index.choosing.trials import (
    Goal,
    TimedTrial,
    Trial,
    build,
    effort,
    exact_trial,
    first_meeting,
    noise,
    time_trials,
)
from index.errors import InputError
from index.exact import ExactIndex
from index.faiss_index import AnnIndex
from index.item_lists import ItemLists

_Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class ChosenIndex:
    """The chosen index, and everything that was measured.

    Attributes:
        index: to serve with.
        approximate: the best index whose answers are not exact search's by construction; the same as `index`
            unless that is exact.
        chosen, chosen_approximate: operating points of the two.
        points: of every setting that was timed on the whole catalogue.
        held_out: recall of `index` on queries that did not choose it.
        seconds: that choosing took.
    """

    index: AnnIndex | ExactIndex
    approximate: AnnIndex
    chosen: OperatingPoint
    chosen_approximate: OperatingPoint
    points: tuple[OperatingPoint, ...]
    held_out: HeldOut
    seconds: float


class NothingMeetsError(ValueError):
    """No index meets the goal within its limits.

    Attributes:
        best: the index with the highest recall that fits into memory; None where none fits.
    """

    def __init__(self, message: str, best: OperatingPoint | None) -> None:
        super().__init__(message)
        self.best = best


def choose(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    goal: Goal,
    *,
    exclude: ItemLists | None = None,
    seed: int,
    threads: int,
    say: _Say = lambda message: None,
) -> ChosenIndex:
    """Choose the fastest of all kinds of index, exact search among them, that meets the goal.

    Which of two indexes is faster goes by the clock, so the choice need not repeat.

    Args:
        vectors: shape (n, d), float32: the catalogue.
        queries: shape (q, d), float32, at least two: a sample of what will be asked. Half of them, drawn by
            the seed, choose; the others prove.
        k: number of candidates.
        goal: recall, limits and further condition.
        exclude: a list of item rows for each query, which are not to be returned.
        seed: of the k-means runs, samples and halves.
        threads: of FAISS while building; searches are timed one query at a time on one thread.
        say: receives a line about each kind that was left out.

    Raises:
        NothingMeetsError: if no kind meets the goal within its limits.
        InputError: for vectors and queries that cannot be indexed or asked.
    """
    start = perf_counter()
    choosing, proving = split_workload(vectors, queries, k, exclude, seed)
    deadline = start + 60 * goal.minutes
    possible = candidate_kinds(vectors, small=goal.memory_limit is not None)
    kinds = narrow(possible, choosing, goal, deadline, seed, threads, say)
    trials = list(_tried(kinds, choosing, goal, deadline, seed, threads, say))
    timed = time_trials([*trials, exact_trial(choosing, goal)], choosing)
    order = by_speed(timed)
    proved = first_proved(order, proving, goal.recall)
    if proved is None:
        raise _nothing_meets(goal, timed)
    best, recall = proved
    return _chosen(best, _best_approximate(best, order, timed), timed, recall, start)


def set_to_target(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    goal: Goal,
    kind: IndexKind,
    *,
    exclude: ItemLists | None = None,
    seed: int,
    threads: int,
) -> ChosenIndex:
    """Build one kind of index and find the setting with the least effort that meets the goal.

    The kind is taken even if it misses the goal, with the setting that finds the most. Settings are compared
    by recall and `effort`, never by the clock, so the same data gives the same setting; exact search is timed
    as a reference only.

    Args:
        vectors: shape (n, d), float32: the catalogue.
        queries: shape (q, d), float32, at least two; halves of them choose and prove, as in `choose`.
        k: number of candidates.
        goal: recall, memory and further condition; its minutes are no limit here.
        kind: of the index, see `kind_of`.
        exclude: a list of item rows for each query, which are not to be returned.
        seed: of the k-means runs and halves.
        threads: of FAISS while building.

    Raises:
        NothingMeetsError: if the index does not fit into the memory allowed.
        InputError: for vectors and queries that cannot be indexed or asked, or a kind that cannot be built.
    """
    start = perf_counter()
    choosing, proving = split_workload(vectors, queries, k, exclude, seed)
    trials = first_meeting(build(kind, vectors, seed, threads), kind, choosing, goal)
    trials.append(exact_trial(choosing, goal))
    timed = time_trials(trials, choosing, costs=[effort(trial, k) for trial in trials])
    settings = [each for each in timed if not each.trial.is_reference]
    if not goal.fits(settings[0].trial.n_bytes):
        raise _nothing_fits(goal, timed)
    order = sorted((each for each in settings if each.trial.meets), key=lambda each: effort(each.trial, k))
    best, recall = first_proved(order, proving, goal.recall) or _most_found(settings, proving)
    return _chosen(best, best, timed, recall, start)


def _tried(
    kinds: Sequence[IndexKind],
    workload: Workload,
    goal: Goal,
    deadline: float,
    seed: int,
    threads: int,
    say: _Say,
) -> Iterator[Trial]:
    """Build the kinds one after the other until the deadline, the first of them in any case."""
    for i, kind in enumerate(kinds):
        if i and perf_counter() > deadline:
            say(f"no time left to try {kind.factory}")
        else:
            yield from first_meeting(build(kind, workload.exact.vectors, seed, threads), kind, workload, goal)


def by_speed(timed: Sequence[TimedTrial]) -> list[TimedTrial]:
    """Trials that meet the goal, the fastest first.

    Of trials whose medians differ by less than their noise, the simpler kind comes first, then the smaller.
    """
    left = [each for each in timed if each.trial.meets]
    order = []
    while left:
        fastest = min(left, key=_p50)
        within = _p50(fastest) * (1 + noise(fastest.point))
        ties = [each for each in left if _p50(each) <= within]
        simplest = min(ties, key=lambda each: (each.trial.kind.simplicity, each.trial.n_bytes, _p50(each)))
        order.append(simplest)
        left.remove(simplest)
    return order


def _best_approximate(
    best: TimedTrial, order: Sequence[TimedTrial], timed: Sequence[TimedTrial]
) -> TimedTrial:
    """The best itself unless its kind is exact; then the first approximate one of the order.

    Where no approximate one meets the goal, the one with the highest recall.
    """
    if not best.trial.kind.is_exact:
        return best
    for each in order:
        if not each.trial.kind.is_exact:
            return each
    built = [each for each in timed if not each.trial.is_reference]
    return max([each for each in built if not each.trial.kind.is_exact] or built, key=_recall)


def _most_found(settings: Sequence[TimedTrial], proving: Workload) -> tuple[TimedTrial, HeldOut]:
    best = max(settings, key=_recall)
    return best, held_out(best, proving)


def _chosen(
    best: TimedTrial, approximate: TimedTrial, timed: Sequence[TimedTrial], recall: HeldOut, start: float
) -> ChosenIndex:
    index = approximate.trial.index
    if not isinstance(index, AnnIndex):
        raise InputError(f"{index.name} is no FAISS index")
    return ChosenIndex(
        best.trial.index,
        index,
        best.point,
        approximate.point,
        tuple(each.point for each in timed),
        recall,
        perf_counter() - start,
    )


def _nothing_meets(goal: Goal, timed: Sequence[TimedTrial]) -> NothingMeetsError:
    """The error that names the best index that fits."""
    fitting = [each for each in timed if goal.fits(each.trial.n_bytes)]
    if not fitting:
        return _nothing_fits(goal, timed)
    best = max(fitting, key=_recall).point
    wanted = [] if goal.recall is None else [f"a recall of {goal.recall:g}"]
    wanted += [] if goal.accept is None else ["the loss allowed"]
    proved = ""
    if goal.recall is not None and best.recall >= goal.recall:
        proved = " where it was chosen, but less on the queries that did not choose it"
    limit = "" if goal.memory_limit is None else f" within {goal.memory_limit:,} bytes"
    return NothingMeetsError(
        f"nothing reaches {' and '.join(wanted) or 'the goal'}{limit}; the best that fits is {best.name} "
        f"with a recall of {best.recall:.4f}{proved}",
        best,
    )


def _nothing_fits(goal: Goal, timed: Sequence[TimedTrial]) -> NothingMeetsError:
    smallest = min((each.trial for each in timed), key=lambda trial: trial.n_bytes)
    return NothingMeetsError(
        f"no index of these {smallest.index.size:,} items fits into {goal.memory_limit:,} bytes; the "
        f"smallest, {smallest.index.name}, takes {smallest.n_bytes:,}",
        None,
    )


def _p50(timed: TimedTrial) -> float:
    return timed.point.p50_ms


def _recall(timed: TimedTrial) -> float:
    return timed.point.recall
