"""The four columns of a table of interactions: what they are called, and how raw values become typed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from retrieval.errors import DataError
from retrieval.formats import shorten

USER, ITEM, RATING, TIMESTAMP = "user", "item", "rating", "timestamp"
COLUMNS = (USER, ITEM, RATING, TIMESTAMP)

# Spellings met in public data sets; case, spaces, "_" and "-" do not count.
_SPELLINGS = {
    USER: ("user", "userid", "uid"),
    ITEM: ("item", "itemid", "iid", "movie", "movieid", "product", "productid"),
    RATING: ("rating", "ratings", "score", "stars"),
    TIMESTAMP: ("timestamp", "time", "ts", "date", "datetime", "unixtime"),
}
_EXPECTED = {
    USER: "integers or text",
    ITEM: "integers or text",
    RATING: "numbers",
    TIMESTAMP: "Unix seconds or datetimes",
}
_MILLISECONDS = 10**11  # as seconds this is the year 5138, as milliseconds 1973


@dataclass(frozen=True)
class ColumnNames:
    """What the four columns are called in the source; None: known by one of the usual names."""

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None

    def positions(self, names: Sequence[str]) -> dict[str, int]:
        """Where each column stands among `names`; a column that is not there is left out."""
        plain = [plain_name(name) for name in names]
        found = {}
        for column in COLUMNS:
            wanted: str | None = getattr(self, column)
            if wanted is not None:
                candidates = [i for i, name in enumerate(names) if name == wanted]
            else:
                candidates = [plain.index(spelling) for spelling in _SPELLINGS[column] if spelling in plain]
            if candidates:
                found[column] = candidates[0]
        return found

    def require(self, names: Sequence[str], source: str) -> dict[str, int]:
        """`positions` of all four columns.

        Raises:
            DataError: naming the column that is missing, the columns found and the names it may have.
        """
        found = self.positions(names)
        for column in COLUMNS:
            if column not in found:
                expected = getattr(self, column) or " or ".join(_SPELLINGS[column][:3])
                raise DataError(
                    f"{source}: no {column} column: found {', '.join(names) or 'none'}; "
                    f"expected one named {expected}"
                )
        return found


class BadRowError(Exception):
    """The first row that cannot be used; whoever knows its line makes a `DataError` of it."""

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


def typed_frame(picked: dict[str, pl.Series], source: str) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Columns of any type to those of `Interactions`, and notes on what was understood rather than read.

    Raises:
        BadRowError: at the first row that does not convert.
        DataError: if there is no row, or a column is of a type that can never convert.
    """
    if not len(picked[USER]):
        raise DataError(f"{source}: 0 interactions")
    for column, series in picked.items():
        if not _can_hold(series.dtype, column):
            raise DataError(
                f"{source}: the {column} column holds {series.dtype}; expected {_EXPECTED[column]}"
            )
    problems: list[BadRowError] = []
    users, items = (_ids(picked[column], column, problems) for column in (USER, ITEM))
    ratings = _ratings(picked[RATING], problems)
    notes: list[str] = []
    timestamps = _timestamps(picked[TIMESTAMP], problems, notes)
    if problems:
        raise min(problems, key=lambda problem: problem.row)
    return pl.DataFrame([users.alias(USER), items.alias(ITEM), ratings, timestamps]), tuple(notes)


def canonical_ids(ids: pl.Series) -> pl.Series:
    """Text ids as Int64 where every one is the usual text of a 64-bit integer, else as they are.

    >>> canonical_ids(pl.Series(["7", "-1"])).to_list(), canonical_ids(pl.Series(["7", "007"])).to_list()
    ([7, -1], ['7', '007'])
    """
    numbers = ids.cast(pl.Int64, strict=False)
    if numbers.null_count() or not (numbers.cast(pl.String) == ids).all():
        return ids
    return numbers


def _ids(series: pl.Series, column: str, problems: list[BadRowError]) -> pl.Series:
    _note_problem(problems, series.is_null(), lambda row: f"{column} is empty")
    if series.dtype.is_integer():
        numbers = series.cast(pl.Int64, strict=False)
        return numbers if numbers.null_count() == series.null_count() else series.cast(pl.String)
    if series.dtype.is_float():
        # pandas makes floats of integers as soon as one is missing; 2**53 is where they stop being exact.
        broken = ~((series.abs() < 2**53) & (series == series.floor()))
        _note_problem(problems, broken, lambda row: f"{column} {series[row]} is neither an integer nor text")
        return series.cast(pl.Int64, strict=False)
    texts = series.cast(pl.String)
    _note_problem(problems, texts == "", lambda row: f"{column} is empty")
    return canonical_ids(texts)


