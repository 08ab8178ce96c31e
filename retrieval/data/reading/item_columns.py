"""The columns of a table of items: their usual names, and their conversion to ids, titles and categories."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import polars as pl

from retrieval.data.cells.bad_cells import Problems
from retrieval.data.cells.missing import is_missing
from retrieval.data.cells.several_values import separator_of, split_cells
from retrieval.data.cells.typed_columns import to_ids
from retrieval.data.reading.categories import (
    YEAR,
    Candidate,
    candidates,
    category_frame,
    first_of_each,
    number_frame,
    years_from,
)
from retrieval.data.reading.columns import ITEM, NAMED_BY, ColumnNames, plain_name
from retrieval.data.reading.delimiters import TextLayout, header_layout, shorten
from retrieval.errors import DataError

TITLE, GENRES = "title", "genres"

# Names in public data sets, the surest first, as `plain_name` writes them.
_TITLE_NAMES = """
    title name movietitle moviename filmtitle filmname itemtitle itemname
    producttitle productname prodname booktitle bookname songtitle songname tracktitle trackname
    artistname albumtitle albumname animetitle animename gametitle gamename showtitle recipename
    primarytitle originaltitle fulltitle headline description
"""
# Their columns keep their own name in filters, in the singular.
_GENRE_NAMES = "genres genre class category categories"
_SINGULAR = {"genres": "genre", "class": "genre", "categories": "category"}  # RecBole calls genres class
_YEAR_NAMES = "releaseyear year"
_DATE_NAMES = "release releasedate publicationdate publishdate publisheddate datepublished"
_YEAR = r"^([12]\d{3})(?:\.0)?$"
_ENDS_WITH_YEAR = r"\(([12]\d{3})\)\s*$"
_YEAR_OF_DATE = r"\b([12]\d{3})\b"
_NO_GENRES = "(no genres listed)"
_FLAGS_FROM = 5  # in u.item the genres follow item, title, two dates and a link


@dataclass(frozen=True)
class ItemColumns:
    """The positions of the columns; `flags` are those of ``u.item``, one a genre, `date` is the release.

    `genre_name` is what the column of genres is called: genre or category.
    """

    item: int
    title: int | None
    genres: int | None = None
    year: int | None = None
    date: int | None = None
    flags: tuple[int, ...] = ()
    others: tuple[Candidate, ...] = ()
    genre_name: str = "genre"

    @property
    def positions(self) -> list[int]:
        """All positions except those of `others`."""
        known = (self.title, self.genres, self.year, self.date)
        return [self.item, *(position for position in known if position is not None), *self.flags]


def items_layout(lines: Sequence[str], label: str, columns: ColumnNames | None = None) -> TextLayout:
    """The layout of an items file: ``movies.dat``, ``u.item``, or one with a header.

    Raises:
        DataError: if it is none of these.
    """
    line = lines[0]
    if line.count("::") >= 2:
        return TextLayout("::", (ITEM, TITLE, GENRES), header=False)
    flags = line.split("|")[_FLAGS_FROM:]
    if flags and all(flag in ("0", "1") for flag in flags):
        names = (ITEM, TITLE, "release", "video", "url", *(f"genre {i}" for i in range(len(flags))))
        return TextLayout("|", names, header=False)
    columns = columns or ColumnNames()
    layout = header_layout(line, lambda names: len(names) > 1 and _item(names, columns) is not None)
    if layout is None:
        raise DataError(
            f"{label}: not an items file: begins with {shorten(line)}; expected movies.dat ('::'), "
            "u.item ('|'), or a header with an item column and others",
            f"name the column of the items with {NAMED_BY[ITEM]}",
        )
    return layout


def item_columns(
    names: Sequence[str],
    label: str,
    has_flags: bool = False,
    types: Sequence[str] = (),
    columns: ColumnNames | None = None,
) -> ItemColumns:
    """Find the columns among `names`; `types` are those of RecBole, one a name, or empty.

    Args:
        columns: names that the user gave; a table without the given column of items has a usual one.

    Raises:
        DataError: if there is no item column, or not the given title column.
    """
    columns = columns or ColumnNames()
    item, title = _item(names, columns), _title(names, columns.title)
    found_names = ", ".join(names)
    if item is None:
        raise DataError(f"{label}: no {ITEM} column: found {found_names}", f"name it with {NAMED_BY[ITEM]}")
    if title is None and columns.title is not None:
        raise DataError(f"{label}: no column {columns.title!r} for `columns.title`: found {found_names}")
    date = _position(names, _DATE_NAMES)
    if has_flags:
        return ItemColumns(item, title, date=date, flags=tuple(range(_FLAGS_FROM, len(names))))
    genres = _position(names, _GENRE_NAMES)
    found = ItemColumns(item, title, genres, _position(names, _YEAR_NAMES), date)
    if genres is not None:
        plain = plain_name(names[genres])
        found = replace(found, genre_name=_SINGULAR.get(plain, plain))
    return replace(found, others=candidates(names, found.positions, types, (found.genre_name, YEAR)))


def item_frame(
    cells: Callable[[int], pl.Series],
    columns: ItemColumns,
    genre_names: Sequence[str] = (),
    genre_separator: str | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The frame, the categories and the numbers of an `ItemTable`; the first row of an item counts.

    Args:
        cells: position -> that column, of any type.
        columns: their positions.
        genre_names: the genre of each flag.
        genre_separator: between genres written as text; None: told by the column, see `several_values`.

    Raises:
        BadRowError: at the first row without an item.
    """
    found = cells(columns.item)
    problems = Problems(len(found))
    ids, _ = to_ids(found, ITEM, problems)
    if problems:
        raise problems.first()
    no_titles = pl.Series([""]).new_from_index(0, len(ids))
    titles = no_titles if columns.title is None else _text(cells(columns.title))
    sources = [(titles, _ENDS_WITH_YEAR)]
    if columns.year is not None:
        years = _text(cells(columns.year))
        sources.insert(0, (years, _YEAR))
        titles = _with_years(titles, years)
    if columns.date is not None:
        sources.append((_text(cells(columns.date)), _YEAR_OF_DATE))
    frame = pl.DataFrame({ITEM: ids, TITLE: titles})
    known = category_frame(cells, columns.others).to_dict() | years_from(sources, frame.height)
    categories = pl.DataFrame(known)
    numbers = number_frame(cells, columns.others, categories.columns)
    if columns.flags:
        genres = _flagged([cells(position) for position in columns.flags], genre_names)
    elif columns.genres is not None:
        genres = _listed(cells(columns.genres), genre_separator)
    else:
        genres = pl.Series([[]] * frame.height, dtype=pl.List(pl.String))
    frame = frame.with_columns(genres.alias(GENRES))
    frame, categories, numbers = first_of_each(ids, frame, categories, numbers)
    return frame, categories, numbers


