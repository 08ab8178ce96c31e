"""Measures indexes without choosing one: every kind over its ladder, or one index beside exact search."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from index.choosing.kinds import IndexKind, candidate_kinds, kind_of, ladder
from index.choosing.measuring import OperatingPoint, Workload, evenly_spread
from index.choosing.trials import TIMED, Goal, Trial, build, exact_trial, operating_point
from index.exact import ExactIndex
from index.faiss_index import AnnIndex, faiss_threads
from index.item_lists import ItemLists

_ROUNDS = 2  # enough for a curve of many points


def sweep(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    *,
    exclude: ItemLists | None = None,
    kinds: Sequence[IndexKind] | None = None,
    seed: int,
    threads: int,
    say: Callable[[str], None] = lambda message: None,
) -> tuple[OperatingPoint, ...]:
    """Measure every kind over a coarse ladder of settings; exact search comes first.

    Kinds are measured one after the other, so that one index at a time is in memory.

    Args:
        vectors: shape (n, d), float32: the catalogue.
        queries: shape (q, d), float32; recall is measured on all, latency on `TIMED` of them.
        k: number of candidates.
        exclude: a list of item rows for each query, which are not to be returned.
        kinds: to measure; None: `candidate_kinds`, with those that save memory.
        seed: of the k-means runs and samples.
        threads: of FAISS while building; searches are timed one query at a time on one thread.
        say: receives the factory string of each kind before it is built.
    """
    workload = Workload(ExactIndex(vectors), queries, k, exclude)
    some = workload.take(evenly_spread(len(workload), TIMED))
    points = [*_measured([exact_trial(workload, Goal())], some, _ROUNDS)]
    for kind in candidate_kinds(vectors, small=True) if kinds is None else kinds:
        say(kind.factory)
        index, seconds = build(kind, vectors, seed, threads)
        n_bytes = index.n_bytes
        on_ladder = [
            index.with_settings(settings) for line in ladder(index, coarse=True) for settings in line
        ]
        trials = [Trial(at, kind, workload.recalls(at), True, n_bytes, seconds) for at in on_ladder]
        points += _measured(trials, some, _ROUNDS)
    return tuple(points)


def beside_exact(
    index: AnnIndex, workload: Workload, rounds: int, build_seconds: float
) -> tuple[OperatingPoint, OperatingPoint]:
    """Measure an index at its settings and exact search, which take turns.

    Args:
        index: over the vectors of `workload.exact`.
        workload: all of its queries are timed, one at a time on one thread.
        rounds: in which each query is asked once of both.
        build_seconds: that building the index took; not measured here.

    Returns:
        the operating points of the index and of exact search.
    """
    kind = kind_of(index.factory)
    trial = Trial(index, kind, workload.recalls(index), True, index.n_bytes, build_seconds)
    ann, exact = _measured([trial, exact_trial(workload, Goal())], workload, rounds)
    return ann, exact


def _measured(trials: Sequence[Trial], timed_on: Workload, rounds: int) -> Iterator[OperatingPoint]:
    with faiss_threads(1):
        # shape (trials, rounds, q)
        milliseconds = 1e3 * timed_on.seconds([trial.index for trial in trials], rounds)
    return (operating_point(trial, times) for trial, times in zip(trials, milliseconds, strict=True))
