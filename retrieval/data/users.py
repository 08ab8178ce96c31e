"""The table of users: gender, age and other categories, from a file or a frame."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from retrieval.data.cells.bad_cells import MEND, BadRowError
from retrieval.data.frames import as_frame, column_names, frame_cells
from retrieval.data.reading.categories import check_categories, read_with
from retrieval.data.reading.columns import USER, ColumnNames
from retrieval.data.reading.open_table import open_table
from retrieval.data.reading.sibling_files import find_beside
from retrieval.data.reading.text_tables import TextTable
from retrieval.data.reading.user_columns import user_columns, user_frame, users_layout
from retrieval.errors import DataError

if TYPE_CHECKING:
    from retrieval.data.frames import Frame

USERS_FILES = ("users.dat", "u.user", "users.csv", "*.user", "users.parquet")


@dataclass(frozen=True, eq=False)
class UserTable:
    """Categories of the users.

    Attributes:
        frame: column user (Int64 if every id is a canonical 64-bit integer, else String; unique), in the
            order of the source.
        categories: gender, age (as written), occupation and every further categorical column of the source,
            each List[String] with the values of every row; as many rows as `frame`, or no column at all.

    Raises:
        ValueError: if a frame has other columns or types, or a user twice.
    """

    frame: pl.DataFrame
    categories: pl.DataFrame = field(default_factory=pl.DataFrame)

    def __post_init__(self) -> None:
        if self.frame.columns != [USER] or self.frame.dtypes[0] not in (pl.Int64, pl.String):
            raise ValueError(f"not a table of users: {dict(self.frame.schema)}")
        if self.frame[USER].is_duplicated().any():
            raise ValueError("a user occurs twice in the table of users")
        check_categories(self.categories, self.frame.height)

    def __len__(self) -> int:
        return self.frame.height

    @classmethod
    def from_frame(cls, frame: "Frame", columns: ColumnNames | None = None) -> "UserTable":
        """Convert a frame, or any other table that a Python program holds.

        The user column has one of its usual names, or the given one.

        Raises:
            DataError: if the column is missing, a user is empty, or there is no row.

        >>> UserTable.from_frame(pl.DataFrame({"userId": [7], "Gender": ["F"]})).categories.to_dicts()
        [{'gender': ['F']}]
        """
        table = as_frame(frame)
        known = user_columns(column_names(table), "DataFrame", (), columns)
        try:
            found, categories = user_frame(frame_cells(table), known)
        except BadRowError as bad:
            raise DataError(f"DataFrame: row {bad.row} (counted from 0): {bad}") from None
        return cls(_not_empty(found, "DataFrame"), categories)

    @property
    def ids(self) -> pl.Series:
        """The ids of the users, in the order of the source."""
        return self.frame[USER]

    def category_columns(self) -> dict[str, pl.Series]:
        """`categories` by name: the values of each row, in the order of `ids`."""
        return self.categories.to_dict()


def read_users(path: Path, columns: ColumnNames | None = None) -> UserTable:
    """Read ``u.user``, ``users.dat``, ``users.csv``, RecBole's ``.user``, Parquet or an Excel workbook.

    The content tells the format. Columns whose values repeat are kept as categories; zip codes, addresses
    and other text that differs in nearly every row are not. The first line of a user counts.

    Raises:
        DataError: naming the file, and the line and its text where one is wrong.
        EnvironmentProblem: if it is a workbook and the optional package for workbooks is missing.
    """
    table = open_table(
        Path(path), USERS_FILES, "users", lambda lines, label: users_layout(lines, label, columns)
    )
    types = table.layout.types if isinstance(table, TextTable) else ()
    known = user_columns(table.names, table.label, types, columns)
    rows, others = read_with(table, [known.user], known.others)
    try:
        found, categories = user_frame(
            lambda position: rows.frame[str(position)], replace(known, others=others)
        )
    except BadRowError as bad:
        raise DataError(f"{rows.where(bad.row)}: {bad}", MEND) from None
    if rows.problem is not None:
        raise rows.problem
    return UserTable(_not_empty(found, table.label), categories)


def find_users_beside(ratings_path: Path) -> Path | None:
    """The users file that belongs to a ratings file, a folder or a zip of ratings; None where there is none.

    ``ratings.dat`` goes with ``users.dat``, ``u.data`` with ``u.user``, CSV with ``users.csv``, ``x.inter``
    with ``x.user``; the rest is as for `find_items_beside`.
    """
    return find_beside(ratings_path, USERS_FILES)


def _not_empty(frame: pl.DataFrame, label: str) -> pl.DataFrame:
    if not frame.height:
        raise DataError(f"{label}: 0 users", "give a table with rows")
    return frame
