"""The layout of a ratings file: separator, header or none, and the meaning of the columns."""

import re
from collections.abc import Sequence

from retrieval.data.reading.columns import COLUMNS, ITEM, NAMED_BY, RATING, TIMESTAMP, USER, ColumnNames
from retrieval.data.reading.delimiters import TextLayout, header_layout, shorten, split_fields
from retrieval.errors import DataError

_SEPARATORS = ("::", "\t", ",", ";", "|", " ")
_UNQUOTED = ("::", "\t", " ")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?", re.IGNORECASE)
_EARLIEST_TIME = 1e8  # 1973; no scale of ratings goes that far


def ratings_layout(lines: Sequence[str], columns: ColumnNames, label: str) -> TextLayout:
    """The layout of a ratings file, told by its first lines.

    Known names make the first line a header. Without a header the first two fields are user and item; a later
    field that looks like times is the timestamp, and the other one is the rating.

    Args:
        lines: the first lines that are not blank, at least one.
        columns: the names that the user gave.
        label: the file, for messages.

    Raises:
        DataError: if this is no table of two or more columns.
    """
    line = lines[0]
    numbered = _numbered_layout(line, columns)
    if numbered is not None:
        return numbered
    layout = header_layout(line, lambda names: {USER, ITEM} <= columns.positions(names).keys())
    if layout is not None:
        return layout
    splits = [(split_fields(line, separator), separator) for separator in _SEPARATORS]
    splits = [(fields, separator) for fields, separator in splits if len(fields) > 1]
    data = [split for split in splits if _looks_like_data(*split, columns)]
    if data:
        # "a::b,1,3" splits in two ways; the separator that makes more fields is meant.
        fields, separator = max(data, key=lambda split: len(split[0]))
        _check_headerless(fields, separator, columns, line, label)
        rows = [split_fields(other, separator) for other in lines]
        names = _headerless_names([row for row in rows if len(row) == len(fields)])
        return TextLayout(separator, names, header=False, quoted=separator not in _UNQUOTED)
    named = [split for split in splits if split[1] != " "]
    if named:
        fields, separator = max(named, key=lambda split: len(split[0]))
        return TextLayout(separator, tuple(fields), header=True, quoted=separator != "::")
    raise DataError(
        f"{label}: not a ratings file: begins with {shorten(line)}; "
        "expected lines of user, item, rating, timestamp separated by '::', tabs, commas, ';' or '|'"
    )


def _numbered_layout(line: str, columns: ColumnNames) -> TextLayout | None:
    """The layout of a file whose columns the user names by number, from 1; None where they do not."""
    given = columns.given().values()
    if not given or not all(name.isdecimal() for name in given):
        return None
    splits = [(split_fields(line, separator), separator) for separator in _SEPARATORS]
    fields, separator = max(splits, key=lambda split: len(split[0]))
    if any(not 1 <= int(name) <= len(fields) for name in given):
        return None
    names = tuple(str(number) for number in range(1, len(fields) + 1))
    return TextLayout(separator, names, header=False, quoted=separator not in _UNQUOTED)


def headerless_note(layout: TextLayout) -> tuple[str, ...]:
    """A note on how columns without names were interpreted; none for the formats of MovieLens."""
    if layout.header or (layout.separator in ("::", "\t") and layout.names == COLUMNS):
        return ()
    if layout.names[0].isdecimal():
        return ()  # the user has numbered them
    return (f"no header: columns taken as {', '.join(layout.names)}",)


def _looks_like_data(fields: Sequence[str], separator: str, columns: ColumnNames) -> bool:
    if separator == " ":  # a line with spaces may be a sentence
        return all(_is_number(field) for field in fields)
    if {USER, ITEM} & columns.positions(fields).keys():
        return False
    return any(_is_number(field) or _DATE.match(field) for field in fields)


def _check_headerless(
    fields: Sequence[str], separator: str, columns: ColumnNames, line: str, label: str
) -> None:
    if len(fields) > len(COLUMNS):
        raise DataError(
            f"{label}: no header, and {len(fields)} fields separated by {separator!r}: {shorten(line)}; "
            "expected 2 to 4 (user, item, rating, timestamp), or a first line of names",
            f"number the columns, from 1: {NAMED_BY[USER]}, {NAMED_BY[ITEM]} and so on",
        )
    given = {column: name for column, name in columns.given().items() if name not in COLUMNS}
    if given:
        column, name = next(iter(given.items()))
        raise DataError(
            f"{label}: no column {name!r} for {NAMED_BY[column]}: there is no header, "
            f"the first line is {shorten(line)}"
        )


def _headerless_names(rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Names by the number of fields, and by whether the third and the fourth look like times."""
    width = len(rows[0])
    is_time = [all(_is_time(row[position]) for row in rows) for position in range(width)]
    if width == 3:
        return USER, ITEM, TIMESTAMP if is_time[2] else RATING
    if width == 4 and is_time[2] and not is_time[3]:
        return USER, ITEM, TIMESTAMP, RATING
    return COLUMNS[:width]


def _is_time(text: str) -> bool:
    if _is_number(text):
        return float(text.replace(",", ".")) >= _EARLIEST_TIME
    return _DATE.match(text) is not None


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None or text.lower() in ("nan", "inf", "-inf")
