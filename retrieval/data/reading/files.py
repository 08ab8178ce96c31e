"""Finds the file that a path means and loads its bytes: searches folders, unpacks gzip and zip."""

import gzip
import io
import zipfile
import zlib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from retrieval.data.reading.file_kinds import (
    GZIP,
    PARQUET,
    WORKBOOK,
    ZIP,
    ZIP_ERRORS,
    kind_of,
    refuse_other_archives,
    refuse_other_kinds,
)
from retrieval.errors import DataError

_TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".dat", ".data", ".inter", ".item", ".parquet", ".xlsx")
_PARQUET_ENDINGS = (".parquet", ".parq", ".pq")
_LISTED = 6  # names in a message


def locate(path: Path, names: Sequence[str], what: str) -> Path:
    """Find the table that `path` means: a file, or a folder of Parquet parts.

    In a folder it is the first of `names` (also with ``.gz`` or ``.zip``), else the Parquet files.

    Raises:
        DataError: if nothing is there, or a pattern such as ``*.inter`` fits several files.
    """
    try:
        if path.is_file() or _zip_around(path) is not None:
            return path
        if not path.exists():
            raise DataError(
                f"{path}: no such file or folder",
                f"give {_a(what)} file, or a folder with one of {_list(names)}",
            )
        if not path.is_dir():
            raise DataError(f"{path}: neither a file nor a folder", f"give {_a(what)} file")
        return _in_folder(path, names, what)
    except OSError as error:
        raise _unreadable(str(path), error) from error


def parquet_parts(folder: Path) -> list[Path]:
    """The Parquet files of a folder, and of the ``key=value`` folders that Spark and Hive make inside it."""
    parts = []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(("_", ".")):  # _SUCCESS, _metadata, .part-0.crc
            continue
        if entry.is_dir():
            parts += parquet_parts(entry) if "=" in entry.name else []
        elif entry.name.endswith(_PARQUET_ENDINGS) or entry.name.startswith("part-"):
            with entry.open("rb") as opened:
                head = opened.read(8)
            # An empty or damaged part is kept, so that reading it reports the damage.
            if kind_of(head) == PARQUET or entry.name.endswith(_PARQUET_ENDINGS):
                parts.append(entry)
    return parts


def text_parts(folder: Path) -> list[Path]:
    """The text files that Spark writes into a folder: part-00000.csv and so on, not empty."""
    return [
        entry
        for entry in sorted(folder.iterdir())
        if entry.is_file() and entry.name.startswith("part-") and entry.stat().st_size
    ]


def _zip_around(path: Path) -> Path | None:
    """The zip of which `path` names a member: archive.zip/ratings.csv; None where it is no such path."""
    around = next((parent for parent in path.parents if parent.is_file()), None)
    return around if around is not None and zipfile.is_zipfile(around) else None


def load(path: Path, names: Sequence[str], what: str, label: str | None = None) -> tuple[bytes, str]:
    """Load the bytes of a file, decompressed (gzip and zip, told by their first bytes), and its label.

    Args:
        label: the name of the file in messages; None: its path. A member of a zip is added to it.

    Raises:
        DataError: if the file cannot be read or decompressed, a zip has no single member for `names`, or
            the file is something else than a table.
    """
    label = label or str(path)
    around = None if path.is_file() else _zip_around(path)
    named = None if around is None else path.relative_to(around).as_posix()
    try:
        data = (around or path).read_bytes()
        kind = kind_of(data)
        if kind == GZIP:
            data = gzip.decompress(data)
        elif kind == ZIP:
            refuse_other_archives(data, label, what)
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                member = zip_member(archive, names) if named is None else named
                if member is None:
                    raise DataError(f"{label}: {_no_member(archive, names, what)}")
                if member not in archive.namelist():
                    raise DataError(
                        f"{around}: no file {member!r} in this zip; it holds {_some(_members(archive))}"
                    )
                data = archive.read(member)
                label = label if named is not None else f"{label}/{member}"
    except (OSError, EOFError, zlib.error, *ZIP_ERRORS) as error:
        raise _unreadable(label, error) from error
    if kind_of(data) in (GZIP, ZIP):
        raise DataError(f"{label}: packed twice", f"unpack it and give the {what} file itself")
    refuse_other_kinds(data, label, what)
    return data, label


def zip_member(archive: zipfile.ZipFile, names: Sequence[str]) -> str | None:
    """The member that fits the first fitting name of `names`, else the only table, else the only member."""
    members = _members(archive)
    for name in names:
        fitting = [member for member in members if fnmatchcase(PurePosixPath(member).name, name)]
        if fitting:
            return fitting[0] if len(fitting) == 1 else None
    tables = [member for member in members if member.lower().endswith(_TABLE_ENDINGS)]
    for choice in (tables, members):
        if len(choice) == 1:
            return choice[0]
    return None


def is_typed(data: bytes) -> bool:
    """Whether the format has types of its own: Parquet, or a workbook."""
    return kind_of(data) in (PARQUET, WORKBOOK)


def _in_folder(folder: Path, names: Sequence[str], what: str) -> Path:
    for name in names:
        for ending in ("", ".gz", ".zip"):
            found = sorted(
                entry for entry in folder.glob(name + ending) if entry.is_file() or _is_parquet_folder(entry)
            )
            if len(found) > 1:
                raise DataError(
                    f"{folder}: several {what} files ({_list([f.name for f in found])})",
                    "name the one to read",
                )
            if found:
                return found[0]
    parts = parquet_parts(folder)
    if parts:
        return parts[0] if len(parts) == 1 and parts[0].parent == folder else folder
    if text_parts(folder):
        return folder
    inside = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    holds = f"it holds {_some(inside)}; give the file itself" if inside else "it is empty"
    raise DataError(
        f"{folder}: no {what} file in this folder; looked for {_list(names)} and Parquet files; {holds}"
    )


def _is_parquet_folder(entry: Path) -> bool:
    return entry.name.endswith(_PARQUET_ENDINGS) and entry.is_dir() and bool(parquet_parts(entry))


def _members(archive: zipfile.ZipFile) -> list[str]:
    return [
        name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")
    ]


def _no_member(archive: zipfile.ZipFile, names: Sequence[str], what: str) -> str:
    members = _members(archive)
    holds = (
        f"it holds {_some(members)}; name the one to read, as in archive.zip/{members[0]}"
        if members
        else "it is empty"
    )
    return f"no single {what} file in this zip; looked for {_list(names)}; {holds}"


def _unreadable(label: str, error: Exception) -> DataError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return DataError(f"{label}: cannot be read: {reason}", "is the file whole, and yours to read?")


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _LISTED
    return _list(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _a(what: str) -> str:
    return f"{'an' if what.startswith('i') else 'a'} {what}"
