"""Filtered search: leaves out each query's excluded items and those a filter forbids, and still returns k."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from index.base import ItemIndex, SearchResult, check_allowed, check_queries
from index.errors import InputError
from index.exact import ExactIndex
from index.faiss_index import LARGEST_EF, AnnIndex
from index.item_lists import ItemLists, check_exclude

_BLOCK_ENTRIES = 2**22  # candidates in memory at a time
# With at most so many allowed items, or this share of all, exact search among them takes over. Up to the
# number, their products take no longer than a search of any index. At the share, an index would have to look
# at nearly all of its vectors to find as much as it does without a filter.
_SELECTIVE_ITEMS, _SELECTIVE_SHARE = 8192, 0.02
# The share for kinds without lists, whose work does not shrink with the filter: a scan of all codes, a walk
# through a graph whose neighbours are mostly forbidden, a search deep enough to get past forbidden items.
_SELECTIVE_SHARE_UNPARTED = 0.2


@dataclass(frozen=True, eq=False)
class FilteredResult:
    """The result of a filtered search, and how often exact search had to help.

    Attributes:
        result: the min(k, size) best items that are not left out; a line is padded only where the
            catalogue itself has no more of them.
        fallbacks: number of lines that the index left short and that exact search filled.
        tied: lines whose last place ties with the last item found; empty unless `rescue` was off.
    """

    result: SearchResult
    fallbacks: int
    tied: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))


def search_filtered(
    index: ItemIndex,
    exact: ExactIndex,
    queries: NDArray[np.float32],
    k: int,
    exclude: ItemLists,
    *,
    allowed: NDArray[np.int64] | None = None,
    rescue: bool = True,
) -> FilteredResult:
    """Find the k best items for each query among the `allowed` ones, without those in its `exclude` list.

    If a filter leaves few items, exact search among them finds the result. Else the index is searched deeper
    than k by the query's number of excluded items, so that k are left if the index returns all it is asked
    for. A kind that takes selectors gets the allowed rows as one, and probes as many more lists as the filter
    takes items away; other kinds are searched deeper by that factor.

    A line can still come out short, because the index looked at too few items, or its last place can tie with
    the last item found. The index searches for such a line once more, wider and twice as deep; then exact
    search does.

    Args:
        index: to search; an `ExactIndex` masks items itself.
        exact: exact search over the same vectors.
        queries: shape (q, dimension), float32, finite.
        k: at least 1; more than the catalogue is cut.
        exclude: a list of item rows for each query.
        allowed: the item rows that may be returned to any query, strictly increasing; None: all.
        rescue: whether short and tied lines are searched again. False leaves them as the index found them,
            to measure the index itself.

    Raises:
        InputError: if the two indexes differ in size or dimension, and for what `check_queries`,
            `check_exclude` and `check_allowed` refuse.
    """
    _refuse_mismatch(index, exact)
    check_queries(queries, index.dimension, k)
    check_exclude(exclude, len(queries), index.size)
    if allowed is not None:
        check_allowed(allowed, index.size)
        allowed = allowed if len(allowed) < index.size else None
    if isinstance(index, ExactIndex) or (allowed is not None and _is_selective(len(allowed), index)):
        return FilteredResult(exact.search(queries, k, exclude, allowed), 0)

    if len(queries) == 1 and allowed is None:
        found = _answer_one(index, queries, min(int(k), index.size), exclude.items)
        if found is not None:
            return FilteredResult(found, 0)
    search = _FilteredSearch(queries, min(int(k), index.size), exclude, allowed, index.size)
    short, tied = search.answer(index, np.flatnonzero(search.owed > 0), 1)
    if rescue and len(short) + len(tied):
        again = np.union1d(short, tied)
        short, tied = search.answer(index.deeper() if isinstance(index, AnnIndex) else index, again, 2)
    result = SearchResult(search.scores, search.rows)
    if not rescue or not len(short) + len(tied):
        return FilteredResult(result, 0, tied)
    last = np.union1d(short, tied)
    found = exact.search(queries[last], search.width, exclude.take(last), allowed)
    result.scores[last], result.rows[last] = found.scores, found.rows
    return FilteredResult(result, len(short))


def _answer_one(
    index: ItemIndex, query: NDArray[np.float32], width: int, excluded: NDArray[np.int32] | NDArray[np.int64]
) -> SearchResult | None:
    """The result of `_FilteredSearch` for a single query, faster; None where one search is not enough."""
    if index.size - len(excluded) < width:
        return None
    depth = _rounded(width + len(excluded) + 1, index.size)
    found = index.search(query, depth)
    rows = found.rows[0]
    kept = rows >= 0
    if len(excluded):
        kept &= excluded[np.minimum(excluded.searchsorted(rows), len(excluded) - 1)] != rows
    places = np.flatnonzero(kept)[:width]
    if len(places) < width:
        return None
    scores = found.scores[:, places]
    if rows[-1] >= 0 and depth < index.size and scores[0, -1] == found.scores[0, -1]:
        return None
    return SearchResult(scores, found.rows[:, places])


def _is_selective(n_allowed: int, index: ItemIndex) -> bool:
    """Whether a filter leaves so few items that exact search among them is the better choice."""
    has_lists = _takes_selectors(index) and index.nlist is not None
    share = _SELECTIVE_SHARE if has_lists else _SELECTIVE_SHARE_UNPARTED
    return n_allowed <= max(_SELECTIVE_ITEMS, share * index.size)


def _takes_selectors(index: ItemIndex) -> TypeGuard[AnnIndex]:
    return isinstance(index, AnnIndex) and index.takes_selectors


class _FilteredSearch:
    """The lines of one filtered search, filled by one or two passes over an index.

    Attributes:
        width: places in a line.
        owed: shape (q,): the places that the catalogue can fill.
        scores, rows: shape (q, width): the best items found so far.
    """

    def __init__(
        self,
        queries: NDArray[np.float32],
        width: int,
        exclude: ItemLists,
        allowed: NDArray[np.int64] | None,
        size: int,
    ) -> None:
        self.queries, self.width, self.exclude, self.size = queries, width, exclude, size
        self.mask: NDArray[np.bool_] | None = None
        n_allowed, lengths = size, exclude.lengths()
        if allowed is not None:
            self.mask = np.zeros(size, dtype=np.bool_)
            self.mask[allowed] = True
            n_allowed, lengths = len(allowed), exclude.within(allowed).lengths()
        self.share = n_allowed / size
        self.owed = np.minimum(width, n_allowed - lengths)
        # One more than needed, to see whether the last place ties with the first item that is cut off.
        self.depths = width + lengths + 1
        self.scores = np.full((len(queries), width), -np.inf, dtype=np.float32)
        self.rows = np.full((len(queries), width), -1, dtype=np.int64)

    def answer(
        self, index: ItemIndex, lines: NDArray[np.int64], times: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Search the index for these lines, `times` as deep as should be enough, and fill them.

        Returns:
            the lines that stay short; and those whose last place ties with the last item found, so that an
            item with the same score and a lower row may be missing.
        """
        depths = times * self.depths
        search: Callable[[NDArray[np.float32], int], SearchResult] = index.search
        if self.mask is not None and _takes_selectors(index):
            search = partial(_looking_at_more(index, self.share).search, allowed=self.mask)
        elif self.mask is not None:
            depths = np.ceil(depths / max(self.share, 1 / self.size)).astype(np.int64)
        tied = np.zeros(len(self.queries), dtype=np.bool_)
        for part, depth in _batches(lines, depths, self.size):
            found = search(self.queries[part], depth)
            kept = (found.rows >= 0) & ~self.exclude.take(part).hold(found.rows)
            if self.mask is not None:
                kept &= self.mask[found.rows]
            self.scores[part], self.rows[part] = _first_of(found, kept, self.width)
            is_cut = (found.rows[:, -1] >= 0) & (found.rows.shape[1] < self.size)
            tied[part] = is_cut & (self.scores[part, -1] == found.scores[:, -1])
        is_short = np.zeros(len(self.queries), dtype=np.bool_)
        is_short[lines] = np.count_nonzero(self.rows[lines] >= 0, axis=1) < self.owed[lines]
        return np.flatnonzero(is_short), np.flatnonzero(tied & ~is_short)


