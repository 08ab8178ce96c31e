"""Side features of items or users as numbers: which of a known list of features each row has."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index import ItemLists


@dataclass(frozen=True, eq=False)
class SideFeatures:
    """The features of n rows, items or users.

    Attributes:
        lists: n lists of feature numbers.
        names: of the features, such as "genre=Comedy"; a feature's number is its place.

    Raises:
        ValueError: if a list names a feature that has no name.
    """

    lists: ItemLists
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.lists.items) and self.lists.items.max() >= len(self.names):
            raise ValueError(f"feature {self.lists.items.max()} of {len(self.names)} features")

    def __len__(self) -> int:
        return len(self.lists)

    def __bool__(self) -> bool:
        return bool(self.names)

    def padded(self) -> NDArray[np.int64]:
        """Feature numbers side by side: shape (n, the most a row has), padded with the number of features."""
        lengths = self.lists.lengths()
        padded = np.full((len(self), int(lengths.max(initial=0))), len(self.names), dtype=np.int64)
        places = np.arange(len(self.lists.items)) - self.lists.indptr[self.lists.flat_users()]
        padded[self.lists.flat_users(), places] = self.lists.items
        return padded
