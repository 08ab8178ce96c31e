"""The picture of a benchmark: recall against latency with its Pareto front, and what filters cost."""

import io
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from index import OperatingPoint
from retrieval.benchmark import LOWEST_RECALL, Benchmark, headline, pareto_front
from retrieval.page.filter_panels import filter_panels
from retrieval.page.scales import milliseconds, milliseconds_axis, place, plain, recall_axis
from retrieval.page.svg import INK, LIGHT, MUTED, PAPER, SETTINGS, own_settings

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

LEGEND_ROWS = 2
MANY = 200  # points, which are drawn smaller then
INCHES, DPI = (13.0, 7.0), 160
# Name, colour and marker of each family of `index.kinds`, in the order of the legend.
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
STEPS: dict[str, Any] = {"drawstyle": "steps-pre", "linewidth": 1.4, "zorder": 2.5}
RING: dict[str, Any] = {"markersize": 17, "markerfacecolor": "none", "markeredgewidth": 2.2, "zorder": 5}
SMALL: dict[str, Any] = {"textcoords": "offset points", "fontsize": 9.5, "color": LIGHT[MUTED]}


def benchmark_png(found: Benchmark) -> bytes:
    """The picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    with own_settings(LOOK):
        picture(found).savefig(buffer, format="png")
    return buffer.getvalue()


def picture(found: Benchmark) -> "Figure":
    """The picture as a figure, all its parts in their places; to be called under `LOOK`."""
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
    figure.draw_without_rendering()  # fixes the axes, so that the label finds room between the points
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
    size = 5.5 if len(others) < MANY else 4.5
    for style in (*FAMILIES.values(), OTHER):
        name, colour, marker = style
        members = [point for point in others if FAMILIES.get(point.family, OTHER) == style]
        best: list[OperatingPoint] = []
        for factory in sorted({point.factory for point in members}):
            run = pareto_front([point for point in members if point.factory == factory])
            axes.plot(*_xy(run), color=colour, linewidth=1, alpha=0.4, zorder=2)
            best += run
        if members:  # the settings of a kind that its others beat are only hinted at
            axes.plot(*_xy(members), marker, color=colour, markersize=size, alpha=0.2, **DOTS)
            axes.plot(*_xy(best), marker, color=colour, markersize=size, label=name, **DOTS)
    axes.plot(*_xy([found.exact]), "*", color=ink, markersize=14, zorder=4, label="exact search")
    axes.axhline(found.exact.p50_ms, color=ink, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
    front = [point for point in found.front if point in shown]
    axes.plot(*_xy(front), color=ink, label="Pareto front", **STEPS)
    axes.plot(*_xy([found.chosen]), "o", markeredgecolor=ink, **RING)
    recall_axis(axes, "x", _lowest(found))
    milliseconds_axis(axes, [point.p50_ms for point in shown])
    hidden = len(found.points) - len(shown)
    left_out = f" ({hidden} settings below {plain(_lowest(found))} left out)" if hidden else ""
    axes.set_xlabel(f"recall: share of the exact top {found.k:,} that is found{left_out}")
    axes.set_ylabel("p50 of one query, ms")
    axes.set_title("Every kind of index, every setting")
    axes.axvline(place(found.recall_target), color=ink, linewidth=1, linestyle="--", zorder=1)
    axes.annotate(
        f"target {plain(found.recall_target)}", (place(found.recall_target), 1), xytext=(-4, -4),
        xycoords=("data", "axes fraction"), ha="right", va="top", **SMALL,
    )  # fmt: skip
    axes.annotate(
        f"exact search {milliseconds(found.exact.p50_ms)} ms", (0, found.exact.p50_ms), xytext=(4, 3),
        xycoords=("axes fraction", "data"), **SMALL,
    )  # fmt: skip


def _lowest(found: Benchmark) -> float:
    """The recall at which the axis begins."""
    least = min(point.recall for point in found.points)
    lowest = min(max(least, LOWEST_RECALL), found.recall_target, found.chosen.recall)
    return math.floor(100 * lowest) / 100


def _xy(points: Sequence[OperatingPoint]) -> tuple[list[float], list[float]]:
    return [place(point.recall) for point in points], [point.p50_ms for point in points]


def _label_chosen(axes: "Axes", found: Benchmark) -> None:
    """Beside its ring, where it covers the fewest points."""
    from matplotlib.text import Text

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
        return float(covered + over) + math.hypot(*middle) / 250

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
