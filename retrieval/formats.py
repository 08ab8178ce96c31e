"""Text tables as people have them: compressed or not, with a header or without, found by content.

What is said here about bytes, lines and fields holds for ratings and for items alike; what the
fields mean is said in `interactions` and `items`.
"""

import csv
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import polars as pl

from retrieval.errors import DataError

_TYPED_NAME = re.compile(r"[^\t:]+:(token|token_seq|float|float_seq)")
_C1_CONTROL = re.compile(rb"[\x80-\x9f]")
# Stand-ins for a separator of two characters, which polars' reader does not take.
_SPARE_BYTES = (b"\t", b"\x1f", b"\x1e", b"\x1d", b"|", b";")
_HEAD = 65_536
_CHUNK = 100_000


@dataclass(frozen=True)
class TextLayout:
    """How a line falls apart into fields.

    Attributes:
        separator: between two fields, one character or ``::``.
        names: one name a field, from the header or by convention.
        header: the first line that is not blank holds names, not data.
        quoted: a field may stand in double quotes (CSV).
        latin1: what is not UTF-8 may be latin-1, as in MovieLens' older files.
    """

    separator: str
    names: tuple[str, ...]
    header: bool
    quoted: bool = False
    latin1: bool = False


@dataclass(frozen=True)
class Record:
    """One line of data (a quoted field may stretch it over several): where it starts, and its fields."""

    line: int
    fields: list[str]


def locate(path: Path, names: Sequence[str], what: str) -> Path:
    """The file meant by `path`: itself, or the first of `names` (with ``.gz``, ``.zip``) in the folder.

    Raises:
        DataError: if nothing is there, or a pattern such as ``*.inter`` fits several files.
    """
    if path.is_file():
        return path
    if not path.exists():
        raise DataError(
            f"{path}: no such file or folder; give a {what} file, or a folder with one of {_list(names)}"
        )
    if not path.is_dir():
        raise DataError(f"{path}: neither a file nor a folder; give a {what} file")
    for name in names:
        for ending in ("", ".gz", ".zip"):
            found = sorted(entry for entry in path.glob(name + ending) if entry.is_file())
            if len(found) > 1:
                raise DataError(
                    f"{path}: several {what} files ({_list([f.name for f in found])}); name the one to read"
                )
            if found:
                return found[0]
    raise DataError(f"{path}: no {what} file in this folder; looked for {_list(names)}")


def load(path: Path, names: Sequence[str], what: str) -> tuple[bytes, str]:
    """Bytes of a file, decompressed (gzip and zip, known by their first bytes), and a label for messages.

    Raises:
        DataError: if the file cannot be read or decompressed, or a zip has no single member for `names`.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            return gzip.decompress(data), str(path)
        if data[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                member = zip_member(archive, names)
                if member is None:
                    raise DataError(f"{path}: no single {what} file in this zip; looked for {_list(names)}")
                return archive.read(member), f"{path}/{member}"
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"{path}: cannot be read: {reason}") from error
    return data, str(path)


def zip_member(archive: zipfile.ZipFile, names: Sequence[str]) -> str | None:
    """The one member that fits the first fitting name of `names`, or the only member there is."""
    members = [m for m in archive.namelist() if not m.endswith("/") and not m.startswith("__MACOSX/")]
    for name in names:
        fitting = [m for m in members if fnmatchcase(PurePosixPath(m).name, name)]
        if fitting:
            return fitting[0] if len(fitting) == 1 else None
    return members[0] if len(members) == 1 else None


def first_line(data: bytes, label: str) -> str:
    """The first line that is not blank, "" where there is none; as latin-1, enough to know the format."""
    head = data[:_HEAD].removeprefix(b"\xef\xbb\xbf")
    if b"\0" in head:
        offset = data.index(b"\0")
        raise DataError(
            f"{label}: a zero byte at byte offset {offset}: not a text file; expected text in UTF-8"
        )
    lines = head.replace(b"\r", b"\n").decode("latin-1").split("\n")
    return next((line for line in lines if line.strip(" ")), "")


def header_layout(line: str, fits: Callable[[Sequence[str]], bool]) -> TextLayout | None:
    """The layout of a file with a header: RecBole's ``name:type``, or CSV with names that `fits` accepts."""
    names = line.split("\t")
    if all(_TYPED_NAME.fullmatch(name) for name in names):
        return TextLayout("\t", tuple(name.rsplit(":", 1)[0] for name in names), header=True)
    for separator in (",", "\t", ";", "|"):
        names = split_quoted(line, separator)
        if fits(names):
            return TextLayout(separator, tuple(names), header=True, quoted=True)
    return None


def split_quoted(line: str, separator: str) -> list[str]:
    """Fields of one CSV line, spaces around them removed.

    >>> split_quoted('"userId", movieId', ",")
    ['userId', 'movieId']
    """
    return [
        field.strip() for field in next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    ]


