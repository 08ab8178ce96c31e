"""The table of interactions: which user met which item, when, and how they rated it.

Files and frames of many shapes become one: `Interactions`. No row is dropped and no number wraps on the way;
a cell that cannot be read is a `DataError` that says where the cell is.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from retrieval.data.cells.bad_cells import TOLD
from retrieval.data.cells.usable_rows import checked_skip, skipped_note, usable_rows
from retrieval.data.frames import as_frame, column_names, frame_cells
from retrieval.data.reading.columns import COLUMNS, ITEM, RATING, TIMESTAMP, USER, ColumnNames, rating_note
from retrieval.data.reading.json_lines import JsonTable
from retrieval.data.reading.open_table import open_table
from retrieval.data.reading.ratings_header import headerless_note, ratings_layout
from retrieval.data.reading.text_tables import TextTable

if TYPE_CHECKING:
    from retrieval.data.frames import Frame

RATINGS_FILES = ("ratings.dat", "u.data", "ratings.csv", "*.inter", "ratings.parquet")

_DIGEST_SLICE = 1_000_000  # rows of text in memory at once


@dataclass(frozen=True, eq=False)
class Interactions:
    """All interactions, in the order of the source, unchanged but for their types.

    Attributes:
        frame: columns user, item (both Int64 if every id is a canonical 64-bit integer, else String),
            then rating (Float32, finite) if the source has ratings, then timestamp (Int64, Unix seconds,
            >= 0) if it has times; no nulls.
        source: the file or frame, for messages.
        notes: how the reader interpreted the source, one sentence each ("timestamps are ...").
        columns_found: names of the source's columns, for messages.

    Raises:
        ValueError: if the frame has other columns or types; `from_frame` converts any frame.
    """

    frame: pl.DataFrame
    source: str
    notes: tuple[str, ...] = field(default=())
    columns_found: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        dtypes = self.frame.schema
        expected = {RATING: pl.Float32, TIMESTAMP: pl.Int64}
        has = [column for column in COLUMNS if column in (USER, ITEM) or column in dtypes]
        fits = self.frame.columns == has and all(dtypes[c] == t for c, t in expected.items() if c in dtypes)
        if not fits or any(dtypes[column] not in (pl.Int64, pl.String) for column in (USER, ITEM)):
            raise ValueError(f"not a table of interactions: {dict(self.frame.schema)}")

    @property
    def has_ratings(self) -> bool:
        """Whether the table has ratings; without them every row is a positive."""
        return RATING in self.frame.columns

    @property
    def has_timestamps(self) -> bool:
        """Whether the table has times; without them it cannot be split by time."""
        return TIMESTAMP in self.frame.columns

    def __len__(self) -> int:
        return self.frame.height

    @classmethod
    def from_frame(
        cls,
        frame: "Frame",
        source: str = "DataFrame",
        columns: ColumnNames | None = None,
        *,
        skip_bad: int = 0,
        time_format: str | None = None,
    ) -> "Interactions":
        """Check a frame, or any other table that a Python program holds, and convert a copy of it.

        Timestamps may be numbers, text or datetimes, as in files. Rows may be tuples: user, item, and perhaps
        rating and timestamp.

        Args:
            columns: names of unusual columns.
            skip_bad: so many rows that cannot be used may be left out; a note tells which.
            time_format: how the timestamps are written, as for `datetime.strptime`; None: it is found out.

        Raises:
            DataError: missing columns, no rows, or the first row (counted from 0) with a null or empty id,
                a rating that is no finite number, a timestamp that is no time since 1970.

        >>> frame = pl.DataFrame({"user_id": ["7"], "movieId": [50], "stars": [5], "ts": [881250949.7]})
        >>> Interactions.from_frame(frame).frame.row(0)
        (7, 50, 5.0, 881250949)
        """
        table = as_frame(frame, COLUMNS)
        names = column_names(table)
        columns = columns or ColumnNames()
        positions = columns.require(names, source)
        cells = frame_cells(table)
        picked = {column: cells(position) for column, position in positions.items()}
        usable = usable_rows(
            picked,
            source,
            lambda row: f"{source}: row {row} (counted from 0)",
            checked_skip(skip_bad),
            time_format,
        )
        notes = columns.notes(names) + usable.notes + skipped_note(usable.left_out, usable.told)
        if RATING not in positions:
            notes = (rating_note(names), *notes)
        return cls(usable.frame, source, notes, tuple(names))

    def digest(self) -> str:
        r"""SHA-256 (hex) of the canonical table; the same rows give the same digest in any order and format.

        The canonical table is UTF-8 text with a line for each row,
        ``user TAB item TAB rating TAB timestamp LF``, sorted by user, item, timestamp, rating. Integer ids
        are sorted as numbers and text ids by code point; in text ids ``\``, tab, LF and CR become ``\\``,
        ``\t``, ``\n``, ``\r``. A rating is the shortest decimal that gives the same float32, without exponent
        and without ".0". A column that the table lacks is an empty field.
        """
        order = [column for column in (USER, ITEM, TIMESTAMP, RATING) if column in self.frame.columns]
        rows = self.frame.sort(order)
        rows = rows.select(
            _id_text(USER, rows[USER].dtype),
            _id_text(ITEM, rows[ITEM].dtype),
            _rating_text(rows) if self.has_ratings else pl.lit("").alias(RATING),
            pl.col(TIMESTAMP).cast(pl.String) if self.has_timestamps else pl.lit("").alias(TIMESTAMP),
        )
        sha = hashlib.sha256()
        for part in rows.iter_slices(_DIGEST_SLICE):
            lines = part.select(pl.concat_str(pl.all(), separator="\t")).to_series()
            sha.update(("\n".join(lines.to_list()) + "\n").encode())
        return sha.hexdigest()


def read_interactions(
    path: Path,
    columns: ColumnNames | None = None,
    *,
    label: str | None = None,
    skip_bad: int = 0,
    time_format: str | None = None,
) -> Interactions:
    """Read a file, or the ratings file of a folder; the content tells the format.

    It reads ``ratings.dat`` (``::``), ``u.data`` (tabs, no header), CSV with a header in the usual spellings
    or without one, RecBole's ``.inter``, each also as gz and inside a zip; Parquet, a file or a folder of
    parts; Excel workbooks. The columns of ratings and of timestamps may be missing.

    Args:
        label: the name of a file in messages; None: its path.
        skip_bad: so many rows that cannot be used may be left out; a note tells which.
        time_format: how the timestamps are written, as for `datetime.strptime`; None: it is found out.

    Raises:
        DataError: naming the file, and the line and its text where one is wrong.
        EnvironmentProblem: if it is a workbook and the optional package for workbooks is missing.
    """
    columns, skip = columns or ColumnNames(), checked_skip(skip_bad)
    table = open_table(
        Path(path), RATINGS_FILES, "ratings", lambda lines, name: ratings_layout(lines, columns, name), label
    )
    positions = columns.require(table.names, table.label)
    wanted = list(positions.values())
    rows = table.read(wanted, skip) if isinstance(table, TextTable | JsonTable) else table.read(wanted)
    if rows.problem is not None and not rows.frame.height:
        raise rows.problem
    picked = {column: rows.frame[str(position)] for column, position in positions.items()}
    usable = usable_rows(picked, table.label, rows.where, skip - rows.left_out, time_format)
    if rows.problem is not None:
        raise rows.problem
    notes = table.notes
    has_header = True
    if isinstance(table, TextTable):
        has_header = table.layout.header
        notes += headerless_note(table.layout)
    if RATING not in positions:
        notes += (rating_note(table.names, has_header),)
    skipped = skipped_note(rows.left_out + usable.left_out, (*rows.told, *usable.told)[:TOLD])
    notes += columns.notes(table.names) + usable.notes + skipped
    return Interactions(usable.frame, table.label, notes, table.names)


def _rating_text(rows: pl.DataFrame) -> pl.Expr:
    """Ratings as the digest writes them."""
    ratings = rows[RATING].unique()
    texts = [np.format_float_positional(np.float32(r) + np.float32(0), trim="-") for r in ratings.to_list()]
    return pl.col(RATING).replace_strict(ratings, pl.Series(texts, dtype=pl.String), return_dtype=pl.String)


def _id_text(column: str, dtype: pl.DataType) -> pl.Expr:
    """Ids as the digest writes them."""
    text = pl.col(column).cast(pl.String)
    if dtype == pl.String:
        for raw, written in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
            text = text.str.replace_all(raw, written, literal=True)
    return text