def item_notes(
    names: Sequence[str], columns: ItemColumns, cells: Callable[[int], pl.Series]
) -> tuple[str, ...]:
    """Notes on what was taken for titles, and on separators other than "|"."""
    notes = []
    if columns.title is None:
        notes.append("the table of items has no column of titles; `columns.title` names one")
    positions = [columns.genres, *(each.position for each in columns.others if each.separator is None)]
    for position in (position for position in positions if position is not None):
        series = cells(position)
        separator = separator_of(series) if series.dtype == pl.String else None
        if separator in (";", ",", "["):
            how = "written as a list" if separator == "[" else f"separated by {separator!r}"
            notes.append(f"cells of {names[position]} hold several values, {how}")
    return tuple(notes)


def _with_years(titles: pl.Series, years: pl.Series) -> pl.Series:
    """Add the year to titles without one, as MovieLens writes it: ``Heat (1995)``."""
    frame = pl.DataFrame({TITLE: titles, YEAR: years.str.extract(_YEAR, 1)})
    bare = pl.col(YEAR).is_not_null() & (pl.col(TITLE) != "") & ~pl.col(TITLE).str.contains(_ENDS_WITH_YEAR)
    dated = pl.concat_str(TITLE, pl.lit(" ("), YEAR, pl.lit(")"))
    return frame.select(pl.when(bare).then(dated).otherwise(TITLE).alias(TITLE)).to_series()


def _flagged(flags: Sequence[pl.Series], names: Sequence[str]) -> pl.Series:
    rows = zip(*(series.to_list() for series in flags), strict=True)
    genres = [[name for name, flag in zip(names, row, strict=False) if flag == "1"] for row in rows]
    return pl.Series(genres, dtype=pl.List(pl.String))


def _listed(genres: pl.Series, separator: str | None) -> pl.Series:
    """Lists of genres from lists or text; an empty list where there are none."""
    if not isinstance(genres.dtype, pl.List):
        texts = _text(genres)
        texts = pl.select(pl.when(texts != _NO_GENRES).then(texts).otherwise(pl.lit(""))).to_series()
        genres = split_cells(texts, separator or separator_of(texts))
    genres = genres.cast(pl.List(pl.String)).fill_null([])
    cell = pl.element().str.strip_chars()
    return genres.list.eval(cell.filter(~is_missing(cell)))


def _text(series: pl.Series) -> pl.Series:
    return series.cast(pl.String).fill_null("").str.strip_chars()


def _item(names: Sequence[str], columns: ColumnNames) -> int | None:
    for known in (ColumnNames(item=columns.item), ColumnNames()):
        found = known.positions(names).get(ITEM)
        if found is not None:
            return found
    return _position(names, "id")


def _title(names: Sequence[str], given: str | None) -> int | None:
    if given is None:
        return _position(names, _TITLE_NAMES)
    return names.index(given) if given in names else _position(names, plain_name(given) or "-")


def _position(names: Sequence[str], spellings: str) -> int | None:
    plain = [plain_name(name) for name in names]
    return next((plain.index(spelling) for spelling in spellings.split() if spelling in plain), None)
