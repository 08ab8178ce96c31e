"""Adds, replaces and removes items of a fitted system; nothing is trained again.

Every array with a row for each item stays sorted by id, so that id order and row order are the same. The
FAISS index alone is appended to; its row map keeps the order, see `AnnIndex.changed`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index import AnnIndex, ItemLists, check_factory, default_factory
from retrieval.arrays import Matrix, Weights
from retrieval.data.ids import Id, IdMap, known_instead, shown
from retrieval.errors import NotFoundError, UsageError
from retrieval.serving.fitted_model import recent_demand
from retrieval.serving.fitted_system import FittedSystem
from retrieval.serving.item_attributes import ItemAttributes
from retrieval.serving.rating_model import RatingModel
from retrieval.serving.tower_vectors import TowerVectors


@dataclass(frozen=True, eq=False)
class NewItems:
    """Items to add; one with a known id replaces the item of that id. See `new_items.items_of_table`.

    Attributes:
        ids: m ids, of the catalogue's type.
        titles: shape (m,), unicode; empty where an item has none.
        vectors: shape (m, d + 1), float32; the last column is the bias.
        histories: shape (m, d), float32: their rows of the history table; None for the id tower.
        attributes: their categories, for filters; a column given here replaces what was known in it.

    Raises:
        ValueError: if the parts are of different lengths.
    """

    ids: IdMap
    titles: NDArray[np.str_]
    vectors: Matrix
    histories: Matrix | None
    attributes: ItemAttributes = field(default_factory=ItemAttributes)

    def __post_init__(self) -> None:
        parts = [self.titles, self.vectors] + ([] if self.histories is None else [self.histories])
        if any(len(part) != len(self.ids) for part in parts):
            raise ValueError(f"{len(self.ids)} ids for {', '.join(str(len(part)) for part in parts)} rows")
        self.attributes.check(len(self.ids))

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, chosen: NDArray[np.bool_]) -> "NewItems":
        """The items that are True in a mask of shape (m,)."""
        places = np.where(chosen, np.cumsum(chosen) - 1, -1)
        return NewItems(
            IdMap(self.ids.ids[chosen]),
            self.titles[chosen],
            self.vectors[chosen],
            None if self.histories is None else self.histories[chosen],
            self.attributes.moved(places),
        )


def with_items(system: FittedSystem, new: NewItems) -> FittedSystem:
    """Add these items to the system; an item with a known id is replaced.

    No user has seen a new item. Its popularity and trend are 0, and its row in NeuralMF is the mean of the
    items with interactions, as in a build. A replaced item keeps all of that. Users keep their vectors.

    Raises:
        ValueError: if the ids are of another type than the catalogue's, or vectors do not fit.
    """
    if new.ids.are_integers != system.items.are_integers:
        raise ValueError("the ids of the catalogue and the new ones are not both integers or both text")
    return _changed(system, IdMap(np.union1d(system.items.ids, new.ids.ids)), new)


def without_items(system: FittedSystem, ids: Sequence[Id] | NDArray[Any]) -> FittedSystem:
    """Remove these items from the system: they leave the lists and the seen items of every user.

    Raises:
        NotFoundError: if an item is unknown.
        UsageError: if no item would be left.
    """
    rows = system.items.rows(ids)
    unknown = np.flatnonzero(rows < 0)
    if len(unknown):
        wrong = ids[int(unknown[0])]
        others = f" and {len(unknown) - 1} others are" if len(unknown) > 1 else " is"
        raise NotFoundError(
            f"item {shown(wrong)}{others} not among the {len(system.items)} items of this bundle; "
            f"{known_instead(wrong, system.items)}; nothing was removed"
        )
    left = np.delete(system.items.ids, rows)
    if not len(left):
        raise UsageError(
            f"these are all {len(system.items)} items; leave one at least, or run build-index on other data"
        )
    return _changed(system, IdMap(left), None)


def compacted(system: FittedSystem, *, seed: int, threads: int) -> FittedSystem:
    """Build the system's index again from the current items, newly trained and without tombstones.

    It keeps its kind and settings if the number of items allows them, and is of the default kind if not.

    Args:
        seed, threads: see `AnnIndex.build`.
    """
    vectors, ann = system.model.vectors.items, system.model.ann
    try:
        check_factory(ann.factory, *vectors.shape)
    except ValueError:
        built = AnnIndex.build(vectors, default_factory(len(vectors)), seed=seed, threads=threads)
    else:
        built = AnnIndex.build(vectors, ann.factory, seed=seed, threads=threads, settings=ann.settings)
    return replace(system, model=replace(system.model, ann=built))


def interactions_of(system: FittedSystem) -> NDArray[np.int64]:
    """The number of users who have seen each item: shape (n_items,), int64."""
    return np.bincount(system.model.seen.items, minlength=len(system.items)).astype(np.int64)


def _changed(system: FittedSystem, items: IdMap, new: NewItems | None) -> FittedSystem:
    """Move every part to the rows of `items`, and put in the new ones."""
    model = system.model
    # Old row of each new one, and new row of each old one; -1 where there is none.
    source, kept = system.items.rows(items.ids), items.rows(system.items.ids)
    places = np.empty(0, dtype=np.int64) if new is None else items.rows(new.ids.ids)
    vectors = _moved_vectors(model.vectors, source, places, new)
    titles = _moved(system.titles, source, "")
    if new is not None:
        titles = titles.astype(np.result_type(titles, new.titles))  # numpy cuts longer texts off
        titles[places] = new.titles
    popularity = _moved(system.popularity, source, 0)
    weights, rating_model = system.neural_mf_weights, model.rating_model
    if weights is not None and rating_model is not None:
        weights = _moved_neural_mf(weights, source, interactions_of(system) > 0)
        rating_model = RatingModel.from_weights(weights, rating_model.bounds)
    moved = replace(
        model,
        vectors=vectors,
        ann=_moved_index(system.model.ann, model.vectors.items, vectors.items, source, kept),
        rating_model=rating_model,
        seen=_moved_lists(model.seen, kept),
        trend=None if model.trend is None else recent_demand(popularity),
    )
    return replace(
        system,
        model=moved,
        items=items,
        titles=titles,
        popularity=popularity,
        tower_weights=vectors.weights(),
        neural_mf_weights=weights,
        attributes=_moved_attributes(system.attributes, kept, places, new),
    )


def _moved(array: NDArray[Any], source: NDArray[np.int64], fill: Any) -> NDArray[Any]:
    """The array in new rows: row i is old row source[i], or `fill` where source[i] is -1."""
    moved = array[source]
    moved[source < 0] = fill
    return moved


def _moved_vectors(
    vectors: TowerVectors, source: NDArray[np.int64], places: NDArray[np.int64], new: NewItems | None
) -> TowerVectors:
    items, histories = _moved(vectors.items, source, 0), vectors.history_items
    if histories is not None:
        histories = _moved(histories, source, 0)
    if new is not None:
        items[places] = new.vectors
        if histories is not None and new.histories is not None:
            histories[places] = new.histories
    return replace(vectors, items=items, history_items=histories)


def _moved_index(
    ann: AnnIndex, before: Matrix, after: Matrix, source: NDArray[np.int64], kept: NDArray[np.int64]
) -> AnnIndex:
    """Append only changed vectors; the index has the others already."""
    is_known = source >= 0
    is_known[is_known] = (after[is_known] == before[source[is_known]]).all(axis=1)
    written = np.flatnonzero(~is_known)
    stays = np.where(np.isin(kept, written), -1, kept)
    return ann.changed(stays, after[written], written)


def _moved_attributes(
    attributes: ItemAttributes, kept: NDArray[np.int64], places: NDArray[np.int64], new: NewItems | None
) -> ItemAttributes:
    """The categories in new rows; a new item keeps nothing old in the columns that the new ones have."""
    moved = attributes.moved(kept)
    if new is None:
        return moved
    told, others = new.attributes.columns, attributes.moved(np.where(np.isin(kept, places), -1, kept))
    names = [name for name in moved.columns if name not in told or name in others.columns]
    columns = {name: (others if name in told else moved).columns[name] for name in names}
    return ItemAttributes(columns).with_more(new.attributes.moved(places))


def _moved_lists(lists: ItemLists, kept: NDArray[np.int64]) -> ItemLists:
    """Lists of items in their new rows, without the removed items."""
    rows, users = kept[lists.items], lists.flat_users()
    indptr = np.searchsorted(users[rows >= 0], np.arange(len(lists) + 1)).astype(np.int64)
    items = rows[rows >= 0]
    return ItemLists(indptr, items.astype(np.int32) if lists.items.dtype == np.int32 else items)


def _moved_neural_mf(
    weights: Weights, source: NDArray[np.int64], has_interactions: NDArray[np.bool_]
) -> Weights:
    """NeuralMF's item table in new rows; a new item gets the mean row of the items with interactions."""
    table = weights["items.weight"]
    fill = table[has_interactions].mean(axis=0) if has_interactions.any() else table.mean(axis=0)
    return {**weights, "items.weight": _moved(table, source, fill)}
