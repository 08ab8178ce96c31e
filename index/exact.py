"""The oracle: every inner product, computed."""

import numpy as np
from numpy.typing import NDArray

from index.base import ItemLists, SearchResult, check_exclude, check_queries, check_vectors
from index.topk import top_k

_BLOCK_BYTES = 64 * 2**20  # scores held at a time; top_k needs about twice as much again


class ExactIndex:
    """Exhaustive search in numpy; recall is 1.0 by construction, and memory is bounded.

    Scores are float32 products summed by BLAS, whose order of summation may depend on how many
    queries come at once: between batch sizes the last bits can differ, never more.

    Args:
        vectors: shape (n, d), float32, finite; kept, not copied, when C-contiguous.

    Raises:
        ValueError: for what `check_vectors` refuses.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        check_vectors(vectors)
        self.vectors = np.ascontiguousarray(vectors)

    @property
    def name(self) -> str:
        """The kind of index, for tables."""
        return "exact"

    @property
    def size(self) -> int:
        """Number of item vectors."""
        return len(self.vectors)

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return int(self.vectors.shape[1])

    def search(self, queries: NDArray[np.float32], k: int, exclude: ItemLists | None = None) -> SearchResult:
        """The min(k, size) best items for each query, those in its `exclude` list left out.

        Args:
            queries: shape (q, dimension), float32, finite.
            k: at least 1.
            exclude: a list of item rows for each query.

        Returns:
            lines padded at the end only where fewer than min(k, size) items are left.

        Raises:
            ValueError: for what `check_queries` and `check_exclude` refuse.
        """
        check_queries(queries, self.dimension, k)
        if exclude is not None:
            check_exclude(exclude, len(queries), self.size)
        width = min(int(k), self.size)
        scores = np.empty((len(queries), width), dtype=np.float32)
        rows = np.empty((len(queries), width), dtype=np.int64)
        step = max(1, _BLOCK_BYTES // (4 * self.size))
        for start in range(0, len(queries), step):
            block = slice(start, min(start + step, len(queries)))
            products = queries[block] @ self.vectors.T  # (block, n)
            if exclude is not None:
                lists = exclude.take(np.arange(block.start, block.stop))
                products[lists.flat_users(), lists.items] = -np.inf
            scores[block], rows[block] = top_k(products, width)
        return SearchResult(scores, rows)
