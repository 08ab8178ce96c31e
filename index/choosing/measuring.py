"""Measures recall and latency of an index on real queries; `choose` chooses by them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.base import ItemIndex
from index.errors import InputError
from index.exact import ExactIndex
from index.filtered_search import search_filtered
from index.item_lists import ItemLists
from index.search_settings import SearchSettings

_WARM_UP = 10  # untimed calls before the first timed one


def _no_numbers() -> NDArray[np.float64]:
    return np.empty(0)


@dataclass(frozen=True, eq=False)
class Workload:
    """Queries to measure an index with, and the number of candidates to find for each.

    Attributes:
        exact: exact search over the catalogue, the reference of recall.
        queries: shape (q, d), float32.
        k: number of candidates.
        exclude: a list of item rows for each query, which are not to be returned; None: none.
    """

    exact: ExactIndex
    queries: NDArray[np.float32]
    k: int
    exclude: ItemLists | None = None

    def __len__(self) -> int:
        return len(self.queries)

    def take(self, rows: NDArray[np.int64]) -> "Workload":
        """The workload of these queries alone."""
        exclude = None if self.exclude is None else self.exclude.take(rows)
        return Workload(self.exact, self.queries[rows], self.k, exclude)

    @cached_property
    def truth(self) -> NDArray[np.int64]:
        """Rows of the exact candidates: shape (q, min(k, n)), padded with -1."""
        return self.exact.search(self.queries, self.k, self.exclude).rows

    def recalls(self, index: ItemIndex) -> NDArray[np.float64]:
        """Share of the exact candidates that the index itself finds: shape (q,), float64.

        The exact search that fills short lists in serving is off: with it, an index that looks at almost
        nothing would seem perfect.
        """
        if self.exclude is None:
            return recall_against_exact(index.search(self.queries, self.k).rows, self.truth)
        found = search_filtered(index, self.exact, self.queries, self.k, self.exclude, rescue=False)
        return recall_against_exact(found.result.rows, self.truth)

    def seconds(self, indexes: Sequence[ItemIndex], rounds: int) -> NDArray[np.float64]:
        """Seconds of single searches, as served: shape (indexes, rounds, q).

        The indexes take turns, so that other work on the machine slows all of them alike.
        """

        one = [] if self.exclude is None else [self.exclude.take(np.array([i])) for i in range(len(self))]

        def ask(index: ItemIndex) -> Callable[[int], object]:
            if self.exclude is None:
                return lambda i: index.search(self.queries[i : i + 1], self.k)
            return lambda i: search_filtered(index, self.exact, self.queries[i : i + 1], self.k, one[i])

        asks = [ask(index) for index in indexes]
        turns = [[time_singles(each, len(self), 1)[0] for each in asks] for _ in range(rounds)]
        return np.asarray(turns).swapaxes(0, 1)


@dataclass(frozen=True, eq=False)
class OperatingPoint:
    """Recall, latency and size of one index at one setting.

    Attributes:
        factory: a FAISS factory string; "exact" is `ExactIndex`.
        settings: nprobe, efSearch and k_factor.
        recall: mean over the queries of the share of the exact candidates that it finds.
        recall_error: standard error of that mean.
        p50_ms, p99_ms: median and 99th percentile of single searches.
        bytes_per_item: of the index, in memory as on disk.
        build_seconds: that building took.
        is_exact: whether it finds the same items as exact search by construction.
        family: see `kinds`.
        recalls: shape (q,), float64: of every query.
        milliseconds: shape (rounds, q), float64: of every timed search.
    """

    factory: str
    settings: SearchSettings
    recall: float
    recall_error: float
    p50_ms: float
    p99_ms: float
    bytes_per_item: float
    build_seconds: float
    is_exact: bool
    family: str
    recalls: NDArray[np.float64] = field(default_factory=_no_numbers, repr=False)
    milliseconds: NDArray[np.float64] = field(default_factory=_no_numbers, repr=False)

    @property
    def name(self) -> str:
        """Kind and settings, such as ``IVF32,Flat nprobe=8``."""
        return f"{self.factory}{self.settings}"

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types, without the raw measurements."""
        return {
            "index": self.name,
            "factory": self.factory,
            "settings": self.settings.to_json(),
            "family": self.family,
            "is_exact": self.is_exact,
            "recall": self.recall,
            "recall_error": self.recall_error,
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "bytes_per_item": self.bytes_per_item,
            "build_seconds": self.build_seconds,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "OperatingPoint":
        """The point that `to_json` wrote, without the raw measurements."""
        plain = {key: value for key, value in document.items() if key not in ("index", "settings")}
        return cls(settings=SearchSettings(**document["settings"]), **plain)


def standard_error(values: NDArray[np.float64]) -> float:
    """Standard error of the mean of independent values, shape (q,); 0 for fewer than two.

    >>> standard_error(np.array([1.0, 3.0]))
    1.0
    """
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def recall_against_exact(found: NDArray[np.int64], exact: NDArray[np.int64]) -> NDArray[np.float64]:
    """|found and exact| / |exact| for each query; padding (-1) is in neither set.

    Args:
        found: shape (q, k), rows an index returned.
        exact: shape (q, m), rows exact search returned.

    Returns:
        shape (q,), float64; 1.0 where exact search found nothing, as nothing was missed.

    Raises:
        InputError: if the numbers of lines differ.

    >>> recall_against_exact(np.array([[4, 9, -1]]), np.array([[9, 2, 4]])).round(3).tolist()
    [0.667]
    """
    if found.ndim != 2 or exact.ndim != 2 or len(found) != len(exact):
        raise InputError(
            f"found has shape {found.shape}, exact {exact.shape}; expected a line for each query in both"
        )
    span = 1 + int(max(found.max(initial=0), exact.max(initial=0)))
    lines = np.arange(len(exact), dtype=np.int64)[:, np.newaxis] * span
    # Look up the exact rows among the found ones, and not the reverse, so that a row found twice counts once.
    hits = np.isin(lines + exact, (lines + found)[found >= 0]) & (exact >= 0)
    total = np.count_nonzero(exact >= 0, axis=1)
    return np.where(total > 0, np.count_nonzero(hits, axis=1) / np.maximum(total, 1), 1.0)


def measure_latency(
    index: ItemIndex, queries: NDArray[np.float32], k: int, repeats: int
) -> NDArray[np.float64]:
    """Time each single query, one after the other, in seconds.

    Uses as many threads as are set; wrap in `faiss_threads` to set them.

    Returns:
        shape (repeats, q), float64, raw.

    Raises:
        InputError: if there is nothing to time, or `index.search` refuses a query.
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
    """As `measure_latency`, through `search_filtered`, which serving calls for one user.

    Looking up the user's excluded items is part of the time.
    """

    def ask(i: int) -> object:
        return search_filtered(index, exact, queries[i : i + 1], k, exclude.take(np.array([i])))

    return time_singles(ask, len(queries), repeats)


def time_singles(ask: Callable[[int], object], n_queries: int, repeats: int) -> NDArray[np.float64]:
    """Time ``ask(i)`` for each query i, one after the other, in seconds: shape (repeats, n_queries), float64.

    Raises:
        InputError: if there is nothing to time.
    """
    if n_queries < 1 or repeats < 1:
        raise InputError(f"{n_queries} queries, {repeats} repeats; expected at least one of each")
    for i in range(_WARM_UP):
        ask(i % n_queries)
    seconds = np.empty((repeats, n_queries))
    for repeat in range(repeats):
        for i in range(n_queries):
            start = perf_counter()
            ask(i)
            seconds[repeat, i] = perf_counter() - start
    return seconds


def evenly_spread(n: int, at_most: int) -> NDArray[np.int64]:
    """Row numbers spread evenly over n rows, at most so many.

    >>> evenly_spread(9, 3).tolist(), evenly_spread(2, 3).tolist()
    ([0, 4, 8], [0, 1])
    """
    return np.unique(np.linspace(0, n - 1, num=min(n, at_most)).astype(np.int64))
