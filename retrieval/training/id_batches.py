"""Training steps for the id user tower: positives one by one, each with negatives of its user."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from retrieval.data.encoded import EncodedInteractions
from retrieval.settings import TowerSettings
from retrieval.training.negatives import UniformNegatives
from retrieval.training.towers import TripletBatch

SECONDS_A_DAY = 86_400.0
OLDEST = 0.05  # what the oldest positive still weighs, beside 1 for the newest


def recency_weights(timestamps: NDArray[np.int64], half_life_days: float) -> NDArray[np.float32]:
    """Weights that halve every `half_life_days` before now, down to `OLDEST`, scaled to mean 1.

    Now is the moment after 99 % of the timestamps: one row of a wrong clock, dated years ahead, must
    not make everything else old. The floor keeps tables that span decades from being forgotten.

    >>> recency_weights(np.array([0, 86_400]), half_life_days=1.0).astype(float).round(2).tolist()
    [0.69, 1.31]
    """
    now = np.quantile(timestamps, 0.99)
    age_days = np.maximum(now - timestamps, 0) / SECONDS_A_DAY
    weights = OLDEST + (1 - OLDEST) * np.exp2(-age_days / half_life_days)
    return np.asarray(weights / weights.mean(), dtype=np.float32)


def training_weights(positives: EncodedInteractions, settings: TowerSettings) -> NDArray[np.float32]:
    """What each positive weighs, mean 1: by its age, or all the same."""
    if positives.timestamps is None or settings.recency_half_life_days is None:
        return np.ones(len(positives), dtype=np.float32)
    return recency_weights(positives.timestamps, settings.recency_half_life_days)


class TripletBatches:
    """Iterates over epochs of `TripletBatch`es.

    Args:
        positives: ordered by user and item, as `EncodedInteractions` always are.
        settings: see `TowerSettings`.
        rng: the only source of chance.
        device: where the tensors go.
    """

    def __init__(
        self,
        positives: EncodedInteractions,
        settings: TowerSettings,
        rng: np.random.Generator,
        device: torch.device,
    ) -> None:
        self._positives = positives
        self._settings = settings
        self._rng = rng
        self._device = device
        self._lists = positives.item_lists()
        self._negatives = UniformNegatives(self._lists, positives.n_items)
        self._weights = training_weights(positives, settings)
        self._trainable = np.flatnonzero(self._negatives.can_sample(positives.users))

    @property
    def comparisons(self) -> int:
        """Pairs of positive and negative an epoch compares."""
        return len(self._trainable) * self._settings.negatives

    def epoch(self) -> Iterator[TripletBatch]:
        """All positives once, in a new order; or as many, of users drawn uniformly."""
        by_users = self._settings.user_sampling == "users"
        order = self._drawn_by_user() if by_users else self._rng.permutation(self._trainable)
        for start in range(0, len(order), self._settings.batch_size):
            yield self._batch(order[start : start + self._settings.batch_size])

    def _drawn_by_user(self) -> NDArray[np.int64]:
        """Positions of positives, with replacement: a user uniformly, then one of his uniformly."""
        # Whether there is a negative is the user's: all of his positives can be trained on, or none.
        users = np.unique(self._positives.users[self._trainable])
        drawn = self._rng.choice(users, size=len(self._trainable)) if len(users) else users
        return self._rng.integers(self._lists.indptr[drawn], self._lists.indptr[drawn + 1])

    def _batch(self, positions: NDArray[np.int64]) -> TripletBatch:
        users = self._positives.users[positions]
        negatives = self._negatives.sample(users, self._settings.negatives, self._rng)
        arrays = (users, self._positives.items[positions], negatives, self._weights[positions])
        return TripletBatch(*(torch.from_numpy(array).to(self._device) for array in arrays))
