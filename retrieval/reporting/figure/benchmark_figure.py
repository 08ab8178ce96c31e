"""The picture of an index benchmark: recall against latency with the Pareto front, and cost of filters."""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from index import OperatingPoint
from retrieval.evaluation.index_benchmark.result import LOWEST_RECALL, Benchmark, headline, pareto_front
from retrieval.reporting.figure.filter_panels import filter_panels
from retrieval.reporting.figure.labels import along_steps, around, best_corner, words_of
from retrieval.reporting.figure.scales import milliseconds, milliseconds_axis, place, plain, recall_axis
from retrieval.reporting.page.svg import INK, LIGHT, MUTED, PAPER, SETTINGS, own_settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGEND_ROWS = 2
HIGH, LEFT = 0.75, 0.2  # shares of the axes where labels change sides
MANY = 200  # more points than that are drawn smaller
INCHES, DPI = (13.0, 7.0), 160
# Name, colour and marker of each family of `index.choosing.kinds`, in the order of the legend.
FAMILIES = {
    "flat": ("every vector", "#5c636b", "s"),
    "half precision": ("every vector, half precision", "#8c95a0", "P"),
    "panorama": ("every vector, ended early", "#8a6d00", "X"),
    "lists": ("IVF lists", "#0a5fbf", "o"),
    "fast scan": ("fast scan", "#a8480a", "^"),
    "fast scan lists": ("IVF lists, fast scan", "#0b7a75", "D"),
    "graph": ("HNSW", "#b3261e", "v"),
}
OTHER = ("other kinds", "#7a4fa3", "p")
LOOK = {
    key: LIGHT.get(value, value) if isinstance(value, str) else value for key, value in SETTINGS.items()
} | {"figure.facecolor": LIGHT[PAPER]}
DOTS: dict[str, Any] = {"markeredgewidth": 0, "zorder": 3}
STEPS: dict[str, Any] = {"drawstyle": "steps-pre", "linewidth": 1.6, "zorder": 3.5}
RING: dict[str, Any] = {"markersize": 17, "markerfacecolor": "none", "markeredgewidth": 2.2, "zorder": 5}
RING_PIXELS = RING["markersize"] / 2 * DPI / 72
SMALL: dict[str, Any] = {"textcoords": "offset points", "fontsize": 9.5, "color": LIGHT[MUTED]}


def benchmark_png(found: Benchmark) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    with own_settings(LOOK):
        picture(found).savefig(buffer, format="png")
    return buffer.getvalue()


