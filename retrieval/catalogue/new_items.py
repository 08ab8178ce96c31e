"""A table of items becomes what can be added to a fitted system: ids, titles, and a vector for each."""

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
    """What a table of items would change of a system.

    Attributes:
        items: those that are new, or known and different.
        added, replaced, updated, unchanged: how many are unknown so far, known with another vector, known
            with another title or other categories only, and known as they are.
        undescribed: how many of the added have no feature the system knows, and so a vector of zeros.
        kept: how many are known by who met them, and keep the vectors they were trained to.
    """

    items: NewItems
    added: int
    replaced: int
    updated: int
    unchanged: int
    undescribed: int = 0
    kept: int = 0


def items_of_table(system: FittedSystem, table: ItemTable, vectors: Matrix | None = None) -> Update:
    """What a table says of items, new or known, in the terms of a fitted system.

    Vectors come from the items' side features, as a build makes those of items that only its table knows.
    Items that people have met keep the ones they were trained to, and in histories they do in any case.

    Args:
        vectors: shape (len(table), d + 1), a row for each row of the table, instead of all that.

    Raises:
        DataError: if an id is none of the catalogue's type, or the vectors do not fit.
        UsageError: if there are no vectors, and the system knows no features to make them of.
    """
    own, (ids, order) = system.model.vectors, _sorted_ids(table, system.items)
    rows = system.items.rows(ids.ids)
    is_met = rows >= 0
    is_met[is_met] = interactions_of(system)[rows[is_met]] > 0
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
        _keep(made, own.items, rows, is_met)
    else:
        made = _checked(vectors, len(table), own.dimension)[order]
    if histories is not None and own.history_items is not None:
        _keep(histories, own.history_items, rows, is_met)
    titles, attributes = _titles(system, table, ids), ItemAttributes.of(table, ids)
    update = _compared(system, NewItems(ids, titles, made, histories, attributes))
    return replace(
        update,
        undescribed=int(((rows < 0) & ~made.any(axis=1) & (described.lengths() == 0)).sum()),
        kept=int(is_met.sum()) if vectors is None else 0,
    )


def known_columns(system: FittedSystem) -> set[str]:
    """The columns of a table of items that the system's features and filters know; for `read_items`."""
    features = system.model.vectors.features
    names = () if features is None else features.names
    return {name.split("=")[0] for name in names} | set(system.attributes.columns)


def read_vectors(path: Path) -> NDArray[Any]:
    """An .npy file of a matrix of numbers.

    Raises:
        DataError: if it is missing or none.
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
    """How the items differ from those there are; what is the same is left out."""
    rows = system.items.rows(items.ids.ids)
    is_known = rows >= 0
    has_other_vector, has_other_title = ~is_known, ~is_known
    is_told_otherwise = _told_otherwise(system.attributes, rows, items)
    old = rows[is_known]
    own = system.model.vectors.items[old]
    # A build sums up features in another order, which may differ in the last bits.
    has_other_vector[is_known] = ~np.isclose(items.vectors[is_known], own, rtol=1e-5, atol=1e-6).all(axis=1)
    _keep(items.vectors, system.model.vectors.items, rows, is_known & ~has_other_vector)
    has_other_title[is_known] = items.titles[is_known] != system.titles[old]
    differs = has_other_vector | has_other_title | is_told_otherwise
    return Update(
        items=items.take(differs),
        added=int((~is_known).sum()),
        replaced=int((is_known & has_other_vector).sum()),
        updated=int((differs & ~has_other_vector).sum()),
        unchanged=int((~differs).sum()),
    )


def _told_otherwise(
    attributes: ItemAttributes, rows: NDArray[np.int64], items: NewItems
) -> NDArray[np.bool_]:
    """Whether the items' own columns say something else than is known of them: shape (m,)."""
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
        # Each pair of a value and an item occurs once in either, so what occurs once in both differs.
        pair, count = np.unique(np.concatenate(pairs), return_counts=True)
        differs[pair[count == 1] % len(items)] = True
    return differs


def _size(attributes: ItemAttributes) -> int:
    return max((int(each.rows.items.max(initial=-1)) + 1 for each in attributes.columns.values()), default=0)


def _keep(table: Matrix, own: Matrix, rows: NDArray[np.int64], is_kept: NDArray[np.bool_]) -> None:
    """Put the system's own rows where they are to stay."""
    table[is_kept] = own[rows[is_kept]]


def _sorted_ids(table: ItemTable, catalogue: IdMap) -> tuple[IdMap, NDArray[np.int64]]:
    """The table's ids in the catalogue's type, ascending, and the row of the table of each."""
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
    """The table's titles; where it has none, the ones there are."""
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
        why = "has the id tower, which knows items by who met them only"
    return (
        f"this bundle {why}, so it has no vectors for new ones; give them with `vectors=FILE.npy`, a row "
        f"of {numbers} numbers (the last is the bias) for each item"
    )
