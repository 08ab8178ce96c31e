"""The table of interactions: who met which item when, and what they thought of it.

Rows go in as files or frames of many shapes and come out as one: `Interactions`. Nothing is dropped,
wrapped or guessed on the way; what cannot be understood is a `DataError` that says where it stands.
"""

import hashlib
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from retrieval import formats
from retrieval.columns import (
    COLUMNS,
    ITEM,
    RATING,
    TIMESTAMP,
    USER,
    BadRowError,
    ColumnNames,
    from_pandas,
    typed_frame,
)
from retrieval.errors import DataError
from retrieval.formats import TextLayout, shorten

if TYPE_CHECKING:
    import pandas as pd

RATINGS_FILES = ("ratings.dat", "u.data", "ratings.csv", "*.inter")

_DIGEST_SLICE = 1_000_000


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
        if not isinstance(frame, pl.DataFrame):
            _check_is_pandas(frame)
        names = [str(name) for name in frame.columns]
        positions = (columns or ColumnNames()).require(names, source)
        if isinstance(frame, pl.DataFrame):
            picked = {column: frame.to_series(i) for column, i in positions.items()}
        else:
            picked = {column: from_pandas(frame.iloc[:, i]) for column, i in positions.items()}
        try:
            typed, notes = typed_frame(picked, source)
        except BadRowError as bad:
            raise DataError(f"{source}: row {bad.row} (counted from 0): {bad}") from None
        return cls(typed, source, notes)

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
            return _with_note(_interactions(frame, positions, label), layout)
        except BadRowError as bad:
            rows = (bad.row + 1, None)
    # Something is wrong, or at least odd: walk line by line, as far as needed to say where.
    found = [_read_line_by_line(data, layout, label, positions, limit) for limit in rows][-1]
    return _with_note(found, layout)


def _with_note(found: Interactions, layout: TextLayout) -> Interactions:
    """A CSV without a header is no known format: say how its columns were taken."""
    if layout.header or layout.separator != ",":
        return found
    return replace(found, notes=(f"no header: columns taken as {', '.join(COLUMNS)}", *found.notes))


def _read_line_by_line(
    data: bytes, layout: TextLayout, label: str, positions: dict[str, int], limit: int | None
) -> Interactions:
    frame, lines, problem = formats.numbered_text_frame(data, layout, label, limit)
    if problem is not None and not lines:
        raise problem
    try:
        found = _interactions(frame, positions, label)
    except BadRowError as bad:
        raise DataError(f"{label}:{lines[bad.row]}: {bad}") from None
    if problem is not None:
        raise problem
    return found


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


def _interactions(frame: pl.DataFrame, positions: dict[str, int], label: str) -> Interactions:
    picked = {column: frame.to_series(i) for column, i in positions.items()}
    typed, notes = typed_frame(picked, label)
    return Interactions(typed, label, notes)


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


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
