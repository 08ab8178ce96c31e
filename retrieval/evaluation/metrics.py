"""Ranking metrics of many users at once, and the squared errors of predicted ratings.

Every ranking metric takes `hits`: shape (q, at least k), bool, True where the item at that rank of the user's
list is relevant. A list shorter than k is padded with False.
"""

import numpy as np
from numpy.typing import NDArray

Hits = NDArray[np.bool_]
PerUser = NDArray[np.float64]


def precision(hits: Hits, k: int) -> PerUser:
    """Precision@k = relevant items among the first k / k.

    The denominator is k also where the list is shorter. A user without relevant items has 0.

    Args:
        hits: shape (q, at least k).
        k: cut-off, at least 1.

    Returns:
        shape (q,), float64.

    >>> precision(np.array([[True, False, True]]), k=2).tolist()
    [0.5]
    """
    return np.asarray(hits[:, :k].sum(axis=1) / float(k), dtype=np.float64)


def recall(hits: Hits, n_relevant: NDArray[np.int64], k: int) -> PerUser:
    """Recall@k = relevant items among the first k / all relevant items of the user.

    The denominator may exceed k, so that even a perfect list stays below 1 (as in trec_eval).

    Args:
        hits: shape (q, at least k).
        n_relevant: shape (q,), each at least 1: recall is 0 / 0 for a user without relevant items.
        k: cut-off, at least 1.

    Raises:
        ValueError: if a user has no relevant item.

    >>> recall(np.array([[True, False, True]]), np.array([4]), k=3).tolist()
    [0.5]
    """
    _require_relevant(n_relevant)
    return np.asarray(hits[:, :k].sum(axis=1) / n_relevant, dtype=np.float64)


def ndcg(hits: Hits, n_relevant: NDArray[np.int64], k: int) -> PerUser:
    """NDCG@k = DCG of the list / DCG of an ideal list, with binary gain.

    DCG@k = sum of 1 / log2(rank + 1) over those of the ranks 1 to k that hold a relevant item. The ideal list
    begins with min(n_relevant, k) relevant items (Järvelin and Kekäläinen, TOIS 2002).

    Args:
        hits: shape (q, at least k).
        n_relevant: shape (q,), each at least 1: NDCG is 0 / 0 for a user without relevant items.
        k: cut-off, at least 1.

    Raises:
        ValueError: if a user has no relevant item.

    >>> ndcg(np.array([[False, True]]), np.array([1]), k=2).round(4).tolist()
    [0.6309]
    """
    _require_relevant(n_relevant)
    hits = hits[:, :k]
    # One weight for each rank that matters, not for each of k: k may be far above the catalogue.
    discount = 1 / np.log2(np.arange(2, max(hits.shape[1], int(n_relevant.max(initial=1))) + 2))
    gain = hits @ discount[: hits.shape[1]]
    ideal = np.cumsum(discount)[np.minimum(n_relevant, min(k, len(discount))) - 1]
    return np.asarray(gain / ideal, dtype=np.float64)


def squared_errors(predicted: NDArray[np.floating], actual: NDArray[np.floating]) -> PerUser:
    """(predicted - actual) ** 2 of each rating: shape (n,), float64. RMSE is the root of their mean."""
    return np.square(predicted.astype(np.float64) - actual.astype(np.float64))


def _require_relevant(n_relevant: NDArray[np.int64]) -> None:
    if len(n_relevant) and n_relevant.min() < 1:
        raise ValueError("recall and NDCG are defined for users with at least one relevant item")
