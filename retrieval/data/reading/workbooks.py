"""Excel workbooks, read by an optional package."""

import io
import logging
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from retrieval.data.reading.file_kinds import ZIP_ERRORS
from retrieval.data.reading.raw_table import Rows
from retrieval.errors import DataError, EnvironmentProblem

# The reader allocates every cell up to the last column and row of a sheet. One stray cell far away would cost
# a very long time, or end the process for lack of memory.
MOST_COLUMNS, MOST_CELLS = 2**12, 2**24
_PLACE = re.compile(rb"""\br(?:ef)?=["'](?:[A-Za-z]+[0-9]+:)?([A-Za-z]+)([0-9]+)["']""")


@dataclass(frozen=True)
class WorkbookTable:
    """One sheet in memory.

    Attributes:
        label: the file, for messages.
        frame: the rows that are not blank.
        rows: number of each row of `frame` below the header, counted from 0.
        notes: how the reader interpreted the file.
    """

    label: str
    frame: pl.DataFrame
    rows: Sequence[int]
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns."""
        return tuple(self.frame.columns)

    def read(self, positions: Sequence[int]) -> Rows:
        """The columns at `positions`, with the types of Excel."""
        frame = self.frame.select(
            self.frame.to_series(position).alias(str(position)) for position in positions
        )
        return Rows(
            frame, lambda row: f"{self.label}: row {self.rows[row]} below the header (counted from 0)"
        )


def read_workbook(data: bytes, label: str) -> WorkbookTable:
    """Read the first sheet of an ``.xlsx`` file.

    Raises:
        EnvironmentProblem: if the optional package is missing.
        DataError: if the workbook is damaged, too large, or its first sheet is empty.
    """
    try:
        import fastexcel
    except ImportError as error:
        raise EnvironmentProblem(
            f"{label}: an Excel workbook, which needs an optional package: pip install fastexcel",
            "or save the sheet as CSV",
        ) from error
    _check_extent(data, label)
    # Keeps the warnings about empty columns off stderr.
    logging.getLogger("fastexcel").addHandler(logging.NullHandler())
    try:
        book = fastexcel.read_excel(data)
        sheets = book.sheet_names
        frame = book.load_sheet(0, schema_sample_rows=None).to_polars()
    except (fastexcel.FastExcelError, pl.exceptions.PolarsError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or ["unreadable"])[0][:160]
        raise DataError(f"{label}: a damaged workbook: {reason}", "save it again") from error
    if not frame.width:
        raise DataError(f"{label}: 0 rows: the first sheet, {sheets[0]!r}, is empty")
    more = (f"only the first of {len(sheets)} sheets was read, {sheets[0]!r}",) if len(sheets) > 1 else ()
    is_blank = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
    return WorkbookTable(label, frame.filter(~is_blank), (~is_blank).arg_true().to_list(), more)


def _check_extent(data: bytes, label: str) -> None:
    """Refuse a workbook with a cell far outside a table. The reader itself reports a damaged one.

    Raises:
        DataError: naming the cell.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            sheets = [archive.read(name) for name in archive.namelist() if name.startswith("xl/worksheets/")]
    except (*ZIP_ERRORS, zlib.error):
        return
    for sheet in sheets:
        last_column, last_row = 1, 1
        for column, row in _PLACE.findall(sheet):
            last_column, last_row = max(last_column, _number(column)), max(last_row, int(row[:20]))
            if last_column > MOST_COLUMNS or last_column * last_row > MOST_CELLS:
                raise DataError(
                    f"{label}: too large a sheet, with a cell at {(column + row)[:20].decode()}; "
                    f"expected up to {MOST_COLUMNS:,} columns and {MOST_CELLS:,} cells",
                    "save it as CSV",
                )


def _number(letters: bytes) -> int:
    """The number of a column, from 1 on, by its letters: A to Z, AA, AB, ..."""
    number = 0
    for letter in letters[:8]:
        number = 26 * number + (letter & 31)
    return number