def _ratings(series: pl.Series, problems: list[BadRowError]) -> pl.Series:
    numbers = _numbers(series, RATING, problems)
    ratings = numbers.cast(pl.Float32, strict=False)
    _note_problem(problems, ~ratings.is_finite(), lambda row: f"rating {series[row]} is not a finite number")
    return ratings.alias(RATING)


def _timestamps(series: pl.Series, problems: list[BadRowError], notes: list[str]) -> pl.Series:
    """Unix seconds, Int64; milliseconds are understood where all are milliseconds."""
    if series.dtype in (pl.Datetime, pl.Date):
        _note_problem(problems, series.is_null(), lambda row: f"{TIMESTAMP} is empty")
        moments = series.cast(pl.Datetime("us")) if series.dtype == pl.Date else series
        seconds = moments.dt.timestamp("us") // 1_000_000
    else:
        numbers = _numbers(series, TIMESTAMP, problems)
        seconds = numbers.cast(pl.Int64, strict=False)
        if numbers.dtype.is_float():
            whole = numbers.floor()
            seconds = whole.cast(pl.Int64, strict=False)
            _note_problem(
                problems, seconds.is_null() & numbers.is_not_null(), lambda row: _no_time(series[row])
            )
            if (numbers != whole).any():
                notes.append("fractions of seconds in timestamps were floored")
        large = seconds > _MILLISECONDS
        if large.any():
            odd = large if large.sum() * 2 < len(large) else ~large
            _note_problem(
                problems, odd, lambda row: f"timestamp {series[row]} is in another unit than most others"
            )
            seconds = seconds // 1000
            notes.append("timestamps were read as milliseconds")
    too_large = seconds > _MILLISECONDS
    _note_problem(problems, (seconds < 0) | too_large, lambda row: _no_time(series[row]))
    return seconds.alias(TIMESTAMP)


def _no_time(value: object) -> str:
    return f"timestamp {value} is no time in Unix seconds or milliseconds since 1970"


def _numbers(series: pl.Series, column: str, problems: list[BadRowError]) -> pl.Series:
    """Int64 or Float64 from numbers or from their text; what is empty or no number is a problem."""
    _note_problem(problems, series.is_null(), lambda row: f"{column} is empty")
    if series.dtype == pl.String:
        _note_problem(problems, series == "", lambda row: f"{column} is empty")
        numbers = series.cast(pl.Int64, strict=False)
        if numbers.null_count():
            numbers = series.str.strip_chars().cast(pl.Float64, strict=False)
        wrong = numbers.is_null() & (series.fill_null("") != "")
        _note_problem(problems, wrong, lambda row: f"{column} {shorten(series[row])} is not a number")
        return numbers
    if series.dtype.is_integer():
        numbers = series.cast(pl.Int64, strict=False)
        return numbers if numbers.null_count() == series.null_count() else series.cast(pl.Float64)
    return series.cast(pl.Float64)


def _can_hold(dtype: pl.DataType, column: str) -> bool:
    if dtype.is_numeric() or dtype == pl.String:
        return True
    if column in (USER, ITEM):
        return dtype in (pl.Categorical, pl.Enum)
    return column == TIMESTAMP and dtype in (pl.Datetime, pl.Date)


def _note_problem(problems: list[BadRowError], wrong: pl.Series, message: Callable[[int], str]) -> None:
    """Add a problem for the first row where `wrong` is true."""
    row = wrong.fill_null(False).arg_max() if wrong.any() else None
    if row is not None:
        problems.append(BadRowError(row, message(row)))


def from_pandas(series: Any) -> pl.Series:
    """One pandas column as polars, without pyarrow."""
    kind = getattr(series.dtype, "kind", "O")
    if kind == "M":
        if getattr(series.dtype, "tz", None) is not None:
            series = series.dt.tz_convert("UTC").dt.tz_localize(None)
        return pl.Series(series.to_numpy().astype("datetime64[us]"))
    if kind in "iufb" and not series.isna().any():
        return pl.Series(series.to_numpy(dtype=series.dtype.name.lower()))
    values = [None if missing else value for value, missing in zip(series, series.isna(), strict=True)]
    mixed = any(isinstance(value, str) for value in values) and not all(
        value is None or isinstance(value, str) for value in values
    )
    # Ids such as 42 and "x42" in one column, and integers beyond 64 bits, are text.
    if mixed or any(isinstance(value, int) and not -(2**63) <= value < 2**63 for value in values):
        values = [None if value is None else str(value) for value in values]
    return pl.Series(values, strict=False)


def plain_name(name: str) -> str:
    """A column's name without what people spell differently: case, spaces, "_" and "-"."""
    return name.strip().lower().replace("_", "").replace("-", "").replace(" ", "")
