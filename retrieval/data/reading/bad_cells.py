"""Cells that cannot be used, and the conversion of text to numbers."""

from collections.abc import Callable

import polars as pl

from retrieval.data.reading.delimiters import shorten

# The advice for a row that cannot be used. Readers skip no row in silence.
MEND = "mend the row or remove it"

_DECIMAL_COMMA = r"^\s*[+-]?\d+(,\d+)?\s*$"


class BadRowError(Exception):
    """The first row that cannot be used; the caller, who knows its line, makes a `DataError` of it."""

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


def note_problem(problems: list[BadRowError], wrong: pl.Series, message: Callable[[int], str]) -> None:
    """Add a problem for the first row where `wrong` is true; null counts as false."""
    row = wrong.fill_null(False).arg_max() if wrong.any() else None
    if row is not None:
        problems.append(BadRowError(row, message(row)))


def shown(value: object) -> str:
    """A cell for a message: on one line, and not too long."""
    text = str(value).strip()
    return text if len(text) <= 40 and text.isprintable() else shorten(text)


def is_empty(series: pl.Series) -> pl.Series:
    """Whether each cell is empty: null, or text of spaces only."""
    if series.dtype != pl.String:
        return series.is_null()
    return series.is_null() | (series.str.strip_chars() == "")


def to_numbers(series: pl.Series) -> pl.Series:
    """Numbers, booleans or texts of numbers as Int64 or Float64; null where a cell is no number.

    >>> to_numbers(pl.Series(["1", " 2.5", "x", ""])).to_list()
    [1.0, 2.5, None, None]
    """
    if series.dtype == pl.String:
        numbers = series.cast(pl.Int64, strict=False)
        if numbers.null_count() > series.null_count():
            numbers = series.str.strip_chars().cast(pl.Float64, strict=False)
        return numbers
    if series.dtype.is_integer() or series.dtype == pl.Boolean:
        numbers = series.cast(pl.Int64, strict=False)
        return numbers if numbers.null_count() == series.null_count() else series.cast(pl.Float64)
    return series.cast(pl.Float64)


def has_decimal_comma(series: pl.Series) -> bool:
    """Whether all numbers in a text column are written as "3" or "3,5", and at least one as "3,5"."""
    if series.dtype != pl.String or not series.str.contains(",", literal=True).any():
        return False
    return bool((series.str.contains(_DECIMAL_COMMA) | is_empty(series)).all())


def has_truth_values(series: pl.Series) -> bool:
    """Whether a text column holds only "true" and "false", in any case."""
    return series.dtype == pl.String and bool(series.str.contains(r"^(?i:true|false)$").all())
