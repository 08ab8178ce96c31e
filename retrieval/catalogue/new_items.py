"""Turns a table of items into new items for a fitted system: ids, titles, vectors and categories."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval.arrays import Matrix
from retrieval.catalogue.change import NewItems, interactions_of
from retrieval.data.ids import IdMap
from retrieval.data.items import ItemTable
from retrieval.data.side_features import SideFeatures
from retrieval.errors import DataError, UsageError
from retrieval.serving.fitted_system import FittedSystem, title_array
from retrieval.serving.item_attributes import ItemAttributes


@dataclass(frozen=True, eq=False)
class Update:
    """The changes that a table of items would make to a system.

    Attributes:
        items: the items that are new, or known and different.
        added: how many are new.
        replaced: how many are known with another vector.
        updated: how many are known with the same vector, but another title or other categories.
        unchanged: how many are known and the same.
        undescribed: how many of the added have no feature that the system knows, and so a vector of zeros.
        kept: how many have interactions and therefore keep their trained vectors.
    """

    items: NewItems
    added: int
    replaced: int
    updated: int
    unchanged: int
    undescribed: int = 0
    kept: int = 0


def items_of_table(system: FittedSystem, table: ItemTable, vectors: Matrix | None = None) -> Update:
    """Compare a table of items with a fitted system, and give each item its vectors.

    Vectors come from side features, as in a build for items that only the item table knows. Items with
    interactions keep their trained vectors, and their rows of the history table even if `vectors` are given.

    Args:
        vectors: shape (len(table), d + 1): a vector for each row of the table, used instead.

    Raises:
        DataError: if an id is not of the catalogue's type, or the vectors do not fit.
        UsageError: if no vectors are given and the system has no features to make them from.
    """
    own, (ids, order) = system.model.vectors, _sorted_ids(table, system.items)
    rows = system.items.rows(ids.ids)
    has_interactions = rows >= 0
    has_interactions[has_interactions] = interactions_of(system)[rows[has_interactions]] > 0
    names = () if own.features is None else own.features.names
    described = SideFeatures.with_names(names, table, ids).lists
    histories = None
    if own.features is not None:
        made, histories = own.features.means(described)
    elif vectors is None:
        raise UsageError(_no_features(system))
    elif own.history_items is not None:
        histories = np.zeros((len(ids), own.dimension - 1), dtype=np.float32)
        _keep(histories, own.history_items, rows, rows >= 0)
    if vectors is None:
        _keep(made, own.items, rows, has_interactions)
    else:
        made = _checked(vectors, len(table), own.dimension)[order]
    if histories is not None and own.history_items is not None:
        _keep(histories, own.history_items, rows, has_interactions)
    titles, attributes = _titles(system, table, ids), ItemAttributes.of(table, ids)
    update = _compared(system, NewItems(ids, titles, made, histories, attributes))
    return replace(
        update,
        undescribed=int(((rows < 0) & ~made.any(axis=1) & (described.lengths() == 0)).sum()),
        kept=int(has_interactions.sum()) if vectors is None else 0,
    )


def known_columns(system: FittedSystem) -> set[str]:
    """The columns of an item table that the system's features and filters use, for `read_items`."""
    features = system.model.vectors.features
    names = () if features is None else features.names
    return {name.split("=")[0] for name in names} | set(system.attributes.columns)


def read_vectors(path: Path) -> NDArray[Any]:
    """Read a matrix of numbers from an .npy file.

    Raises:
        DataError: if the file is missing, or holds something else.
    """
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; give an .npy file of vectors") from None
    except (ValueError, EOFError, MemoryError) as error:
        raise DataError(f"{path}: not a plain .npy file ({error}); write one with numpy.save") from None
    if array.ndim != 2 or array.dtype.kind != "f":
        raise DataError(
            f"{path}: {array.dtype} of shape {array.shape}; expected floating-point numbers, a row each item"
        )
    return np.asarray(array)