def as_utf8(data: bytes, layout: TextLayout, label: str) -> bytes:
    """The same text as UTF-8 with ``\\n`` line ends and no byte-order mark.

    Raises:
        DataError: with the byte offset, if the bytes are neither UTF-8 nor (where allowed) latin-1.
    """
    try:
        data.isascii() or data.decode("utf-8")
    except UnicodeDecodeError as error:
        # Bytes 0x80-0x9f are control characters in latin-1: text that holds them is something else.
        wrong = _C1_CONTROL.search(data) if layout.latin1 else None
        if not layout.latin1 or wrong:
            offset = wrong.start() if wrong else error.start
            expected = "UTF-8 or latin-1" if layout.latin1 else "UTF-8"
            raise DataError(
                f"{label}: byte 0x{data[offset]:02x} at byte offset {offset} is not {expected}; "
                "save the file as UTF-8"
            ) from None
        data = data.decode("latin-1").encode("utf-8")
    data = data.removeprefix(b"\xef\xbb\xbf")
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data


def text_frame(data: bytes, layout: TextLayout) -> pl.DataFrame | None:
    """Every field as text, columns named "0", "1", ...; None unless each row surely has its own fields.

    `data` comes from `as_utf8`. Fast: no Python code runs for a row. What is refused here is not wrong
    yet; `records` decides, and knows the line.
    """
    body = data.lstrip(b"\n")
    if layout.header:
        body = body.partition(b"\n")[2]
    quoting = layout.quoted and b'"' in body
    if not quoting:
        while b"\n\n" in body:
            body = body.replace(b"\n\n", b"\n")
        body = body.strip(b"\n")
    if not body:
        return pl.DataFrame(schema={str(i): pl.String for i in range(len(layout.names))})
    separator = layout.separator.encode()
    if len(separator) > 1:
        spare = next((byte for byte in _SPARE_BYTES if byte not in body), None)
        if spare is None:
            return None
        body, separator = body.replace(separator, spare), spare
    try:
        frame = pl.read_csv(
            io.BytesIO(body),
            has_header=False,
            separator=separator.decode(),
            quote_char='"' if quoting else None,
            infer_schema=False,
        )
    except pl.exceptions.PolarsError:
        return None
    width = len(layout.names)
    if frame.width != width or (not quoting and body.count(separator) != (width - 1) * frame.height):
        return None
    frame.columns = [str(i) for i in range(width)]
    return frame


def records(data: bytes, layout: TextLayout, label: str) -> Iterator[Record]:
    """The lines that hold data, one by one; blank ones are passed over. `data` comes from `as_utf8`.

    Raises:
        DataError: at the first line with another number of fields than the layout has.
    """
    header = layout.header
    for line, fields in (_quoted_lines if layout.quoted else _plain_lines)(
        data.decode("utf-8"), layout, label
    ):
        if len(fields) < 2 and not "".join(fields).strip(" "):
            continue
        if header:
            header = False
            continue
        if len(fields) != len(layout.names):
            text = shorten(layout.separator.join(fields))
            raise DataError(
                f"{label}:{line}: expected {len(layout.names)} fields separated by {layout.separator!r}, "
                f"found {len(fields)}: {text}"
            )
        yield Record(line, fields)


def numbered_text_frame(
    data: bytes, layout: TextLayout, label: str, limit: int | None = None
) -> tuple[pl.DataFrame, list[int], DataError | None]:
    """`text_frame` the slow way, with the line of each row: to the first bad line, or `limit` rows."""
    names = [str(i) for i in range(len(layout.names))]
    chunks = [pl.DataFrame(schema=dict.fromkeys(names, pl.String))]
    lines: list[int] = []
    chunk: list[list[str]] = []
    problem = None
    try:
        for record in records(data, layout, label):
            chunk.append(record.fields)
            lines.append(record.line)
            if len(chunk) == _CHUNK:
                chunks.append(pl.DataFrame(chunk, schema=dict.fromkeys(names, pl.String), orient="row"))
                chunk = []
            if len(lines) == limit:
                break
    except DataError as error:
        problem = error
    if chunk:
        chunks.append(pl.DataFrame(chunk, schema=dict.fromkeys(names, pl.String), orient="row"))
    return pl.concat(chunks), lines, problem


def shorten(text: str, length: int = 80) -> str:
    """`text` in quotes on one line, cut where it is too long for a message."""
    return repr(text if len(text) <= length else text[:length] + "...")


def _plain_lines(text: str, layout: TextLayout, label: str) -> Iterator[tuple[int, list[str]]]:
    for line, content in enumerate(text.split("\n"), start=1):
        yield line, content.split(layout.separator)


def _quoted_lines(text: str, layout: TextLayout, label: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=layout.separator)
    start = 1
    try:
        for fields in reader:
            yield start, fields
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{label}:{start}: {error}; is a double quote left open?") from error


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
