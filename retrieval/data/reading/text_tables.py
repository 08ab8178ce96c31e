"""Tables written as text: every field as it stands in the file, and the line of every row."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval.data.reading.delimiters import TextLayout, shorten
from retrieval.data.reading.raw_table import Malformed, Rows
from retrieval.data.reading.record_lines import Records, StrayQuoteError, find_records
from retrieval.errors import DataError

# One of these stands in for a separator of two characters: polars reads only separators of one byte.
_SPARE_BYTES = [bytes([byte]) for byte in range(1, 32) if bytes([byte]) not in (b"\n", b"\r")]
_CHUNK = 100_000  # rows that are Python lists at once


@dataclass(frozen=True)
class TextTable:
    r"""Text and its layout.

    Attributes:
        label: the file, for messages.
        data: UTF-8 with ``\n`` line ends and no byte-order mark.
        layout: separator, names, quoting.
        notes: how the reader interpreted the file.
    """

    label: str
    data: bytes
    layout: TextLayout
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns."""
        return self.layout.names

    def read(self, positions: Sequence[int], skip: int = 0) -> Rows:
        """Read the columns at `positions` as text, an empty field as null or "".

        At most `skip` rows of another number of fields are left out. numpy finds the lines and polars reads
        them, so no Python code runs for a row. Only a file with quotes in odd places (``5" disk``) goes to
        Python's csv module.
        """
        try:
            return self._read_in_blocks(sorted(set(positions)), skip)
        except StrayQuoteError:
            return self._read_line_by_line(sorted(set(positions)), skip)

    def _read_in_blocks(self, positions: list[int], skip: int) -> Rows:
        data, separator = self.data, self.layout.separator.encode()
        if len(separator) > 1:
            spare = next((byte for byte in _SPARE_BYTES if byte not in data), None)
            if spare is None:
                raise StrayQuoteError
            data, separator = data.replace(separator, spare), spare
        frames, malformed = [_no_rows(positions)], Malformed()
        for records in self._records(data, separator):
            whole = self._whole(records)
            wrong = ~records.blank & ~whole
            if wrong.any() and not malformed.bad:
                malformed = self._malformed_rows(data, separator)
            if wrong.any() and malformed.too_many(skip):
                kept = whole[: int(wrong.argmax())]
                frames.append(_parse(data, records, kept, positions, self.layout, separator))
                break
            frames.append(_parse(data, records, whole, positions, self.layout, separator))

        def where(row: int) -> str:
            blocks = self._records(data, separator)
            return f"{self.label}:{_line_of(row, (each.lines[self._whole(each)] for each in blocks))}"

        return malformed.among(pl.concat(frames), where, skip)

    def _whole(self, records: Records) -> NDArray[np.bool_]:
        """Whether each record has as many fields as the table has columns."""
        whole: NDArray[np.bool_] = ~records.blank & (records.fields == len(self.names))
        return whole

    def _malformed_rows(self, data: bytes, separator: bytes) -> Malformed:
        """All malformed rows of the file."""
        found = Malformed()
        for records in self._records(data, separator):
            found.of += int((~records.blank).sum())
            for row in np.flatnonzero(~records.blank & ~self._whole(records)).tolist():
                found.add(partial(self._malformed, data, records, row, separator))
                found.is_open |= not records.fields[row]
        return found

    def _records(self, data: bytes, separator: bytes) -> Iterator[Records]:
        """The records below the header."""
        start, line = _after_header(data) if self.layout.header else (0, 1)
        return find_records(data, separator, self.layout.quoted, start, line)

    def _malformed(self, data: bytes, records: Records, row: int, separator: bytes) -> DataError:
        line, fields = int(records.lines[row]), int(records.fields[row])
        text = data[records.starts[row] : records.ends[row]][:400]
        shown = text.replace(separator, self.layout.separator.encode()).decode("utf-8", "ignore")
        return self._wrong_number(line, fields, shown) if fields else self._open_quote(line, shown)

    def _wrong_number(self, line: int, found: int, text: str) -> DataError:
        return DataError(
            f"{self.label}:{line}: expected {len(self.names)} fields separated by "
            f"{self.layout.separator!r}, found {found}: {shorten(text)}"
        )

    def _open_quote(self, line: int, text: str) -> DataError:
        return DataError(f"{self.label}:{line}: a double quote is opened and not closed: {shorten(text)}")

    def _read_line_by_line(self, positions: list[int], skip: int) -> Rows:
        frames, lines, malformed = [_no_rows(positions)], list[int](), Malformed()
        before = 0  # whole rows before the first malformed one
        chunk: list[list[str]] = []
        header = self.layout.header
        for line, fields in _lines(self.data.decode("utf-8"), self.layout):
            if isinstance(fields, str):
                malformed.add(partial(self._open_quote, line, fields))
                malformed.is_open = True
                break
            if header:
                header = False
                continue
            malformed.of += 1
            if len(fields) != len(self.names):
                text = self.layout.separator.join(fields)
                malformed.add(partial(self._wrong_number, line, len(fields), text))
                continue
            before += not malformed.bad
            chunk.append([fields[position] for position in positions])
            lines.append(line)
            if len(chunk) == _CHUNK:
                frames.append(_text_frame(chunk, positions))
                chunk = []
        frames.append(_text_frame(chunk, positions))
        frame = pl.concat(frames)
        if malformed.too_many(skip):
            frame = frame.head(before)
        return malformed.among(frame, lambda row: f"{self.label}:{lines[row]}", skip)


