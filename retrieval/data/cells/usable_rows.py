"""The rows of a table that can be used: all, or all but a few that the user allows to be left out."""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from retrieval.data.cells.bad_cells import MEND, TOLD, BadRowError, Problems, mend_or_skip, several
from retrieval.data.cells.typed_columns import typed_frame
from retrieval.data.reading.columns import NAMED_BY, RATING, TIMESTAMP, USER
from retrieval.errors import DataError, UsageError


@dataclass(frozen=True)
class UsableRows:
    """A typed table and what was done to get it.

    Attributes:
        frame: as `typed_columns.typed_frame` makes it.
        notes: on how columns were interpreted.
        left_out: number of rows that were left out.
        told: place and problem of the first of them.
    """

    frame: pl.DataFrame
    notes: tuple[str, ...]
    left_out: int = 0
    told: tuple[str, ...] = ()


def usable_rows(
    picked: dict[str, pl.Series],
    source: str,
    where: Callable[[int], str],
    skip: int = 0,
    time_format: str | None = None,
) -> UsableRows:
    """Convert the columns, leaving out at most `skip` rows that cannot be used.

    Args:
        picked: columns by their meaning, of one length.
        where: number of a row, from 0 -> its place for a message.

    Raises:
        DataError: for the first row that cannot be used, where there are more than `skip` of them; it says
            how many there are.
    """
    rows = pl.int_range(len(picked[USER]), eager=True)
    left_out, told = 0, list[str]()
    while True:
        problems = Problems(len(rows), TOLD if skip else 1)
        frame, notes = typed_frame(picked, source, problems, time_format)
        if not problems:
            return UsableRows(frame, notes, left_out, tuple(told[:TOLD]))
        bad = problems.rows()
        if left_out + len(bad) > skip or len(bad) == len(rows):
            raise refusal(problems.first(), where(rows[problems.first().row]), left_out)
        left_out += len(bad)
        told += [f"{where(rows[each.row])}: {each}" for each in problems.each(TOLD)]
        # All columns are read again: a cell that was left out may have decided the type of the ids.
        keep = pl.Series([True]).new_from_index(0, len(rows)).scatter(bad, False)
        rows = rows.filter(keep)
        picked = {column: series.filter(keep) for column, series in picked.items()}


def checked_skip(skip: int) -> int:
    """The number of rows that may be left out.

    Raises:
        UsageError: unless it is a whole number from 0 on.
    """
    if not isinstance(skip, int) or isinstance(skip, bool) or skip < 0:
        raise UsageError(f"`skip_bad` must be a whole number from 0 on, not {skip!r}")
    return skip


def refusal(bad: BadRowError, place: str, left_out: int = 0) -> DataError:
    """The error for the first row that cannot be used, with the number of all such rows."""
    return DataError(f"{place}: {bad}{several(bad.bad, bad.of)}", _advice(bad, left_out))


def skipped_note(left_out: int, told: tuple[str, ...]) -> tuple[str, ...]:
    """A note on the rows that were left out; none where there are none."""
    if not left_out:
        return ()
    those = f"{left_out:,} row{'s that cannot be used were' if left_out > 1 else ' that cannot be used was'}"
    return (f"{those} left out: {'; '.join(told)}{'; ...' if left_out > len(told) else ''}",)


def _advice(bad: BadRowError, left_out: int) -> str:
    if bad.bad > 1 and bad.bad == bad.of:  # not the row is wrong, but how the column is understood
        named = next((column for column in NAMED_BY if str(bad).startswith(column)), None)
        if named == TIMESTAMP:
            return (
                f"say how times are written with `time_format`, or name another column with {NAMED_BY[named]}"
            )
        if named == RATING:
            return f"name the column of the ratings with {NAMED_BY[named]}"
        return MEND if named is None else f"name another column with {NAMED_BY[named]}"
    return mend_or_skip(left_out + bad.bad, bad.of)
