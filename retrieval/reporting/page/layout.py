"""The parts of a page's section: text, plots, tables."""

from dataclasses import dataclass

from retrieval.reporting.page.svg import Plot


@dataclass(frozen=True)
class Table:
    """A table of text cells. A cell's second line is set small; the first cell of a row is its heading.

    Attributes:
        strong: places of the rows to emphasise.
        words: places of the columns, besides the first, that hold words, not figures.
        numbered: whether the rows are the parts of a `stacked_bar`, shown with their numbers and colours.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: frozenset[int] = frozenset()
    words: frozenset[int] = frozenset()
    numbered: bool = False


@dataclass(frozen=True)
class Section:
    """One section of the page: text, then plots, then tables.

    Attributes:
        key: its id in the page.
        small: whether its plots are small multiples, set side by side.
    """

    key: str
    title: str
    text: str
    plots: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()
    small: bool = False
