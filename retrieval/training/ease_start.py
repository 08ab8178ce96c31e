"""Where the history towers start: the closed-form solution of a linear model, as two narrow tables."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

from retrieval.data.encoded import EncodedInteractions
from retrieval.training.linear_models import EASE_MAX_ITEMS, Ease

Table = NDArray[np.float32]

# EASE's l2 and how far its scores are drawn out; chosen on the rows before the 0.7 quantile of the half of
# MovieLens 1M and of 100K.
L2, SCALE = 300.0, 2.0


@dataclass(frozen=True)
class TowerStart:
    """What the two tables of items begin with, beside chance.

    Attributes:
        histories: shape (n_items, d), float32, for the user tower's table.
        items: shape (n_items, d), float32, for the item tower's.
    """

    histories: Table
    items: Table


def closed_form_start(positives: EncodedInteractions, dimension: int, seed: int) -> TowerStart | None:
    """EASE's item-to-item weights (Steck, WWW 2019) as a product of two tables, by truncated SVD.

    A history tower scores an item by the sum of products of two item vectors, EASE by a sum of weights;
    so EASE's weights, factorised, are towers already, and training starts where EASE ends.

    Returns:
        None where the catalogue is too large for EASE; training then starts from chance.
    """
    if positives.n_items > EASE_MAX_ITEMS:
        return None
    weights = Ease.fit(positives, L2).weights
    histories, items = (np.zeros((positives.n_items, dimension), dtype=np.float32) for _ in range(2))
    rank = min(dimension, positives.n_items - 1)
    if rank > 0 and weights.any():
        # ARPACK starts from a vector: always the same one, so that builds repeat.
        start = np.random.default_rng(seed).standard_normal(positives.n_items).astype(np.float32)
        left, sizes, right = svds(weights, k=rank, v0=start)
        root = SCALE * np.sqrt(sizes)
        histories[:, :rank], items[:, :rank] = left * root, right.T * root
    return TowerStart(histories, items)
