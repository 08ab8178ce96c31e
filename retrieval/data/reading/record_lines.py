"""Finds the records of a text table with numpy, so that no Python code runs for a record."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LINE_FEED, _QUOTE, _SPACE = 10, 34, 32
_BLOCK = 1 << 21  # small enough for a processor's cache


class StrayQuoteError(Exception):
    """A double quote where RFC 4180 allows none; only a CSV reader can tell its effect on the fields."""


@dataclass(frozen=True)
class Records:
    """Consecutive records. A record is a line, or several where a quoted field holds line ends.

    Attributes:
        starts: shape (n,), int64, offset of the first byte.
        ends: shape (n,), int64, offset after the last byte, before the line end.
        lines: shape (n,), int64, the line on which a record starts.
        fields: shape (n,), int64, number of fields; 0 where a quote is never closed.
        blank: shape (n,), bool, whether a record holds only spaces.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    lines: NDArray[np.int64]
    fields: NDArray[np.int64]
    blank: NDArray[np.bool_]


def find_records(
    data: bytes, separator: bytes, quoted: bool, start: int = 0, line: int = 1, block: int = _BLOCK
) -> Iterator[Records]:
    r"""All records of `data` from offset `start`, where `line` begins, in blocks of about `block` bytes.

    Args:
        data: text with ``\n`` line ends.
        separator: one byte, between two fields.
        quoted: whether a field may stand in double quotes, and hold separators, line ends and doubled quotes.

    Raises:
        StrayQuoteError: if a quote stands neither at the edge of a field nor doubled inside one.

    >>> found = next(find_records(b'a,b\n\n"x\ny",1,2', b",", quoted=True))
    >>> found.lines.tolist(), found.fields.tolist(), found.blank.tolist()
    ([1, 2, 3], [2, 1, 3], [False, True, False])
    """
    size = block
    while start < len(data):
        view = np.frombuffer(data, np.uint8, min(size, len(data) - start), start)
        found = _records(view, start, line, separator[0], quoted, is_last=start + len(view) == len(data))
        if found is None:
            size *= 2  # one record is longer than a block
            continue
        yield found
        stop = min(int(found.ends[-1]) + 1, len(data))
        line += data.count(b"\n", start, stop)
        start, size = stop, block


def _records(
    view: NDArray[np.uint8], offset: int, line: int, separator: int, quoted: bool, is_last: bool
) -> Records | None:
    """The records that end in `view`; None where none does."""
    is_special = (view == separator) | (view == _LINE_FEED)
    if quoted:
        is_special |= view == _QUOTE
    special = np.flatnonzero(is_special)
    kinds = view[special]
    # The rest looks only at bytes that may end a field. A byte is inside quotes after an odd number of them.
    outside = np.cumsum(kinds == _QUOTE, dtype=np.uint8) % 2 == 0 if quoted else np.ones(len(kinds), bool)
    last = np.flatnonzero((kinds == _LINE_FEED) & outside)
    ends = special[last]
    before = np.cumsum((kinds == separator) & outside, dtype=np.int64)
    separators = before[last]
    if is_last and (not len(ends) or ends[-1] != len(view) - 1):
        ends = np.append(ends, len(view))  # the last line has no end, or a quote is left open
        separators = np.append(separators, before[-1] if len(before) else 0)
    if not len(ends):
        return None
    stop = int(ends[-1]) + 1
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])
    lines = line + np.arange(len(starts))
    if quoted:
        quotes = special[kinds == _QUOTE]
        _check_quotes(view[:stop], quotes[quotes < stop], separator)
        breaks = special[kinds == _LINE_FEED]
        if len(breaks) > len(last):
            lines = line + np.searchsorted(breaks, starts)
    fields = np.diff(separators, prepend=0) + 1
    if is_last and len(outside) and not outside[-1]:
        fields[-1] = 0
    blank = starts == ends
    if (~blank & (fields == 1)).any():
        ink = (view[:stop] != _SPACE) & (view[:stop] != _LINE_FEED)
        blank |= (fields == 1) & (np.add.reduceat(ink, starts, dtype=np.int64) == 0)
    return Records(starts + offset, ends + offset, lines, fields, blank)


def _check_quotes(view: NDArray[np.uint8], quotes: NDArray[np.int64], separator: int) -> None:
    """Check that quotes open at the start of a field and close at its end; a doubled one does both."""
    edges = np.zeros(256, dtype=bool)
    edges[[_LINE_FEED, _QUOTE, separator]] = True
    opening, closing = quotes[0::2], quotes[1::2]
    before = view[opening[opening > 0] - 1]
    after = view[closing[closing < len(view) - 1] + 1]
    if not (edges[before].all() and edges[after].all()):
        raise StrayQuoteError
