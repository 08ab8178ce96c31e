"""A fitted model with its ids, titles and trained weights, before and after its index is chosen."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.arrays import Weights
from retrieval.data.ids import IdMap
from retrieval.serving.fitted_model import FittedModel
from retrieval.serving.item_attributes import ItemAttributes
from retrieval.serving.two_stage import TwoStageModel


@dataclass(frozen=True)
class FittedParts:
    """A fitted model with the ids of its rows and the trained weights behind it; it has no index yet.

    Attributes:
        model: works in row numbers.
        users, items: the ids of those rows.
        titles: shape (n_items,), unicode; empty where an item has no title.
        popularity: shape (n_items,), float32: recent positive interactions, by which the fallback ranks.
        tower_weights, neural_mf_weights: `state_dict`s of the torch models, as float32 arrays; no
            NeuralMF where there were no ratings.
        attributes: categories of the items, for filters; empty where there was no table of items.

    Raises:
        ValueError: if the parts are of different sizes, or popularity or titles of another type.
    """

    model: FittedModel
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


@dataclass(frozen=True)
class FittedSystem(FittedParts):
    """The complete system: what a bundle stores and `Recommender` serves.

    Attributes:
        model: with its index.
    """

    model: TwoStageModel

    @classmethod
    def of(cls, parts: FittedParts, model: TwoStageModel) -> "FittedSystem":
        """The parts, completed with the model that has its index."""
        return cls(
            model=model,
            users=parts.users,
            items=parts.items,
            titles=parts.titles,
            popularity=parts.popularity,
            tower_weights=parts.tower_weights,
            neural_mf_weights=parts.neural_mf_weights,
            attributes=parts.attributes,
        )


def title_array(titles: list[str | None]) -> NDArray[Any]:
    """Titles as a plain array, the empty string for None."""
    return np.array([title or "" for title in titles], dtype=np.str_)
