"""Maps positions in a FAISS index to rows of a catalogue that changes.

Several kinds of FAISS index cannot remove a vector (those with a refinement and graphs raise), and none can
insert one between two others. So new vectors are appended, vectors keep the positions they were added at,
those of removed items stay as tombstones, and this map tells the row of each position.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from index.base import SearchResult
from index.errors import InputError
from index.topk import order_result

# The first search goes deeper by at least this many, so that with few tombstones one search is enough.
_SPARE = 16

Search = Callable[[NDArray[np.float32], int], SearchResult]


@dataclass(frozen=True, eq=False)
class RowMap:
    """The catalogue row of each position in a FAISS index.

    Attributes:
        rows: shape (number of positions,), int64: every row from 0 to size - 1 once; -1 marks a tombstone,
            whose vector is still in the index and never returned.

    Raises:
        InputError: unless `rows` is such an array with at least one row.

    >>> rows = RowMap(np.array([0, 1, 2])).moved(np.array([0, -1, 2]), np.array([1, 3])).rows
    >>> rows.tolist()
    [0, -1, 2, 1, 3]
    """

    rows: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.rows.ndim != 1 or self.rows.dtype != np.int64:
            raise InputError(
                f"rows are {self.rows.dtype} of shape {self.rows.shape}; expected int64, a row each position"
            )
        live = self.rows[self.rows != -1]
        is_row = np.zeros(len(live), dtype=np.bool_)
        in_range = len(live) and live.min() >= 0 and live.max() < len(live)
        if in_range:
            is_row[live] = True
        if not (in_range and is_row.all()):
            raise InputError(
                f"the {len(live)} live rows are not each from 0 to {len(live) - 1} once",
                "build the index again",
            )

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def size(self) -> int:
        """Number of items, tombstones not counted."""
        return int(np.count_nonzero(self.rows >= 0))

    @cached_property
    def is_identity(self) -> bool:
        """Whether every position equals its row."""
        return np.array_equal(self.rows, np.arange(len(self)))

    def moved(self, kept: NDArray[np.int64], added: NDArray[np.int64]) -> "RowMap":
        """The map after a change of the catalogue.

        Args:
            kept: shape (size,), int64: the new row of each item, -1 where it is removed or replaced.
            added: shape (m,), int64: the rows of m vectors appended at the end.

        Raises:
            InputError: if `kept` is of another length, or both together are not all the new rows once.
        """
        if kept.shape != (self.size,) or kept.dtype != np.int64 or added.dtype != np.int64:
            raise InputError(
                f"kept is {kept.dtype} of shape {kept.shape}, added {added.dtype}; expected int64, and a new "
                f"row or -1 for each of {self.size} items"
            )
        return RowMap(np.concatenate([np.where(self.rows >= 0, kept[self.rows], -1), added]))

    @cached_property
    def live_bits(self) -> NDArray[np.uint8]:
        """A bit for each position, packed as in `as_bits`: 0 for a tombstone."""
        return as_bits(self.rows >= 0)

    def bits_of(self, allowed: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """A bit for each position: 1 where its item may be returned; `allowed` has shape (size,)."""
        return as_bits((self.rows >= 0) & allowed[self.rows])

    def translate(self, found: SearchResult) -> SearchResult:
        """Turn a result of positions into one of rows; tombstones become padding at the end of a line."""
        return order_result(found.scores, np.where(found.rows >= 0, self.rows[found.rows], -1))

    def search(self, search: Search, queries: NDArray[np.float32], k: int) -> SearchResult:
        """Find the k best items of each query with an index that cannot skip tombstones.

        The first search goes deeper by the share of tombstones. Lines that are still short are searched
        again, twice as deep each time, until k plus the number of tombstones: so an index that looks at
        everything finds the same items as exact search.

        Args:
            search: takes queries and a depth, returns positions, best first, and -1 where it finds no more.
            queries: shape (q, d), float32.
            k: at most `size`.
        """
        dead = len(self) - self.size
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        lines = np.arange(len(queries))
        depth = k + min(dead, max(_SPARE, 2 * k * dead // len(self)))
        while len(lines):
            found = search(queries[lines], depth)
            best = self.translate(found).top(k)
            scores[lines], rows[lines] = best.scores, best.rows
            if depth >= k + dead:
                break
            has_more = (found.rows[:, -1] >= 0) & (best.rows[:, -1] < 0)
            lines, depth = lines[has_more], min(2 * depth, k + dead)
        return SearchResult(scores, rows)


def as_bits(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Pack a bit for each entry as FAISS expects them: 8 in a byte, the first in the lowest bit."""
    return np.packbits(mask, bitorder="little")
