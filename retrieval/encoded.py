"""Interactions as row numbers: what the models train on and are judged by."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from index import ItemLists
from retrieval.ids import IdMap


@dataclass(frozen=True)
class EncodedInteractions:
    """Interactions whose users and items are rows of two `IdMap`s, ordered by user, then item.

    Attributes:
        users, items: shape (n,), int64 rows.
        ratings: shape (n,), float32.
        timestamps: shape (n,), int64, unix seconds.
        n_users, n_items: sizes of the id maps; rows are below them.
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    ratings: NDArray[np.float32]
    timestamps: NDArray[np.int64]
    n_users: int
    n_items: int

    @classmethod
    def from_frame(cls, frame: pl.DataFrame, users: IdMap, items: IdMap) -> "EncodedInteractions":
        """Encode the rows whose user and item are known; the others are left out."""
        user_rows = users.rows(frame["user"].to_numpy())
        item_rows = items.rows(frame["item"].to_numpy())
        known = np.flatnonzero((user_rows >= 0) & (item_rows >= 0))
        order = known[np.lexsort((item_rows[known], user_rows[known]))]
        return cls(
            users=user_rows[order],
            items=item_rows[order],
            ratings=frame["rating"].to_numpy().astype(np.float32)[order],
            timestamps=frame["timestamp"].to_numpy()[order],
            n_users=len(users),
            n_items=len(items),
        )

    def __len__(self) -> int:
        return len(self.users)

    def where(self, mask: NDArray[np.bool_]) -> "EncodedInteractions":
        """The rows where `mask`, shape (n,), is true."""
        return EncodedInteractions(
            self.users[mask],
            self.items[mask],
            self.ratings[mask],
            self.timestamps[mask],
            self.n_users,
            self.n_items,
        )

    def positives(self, threshold: float) -> "EncodedInteractions":
        """The rows rated at least `threshold`."""
        return self.where(self.ratings >= threshold)

    def without(self, other: "EncodedInteractions") -> "EncodedInteractions":
        """The rows whose pair of user and item does not occur in `other`."""
        keys = self.users * self.n_items + self.items
        return self.where(~np.isin(keys, other.users * other.n_items + other.items))

    def item_lists(self) -> ItemLists:
        """Each user's items, ascending: `n_users` lists."""
        indptr = np.searchsorted(self.users, np.arange(self.n_users + 1)).astype(np.int64)
        return ItemLists(indptr, self.items)
