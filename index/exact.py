"""Exact search: computes every inner product. It is also the reference that recall is measured against."""

import numpy as np
from numpy.typing import NDArray

from index.base import SearchResult, check_allowed, check_queries, check_vectors
from index.item_lists import ItemLists, check_exclude
from index.topk import top_k

_BLOCK_BYTES = 64 * 2**20  # scores held at a time; top_k needs about twice as much again
# Above this share of the items, copying the allowed vectors takes longer than computing all products.
_COPIED = 0.15


class ExactIndex:
    """Exhaustive search in numpy; recall is 1.0 by construction, and memory is bounded.

    Scores are float32 products that BLAS sums. Its order of summation may depend on the number of queries, so
    the last bits of a score can differ between batch sizes, never more.

    Args:
        vectors: shape (n, d), float32, finite; kept, not copied, when C-contiguous.

    Raises:
        InputError: for what `check_vectors` refuses.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        check_vectors(vectors)
        self.vectors = np.ascontiguousarray(vectors)

    @classmethod
    def trusted(cls, vectors: NDArray[np.float32]) -> "ExactIndex":
        """An index over vectors that the caller has found finite: they are not read again.

        A scan for NaN takes as long as some searches, and reads a mapped file from end to end.

        Raises:
            InputError: for what `check_vectors` refuses, but for NaN and infinity.
        """
        check_vectors(vectors, finite=False)
        index = cls.__new__(cls)
        index.vectors = np.ascontiguousarray(vectors)
        return index

    @property
    def name(self) -> str:
        """The kind of index, for tables."""
        return "exact"

    @property
    def size(self) -> int:
        """Number of item vectors."""
        return len(self.vectors)

    @property
    def n_bytes(self) -> int:
        """Bytes of the vectors."""
        return self.vectors.nbytes

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return int(self.vectors.shape[1])

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        exclude: ItemLists | None = None,
        allowed: NDArray[np.int64] | None = None,
    ) -> SearchResult:
        """Find the min(k, size) best items for each query, without those in its `exclude` list.

        Args:
            queries: shape (q, dimension), float32, finite.
            k: at least 1.
            exclude: a list of item rows for each query.
            allowed: the rows that may be returned, strictly increasing; None: all. If they are few, only
                their products are computed.

        Returns:
            lines padded at the end only where fewer than min(k, size) items are left.

        Raises:
            InputError: for what `check_queries`, `check_exclude` and `check_allowed` refuse.
        """
        check_queries(queries, self.dimension, k)
        if exclude is not None:
            check_exclude(exclude, len(queries), self.size)
        vectors, n_left, copied = self.vectors, self.size, False
        if allowed is not None:
            check_allowed(allowed, self.size)
            n_left, copied = len(allowed), len(allowed) <= _COPIED * self.size
            vectors = vectors.take(allowed, axis=0) if copied else vectors
            exclude = None if exclude is None else exclude.within(allowed)
        width = min(int(k), self.size)
        scores = np.full((len(queries), width), -np.inf, dtype=np.float32)
        rows = np.full((len(queries), width), -1, dtype=np.int64)
        filled = min(width, n_left)
        if not filled:
            return SearchResult(scores, rows)
        step = max(1, _BLOCK_BYTES // (4 * len(vectors)))
        for start in range(0, len(queries), step):
            block = slice(start, min(start + step, len(queries)))
            products = queries[block] @ vectors.T  # (block, n)
            if allowed is not None and not copied:
                products = products.take(allowed, axis=1)
            if exclude is not None:
                lists = exclude.take(np.arange(block.start, block.stop))
                products[lists.flat_users(), lists.items] = -np.inf
            scores[block, :filled], rows[block, :filled] = top_k(products, filled)
        if allowed is not None:
            rows = np.where(rows < 0, -1, allowed[rows])
        return SearchResult(scores, rows)
