"""Plain tables and paragraphs within 80 columns of a terminal."""

import re
import textwrap
import unicodedata
from collections.abc import Sequence

WIDTH = 80
# Control characters, lone surrogates, line separators and marks of writing direction. Titles and ids come
# from data, and a terminal would obey these characters.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
NARROWEST = 8


def format_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[int] = (),
    shrink: Sequence[int] = (),
) -> str:
    """Columns as wide as their widest cell, two spaces between them.

    Args:
        right: positions of the columns that are aligned to the right.
        shrink: positions of the columns to shorten, in this order, where the table is wider than `WIDTH`.

    >>> print(format_table(["item", "score"], [["Alien", "1.5"]], right=[1]))
    item   score
    Alien    1.5
    """
    lines = [[printable(text) for text in line] for line in (header, *rows)]
    widths = [max(cell_width(line[column]) for line in lines) for column in range(len(header))]
    for column in shrink:
        excess = sum(widths) + 2 * (len(widths) - 1) - WIDTH
        widths[column] = max(min(NARROWEST, widths[column]), widths[column] - max(excess, 0))

    def cell(text: str, column: int) -> str:
        text = shorten(text, widths[column])
        padding = " " * (widths[column] - cell_width(text))
        return padding + text if column in right else text + padding

    return "\n".join("  ".join(cell(text, i) for i, text in enumerate(line)).rstrip() for line in lines)


def format_columns(labels: Sequence[str], columns: Sequence[tuple[str, ...]]) -> list[str]:
    """Transposed table: a line for each label, columns side by side, as many as fit into `WIDTH`.

    Args:
        columns: each with one cell per label.

    >>> format_columns(["depth", "ms"], [("10", "0.14"), ("20", "0.19")])
    ['depth   10   20', 'ms    0.14 0.19']
    """
    if not columns:
        return []
    label = max(map(len, labels))
    cell = 1 + max(len(text) for column in columns for text in column)
    fitting = (WIDTH - label) // cell
    lines = []
    for start in range(0, len(columns), fitting):
        part = columns[start : start + fitting]
        lines += [
            name.ljust(label) + "".join(column[line].rjust(cell) for column in part)
            for line, name in enumerate(labels)
        ]
    return lines


def printable(text: str) -> str:
    r"""The text with characters that a terminal would obey rather than show written as escapes.

    >>> print(printable("Alien \x1b[31m(1979)"))
    Alien \x1b[31m(1979)
    """
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def cell_width(text: str) -> int:
    """Columns a text takes in a terminal: two for wide characters, none for combining marks.

    >>> cell_width("Amélie"), cell_width("Ame\u0301lie"), cell_width("千と千尋")
    (6, 6, 8)
    """
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf") or "\u1160" <= character <= "\u11ff":
        return 0  # the range holds vowels and finals of Korean syllables written in parts
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shorten(text: str, width: int) -> str:
    """The printable text in at most `width` columns; an ellipsis marks a cut.

    >>> shorten("Shawshank Redemption", 10)
    'Shawshank…'
    """
    text = printable(text)
    if cell_width(text) <= width:
        return text
    taken = 0
    for end, character in enumerate(text):
        taken += _width(character)
        if taken > width - 1:
            return text[:end].rstrip() + "…"
    return text


def wrap(text: str) -> str:
    """A paragraph on lines of at most `WIDTH` characters, all but the first indented.

    >>> print(wrap("retrieval " * 9))
    retrieval retrieval retrieval retrieval retrieval retrieval retrieval retrieval
      retrieval
    """
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
