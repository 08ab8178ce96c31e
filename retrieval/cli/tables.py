"""Plain tables and paragraphs for people, within 80 columns."""

import textwrap
from collections.abc import Sequence

WIDTH = 80


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns as wide as their widest cell, two spaces between them.

    Args:
        right: positions of the columns that are aligned to the right.

    >>> print(format_table(["item", "score"], [["Alien", "1.5"]], right=[1]))
    item   score
    Alien    1.5
    """
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]

    def cell(text: str, column: int) -> str:
        return text.rjust(widths[column]) if column in right else text.ljust(widths[column])

    return "\n".join("  ".join(cell(text, i) for i, text in enumerate(line)).rstrip() for line in lines)


def shorten(text: str, width: int) -> str:
    """At most `width` characters, an ellipsis in place of what was cut.

    >>> shorten("Shawshank Redemption", 10)
    'Shawshank…'
    """
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def wrap(text: str) -> str:
    """One paragraph on lines of at most `WIDTH` characters, all but the first indented.

    >>> print(wrap("retrieval " * 9))
    retrieval retrieval retrieval retrieval retrieval retrieval retrieval retrieval
      retrieval
    """
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
