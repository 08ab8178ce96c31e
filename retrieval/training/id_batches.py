"""Training batches of the id tower: single positives, each with negatives of its user."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retrieval.data.encoded import EncodedInteractions
from retrieval.settings import TowerSettings
from retrieval.training.negatives import UniformNegatives
from retrieval.training.recency import training_weights


@dataclass(frozen=True)
class TripletBatch:
    """One step of the id user tower, as torch tensors on one device; B positives, N negatives.

    Attributes:
        users: (B,) int64, user rows.
        targets: (B,) int64, positive item rows.
        negatives: (B, N) int64, item rows.
        weights: (B,) float32, mean about 1.
    """

    users: Tensor
    targets: Tensor
    negatives: Tensor
    weights: Tensor


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
        """Pairs of a positive and a negative in an epoch."""
        return len(self._trainable) * self._settings.negatives

    def epoch(self) -> Iterator[TripletBatch]:
        """All positives once in a new order, or as many draws by uniform users."""
        by_users = self._settings.user_sampling == "users"
        order = self._drawn_by_user() if by_users else self._rng.permutation(self._trainable)
        for start in range(0, len(order), self._settings.batch_size):
            yield self._batch(order[start : start + self._settings.batch_size])

    def _drawn_by_user(self) -> NDArray[np.int64]:
        """Positions of positives, with replacement: sample a user, then one of their positives."""
        # A user has negatives or has none, so all of their positives can be trained on, or none.
        users = np.unique(self._positives.users[self._trainable])
        drawn = self._rng.choice(users, size=len(self._trainable)) if len(users) else users
        return self._rng.integers(self._lists.indptr[drawn], self._lists.indptr[drawn + 1])

    def _batch(self, positions: NDArray[np.int64]) -> TripletBatch:
        users = self._positives.users[positions]
        negatives = self._negatives.sample(users, self._settings.negatives, self._rng)
        arrays = (users, self._positives.items[positions], negatives, self._weights[positions])
        return TripletBatch(*(torch.from_numpy(array).to(self._device) for array in arrays))
