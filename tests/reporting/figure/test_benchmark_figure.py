"""The picture of a benchmark: what it marks, and that one can read it."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest

from retrieval.evaluation.index_benchmark.result import Benchmark
from retrieval.machine import Machine
from retrieval.reporting.figure.benchmark_figure import FAMILIES, LOOK, benchmark_png, picture
from retrieval.reporting.figure.scales import LEAST_MISS, place
from retrieval.reporting.page.svg import LIGHT, VARIABLES, own_settings
from tests.support.benchmarks import CHOSEN, EXACT, FRONT, POINTS, benchmark, filter_points, point
from tests.support.checkout import ROOT

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text


def many() -> Benchmark:
    """Of a large catalogue: every family, hundreds of settings, the chosen one in their middle."""
    points = [
        point(
            f"UPCAR48,IVF{nlist},PQ48x4fsr,RFlat", 1 - 0.4 / (probes * k) ** 0.8,
            0.02 * probes**0.6 * k**0.3, family=family, nprobe=probes, k_factor=k,
        )
        for nlist, family in ((256, "lists"), (512, "fast scan lists"), (1024, "graph"), (2048, "fast scan"))
        for probes in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
        for k in (1.5, 2.0, 4.0, 10.0)
    ]  # fmt: skip
    others = [point(name, 1.0, 5.0 + i, family=name) for i, name in enumerate(FAMILIES)]
    exact = replace(EXACT, p50_ms=9.0)
    chosen = replace(points[60], factory="UPCAR48,IVF512,PQ48x4fsr,Refine(SQ8)", family="by name")
    return benchmark(
        items=1_234_567, dataset="a data set with a rather long name of its own, longer than there is room",
        points=(*points, *others, chosen, exact), chosen=chosen, exact=exact, filters=filter_points(9.0),
        machine=Machine("AMD EPYC 9654 96-Core Processor", 96, "Linux"), threads=16, k=1000,
    )  # fmt: skip


CASES = {
    "usual": benchmark(),
    "many": many(),
    "few": benchmark(points=(CHOSEN, EXACT)),
    "exact search answers": benchmark(serves="exact", exact=replace(EXACT, p50_ms=0.2)),
    "low": benchmark(chosen=replace(CHOSEN, recall=0.31), recall_target=0.5),
    "no target": benchmark(recall_target=None),
    "high target": benchmark(recall_target=0.999),
    "one speed": benchmark(
        points=(replace(CHOSEN, p50_ms=1.0), replace(EXACT, p50_ms=1.0)), exact=replace(EXACT, p50_ms=1.0)
    ),
    "no genres": benchmark(filters=tuple(each for each in filter_points() if each.kind == "random")),
}
every_case = pytest.mark.parametrize("name", CASES)


def consistent(found: Benchmark) -> Benchmark:
    """With the chosen point and exact search among the points."""
    rest = [each for each in found.points if each.name not in (found.chosen.name, found.exact.name)]
    return replace(found, points=(*rest, found.chosen, found.exact))


def drawn(found: Benchmark) -> "Figure":
    with own_settings(LOOK):
        figure = picture(consistent(found))
        figure.canvas.draw()
        return figure


@cache
def figure_of(name: str) -> "Figure":
    """Of a case; only to look at."""
    return drawn(CASES[name])


def texts(figure: "Figure") -> Iterator["Text"]:
    """All that can be read."""
    from matplotlib.text import Text

    for each in figure.findobj(Text):
        if isinstance(each, Text) and each.get_text().strip() and each.get_visible():
            yield each


def words(figure: "Figure") -> str:
    return "\n".join(each.get_text() for each in texts(figure))


@every_case
def test_no_words_lie_on_others_or_outside(name: str) -> None:
    from matplotlib.text import Text

    figure = figure_of(name)
    renderer: Any = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    width, height = figure.bbox.width, figure.bbox.height
    boxes = [(each.get_text(), Text.get_window_extent(each, renderer)) for each in texts(figure)]
    boxes = [(text, box) for text, box in boxes if shows(figure, text, box)]
    assert len(boxes) > 20
    for text, box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text
    for (one, a), (other, b) in combinations(boxes, 2):
        assert not (a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 and b.y0 < a.y1), (one, other)


def shows(figure: "Figure", text: str, box: Any) -> bool:
    """Whether it is drawn: ticks beyond the ends of an axis are not."""
    for axes in figure.axes:
        for axis, (low, high), at in (
            (axes.xaxis, axes.get_xlim(), lambda tick: tick.get_loc()),
            (axes.yaxis, axes.get_ylim(), lambda tick: tick.get_loc()),
        ):
            for tick in axis.get_major_ticks():
                if tick.label1.get_text() == text and tick.label1.get_window_extent().bounds == box.bounds:
                    return bool(min(low, high) <= at(tick) <= max(low, high))
    return True


@every_case
def test_the_chosen_point_is_ringed_and_named_with_its_settings(name: str) -> None:
    found = consistent(CASES[name])
    figure = figure_of(name)
    left = figure.axes[0]
    rings = [line for line in left.lines if line.get_markersize() > 15]
    assert [line.get_xydata().tolist() for line in rings] == [  # type: ignore[union-attr]
        [[place(found.chosen.recall), found.chosen.p50_ms]]
    ]
    assert f"this bundle: {found.chosen.name}\n" in words(figure)
    assert ("what answers is exact search" in words(figure)) == (found.serves == "exact")
    low, high = left.get_xlim()
    assert low < place(found.chosen.recall) < high


def test_the_label_of_the_chosen_point_covers_no_other_where_there_is_room() -> None:
    from matplotlib.text import Annotation, Text

    figure = figure_of("usual")
    left = figure.axes[0]
    (label,) = (
        each for each in left.texts if isinstance(each, Annotation) and "this bundle" in each.get_text()
    )
    renderer: Any = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    box, inside = Text.get_window_extent(label, renderer), left.get_window_extent(renderer)
    assert inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
    for each in POINTS:
        x, y = left.transData.transform((place(each.recall), each.p50_ms))
        assert not (box.x0 <= x <= box.x1 and box.y0 <= y <= box.y1), each.name


def test_the_front_is_a_line_of_steps_through_its_points() -> None:
    left = figure_of("usual").axes[0]
    (front,) = (line for line in left.lines if line.get_label() == "Pareto front")
    by_name = {each.name: each for each in POINTS}
    assert front.get_drawstyle() == "steps-pre"  # as fast as the next setting that finds as much
    assert front.get_xydata().tolist() == [  # type: ignore[union-attr]
        [place(by_name[name].recall), by_name[name].p50_ms] for name in FRONT
    ]


def test_every_family_of_index_has_its_own_colour_marker_and_place_in_the_legend() -> None:
    from index.choosing.kinds import SIMPLICITY

    assert {*FAMILIES, "exact", "by name"} == set(SIMPLICITY)
    assert (
        len({style[1] for style in FAMILIES.values()})
        == len({s[2] for s in FAMILIES.values()})
        == len(FAMILIES)
    )
    figure = figure_of("many")
    (legend,) = figure.legends
    names = [each.get_text() for each in legend.get_texts()]
    assert names == [
        *(style[0] for style in FAMILIES.values()),
        "other kinds",
        "exact search",
        "Pareto front",
    ]


def test_the_headings_say_on_what_it_was_measured() -> None:
    text = words(figure_of("usual"))
    assert "made up: 96.0% of the exact top 200, 8.0 times faster" in text
    assert (
        "2,000 items × 65 numbers, top 200, 256 users one by one, 1 thread · "
        "A Processor of the Usual Kind, 2 cores, Linux"
    ) in text
    assert "target .95" in text and "exact search 4.0 ms" in text
    assert "target" not in words(figure_of("no target"))


def test_settings_that_find_too_little_are_left_out_and_counted() -> None:
    low = (point("IVF64,Flat", 0.2, 0.1, nprobe=1), point("IVF32,Flat", 0.49, 0.2, nprobe=1))
    figure = drawn(benchmark(points=(*low, *POINTS)))
    assert "(2 settings below .5 left out)" in words(figure)
    assert "left out" not in words(figure_of("usual"))


def test_filters_are_drawn_at_their_shares() -> None:
    _, above, below = figure_of("usual").axes
    drawn_at = above.lines[0].get_xydata()
    random = [each for each in filter_points() if each.kind == "random"]
    assert sorted(map(tuple, drawn_at.tolist())) == sorted(  # type: ignore[union-attr]
        (each.share, place(each.recall)) for each in random
    )
    assert above.get_title(loc="right") == "◆ Drama, Comedy, Thriller, Action, Romance"
    assert [each.get_text() for each in below.get_legend().get_texts()] == [
        "exact search",
        "this bundle's index",
    ]


def test_more_recall_is_always_further_right_and_all_of_it_has_a_place() -> None:
    recalls = [0.0, 0.3, 0.9, 0.99, 0.999, 0.9999, 1.0]
    places = [place(recall) for recall in recalls]
    assert places == sorted(places) and len(set(places)) == len(places)
    assert place(1.0) == pytest.approx(place(1 - LEAST_MISS) + 0.30103, abs=1e-4)


def test_the_file_is_a_png_of_the_same_bytes_each_time() -> None:
    one = benchmark_png(benchmark())
    assert one.startswith(b"\x89PNG") and one == benchmark_png(benchmark())


def test_the_colours_are_the_page_s_light_ones() -> None:
    template = (ROOT / "retrieval" / "reporting" / "page" / "report.html.j2").read_text()
    light = dict(re.findall(r"(--[\w-]+): (#\w{6});", template.split(":root {")[1].split("}")[0]))
    assert {colour: light[variable] for colour, variable in VARIABLES.items()} == LIGHT
