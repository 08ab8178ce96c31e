"""What a section of the page is made of."""

from dataclasses import dataclass

from retrieval.reporting.page.svg import Plot


@dataclass(frozen=True)
class Table:
    """Cells as text, a second line of one in small; the first cell of every row is its heading.

    Attributes:
        strong: places of rows to emphasise.
        words: places of columns that hold words, not figures, besides the first.
        numbered: whether rows are the numbered parts of a bar, to be shown with their colours.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: frozenset[int] = frozenset()
    words: frozenset[int] = frozenset()
    numbered: bool = False


@dataclass(frozen=True)
class Section:
    """Text, then plots, then tables.

    Attributes:
        key: its id in the page.
        small: whether its plots are small multiples, to be set side by side.
    """

    key: str
    title: str
    text: str
    plots: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()
    small: bool = False
