"""Training batches of the history tower: each user's positives split into a history and its targets."""

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
    """One step of the history user tower: U users, each one's positives split into history and targets.

    Attributes:
        users: (U,) int64, user rows.
        history, history_starts: (H,) and (U,) int64: the item rows of all histories in one array, and
            the position where each user's history starts.
        targets, user_of: (P,) int64, positive item rows, and the position of their user in `users`.
        weights: (P,) float32.
        catalogue: (K,) int64, item rows that can be negatives.
        items_each: the number of items that each of those stands for, where they are a sample.
        own_users, own_items: (O,) int64: positions in `users` and in `catalogue` of the users' positives,
            history and targets alike, which are no negatives of theirs.
        draws: (U, N) float32 in [0, 1): random numbers that pick the negatives.
        known: (n_items,) float32, 0 where only the features of an item speak for it in this step; None
            where there are no item features.
        described: (U,) float32, 0 where the features of a user are hidden in this step, so that their
            history alone speaks; None where there are no user features.
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

    Every epoch splits a user's positives anew: mostly by time, so that the tower learns what follows a
    history, otherwise at random. Histories have any length and are often short, so that the tower learns
    how little a short history says.

    Args:
        positives: ordered by user and item, as `EncodedInteractions` always are.
        settings: see `TowerSettings`.
        rng: the only source of chance.
        device: where the tensors go.
        catalogue: item rows that can be negatives, ascending; None: every item.
        with_item_features: whether an item is sometimes known by its features alone.
        with_user_features: whether a user is sometimes known by their history alone.
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
        """Pairs of a positive and a negative in an epoch, roughly: half of the positives are targets."""
        return -(int(self._lists.lengths()[self._users].sum()) * self._settings.negatives // -2)

    def epoch(self) -> Iterator[HistoryBatch]:
        """Every user once. Repeats if no batch had a target, which happens with very few positives."""
        order, trained = self._rng.permutation(self._users), not len(self._users)
        while not trained:
            for start in range(0, len(order), self._settings.batch_size):
                batch = self._batch(np.sort(order[start : start + self._settings.batch_size]))
                if len(batch.targets):
                    trained = True
                    yield batch

    def _places_in_time(self) -> NDArray[np.float32]:
        """Place of each positive in its user's order of time, in (0, 1): shape (n,); ties in random order."""
        data, chance = self._positives, self._rng.random(len(self._positives))
        times = chance if data.timestamps is None else data.timestamps
        order = np.lexsort((chance, times, data.users))
        lengths = self._lists.lengths()[data.users]
        places = np.empty(len(data), dtype=np.float32)
        places[order] = (np.arange(len(data)) - self._lists.indptr[data.users] + 0.5) / lengths
        return places

    def _history_shares(self, lengths: NDArray[np.int64]) -> NDArray[np.float64]:
        """Share of each user's positives that becomes history, (U,): uniform, or short (log-uniform)."""
        share = self._rng.random(len(lengths))
        short = (np.exp(share * np.log(lengths + 1)) - 1) / (lengths + 1)
        return np.where(self._rng.random(len(lengths)) < self._settings.short_histories, short, share)

    def _batch(self, users: NDArray[np.int64]) -> HistoryBatch:
        settings, rng = self._settings, self._rng
        lists = self._lists.take(users)
        lengths, user_of = lists.lengths(), lists.flat_users()  # (U,) and (n,): n positives of the batch
        # (n,): where each of them stands among all positives of train.
        positions = np.arange(len(user_of)) + np.repeat(
            self._lists.indptr[users] - lists.indptr[:-1], lengths
        )
        by_time = rng.random(len(users)) < settings.parted_by_time
        place = np.where(by_time[user_of], self._place_in_time[positions], rng.random(len(positions)))
        # (n,): True joins the history, False is a target; a positive is never both.
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
        """Items that can be negatives, ascending; a uniform sample of a large catalogue."""
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
    """Line and catalogue position of every item of q lists that the catalogue (ascending rows) has."""
    columns = np.minimum(np.searchsorted(catalogue, lists.items), len(catalogue) - 1)
    there = catalogue[columns] == lists.items
    return lists.flat_users()[there], columns[there]
