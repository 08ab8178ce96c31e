"""Opens a table in any of the formats."""

from collections.abc import Callable, Sequence
from pathlib import Path

from retrieval.data.reading import delimiters, files
from retrieval.data.reading.decoding import to_utf8
from retrieval.data.reading.delimiters import TextLayout
from retrieval.data.reading.file_kinds import PARQUET, kind_of
from retrieval.data.reading.json_lines import JsonTable, is_json, json_table
from retrieval.data.reading.parquet import ParquetTable, Part, parquet_folder
from retrieval.data.reading.public_layouts import UnrolledTable, unrolled_table
from retrieval.data.reading.text_folder import TextFolder
from retrieval.data.reading.text_tables import TextTable
from retrieval.data.reading.workbooks import WorkbookTable, read_workbook
from retrieval.errors import DataError

AnyTable = TextTable | JsonTable | UnrolledTable | TextFolder | ParquetTable | WorkbookTable


def open_table(
    path: Path,
    names: Sequence[str],
    what: str,
    layout: Callable[[list[str], str], TextLayout],
    label: str | None = None,
) -> AnyTable:
    """Open the table at `path`: text, JSON, Parquet or a workbook, packed or not; the content tells which.

    Args:
        path: a file, or a folder that holds a file with one of `names`, or Parquet parts.
        names: file names or patterns, searched in this order.
        what: "ratings", "items" or "users", for messages.
        layout: the first lines of a text that are not blank, and its label -> its layout.
        label: the name of a file in messages; None: its path.

    Raises:
        DataError: naming the file and what is wrong with it.
        EnvironmentProblem: if it is a workbook and the optional package for workbooks is missing.
    """
    path = files.locate(path, names, what)
    if path.is_dir():
        parts = files.parquet_parts(path)
        if parts:
            return parquet_folder(path, parts)
        tables = [_open_file(part, names, what, layout, None) for part in files.text_parts(path)]
        return TextFolder(
            str(path), tuple(each for each in tables if isinstance(each, TextTable | JsonTable))
        )
    return _open_file(path, names, what, layout, label)


def _open_file(
    path: Path,
    names: Sequence[str],
    what: str,
    layout: Callable[[list[str], str], TextLayout],
    label: str | None,
) -> AnyTable:
    data, label = files.load(path, names, what, label)
    if files.is_typed(data):
        if kind_of(data) == PARQUET:
            return ParquetTable(label, (Part(label, data),))
        return read_workbook(data, label)
    data, notes = to_utf8(data, label)
    if is_json(data):
        return json_table(data, label, what, notes)
    lines = delimiters.first_lines(data)
    if not lines:
        raise DataError(f"{label}: 0 {_ROWS.get(what, what)}: the file is empty", "give one with rows")
    if what == "ratings":
        unrolled = unrolled_table(lines, data.decode("utf-8"), label, notes)
        if unrolled is not None:
            return unrolled
    return TextTable(label, data, delimiters.with_empty_last(layout(lines, label), lines), notes)


_ROWS = {"ratings": "interactions"}  # what the rows of a file are, where not as the file is called
