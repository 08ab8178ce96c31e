"""Tells what a file is by its first bytes, and refuses files that are no tables with advice."""

import io
import lzma
import re
import struct
import zipfile
from pathlib import Path

from retrieval.errors import DataError

GZIP, ZIP, PARQUET, WORKBOOK = "gzip", "zip", "Parquet", "Excel workbook"
# All that zipfile raises for a damaged archive, "negative seek value -1" among it. It raises RuntimeError for
# an encrypted archive, and NotImplementedError, one of its kinds, for an unknown compression.
ZIP_ERRORS = (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, struct.error, lzma.LZMAError)

_EXPORT = "export it as CSV or Parquet"
_UNPACK = "unpack it first"
# First bytes of a file, its kind, and the advice.
_REFUSED = (
    (b"SQLite format 3\0", "an SQLite database", "export the table as CSV"),
    (b"%PDF-", "a PDF document", _EXPORT),
    (b"\xd0\xcf\x11\xe0", "an old Office file (.xls, .doc)", "save the table as .xlsx or CSV"),
    (b"\x93NUMPY", "a NumPy array", _EXPORT),
    (b"\x89HDF", "an HDF5 file", _EXPORT),
    (b"ARROW1\0\0", "an Arrow (Feather) file", "save it as Parquet"),
    (b"ORC\n", "an ORC file", "save it as Parquet"),
    (b"ORC\x11", "an ORC file", "save it as Parquet"),
    (b"Obj\x01", "an Avro file", "save it as Parquet"),
    (b"\x89PNG", "a PNG picture", "give a table"),
    (b"\xff\xd8\xff", "a JPEG picture", "give a table"),
    (b"\xfd7zXZ", "compressed with xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", _UNPACK),
    (b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run `git lfs pull`"),
)
_PRINTABLE = re.compile(rb"[\t\r\n -~]")
_NESTED = re.compile(rb'\[\s*[\["\]]')  # arrays of arrays, of texts, of nothing
_OFFICE = (
    ("word/document.xml", "a Word document"),
    ("ppt/presentation.xml", "a PowerPoint file"),
    ("content.xml", "an OpenDocument file"),
)


def kind_of(data: bytes) -> str | None:
    """The kind of a file: GZIP, ZIP, PARQUET, WORKBOOK, or None for anything else."""
    if data[:2] == b"\x1f\x8b":
        return GZIP
    if data[:4] in (b"PAR1", b"PARE") and not _PRINTABLE.match(data, 4):  # "PAR1,2,5" is text
        return PARQUET
    if data[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return WORKBOOK if "xl/workbook.xml" in zip_names(data) else ZIP
    return None


def refuse_other_kinds(data: bytes, label: str, what: str) -> None:
    """Refuse the bytes of a file that is no table.

    Raises:
        DataError: naming the kind of the file, with advice.
    """
    found = next(((name, advice) for magic, name, advice in _REFUSED if data.startswith(magic)), None)
    if found is None and data[:3] == b"BZh" and data[4:10] == b"1AY&SY":
        found = "compressed with bzip2", _UNPACK
    if found is None and data[257:262] == b"ustar":
        found = "a tar archive", _UNPACK
    if found is None and data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        found = "a Python pickle, which is never loaded", _EXPORT
    if found is None:
        found = _refused_text(data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip())
    if found is not None:
        raise DataError(f"{label}: not a table of {what}: this looks like {found[0]}", found[1])


def refuse_other_archives(data: bytes, label: str, what: str) -> None:
    """Refuse a zip that is a document of an office program.

    Raises:
        DataError: naming the kind of the document, with advice.
    """
    names = zip_names(data)
    found = next((kind for member, kind in _OFFICE if member in names), None)
    if found:
        raise DataError(f"{label}: not a table of {what}: this looks like {found}", _EXPORT)


def _refused_text(head: bytes) -> tuple[str, str] | None:
    if _NESTED.match(head):
        return "JSON, but no objects", "write it as JSON Lines, an object a line"
    low = head[:200].lower()
    if low.startswith((b"<!doctype html", b"<html", b"<head")):
        return "a web page (HTML)", "download the file itself"
    if low.startswith(b"<?xml"):
        return "XML", _EXPORT
    return None


def zip_names(source: bytes | Path) -> set[str]:
    """Names of the members of a zip; none where it is damaged or no zip."""
    try:
        with zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source) as archive:
            return set(archive.namelist())
    except ZIP_ERRORS:
        return set()
