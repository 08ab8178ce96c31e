"""Sparse matrices of users and items, and sums over them."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from retrieval.arrays import Scores
from retrieval.data.encoded import EncodedInteractions


def positive_matrix(positives: EncodedInteractions) -> sparse.csr_matrix:
    """Binary user x item matrix, sparse float32."""
    ones = np.ones(len(positives), dtype=np.float32)
    shape = (positives.n_users, positives.n_items)
    return sparse.csr_matrix((ones, (positives.users, positives.items)), shape=shape)


def gram_matrix(positives: EncodedInteractions) -> NDArray[np.float64]:
    """How many users have both of two items as positives: X'X, shape (n_items, n_items), float64."""
    matrix = positive_matrix(positives)
    return np.asarray((matrix.T @ matrix).toarray(), dtype=np.float64)


def popularity(positives: EncodedInteractions) -> Scores:
    """How many positives each item has: shape (n_items,), float32."""
    return np.asarray(np.bincount(positives.items, minlength=positives.n_items), dtype=np.float32)
