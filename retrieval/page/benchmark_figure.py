"""The picture of a benchmark: recall against latency with its Pareto front, and what filters cost."""

import io
import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from index import OperatingPoint
from retrieval.benchmark import Benchmark, FilterPoint, headline, pareto_front
from retrieval.page.svg import GRID, INK, LIGHT, MUTED, PAPER, PARTS, SETTINGS, own_settings

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

INCHES, DPI = (13.0, 7.0), 160
# Recall of 1 has a place too: it stands where a miss of so little would.
LEAST_MISS = 3e-4
TICKS = (0.0, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
LOWEST_RECALL = 0.5  # what finds less serves nobody, and would take the room of what does
EXACT, FLAT = "exact search", "every vector looked at"
# Colour and marker of each family, in the order of the legend.
FAMILIES = {
    FLAT: ("#5c636b", "s"),
    "IVF, plain lists": ("#0a5fbf", "o"),
    "IVF, compressed lists": ("#7a4fa3", "p"),
    "IVF, fast scan": ("#0b7a75", "D"),
    "fast scan": ("#a8480a", "^"),
    "HNSW": ("#b3261e", "v"),
    "other kinds": ("#8a6d00", "X"),
}


def family(factory: str) -> str:
    """What a kind of index does, roughly; one list is no partition.

    >>> family("IVF64,Flat"), family("IVF1,PQ32x4fs,RFlat"), family("HNSW32")
    ('IVF, plain lists', 'fast scan', 'HNSW')
    """
    parts = factory.split(",")
    ivf = any(re.match(r"IVF(?!1(\D|$))", part) for part in parts)
    if any("fs" in part for part in parts):
        return "IVF, fast scan" if ivf else "fast scan"
    if any(part.startswith(("PQ", "SQ", "OPQ")) for part in parts):
        return "IVF, compressed lists" if ivf else FLAT if parts[-1].startswith("SQ") else "other kinds"
    if ivf:
        return "IVF, plain lists"
    if any(part.startswith("HNSW") for part in parts):
        return "HNSW"
    return FLAT if any(part.startswith("Flat") for part in parts) else "other kinds"


def benchmark_png(found: Benchmark) -> bytes:
    """The picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    settings = {
        key: LIGHT.get(value, value) if isinstance(value, str) else value for key, value in SETTINGS.items()
    }
    with own_settings(settings | {"figure.facecolor": LIGHT[PAPER], "axes.titlelocation": "left"}):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure, found)
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def draw(figure: "Figure", found: Benchmark) -> None:
    """Put everything onto an empty figure."""
    figure.get_layout_engine().set(rect=(0.005, 0.075, 0.99, 0.815), w_pad=0.12, h_pad=0.08)  # type: ignore[union-attr]
    grid = figure.add_gridspec(2, 2, width_ratios=(1.75, 1))
    left, above, below = (figure.add_subplot(cells) for cells in (grid[:, 0], grid[0, 1], grid[1, 1]))
    _operating_points(left, found)
    _filters(above, below, found)
    _heading(figure, found)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="lower left",
        fontsize=10,
        bbox_to_anchor=(0.01, 0.005),
        ncols=len(labels),
        handletextpad=0.4,
        columnspacing=1.4,
    )
    figure.draw_without_rendering()  # fixes the axes, so that the label finds room between the points
    _label_chosen(left, found)


def _heading(figure: "Figure", found: Benchmark) -> None:
    name = found.dataset if len(found.dataset) <= 60 else f"{found.dataset[:59]}…"
    figure.text(0.012, 0.975, f"{name}: {headline(found)}", fontsize=16, fontweight="bold", va="top")
    machine = found.machine
    facts = (
        f"{found.items:,} items × {found.dimension} numbers, top {found.k:,}, {found.queries:,} users one by one, "
        f"{found.threads} thread{'s' * (found.threads != 1)} · {machine.processor}, "
        f"{machine.cores} core{'s' * (machine.cores != 1)}, {machine.system}"
    )
    figure.text(0.012, 0.925, facts, color=LIGHT[MUTED], va="top")


def place(recall: float) -> float:
    """Where a recall stands: each 9 takes as much room as the one before.

    >>> [round(place(recall), 2) for recall in (0.0, 0.9, 0.99, 1.0)]
    [-0.0, 1.0, 1.99, 3.52]
    """
    return -math.log10(1 - recall + LEAST_MISS)


# The left panel


def _operating_points(axes: "Axes", found: Benchmark) -> None:
    shown = [point for point in found.points if point.recall >= _lowest(found)]
    for name, (colour, marker) in FAMILIES.items():
        members = [
            point for point in shown if point.factory != found.exact.factory and family(point.factory) == name
        ]
        for factory in sorted({point.factory for point in members}):
            best = pareto_front([point for point in members if point.factory == factory])
            axes.plot(*_xy(best), color=colour, linewidth=1, alpha=0.4, zorder=2)
        if members:
            axes.plot(
                *_xy(members),
                marker,
                color=colour,
                markersize=5.5,
                alpha=0.85,
                markeredgewidth=0,
                zorder=3,
                label=name,
            )
    axes.plot(*_xy([found.exact]), "*", color=LIGHT[INK], markersize=14, zorder=4, label=EXACT)
    axes.axhline(found.exact.p50_ms, color=LIGHT[INK], linewidth=1, linestyle=(0, (1, 2)), zorder=1)
    front = [point for point in found.front if point.recall >= _lowest(found)]
    axes.plot(
        *_xy(front), color=LIGHT[INK], linewidth=1.4, drawstyle="steps-pre", zorder=2.5, label="Pareto front"
    )
    axes.plot(
        *_xy([found.chosen]),
        "o",
        markersize=17,
        markerfacecolor="none",
        markeredgecolor=LIGHT[INK],
        markeredgewidth=2.2,
        zorder=5,
    )
    _recall_axis(axes, "x", _lowest(found))
    _milliseconds_axis(axes, [point.p50_ms for point in shown])
    hidden = len(found.points) - len(shown)
    left_out = f" ({hidden} settings below {_plain(_lowest(found))} left out)" if hidden else ""
    axes.set_xlabel(f"recall: share of the exact top {found.k:,} that is found{left_out}")
    axes.set_ylabel("p50 of one query, ms")
    axes.set_title("Every kind of index, every setting")
    axes.axvline(place(found.recall_target), color=LIGHT[INK], linewidth=1, linestyle="--", zorder=1)
    axes.annotate(
        f"target {_plain(found.recall_target)} ",
        (place(found.recall_target), 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=9.5,
        color=LIGHT[MUTED],
    )
    axes.annotate(
        f"exact search {_milliseconds(found.exact.p50_ms)} ms",
        (0, found.exact.p50_ms),
        xycoords=("axes fraction", "data"),
        xytext=(4, 3),
        textcoords="offset points",
        fontsize=9.5,
        color=LIGHT[MUTED],
    )


def _lowest(found: Benchmark) -> float:
    """The recall at which the axis begins."""
    least = min(point.recall for point in found.points)
    needed = min(found.chosen.recall, found.recall_target)
    return max(least, LOWEST_RECALL if needed >= LOWEST_RECALL else math.floor(10 * needed) / 10)


def _xy(points: Sequence[OperatingPoint]) -> tuple[list[float], list[float]]:
    return [place(point.recall) for point in points], [point.p50_ms for point in points]


def _label_chosen(axes: "Axes", found: Benchmark) -> None:
    """Beside its ring, where it covers the fewest points."""
    from matplotlib.text import Text

    serves = "" if found.serves == "ann" else "\nwhat answers is exact search"
    chosen = found.chosen
    text = (
        f"this bundle: {chosen.name}\n"
        f"recall {_plain(round(chosen.recall, 3))} in {_milliseconds(chosen.p50_ms)} ms{serves}"
    )
    label = axes.annotate(
        text, (place(chosen.recall), chosen.p50_ms), xytext=(0, 0), textcoords="offset points", fontsize=10,
        fontweight="bold", zorder=6, annotation_clip=False,
        bbox={"boxstyle": "round,pad=0.35", "facecolor": LIGHT[PAPER], "edgecolor": LIGHT[INK], "alpha": 0.94},
        arrowprops={"arrowstyle": "-", "color": LIGHT[INK], "linewidth": 1.2, "shrinkB": 9},
    )  # fmt: skip
    obstacles = _obstacles(axes, found)
    renderer: Any = axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    inside = axes.get_window_extent(renderer)
    size = Text.get_window_extent(label, renderer)  # of the words, without the line to the ring
    at = axes.transData.transform((place(chosen.recall), chosen.p50_ms))
    pad, scale = 14.0, DPI / 72

    def cost(offset: tuple[float, float]) -> float:
        x0, y0 = (start + scale * move for start, move in zip(at, offset, strict=True))
        box = (x0 - pad, y0 - pad, x0 + size.width + pad, y0 + size.height + pad)
        covered = sum(box[0] <= x <= box[2] and box[1] <= y <= box[3] for x, y in obstacles)
        over = max(inside.x0 - box[0], box[2] - inside.x1, inside.y0 - box[1], box[3] - inside.y1, 0)
        middle = (x0 + size.width / 2 - at[0], y0 + size.height / 2 - at[1])
        return covered + over + math.hypot(*middle) / 250

    tried = [(x, y) for x in range(-600, 400, 20) for y in range(-400, 400, 15)]
    label.set_position(min(tried, key=cost))


def _obstacles(axes: "Axes", found: Benchmark) -> "NDArray[np.float64]":
    """Pixels a label should not cover: points, the front, and the words at both lines: shape (n, 2)."""
    import numpy as np

    shown = [point for point in found.points if point.recall >= _lowest(found)]
    dots = axes.transData.transform(np.column_stack(_xy(shown)))
    steps = axes.transData.transform(np.column_stack(_xy([p for p in found.front if p in shown])))
    front = [
        each
        for (x0, y0), (x1, y1) in pairwise(steps.tolist())  # first up or down, then to the right
        for each in [*((x0, y) for y in np.arange(y0, y1, 25)), *((x, y1) for x in np.arange(x0, x1, 25))]
    ]
    inside = axes.get_window_extent()
    exact = axes.transData.transform((0, found.exact.p50_ms))[1]
    target = axes.transData.transform((place(found.recall_target), 1))[0]
    words = [(inside.x0 + x, exact + y) for x in range(0, 300, 20) for y in (0, 15, 30)]
    words += [(target - x, inside.y1 - y) for x in range(0, 160, 20) for y in (5, 20, 35)]
    return np.array([*dots.tolist(), *front, *words])


# The right panels


def _filters(above: "Axes", below: "Axes", found: Benchmark) -> None:
    drawn = [point for point in found.filters if point.kind == "random"]
    genres = sorted(
        (point for point in found.filters if point.kind == "genre"), key=lambda point: -point.share
    )
    blue, ink = FAMILIES["IVF, plain lists"][0], LIGHT[INK]
    for axes in (above, below):
        axes.set_xscale("log")
        shares = [point.share for point in found.filters]
        axes.set_xlim(1.25 * max(shares), min(shares) / 1.25)
        axes.set_xticks(sorted({point.share for point in drawn}), _share_labels(drawn))
        axes.minorticks_off()
    for points, marker, line in ((drawn, "o", "-"), (genres, "D", "none")):
        x = [point.share for point in points]
        above.plot(
            x, [place(point.recall) for point in points], marker, color=blue, linestyle=line, markersize=5
        )
        below.plot(
            x,
            [point.exact_p50_ms for point in points],
            marker,
            color=ink,
            linestyle=line,
            markersize=5,
            markerfacecolor=LIGHT[PAPER],
            label="exact search" if points is drawn else None,
        )
        below.plot(
            x,
            [point.p50_ms for point in points],
            marker,
            color=blue,
            linestyle=line,
            markersize=5,
            label="this bundle's index" if points is drawn else None,
        )
    lowest = min(point.recall for point in found.filters)
    _recall_axis(above, "y", min(lowest, found.recall_target) - 0.02)
    above.axhline(place(found.recall_target), color=ink, linewidth=1, linestyle="--", zorder=1)
    above.set_ylabel("recall")
    above.set_title("Under a filter")
    if genres:
        names = ", ".join(point.label for point in genres)
        names = names if len(names) <= 58 else names[:57] + "…"
        above.set_title(f"◆ {names}", loc="right", fontsize=9, fontweight="normal", color=LIGHT[MUTED])
    times = [each for point in found.filters for each in (point.p50_ms, point.exact_p50_ms)]
    _milliseconds_axis(below, times)
    below.set_ylabel("p50 of one query, ms")
    below.set_xlabel("share of the catalogue that the filter allows")
    below.legend(loc="best", fontsize=9.5)


def _share_labels(points: Sequence[FilterPoint]) -> list[str]:
    return [f"{100 * share:.2g}%" if share < 1 else "100%" for share in sorted({p.share for p in points})]


# Axes


def _recall_axis(axes: "Axes", which: str, lowest: float) -> None:
    ticks = [tick for tick in TICKS if tick >= lowest]
    labels = ["1" if tick == 1 else _plain(tick) for tick in ticks]
    places = [place(tick) for tick in ticks]
    room = (places[-1] - place(lowest)) or 1.0
    limits = (place(lowest) - 0.04 * room, places[-1] + 0.05 * room)
    if which == "x":
        axes.set_xticks(places, labels)
        axes.set_xlim(*limits)
    else:
        axes.set_yticks(places, labels)
        axes.set_ylim(*limits)


def _milliseconds_axis(axes: "Axes", values: Sequence[float]) -> None:
    """Logarithmic, with plain numbers, as few a power of ten as say enough."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_yscale("log")
    margin = max((max(values) / min(values)) ** 0.07, 1.2)
    low, high = min(values) / margin, max(values) * margin
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(FixedLocator(_ticks(low, high)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two, at least four of them where that is possible.

    >>> [float(f"{tick:g}") for tick in _ticks(0.03, 8.0)], [f"{tick:g}" for tick in _ticks(1.0, 2.5)]
    ([0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0], ['1', '1.2', '1.5', '2', '2.5'])
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in (
        (1.0,),
        (1.0, 2.0, 5.0),
        (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0),
        (1.0, 1.2, 1.5, 1.7, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0),
    ):
        ticks = [tick for power in powers for step in steps if low <= (tick := step * 10.0**power) <= high]
        if len(ticks) >= 4:
            break
    return ticks


def _plain(share: float) -> str:
    """As .95; 0 stays."""
    return f"{share:g}".replace("0.", ".", 1)


def _milliseconds(value: float) -> str:
    """Two digits that say something: 0.042, 0.12, 3.4, 57."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
