"""A table before its columns are interpreted: their names, and rows with their places in the file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import polars as pl

from retrieval.data.cells.bad_cells import MEND, TOLD, mend_or_skip, several
from retrieval.errors import DataError


@dataclass(frozen=True)
class Rows:
    """Some columns of a table, up to the first row that is malformed.

    Attributes:
        frame: the columns asked for, named by their position in the table: "0", "3".
        where: number of a row in `frame` -> its place for a message, such as ``ratings.csv:17``.
        problem: the malformed row after the last one of `frame`, None where there is none.
        left_out: number of malformed rows before that were left out.
        told: place and problem of the first of them.
    """

    frame: pl.DataFrame
    where: Callable[[int], str]
    problem: DataError | None = None
    left_out: int = 0
    told: tuple[str, ...] = ()


class Table(Protocol):
    """A table in a file. Its header is read at once, its rows once the columns are chosen."""

    @property
    def label(self) -> str:
        """The file, for messages."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, in the order of the file."""

    @property
    def notes(self) -> tuple[str, ...]:
        """How the reader interpreted the file, one sentence each."""

    def read(self, positions: Sequence[int]) -> Rows:
        """Read the columns at `positions`.

        Raises:
            DataError: if the file is damaged.
        """


@dataclass
class Malformed:
    """The malformed rows of a table.

    Attributes:
        bad, of: their number, and that of all rows.
        first: the errors of the first of them.
        is_open: whether a quote is never closed, so that nothing after it can be read.
    """

    bad: int = 0
    of: int = 0
    first: list[DataError] = field(default_factory=list)
    is_open: bool = False

    def add(self, error: Callable[[], DataError]) -> None:
        """Count one more row, and keep its error if it is among the first."""
        self.bad += 1
        if len(self.first) < TOLD:
            self.first.append(error())

    def too_many(self, skip: int) -> bool:
        """Whether there are more than `skip`, or one that cannot be left out."""
        return self.is_open or self.bad > skip

    def among(self, frame: pl.DataFrame, where: Callable[[int], str], skip: int) -> Rows:
        """The whole rows with what became of these."""
        if not self.too_many(skip):
            return Rows(frame, where, None, self.bad, tuple(error.what for error in self.first))
        advice = MEND if self.is_open else mend_or_skip(self.bad, self.of)
        return Rows(frame, where, DataError(f"{self.first[0].what}{several(self.bad, self.of)}", advice))
