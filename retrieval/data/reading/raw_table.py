"""A table before its columns are interpreted: their names, and rows with their places in the file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl

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
