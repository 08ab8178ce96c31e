import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from retrieval.bundles.bundle import open_bundle
from retrieval.bundles.writer import new_bundle
from retrieval.pipeline.build import Build
from retrieval.pipeline.save import write_build
from retrieval.reporting.page.plots import Dot, Line, Panel, dot_plot, line_panels, stacked_bar
from retrieval.reporting.page.rendering import page_sections, render_page
from retrieval.reporting.page.svg import VARIABLES, Plot, inline_svg
from retrieval.reporting.page.words import headline
from tests.support.checkout import ROOT
from tests.support.page_document import around, full_document

SETTINGS = {"towers": {"dimension": 64, "l2": 0.001}, "neural_mf": {"hidden": (64, 32)}, "threads": None}
KEYS = {
    "stages": "stages",
    "comparisons": "comparisons",
    "groups": "groups",
    "attribution": "attribution",
    "rerank": "alpha",
    "depth": "depth",
    "ann": "index",
    "rating": "ratings",
    "training": "training",
}
VOID = {"meta", "link", "br", "img", "input", "hr"}
HOSTILE = "</title><script>alert(1)</script> & $x_1$ \"q\" 'p' {{ 7 * 7 }} http://example.org/x"


class Page(HTMLParser):
    """What a browser would make of the page: every element, every text, every table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.strong: list[str] = []
        self._open: list[str] = []
        self._rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: text or "" for name, text in attrs}))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._rows = []
            self._caption = ""
        elif tag == "tr":
            self._rows.append([])
            if dict(attrs).get("class") == "strong":
                self.strong.append(self._caption)
        elif tag in ("th", "td"):
            self._rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: text or "" for name, text in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self._open), data))
        if "caption" in self._open:
            self._caption += data
        elif "th" in self._open or "td" in self._open:
            if self._open[-1] == "small":
                data = f" [{data}]"
            self._rows[-1][-1] += "" if self._open[-1] == "span" else data

    def text_in(self, tag: str) -> list[str]:
        return [text for inside, text in self.texts if inside and inside[-1] == tag and text.strip()]


@pytest.fixture(scope="module")
def html() -> str:
    return render_page(full_document(), SETTINGS)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


# every figure is the report's


def both(estimate: dict[str, float], digits: int = 3) -> str:
    value, low, high = (f"{estimate[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} [{low} to {high}]"


def plus(value: float) -> str:
    return f"{value:+.4f}"


def test_the_stage_table_holds_the_reports_figures(page: Page) -> None:
    document = full_document()
    (table,) = (rows for caption, rows in page.tables.items() if caption.startswith("All stages"))
    assert table[0] == ["stage", "NDCG@10", "Precision@10", "Recall@10", "coverage", "popularity rank"]
    assert [row[0] for row in table[1:5]] == ["popularity", "recent popularity", "EASE", "item-kNN"]
    assert [row[1:] for row in table[1:]] == [
        [
            *(both(entry[f"{name}@10"]) for name in ("ndcg", "precision", "recall")),
            f"{entry['coverage@10']:.1%}",
            f"{entry['popularity_rank@10']:.0f}",
        ]
        for entry in document["stages"].values()
    ]


def test_the_comparisons_are_the_reports_with_the_served_list_first(page: Page) -> None:
    rows = {row[0]: row[1:] for row in page.tables["Differences of NDCG@10, paired by user"][1:]}
    names = {"ease": "EASE", "item_knn": "item-kNN", "recent_popularity": "recent popularity"}
    assert [name.split(" vs ")[0] for name in rows][:5] == ["ann+rerank"] * 5
    for each in full_document()["comparisons"]:
        difference, p = each["ndcg@10"], each["p_value"]
        row = rows.pop(f"{each['stage']} vs {names.get(each['against'], each['against'])}")
        clear = difference["low"] > 0 or difference["high"] < 0
        assert row == [
            plus(difference["value"]),
            f"{plus(difference['low'])} to {plus(difference['high'])}",
            "< 0.001" if p < 0.001 else f"{p:.3f}",
            "better" if clear else "no clear difference",
        ]
    assert not rows


def test_the_groups_are_the_reports(page: Page) -> None:
    groups = full_document()["groups"]
    table = page.tables["NDCG@10 by group, with 95% intervals"]
    assert table[0][1:] == [f"{each['name']} ({each['users']:,})" for each in groups]
    for row, stage in zip(table[1:], full_document()["stages"], strict=True):
        assert row[1:] == [both(each["ndcg"][stage]) if stage in each["ndcg"] else "–" for each in groups]
    inside = page.tables["Differences of NDCG@10 inside each group, paired by user"]
    assert len(inside) == 1 + sum(len(each["comparisons"]) for each in groups)
    assert inside[1][:5] == [
        "warm", "ann+rerank vs recent popularity", "+0.0040", "-0.0010 to +0.0095", "0.042",
    ]  # fmt: skip
    plots = {name for name in page.text_in("figcaption") if "users" in name}
    assert plots == {f"{each['name']}: {each['users']:,} users" for each in groups}


def test_funnel_depth_alpha_and_training_are_the_reports(page: Page) -> None:
    document = full_document()
    found = document["attribution"]
    assert page.tables["What became of each"][1:] == [
        [name, f"{share:.1%}", f"{share * found['relevant']:,.0f}"] for name, share in found["shares"].items()
    ]
    assert page.tables["Depth of the candidate list"][1:] == [
        [
            f"{each['candidates']}" + " (knee)" * (each["candidates"] == 100),
            *both(each["ndcg@10"]).removesuffix("]").split(" ["),
            f"{each['p50_ms']:.2f}",
            f"{each['p99_ms']:.2f}",
        ]
        for each in document["depth"]["points"]
    ]
    curve = document["rerank"]["validation_curve"]
    assert [
        row[:3] for row in page.tables["Tried on validation: alpha, the weight of the predicted rating"][1:]
    ] == [
        [
            f"{each['alpha']:g}" + " (chosen)" * (each["alpha"] == 0.3),
            f"{each['ndcg@10']:.4f}",
            plus(each["gain"]["value"]),
        ]
        for each in curve
    ]
    trend = page.tables["Tried on validation: weight of the trend, the recent demand"][1:]
    assert [row[0] for row in trend] == ["0", "0.2 (chosen)", "0.5"]
    for name, epochs in document["training"].items():
        assert page.tables[f"{name} by epoch"][1:] == [
            [str(each["epoch"]), f"{each['loss']:.4f}", f"{each['validation']:.4f}"] for each in epochs
        ]


def test_ratings_index_settings_and_the_head_are_the_reports(page: Page) -> None:
    (errors,) = (rows for caption, rows in page.tables.items() if caption.startswith("Errors on 84,804"))
    assert errors[1:] == [
        ["NeuralMF", "0.9123 [0.9021 to 0.9229]", "0.7189 [0.7102 to 0.7277]"],
        ["user and item biases", "0.9187", "0.7263"],
    ]
    assert page.tables["Latency of one filtered search"][1:] == [
        ["exact", "0.402", "0.711"],
        ["ann: IVF64,Flat nprobe=12", "0.143", "0.298"],
    ]
    assert ["ease l2", "300"] in page.tables["Chosen or measured by"]
    assert page.tables["The build’s settings"][1:] == [
        ["towers.dimension", "64"],
        ["towers.l2", "0.001"],
        ["neural_mf.hidden", "64, 32"],
        ["threads", "none"],
    ]
    text = " ".join(text for _, text in page.texts)
    assert "96.1% (95.7% to 96.5%) of the 200 exact candidates" in text
    assert "-0.0064 (95% interval over users -0.0091 to -0.0037): better" in text
    facts = dict(zip(page.text_in("dt"), page.text_in("dd"), strict=True))
    assert facts["Judged"] == "824 users with a relevant item of 857 warm test users"
    assert facts["Split"] == "by time" and facts["Protocol"] == "standard, k = 10"
    assert facts["Test"] == "200,041 rows, 84,804 warm"
    assert page.text_in("h1") == ["ml-1m"]


def test_a_search_over_settings_is_shown_where_there_was_one(page: Page) -> None:
    caption = "Settings searched on validation"
    assert caption not in page.tables
    tuning = {
        "trials": 1234, "pruned": 5, "k": 10, "default": 0.1, "best": 0.125, "gain": around(0.025, 0.01),
        "settings": {"l2": 0.01, "recency_half_life_days": None}, "is_chosen": True,
    }  # fmt: skip
    found = Page(render_page(full_document() | {"tuning": tuning}, SETTINGS)).tables[caption]
    assert found[1:] == [
        ["trials", "1,234"],
        ["given up half way", "5"],
        ["NDCG@10 of the settings as given", "0.100"],
        ["NDCG@10 of the best trial", "0.125"],
        ["paired gain, as the best of many too large", "+0.0250 (+0.0150 to +0.0360)"],
        ["taken", "yes"],
        ["best trial’s l2", "0.01"],
        ["best trial’s recency_half_life_days", "none"],
    ]
    nothing = tuning | {"best": None, "gain": None, "settings": {}, "is_chosen": False}
    text = str(Page(render_page(full_document() | {"tuning": nothing}, SETTINGS)).tables[caption])
    assert "None" not in text and "–" in text


def test_a_plot_says_in_words_what_it_shows(page: Page) -> None:
    (words,) = (text for text in page.text_in("desc") if text.startswith("popularity 0.121; recent"))
    for entry in full_document()["stages"].values():
        assert f" {entry['ndcg@10']['value']:.3f}" in words


def drawn(draw: Callable[[Any], None]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure()
    draw(figure)
    return figure


def test_dots_and_intervals_lie_where_the_figures_are() -> None:
    dots = [Dot("heading", strong=True), Dot("a", 0.2, 0.1, 0.35), Dot("b", -0.1, -0.2, 0.0, hollow=True)]
    (axes,) = drawn(dot_plot(dots, "NDCG", zero=True)).axes
    points = [bars.lines[0] for bars in axes.containers]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in points] == [(0.2, 1), (-0.1, 2)]
    ends = [bars.lines[2][0].get_segments()[0][:, 0].tolist() for bars in axes.containers]
    assert ends == [pytest.approx([0.1, 0.35]), pytest.approx([-0.2, 0.0])]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["heading", "a", "b"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row is at the top


def test_bars_lines_and_marks_lie_where_the_figures_are() -> None:
    (axes,) = drawn(stacked_bar({"listed": 0.25, "lost": 0.75})).axes
    assert [(bar.get_x(), bar.get_width()) for bar in axes.patches] == [(0, 0.25), (0.25, 0.75)]
    line = Line("NDCG", (10, 100), (0.1, 0.2), (0.05, 0.15), (0.2, 0.3))
    panels = [Panel("upper", (line,)), Panel("lower", (Line("ms", (10, 100), (3, 4)),))]
    upper, lower = drawn(line_panels(panels, "candidates", logarithmic=True, mark=(100, "knee"))).axes
    assert upper.lines[0].get_xydata().tolist() == [[10, 0.1], [100, 0.2]]
    assert lower.lines[0].get_xydata().tolist() == [[10, 3], [100, 4]]
    assert [axes.lines[-1].get_xdata() for axes in (upper, lower)] == [[100, 100]] * 2
    assert upper.get_title("right") == "knee" and upper.get_xscale() == "log"
    band = upper.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (0.05, 0.3)


# what is not there


@pytest.mark.parametrize("key", KEYS)
def test_a_section_without_its_figures_is_left_out_and_the_others_stay(key: str) -> None:
    everything = {section.key for section in page_sections(full_document(), SETTINGS)}
    assert everything == {*KEYS.values(), "settings"}
    for change in ("absent", None, type(full_document()[key])()):
        document = full_document() | {key: change}
        if change == "absent":
            del document[key]
        assert {section.key for section in page_sections(document)} == everything - {KEYS[key]}


@pytest.mark.parametrize("document", [{}, {"dataset": None, "stages": None, "split": None}])
def test_a_page_can_be_made_of_nothing(document: dict[str, Any]) -> None:
    page = Page(render_page(document))
    assert not [tag for tag, _ in page.elements if tag in ("section", "svg", "table", "dl")]
    assert not [text for _, text in page.texts if "None" in text]


def hollowed(document: Any) -> Any:
    """The same with null for every figure, as where nobody could be judged."""
    if isinstance(document, dict):
        kept = {"k", "alpha", "trend", "candidates", "epoch", "knee", "shares", "relevant", "loss"}
        return {key: each if key in kept else hollowed(each) for key, each in document.items()}
    if isinstance(document, list):
        return [hollowed(each) for each in document]
    return None if isinstance(document, float) else document


def test_figures_that_do_not_exist_are_dashes() -> None:
    document = hollowed(full_document()) | {"judged_users": 0}
    page = Page(render_page(document))
    text = " ".join(text for _, text in page.texts)
    assert "nan" not in text and "None" not in text
    (stages,) = (rows for caption, rows in page.tables.items() if caption.startswith("All stages"))
    assert stages[1][1:] == ["–"] * 5
    assert "No test user has a relevant item" in text


def test_a_model_without_validation_has_its_loss_alone() -> None:
    training = {"TwoTowerBPR": [{"epoch": 1, "loss": 0.5, "validation": None}]}
    page = Page(render_page({"training": training}))
    assert page.tables["TwoTowerBPR by epoch"][1] == ["1", "0.5000", "–"]
    assert "training loss" not in page.text_in("text")  # one panel needs no title beside the plot's own


# what is told in a sentence


def compared(value: float, low: float, high: float, **changes: Any) -> dict[str, Any]:
    document = full_document()
    for each in document["comparisons"]:
        if (each["stage"], each["against"]) == ("ann+rerank", "ease"):
            each["ndcg@10"] = {"value": value, "low": low, "high": high}
    return document | changes


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (
            compared(0.0123, 0.002, 0.0214),
            "The served list, ann+rerank, beats EASE, the strongest baseline here, by 0.0123 NDCG@10 "
            "(95% interval of the difference +0.0020 to +0.0214).",
        ),
        (
            compared(-0.0123, -0.0214, -0.002),
            "The served list, ann+rerank, loses to EASE, the strongest baseline here, by 0.0123 NDCG@10 "
            "(95% interval of the difference -0.0214 to -0.0020).",
        ),
        (
            compared(0.001, -0.002, 0.004),
            "The served list, ann+rerank, cannot be told apart from EASE, the strongest baseline here: the "
            "difference is +0.0010 NDCG@10 (95% interval -0.0020 to +0.0040).",
        ),
        (compared(0, 0, 0), "The served list, ann+rerank, is the same as EASE, the strongest baseline here."),
        (
            compared(0.1, 0.1, 0.1, judged_users=0),
            "No test user has a relevant item, so no list can be compared with another.",
        ),
        (compared(0.1, 0.1, 0.1, comparisons=[]), "Nothing here was compared with a baseline."),
        ({}, "Nothing here was compared with a baseline."),
    ],
)
def test_the_headline_is_on_the_strongest_baseline(document: dict[str, Any], sentence: str) -> None:
    assert headline(document) == sentence


def test_the_headline_is_on_what_is_served() -> None:
    document = full_document()
    clicks = {name: each for name, each in document["stages"].items() if "rerank" not in name}
    pair = {"stage": "ann", "against": "popularity", "ndcg@10": {"value": 0.3, "low": 0.2, "high": 0.4}}
    assert headline(document | {"stages": clicks, "comparisons": [pair]}).startswith(
        "The served list, ann, beats popularity by 0.3000 NDCG@10"
    )
    assert "list, ann, " in headline(document | {"served": "ann", "comparisons": [pair]})


# what people's own text may do


def test_names_are_text_whatever_they_hold() -> None:
    document = full_document()
    document["dataset"] = document["ann"]["index"] = HOSTILE
    document["groups"][0]["name"] = HOSTILE
    document["stages"][HOSTILE] = document["stages"]["ease"]
    document["attribution"]["shares"] = {HOSTILE: 1.0}
    page = Page(render_page(document, {HOSTILE: HOSTILE}))
    assert not [tag for tag, _ in page.elements if tag in ("script", "img", "iframe")]
    assert page.text_in("h1") == [HOSTILE]
    assert page.text_in("title")[0] == f"{HOSTILE}: recommender report"
    assert page.tables["The build’s settings"][1] == [HOSTILE, HOSTILE]
    inside_plots = {text.strip() for inside, text in page.texts if "svg" in inside}
    assert {HOSTILE, f"1  {HOSTILE}"} <= inside_plots


# one file, the same each time


def test_the_page_refers_to_nothing_outside_itself(html: str, page: Page) -> None:
    assert "http:" not in html and "https:" not in html and "//" not in html
    assert "@import" not in html and "@font-face" not in html
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    assert not {tag for tag, _ in page.elements} & {
        "script",
        "img",
        "image",
        "iframe",
        "object",
        "embed",
        "link",
    }
    for _, attributes in page.elements:
        assert "src" not in attributes and not [name for name in attributes if name.startswith("on")]
        assert attributes.get("href", "#").startswith("#")
    (policy,) = (each["content"] for _, each in page.elements if "http-equiv" in each)
    assert policy.startswith("default-src 'none'")


def test_the_page_is_the_same_in_another_process(html: str) -> None:
    code = (
        "import sys; from tests.support.page_document import full_document\n"
        "from tests.reporting.page.test_page import SETTINGS\n"
        "from retrieval.reporting.page.rendering import render_page\n"
        "sys.stdout.buffer.write(render_page(full_document(), SETTINGS).encode())\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    root = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "PYTHONPATH": root},
        cwd=root,
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode() == html
    assert done.stderr == b""


def test_a_users_matplotlib_settings_are_neither_used_nor_changed() -> None:
    import matplotlib

    plot = Plot("one", "One", "One.", 80, dot_plot([Dot("a", 0.2, 0.1, 0.3)], "NDCG"))
    plain = inline_svg(plot)
    with matplotlib.rc_context({"font.size": 30, "xtick.major.size": 20, "axes.xmargin": 0.4}):
        before = dict(matplotlib.rcParams)
        assert inline_svg(plot) == plain
        assert dict(matplotlib.rcParams) == before


def test_matplotlib_says_nothing_where_it_may_write_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = (
        "from retrieval.reporting.page.rendering import render_page\n"
        "render_page({'attribution': {'shares': {'a': 1}}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"MPLCONFIGDIR": str(tmp_path / "file"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")


# for every eye


def test_ids_are_unique_and_what_is_referred_to_is_there(page: Page) -> None:
    ids = [each["id"] for _, each in page.elements if "id" in each]
    assert len(ids) == len(set(ids)) > 50
    used = [each["href"][1:] for _, each in page.elements if "href" in each]
    for _, each in page.elements:
        used += re.findall(r"url\(#([^)]+)\)", " ".join(each.values()))
        used += " ".join(each.get(f"aria-{name}", "") for name in ("labelledby", "describedby")).split()
    assert used and set(used) <= set(ids)


def test_plots_and_tables_can_be_read_aloud(page: Page) -> None:
    plots = [each for tag, each in page.elements if tag == "svg"]
    assert len(plots) == 15
    for each in plots:
        assert each["role"] == "img" and each["aria-labelledby"] and each["aria-describedby"]
        assert "width" not in each and each["viewbox"].startswith("0 0 350 ")
    assert len(page.text_in("desc")) == len(plots) == len(page.text_in("title")) - 1
    tables = [tag for tag, _ in page.elements if tag == "table"]
    captions = [tag for tag, _ in page.elements if tag == "caption"]
    assert len(tables) == len(captions) == len(page.tables)
    headings = [each.get("scope") for tag, each in page.elements if tag == "th"]
    assert set(headings) == {"col", "row"}


def test_what_stands_out_is_what_is_served_chosen_and_the_knee(page: Page) -> None:
    assert sorted(caption.split(",")[0] for caption in page.strong) == [
        "All stages on the same users",
        "Depth of the candidate list",
        "NDCG@10 by group",
        "Tried on validation: alpha",
        "Tried on validation: weight of the trend",
    ]


def schemes(html: str) -> dict[str, dict[str, str]]:
    """Variables of the light and the dark scheme."""
    light, dark = re.findall(r":root \{(.*?)\}", html, re.S)
    found = {"light": dict(re.findall(r"(--[\w-]+): (#\w+)", light))}
    return found | {"dark": dict(re.findall(r"(--[\w-]+): (#\w+)", dark))}


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, WCAG 2.1."""

    def luminance(colour: str) -> float:
        channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_measured_right() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_colour_has_enough_contrast_in_both_schemes(html: str, scheme: str) -> None:
    colours = schemes(html)[scheme]
    assert set(VARIABLES.values()) <= set(colours)
    for text in ("--ink", "--muted"):
        assert min(contrast(colours[text], colours[each]) for each in ("--card", "--page")) >= 4.5
    for mark in ("--baseline", "--retrieval", "--reranked"):
        assert contrast(colours[mark], colours["--card"]) >= 3
    for part in range(1, 7):
        assert contrast(colours[f"--part-{part}"], colours["--on"]) >= 4.5


def test_plots_have_the_pages_colours_and_no_others(html: str) -> None:
    for plot in re.findall(r"<svg.*?</svg>", html, re.S):
        assert not re.search(r"#[0-9a-f]{6}\b|DejaVu|rgb", re.sub(r'(id|href)="[^"]*"', "", plot))
        assert set(re.findall(r"var\((--[\w-]+)\)", plot)) <= set(VARIABLES.values()) | {"--sans"}
    assert "@media screen and (prefers-color-scheme: dark)" in html and "@media print" in html


# in the bundle


def test_every_build_writes_the_page_of_its_report(tiny_build: Build, tmp_path: Path) -> None:
    with new_bundle(tmp_path) as writer:
        write_build(writer, tiny_build)
    bundle = open_bundle(tmp_path)
    html = bundle.read("report.html").decode()
    document = bundle.json("report.json")
    assert html == render_page(document, bundle.manifest.settings.document)
    value = document["stages"]["exact"]["ndcg@10"]["value"]
    assert math.isfinite(value) and f"{value:.3f}" in html
