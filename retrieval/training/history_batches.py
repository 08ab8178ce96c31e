"""Training steps for the history user tower: what a user liked, parted into a history and what came next."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from index import ItemLists
from retrieval.data.encoded import EncodedInteractions
from retrieval.settings import TowerSettings
from retrieval.training.recency import training_weights


@dataclass(frozen=True)
class HistoryBatch:
    """One step of the history user tower: U users, each one's positives parted into history and targets.

    Attributes:
        users: (U,) int64, user rows.
        history, history_starts: (H,) and (U,) int64: the histories' item rows, flat, and where each
            user's begin.
        targets, user_of: (P,) int64, positive item rows and each one's place in `users`.
        weights: (P,) float32.
        catalogue: (K,) int64, the item rows that negatives are drawn from.
        items_each: how many items each of those stands for, where they are a sample of all.
        own_users, own_items: (O,) int64: places in `users` and in `catalogue` of their positives,
            history and targets alike, which are nobody's negatives.
        draws: (U, N) float32 in [0, 1): which negatives are drawn.
        known: (n_items,) float32, 0 where the item is to be known by its features alone in this step;
            None where there are no features.
        described: (U,) float32, 0 where the user is to be known by his history alone; None likewise.
    """

    users: Tensor
    history: Tensor
    history_starts: Tensor
    targets: Tensor
    user_of: Tensor
    weights: Tensor
    catalogue: Tensor
    items_each: float
    own_users: Tensor
    own_items: Tensor
    draws: Tensor
    known: Tensor | None = None
    described: Tensor | None = None


class HistoryBatches:
    """Iterates over epochs of `HistoryBatch`es: every user with positives once an epoch, in a new order.

    Each time a user's positives are parted anew: mostly by time, so that the tower learns what follows
    a history, else at random; and into a history of any length, short ones often, so that it learns
    what little a short one says.

    Args:
        positives: ordered by user and item, as `EncodedInteractions` always are.
        settings: see `TowerSettings`.
        rng: the only source of chance.
        device: where the tensors go.
        catalogue: item rows that can be negatives; every item unless given.
        with_item_features, with_user_features: whether items and users are now and then to be known by
            their features alone, and by their history alone.
    """

    def __init__(
        self,
        positives: EncodedInteractions,
        settings: TowerSettings,
        rng: np.random.Generator,
        device: torch.device,
        *,
        catalogue: NDArray[np.int64] | None = None,
        with_item_features: bool = False,
        with_user_features: bool = False,
    ) -> None:
        self._positives = positives
        self._settings = settings
        self._rng = rng
        self._device = device
        self._catalogue = np.arange(positives.n_items) if catalogue is None else catalogue
        self._features = with_item_features, with_user_features
        self._lists = positives.item_lists()
        self._weights = training_weights(positives, settings)
        self._place_in_time = self._places_in_time()
        lengths = self._lists.lengths()
        self._users = np.flatnonzero((lengths > 0) & (lengths < len(self._catalogue)))

    @property
    def comparisons(self) -> int:
        """Pairs of positive and negative an epoch compares, about: half of the positives are targets."""
        return -(int(self._lists.lengths()[self._users].sum()) * self._settings.negatives // -2)

    def epoch(self) -> Iterator[HistoryBatch]:
        """Every user once; and again where all that a few users liked became history."""
        order, trained = self._rng.permutation(self._users), not len(self._users)
        while not trained:
            for start in range(0, len(order), self._settings.batch_size):
                batch = self._batch(np.sort(order[start : start + self._settings.batch_size]))
                if len(batch.targets):
                    trained = True
                    yield batch

    def _places_in_time(self) -> NDArray[np.float32]:
        """Each positive's place in its user's own order of time, from 0 to 1; equal times in any order."""
        data, chance = self._positives, self._rng.random(len(self._positives))
        times = chance if data.timestamps is None else data.timestamps
        order = np.lexsort((chance, times, data.users))
        lengths = self._lists.lengths()[data.users]
        places = np.empty(len(data), dtype=np.float32)
        places[order] = (np.arange(len(data)) - self._lists.indptr[data.users] + 0.5) / lengths
        return places

    def _history_shares(self, lengths: NDArray[np.int64]) -> NDArray[np.float64]:
        """The share of each user's positives that becomes history: uniform, or short (log-uniform)."""
        share = self._rng.random(len(lengths))
        short = (np.exp(share * np.log(lengths + 1)) - 1) / (lengths + 1)
        return np.where(self._rng.random(len(lengths)) < self._settings.short_histories, short, share)

    def _batch(self, users: NDArray[np.int64]) -> HistoryBatch:
        settings, rng = self._settings, self._rng
        lists = self._lists.take(users)
        lengths, user_of = lists.lengths(), lists.flat_users()
        positions = np.arange(len(user_of)) + np.repeat(
            self._lists.indptr[users] - lists.indptr[:-1], lengths
        )
        by_time = rng.random(len(users)) < settings.parted_by_time
        place = np.where(by_time[user_of], self._place_in_time[positions], rng.random(len(positions)))
        kept = place < self._history_shares(lengths)[user_of]
        kept_before = np.r_[0, np.cumsum(kept)]
        catalogue = self._negative_catalogue()
        own_users, own_items = places_in(catalogue, lists)
        return HistoryBatch(
            users=self._tensor(users),
            history=self._tensor(lists.items[kept].astype(np.int64)),
            history_starts=self._tensor(kept_before[lists.indptr[:-1]]),
            targets=self._tensor(lists.items[~kept].astype(np.int64)),
            user_of=self._tensor(user_of[~kept]),
            weights=self._tensor(self._weights[positions[~kept]]),
            catalogue=self._tensor(catalogue),
            items_each=len(self._catalogue) / len(catalogue),
            own_users=self._tensor(own_users),
            own_items=self._tensor(own_items),
            draws=self._tensor(rng.random((len(users), settings.negatives), dtype=np.float32)),
            known=self._kept_known(self._positives.n_items) if self._features[0] else None,
            described=self._kept_known(len(users)) if self._features[1] else None,
        )

    def _negative_catalogue(self) -> NDArray[np.int64]:
        """All items that can be negatives, ascending; of a large catalogue a uniform sample."""
        size = self._settings.catalogue_sample
        if len(self._catalogue) <= size:
            return self._catalogue
        return np.sort(self._rng.choice(self._catalogue, size=size, replace=False, shuffle=False))

    def _kept_known(self, size: int) -> torch.Tensor:
        kept = self._rng.random(size) >= self._settings.feature_share
        return self._tensor(kept.astype(np.float32))

    def _tensor(self, array: NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


def places_in(catalogue: NDArray[np.int64], lists: ItemLists) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the items of q lists stand in a catalogue (ascending rows): lines and columns, without others."""
    columns = np.minimum(np.searchsorted(catalogue, lists.items), len(catalogue) - 1)
    there = catalogue[columns] == lists.items
    return lists.flat_users()[there], columns[there]
