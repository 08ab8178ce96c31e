"""Vectors of side features, from which items without interactions get their own. No torch here."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index import ItemLists


@dataclass(frozen=True, eq=False)
class FeatureVectors:
    """The feature embeddings of history towers, in the space of the vectors they export; f features.

    In both of the towers' item tables, an item without interactions is the mean of its features' embeddings.
    These rows are enough to add such items; the towers themselves are not needed.

    Attributes:
        names: names of the features, such as "genre=Comedy", see `side_features.SideFeatures`.
        items: shape (f, d + 1), float32: the part of each in an item's vector, bias included.
        histories: shape (f, d), float32: the part of each in an item's row of the history table.

    Raises:
        ValueError: if shapes do not fit together, a value is NaN or infinite, or a name is no text.
    """

    names: tuple[str, ...]
    items: NDArray[np.float32]
    histories: NDArray[np.float32]

    def __post_init__(self) -> None:
        if not all(isinstance(name, str) for name in self.names):
            raise ValueError("names of features must be texts")
        shapes = (self.items.shape, self.histories.shape)
        if self.items.ndim != 2 or shapes[0] != (len(self.names), self.items.shape[1]):
            raise ValueError(f"feature vectors have shape {shapes[0]}; expected {len(self.names)} rows")
        if shapes[1] != (len(self.names), self.items.shape[1] - 1):
            raise ValueError(f"feature vectors have the shapes {shapes}; expected the second a column less")
        for matrix in (self.items, self.histories):
            if matrix.dtype != np.float32 or not np.isfinite(matrix).all():
                raise ValueError("feature vectors must be finite float32 numbers")

    def means(self, features: ItemLists) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Vectors, and rows of the history table, for items that have nothing but features.

        Args:
            features: for each of n items the rows of its features; an item without features gets zeros,
                as in the towers.

        Returns:
            shapes (n, d + 1) and (n, d), float32.

        >>> vectors = FeatureVectors(("a", "b"), np.float32([[2, 0], [0, 4]]), np.float32([[2], [6]]))
        >>> items, histories = vectors.means(ItemLists.from_pairs([0, 0, 1], [0, 1, 1], 3))
        >>> items.tolist(), histories.tolist()
        ([[1.0, 2.0], [0.0, 4.0], [0.0, 0.0]], [[4.0], [6.0], [0.0]])
        """
        return _means(self.items, features), _means(self.histories, features)


def check_same_names(members: Sequence[FeatureVectors]) -> tuple[str, ...]:
    """The names of the features, which must be the same in all members.

    Raises:
        ValueError: if they are not.
    """
    names = members[0].names
    if any(each.names != names for each in members):
        raise ValueError("the members' features differ; expected towers trained on the same tables")
    return names


def _means(table: NDArray[np.float32], features: ItemLists) -> NDArray[np.float32]:
    sums = np.zeros((len(features), table.shape[1]), dtype=np.float64)
    np.add.at(sums, features.flat_users(), table[features.items])
    return (sums / np.maximum(features.lengths(), 1)[:, None]).astype(np.float32)
