"""The start of the history towers: EASE's closed-form weights, factorised into two narrow tables."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackError, svds

from retrieval.data.encoded import EncodedInteractions
from retrieval.training.linear_models import EASE_MAX_ITEMS, Ease

Table = NDArray[np.float32]

# EASE's l2, and a factor on its scores. Both were chosen on the rows
# before the 0.7 quantile of time, of MovieLens 100K and of half of 1M.
L2, SCALE = 300.0, 2.0


@dataclass(frozen=True)
class TowerStart:
    """The values added to the random start of the two tables of items.

    Attributes:
        histories: shape (n_items, d), float32, for the user tower's table.
        items: shape (n_items, d), float32, for the item tower's.
    """

    histories: Table
    items: Table


def closed_form_start(positives: EncodedInteractions, dimension: int, seed: int) -> TowerStart | None:
    """EASE's item-to-item weights (Steck, WWW 2019) as a product of two tables, by truncated SVD.

    EASE scores an item by a sum of weights over the history, a history tower by a sum of products of two
    item vectors. EASE's weight matrix, factorised, is therefore a pair of towers, and training starts
    close to EASE.

    Returns:
        None where the catalogue is too large for EASE; training then starts from random vectors.
    """
    if positives.n_items > EASE_MAX_ITEMS:
        return None
    weights = Ease.fit(positives, L2).weights
    histories, items = (np.zeros((positives.n_items, dimension), dtype=np.float32) for _ in range(2))
    rank = min(dimension, positives.n_items - 1)
    if rank > 0 and weights.any():
        left, sizes, right = _truncated_svd(weights, rank, seed)
        root = SCALE * np.sqrt(sizes)
        histories[:, :rank], items[:, :rank] = left * root, right.T * root
    return TowerStart(histories, items)


def _truncated_svd(matrix: Table, rank: int, seed: int) -> tuple[Table, Table, Table]:
    """The largest singular values with their vectors: (n, n) ~ (n, rank) * (rank,) * (rank, n)."""
    # ARPACK needs a start vector: a seeded one, so that builds repeat.
    start = np.random.default_rng(seed).standard_normal(len(matrix)).astype(np.float32)
    try:
        found: tuple[Table, Table, Table] = svds(matrix, k=rank, v0=start)
    except ArpackError:
        # Many equal singular values, as where users fall into groups that all like the same items, can leave
        # ARPACK with no direction to go on in. PROPACK takes them.
        found = svds(matrix, k=rank, v0=start, solver="propack", rng=np.random.default_rng(seed))
    return found
