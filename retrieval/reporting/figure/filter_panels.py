"""The cost of filters by the share of the catalogue they allow: recall above, time below."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from retrieval.evaluation.index_benchmark.result import FilterPoint
from retrieval.reporting.figure.scales import milliseconds_axis, place, recall_axis
from retrieval.reporting.page.svg import INK, LIGHT, MUTED, PAPER, RETRIEVAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CHARACTERS = 55  # of the genres' names beside the title


def filter_panels(
    above: "Axes", below: "Axes", points: Sequence[FilterPoint], recall_target: float | None
) -> None:
    """Draw both panels; random sets are lines, genres are diamonds."""
    drawn = sorted((each for each in points if each.kind == "random"), key=lambda each: each.share)
    genres = sorted((each for each in points if each.kind == "genre"), key=lambda each: -each.share)
    shares = [each.share for each in points]
    for axes in (above, below):
        axes.set_xscale("log")
        axes.set_xlim(1.25 * max(shares), min(shares) / 1.25)
        axes.set_xticks([each.share for each in drawn], [each.label for each in drawn])
        axes.minorticks_off()
    _series(above, below, drawn, "o-", named=True)
    _series(above, below, genres, "D", named=False)
    recall_axis(above, "y", min([recall_target or 1.0, *(each.recall for each in points)]) - 0.02)
    if recall_target is not None:
        above.axhline(place(recall_target), color=LIGHT[INK], linewidth=1, linestyle="--", zorder=1)
    above.set_ylabel("recall")
    above.set_title("Under a filter")
    if genres:
        names = ", ".join(each.label for each in genres)
        names = names if len(names) <= MOST_CHARACTERS else names[: MOST_CHARACTERS - 1] + "…"
        above.set_title(f"◆ {names}", loc="right", fontsize=9, fontweight="normal", color=LIGHT[MUTED])
    milliseconds_axis(below, [time for each in points for time in (each.p50_ms, each.exact_p50_ms)])
    below.set_ylabel("p50 of one query, ms")
    below.set_xlabel("share of the catalogue that the filter allows")
    below.legend(loc="best", fontsize=9.5)


def _series(above: "Axes", below: "Axes", points: Sequence[FilterPoint], style: str, named: bool) -> None:
    x = [each.share for each in points]
    colour, ink = LIGHT[RETRIEVAL], LIGHT[INK]
    above.plot(x, [place(each.recall) for each in points], style, color=colour, markersize=5)
    for name, times, paint, face in (
        ("exact search", [each.exact_p50_ms for each in points], ink, LIGHT[PAPER]),
        ("this bundle's index", [each.p50_ms for each in points], colour, colour),
    ):
        label = name if named else "_"  # matplotlib leaves labels that begin with _ out of the legend
        below.plot(x, times, style, color=paint, markerfacecolor=face, markersize=5, label=label)
