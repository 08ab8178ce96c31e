"""A fitted system with its ids: what a bundle stores, and what `Recommender` serves."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.arrays import Weights
from retrieval.data.ids import IdMap
from retrieval.serving.item_attributes import ItemAttributes
from retrieval.serving.two_stage import TwoStageModel


@dataclass(frozen=True)
class FittedSystem:
    """One `TwoStageModel`, the ids of its rows, and the trained weights behind it.

    Attributes:
        model: answers in row numbers.
        users, items: ids of those rows.
        titles: shape (n_items,), unicode; empty where an item has no title.
        popularity: shape (n_items,), float32: what people nothing is known of can be shown, most first.
        tower_weights, neural_mf_weights: `state_dict`s of the torch models, as float32 arrays; no
            NeuralMF where there were no ratings.
        attributes: what is known of the items, to filter by; nothing where there was no table of them.

    Raises:
        ValueError: if the parts are of different sizes, or popularity or titles of another type.
    """

    model: TwoStageModel
    users: IdMap
    items: IdMap
    titles: NDArray[np.str_]
    popularity: NDArray[np.float32]
    tower_weights: Weights
    neural_mf_weights: Weights | None
    attributes: ItemAttributes = field(default_factory=ItemAttributes)

    def __post_init__(self) -> None:
        users, items = len(self.model.vectors.users), len(self.model.vectors.items)
        sizes = (len(self.users), len(self.items), len(self.titles), len(self.popularity))
        if sizes != (users, items, items, items):
            raise ValueError(
                f"the model has {users} users and {items} items, but there are ids of {sizes[0]} users, "
                f"{sizes[1]} items, {sizes[2]} titles and the popularity of {sizes[3]} items; "
                "they are of different builds"
            )
        if self.popularity.dtype != np.float32 or self.popularity.ndim != 1:
            raise ValueError(f"the popularity is {self.popularity.dtype} of shape {self.popularity.shape}")
        if self.titles.dtype.kind != "U" or self.titles.ndim != 1:
            raise ValueError(f"the titles are {self.titles.dtype} of shape {self.titles.shape}, not texts")
        self.attributes.check(items)
        if (self.neural_mf_weights is None) != (self.model.rating_model is None):
            raise ValueError("NeuralMF's weights and its model belong together: there is only one of them")


def title_array(titles: list[str | None]) -> NDArray[Any]:
    """Titles as a plain array, the empty string for None."""
    return np.array([title or "" for title in titles], dtype=np.str_)
