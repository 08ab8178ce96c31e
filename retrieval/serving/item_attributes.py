"""Categories of the items in a bundle, for filters: genre, year, decade and other columns."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index import ItemLists
from retrieval.data.ids import IdMap
from retrieval.errors import NotFoundError, UsageError
from retrieval.json_document import JsonObject

if TYPE_CHECKING:
    from retrieval.data.items import ItemTable

DECADE = "decade"
_COMPARISON = re.compile(r"(<=|>=|<|>)\s*(\S+)")
_SINGULAR = {"genres": "genre", "class": "genre", "categories": "category"}  # as tables call them
_LISTED = 12  # columns and values that a message names


class Comparison(NamedTuple):
    """A relation to a number, such as ``<20``."""

    relation: str
    bound: float

    @classmethod
    def of(cls, text: str) -> "Comparison | None":
        """The comparison that a text writes; None where it writes none.

        >>> Comparison.of(">= 1990"), Comparison.of("Drama")
        (Comparison(relation='>=', bound=1990.0), None)
        """
        found = _COMPARISON.fullmatch(text.strip())
        bound = math.nan if found is None else _number(found[2])
        return None if found is None or math.isnan(bound) else cls(found[1], bound)

    def holds(self, numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
        """For each number whether it stands in the relation; never for NaN."""
        relations = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}
        return np.asarray(relations[self.relation](numbers, self.bound), dtype=np.bool_)


@dataclass(frozen=True, eq=False)
class ItemColumn:
    """One category column: its values, and the items that have each value.

    Attributes:
        values: the different values, in the order of their text.
        rows: for each value the item rows that have it.

    Raises:
        ValueError: if there are not as many lists as values.
    """

    values: IdMap
    rows: ItemLists

    def __post_init__(self) -> None:
        if len(self.values) != len(self.rows):
            raise ValueError(f"there are {len(self.values)} values and {len(self.rows)} lists of their items")

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """Each value as a number; NaN where it is none."""
        return np.array([_number(text) for text in self.values.ids.tolist()], dtype=np.float64)

    def compared(self, comparison: "Comparison") -> NDArray[np.int64]:
        """Places of the values that are numbers and stand in this relation to its bound."""
        with np.errstate(invalid="ignore"):
            return np.flatnonzero(comparison.holds(self.numbers)).astype(np.int64)

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        """The places of each value, by its folded text: values that differ only in case share an entry."""
        places: dict[str, list[int]] = {}
        for place, text in enumerate(self.values.ids.tolist()):
            places.setdefault(_folded(text), []).append(place)
        return places

    def places(self, value: str) -> NDArray[np.int64]:
        """Places of `value` among the values, in any case of letters; empty where there is no such value."""
        return np.array(self._places.get(_folded(value), ()), dtype=np.int64)

    def parted(self, text: str) -> list[str]:
        """Split a text at commas into values; a value that itself has commas stays whole.

        From the left, the longest part that is a value is taken; a part that is no value stays as it is.

        >>> column = ItemColumn(IdMap.from_values(["Pop", "Rock, hard"]), ItemLists.empty(2))
        >>> column.parted("pop,rock, hard,x")
        ['pop', 'rock, hard', 'x']
        """
        pieces, found, start = text.split(","), list[str](), 0
        most = 1 + max((value.count(",") for value in self._places), default=0)
        while start < len(pieces):
            ends = range(min(start + most, len(pieces)), start, -1)
            parts = [",".join(pieces[start:end]) for end in ends]
            taken = next((i for i, part in enumerate(parts) if _folded(part) in self._places), len(parts) - 1)
            found.append(parts[taken].strip())
            start = ends[taken]
        return [part for part in found if part]


@dataclass(frozen=True, eq=False)
class ItemAttributes:
    """The category columns of a catalogue; empty where there was no table of items.

    Attributes:
        columns: by name, such as "genre", "year", "decade" and other columns of the table.
    """

    columns: Mapping[str, ItemColumn] = field(default_factory=dict)

    @classmethod
    def of(cls, table: "ItemTable | None", ids: IdMap) -> "ItemAttributes":
        """Read the categories of the items `ids` from a table, and add the decade of each year.

        >>> import polars as pl
        >>> from retrieval.data.items import ItemTable
        >>> table = ItemTable.from_frame(
        ...     pl.DataFrame({"item": [5, 7], "title": ["Heat (1995)", "Alien (1979)"]})
        ... )
        >>> known = ItemAttributes.of(table, IdMap.from_values([4, 5, 7]))
        >>> list(known.columns), known.rows("decade", ["1990s", "1970s"]).tolist()
        (['year', 'decade'], [1, 2])
        """
        if table is None:
            return cls()
        import polars as pl

        from retrieval.data.cells.several_values import split_cells
        from retrieval.data.reading.categories import YEAR

        found = table.category_columns()
        years = found.get(YEAR)
        if years is not None and DECADE not in found:
            decade = pl.element().str.extract(r"^(\d{3})\d$", 1) + "0s"
            found = found | {DECADE: years.list.eval(decade.drop_nulls())}
        for name, numbers in table.numbers.to_dict().items():
            written = numbers.cast(pl.String).str.replace(r"\.0$", "")
            found = found | {name: split_cells(written, None)}
        rows = pl.Series("row", ids.rows(table.ids.to_list()), dtype=pl.Int64)
        columns = {}
        for name, cells in found.items():
            pairs = pl.DataFrame({"row": rows, "value": cells}).filter(pl.col("row") >= 0)
            pairs = pairs.explode("value").drop_nulls().filter(pl.col("value") != "")
            if pairs.height:
                # As numpy texts, which drop zero bytes at the end: equal texts must be one value.
                texts = pairs["value"].to_numpy().astype(np.str_)
                values = IdMap.from_values(texts)
                places = np.searchsorted(values.ids, texts)
                lists = ItemLists.from_pairs(places, pairs["row"].to_numpy(), len(values))
                columns[name] = ItemColumn(values, lists)
        return cls(columns)

    def has(self, name: str) -> bool:
        """Whether there is such a column."""
        return self._found(name) is not None

    def _found(self, name: str) -> ItemColumn | None:
        """A column by its name, in any case, or in the plural: the table may have called it genres."""
        folded = _folded(name)
        return self.columns.get(folded) or self.columns.get(_SINGULAR.get(folded, folded))

    def column(self, name: str) -> ItemColumn:
        """A column by its name, in any case; "genres" and "categories" are genre and category.

        Raises:
            UsageError: if there is no such column; the message names those there are.
        """
        column = self._found(name)
        if column is not None:
            return column
        if not self.columns:
            raise UsageError(
                f"nothing is known of the items of this bundle, so there is no {name.strip()!r} to filter by",
                "build it with a table of them: build-index `items=FILE`",
            )
        names = _some(self.columns)
        raise UsageError(f"the items have no column {name.strip()!r} to filter by; there are {names}")

    def rows(self, name: str, values: Iterable[Any]) -> NDArray[np.int64]:
        """The items that have any of these values in a column, ascending.

        Args:
            values: texts in any case, numbers, or comparisons with a number such as ``"<20"``.

        Raises:
            UsageError: if there is no such column.
            NotFoundError: if no item has a value; the message names the nearest values.
        """
        column, found = self.column(name), [np.empty(0, dtype=np.int64)]
        for value in values:
            places = column.places(str(value))
            comparison = None if len(places) else Comparison.of(str(value))
            if comparison is not None:
                places = column.compared(comparison)
                if not len(places):
                    raise NotFoundError(f"no item has {name.strip()}{value}; {_span(column)}")
            if not len(places):
                raise NotFoundError(f"no item has {name.strip()}={value}; {_near(column, str(value))}")
            found.append(column.rows.take(places).items.astype(np.int64))
        return np.unique(np.concatenate(found))

    def moved(self, rows: NDArray[np.int64]) -> "ItemAttributes":
        """The same attributes for a catalogue with other rows.

        Args:
            rows: shape (n_items,): the new row of each old one, -1 where it is gone.
        """
        columns = {}
        for name, column in self.columns.items():
            places, items = column.rows.flat_users(), rows[column.rows.items]
            columns[name] = _without_empty(column.values, places[items >= 0], items[items >= 0])
        return ItemAttributes({name: column for name, column in columns.items() if len(column.values)})

    def with_more(self, other: "ItemAttributes") -> "ItemAttributes":
        """These attributes and those of `other`, which has the same rows."""
        columns = dict(self.columns)
        for name, more in other.columns.items():
            mine = columns.get(name)
            if mine is None:
                columns[name] = more
                continue
            values = IdMap(np.union1d(mine.values.ids, more.values.ids))
            places = np.concatenate(
                [values.rows(each.values.ids)[each.rows.flat_users()] for each in (mine, more)]
            )
            items = np.concatenate([mine.rows.items, more.rows.items])
            columns[name] = ItemColumn(values, ItemLists.from_pairs(places, items, len(values)))
        return ItemAttributes(columns)

    def check(self, n_items: int) -> None:
        """Refuse attributes of another catalogue.

        Raises:
            ValueError: if a row is none of `n_items`.
        """
        for name, column in self.columns.items():
            largest = int(column.rows.items.max(initial=-1))
            if largest >= n_items:
                raise ValueError(f"an item with a {name} has row {largest}, but there are {n_items} items")

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """The form that a bundle keeps: a document of the columns, and arrays by name."""
        columns = self.columns.values()
        lists = [column.rows for column in columns]
        lengths = np.concatenate([[0], *(each.lengths() for each in lists)])
        empty = np.empty(0, dtype=np.int32)
        document = {"columns": [[name, len(column.values)] for name, column in self.columns.items()]}
        return document, {
            "values": np.concatenate([np.empty(0, np.str_), *(column.values.ids for column in columns)]),
            "starts": np.cumsum(lengths).astype(np.int64),
            "rows": np.concatenate([empty, *(each.items for each in lists)]),
        }

    @classmethod
    def from_arrays(cls, document: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> "ItemAttributes":
        """Read back what `to_arrays` gave.

        Raises:
            ValueError: if the document is another one, or the parts do not fit together.
        """
        values, starts, rows = arrays["values"], arrays["starts"], arrays["rows"]
        named = _columns(document)
        sizes = [size for _, size in named]
        if min(sizes, default=1) < 1 or (sum(sizes), sum(sizes) + 1) != (len(values), len(starts)):
            raise ValueError(
                f"columns of {sum(sizes)} values, {len(values)} texts and {len(starts)} starts do not fit"
            )
        if starts[0] != 0 or starts[-1] != len(rows) or (np.diff(starts) < 0).any():
            raise ValueError(f"the lists of items run from {starts[0]} to {starts[-1]} of {len(rows)}")
        columns, end = {}, 0
        for name, size in named:
            begin, end = end, end + size
            inside = slice(int(starts[begin]), int(starts[end]))
            lists = ItemLists(starts[begin : end + 1] - starts[begin], rows[inside])
            columns[name] = ItemColumn(IdMap(values[begin:end]), lists)
        return cls(columns)


def _columns(document: Any) -> list[tuple[str, int]]:
    """Name and number of values of each column, from the document of `ItemAttributes.to_arrays`."""
    found = []
    for entry in JsonObject(document).list("columns"):
        match entry:
            case [str() as name, int() as size]:
                found.append((name, size))
            case _:
                raise ValueError("columns has an entry that is not the name and number of values of a column")
    return found


def _without_empty(values: IdMap, places: NDArray[np.int64], items: NDArray[np.int64]) -> ItemColumn:
    """A column with only those values that some item has."""
    used, numbers = np.unique(places, return_inverse=True)
    return ItemColumn(IdMap(values.ids[used]), ItemLists.from_pairs(numbers, items, len(used)))


def _folded(value: str) -> str:
    """The form in which values are compared: case folded, and without spaces around."""
    return value.strip().casefold()


def _near(column: ItemColumn, value: str) -> str:
    if len(column.values) <= _LISTED:
        return f"there are {_some(column.values.ids.tolist())}"
    texts = column.values.ids.tolist()
    numbers = [int(text) for text in texts if text.isdecimal() and len(text) < 10]
    near = IdMap.from_values(numbers) if len(numbers) == len(texts) else column.values
    return f"the nearest are {', '.join(map(str, near.nearest(value.strip())))}"


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = len(listed) - _LISTED
    return ", ".join(listed[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _number(text: str) -> float:
    """The number that a text writes; NaN where it is none, or infinite."""
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _span(column: ItemColumn) -> str:
    """What the numbers of a column go from and to, for a message."""
    numbers = column.numbers[~np.isnan(column.numbers)]
    if not len(numbers):
        return "its values are no numbers"
    return f"its numbers go from {numbers.min():g} to {numbers.max():g}"
