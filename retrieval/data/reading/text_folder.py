"""A folder of text parts, as Spark writes CSV and JSON, read as one table."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import polars as pl

from retrieval.data.reading.json_lines import JsonTable
from retrieval.data.reading.raw_table import Rows
from retrieval.data.reading.text_tables import TextTable
from retrieval.errors import DataError


@dataclass(frozen=True)
class TextFolder:
    """The parts of one table, all with the same columns.

    Attributes:
        label: the folder, for messages.

    Raises:
        DataError: if a part has other columns than the first.
    """

    label: str
    parts: tuple[TextTable | JsonTable, ...]

    def __post_init__(self) -> None:
        for part in self.parts:
            missing = [name for name in self.names if name not in part.names]
            if missing:
                raise DataError(f"{part.label}: no column {missing[0]!r}, which {self.parts[0].label} has")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, those of the first part."""
        return self.parts[0].names

    @property
    def notes(self) -> tuple[str, ...]:
        """How the reader interpreted the files."""
        return (*self.parts[0].notes, f"{len(self.parts)} files were read as one table")

    def read(self, positions: Sequence[int]) -> Rows:
        """Read the columns at `positions` of every part, up to the first malformed row."""
        found, problem = list[Rows](), None
        for part in self.parts:
            places = [part.names.index(self.names[position]) for position in positions]
            rows = part.read(places)
            names = {str(place): str(position) for place, position in zip(places, positions, strict=True)}
            frame = rows.frame.rename(names).select(map(str, positions))
            found.append(Rows(frame, rows.where, rows.problem))
            if rows.problem is not None:
                problem = rows.problem
                break
        ends = list(accumulate(len(rows.frame) for rows in found))

        def where(row: int) -> str:
            place = next(place for place, end in enumerate(ends) if row < end)
            return found[place].where(row - (ends[place - 1] if place else 0))

        return Rows(pl.concat([rows.frame for rows in found]), where, problem)
