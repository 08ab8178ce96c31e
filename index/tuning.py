"""Measure an index, recall against latency, and choose where to run it."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from index.ann import AnnIndex
from index.base import ItemIndex, ItemLists
from index.exact import ExactIndex
from index.filtered import search_filtered

_WARM_UP = 10  # untimed calls before the first timed one


@dataclass(frozen=True)
class OperatingPoint:
    """What one setting costs and gives.

    Attributes:
        nprobe: lists looked at per query.
        recall: mean over the queries of `recall_against_exact`, of filtered candidates before any rescue.
        p50_ms: median time of a single filtered query.
        p99_ms: 99th percentile of the same.
    """

    nprobe: int
    recall: float
    p50_ms: float
    p99_ms: float


def recall_against_exact(found: NDArray[np.int64], exact: NDArray[np.int64]) -> NDArray[np.float64]:
    """|found and exact| / |exact| for each query; padding (-1) is in neither set.

    Args:
        found: shape (q, k), rows an index returned.
        exact: shape (q, m), rows exact search returned.

    Returns:
        shape (q,), float64; 1.0 where exact search found nothing, as nothing was missed.

    Raises:
        ValueError: if the numbers of lines differ.

    >>> recall_against_exact(np.array([[4, 9, -1]]), np.array([[9, 2, 4]])).round(3).tolist()
    [0.667]
    """
    if found.ndim != 2 or exact.ndim != 2 or len(found) != len(exact):
        raise ValueError(
            f"found has shape {found.shape}, exact {exact.shape}; expected a line for each query in both"
        )
    span = 1 + int(max(found.max(initial=0), exact.max(initial=0)))
    lines = np.arange(len(exact), dtype=np.int64)[:, np.newaxis] * span
    # The exact rows are looked up among the found ones, so that a row found twice counts once.
    hits = np.isin(lines + exact, (lines + found)[found >= 0]) & (exact >= 0)
    total = np.count_nonzero(exact >= 0, axis=1)
    return np.where(total > 0, np.count_nonzero(hits, axis=1) / np.maximum(total, 1), 1.0)


def measure_latency(
    index: ItemIndex, queries: NDArray[np.float32], k: int, repeats: int
) -> NDArray[np.float64]:
    """Seconds each single query takes, one after the other.

    Uses as many threads as are set; wrap in `faiss_threads` to set them.

    Returns:
        shape (repeats, q), float64, raw.

    Raises:
        ValueError: if there is nothing to time, or `index.search` refuses a query.
    """
    return time_singles(lambda i: index.search(queries[i : i + 1], k), len(queries), repeats)


def measure_filtered_latency(
    index: ItemIndex,
    exact: ExactIndex,
    queries: NDArray[np.float32],
    k: int,
    exclude: ItemLists,
    repeats: int,
) -> NDArray[np.float64]:
    """As `measure_latency`, through `search_filtered`: what serving does for one user.

    Looking up the user's excluded items is part of the time.
    """

    def ask(i: int) -> object:
        return search_filtered(index, exact, queries[i : i + 1], k, exclude.take(np.array([i])))

    return time_singles(ask, len(queries), repeats)


def choose_nprobe(
    index: AnnIndex,
    exact: ExactIndex,
    queries: NDArray[np.float32],
    k: int,
    exclude: ItemLists,
    recall_target: float,
    *,
    timed_queries: int = 100,
    repeats: int = 3,
) -> tuple[list[OperatingPoint], OperatingPoint]:
    """Measure nprobe 1, 2, 4 and so on up to nlist; choose the smallest whose recall meets the target.

    Recall is that of the filtered candidates the index itself finds: with the exact fallback counted in, an
    index that looks at almost nothing would look perfect. Times are of what is served, fallback included.

    Args:
        index: an IVF index; it is left as it is.
        exact: the oracle over the same vectors.
        queries: shape (q, dimension), float32; a sample of what will be asked.
        k: number of candidates.
        exclude: a list of item rows for each query.
        recall_target: above 0, at most 1.
        timed_queries: how many of the queries, evenly spread, are timed one by one.
        repeats: how often each of them is timed.

    Returns:
        all points, and the chosen one: where none meets the target, that of the highest recall (the
        smallest nprobe among equals), so compare its recall with the target.

    Raises:
        ValueError: if the index has no nprobe, there are no queries, or the target is out of range.
    """
    if index.nlist is None:
        raise ValueError(f"{index.factory!r} has no nprobe to choose; use an IVF index")
    if not 0 < recall_target <= 1:
        raise ValueError(f"recall target is {recall_target}; expected above 0 and at most 1, such as 0.95")
    truth = exact.search(queries, k, exclude).rows
    sample = np.unique(
        np.linspace(0, len(queries) - 1, num=min(timed_queries, len(queries))).astype(np.int64)
    )
    points = []
    for nprobe in _powers_of_two_and(index.nlist):
        setting = index.with_nprobe(nprobe)
        found = search_filtered(setting, exact, queries, k, exclude, rescue=False).result.rows
        seconds = measure_filtered_latency(setting, exact, queries[sample], k, exclude.take(sample), repeats)
        p50, p99 = np.percentile(1000 * seconds, [50, 99])
        recall = float(recall_against_exact(found, truth).mean())
        points.append(OperatingPoint(nprobe, recall, float(p50), float(p99)))
    meeting = [point for point in points if point.recall >= recall_target]
    return points, meeting[0] if meeting else max(points, key=lambda point: point.recall)


def _powers_of_two_and(last: int) -> list[int]:
    """1, 2, 4, ... below `last`, then `last`."""
    return [2**i for i in range((last - 1).bit_length())] + [last]


def time_singles(ask: Callable[[int], object], n_queries: int, repeats: int) -> NDArray[np.float64]:
    """Seconds of ``ask(i)`` for each query, one after the other: shape (repeats, n_queries).

    Raises:
        ValueError: if there is nothing to time.
    """
    if n_queries < 1 or repeats < 1:
        raise ValueError(f"{n_queries} queries, {repeats} repeats; expected at least one of each")
    for i in range(_WARM_UP):
        ask(i % n_queries)
    seconds = np.empty((repeats, n_queries))
    for repeat in range(repeats):
        for i in range(n_queries):
            start = perf_counter()
            ask(i)
            seconds[repeat, i] = perf_counter() - start
    return seconds
