"""Interactions as rows of users and items, for training and evaluation."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from index import ItemLists
from retrieval.data.ids import IdMap
from retrieval.data.reading.columns import RATING, TIMESTAMP


@dataclass(frozen=True)
class EncodedInteractions:
    """Interactions whose users and items are rows of two `IdMap`s, ordered by user, then item.

    Attributes:
        users, items: shape (n,), int64 rows.
        ratings: shape (n,), float32; None where the table has none: every row is a positive.
        timestamps: shape (n,), int64, Unix seconds; None where the table has none.
        n_users, n_items: sizes of the id maps; rows are below them.
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    ratings: NDArray[np.float32] | None
    timestamps: NDArray[np.int64] | None
    n_users: int
    n_items: int

    @classmethod
    def from_frame(cls, frame: pl.DataFrame, users: IdMap, items: IdMap) -> "EncodedInteractions":
        """Encode the interactions whose user and item are known, and leave out the others."""
        user_rows = users.rows(frame["user"].to_numpy())
        item_rows = items.rows(frame["item"].to_numpy())
        known = np.flatnonzero((user_rows >= 0) & (item_rows >= 0))
        order = known[np.lexsort((item_rows[known], user_rows[known]))]
        rated, timed = RATING in frame.columns, TIMESTAMP in frame.columns
        return cls(
            users=user_rows[order],
            items=item_rows[order],
            ratings=frame[RATING].to_numpy().astype(np.float32)[order] if rated else None,
            timestamps=frame[TIMESTAMP].to_numpy()[order] if timed else None,
            n_users=len(users),
            n_items=len(items),
        )

    def __len__(self) -> int:
        return len(self.users)

    def where(self, mask: NDArray[np.bool_]) -> "EncodedInteractions":
        """The interactions where `mask`, shape (n,), is true."""
        return EncodedInteractions(
            self.users[mask],
            self.items[mask],
            None if self.ratings is None else self.ratings[mask],
            None if self.timestamps is None else self.timestamps[mask],
            self.n_users,
            self.n_items,
        )

    def of_users(self, rows: NDArray[np.int64]) -> "EncodedInteractions":
        """The interactions of some users (ascending rows); these become rows 0, 1, ... in that order."""
        mask = np.zeros(self.n_users, dtype=np.bool_)
        mask[rows] = True
        kept = self.where(mask[self.users])
        return replace(kept, users=np.searchsorted(rows, kept.users), n_users=len(rows))

    def positives(self, threshold: float) -> "EncodedInteractions":
        """The interactions rated at least `threshold`; all of them where there are no ratings."""
        return self if self.ratings is None else self.where(self.ratings >= threshold)

    def without(self, other: "EncodedInteractions") -> "EncodedInteractions":
        """The interactions whose pair of user and item does not occur in `other`."""
        keys = self.users * self.n_items + self.items
        return self.where(~np.isin(keys, other.users * other.n_items + other.items))

    def item_lists(self) -> ItemLists:
        """Each user's items, ascending: `n_users` lists."""
        indptr = np.searchsorted(self.users, np.arange(self.n_users + 1)).astype(np.int64)
        return ItemLists(indptr, self.items)


def ids_of(frame: pl.DataFrame) -> tuple[IdMap, IdMap]:
    """The ids of the users and items of a frame of interactions."""
    return IdMap.from_values(frame["user"].to_numpy()), IdMap.from_values(frame["item"].to_numpy())