def _looking_at_more(index: AnnIndex, share: float) -> AnnIndex:
    """The index set to look at as many allowed items as it looks at items without a filter."""
    nprobe, ef_search = index.settings.nprobe, index.settings.ef_search
    return index.with_settings(
        replace(
            index.settings,
            nprobe=None if nprobe is None else min(index.nlist or 1, math.ceil(nprobe / share)),
            ef_search=None if ef_search is None else min(LARGEST_EF, math.ceil(ef_search / share)),
        )
    )


def _refuse_mismatch(index: ItemIndex, exact: ExactIndex) -> None:
    if (index.size, index.dimension) != (exact.size, exact.dimension):
        raise InputError(
            f"the index holds {index.size} vectors of {index.dimension} numbers, the exact one "
            f"{exact.size} of {exact.dimension}; expected the same vectors",
            "build both from them",
        )


def _batches(
    lines: NDArray[np.int64], depths: NDArray[np.int64], size: int
) -> list[tuple[NDArray[np.int64], int]]:
    """Batch lines of about the same depth, so that one user with a long list does not make all searches deep.

    Args:
        lines: query rows to batch.
        depths: shape (q,), for all queries; rounded up, at most `size`.
    """
    unique, which = np.unique(depths[lines], return_inverse=True)
    buckets = np.array([_rounded(depth, size) for depth in unique.tolist()], dtype=np.int64)[which]
    batches = []
    for depth in np.unique(buckets).tolist():
        members = lines[buckets == depth]
        step = max(1, _BLOCK_ENTRIES // depth)
        batches += [(members[start : start + step], depth) for start in range(0, len(members), step)]
    return batches


def _rounded(depth: int, size: int) -> int:
    """Round up to 4, 5, 6, 7 or 8 times a power of two, so that lines share batches; at most `size`.

    >>> [_rounded(depth, 400) for depth in (7, 9, 16, 201, 301, 999)]
    [7, 10, 16, 224, 320, 400]
    """
    step: int = 1 << max((depth - 1).bit_length() - 3, 0)
    return min(-(-depth // step) * step, size)


def _first_of(
    found: SearchResult, kept: NDArray[np.bool_], width: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The first `width` kept entries of each line; shorter lines are padded."""
    places = np.cumsum(kept, axis=1) - 1
    kept = kept & (places < width)
    lines, places = np.nonzero(kept)[0], places[kept]
    scores = np.full((len(kept), width), -np.inf, dtype=np.float32)
    rows = np.full((len(kept), width), -1, dtype=np.int64)
    scores[lines, places], rows[lines, places] = found.scores[kept], found.rows[kept]
    return scores, rows
