"""The table of interactions: who met which item when, and what they thought of it.

Rows go in as files or frames of many shapes and come out as one: `Interactions`. Nothing is dropped,
wrapped or guessed on the way; what cannot be understood is a `DataError` that says where it stands.
"""

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from retrieval import formats
from retrieval.errors import DataError
from retrieval.formats import TextLayout, shorten

if TYPE_CHECKING:
    import pandas as pd

USER, ITEM, RATING, TIMESTAMP = "user", "item", "rating", "timestamp"
COLUMNS = (USER, ITEM, RATING, TIMESTAMP)
RATINGS_FILES = ("ratings.dat", "u.data", "ratings.csv", "*.inter")

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
_DIGEST_SLICE = 1_000_000


@dataclass(frozen=True)
class ColumnNames:
    """What the four columns are called in the source; None: known by one of the usual names."""

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None

    def positions(self, names: Sequence[str]) -> dict[str, int]:
        """Where each column stands among `names`; a column that is not there is left out."""
        plain = [_plain(name) for name in names]
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


@dataclass(frozen=True, eq=False)
class Interactions:
    """All interactions, in the order of the source, unchanged but for their types.

    Attributes:
        frame: columns user, item (both Int64 if every id is a canonical 64-bit integer, else String),
            rating (Float32, finite), timestamp (Int64, Unix seconds, >= 0); no nulls.
        source: where they come from, for messages.
        notes: what was understood rather than read, one sentence each ("timestamps are ...").

    Raises:
        ValueError: if the frame has other columns or types; `from_frame` takes frames as people have them.
    """

    frame: pl.DataFrame
    source: str
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        dtypes = self.frame.dtypes
        ids_fit = all(dtype in (pl.Int64, pl.String) for dtype in dtypes[:2])
        if tuple(self.frame.columns) != COLUMNS or not ids_fit or dtypes[2:] != [pl.Float32, pl.Int64]:
            raise ValueError(f"not a table of interactions: {dict(self.frame.schema)}")

    def __len__(self) -> int:
        return self.frame.height

    @classmethod
    def from_frame(
        cls,
        frame: "pl.DataFrame | pd.DataFrame",
        source: str = "DataFrame",
        columns: ColumnNames | None = None,
    ) -> "Interactions":
        """Check and convert a polars or pandas frame, which is left as it is.

        Timestamps may be numbers (Unix seconds or milliseconds) or datetimes (UTC where they name no zone).

        Raises:
            DataError: missing columns, no rows, or the first row (counted from 0) with a null or empty id,
                a rating that is no finite number, a timestamp that is no time since 1970.

        >>> frame = pl.DataFrame({"user_id": ["7"], "movieId": [50], "stars": [5], "ts": [881250949.7]})
        >>> Interactions.from_frame(frame).frame.row(0)
        (7, 50, 5.0, 881250949)
        """
        names = [str(name) for name in frame.columns]
        positions = (columns or ColumnNames()).require(names, source)
        if isinstance(frame, pl.DataFrame):
            picked = {column: frame.to_series(i) for column, i in positions.items()}
        else:
            _check_is_pandas(frame)
            picked = {column: _from_pandas(frame.iloc[:, i]) for column, i in positions.items()}
        try:
            return _convert(picked, source)
        except _BadRowError as bad:
            raise DataError(f"{source}: row {bad.row} (counted from 0): {bad}") from None

    def digest(self) -> str:
        r"""SHA-256 (hex) of the canonical table: one for the same rows, whatever their order and format.

        One line a row, ``user TAB item TAB rating TAB timestamp LF``, in UTF-8, sorted by user, item,
        timestamp, rating. Integer ids are sorted as numbers and text ids by code point; in text ids ``\``,
        tab, LF and CR are written ``\\``, ``\t``, ``\n``, ``\r``. A rating is the shortest decimal that gives
        the same float32, without exponent and without ".0".
        """
        rows = self.frame.sort(USER, ITEM, TIMESTAMP, RATING)
        ratings = rows[RATING].unique()
        texts = [
            np.format_float_positional(np.float32(r) + np.float32(0), trim="-") for r in ratings.to_list()
        ]
        rows = rows.select(
            _id_text(USER, rows[USER].dtype),
            _id_text(ITEM, rows[ITEM].dtype),
            pl.col(RATING).replace_strict(ratings, pl.Series(texts, dtype=pl.String), return_dtype=pl.String),
            pl.col(TIMESTAMP).cast(pl.String),
        )
        sha = hashlib.sha256()
        for part in rows.iter_slices(_DIGEST_SLICE):
            lines = part.select(pl.concat_str(pl.all(), separator="\t")).to_series()
            sha.update(("\n".join(lines.to_list()) + "\n").encode())
        return sha.hexdigest()


