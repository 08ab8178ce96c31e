"""Weighs interactions by their age: a positive of `half_life` days ago counts half."""

import numpy as np
from numpy.typing import NDArray

from retrieval.data.encoded import EncodedInteractions
from retrieval.settings import TowerSettings

SECONDS_A_DAY = 86_400.0
OLDEST = 0.05  # weight of the oldest positive, where the newest has 1


def recency_weights(timestamps: NDArray[np.int64], half_life_days: float) -> NDArray[np.float32]:
    """Weights that halve every `half_life_days` before now, down to `OLDEST`, scaled to mean 1.

    Now is the 0.99 quantile of the timestamps: a row with a wrong clock, dated years ahead, must not make
    everything else old. The floor `OLDEST` keeps the early rows of tables that span decades.

    >>> recency_weights(np.array([0, 86_400]), half_life_days=1.0).astype(float).round(2).tolist()
    [0.69, 1.31]
    """
    now = np.quantile(timestamps, 0.99)
    age_days = np.maximum(now - timestamps, 0) / SECONDS_A_DAY
    weights = OLDEST + (1 - OLDEST) * np.exp2(-age_days / half_life_days)
    return np.asarray(weights / weights.mean(), dtype=np.float32)


def training_weights(positives: EncodedInteractions, settings: TowerSettings) -> NDArray[np.float32]:
    """Weight of each positive, shape (n,), mean 1: by its age, or all the same."""
    if positives.timestamps is None or settings.recency_half_life_days is None:
        return np.ones(len(positives), dtype=np.float32)
    return recency_weights(positives.timestamps, settings.recency_half_life_days)
