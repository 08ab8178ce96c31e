"""The columns of a table of users: the user, and those that may be categories."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from retrieval.data.cells.bad_cells import Problems
from retrieval.data.cells.typed_columns import to_ids
from retrieval.data.reading.categories import Candidate, candidates, category_frame, first_of_each
from retrieval.data.reading.columns import NAMED_BY, USER, ColumnNames, plain_name
from retrieval.data.reading.delimiters import TextLayout, header_layout, shorten
from retrieval.errors import DataError

# The columns of MovieLens 1M and of MovieLens 100K; neither file has a header.
_USERS_DAT = (USER, "gender", "age", "occupation", "zip")
_U_USER = (USER, "age", "gender", "occupation", "zip")


@dataclass(frozen=True)
class UserColumns:
    """The positions of the columns."""

    user: int
    others: tuple[Candidate, ...] = ()


def users_layout(lines: Sequence[str], label: str, columns: ColumnNames | None = None) -> TextLayout:
    """The layout of a users file: ``users.dat``, ``u.user``, or one with a header.

    Raises:
        DataError: if it is none of these.
    """
    line, columns = lines[0], columns or ColumnNames()
    layout = header_layout(line, lambda names: len(names) > 1 and _user(names, columns) is not None)
    if layout is not None:
        return layout
    if line.count("::") == len(_USERS_DAT) - 1:
        return TextLayout("::", _USERS_DAT, header=False)
    fields = line.split("|")
    if len(fields) == len(_U_USER) and fields[0].isdecimal() and fields[1].isdecimal():
        return TextLayout("|", _U_USER, header=False)
    raise DataError(
        f"{label}: not a users file: begins with {shorten(line)}; expected users.dat ('::'), "
        "u.user ('|'), or a header with a user column and others"
    )


def user_columns(
    names: Sequence[str], label: str, types: Sequence[str] = (), columns: ColumnNames | None = None
) -> UserColumns:
    """Find the columns among `names`; `types` are those of RecBole, one a name, or empty.

    Args:
        columns: names that the user gave; a table without the given column of users has a usual one.

    Raises:
        DataError: if there is no user column.
    """
    user = _user(names, columns or ColumnNames())
    if user is None:
        raise DataError(
            f"{label}: no {USER} column: found {', '.join(names)}", f"name it with {NAMED_BY[USER]}"
        )
    return UserColumns(user, candidates(names, [user], types))


def user_frame(cells: Callable[[int], pl.Series], columns: UserColumns) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The frame and the categories of a `UserTable`; the first row of a user counts.

    Raises:
        BadRowError: at the first row without a user.
    """
    found = cells(columns.user)
    problems = Problems(len(found))
    ids, _ = to_ids(found, USER, problems)
    if problems:
        raise problems.first()
    categories = category_frame(cells, columns.others)
    frame, categories = first_of_each(ids, pl.DataFrame({USER: ids}), categories)
    return frame, categories


def _user(names: Sequence[str], columns: ColumnNames) -> int | None:
    given = ColumnNames(user=columns.user).positions(names).get(USER)
    found = ColumnNames().positions(names).get(USER) if given is None else given
    plain = [plain_name(name) for name in names]
    return plain.index("id") if found is None and "id" in plain else found
