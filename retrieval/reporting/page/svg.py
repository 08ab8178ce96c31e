"""Matplotlib figures as inline SVG with the page's colours and fonts, unique ids and reproducible bytes.

Drawing leaves matplotlib's global state as it was. While a figure is drawn, the settings are those of a fresh
installation, whatever the user's matplotlibrc says.
"""

import io
import logging
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Width of every plot in points. The page scales it little, so that text stays readable on a telephone.
WIDTH = 350
FONT_SIZE = 11
# Placeholder colours for matplotlib; the page's variables replace them in the SVG.
INK, MUTED, GRID, PAPER, ON = "#010101", "#020202", "#030303", "#040404", "#050505"
BASELINE, RETRIEVAL, RERANKED = "#060606", "#070707", "#080808"
PARTS = ("#111111", "#121212", "#131313", "#141414", "#151515", "#161616")
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    PAPER: "--card",
    ON: "--on",
    BASELINE: "--baseline",
    RETRIEVAL: "--retrieval",
    RERANKED: "--reranked",
} | {colour: f"--part-{place}" for place, colour in enumerate(PARTS, start=1)}
# The page's light scheme, for pictures that are separate files.
LIGHT = {
    INK: "#1b1f24",
    MUTED: "#59616b",
    GRID: "#dfe3e8",
    PAPER: "#ffffff",
    ON: "#ffffff",
    BASELINE: "#5c636b",
    RETRIEVAL: "#0a5fbf",
    RERANKED: "#a8480a",
} | dict(zip(PARTS, ("#0a5fbf", "#5c636b", "#7a4fa3", "#a8480a", "#0b7a75", "#b3261e"), strict=True))
SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so that text is measured alike everywhere
    "font.size": FONT_SIZE,
    "axes.titlesize": FONT_SIZE,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.unicode_minus": False,  # as in the tables
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.75,
    "lines.markersize": 6,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Plot:
    """One plot to draw.

    Attributes:
        name: prefix of its ids, unique within a page.
        title, description: its content in words, for readers who do not see it.
        height: in the unit of `WIDTH`.
        draw: draws it onto an empty figure.
    """

    name: str
    title: str
    description: str
    height: float
    draw: Callable[["Figure"], None]


def inline_svg(plot: Plot) -> str:
    """The plot as an <svg> element for an HTML page."""
    root = ET.fromstring(_drawn(plot))
    _without_namespaces(root)
    for leftover in [each for each in root if each.tag == "metadata"]:
        root.remove(leftover)
    for definitions in root.iter("defs"):
        for style in definitions.findall("style"):  # its rules would hold for the whole page
            definitions.remove(style)
    for element in root.iter():
        if "style" in element.attrib:
            element.set("style", _in_page_style(element.attrib["style"]))
    _own_ids(root, plot.name)
    view = root.attrib["viewBox"]
    root.attrib.clear()
    names = {key: f"{plot.name}-{key}" for key in ("title", "desc")}
    root.attrib.update({"viewBox": view, "role": "img", "aria-labelledby": names["title"]})
    root.set("aria-describedby", names["desc"])
    for place, (tag, text) in enumerate((("title", plot.title), ("desc", plot.description))):
        element = ET.Element(tag, id=names[tag])
        element.text = text
        root.insert(place, element)
    return ET.tostring(root, encoding="unicode")


def _drawn(plot: Plot) -> bytes:
    """The SVG file that matplotlib writes."""
    buffer = io.BytesIO()
    with own_settings(SETTINGS):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(WIDTH / 72, plot.height / 72), dpi=72, layout="constrained")
        plot.draw(figure)
        figure.savefig(buffer, format="svg")
    return buffer.getvalue()


@contextmanager
def own_settings(settings: Mapping[str, Any]) -> Iterator[None]:
    """Inside the block matplotlib has its default settings and these, and logs nothing below errors."""
    with _quiet():
        import matplotlib

        defaults = matplotlib.rcParamsDefault.items()
        fresh: dict[Any, Any] = {key: value for key, value in defaults if "backend" not in key}
        with matplotlib.rc_context(fresh | dict(settings)):
            yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence matplotlib's messages, such as those about its font cache, which do not concern a build."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about glyphs that DejaVu Sans lacks; browsers have other fonts
            yield
    finally:
        logger.setLevel(level)


def _without_namespaces(root: ET.Element) -> None:
    """Drop the namespaces: HTML knows <svg> without them, and `href` needs no prefix."""
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for key in [key for key in element.attrib if "}" in key]:
            element.set(key.rpartition("}")[2], element.attrib.pop(key))


def _in_page_style(style: str) -> str:
    for colour, variable in VARIABLES.items():
        style = style.replace(colour, f"var({variable})")
    return re.sub(r"'DejaVu Sans'(, [\w-]+)*", "var(--sans)", style)


def _own_ids(root: ET.Element, name: str) -> None:
    """Drop ids that nothing refers to, and prefix the others with the plot's name.

    Matplotlib gives every figure the same ids, which would clash within a page.
    """
    refers = re.compile(r"(?<=url\(#)[^)]+|(?<=^#).+")
    used: dict[str, str] = {}
    for element in root.iter():
        for text in element.attrib.values():
            for each in refers.findall(text):
                used.setdefault(each, f"{name}-{len(used) + 1}")
    for element in root.iter():
        identity = element.attrib.pop("id", None)
        for key, text in element.attrib.items():
            element.set(key, refers.sub(lambda match: used[match[0]], text))
        if identity in used:
            element.set("id", used[identity])
