"""A fitted system with its ids: what a bundle stores, and what `Recommender` serves."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.ids import IdMap
from retrieval.two_stage import TwoStageModel
from retrieval.vectors import Weights


@dataclass(frozen=True)
class FittedSystem:
    """One `TwoStageModel`, the ids of its rows, and the trained weights behind it.

    Attributes:
        model: answers in row numbers.
        users, items: ids of those rows.
        titles: shape (n_items,), unicode; empty where an item has no title.
        tower_weights, neural_mf_weights: `state_dict`s of the torch models, as float32 arrays.

    Raises:
        ValueError: if the parts are of different sizes.
    """

    model: TwoStageModel
    users: IdMap
    items: IdMap
    titles: NDArray[np.str_]
    tower_weights: Weights
    neural_mf_weights: Weights

    def __post_init__(self) -> None:
        users, items = len(self.model.vectors.users), len(self.model.vectors.items)
        sizes = (len(self.users), len(self.items), len(self.titles))
        if sizes != (users, items, items):
            raise ValueError(
                f"the model has {users} users and {items} items, but there are ids of {sizes[0]} users, "
                f"{sizes[1]} items and {sizes[2]} titles; they are of different builds"
            )


def title_array(titles: list[str | None]) -> NDArray[Any]:
    """Titles as a plain array, the empty string for None."""
    return np.array([title or "" for title in titles], dtype=np.str_)
