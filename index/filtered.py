"""Search with items left out by id, deep enough that k remain."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.ann import AnnIndex
from index.base import ItemIndex, ItemLists, SearchResult, check_exclude, check_queries
from index.exact import ExactIndex

_BLOCK_ENTRIES = 2**22  # candidates held at a time


@dataclass(frozen=True, eq=False)
class FilteredResult:
    """The answer of a filtered search, and how often the approximate index was not enough.

    Attributes:
        result: the min(k, size) best items that are not excluded; a line is padded only where the
            catalogue itself has no more of them.
        fallbacks: number of lines that were answered by exact search in the end.
    """

    result: SearchResult
    fallbacks: int


def search_filtered(
    index: ItemIndex,
    exact: ExactIndex,
    queries: NDArray[np.float32],
    k: int,
    exclude: ItemLists,
    *,
    rescue: bool = True,
) -> FilteredResult:
    """The k best items for each query without those in its `exclude` list.

    Each query is searched k + its number of excluded items deep, so that k are left when the index
    returns as many as it is asked for. A line that comes out short all the same, because the index
    looked at too few items, is searched once more, wider and twice as deep, and then exactly.

    Args:
        index: what answers; an `ExactIndex` masks excluded items itself.
        exact: the oracle over the same vectors.
        queries: shape (q, dimension), float32, finite.
        k: at least 1; more than the catalogue is cut.
        exclude: a list of item rows for each query.
        rescue: whether short lines are searched again; without, they stay as the index left them, which
            is what measuring the index itself needs.

    Raises:
        ValueError: if the two indexes differ in size or dimension, and for what `check_queries` and
            `check_exclude` refuse.
    """
    _refuse_mismatch(index, exact)
    check_queries(queries, index.dimension, k)
    check_exclude(exclude, len(queries), index.size)
    if isinstance(index, ExactIndex):
        return FilteredResult(index.search(queries, k, exclude), 0)

    width = min(int(k), index.size)
    lengths = exclude.lengths()
    scores = np.full((len(queries), width), -np.inf, dtype=np.float32)
    rows = np.full((len(queries), width), -1, dtype=np.int64)
    owed = np.minimum(width, index.size - lengths)  # what the catalogue has for each line

    def answer(searcher: ItemIndex, lines: NDArray[np.int64], depths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Fill these lines; return those that stay short."""
        for part, depth in _batches(lines, depths, searcher.size):
            found = searcher.search(queries[part], depth)
            scores[part], rows[part] = _drop_excluded(found, exclude.take(part), width)
        is_short = np.count_nonzero(rows[lines] >= 0, axis=1) < owed[lines]
        return np.asarray(lines[is_short])

    short = answer(index, np.flatnonzero(owed > 0), width + lengths)
    if rescue and len(short):
        deeper = index.deeper() if isinstance(index, AnnIndex) else index
        short = answer(deeper, short, 2 * (width + lengths))
    if not rescue or not len(short):
        return FilteredResult(SearchResult(scores, rows), 0)
    last = exact.search(queries[short], width, exclude.take(short))
    scores[short], rows[short] = last.scores, last.rows
    return FilteredResult(SearchResult(scores, rows), len(short))


def _refuse_mismatch(index: ItemIndex, exact: ExactIndex) -> None:
    if (index.size, index.dimension) != (exact.size, exact.dimension):
        raise ValueError(
            f"the index holds {index.size} vectors of {index.dimension} numbers, the exact one "
            f"{exact.size} of {exact.dimension}; expected the same vectors, build both from them"
        )


def _batches(
    lines: NDArray[np.int64], depths: NDArray[np.int64], size: int
) -> list[tuple[NDArray[np.int64], int]]:
    """Lines of about the same depth together, so that one heavy user does not make all searches deep.

    Args:
        lines: query rows to batch.
        depths: shape (q,), for all queries; rounded up to a power of two, at most `size`.
    """
    rounded = 2 ** np.ceil(np.log2(depths[lines])).astype(np.int64)
    buckets = np.minimum(rounded, size)
    batches = []
    for depth in np.unique(buckets).tolist():
        members = lines[buckets == depth]
        step = max(1, _BLOCK_ENTRIES // depth)
        batches += [(members[start : start + step], depth) for start in range(0, len(members), step)]
    return batches


def _drop_excluded(
    found: SearchResult, exclude: ItemLists, width: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The first `width` of each line that are not in its list; shorter lines are padded."""
    kept = (found.rows >= 0) & ~exclude.hold(found.rows)
    places = np.cumsum(kept, axis=1) - 1
    kept &= places < width
    lines, places = np.nonzero(kept)[0], places[kept]
    scores = np.full((len(kept), width), -np.inf, dtype=np.float32)
    rows = np.full((len(kept), width), -1, dtype=np.int64)
    scores[lines, places], rows[lines, places] = found.scores[kept], found.rows[kept]
    return scores, rows
