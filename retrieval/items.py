"""Titles and genres of items, from whatever file came with the interactions."""

import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval import formats
from retrieval.columns import ITEM, ColumnNames, canonical_ids, plain_name
from retrieval.errors import DataError
from retrieval.formats import TextLayout
from retrieval.ids import Id, IdMap

if TYPE_CHECKING:
    import pandas as pd

TITLE, GENRES = "title", "genres"
ITEMS_FILES = ("movies.dat", "u.item", "movies.csv", "*.item")

# The order of the flags in MovieLens 100K's u.item, as its u.genre has it.
ML_100K_GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)

_TITLE_NAMES = ("title", "name", "movietitle", "itemname")
_GENRE_NAMES = ("genres", "genre", "class", "category", "categories")
_YEAR = re.compile(r"[12]\d{3}")
_ENDS_WITH_YEAR = re.compile(r"\([12]\d{3}\)\s*$")
_NO_GENRES = "(no genres listed)"


@dataclass(frozen=True, eq=False)
class ItemTable:
    """What people call the items.

    Attributes:
        frame: columns item (Int64 if every id is a canonical 64-bit integer, else String; unique),
            title (String, "" where unknown), genres (List[String]); in the order of the source.

    Raises:
        ValueError: if the frame has other columns or types, or an item twice.
    """

    frame: pl.DataFrame

    def __post_init__(self) -> None:
        expected = [pl.String, pl.List(pl.String)]
        fits = self.frame.columns == [ITEM, TITLE, GENRES] and self.frame.dtypes[1:] == expected
        if not fits or self.frame.dtypes[0] not in (pl.Int64, pl.String):
            raise ValueError(f"not a table of items: {dict(self.frame.schema)}")
        if self.frame[ITEM].is_duplicated().any():
            raise ValueError("an item occurs twice in the table of items")

    def __len__(self) -> int:
        return self.frame.height

    @classmethod
    def from_frame(cls, frame: "pl.DataFrame | pd.DataFrame") -> "ItemTable":
        """From a polars or pandas frame with an item and a title column, under their usual names.

        Genres, if any, are lists or text with "|" between them.

        Raises:
            DataError: if a column is missing, an item is empty, or there is no row.

        >>> ItemTable.from_frame(pl.DataFrame({"movieId": [1], "title": ["Heat (1995)"]})).titles_for([1])
        ['Heat (1995)']
        """
        names = [str(name) for name in frame.columns]
        item, title = _item_and_title(names, "DataFrame")
        genres = _position(names, _GENRE_NAMES)

        def cells(position: int) -> list[Any]:
            values = frame[names[position]].to_list()
            return [
                "" if value is None or (isinstance(value, float) and value != value) else value
                for value in values
            ]

        columns = [cells(item), cells(title), cells(genres) if genres is not None else [""] * len(frame)]
        rows = (
            (row, str(values[0]), str(values[1]), _genre_list(values[2]))
            for row, values in enumerate(zip(*columns, strict=True))
        )
        return _table(rows, "DataFrame")

    @cached_property
    def _ids(self) -> IdMap:
        return IdMap(self.frame[ITEM].sort().to_numpy().astype(self._id_dtype))

    @property
    def _id_dtype(self) -> type[np.generic]:
        return np.int64 if self.frame[ITEM].dtype == pl.Int64 else np.str_

    @cached_property
    def _sorted(self) -> tuple[list[str], list[list[str]]]:
        rows = self.frame.sort(ITEM)
        return rows[TITLE].to_list(), rows[GENRES].to_list()

    def titles_for(self, ids: Sequence[Id] | NDArray[Any]) -> list[str | None]:
        """A title for each id (42 and "42" alike), None where the table has none."""
        titles = self._sorted[0]
        return [titles[row] or None if row >= 0 else None for row in self._rows(ids)]

    def genres_for(self, ids: Sequence[Id] | NDArray[Any]) -> list[list[str]]:
        """The genres of each id, [] where the table has none."""
        genres = self._sorted[1]
        return [list(genres[row]) if row >= 0 else [] for row in self._rows(ids)]

    def _rows(self, ids: Sequence[Id] | NDArray[Any]) -> list[int]:
        rows: list[int] = self._ids.rows(ids).tolist()
        return rows


def read_items(path: Path) -> ItemTable:
    """Read ``movies.dat``, ``u.item``, ``movies.csv`` or RecBole's ``.item``; the format is known by content.

    Genres of ``u.item`` are named by a ``u.genre`` beside it, else as in MovieLens 100K. A ``release_year``
    column becomes part of the title, as MovieLens writes it. Of an item listed twice the first line counts.

    Raises:
        DataError: naming the file, and the line and its text where one is wrong.
    """
    path = formats.locate(Path(path), ITEMS_FILES, "items")
    data, label = formats.load(path, ITEMS_FILES, "items")
    line = formats.first_line(data, label)
    if not line:
        raise DataError(f"{label}: 0 items: the file is empty")
    layout = _layout(line, label)
    data = formats.as_utf8(data, layout, label)
    lines = formats.records(data, layout, label)
    if layout.separator == "::":
        rows = _movies_dat(lines)
    elif not layout.header:
        rows = _u_item(lines, _genre_names(path))
    else:
        rows = _with_header(lines, layout, label)
    return _table(rows, label)


