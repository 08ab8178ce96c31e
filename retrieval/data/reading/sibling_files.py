"""Finds the items file or users file that lies beside a ratings file."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from retrieval.data.reading.file_kinds import zip_names

_KINDS = (".dat", ".data", ".csv", ".inter", ".parquet")


def find_beside(ratings_path: Path, files: Sequence[str]) -> Path | None:
    """The file that belongs to a ratings file, a folder or a zip of ratings; None where there is none.

    A ratings file without its own partner takes any of the first three `files` in the same folder. For a zip
    that holds both tables the result is the zip.

    Args:
        files: the names that go with ``.dat``, ``.data``, ``.csv``, ``.inter`` (a pattern such as ``*.item``)
            and ``.parquet``, in this order.
    """
    path = Path(ratings_path)
    if path.is_file():
        inside = [Path(member).name for member in zip_names(path)]
        if any(fnmatchcase(name, pattern) for name in inside for pattern in files):
            return path
    if path.is_dir():
        folder, wanted = path, list(files)
    else:
        folder, wanted = path.parent, list(files[:3])
        stem = path.name.removesuffix(".gz").removesuffix(".zip")
        kin = dict(zip(_KINDS, files, strict=True)).get(Path(stem).suffix)
        if stem.endswith(".inter"):
            kin = stem.removesuffix(".inter") + files[3].removeprefix("*")
        wanted = [kin, *wanted] if kin else wanted
    for name in wanted:
        for ending in ("", ".gz", ".zip"):
            found = sorted(entry for entry in folder.glob(_literal(name) + ending) if entry.is_file())
            if len(found) == 1 and found[0] != path:
                return found[0]
    return None


def _literal(name: str) -> str:
    """The name of a file as a glob pattern that fits only this name; a pattern such as ``*.item`` stays."""
    return name if name.startswith("*") else re.sub(r"([\[\]?*])", r"[\1]", name)
