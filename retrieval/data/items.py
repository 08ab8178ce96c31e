"""The table of items: titles, genres and other categories, from a file or a frame."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval.data.cells.bad_cells import MEND, BadRowError
from retrieval.data.frames import as_frame, column_names, frame_cells
from retrieval.data.ids import Id, IdMap
from retrieval.data.reading.categories import check_categories, read_with
from retrieval.data.reading.columns import ITEM, ColumnNames
from retrieval.data.reading.item_columns import (
    GENRES,
    TITLE,
    item_columns,
    item_frame,
    item_notes,
    items_layout,
)
from retrieval.data.reading.open_table import open_table
from retrieval.data.reading.sibling_files import find_beside
from retrieval.data.reading.text_tables import TextTable
from retrieval.errors import DataError

if TYPE_CHECKING:
    from retrieval.data.frames import Frame

ITEMS_FILES = ("movies.dat", "u.item", "movies.csv", "*.item", "movies.parquet")

# The genres that the flags of MovieLens 100K's u.item stand for, in the order of its u.genre.
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


@dataclass(frozen=True, eq=False)
class ItemTable:
    """Titles and categories of the items.

    Attributes:
        frame: columns item (Int64 if every id is a canonical 64-bit integer, else String; unique),
            title (String, "" where unknown), genres (List[String]); in the order of the source.
        categories: year and every further categorical column of the source, each List[String] with the
            values of every row; as many rows as `frame`, or no column at all.
        numbers: columns such as a price, each Float64, null where unknown; as many rows as `frame`, or none.
        genre_name: what the source calls its genres: genre or category.
        notes: how the reader interpreted the source, one sentence each.

    Raises:
        ValueError: if the frame has other columns or types, or an item twice.
    """

    frame: pl.DataFrame
    categories: pl.DataFrame = field(default_factory=pl.DataFrame)
    genre_name: str = "genre"
    numbers: pl.DataFrame = field(default_factory=pl.DataFrame)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        expected = [pl.String, pl.List(pl.String)]
        fits = self.frame.columns == [ITEM, TITLE, GENRES] and self.frame.dtypes[1:] == expected
        if not fits or self.frame.dtypes[0] not in (pl.Int64, pl.String):
            raise ValueError(f"not a table of items: {dict(self.frame.schema)}")
        if self.frame[ITEM].is_duplicated().any():
            raise ValueError("an item occurs twice in the table of items")
        check_categories(self.categories, self.frame.height)

    def __len__(self) -> int:
        return self.frame.height

    @property
    def ids(self) -> pl.Series:
        """The ids of the items, in the order of the source."""
        return self.frame[ITEM]

    def category_columns(self) -> dict[str, pl.Series]:
        """Genres (as `genre_name`) and `categories`: the values of each row, in the order of `ids`."""
        return {self.genre_name: self.frame[GENRES]} | self.categories.to_dict()

    @classmethod
    def from_frame(cls, frame: "Frame", columns: ColumnNames | None = None) -> "ItemTable":
        """Convert a frame, or any other table that a Python program holds; it may have no titles.

        Genres and further categories are lists, or text whose separator the whole column tells.

        Args:
            columns: names of the columns of items and titles, where they are unusual.

        Raises:
            DataError: if a column is missing, an item is empty, or there is no row.

        >>> ItemTable.from_frame(pl.DataFrame({"movieId": [1], "title": ["Heat (1995)"]})).titles_for([1])
        ['Heat (1995)']
        """
        table = as_frame(frame)
        names = column_names(table)
        known = item_columns(names, "DataFrame", columns=columns)
        cells = frame_cells(table)
        try:
            found, categories, numbers = item_frame(cells, known)
        except BadRowError as bad:
            raise DataError(f"DataFrame: row {bad.row} (counted from 0): {bad}") from None
        notes = item_notes(names, known, cells)
        return cls(_not_empty(found, "DataFrame"), categories, known.genre_name, numbers, notes)

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


def read_items(
    path: Path, known_columns: Collection[str] = (), columns: ColumnNames | None = None
) -> ItemTable:
    """Read ``movies.dat``, ``u.item``, ``movies.csv``, RecBole's ``.item``, Parquet or an Excel workbook.

    The content tells the format. A ``u.genre`` beside ``u.item`` names its genres; without one they are those
    of MovieLens 100K. A ``release_year`` column becomes part of the title, as MovieLens writes it. The first
    line of an item counts. Further columns whose values repeat are kept as categories.

    Args:
        known_columns: categories of the model's features; columns of these names are always kept.
        columns: names of the columns of items and titles, where they are unusual.

    Raises:
        DataError: naming the file, and the line and its text where one is wrong.
        EnvironmentProblem: if it is a workbook and the optional package for workbooks is missing.
    """
    table = open_table(
        Path(path), ITEMS_FILES, "items", lambda lines, label: items_layout(lines, label, columns)
    )
    layout = table.layout if isinstance(table, TextTable) else None
    has_flags = layout is not None and not layout.header and layout.separator == "|"
    known = item_columns(table.names, table.label, has_flags, layout.types if layout else (), columns)
    if known.genre_name not in known_columns and "genre" in known_columns:
        known = replace(known, genre_name="genre")  # a bundle of before, which called every such column so
    rows, others = read_with(table, known.positions, known.others)
    # RecBole puts spaces between the tokens of a token_seq; elsewhere the column tells.
    separator = " " if layout is not None and layout.types else None

    def cells(position: int) -> pl.Series:
        return rows.frame[str(position)]

    names = _genre_names(Path(table.label)) if has_flags else ()
    try:
        others = tuple(replace(each, is_known=each.name in known_columns) for each in others)
        known = replace(known, others=others)
        found, categories, numbers = item_frame(cells, known, names, separator)
    except BadRowError as bad:
        raise DataError(f"{rows.where(bad.row)}: {bad}", MEND) from None
    if rows.problem is not None:
        raise rows.problem
    told = item_notes(table.names, known, cells) if layout is None or layout.header else ()
    return ItemTable(_not_empty(found, table.label), categories, known.genre_name, numbers, told)


def find_items_beside(ratings_path: Path) -> Path | None:
    """The items file that belongs to a ratings file, a folder or a zip of ratings; None where there is none.

    ``ratings.dat`` goes with ``movies.dat``, ``u.data`` with ``u.item``, CSV with ``movies.csv``, ``x.inter``
    with ``x.item``. Without its own partner, a ratings file takes any of the first three in its folder. For a
    zip that holds both tables the result is the zip.
    """
    return find_beside(ratings_path, ITEMS_FILES)


def _not_empty(frame: pl.DataFrame, label: str) -> pl.DataFrame:
    if not frame.height:
        raise DataError(f"{label}: 0 items", "give a table with rows")
    return frame


def _genre_names(path: Path) -> Sequence[str]:
    """Genres in the order of the flags in ``u.item``, from the ``name|number`` lines of ``u.genre``."""
    beside = path.with_name("u.genre")
    if not beside.is_file():
        return ML_100K_GENRES
    text = beside.read_text(encoding="latin-1")
    pairs = [line.split("|") for line in text.splitlines() if line.strip()]
    if not all(len(pair) == 2 and re.fullmatch(r"\d{1,9}", pair[1].strip()) for pair in pairs):
        raise DataError(f"{beside}: expected lines of a genre's name, '|' and its number")
    return [name for name, _ in sorted(pairs, key=lambda pair: int(pair[1]))]