def find_items_beside(ratings_path: Path) -> Path | None:
    """The items file that belongs to a ratings file, a folder or a zip of ratings; None where there is none.

    ``ratings.dat`` goes with ``movies.dat``, ``u.data`` with ``u.item``, CSV with ``movies.csv``, ``x.inter``
    with ``x.item``; failing that, any of the first three that lies in the same folder. A zip that holds both
    is returned itself.
    """
    path = Path(ratings_path)
    if path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            inside = [Path(member).name for member in archive.namelist()]
        if any(fnmatchcase(name, pattern) for name in inside for pattern in ITEMS_FILES):
            return path
    if path.is_dir():
        folder, wanted = path, list(ITEMS_FILES)
    else:
        folder, wanted = path.parent, list(ITEMS_FILES[:3])
        stem = path.name.removesuffix(".gz").removesuffix(".zip")
        kin = {".dat": "movies.dat", ".data": "u.item", ".csv": "movies.csv"}.get(Path(stem).suffix)
        if stem.endswith(".inter"):
            kin = stem.removesuffix(".inter") + ".item"
        wanted = [kin, *wanted] if kin else wanted
    for name in wanted:
        for ending in ("", ".gz", ".zip"):
            found = sorted(entry for entry in folder.glob(_literal(name) + ending) if entry.is_file())
            if len(found) == 1 and found[0] != path:
                return found[0]
    return None


# What the parsers hand over: line, item, title, genres.
_Row = tuple[int, str, str, list[str]]


def _layout(line: str, label: str) -> TextLayout:
    if line.count("::") >= 2:
        return TextLayout("::", (ITEM, TITLE, GENRES), header=False, latin1=True)
    flags = line.split("|")[5:]
    if flags and all(flag in ("0", "1") for flag in flags):
        fixed = (ITEM, TITLE, "release", "video", "url")
        names = fixed + tuple(f"genre {i}" for i in range(len(flags)))
        return TextLayout("|", names, header=False, latin1=True)
    layout = formats.header_layout(
        line, lambda names: ITEM in ColumnNames().positions(names) and _title(names) is not None
    )
    if layout is None:
        raise DataError(
            f"{label}: not an items file: begins with {formats.shorten(line)}; expected movies.dat ('::'), "
            "u.item ('|'), or a header with an item column and a title column"
        )
    return TextLayout(layout.separator, layout.names, header=True, quoted=layout.quoted, latin1=True)


def _movies_dat(lines: Iterator[formats.Record]) -> Iterator[_Row]:
    for record in lines:
        item, title, genres = record.fields
        yield record.line, item, title, _split_genres(genres)


def _u_item(lines: Iterator[formats.Record], names: Sequence[str]) -> Iterator[_Row]:
    for record in lines:
        flags = record.fields[5:]
        genres = [name for name, flag in zip(names, flags, strict=False) if flag == "1"]
        yield record.line, record.fields[0], record.fields[1], genres


def _with_header(lines: Iterator[formats.Record], layout: TextLayout, label: str) -> Iterator[_Row]:
    item, title = _item_and_title(layout.names, label)
    genres = _position(layout.names, _GENRE_NAMES)
    year = _position(layout.names, ("releaseyear", "year"))
    for record in lines:
        name = record.fields[title].strip()
        if year is not None and _YEAR.fullmatch(record.fields[year]) and not _ENDS_WITH_YEAR.search(name):
            name = f"{name} ({record.fields[year]})"
        text = record.fields[genres] if genres is not None else ""
        # RecBole separates the tokens of a token_seq by spaces, everybody else genres by "|".
        split = _split_genres(text) if layout.quoted else text.split()
        yield record.line, record.fields[item], name, split


def _item_and_title(names: Sequence[str], label: str) -> tuple[int, int]:
    """Where the two columns stand that a table of items must have."""
    item, title = ColumnNames().positions(names).get(ITEM), _title(names)
    if item is None or title is None:
        missing = ITEM if item is None else TITLE
        raise DataError(f"{label}: no {missing} column: found {', '.join(names)}")
    return item, title


def _table(rows: Iterator[_Row], label: str) -> ItemTable:
    kept: dict[str, tuple[str, list[str]]] = {}
    for line, item, title, genres in rows:
        if not item:
            raise DataError(f"{label}:{line}: item is empty")
        kept.setdefault(item, (title.strip(), genres))
    if not kept:
        raise DataError(f"{label}: 0 items")
    return ItemTable(
        pl.DataFrame(
            {
                ITEM: canonical_ids(pl.Series(list(kept), dtype=pl.String)),
                TITLE: pl.Series([title for title, _ in kept.values()], dtype=pl.String),
                GENRES: pl.Series([genres for _, genres in kept.values()], dtype=pl.List(pl.String)),
            }
        )
    )


def _genre_names(path: Path) -> Sequence[str]:
    """Names of the flags in ``u.item``: ``name|number`` lines of ``u.genre``, in the order of the numbers."""
    beside = path.with_name("u.genre")
    if not beside.is_file():
        return ML_100K_GENRES
    text = beside.read_text(encoding="latin-1")
    pairs = [line.split("|") for line in text.splitlines() if line.strip()]
    if not all(len(pair) == 2 and pair[1].strip().isdecimal() for pair in pairs):
        raise DataError(f"{beside}: expected lines of a genre's name, '|' and its number")
    return [name for name, _ in sorted(pairs, key=lambda pair: int(pair[1]))]


def _split_genres(text: str) -> list[str]:
    text = text.strip()
    return [] if text == _NO_GENRES else [genre for genre in text.split("|") if genre]


def _genre_list(value: Any) -> list[str]:
    return _split_genres(value) if isinstance(value, str) else [str(genre) for genre in value]


def _title(names: Sequence[str]) -> int | None:
    return _position(names, _TITLE_NAMES)


def _position(names: Sequence[str], spellings: Sequence[str]) -> int | None:
    plain = [plain_name(name) for name in names]
    return next((plain.index(spelling) for spelling in spellings if spelling in plain), None)


def _literal(name: str) -> str:
    """A file's name as a glob pattern that fits only it; patterns of ours stay patterns."""
    return name if name.startswith("*") else re.sub(r"([\[\]?*])", r"[\1]", name)
