"""Two linear item-to-item models that are hard to beat: EASE and item-kNN."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from retrieval.arrays import Scorer
from retrieval.data.encoded import EncodedInteractions
from retrieval.data.matrices import gram_matrix, positive_matrix

# EASE inverts a dense n_items x n_items matrix; above this it takes too much memory and time.
EASE_MAX_ITEMS = 10_000
# The memory that choosing EASE's l2 takes at its peak, in squares of the catalogue of 8 bytes an entry, as
# measured: the counts, the matrix that is inverted in place, and two results in float32.
EASE_SQUARES = 3.5
# Most similarities in memory at a time while item-kNN looks for the largest.
SIMILARITIES_A_BLOCK = 8_000_000


def ease_bytes(n_items: int) -> int:
    """The memory that fitting EASE takes at its peak.

    >>> ease_bytes(10_000)
    2800000000
    """
    return int(EASE_SQUARES * 8 * n_items**2)


@dataclass(frozen=True)
class Ease:
    """A linear item-to-item model, fitted in closed form (Steck, WWW 2019).

    With G = X'X over the binary user x item matrix of positives and P = (G + l2 I)^-1, the weights
    are B = I - P diag(P)^-1: zero on the diagonal, so that no item predicts itself.

    Attributes:
        weights: shape (n_items, n_items), float32.
    """

    weights: NDArray[np.float32]

    @classmethod
    def fit(cls, positives: EncodedInteractions, l2: float) -> "Ease":
        """Fit on positives, in O(n_items^2) memory and O(n_items^3) time."""
        return cls._of_own(gram_matrix(positives), l2)

    @classmethod
    def from_gram(cls, gram: NDArray[np.float64], l2: float) -> "Ease":
        """As `fit`, from `gram_matrix`, which is the same for every l2 and stays unchanged."""
        return cls._of_own(gram.copy(), l2)

    @classmethod
    def _of_own(cls, gram: NDArray[np.float64], l2: float) -> "Ease":
        """As `from_gram`, in the memory of `gram`, which is overwritten: n_items^2 numbers are large."""
        gram[np.diag_indices_from(gram)] += l2
        # The matrix is symmetric: its transpose is the same, by columns, which LAPACK inverts in place.
        inverse = linalg.inv(gram.T, overwrite_a=True, check_finite=False)
        diagonal = np.diag(inverse).copy()
        np.negative(inverse, out=inverse)
        np.divide(inverse, diagonal, out=inverse)
        np.fill_diagonal(inverse, 0)
        return cls(np.ascontiguousarray(inverse, dtype=np.float32))

    def scorer(self, matrix: sparse.csr_matrix) -> Scorer:
        """Scores users by their rows of a positive matrix (see `positive_matrix`)."""
        return lambda users: np.asarray(matrix[users] @ self.weights, dtype=np.float32)


@dataclass(frozen=True)
class ItemKnn:
    """Items are similar if the same users like them (Deshpande and Karypis, TOIS 2004).

    An item is the vector of its users, each weighted by ln(1 + n_items / positives of the user): a user who
    likes everything says little. The similarity is the cosine, and every item keeps its most similar
    others. A user's score of an item is the sum of its similarities to the user's positives.

    Attributes:
        similarities: (n_items, n_items), sparse float32; line i holds the items most similar to item
            i, without i itself.
    """

    similarities: sparse.csr_matrix

    @classmethod
    def fit(cls, positives: EncodedInteractions, neighbours: int) -> "ItemKnn":
        """Keep this many neighbours of each item; equal similarities are ordered by item row.

        Memory grows with the neighbours that are kept, time with the pairs of items that a user likes both.
        """
        matrix = positive_matrix(positives)
        counts = np.asarray(matrix.sum(axis=1)).ravel()
        weights = np.log1p(positives.n_items / np.maximum(counts, 1))
        weighted = sparse.csr_matrix(sparse.diags(weights) @ matrix, dtype=np.float32)
        lengths = np.sqrt(np.asarray(weighted.power(2).sum(axis=0)).ravel())
        unit = sparse.csr_matrix(weighted @ sparse.diags(1 / np.maximum(lengths, 1e-12)), dtype=np.float32)
        items = sparse.csr_matrix(unit.T)
        # Upper bound of the entries of line i: one for each positive of each user of item i.
        bounds = np.minimum(matrix.T @ counts, positives.n_items)
        blocks = (np.cumsum(bounds) // SIMILARITIES_A_BLOCK).astype(np.int64)
        cuts = [*np.flatnonzero(np.diff(blocks, prepend=-1)).tolist(), positives.n_items]
        kept = [_strongest(items[start:end] @ unit, start, neighbours) for start, end in pairwise(cuts)]
        return cls(sparse.csr_matrix(sparse.vstack(kept, format="csr")))

    def narrowed(self, neighbours: int) -> "ItemKnn":
        """The model that `fit` would give with fewer neighbours."""
        return ItemKnn(_strongest(self.similarities, 0, neighbours))

    def scorer(self, matrix: sparse.csr_matrix) -> Scorer:
        """Scores users by their rows of a positive matrix (see `positive_matrix`)."""
        return lambda users: np.asarray((matrix[users] @ self.similarities).toarray(), dtype=np.float32)


def _strongest(similarities: sparse.csr_matrix, first: int, neighbours: int) -> sparse.csr_matrix:
    """The largest entries of each line, without the diagonal; line i belongs to item `first` + i."""
    similarities.sort_indices()
    kept = np.zeros(similarities.nnz, dtype=np.bool_)
    for line, (start, end) in enumerate(zip(similarities.indptr[:-1], similarities.indptr[1:], strict=True)):
        others = similarities.indices[start:end] != first + line
        kept[start:end] = others
        surplus = np.count_nonzero(others) - neighbours
        if surplus > 0:
            values = np.where(others, similarities.data[start:end], -1)
            cut = np.partition(values, len(values) - neighbours)[len(values) - neighbours]
            level = values == cut
            room = neighbours - np.count_nonzero(values > cut)
            kept[start:end] = (values > cut) | (level & (np.cumsum(level) <= room))
    ends = np.concatenate(([0], np.cumsum(kept)))[similarities.indptr]
    return sparse.csr_matrix(
        (similarities.data[kept], similarities.indices[kept], ends), shape=similarities.shape
    )