def _parse(
    data: bytes,
    records: Records,
    keep: NDArray[np.bool_],
    positions: list[int],
    layout: TextLayout,
    separator: bytes,
) -> pl.DataFrame:
    """Read the records to keep, among the first ``len(keep)``."""
    rows, stop = int(keep.sum()), len(keep)
    if not rows:
        return _no_rows(positions)
    first, last = int(records.starts[0]), int(records.ends[stop - 1]) + 1
    text = data[first:last]
    if rows < stop:
        text = _kept(text, records.starts[:stop] - first, keep)
    # With a header in front, polars cannot take text that begins like a zlib stream ("x...") for one.
    header = separator.join(str(position).encode() for position in range(len(layout.names)))
    try:
        frame = pl.read_csv(
            header + b"\n" + text,
            columns=positions,
            separator=separator.decode(),
            quote_char='"' if layout.quoted and b'"' in text else None,
            infer_schema=False,
        )
    except pl.exceptions.PolarsError as error:
        raise StrayQuoteError from error
    if frame.height != rows or frame.width != len(positions):
        raise StrayQuoteError
    return frame


def _kept(text: bytes, starts: NDArray[np.int64], keep: NDArray[np.bool_]) -> bytes:
    lengths = np.diff(starts, append=len(text))
    return np.frombuffer(text, np.uint8)[np.repeat(keep, lengths)].tobytes()


def _line_of(row: int, blocks: Iterator[NDArray[np.int64]]) -> int:
    """The line on which a row starts. Messages need few of them, so it is found again rather than kept.

    Args:
        blocks: the lines of all rows, in blocks.
    """
    for lines in blocks:
        if row < len(lines):
            return int(lines[row])
        row -= len(lines)
    raise IndexError(row)


def _after_header(data: bytes) -> tuple[int, int]:
    """Offset and line after the header, the first line that is not blank."""
    start, line = 0, 1
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        is_blank = not data[start:end].strip(b" ")
        start, line = min(end + 1, len(data)), line + 1
        if not is_blank:
            break
    return start, line


def _lines(text: str, layout: TextLayout) -> Iterator[tuple[int, list[str] | str]]:
    """The first line and the fields of each record, without blank lines.

    A record whose quote is not closed gives its text in place of the fields, and is the last.
    """
    lines = text.split("\n")
    if not layout.quoted:
        for line, content in enumerate(lines, start=1):
            fields = content.split(layout.separator)
            if len(fields) > 1 or content.strip(" "):
                yield line, fields
        return
    reader = csv.reader((line + "\n" for line in lines), delimiter=layout.separator)
    start = 0
    while start < len(lines):
        try:
            fields = next(reader, [])
            end = reader.line_num
            # A quote left open swallows lines up to the next quote, which may belong to another field.
            if end > start + 1 or end == len(lines):
                _check_closed(lines[start:end], layout.separator)
        except csv.Error:
            yield start + 1, lines[start]
            return
        if end > start + 1 or lines[start].strip(" "):
            yield start + 1, fields
        start = end


def _check_closed(lines: list[str], separator: str) -> None:
    """Raise csv.Error unless every quote of the record is closed at the end of its field."""
    list(csv.reader(["\n".join(lines)], delimiter=separator, strict=True))


def _text_frame(rows: list[list[str]], positions: list[int]) -> pl.DataFrame:
    schema = {str(position): pl.String for position in positions}
    return pl.DataFrame(rows, schema=schema, orient="row") if rows else _no_rows(positions)


def _no_rows(positions: list[int]) -> pl.DataFrame:
    return pl.DataFrame(schema={str(position): pl.String for position in positions})
