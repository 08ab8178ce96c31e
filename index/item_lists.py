"""Ragged lists of item rows, one list for each query."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.errors import InputError


@dataclass(frozen=True, eq=False)
class ItemLists:
    """A list of item rows for each of q users, of any length, such as the items each has seen already.

    Attributes:
        indptr: shape (q + 1,), int64; the list of user u is ``items[indptr[u]:indptr[u + 1]]``.
        items: shape (nnz,), int32 or int64, strictly increasing within each list.

    Raises:
        InputError: if the two arrays do not fit together, or a list is unsorted or repeats an item.

    >>> seen = ItemLists.from_pairs(np.array([0, 2, 2]), np.array([7, 5, 3]), n_users=3)
    >>> seen.of(2).tolist(), seen.lengths().tolist()
    ([3, 5], [1, 0, 2])
    """

    indptr: NDArray[np.int64]
    items: NDArray[np.int32] | NDArray[np.int64]

    def __post_init__(self) -> None:
        indptr, items = self.indptr, self.items
        if indptr.ndim != 1 or indptr.dtype != np.int64 or not len(indptr):
            raise InputError(
                f"indptr is {indptr.dtype} of shape {indptr.shape}; expected int64, one axis, q + 1"
            )
        if items.ndim != 1 or items.dtype not in (np.int32, np.int64):
            raise InputError(
                f"items are {items.dtype} of shape {items.shape}; expected int32 or int64, one axis"
            )
        if indptr[0] != 0 or indptr[-1] != len(items) or (indptr[1:] < indptr[:-1]).any():
            raise InputError(
                f"indptr runs from {indptr[0]} to {indptr[-1]}; expected never to fall, from 0 to the "
                f"{len(items)} items"
            )
        if len(items) and items.min() < 0:
            raise InputError(f"an item row is {items.min()}; expected 0 or more", "leave unknown items out")
        rising = items[1:] > items[:-1]
        inner = indptr[1:-1]
        rising[inner[(inner > 0) & (inner < len(items))] - 1] = True  # the next list may start anywhere
        if not rising.all():
            user = np.searchsorted(indptr, np.argmin(rising), side="right") - 1
            raise InputError(
                f"the items of list {user} are not strictly increasing; expected sorted and without repeats",
                "build with ItemLists.from_pairs",
            )

    @classmethod
    def empty(cls, n_users: int) -> "ItemLists":
        """An empty list for each of `n_users`."""
        return cls(np.zeros(n_users + 1, dtype=np.int64), np.empty(0, dtype=np.int32))

    @classmethod
    def from_pairs(cls, user_rows: NDArray[Any], item_rows: NDArray[Any], n_users: int) -> "ItemLists":
        """Make lists of (user, item) pairs in any order; repeated pairs count once.

        Raises:
            InputError: if the lengths differ, or a row is negative or no user's.
        """
        users, items = np.asarray(user_rows, dtype=np.int64), np.asarray(item_rows, dtype=np.int64)
        if users.shape != items.shape or users.ndim != 1:
            raise InputError(
                f"user rows have shape {users.shape}, item rows {items.shape}; expected the same length"
            )
        if not len(users):
            return cls.empty(n_users)
        if users.min() < 0 or users.max() >= n_users or items.min() < 0:
            raise InputError(
                f"user rows run from {users.min()} to {users.max()} and item rows from {items.min()}; "
                f"expected users from 0 to {n_users - 1} and items from 0"
            )
        span = int(items.max()) + 1
        keys = np.unique(users * span + items)
        indptr = np.searchsorted(keys, np.arange(n_users + 1, dtype=np.int64) * span).astype(np.int64)
        unique = keys % span
        return cls(indptr, unique.astype(np.int32) if span <= 2**31 else unique)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def lengths(self) -> NDArray[np.int64]:
        """Number of items in each list: shape (q,)."""
        return np.diff(self.indptr)

    def flat_users(self) -> NDArray[np.int64]:
        """The user of each entry of `items`: shape (nnz,)."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths())

    def of(self, row: int) -> NDArray[np.int32] | NDArray[np.int64]:
        """The list of one user: a view into `items`.

        Raises:
            InputError: if there is no such list.
        """
        self._check_users(np.array([row]))
        return self.items[self.indptr[row] : self.indptr[row + 1]]

    def take(self, rows: NDArray[np.int64]) -> "ItemLists":
        """The lists of these users, in this order, repetitions allowed.

        Raises:
            InputError: if there is no such list.
        """
        rows = np.asarray(rows, dtype=np.int64)
        self._check_users(rows)
        lengths = self.indptr[rows + 1] - self.indptr[rows]
        indptr = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        positions = np.repeat(self.indptr[rows] - indptr[:-1], lengths) + np.arange(indptr[-1])
        return ItemLists._whole(indptr, self.items[positions])

    def contains(self, user_rows: NDArray[np.int64], item_rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether ``item_rows[i, j]`` is in the list of ``user_rows[i]``.

        Args:
            user_rows: shape (q,).
            item_rows: shape (q, k); a negative row is in no list.

        Returns:
            shape (q, k), bool. Takes memory for the lists asked for, never users x items.
        """
        return self.take(user_rows).hold(item_rows)

    def hold(self, item_rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether ``item_rows[i, j]`` is in list i, as `contains`: shape (q, k) -> (q, k), bool."""
        if not len(self.items) or not item_rows.size:
            return np.zeros(item_rows.shape, dtype=np.bool_)
        span = max(int(self.items.max()), int(item_rows.max())) + 1
        keys = self.flat_users() * span + self.items  # sorted, because each list is
        wanted = np.arange(len(self), dtype=np.int64)[:, np.newaxis] * span + item_rows
        positions = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.asarray((keys[positions] == wanted) & (item_rows >= 0))

    def within(self, rows: NDArray[np.int64]) -> "ItemLists":
        """The items that are among `rows` (strictly increasing), as positions in `rows`.

        >>> lists = ItemLists.from_pairs(np.array([0, 0, 1]), np.array([2, 7, 3]), 2)
        >>> [lists.within(np.array([3, 7, 9])).of(user).tolist() for user in (0, 1)]
        [[1], [0]]
        """
        if not len(rows) or not len(self.items):
            return ItemLists.empty(len(self))
        positions = np.minimum(np.searchsorted(rows, self.items), len(rows) - 1)
        inside = rows[positions] == self.items
        indptr = np.concatenate(([0], np.cumsum(inside)))[self.indptr].astype(np.int64)
        return ItemLists._whole(indptr, positions[inside])

    @classmethod
    def _whole(cls, indptr: NDArray[np.int64], items: NDArray[np.int32] | NDArray[np.int64]) -> "ItemLists":
        """Lists made of checked ones, which need no second check."""
        lists = object.__new__(cls)
        object.__setattr__(lists, "indptr", indptr)
        object.__setattr__(lists, "items", items)
        return lists

    def _check_users(self, rows: NDArray[np.int64]) -> None:
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise InputError(f"rows {rows.min()} to {rows.max()} asked for; expected 0 to {len(self) - 1}")


def check_exclude(exclude: ItemLists, n_queries: int, size: int) -> None:
    """Refuse lists of excluded items that belong to other queries or another catalogue.

    Raises:
        InputError: unless there is a list for each query and every row is below `size`.
    """
    if len(exclude) != n_queries:
        raise InputError(f"{len(exclude)} lists of excluded items for {n_queries} queries; expected one each")
    if len(exclude.items) and exclude.items.max() >= size:
        raise InputError(
            f"excluded item row {exclude.items.max()} is not in the index of {size} items",
            "use the catalogue the index was built from",
        )
