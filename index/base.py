"""The protocol of every index, the result of a search, and the checks of vectors, queries and rows."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from index.errors import InputError


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The best items for each query, best first; equal scores are ordered by row.

    Attributes:
        scores: shape (q, k), float32, inner products.
        rows: shape (q, k), int64, rows of the item vectors, none twice in a line. Where fewer than k
            items exist for a line, its end is padded with row -1 and score -inf, and nowhere else.
    """

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]

    def top(self, k: int) -> "SearchResult":
        """The first k items of each line."""
        return SearchResult(self.scores[:, :k], self.rows[:, :k])


class ItemIndex(Protocol):
    """Nearest neighbours by inner product among `size` item vectors of `dimension` numbers."""

    @property
    def name(self) -> str:
        """The index's name in tables: kind and settings, such as ``IVF32,Flat nprobe=8``."""
        ...

    @property
    def size(self) -> int:
        """Number of item vectors."""
        ...

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        ...

    def search(self, queries: NDArray[np.float32], k: int) -> SearchResult:
        """Find the min(k, size) best items for each query; queries have shape (q, dimension), float32.

        Raises:
            InputError: for what `check_queries` refuses.
        """
        ...


def check_vectors(vectors: NDArray[np.float32], *, finite: bool = True) -> None:
    """Refuse item vectors that cannot be indexed.

    Args:
        finite: look for NaN and infinity too, which reads every number.

    Raises:
        InputError: unless `vectors` is a float32 array of shape (n, d), n and d at least 1, all finite.
    """
    _check_matrix(vectors, "item vectors")
    if 0 in vectors.shape:
        raise InputError(f"item vectors have shape {vectors.shape}; expected at least one row and one column")
    if finite:
        _check_finite(vectors, "item vectors")


def check_queries(queries: NDArray[np.float32], dimension: int, k: int) -> None:
    """Refuse queries that an index cannot search for; a k above the number of items is cut, not refused.

    Raises:
        InputError: unless `queries` is float32 of shape (q, dimension), all finite, and k is an integer >= 1.
    """
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise InputError(f"k is {k!r}; expected an integer of at least 1")
    _check_matrix(queries, "queries")
    if queries.shape[1] != dimension:
        raise InputError(
            f"queries have dimension {queries.shape[1]}, the index has {dimension}",
            "use the model the index was built from, or build the index again",
        )
    _check_finite(queries, "queries")


def _check_matrix(array: Any, what: str) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise InputError(f"{what} are {found}; expected a float32 array", "convert with .astype(np.float32)")
    if array.ndim != 2:
        raise InputError(
            f"{what} have shape {array.shape}; expected two axes, a row each (one vector: vector[np.newaxis])"
        )


def _check_finite(array: NDArray[np.float32], what: str) -> None:
    finite = np.isfinite(array)
    if not finite.all():
        bad = np.flatnonzero(~finite.all(axis=1))
        raise InputError(
            f"{what} hold NaN or infinity in {len(bad)} of {len(array)} rows, the first is row {bad[0]}; "
            "expected finite numbers",
            "look at how they were computed",
        )


def check_allowed(allowed: NDArray[np.int64], size: int) -> None:
    """Refuse allowed rows unless each is a row of the catalogue, once and in order.

    Raises:
        InputError: unless they are int64, on one axis, strictly increasing and from 0 to `size` - 1.
    """
    if not isinstance(allowed, np.ndarray) or allowed.dtype != np.int64 or allowed.ndim != 1:
        found = f"{allowed.dtype} of {allowed.shape}" if isinstance(allowed, np.ndarray) else repr(allowed)
        raise InputError(f"allowed rows are {found}; expected int64, one axis, such as np.flatnonzero gives")
    if not len(allowed):
        return
    if (allowed[1:] <= allowed[:-1]).any():
        raise InputError(
            "allowed rows are not strictly increasing; expected each once", "sort with np.unique"
        )
    if allowed[0] < 0 or allowed[-1] >= size:
        wrong = allowed[0] if allowed[0] < 0 else allowed[-1]
        raise InputError(
            f"allowed row {wrong} is not in the index of {size} items",
            "use the catalogue the index was built from",
        )
