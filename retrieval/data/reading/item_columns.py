"""The columns of a table of items: their usual names, and their conversion to ids, titles and categories."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import polars as pl

from retrieval.data.cells.bad_cells import Problems
from retrieval.data.cells.typed_columns import to_ids
from retrieval.data.reading.categories import (
    YEAR,
    Candidate,
    candidates,
    category_frame,
    first_of_each,
    years_from,
)
from retrieval.data.reading.columns import ITEM, ColumnNames, plain_name
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
_GENRE_NAMES = "genres genre class category categories"
_YEAR_NAMES = "releaseyear year"
_DATE_NAMES = "release releasedate publicationdate publishdate publisheddate datepublished"
_YEAR = r"^([12]\d{3})(?:\.0)?$"
_ENDS_WITH_YEAR = r"\(([12]\d{3})\)\s*$"
_YEAR_OF_DATE = r"\b([12]\d{3})\b"
_NO_GENRES = "(no genres listed)"
_FLAGS_FROM = 5  # in u.item the genres follow item, title, two dates and a link


@dataclass(frozen=True)
class ItemColumns:
    """The positions of the columns; `flags` are those of ``u.item``, one a genre, `date` is the release."""

    item: int
    title: int
    genres: int | None = None
    year: int | None = None
    date: int | None = None
    flags: tuple[int, ...] = ()
    others: tuple[Candidate, ...] = ()

    @property
    def positions(self) -> list[int]:
        """All positions except those of `others`."""
        known = [position for position in (self.genres, self.year, self.date) if position is not None]
        return [self.item, self.title, *known, *self.flags]


def items_layout(lines: Sequence[str], label: str) -> TextLayout:
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
    layout = header_layout(line, lambda names: _item(names) is not None and _title(names) is not None)
    if layout is None:
        raise DataError(
            f"{label}: not an items file: begins with {shorten(line)}; expected movies.dat ('::'), "
            "u.item ('|'), or a header with an item column and a title column"
        )
    return layout


def item_columns(
    names: Sequence[str], label: str, has_flags: bool = False, types: Sequence[str] = ()
) -> ItemColumns:
    """Find the columns among `names`; `types` are those of RecBole, one a name, or empty.

    Raises:
        DataError: if there is no item column or no title column.
    """
    item, title = _item(names), _title(names)
    if item is None or title is None:
        missing = ITEM if item is None else TITLE
        raise DataError(f"{label}: no {missing} column: found {', '.join(names)}")
    date = _position(names, _DATE_NAMES)
    if has_flags:
        return ItemColumns(item, title, date=date, flags=tuple(range(_FLAGS_FROM, len(names))))
    found = ItemColumns(item, title, _position(names, _GENRE_NAMES), _position(names, _YEAR_NAMES), date)
    return replace(found, others=candidates(names, found.positions, types, ("genre", YEAR)))


def item_frame(
    cells: Callable[[int], pl.Series],
    columns: ItemColumns,
    genre_names: Sequence[str] = (),
    genre_separator: str = "|",
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The frame and the categories of an `ItemTable`; the first row of an item counts.

    Args:
        cells: position -> that column, of any type.
        columns: their positions.
        genre_names: the genre of each flag.
        genre_separator: between genres written as text.

    Raises:
        BadRowError: at the first row without an item.
    """
    found = cells(columns.item)
    problems = Problems(len(found))
    ids, _ = to_ids(found, ITEM, problems)
    if problems:
        raise problems.first()
    titles = _text(cells(columns.title))
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
    if columns.flags:
        genres = _flagged([cells(position) for position in columns.flags], genre_names)
    elif columns.genres is not None:
        genres = _listed(cells(columns.genres), genre_separator)
    else:
        genres = pl.Series([[]] * frame.height, dtype=pl.List(pl.String))
    frame, categories = first_of_each(ids, frame.with_columns(genres.alias(GENRES)), categories)
    return frame, categories


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


def _listed(genres: pl.Series, separator: str) -> pl.Series:
    """Lists of genres from lists or text; an empty list where there are none."""
    if not isinstance(genres.dtype, pl.List):
        texts = _text(genres)
        texts = pl.select(pl.when(texts != _NO_GENRES).then(texts).otherwise(pl.lit(""))).to_series()
        genres = texts.str.split(separator)
    genres = genres.cast(pl.List(pl.String)).fill_null([])
    return genres.list.eval(pl.element().filter(pl.element() != ""))


def _text(series: pl.Series) -> pl.Series:
    return series.cast(pl.String).fill_null("").str.strip_chars()


def _item(names: Sequence[str]) -> int | None:
    found = ColumnNames().positions(names).get(ITEM)
    return _position(names, "id") if found is None else found


def _title(names: Sequence[str]) -> int | None:
    return _position(names, _TITLE_NAMES)


def _position(names: Sequence[str], spellings: str) -> int | None:
    plain = [plain_name(name) for name in names]
    return next((plain.index(spelling) for spelling in spellings.split() if spelling in plain), None)
