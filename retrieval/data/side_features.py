"""Side features: the categories of items and users, numbered so that a model can look them up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from index import ItemLists
from retrieval.data.ids import IdMap
from retrieval.data.reading.categories import AGE, YEAR

# A table with more ages than this gets bands of ten years; the seven ages of MovieLens 1M are bands already.
FEW_AGES = 12
AT_LEAST = 5  # a feature that fewer rows share is left out
AGES = ("as they are", "bands")
_AGE = r"^\d{1,3}$"


class SideTable(Protocol):
    """An `ItemTable` or a `UserTable`."""

    @property
    def ids(self) -> pl.Series:
        """The ids of the rows, each once."""

    def category_columns(self) -> dict[str, pl.Series]:
        """List(String) columns by name, in the order of `ids`."""


@dataclass(frozen=True)
class SideFeatures:
    """The features that each of n rows (items or users) has.

    Attributes:
        lists: for each row the numbers of its features, in 0..len(names).
        names: the feature of each number, such as "genre=Comedy", "decade=1990s", "years=1995-1999" or
            "gender=F".

    Raises:
        ValueError: if a name occurs twice or a number has no name.

    >>> from retrieval.data.users import UserTable
    >>> table = UserTable.from_frame(pl.DataFrame({"user": [7, 8], "gender": ["F", "M"]}))
    >>> found = SideFeatures.of(table, IdMap.from_values([7, 8, 9]), at_least=1)
    >>> found.names, [found.lists.of(row).tolist() for row in range(3)]
    (('gender=F', 'gender=M'), [[0], [1], []])
    """

    lists: ItemLists
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ValueError("the name of a feature occurs twice")
        if len(self.lists.items) and int(self.lists.items.max()) >= len(self.names):
            raise ValueError(
                f"a feature has number {int(self.lists.items.max())}; expected up to {len(self.names) - 1}"
            )

    def __len__(self) -> int:
        return len(self.lists)

    @classmethod
    def of(cls, table: SideTable | None, ids: IdMap, *, at_least: int = AT_LEAST) -> "SideFeatures":
        """The features that at least `at_least` of the rows `ids` share, by name; none without a table.

        A year becomes a decade and a band of five years; an age becomes a band of ten years, or stays where
        the table has few ages.
        """
        if table is None:
            return cls.empty(len(ids))
        pairs = _pairs(table, ids, _ages_of(table))
        names = pairs.group_by("name").len().filter(pl.col("len") >= at_least)["name"].sort().to_list()
        return cls._numbered(pairs, tuple(names), len(ids))

    @classmethod
    def with_names(cls, names: Sequence[str], table: SideTable | None, ids: IdMap) -> "SideFeatures":
        """The features of the rows `ids` among existing `names`, as for new items; others are left out."""
        if table is None:
            return cls(ItemLists.empty(len(ids)), tuple(names))
        return cls._numbered(_pairs(table, ids), tuple(names), len(ids))

    @classmethod
    def empty(cls, n_rows: int) -> "SideFeatures":
        """No features for each of `n_rows`."""
        return cls(ItemLists.empty(n_rows), ())

    @classmethod
    def _numbered(cls, pairs: pl.DataFrame, names: tuple[str, ...], n_rows: int) -> "SideFeatures":
        numbers = pl.DataFrame(
            {"name": names, "number": range(len(names))}, schema={"name": pl.String, "number": pl.Int64}
        )
        known = pairs.join(numbers, on="name", how="inner")
        lists = ItemLists.from_pairs(known["row"].to_numpy(), known["number"].to_numpy(), n_rows)
        return cls(lists, names)

    def padded(self) -> NDArray[np.int64]:
        """Feature numbers as one array: (n, most features of a row), padded with the number of features."""
        lengths, rows = self.lists.lengths(), self.lists.flat_users()
        padded = np.full((len(self), int(lengths.max(initial=0))), len(self.names), dtype=np.int64)
        padded[rows, np.arange(len(rows)) - self.lists.indptr[rows]] = self.lists.items
        return padded


def cold_item_ids(table: SideTable | None, known: IdMap) -> NDArray[Any]:
    """The ids of the table that `known` lacks, sorted and of the type of `known`.

    Where the ids in `known` are integers, ids of the table that are not integers are left out.

    >>> from retrieval.data.items import ItemTable
    >>> items = ItemTable.from_frame(pl.DataFrame({"item": [30, 4, 10], "title": ["a", "b", "c"]}))
    >>> cold_item_ids(items, IdMap.from_values([4, 5])).tolist()
    [10, 30]
    """
    if table is None:
        return known.ids[:0]
    ids = table.ids
    if known.are_integers and ids.dtype != pl.Int64:
        numbers = ids.cast(pl.Int64, strict=False)
        ids = numbers.filter(numbers.cast(pl.String) == ids)
    elif not known.are_integers:
        ids = ids.cast(pl.String)
    values = np.unique(ids.to_numpy().astype(np.int64 if known.are_integers else np.str_))
    return values[known.rows(values) < 0]


def _pairs(table: SideTable, ids: IdMap, ages: Sequence[str] = AGES) -> pl.DataFrame:
    """Pairs of a row of `ids` and the name of one of its features, each once: row (Int64), name."""
    rows = pl.Series("row", ids.rows(table.ids.to_list()), dtype=pl.Int64)
    frames = [pl.DataFrame(schema={"row": pl.Int64, "name": pl.String})]
    for column, values in table.category_columns().items():
        cells = pl.DataFrame({"row": rows, "value": values}).filter(pl.col("row") >= 0)
        cells = cells.explode("value").drop_nulls()
        frames += [cells.select("row", name.alias("name")) for name in _names(column, ages)]
    return pl.concat(frames).drop_nulls().unique()


def _names(column: str, ages: Sequence[str]) -> list[pl.Expr]:
    """The features of the values of a column, an expression for each kind; null where a kind has none."""
    value = pl.col("value")
    plain = pl.lit(f"{column}=") + value
    if column == YEAR:
        year = value.str.extract(r"^(\d{4})$", 1).cast(pl.Int64)
        return [pl.lit("decade=") + (year // 10 * 10).cast(pl.String) + "s", _band("years", year, 5)]
    if column == AGE:
        is_number = value.str.contains(_AGE)
        band = _band(AGE, pl.when(is_number).then(value).cast(pl.Int64), 10)
        named = {"as they are": plain, "bands": pl.when(is_number).then(band).otherwise(plain)}
        return [named[way] for way in ages]
    return [plain]


def _band(word: str, number: pl.Expr, width: int) -> pl.Expr:
    low = number // width * width
    return pl.lit(f"{word}=") + low.cast(pl.String) + "-" + (low + width - 1).cast(pl.String)


def _ages_of(table: SideTable) -> tuple[str]:
    """Whether the ages of a table become bands or stay as they are."""
    ages = table.category_columns().get(AGE)
    distinct = 0 if ages is None else ages.explode().drop_nulls().str.extract(_AGE, 0).n_unique()
    return ("bands" if distinct > FEW_AGES else "as they are",)
