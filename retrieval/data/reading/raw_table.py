"""A table before anybody knows what its columns mean: their names, and rows that know where they stand."""

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
        where: a row's number in `frame` -> the place that a message names, such as ``ratings.csv:17``.
        problem: the malformed row after the last one of `frame`, None where there is none.
    """

    frame: pl.DataFrame
    where: Callable[[int], str]
    problem: DataError | None = None


class Table(Protocol):
    """A table in a file: its header is known, its rows are read when their columns are chosen."""

    @property
    def label(self) -> str:
        """The file, for messages."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, in the order of the file."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was understood rather than read, one sentence each."""

    def read(self, positions: Sequence[int]) -> Rows:
        """The columns at `positions`.

        Raises:
            DataError: if the file is damaged.
        """
