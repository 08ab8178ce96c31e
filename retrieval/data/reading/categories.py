"""Finds the categorical columns in a table of items or users, and reads the values of each row.

A column is categorical if its values repeat: text, booleans, small integers, or lists of them. Free text
(descriptions, links, zip codes: nearly every row differs), measurements and dates are not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from retrieval.data.cells.missing import is_missing, missing
from retrieval.data.cells.several_values import separator_of, split_cells
from retrieval.data.reading.columns import plain_name
from retrieval.data.reading.raw_table import Rows, Table
from retrieval.errors import DataError

# A column of more than JUDGED_FROM values is free text if a larger share than MOST_DISTINCT of them differ.
MOST_DISTINCT, JUDGED_FROM = 0.5, 50
# A column of more different integers than this holds measurements, unless its name ends in "id".
MOST_NUMBERS = 50
AGE, YEAR = "age", "year"

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_CURRENCY = r"^(?:[$€£¥]|USD|EUR|GBP)\s*"
_WHOLE = r"^([+-]?\d+)\.0*$"
_DATE = r"^\d{4}-\d{2}-\d{2}|^\d{1,2}[-/.](\d{1,2}|[A-Za-z]{3})[-/.]\d{2,4}$"
_TEXTS = pl.List(pl.String)


@dataclass(frozen=True)
class Candidate:
    """A column that may be categorical.

    Attributes:
        name: in lower case, as in the names of features.
        position: in the table.
        separator: between several values in one text; None: told by the column, see `several_values`.
        is_known: whether the table of the build had it as a category; it is then kept without a check, since
            a table of a few new items says little about its columns.
    """

    name: str
    position: int
    separator: str | None = None
    is_known: bool = False


def candidates(
    names: Sequence[str], taken: Sequence[int], types: Sequence[str] = (), reserved: Sequence[str] = ()
) -> tuple[Candidate, ...]:
    """The columns that are not used otherwise, under their names in features.

    Args:
        taken: positions that are used otherwise: ids, titles, dates.
        types: RecBole's type of each column, or empty: floats are no candidates, spaces separate a token_seq.
        reserved: names that a candidate must not have.

    >>> [each.name for each in candidates(["user", "Gender", "height"], [0], ["token", "token", "float"])]
    ['gender']
    """
    found: dict[str, Candidate] = {}
    for position, original in enumerate(names):
        kind = types[position] if types else ""
        name = original.strip().casefold().replace("=", "_")
        if position in taken or kind.startswith("float") or not name or name in found or name in reserved:
            continue
        found[name] = Candidate(name, position, " " if kind == "token_seq" else None)
    return tuple(found.values())


def category_frame(cells: Callable[[int], pl.Series], columns: Sequence[Candidate]) -> pl.DataFrame:
    """The categorical candidates, each List(String): the values of every row, empty where missing.

    Args:
        cells: position -> that column, of any type.
    """
    found: dict[str, pl.Series] = {}
    for column in columns:
        try:
            values = texts_of(cells(column.position), column.separator)
        except (pl.exceptions.PolarsError, TypeError, ValueError):
            continue  # a column that cannot become text is ignored, as one without values is
        if values is not None and (column.is_known or is_categorical(column.name, values)):
            found[column.name] = values
    return pl.DataFrame(found)


def number_frame(
    cells: Callable[[int], pl.Series], columns: Sequence[Candidate], known: Sequence[str]
) -> pl.DataFrame:
    """The candidates that hold numbers and are no categories, Float64: prices, lengths, counts.

    Args:
        cells: position -> that column, of any type.
        known: names of the categories.
    """
    found: dict[str, pl.Series] = {}
    for column in (column for column in columns if column.name not in known):
        series = cells(column.position)
        if series.dtype == pl.String:
            series = (
                series.str.strip_chars().str.replace(_CURRENCY, "").str.replace_all(",", "", literal=True)
            )
        elif not series.dtype.is_numeric():
            continue
        numbers = series.cast(pl.Float64, strict=False)
        numbers = pl.select(pl.when(pl.lit(numbers).is_finite()).then(pl.lit(numbers))).to_series()
        given = (
            int((~missing(series)).sum()) if series.dtype == pl.String else len(series) - series.null_count()
        )
        if numbers.drop_nulls().n_unique() > 1 and 2 * (len(numbers) - numbers.null_count()) > given:
            found[column.name] = numbers
    return pl.DataFrame(found)


def read_with(
    table: Table, positions: Sequence[int], columns: Sequence[Candidate]
) -> tuple[Rows, tuple[Candidate, ...]]:
    """Read the columns at `positions` and the candidates; without the candidates if they cannot be read.

    Raises:
        DataError: if the file is damaged.
    """
    try:
        return table.read([*positions, *(column.position for column in columns)]), tuple(columns)
    except DataError:  # Parquet parts may differ in the type of a column that is not needed
        if not columns:
            raise
        return table.read(positions), ()


def texts_of(series: pl.Series, separator: str | None = None) -> pl.Series | None:
    """Cells as lists of texts, whole numbers without ".0"; None for a type that cannot be a category.

    >>> texts_of(pl.Series(["a|b", None, "2.0"])).to_list()
    [['a', 'b'], [], ['2']]
    """
    dtype = series.dtype
    if isinstance(dtype, (pl.List, pl.Array)):
        if not _has_texts(dtype.inner):
            return None
        lists = series.cast(_TEXTS).fill_null([])
    elif _has_texts(dtype):
        texts = series.cast(pl.String)
        lists = split_cells(texts, separator or separator_of(texts))
    elif dtype.is_float() or dtype == pl.Null:
        lists = split_cells(series.cast(pl.String), None)
    else:
        return None
    cell = pl.element().str.replace_all("\0", "", literal=True).str.strip_chars().str.replace(_WHOLE, "$1")
    lists = lists.list.eval(cell.filter(~is_missing(cell)))
    return lists.list.unique(maintain_order=True)


def is_categorical(name: str, values: pl.Series) -> bool:
    """Whether the values of a column repeat enough to describe rows; ages always do, as they become bands."""
    flat = values.explode().drop_nulls()
    if not len(flat):
        return False
    if name == AGE:
        return True
    distinct = flat.n_unique()
    if flat.str.contains(_NUMBER).all():
        if not flat.str.contains(r"^[+-]?\d+$").all():
            return False
        if distinct > MOST_NUMBERS and not plain_name(name).endswith("id"):
            return False
    elif flat.str.contains(_DATE).all():
        return False
    return len(flat) <= JUDGED_FROM or distinct <= MOST_DISTINCT * len(flat)


def check_categories(categories: pl.DataFrame, rows: int) -> None:
    """Check that the categories are a frame of `rows` lists of texts.

    Raises:
        ValueError: if it has other columns or another number of rows.
    """
    if categories.width and categories.height != rows:
        raise ValueError(f"categories of {categories.height} rows for a table of {rows}")
    if any(dtype != _TEXTS for dtype in categories.dtypes):
        raise ValueError(f"categories are lists of text, not {dict(categories.schema)}")


def first_of_each(ids: pl.Series, *frames: pl.DataFrame) -> list[pl.DataFrame]:
    """Keep the first row of each id, in all frames alike."""
    keep = ids.is_first_distinct()
    return [frame.filter(keep) if frame.width else frame for frame in frames]


def years_from(sources: Sequence[tuple[pl.Series, str]], rows: int) -> dict[str, pl.Series]:
    """The year of each row from the first source that has one: {"year": lists}; {} if no source has any.

    Args:
        sources: text, and the pattern whose first group is the year.
    """
    year = pl.Series([None] * rows, dtype=pl.String)
    for texts, pattern in sources:
        found = texts.str.extract(pattern, 1)
        year = pl.select(pl.coalesce(year, found)).to_series()
    if year.null_count() == rows:
        return {}
    lists = pl.select(pl.concat_list(year)).to_series()
    return {YEAR: lists.list.drop_nulls()}


def _has_texts(dtype: Any) -> bool:
    return dtype in (pl.String, pl.Categorical, pl.Enum, pl.Boolean) or dtype.is_integer()
