"""A fitted system with other items: added, replaced or removed, nothing trained again.

All that goes by items stays sorted by their ids, so that an id order and a row order are the same thing;
only the FAISS index is appended to, see `AnnIndex.changed`.
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
    """Items to add, or to put in place of those of the same id; see also `new_items.items_of_table`.

    Attributes:
        ids: m of them, of the catalogue's type.
        titles: shape (m,), unicode; empty where an item has none.
        vectors: shape (m, d + 1), float32; the last column is the bias.
        histories: shape (m, d), float32: what each adds to the history it is in; None for the id tower.
        attributes: what is known of them, to filter by; in columns it has it replaces what was known.

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
        """Some of them, told by a bool for each."""
        places = np.where(chosen, np.cumsum(chosen) - 1, -1)
        return NewItems(
            IdMap(self.ids.ids[chosen]),
            self.titles[chosen],
            self.vectors[chosen],
            None if self.histories is None else self.histories[chosen],
            self.attributes.moved(places),
        )


def with_items(system: FittedSystem, new: NewItems) -> FittedSystem:
    """The system with these items; one whose id is known already is replaced.

    A new item is in nobody's seen list and nobody's favourite: popularity and trend are 0, and NeuralMF
    knows of it what a build has it know of items without ratings, the mean of the others. A replaced item
    keeps all that. Users keep their vectors.

    Raises:
        ValueError: if the ids are of another type than the catalogue's, or vectors do not fit.
    """
    if new.ids.are_integers != system.items.are_integers:
        raise ValueError("the ids of the catalogue and the new ones are not both integers or both text")
    return _changed(system, IdMap(np.union1d(system.items.ids, new.ids.ids)), new)


def without_items(system: FittedSystem, ids: Sequence[Id] | NDArray[Any]) -> FittedSystem:
    """The system without these items: nobody is recommended them, and nobody has seen them.

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
    """The system with its index built again from the items there are: without tombstones, newly trained.

    Of the same kind and with the same settings, if so few items as there are now allow it; else the
    default kind.

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
    """How many have met each item: shape (n_items,)."""
    return np.bincount(system.model.seen.items, minlength=len(system.items)).astype(np.int64)


def _changed(system: FittedSystem, items: IdMap, new: NewItems | None) -> FittedSystem:
    """Everything moved to the rows of `items`, and the new ones put in."""
    model = system.model
    source, kept = system.items.rows(items.ids), items.rows(system.items.ids)
    places = np.empty(0, dtype=np.int64) if new is None else items.rows(new.ids.ids)
    vectors = _moved_vectors(model.vectors, source, places, new)
    titles = _moved(system.titles, source, "")
    if new is not None:
        titles = titles.astype(np.result_type(titles, new.titles))  # numpy cuts longer texts off
        titles[places] = new.titles
    popularity = _moved(system.popularity, source, 0)
    weights, rating_model = system.neural_mf_weights, model.rating_model
    if weights is not None:
        weights = _moved_neural_mf(weights, source, interactions_of(system) > 0)
        rating_model = RatingModel.from_weights(weights)
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
    """The array in new rows, each from its old one; `fill` where there is none, -1."""
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
    """Appended are the vectors that are new in their rows; of the others the index knows already."""
    is_known = source >= 0
    is_known[is_known] = (after[is_known] == before[source[is_known]]).all(axis=1)
    written = np.flatnonzero(~is_known)
    stays = np.where(np.isin(kept, written), -1, kept)
    return ann.changed(stays, after[written], written)


def _moved_attributes(
    attributes: ItemAttributes, kept: NDArray[np.int64], places: NDArray[np.int64], new: NewItems | None
) -> ItemAttributes:
    """What is known of the items; of columns that the new ones have, theirs only."""
    moved = attributes.moved(kept)
    if new is None:
        return moved
    told, others = new.attributes.columns, attributes.moved(np.where(np.isin(kept, places), -1, kept))
    names = [name for name in moved.columns if name not in told or name in others.columns]
    columns = {name: (others if name in told else moved).columns[name] for name in names}
    return ItemAttributes(columns).with_more(new.attributes.moved(places))


def _moved_lists(lists: ItemLists, kept: NDArray[np.int64]) -> ItemLists:
    """Lists of items in their new rows, without those that are gone."""
    rows, users = kept[lists.items], lists.flat_users()
    indptr = np.searchsorted(users[rows >= 0], np.arange(len(lists) + 1)).astype(np.int64)
    items = rows[rows >= 0]
    return ItemLists(indptr, items.astype(np.int32) if lists.items.dtype == np.int32 else items)


def _moved_neural_mf(weights: Weights, source: NDArray[np.int64], is_met: NDArray[np.bool_]) -> Weights:
    """NeuralMF's table of items; new ones get what a build gives to items without ratings."""
    table = weights["items.weight"]
    fill = table[is_met].mean(axis=0) if is_met.any() else table.mean(axis=0)
    return {**weights, "items.weight": _moved(table, source, fill)}
