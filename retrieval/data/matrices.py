"""Sparse matrices of users and items, and sums over them."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from retrieval.arrays import Scores
from retrieval.data.encoded import EncodedInteractions

GRAM_LINES = 512  # of the matrix, computed at a time


def positive_matrix(positives: EncodedInteractions) -> sparse.csr_matrix:
    """Binary user x item matrix, sparse float32."""
    ones = np.ones(len(positives), dtype=np.float32)
    shape = (positives.n_users, positives.n_items)
    return sparse.csr_matrix((ones, (positives.users, positives.items)), shape=shape)


def gram_matrix(positives: EncodedInteractions) -> NDArray[np.float64]:
    """How many users have both of two items as positives: X'X, shape (n_items, n_items), float64."""
    matrix = positive_matrix(positives)
    items, n_items = sparse.csr_matrix(matrix.T), positives.n_items
    gram = np.empty((n_items, n_items), dtype=np.float64)
    for start in range(0, n_items, GRAM_LINES):  # the sparse product of all would take as much again
        lines = slice(start, start + GRAM_LINES)
        gram[lines] = (items[lines] @ matrix).toarray()
    return gram


def popularity(positives: EncodedInteractions) -> Scores:
    """How many positives each item has: shape (n_items,), float32."""
    return np.asarray(np.bincount(positives.items, minlength=positives.n_items), dtype=np.float32)