def picture(found: Benchmark) -> "Figure":
    """The picture as a matplotlib figure with all parts placed; call it under the settings `LOOK`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    room = ConstrainedLayoutEngine(rect=(0.005, 0.09, 0.99, 0.8), w_pad=0.12, h_pad=0.08)
    figure = Figure(figsize=INCHES, dpi=DPI, layout=room)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.75, 1))
    left, above, below = (figure.add_subplot(cells) for cells in (grid[:, 0], grid[0, 1], grid[1, 1]))
    _operating_points(left, found)
    filter_panels(above, below, found.filters, found.recall_target)
    _heading(figure, found)
    handles, labels = left.get_legend_handles_labels()
    columns = math.ceil(len(labels) / LEGEND_ROWS)
    figure.legend(
        handles, labels, loc="lower left", bbox_to_anchor=(0.01, 0.003), ncols=columns, fontsize=10,
        handletextpad=0.4, columnspacing=1.6, labelspacing=0.3,
    )  # fmt: skip
    figure.draw_without_rendering()
    figure.set_layout_engine(
        "none"
    )  # the axes no longer move, so that the label finds room between the points
    _label_chosen(left, found)
    return figure


def _heading(figure: "Figure", found: Benchmark) -> None:
    name = found.dataset if len(found.dataset) <= 40 else f"{found.dataset[:39]}…"
    figure.text(0.012, 0.975, f"{name}: {headline(found)}", fontsize=16, fontweight="bold", va="top")
    machine = found.machine
    facts = (
        f"{found.items:,} items × {found.dimension} numbers, top {found.k:,}, "
        f"{found.queries:,} users one by one, {_count(found.threads, 'thread')} · "
        f"{machine.processor}, {_count(machine.cores, 'core')}, {machine.system}"
    )
    figure.text(0.012, 0.925, facts, color=LIGHT[MUTED], va="top")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


# The left panel


def _operating_points(axes: "Axes", found: Benchmark) -> None:
    shown, ink = [point for point in found.points if point.recall >= _lowest(found)], LIGHT[INK]
    others = [point for point in shown if point.factory != found.exact.factory]
    size = 5.5 if len(others) < MANY else 4.5 if len(others) < 5 * MANY else 3.5
    for style in (*FAMILIES.values(), OTHER):
        name, colour, marker = style
        members = [point for point in others if FAMILIES.get(point.family, OTHER) == style]
        best: list[OperatingPoint] = []
        for factory in sorted({point.factory for point in members}):
            run = pareto_front([point for point in members if point.factory == factory])
            axes.plot(*_xy(run), color=colour, linewidth=1, alpha=0.4, zorder=2)
            best += run
        if members:  # settings that others of the same kind beat are drawn faint
            axes.plot(*_xy(members), marker, color=colour, markersize=size, alpha=0.2, **DOTS)
            axes.plot(*_xy(best), marker, color=colour, markersize=size, label=name, **DOTS)
    axes.plot(*_xy([found.exact]), "*", color=ink, markersize=14, zorder=4, label="exact search")
    front = [point for point in found.front if point in shown]
    axes.plot(*_xy(front), color=ink, label="Pareto front", **STEPS)
    axes.plot(*_xy([found.chosen]), "o", color=ink, markersize=size, zorder=5)
    axes.plot(*_xy([found.chosen]), "o", markeredgecolor=ink, **RING)
    recall_axis(axes, "x", _lowest(found))
    milliseconds_axis(axes, [point.p50_ms for point in shown])
    hidden = len(found.points) - len(shown)
    left_out = f" ({hidden} settings below {plain(_lowest(found))} left out)" if hidden else ""
    axes.set_xlabel(f"recall: share of the exact top {found.k:,} that is found{left_out}")
    axes.set_ylabel("p50 of one query, ms")
    axes.set_title("Every kind of index, every setting")
    _lines(axes, found)


def _lines(axes: "Axes", found: Benchmark) -> None:
    """Lines at exact search's time and at the target, with labels that do not overlap."""
    ink, target, time = LIGHT[INK], found.recall_target, found.exact.p50_ms
    axes.axhline(time, color=ink, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
    is_high = axes.transLimits.transform((0, math.log10(time)))[1] > HIGH
    axes.annotate(
        f"exact search {milliseconds(time)} ms", (0, time), xycoords=("axes fraction", "data"),
        xytext=(4, -3 if is_high else 3), va="top" if is_high else "bottom", **SMALL,
    )  # fmt: skip
    if target is None:
        return
    axes.axvline(place(target), color=ink, linewidth=1, linestyle="--", zorder=1)
    is_left = axes.transLimits.transform((place(target), 0))[0] < LEFT
    axes.annotate(
        f"target {plain(target)}", (place(target), 1), xycoords=("data", "axes fraction"),
        xytext=(4 if is_left else -4, -4), ha="left" if is_left else "right", va="top", **SMALL,
    )  # fmt: skip


def _lowest(found: Benchmark) -> float:
    """The recall at which the x axis begins."""
    least = min(point.recall for point in found.points)
    lowest = min(max(least, LOWEST_RECALL), found.enough, found.chosen.recall)
    return math.floor(100 * lowest) / 100


def _xy(points: Sequence[OperatingPoint]) -> tuple[list[float], list[float]]:
    return [place(point.recall) for point in points], [point.p50_ms for point in points]


def _label_chosen(axes: "Axes", found: Benchmark) -> None:
    """Label the bundle's index beside its ring, where the label covers the fewest points."""
    import numpy as np
    from matplotlib.text import Text

    shown = [point for point in found.points if point.recall >= _lowest(found)]
    renderer: Any = axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    dots, steps = (
        axes.transData.transform(np.column_stack(_xy(points)))
        for points in (shown, [point for point in found.front if point in shown])
    )
    at = axes.transData.transform((place(found.chosen.recall), found.chosen.p50_ms))
    obstacles = [*dots.tolist(), *along_steps(steps), *words_of(axes, renderer), *around(at, RING_PIXELS)]
    serves = "" if found.serves == "ann" else "\nwhat answers is exact search"
    chosen = found.chosen
    text = (
        f"this bundle: {chosen.name}\n"
        f"recall {plain(round(chosen.recall, 3))} in {milliseconds(chosen.p50_ms)} ms{serves}"
    )
    label = axes.annotate(
        text, (place(chosen.recall), chosen.p50_ms), xytext=(0, 0), textcoords="offset points", fontsize=10,
        fontweight="bold", zorder=6, annotation_clip=False,
        bbox={"boxstyle": "round,pad=0.35", "facecolor": LIGHT[PAPER], "edgecolor": LIGHT[INK]},
        arrowprops={"arrowstyle": "-", "color": LIGHT[INK], "linewidth": 1.2, "shrinkB": 9},
    )  # fmt: skip
    size = Text.get_window_extent(label, renderer)  # of the text, without the line to the ring
    inside = axes.get_window_extent(renderer)
    x, y = best_corner(at, (size.width, size.height), inside, np.array(obstacles))
    label.set_position(((x - at[0]) * 72 / DPI, (y - at[1]) * 72 / DPI))
