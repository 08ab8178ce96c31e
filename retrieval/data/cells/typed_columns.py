"""Converts columns of any type to the typed columns of a table of interactions."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from retrieval.data.cells.bad_cells import (
    Problems,
    has_decimal_comma,
    has_truth_values,
    is_empty,
    note_problem,
    shown,
    to_numbers,
    truth_values,
    with_decimal_comma,
)
from retrieval.data.cells.missing import missing
from retrieval.data.cells.timestamps import to_seconds
from retrieval.data.reading.columns import ITEM, RATING, TIMESTAMP, USER
from retrieval.data.reading.delimiters import shorten
from retrieval.errors import DataError

_EXPECTED = {
    USER: "integers or text",
    ITEM: "integers or text",
    RATING: "numbers",
    TIMESTAMP: "Unix seconds, ISO 8601 or datetimes",
}
_WHOLE_NUMBER = r"^-?\d+\.0+$"


def typed_frame(
    picked: dict[str, pl.Series], source: str, problems: Problems, time_format: str | None = None
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Convert columns to the types of `Interactions`, with notes on how they were interpreted.

    Rows that do not convert are added to `problems`; their cells are undefined.

    Args:
        time_format: how the timestamps are written, as for `datetime.strptime`; None: it is found out.

    Raises:
        DataError: if there is no row, or a column is of a type that can never convert.
    """
    if not len(picked[USER]):
        raise DataError(f"{source}: 0 interactions", "give a table with rows")
    notes: list[str] = []
    columns = []
    for column, series in picked.items():
        if series.dtype == pl.Null:
            series = series.cast(pl.String)
        if not _can_hold(series.dtype, column):
            raise DataError(
                f"{source}: the {column} column holds {series.dtype}; expected {_EXPECTED[column]}"
            )
        if column in (USER, ITEM):
            typed, found = to_ids(series, column, problems)
        elif column == RATING:
            typed, found = _ratings(series, problems)
        else:
            typed, found = to_seconds(series, problems, time_format)
        columns.append(typed.alias(column))
        notes += found
    return pl.DataFrame(columns), tuple(notes)


def canonical_ids(ids: pl.Series) -> pl.Series:
    """Text ids as Int64 if each is the canonical text of a 64-bit integer, else unchanged.

    >>> canonical_ids(pl.Series(["7", "-1"])).to_list(), canonical_ids(pl.Series(["7", "007"])).to_list()
    ([7, -1], ['7', '007'])
    """
    numbers = ids.cast(pl.Int64, strict=False)
    if numbers.null_count() or not (numbers.cast(pl.String) == ids).all():
        return ids
    return numbers


def to_ids(series: pl.Series, column: str, problems: Problems) -> tuple[pl.Series, list[str]]:
    """Ids as Int64 if each is a canonical 64-bit integer, else as String; and notes on surprising ids.

    Integers, whole floats and decimals, text, categories and bytes in UTF-8 can be ids. The first empty cell
    and the first that is no id are added to `problems`.
    """
    note_problem(problems, series.is_null(), lambda row: f"{column} is empty")
    if series.dtype.is_integer():
        numbers = series.cast(pl.Int64, strict=False)
        fits = numbers.null_count() == series.null_count()
        return (numbers if fits else series.cast(pl.String)), []
    if series.dtype.is_float():
        # pandas makes floats of integers if one is missing; from 2**53 on these are not exact.
        broken = ~((series.abs() < 2**53) & (series == series.floor()))
        note_problem(problems, broken, lambda row: f"{column} {series[row]} is neither an integer nor text")
        return series.cast(pl.Int64, strict=False), []
    texts = _decoded(series) if series.dtype == pl.Binary else series.cast(pl.String)
    if series.dtype == pl.Decimal:
        texts = texts.str.replace(r"\.0+$", "")
        broken = texts.str.contains(".", literal=True)
        note_problem(problems, broken, lambda row: f"{column} {series[row]} is neither an integer nor text")
    undecodable = texts.is_null() & series.is_not_null()
    note_problem(problems, undecodable, lambda row: f"{column} {series[row]!r} is not UTF-8")
    note_problem(problems, texts == "", lambda row: f"{column} is empty")
    # numpy drops zeros at the end of a text, so that two ids could become one.
    zeros = texts.str.contains("\0", literal=True)
    note_problem(problems, zeros, lambda row: f"{column} {shorten(texts[row])} holds a zero character")
    ids = canonical_ids(texts)
    if ids.dtype == pl.String:
        nothing = missing(texts) & (texts != "")
        note_problem(
            problems, nothing, lambda row: f"{column} {shown(texts[row])} stands for a missing value"
        )
    return ids, _id_notes(ids, column) if ids.dtype == pl.String and not ids.null_count() else []


def _decoded(series: pl.Series) -> pl.Series:
    """Bytes in UTF-8 as text; null where they are not UTF-8."""
    try:
        return series.cast(pl.String)
    except pl.exceptions.PolarsError:
        texts = [None if value is None else value.decode("utf-8", "replace") for value in series]
        return pl.Series([None if text is None or "\ufffd" in text else text for text in texts])


def _id_notes(ids: pl.Series, column: str) -> list[str]:
    """Notes on ids that look like other ids but are kept as they are."""
    if ids.head(100).str.contains(_WHOLE_NUMBER).all() and ids.str.contains(_WHOLE_NUMBER).all():
        example = shorten(ids[0])
        return [f"{column} ids are text such as {example}, kept as they are, not the integers they look like"]
    spaced = ids.str.contains(r"^\s|\s$")
    if spaced.any():
        return [f"{column} ids keep the spaces around them, as in {shorten(ids[spaced.arg_max() or 0])}"]
    return []


def _ratings(series: pl.Series, problems: Problems) -> tuple[pl.Series, list[str]]:
    notes, form = [], "a number"
    numbers = to_numbers(series)
    if numbers.null_count() and has_decimal_comma(series):
        numbers, form = with_decimal_comma(series), "a number with a decimal comma, as most are"
        notes.append("ratings were read with a decimal comma")
    elif numbers.null_count() and has_truth_values(series):
        numbers, form = truth_values(series), "true or false, as most are"
        notes.append("ratings were read as true = 1, false = 0")
    if numbers.null_count():
        empty = is_empty(series)
        note_problem(problems, empty, lambda row: f"{RATING} is empty")
        wrong = numbers.is_null() & ~empty
        note_problem(problems, wrong, lambda row: f"{RATING} {shorten(series[row])} is not {form}")
    ratings = numbers.cast(pl.Float32, strict=False)
    note_problem(
        problems, ~ratings.is_finite(), lambda row: f"{RATING} {shown(series[row])} is not a finite number"
    )
    return ratings, notes


def _can_hold(dtype: pl.DataType, column: str) -> bool:
    if dtype.is_numeric() or dtype == pl.String:
        return True
    others: dict[str, Sequence[Any]] = {
        RATING: (pl.Boolean,),
        TIMESTAMP: (pl.Datetime, pl.Date),
    }
    return any(dtype == other for other in others.get(column, (pl.Categorical, pl.Enum, pl.Binary)))
