"""The layout of a text table: separator, quotes and header, told by its first lines."""

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

_TYPED_NAME = re.compile(r"[^\t :,]+:(token|token_seq|float|float_seq)")
_TYPED_SEPARATORS = ("\t", " ", ",")  # RecBole's own, and those its `field_separator` is often set to
_HEADER_SEPARATORS = (",", "\t", ";", "|", "::")
_HEAD = 65_536  # bytes that are searched for the first lines
_LINES = 20


@dataclass(frozen=True)
class TextLayout:
    """How to split a line into fields.

    Attributes:
        separator: one character or ``::``, between two fields.
        names: a name for each field, from the header or by convention.
        header: whether the first line that is not blank holds names.
        quoted: whether a field may stand in double quotes (CSV).
        types: RecBole's type of each column, such as ``token_seq``; empty for every other format.
    """

    separator: str
    names: tuple[str, ...]
    header: bool
    quoted: bool = False
    types: tuple[str, ...] = field(default=(), compare=False)


def with_empty_last(layout: TextLayout, lines: Sequence[str]) -> TextLayout:
    """The layout with one more column where every line below the header ends with a separator.

    >>> layout = TextLayout(",", ("user", "item"), header=True)
    >>> with_empty_last(layout, ["user,item", "1,2,", "3,4,"]).names
    ('user', 'item', '')
    """
    rows = [split_fields(line, layout.separator) for line in lines[1:]]
    wanted = len(layout.names) + 1
    if layout.header and rows and all(len(row) == wanted and not row[-1] for row in rows):
        types = (*layout.types, "token") if layout.types else ()
        return replace(layout, names=(*layout.names, ""), types=types)
    return layout


def first_lines(data: bytes) -> list[str]:
    """The first lines that are not blank, of text in UTF-8."""
    head = data[: data.rfind(b"\n", 0, _HEAD) + 1] if len(data) > _HEAD else data
    lines = (head or data[:_HEAD]).decode("utf-8", "ignore").split("\n")
    return [line for line in lines if line.strip(" ")][:_LINES]


def header_layout(line: str, fits: Callable[[Sequence[str]], bool]) -> TextLayout | None:
    """The layout of a file with a header: RecBole's ``name:type``, or CSV with names that `fits` accepts."""
    for separator in _TYPED_SEPARATORS:
        names = line.split(separator)
        if all(_TYPED_NAME.fullmatch(name) for name in names):
            plain, types = zip(*(name.rsplit(":", 1) for name in names), strict=True)
            return TextLayout(separator, plain, header=True, types=types)
    for separator in _HEADER_SEPARATORS:
        names = split_fields(line, separator)
        if fits(names):
            return TextLayout(separator, tuple(names), header=True, quoted=separator != "::")
    return None


def split_fields(line: str, separator: str) -> list[str]:
    """Fields of one line, quotes and spaces around them removed.

    >>> split_fields('"userId", movieId', ",")
    ['userId', 'movieId']
    """
    if len(separator) > 1:
        return [field.strip() for field in line.split(separator)]
    rows = csv.reader([line], delimiter=separator, skipinitialspace=separator != " ")
    return [field.strip() for field in next(rows, [])]


def shorten(text: str, length: int = 80) -> str:
    """`text` in quotes on one line, cut to `length` characters."""
    return repr(text if len(text) <= length else text[:length] + "...")
