"""Layouts of public data sets in which a line is no row: LightGCN's, Netflix' and MIND's."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from retrieval.data.reading.columns import ITEM, RATING, TIMESTAMP, USER
from retrieval.data.reading.raw_table import Rows

_MOVIE = re.compile(r"\d+:")
_RATED = re.compile(r"\d+,\d(\.\d)?,\d{4}-\d{2}-\d{2}")
_SHOWN = re.compile(r"\S+-[01]( \S+-[01])*")

_Row = tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """A layout: its columns, and the rows of one line.

    Attributes:
        name: what it is called, for the note.
        columns: names of the columns.
        rows: line, and the line with a colon before it (Netflix) -> its rows; None where the line is wrong.
    """

    name: str
    columns: tuple[str, ...]
    rows: Callable[[str, str], list[_Row] | None]


@dataclass(frozen=True)
class UnrolledTable:
    """A text of which a line holds several rows, or the key of those below it.

    Attributes:
        label: the file, for messages.
        text: its content.
    """

    label: str
    text: str = field(repr=False)
    layout: Layout
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns."""
        return self.layout.columns

    def read(self, positions: Sequence[int]) -> Rows:
        """Read the columns at `positions` as text."""
        rows, lines = list[_Row](), list[int]()
        for line, found in self._rows():
            rows += found
            lines += [line] * len(found)
        columns = {str(place): [row[place] for row in rows] for place in positions}
        frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
        return Rows(frame, lambda row: f"{self.label}:{lines[row]}")

    def _rows(self) -> Iterator[tuple[int, list[_Row]]]:
        key = ""
        for line, text in enumerate(self.text.split("\n"), start=1):
            if _MOVIE.fullmatch(text.strip()):
                key = text.strip()[:-1]
                continue
            # A wrong line becomes a row without an item, which is refused, or left out, with its number.
            wrong = [(text, *[""] * (len(self.names) - 1))]
            if text.strip():
                found = self.layout.rows(text.strip(), key)
                yield line, wrong if found is None else found


def unrolled_table(
    lines: Sequence[str], text: str, label: str, notes: tuple[str, ...]
) -> UnrolledTable | None:
    """The table of one of these layouts, told by the first lines; None where it is another."""
    found = next((layout for fits, layout in _LAYOUTS if fits([line.strip() for line in lines])), None)
    if found is None:
        return None
    return UnrolledTable(label, text, found, (*notes, f"the file was read in the layout of {found.name}"))


def _is_lightgcn(lines: Sequence[str]) -> bool:
    fields = [line.split(" ") for line in lines]
    whole = all(field.isdecimal() for row in fields for field in row)
    return whole and len({len(row) for row in fields}) > 1 and max(map(len, fields)) > 4


def _lightgcn(line: str, _: str) -> list[_Row] | None:
    user, *items = line.split(" ")
    return [(user, item) for item in items if item]


def _is_netflix(lines: Sequence[str]) -> bool:
    return bool(_MOVIE.fullmatch(lines[0])) and any(_RATED.fullmatch(line) for line in lines[1:])


def _netflix(line: str, movie: str) -> list[_Row] | None:
    parts = line.split(",")
    return [(parts[0], movie, parts[1], parts[2])] if len(parts) == 3 else None


def _is_mind(lines: Sequence[str]) -> bool:
    fields = [line.split("\t") for line in lines]
    return all(len(row) == 5 and _SHOWN.fullmatch(row[4]) for row in fields)


def _mind(line: str, _: str) -> list[_Row] | None:
    """A row for each news that was clicked; what was shown only is no interaction."""
    parts = line.split("\t")
    if len(parts) != 5:
        return None
    return [(parts[1], shown[:-2], parts[2]) for shown in parts[4].split(" ") if shown.endswith("-1")]


_LAYOUTS: tuple[tuple[Callable[[Sequence[str]], bool], Layout], ...] = (
    (_is_lightgcn, Layout("LightGCN (a line a user)", (USER, ITEM), _lightgcn)),
    (
        _is_netflix,
        Layout("Netflix (a line a movie, its ratings below)", (USER, ITEM, RATING, TIMESTAMP), _netflix),
    ),
    (_is_mind, Layout("MIND (clicks of impressions)", (USER, ITEM, TIMESTAMP), _mind)),
)
