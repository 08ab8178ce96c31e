"""The kinds of plots on the page, drawn by matplotlib on a figure that `svg.inline_svg` makes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrieval.reporting.page.svg import BASELINE, INK, MUTED, ON, PAPER, PARTS, RERANKED, RETRIEVAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Draw = Callable[["Figure"], None]
ROW, FRAME = 21.0, 46.0  # heights of one row of dots and of the axis below them, in points
# Marker and colour of each kind of stage.
STYLES = {"baseline": ("s", BASELINE), "retrieval": ("o", RETRIEVAL), "reranked": ("D", RERANKED)}


def kind_of(stage: str) -> str:
    """The kind of a stage: baseline, retrieval alone, or re-ranked."""
    if stage in ("exact", "ann"):
        return "retrieval"
    return "reranked" if stage.endswith("+rerank") or stage == "neural_mf" else "baseline"


@dataclass(frozen=True)
class Dot:
    """One row of a dot plot.

    Attributes:
        value, low, high: the figure and its interval; None for a row without a dot, such as a heading.
        kind: a key of `STYLES`.
        strong: whether the label is bold.
        hollow: whether the dot is drawn hollow.
    """

    label: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    kind: str = "baseline"
    strong: bool = False
    hollow: bool = False


@dataclass(frozen=True)
class Line:
    """One line over a shared x axis; `low` and `high` are the edges of its band, empty without one."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    marker: str = "o"
    colour: str = RETRIEVAL


@dataclass(frozen=True)
class Panel:
    """Lines that share one y axis."""

    title: str
    lines: tuple[Line, ...]


def dots_height(dots: Sequence[Dot]) -> float:
    """Height of a dot plot with these rows, in points."""
    return FRAME + ROW * len(dots)


def dot_plot(
    dots: Sequence[Dot], axis: str, *, zero: bool = False, limits: tuple[float, float] | None = None
) -> Draw:
    """A plot of figures with intervals, one per row from the top.

    Args:
        axis: label of the x axis.
        zero: whether to mark 0, as for differences.
        limits: ends of the x axis; None takes them from the figures.
    """

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        for row, dot in enumerate(dots):
            if dot.value is None or dot.low is None or dot.high is None:
                continue
            marker, colour = STYLES[dot.kind]
            ends = [[dot.value - dot.low], [dot.high - dot.value]]
            axes.errorbar(
                [dot.value], [row], xerr=ends, fmt=marker, color=colour, elinewidth=1.75,
                capsize=3, markerfacecolor=PAPER if dot.hollow else colour,
            )  # fmt: skip
        axes.set_yticks(range(len(dots)), [dot.label for dot in dots])
        for label, dot in zip(axes.get_yticklabels(), dots, strict=True):
            label.set_fontweight("bold" if dot.strong else "normal")
        axes.set_ylim(len(dots) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        if zero:
            axes.axvline(0, color=MUTED, linewidth=1.25, zorder=1)
        if limits is not None:
            axes.set_xlim(*limits)
        _few_ticks(axes, "x", 4 if zero else 5)
        axes.set_xlabel(axis)

    return draw


def shared_limits(dots: Sequence[Dot]) -> tuple[float, float]:
    """Limits of the x axis for small multiples: from 0 to a little beyond the highest interval."""
    highest = max((dot.high for dot in dots if dot.high is not None), default=0.0)
    return 0.0, highest * 1.05 or 1.0


def stacked_bar(shares: dict[str, float]) -> Draw:
    """A bar of the shares of a whole, side by side in their order, numbered as in the legend."""

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        start = 0.0
        for place, (name, share) in enumerate(shares.items(), start=1):
            colour = PARTS[(place - 1) % len(PARTS)]
            axes.barh(
                [0],
                [share],
                left=[start],
                color=colour,
                edgecolor=PAPER,
                label=f"{place}  {name}",
                height=0.9,
            )
            if share >= 0.04:  # narrower ones have no room for their number
                axes.text(start + share / 2, 0, str(place), color=ON, ha="center", va="center", weight="bold")
            start += share
        axes.set_xlim(0, 1)
        axes.set_ylim(-0.5, 0.5)
        axes.set_yticks([])
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)
        figure.legend(loc="outside lower left", ncols=2, handlelength=1, handleheight=1)

    return draw


def line_panels(
    panels: Sequence[Panel],
    x_label: str,
    *,
    logarithmic: bool = False,
    whole: bool = False,
    mark: tuple[float, str] | None = None,
    zero: bool = False,
) -> Draw:
    """A plot of panels with lines, one below the other over a shared x axis.

    Args:
        x_label: label of the x axis.
        logarithmic: whether the x axis is logarithmic, with a tick at every x.
        whole: whether x are whole numbers.
        mark: an x to mark, and its label.
        zero: whether to mark 0, as for differences.
    """

    def draw(figure: "Figure") -> None:
        every = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, panel in zip(every, panels, strict=True):
            if len(panels) > 1:
                axes.set_title(panel.title)
            for line in panel.lines:
                _line(axes, line)
            if zero:
                axes.axhline(0, color=MUTED, linewidth=1.25, zorder=1)
            if mark is not None:
                axes.axvline(mark[0], color=INK, linewidth=1.25, linestyle="--", zorder=1)
            _few_ticks(axes, "y", 4)
            if len(panel.lines) > 1:
                axes.legend(loc="best")
        bottom = every[-1]
        if logarithmic:
            _every_x(bottom, panels)
        else:
            _few_ticks(bottom, "x", 6, whole=whole)
        bottom.set_xlabel(x_label)
        if mark is not None:
            every[0].set_title(mark[1], loc="right", fontweight="normal")

    return draw


def _line(axes: "Axes", line: Line) -> None:
    axes.plot(line.x, line.y, marker=line.marker, markersize=4.5, color=line.colour, label=line.label)
    if line.low:
        axes.fill_between(line.x, line.low, line.high, color=line.colour, alpha=0.18, linewidth=0)


def _every_x(axes: "Axes", panels: Sequence[Panel]) -> None:
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log")
    every = sorted({x for panel in panels for line in panel.lines for x in line.x})
    axes.set_xticks(every, _spread_labels(every))
    axes.xaxis.set_minor_locator(NullLocator())


def _spread_labels(ticks: Sequence[float]) -> list[str]:
    """Labels of ascending ticks on a logarithmic axis; a label that the next would overlap is empty.

    >>> _spread_labels([10, 20, 50, 100, 112])
    ['10', '20', '50', '', '112']
    """
    labels: list[str] = []
    after = math.inf
    for tick in reversed(ticks):
        room = math.log(after / tick) >= 0.1 * math.log(ticks[-1] / ticks[0])
        labels.append(f"{tick:g}" if room else "")
        after = tick if room else after
    return labels[::-1]


def _few_ticks(axes: "Axes", which: str, most: int, whole: bool = False) -> None:
    from matplotlib.ticker import MaxNLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(most, integer=whole, steps=[1, 2, 2.5, 5, 10]))
