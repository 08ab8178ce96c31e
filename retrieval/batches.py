"""Training steps for the towers: positives grouped by user, histories thinned, negatives drawn."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from retrieval.encoded import EncodedInteractions
from retrieval.negatives import UniformNegatives
from retrieval.settings import TowerSettings
from retrieval.towers import Batch

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


class TowerBatches:
    """Iterates over epochs of `Batch`es.

    A user's positives are cut into groups of `targets_per_history`, the groups shuffled: a user's
    history is then pooled once for a whole group instead of once for each positive, which keeps an
    epoch's work proportional to the data even where histories are long. Users drawn uniformly
    (`user_sampling`) are not grouped.

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
        self._histories = positives.item_lists()
        self._negatives = UniformNegatives(self._histories, positives.n_items)
        self._weights = np.ones(len(positives), dtype=np.float32)
        if positives.timestamps is not None and settings.recency_half_life_days is not None:
            self._weights = recency_weights(positives.timestamps, settings.recency_half_life_days)
        self._trainable = np.flatnonzero(self._negatives.can_sample(positives.users))

    @property
    def triplets(self) -> int:
        """Pairs of positive and negative an epoch compares."""
        return len(self._trainable) * self._settings.negatives

    def epoch(self) -> Iterator[Batch]:
        """All positives once, in a new order; or as many, of users drawn uniformly."""
        by_users = self._settings.user_sampling == "users"
        order = self._drawn_by_user() if by_users else self._grouped_order()
        for start in range(0, len(order), self._settings.batch_size):
            yield self._batch(order[start : start + self._settings.batch_size])

    def _grouped_order(self) -> NDArray[np.int64]:
        """Positions of the positives: shuffled inside each user, cut into groups, groups shuffled."""
        shuffled = self._rng.permutation(self._trainable)
        users = self._positives.users[shuffled]
        by_user = np.argsort(users, kind="stable")
        shuffled, users = shuffled[by_user], users[by_user]
        starts = np.flatnonzero(np.r_[True, users[1:] != users[:-1]])
        place = np.arange(len(users)) - np.repeat(starts, np.diff(np.r_[starts, len(users)]))
        first_of_group = place % self._settings.targets_per_history == 0
        group = np.cumsum(first_of_group) - 1
        rank = self._rng.permutation(group[-1] + 1) if len(group) else group
        return shuffled[np.argsort(rank[group], kind="stable")]

    def _drawn_by_user(self) -> NDArray[np.int64]:
        """Positions of positives, with replacement: a user uniformly, then one of his uniformly."""
        # Whether there is a negative is the user's: all of his positives can be trained on, or none.
        users = np.unique(self._positives.users[self._trainable])
        drawn = self._rng.choice(users, size=len(self._trainable)) if len(users) else users
        return self._rng.integers(self._histories.indptr[drawn], self._histories.indptr[drawn + 1])

    def _batch(self, positions: NDArray[np.int64]) -> Batch:
        data, settings = self._positives, self._settings
        users, user_of = np.unique(data.users[positions], return_inverse=True)
        histories = self._histories.take(users)
        # Thinning: every item of a history stays with probability 1 - history_dropout.
        kept = self._rng.random(len(histories.items)) >= settings.history_dropout
        kept_before = np.r_[0, np.cumsum(kept)]
        starts = kept_before[histories.indptr]
        # A positive's place in its user's history is its place among the user's rows.
        place = positions - self._histories.indptr[data.users[positions]]
        target_kept = kept[histories.indptr[user_of] + place]
        negatives = self._negatives.sample(data.users[positions], settings.negatives, self._rng)
        return Batch(
            users=self._tensor(users),
            user_of=self._tensor(user_of),
            targets=self._tensor(data.items[positions]),
            negatives=self._tensor(negatives),
            weights=self._tensor(self._weights[positions]),
            history=self._tensor(histories.items[kept].astype(np.int64)),
            history_starts=self._tensor(starts[:-1]),
            history_sizes=self._tensor(np.diff(starts).astype(np.float32)),
            target_kept=self._tensor(target_kept.astype(np.float32)),
        )

    def _tensor(self, array: NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