def read_interactions(path: Path, columns: ColumnNames | None = None) -> Interactions:
    """Read a file, or the ratings file of a folder; the format is known by content.

    Understood: ``ratings.dat`` (``::``), ``u.data`` (tabs, no header), CSV with a header (or four
    fields and none), RecBole's ``.inter``; each also as gz and as a zip that holds it.

    Raises:
        DataError: naming the file, and the line and its text where one is wrong.
    """
    columns = columns or ColumnNames()
    path = formats.locate(Path(path), RATINGS_FILES, "ratings")
    data, label = formats.load(path, RATINGS_FILES, "ratings")
    line = formats.first_line(data, label)
    if not line:
        raise DataError(f"{label}: 0 interactions: the file is empty")
    layout = _layout(line, columns, label)
    positions = columns.require(layout.names, label)
    data = formats.as_utf8(data, layout, label)

    frame = formats.text_frame(data, layout)
    rows: tuple[int | None, ...] = (None,)
    if frame is not None:
        try:
            return _convert(_pick(frame, positions), label)
        except _BadRowError as bad:
            rows = (bad.row + 1, None)
    # Something is wrong, or at least odd: walk line by line, as far as needed to say where.
    return [_read_line_by_line(data, layout, label, positions, limit) for limit in rows][-1]


def _read_line_by_line(
    data: bytes, layout: TextLayout, label: str, positions: dict[str, int], limit: int | None
) -> Interactions:
    frame, lines, problem = formats.numbered_text_frame(data, layout, label, limit)
    if problem is not None and not lines:
        raise problem
    try:
        found = _convert(_pick(frame, positions), label)
    except _BadRowError as bad:
        raise DataError(f"{label}:{lines[bad.row]}: {bad}") from None
    if problem is not None:
        raise problem
    return found


class _BadRowError(Exception):
    """The first row that cannot be used; whoever knows its line makes a `DataError` of it."""

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


def _layout(line: str, columns: ColumnNames, label: str) -> TextLayout:
    """The layout that the first line gives away."""
    if "::" in line:
        return TextLayout("::", COLUMNS, header=False, latin1=True)
    layout = formats.header_layout(line, lambda names: {USER, ITEM} <= columns.positions(names).keys())
    if layout is not None:
        return layout
    for separator in ("\t", ","):
        fields = formats.split_quoted(line, separator)
        if len(fields) > 2 and any(_is_number(text) for text in fields):
            return TextLayout(
                separator, COLUMNS, header=False, quoted=separator == ",", latin1=separator == "\t"
            )
        if len(fields) > 2:
            return TextLayout(separator, tuple(fields), header=True, quoted=True)
    raise DataError(
        f"{label}: not a ratings file: begins with {shorten(line)}; "
        "expected lines of user, item, rating, timestamp separated by '::', tabs or commas"
    )


def _pick(frame: pl.DataFrame, positions: dict[str, int]) -> dict[str, pl.Series]:
    return {column: frame.to_series(i) for column, i in positions.items()}


def _convert(picked: dict[str, pl.Series], source: str) -> Interactions:
    """Columns of any type to `Interactions`; `_BadRowError` at the first row that does not convert."""
    if not len(picked[USER]):
        raise DataError(f"{source}: 0 interactions")
    for column, series in picked.items():
        if not _can_hold(series.dtype, column):
            raise DataError(
                f"{source}: the {column} column holds {series.dtype}; expected {_EXPECTED[column]}"
            )
    problems: list[_BadRowError] = []
    users, items = (_ids(picked[column], column, problems) for column in (USER, ITEM))
    ratings = _ratings(picked[RATING], problems)
    notes: list[str] = []
    timestamps = _timestamps(picked[TIMESTAMP], problems, notes)
    if problems:
        raise min(problems, key=lambda problem: problem.row)
    frame = pl.DataFrame([users.alias(USER), items.alias(ITEM), ratings, timestamps])
    return Interactions(frame, source, tuple(notes))


def canonical_ids(ids: pl.Series) -> pl.Series:
    """Text ids as Int64 where every one is the usual text of a 64-bit integer, else as they are.

    >>> canonical_ids(pl.Series(["7", "-1"])).to_list(), canonical_ids(pl.Series(["7", "007"])).to_list()
    ([7, -1], ['7', '007'])
    """
    numbers = ids.cast(pl.Int64, strict=False)
    if numbers.null_count() or not (numbers.cast(pl.String) == ids).all():
        return ids
    return numbers


def _ids(series: pl.Series, column: str, problems: list[_BadRowError]) -> pl.Series:
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


def _ratings(series: pl.Series, problems: list[_BadRowError]) -> pl.Series:
    numbers = _numbers(series, RATING, problems)
    ratings = numbers.cast(pl.Float32, strict=False)
    _note_problem(problems, ~ratings.is_finite(), lambda row: f"rating {series[row]} is not a finite number")
    return ratings.alias(RATING)


def _timestamps(series: pl.Series, problems: list[_BadRowError], notes: list[str]) -> pl.Series:
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


def _numbers(series: pl.Series, column: str, problems: list[_BadRowError]) -> pl.Series:
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


def _note_problem(problems: list[_BadRowError], wrong: pl.Series, message: Callable[[int], str]) -> None:
    """Add a problem for the first row where `wrong` is true."""
    row = wrong.fill_null(False).arg_max() if wrong.any() else None
    if row is not None:
        problems.append(_BadRowError(row, message(row)))


def _id_text(column: str, dtype: pl.DataType) -> pl.Expr:
    """Ids as the digest writes them."""
    text = pl.col(column).cast(pl.String)
    if dtype == pl.String:
        for raw, written in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
            text = text.str.replace_all(raw, written, literal=True)
    return text


def _check_is_pandas(frame: object) -> None:
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(frame, pandas.DataFrame):
        raise DataError(f"expected a polars or pandas DataFrame, not {type(frame).__name__}")


def _from_pandas(series: Any) -> pl.Series:
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


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "").replace("-", "").replace(" ", "")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
