"""Excel workbooks, through an optional package."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from retrieval.errors import DataError, EnvironmentProblem
from retrieval.reading.tables import Rows


@dataclass(frozen=True)
class WorkbookTable:
    """One sheet, read.

    Attributes:
        label: the file, for messages.
        frame: the rows that are not blank.
        rows: the number of each below the header, counted from 0.
        notes: what was understood rather than read.
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
        """The columns at `positions`, of the types Excel has."""
        frame = self.frame.select(
            self.frame.to_series(position).alias(str(position)) for position in positions
        )
        return Rows(
            frame, lambda row: f"{self.label}: row {self.rows[row]} below the header (counted from 0)"
        )


def read_workbook(data: bytes, label: str) -> WorkbookTable:
    """The first sheet of an ``.xlsx`` file.

    Raises:
        EnvironmentProblem: the optional package is missing.
        DataError: the workbook is damaged, or its first sheet is empty.
    """
    try:
        import fastexcel
    except ImportError as error:
        raise EnvironmentProblem(
            f"{label}: an Excel workbook, which needs an optional package: "
            "pip install fastexcel; or save the sheet as CSV"
        ) from error
    # Its warnings about empty columns would stand on stderr.
    logging.getLogger("fastexcel").addHandler(logging.NullHandler())
    try:
        book = fastexcel.read_excel(data)
        sheets = book.sheet_names
        frame = book.load_sheet(0, schema_sample_rows=None).to_polars()
    except (fastexcel.FastExcelError, pl.exceptions.PolarsError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or ["unreadable"])[0][:160]
        raise DataError(f"{label}: a damaged workbook: {reason}; save it again") from error
    if not frame.width:
        raise DataError(f"{label}: 0 rows: the first sheet, {sheets[0]!r}, is empty")
    more = (f"only the first of {len(sheets)} sheets was read, {sheets[0]!r}",) if len(sheets) > 1 else ()
    is_blank = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
    return WorkbookTable(label, frame.filter(~is_blank), (~is_blank).arg_true().to_list(), more)
