"""Cells that cannot be used, and the conversion of text to numbers."""

from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from retrieval.data.reading.delimiters import shorten

# The advice for a row that cannot be used. Readers skip no row in silence.
MEND = "mend the row or remove it"
TOLD = 3  # rows that were left out are told one by one up to this number

_TRUTH = r"^\s*(?i:true|false)\s*$"
_DECIMAL_COMMA = r"^\s*[+-]?\d+(,\d+)?\s*$"


class BadRowError(Exception):
    """The first row that cannot be used; the caller, who knows its line, makes a `DataError` of it.

    Attributes:
        row: its number, from 0.
        bad, of: how many rows cannot be used, of how many.
    """

    def __init__(self, row: int, message: str, bad: int = 1, of: int = 0) -> None:
        super().__init__(message)
        self.row, self.bad, self.of = row, bad, of


@dataclass
class Problems:
    """The rows of a table that cannot be used, of all columns together.

    Attributes:
        height: number of rows of the table.
        shown: how many rows each kind of problem keeps a message for.
    """

    height: int
    shown: int = 1
    _messages: list[BadRowError] = field(default_factory=list)
    _wrong: list[pl.Series] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self._messages)

    def note(self, wrong: pl.Series, message: Callable[[int], str]) -> None:
        """Add the rows where `wrong` is true; null counts as false."""
        if wrong.any():
            rows = wrong.fill_null(False).arg_true()
            self._messages += [BadRowError(row, message(row)) for row in rows.head(self.shown).to_list()]
            self._wrong.append(rows)

    def rows(self) -> pl.Series:
        """The numbers of all rows that cannot be used, ascending."""
        return pl.concat(self._wrong).unique().sort() if self._wrong else pl.Series([], dtype=pl.UInt32)

    def first(self) -> BadRowError:
        """The first row that cannot be used, with the number of all of them."""
        found = min(self._messages, key=lambda problem: problem.row)
        return BadRowError(found.row, str(found), len(self.rows()), self.height)

    def each(self, most: int) -> list[BadRowError]:
        """The first rows that cannot be used, a message for each."""
        by_row: dict[int, BadRowError] = {}
        for problem in self._messages:
            by_row.setdefault(problem.row, problem)
        return [by_row[row] for row in sorted(by_row)][:most]


def note_problem(problems: Problems, wrong: pl.Series, message: Callable[[int], str]) -> None:
    """Add a problem for the rows where `wrong` is true; null counts as false."""
    problems.note(wrong, message)


def several(bad: int, of: int) -> str:
    """How many rows cannot be used, for the end of a message on the first; nothing where it is the only one.

    >>> several(1, 9), several(3, 9), several(9, 9)
    ('', ' (3 of 9 rows cannot be used)', ' (so in all 9 rows)')
    """
    if bad < 2:
        return ""
    return f" (so in all {of:,} rows)" if bad == of else f" ({bad:,} of {of:,} rows cannot be used)"


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
    """Whether most of a text column's cells are numbers written as "3" or "3,5", and one as "3,5"."""
    if series.dtype != pl.String or not series.str.contains(r"\d,\d").any():
        return False
    return _are_most(series.str.contains(_DECIMAL_COMMA) | is_empty(series))


def has_truth_values(series: pl.Series) -> bool:
    """Whether most cells of a text column are "true" or "false", in any case."""
    return series.dtype == pl.String and _are_most(series.str.contains(_TRUTH))


def with_decimal_comma(series: pl.Series) -> pl.Series:
    """Numbers written as "3" or "3,5"; null where a text is none."""
    numbers = to_numbers(series.str.replace(",", ".", literal=True))
    return pl.select(pl.when(series.str.contains(_DECIMAL_COMMA)).then(numbers)).to_series()


def truth_values(series: pl.Series) -> pl.Series:
    """1 for "true" and 0 for "false", in any case; null for other texts."""
    numbers = (series.str.strip_chars().str.to_lowercase() == "true").cast(pl.Int64)
    return pl.select(pl.when(series.str.contains(_TRUTH)).then(numbers)).to_series()


def _are_most(fits: pl.Series) -> bool:
    """Whether a format fits so many cells that the others are wrong, rather than the format."""
    return bool(fits.any()) and 2 * int(fits.sum()) > len(fits)


def mend_or_skip(bad: int, of: int) -> str:
    """The advice for so many rows that cannot be used."""
    if bad == 1:
        return f"{MEND}, or leave it out with `skip_bad=1`"
    if bad == of:
        return "are the rows separated as the first line is, and is that line the header?"
    return f"mend the rows or remove them, or leave them out with `skip_bad={bad}`"