def _compared(system: FittedSystem, items: NewItems) -> Update:
    """Compare the items with the system's, and keep those that are new or different."""
    rows = system.items.rows(items.ids.ids)
    is_known = rows >= 0
    has_other_vector, has_other_title = ~is_known, ~is_known
    has_other_categories = _has_other_categories(system.attributes, rows, items)
    old = rows[is_known]
    own = system.model.vectors.items[old]
    # A build adds the features up in another order, so that equal vectors may differ in the last bits.
    has_other_vector[is_known] = ~np.isclose(items.vectors[is_known], own, rtol=1e-5, atol=1e-6).all(axis=1)
    _keep(items.vectors, system.model.vectors.items, rows, is_known & ~has_other_vector)
    has_other_title[is_known] = items.titles[is_known] != system.titles[old]
    differs = has_other_vector | has_other_title | has_other_categories
    return Update(
        items=items.take(differs),
        added=int((~is_known).sum()),
        replaced=int((is_known & has_other_vector).sum()),
        updated=int((differs & ~has_other_vector).sum()),
        unchanged=int((~differs).sum()),
    )


def _has_other_categories(
    attributes: ItemAttributes, rows: NDArray[np.int64], items: NewItems
) -> NDArray[np.bool_]:
    """Whether the categories of each item differ from the known ones: shape (m,)."""
    differs = np.zeros(len(items), dtype=np.bool_)
    place_of = np.full(max(int(rows.max(initial=-1)) + 1, _size(attributes)), -1, dtype=np.int64)
    place_of[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
    known = attributes.moved(place_of)
    for name, column in items.attributes.columns.items():
        both = [column, known.columns[name]] if name in known.columns else [column]
        values = IdMap(np.unique(np.concatenate([each.values.ids for each in both])))
        pairs = [
            values.rows(each.values.ids)[each.rows.flat_users()] * len(items) + each.rows.items
            for each in both
        ]
        # Each pair of value and item occurs at most once on either side, so a pair that occurs once differs.
        pair, count = np.unique(np.concatenate(pairs), return_counts=True)
        differs[pair[count == 1] % len(items)] = True
    return differs


def _size(attributes: ItemAttributes) -> int:
    return max((int(each.rows.items.max(initial=-1)) + 1 for each in attributes.columns.values()), default=0)


def _keep(table: Matrix, own: Matrix, rows: NDArray[np.int64], is_kept: NDArray[np.bool_]) -> None:
    """Copy the system's own rows into the table where `is_kept`."""
    table[is_kept] = own[rows[is_kept]]


def _sorted_ids(table: ItemTable, catalogue: IdMap) -> tuple[IdMap, NDArray[np.int64]]:
    """The table's ids in the catalogue's type, ascending, and the table row of each."""
    values = table.ids
    if catalogue.are_integers and values.dtype != pl.Int64:
        numbers = values.cast(pl.Int64, strict=False)
        wrong = values.filter(numbers.is_null() | (numbers.cast(pl.String) != values))
        if len(wrong):
            raise DataError(
                f"item {wrong[0]!r}: the ids of this bundle are integers; give integers, or run build-index "
                "on all items"
            )
        values = numbers
    elif not catalogue.are_integers:
        values = values.cast(pl.String)
    ids = values.to_numpy().astype(np.int64 if catalogue.are_integers else np.str_)
    order = np.argsort(ids, kind="stable")
    return IdMap(ids[order]), order


def _titles(system: FittedSystem, table: ItemTable, ids: IdMap) -> NDArray[Any]:
    """The table's titles; known items without a title there keep their own."""
    titles, rows = title_array(table.titles_for(ids.ids)), system.items.rows(ids.ids)
    return np.where((titles == "") & (rows >= 0), system.titles[rows], titles)


def _checked(vectors: NDArray[Any], n: int, dimension: int) -> Matrix:
    if vectors.shape != (n, dimension):
        raise DataError(
            f"the vectors have shape {vectors.shape}; expected ({n}, {dimension}): a row for each of the "
            f"{n} items, of {dimension - 1} numbers and a bias"
        )
    with np.errstate(over="ignore"):
        found = np.asarray(vectors, dtype=np.float32)
    wrong = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(wrong):
        raise DataError(f"the vectors hold NaN or infinity in {len(wrong)} rows, the first is row {wrong[0]}")
    return found


def _no_features(system: FittedSystem) -> str:
    numbers = system.model.vectors.dimension
    why = "was built without a table of items that says what they are like"
    if system.model.vectors.history_items is None:
        why = "has the id tower, which learns items from their interactions only"
    return (
        f"this bundle {why}, so it has no vectors for new ones; give them with `vectors=FILE.npy`, a row "
        f"of {numbers} numbers (the last is the bias) for each item"
    )
