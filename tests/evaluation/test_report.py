import json
import math
from dataclasses import asdict, replace
from itertools import product

import pytest

from retrieval.data.split_counts import SplitCounts
from retrieval.evaluation.choices import BlendChoice
from retrieval.evaluation.comparisons import Comparison
from retrieval.evaluation.report import (
    AnnReport,
    DepthCurve,
    DepthPoint,
    Funnel,
    GroupReport,
    RatingReport,
    Report,
    StageReport,
)
from retrieval.evaluation.uncertainty import Estimate
from retrieval.reporting.text.report import report_text
from retrieval.reporting.text.tables import format_table, shorten, wrap

NAN = Estimate(math.nan, math.nan, math.nan)
BASELINES = ["popularity", "recent_popularity", "ease", "item_knn"]
STAGES = [*BASELINES, "exact", "ann", "exact+rerank", "ann+rerank"]
NEIGHBOURS = [("ann", "exact"), ("exact+rerank", "exact"), ("ann+rerank", "ann")]
FATES = [
    "listed",
    "not in catalogue",
    "filtered",
    "below depth",
    "missed by index",
    "dropped by re-ranker",
]
GROUPS = [
    ("warm", None, 81),
    *((f"cold, first {n}", n, 1_234 - n) for n in (1, 3, 5, 10)),
    ("brand new", 0, 1_234),
]
PAIRS = [*NEIGHBOURS, *product(["exact", "exact+rerank", "ann+rerank"], BASELINES)]


def around(value: float, by: float = 0.05) -> Estimate:
    return Estimate(value, value - by, value + by)


def choice(alpha: float = 0.3) -> BlendChoice:
    curve = [(step / 10, 0.13 + step / 500, around(step / 500, 0.01)) for step in range(11)]
    curve[0] = (0.0, 0.13, Estimate(0, 0, 0))
    return BlendChoice(alpha, 10, tuple(curve))


def depth_curve() -> DepthCurve:
    depths = (10, 20, 50, 100, 200, 400, 800)
    points = [DepthPoint(depth, around(0.25 + depth / 1e5), depth / 70, depth / 10) for depth in depths]
    return DepthCurve(10, tuple(points), 50)


def make_groups() -> tuple[GroupReport, ...]:
    """The more is known, the better the served list; only recent popularity is known of strangers."""
    groups = []
    for name, history, users in GROUPS:
        gain = (10 if history is None else history) / 100
        served, stages = "ann+rerank", dict.fromkeys(STAGES, around(0.2))
        if history == 0:
            served, stages = "recent_popularity", {name: around(0.15) for name in STAGES[:2]}
        stages |= {served: around(0.2 + gain)}
        against = [
            Comparison(served, base, around(gain + by), 0.0123)
            for base, by in zip(BASELINES, (0.0, -0.04, -0.11, 0.02), strict=True)
            if base in stages and base != served
        ]
        groups.append(GroupReport(name, history, users, stages, tuple(against)))
    return tuple(groups)


def make_report(**changes: object) -> Report:
    """A report like ML-100K's; the served list beats popularity, loses to recent popularity."""
    stage = StageReport(around(0.14), around(0.2), around(0.266), 0.042, 50.04)
    against = map(around, (0.09, -0.0724, 0.02, 0.06))
    verdicts = dict(zip(BASELINES, against, strict=True))
    report = Report(
        dataset="ml-100k",
        protocol="standard",
        k=10,
        positive_threshold=4.0,
        split=SplitCounts(70_001, 10_002, 19_997, 1_693, 2_286, 674, 1_573, 95, 0),
        judged_users=81,
        cold_test_rows=17_711,
        stages=dict.fromkeys(STAGES, stage),
        comparisons=tuple(Comparison(a, b, verdicts.get(b, Estimate(0, 0, 0)), 0.0123) for a, b in PAIRS),
        ann=AnnReport("IVF32,Flat nprobe=8", 200, Estimate(0.954, 0.946, 0.961), 0.0, 0.13, 0.2, 0.065, 0.1),
        rating=RatingReport(
            2_286, around(1.04), around(0.83), around(1.05), around(0.84), Estimate(-0.01, -0.02, -0.005)
        ),
        blend=choice(),
        baselines={"recent_window": 0.2, "ease_l2": 300.0, "item_knn_neighbours": 200},
        depth=depth_curve(),
        groups=make_groups(),
        funnel=Funnel(1_234, 10, dict(zip(FATES, (0.25, 0.125, 0.0, 0.5, 0.0249, 0.1001), strict=True))),
    )
    return replace(report, **changes)  # type: ignore[arg-type]


def without_ease(report: Report) -> Report:
    return replace(
        report,
        stages={name: stage for name, stage in report.stages.items() if name != "ease"},
        comparisons=tuple(each for each in report.comparisons if each.against != "ease"),
        baselines={"recent_window": 0.02, "item_knn_neighbours": 50},
        groups=with_stages(report.groups, [name for name in STAGES if name != "ease"]),
    )


def with_stages(groups: tuple[GroupReport, ...], kept: list[str]) -> tuple[GroupReport, ...]:
    """The groups without the other stages; where nothing is re-ranked, the index's own list is served."""
    return tuple(
        replace(
            group,
            ndcg={name: estimate for name, estimate in group.ndcg.items() if name in kept},
            comparisons=tuple(
                replace(each, stage=each.stage if each.stage in kept else "ann")
                for each in group.comparisons
                if each.against in kept and (each.stage in kept or group.history != 0)
            ),
        )
        for group in groups
    )


def compared(difference: Estimate) -> tuple[Comparison, ...]:
    return tuple(Comparison(a, b, difference, difference.value and 0.0001) for a, b in PAIRS)


def without_ratings(report: Report) -> Report:
    """The same of clicks: no NeuralMF, nothing re-ranked, the index's own list is served."""
    served = {"exact": "exact", "ann": "ann"}
    baselines = [name for name in BASELINES if name in report.stages]
    pairs = [("ann", "exact"), *product(served, baselines)]
    differences = {each.against: each.difference for each in report.comparisons}
    return replace(
        report,
        stages={name: report.stages[name] for name in [*baselines, *served]},
        comparisons=tuple(Comparison(a, b, differences[b], 0.01) for a, b in pairs),
        funnel=report.funnel and below_top(report.funnel),
        groups=with_stages(report.groups, STAGES[:6]),
        rating=None,
        blend=None,
        positive_threshold=None,
    )


def below_top(funnel: Funnel) -> Funnel:
    shares = dict(funnel.shares)
    return replace(funnel, shares=shares | {"below top k": shares.pop("dropped by re-ranker")})


def without_times(report: Report) -> Report:
    return replace(
        report,
        split_kind="random",
        stages={name: stage for name, stage in report.stages.items() if name != "recent_popularity"},
        comparisons=tuple(each for each in report.comparisons if each.against != "recent_popularity"),
        baselines={name: value for name, value in report.baselines.items() if name != "recent_window"},
        groups=with_stages(report.groups, [name for name in STAGES if name != "recent_popularity"]),
    )


def at_random(report: Report) -> Report:
    return replace(report, split_kind="random")


def as_notebook(report: Report) -> Report:
    """By the notebook's protocol, which has a stage more where there is a NeuralMF."""
    stages = dict(report.stages)
    if report.rating is not None:
        stages["neural_mf"] = stages["exact"]
    return replace(report, protocol="notebook", stages=stages, funnel=None, depth=None, groups=())


HUGE = SplitCounts(
    123_456_789, 23_456_789, 34_567_890, 12_345_678, 23_456_789, 12_345_678, 1_234_567, 1_234_567, 1_234_567
)
REPORTS = {
    "ordinary": make_report(),
    "alpha 0": make_report(blend=choice(0.0)),
    "long name": make_report(dataset="/home/somebody/data/" + "ratings-of-all-our-shops-" * 5 + ".csv.gz"),
    "huge": make_report(
        split=HUGE,
        judged_users=1_234_567,
        cold_test_rows=11_111_101,
        k=1000,
        positive_threshold=3.75,
        stages=dict.fromkeys(STAGES, StageReport(*[Estimate(1, 1, 1)] * 3, 1.0, 1_034_567.0)),
        rating=RatingReport(23_456_789, *[Estimate(31.12345, 29.12345, 33.12345)] * 5),
        ann=AnnReport(
            "OPQ64_128,IVF65536_HNSW32,PQ64x4fsr,Refine(SQfp16) nprobe=1024 efSearch=1024",
            10_000,
            Estimate(0.9, 0.85, 0.95),
            0.123,
            1234.5,
            2000,
            123.4,
            200,
        ),
    ),
    "widest differences": make_report(comparisons=compared(Estimate(-0.5, -0.99999, 0.99999))),
    "no ease": without_ease(make_report()),
    "worst everywhere": make_report(
        groups=tuple(
            replace(
                group,
                users=1_234_567,
                ndcg=dict.fromkeys(group.ndcg, Estimate(1, 1, 1)),
                comparisons=tuple(
                    Comparison(group.served or "", base, Estimate(-0.5, -1, -0.1), 0.0001)
                    for base in BASELINES
                    if base in group.ndcg and base != group.served
                ),
            )
            for group in make_groups()
        )
    ),
    "nothing judged": make_report(
        stages=dict.fromkeys(STAGES, StageReport(around(0.1), NAN, NAN, 0.0, math.nan)),
        comparisons=compared(NAN),
        judged_users=0,
        rating=RatingReport(0, NAN, NAN, NAN, NAN, NAN),
    ),
}


CHANGES = {
    "clicks": without_ratings,
    "no times": without_times,
    "random": at_random,
    "notebook": as_notebook,
}
# Every set of changes, the empty one too.
VARIANTS = [
    [name for name, chosen in zip(CHANGES, which, strict=True) if chosen]
    for which in product([False, True], repeat=len(CHANGES))
]


def varied(report: Report, names: list[str]) -> Report:
    for name in names:
        report = CHANGES[name](report)
    return report


@pytest.mark.parametrize("names", VARIANTS, ids=" and ".join)
@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS.keys())
def test_every_report_fits_80_columns_and_a_screen(report: Report, names: list[str]) -> None:
    report = varied(report, names)
    lines = report_text(report).split("\n")
    assert max(map(len, lines)) <= 80, max(lines, key=len)
    assert len(lines) <= 90
    assert not any("nan" in line.lower() or line != line.rstrip() for line in lines)
    assert not any("None" in line or "()" in line or "  ." in line[-3:] for line in lines)
    json.loads(json.dumps(report.to_json(), allow_nan=False))


def lines_with(report: Report, start: str) -> list[str]:
    return [line for line in report_text(report).split("\n") if line.startswith(start)]


def sentence(report: Report, start: str) -> str:
    """The paragraph that starts so, in one line."""
    text = report_text(report)
    paragraph = text[text.index(f"\n{start}") + 1 :].split("\n")
    length = next((i for i, line in enumerate(paragraph) if i and not line.startswith("  ")), len(paragraph))
    return " ".join(line.strip() for line in paragraph[:length])


def test_a_stage_line_holds_figures_with_intervals_coverage_and_novelty() -> None:
    (line,) = lines_with(make_report(), "recent popularity ")
    figures = "recent popularity .140 .090-.190 .200 .150-.250 .266 .216-.316 4.2% 50"
    assert " ".join(line.split()) == figures
    header = lines_with(make_report(), "stage ")[0]
    assert header.split() == ["stage", "P@10", "R@10", "NDCG@10", "cover", "rank"]


def test_the_heading_counts_rows_users_and_what_is_cold() -> None:
    heading = report_text(make_report()).split("\n\n")[0].split("\n")
    assert heading[0] == "ml-100k, split by time, standard protocol"
    assert heading[1].split(maxsplit=1) == ["train", "70,001 rows of 674 users and 1,573 items"]
    assert "10,002 rows, 1,693 warm" in heading[2]
    assert "19,997 rows, 2,286 warm; the cold 89%" in heading[3]
    assert "95 users, 81 with a relevant item (rated >= 4)" in heading[4]
    assert len(heading) == 5
    repeated = make_report(split=replace(make_report().split, duplicates=1_234))
    assert "1,234 rows left out" in report_text(repeated)


def test_the_served_lists_standing_is_said_in_words() -> None:
    assert sentence(make_report(), "The served list") == (
        "The served list, ann+rerank, is better than popularity (+.0900), worse than recent popularity "
        "(-.0724), not clearly different from EASE (+.0200) and better than item-kNN (+.0600)."
    )
    assert "EASE" not in sentence(without_ease(make_report()), "The served list")
    same = make_report(comparisons=compared(Estimate(0, 0, 0)))
    assert "is the same as popularity (+.0000)" in sentence(same, "The served list")
    assert "no list can be compared" in report_text(REPORTS["nothing judged"])


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (Estimate(0.02, 0.001, 0.05), "better"),
        (Estimate(-0.02, -0.05, -0.001), "worse"),
        (Estimate(0.02, -0.001, 0.05), "unclear"),
        (Estimate(-0.02, -0.05, 0.001), "unclear"),
        (Estimate(0, 0, 0), "the same"),
        (NAN, "not measured"),
    ],
)
def test_a_difference_is_called_what_its_interval_allows(difference: Estimate, verdict: str) -> None:
    (line,) = lines_with(make_report(comparisons=compared(difference)), "ann+rerank vs EASE")
    assert line.endswith(f"  {verdict}")


def test_differences_show_each_step_and_the_served_list_against_the_baselines() -> None:
    block = report_text(make_report()).split("\n\n")[2].split("\n")
    assert [line.split("  ")[0] for line in block[1:]] == [
        "ann vs exact",
        "exact+rerank vs exact",
        "ann+rerank vs ann",
        "ann+rerank vs popularity",
        "ann+rerank vs recent popularity",
        "ann+rerank vs EASE",
        "ann+rerank vs item-kNN",
    ]
    assert block[5].split()[-7:] == ["popularity", "-.0724", "-.1224", "to", "-.0224", ".012", "worse"]


@pytest.mark.parametrize(
    ("p_value", "shown"),
    [(0.0001, "<.001"), (0.0006, ".001"), (0.0123, ".012"), (0.5, ".500"), (1.0, "1.000"), (math.nan, "-")],
)
def test_the_p_value_of_a_difference_stands_beside_its_interval(p_value: float, shown: str) -> None:
    report = make_report()
    report = replace(report, comparisons=tuple(replace(each, p_value=p_value) for each in report.comparisons))
    (line,) = lines_with(report, "ann+rerank vs EASE")
    assert line.split()[-2:] == [shown, "unclear"]
    assert report_text(report).split("\n\n")[2].split("\n")[0].split()[-1] == "p"


def test_a_tiny_loss_is_not_printed_as_minus_zero() -> None:
    text = report_text(make_report(comparisons=compared(Estimate(-0.00001, -0.00003, 0.00001))))
    assert "-.0000" not in text


@pytest.mark.parametrize(
    ("exact_ms", "verdict"),
    [(0.13, "2.0 times faster"), (0.066, "no faster"), (0.02, "3.2 times slower")],
)
def test_the_index_line_says_whether_it_pays(exact_ms: float, verdict: str) -> None:
    report = make_report(ann=replace(make_report().ann, exact_p50_ms=exact_ms))
    line = sentence(report, "Index:")
    assert "IVF32,Flat nprobe=8 finds 95.4% (94.6% to 96.1%) of the 200 exact candidates" in line
    assert verdict in line


def test_what_became_of_the_relevant_items_is_a_table() -> None:
    table = report_text(make_report()).split("\n\n")[3].split("\n")
    assert [" ".join(line.split()) for line in table] == [
        "What became of 1,234 relevant test items share",
        "in the top 10 25.0%",
        "not in train's catalogue 12.5%",
        "left out, as the user has met it in train 0.0%",
        "not among the 200 candidates of exact search 50.0%",
        "missed by the index 2.5%",
        "found, re-ranked below the top 10 10.0%",
    ]
    assert "  found, below the top 10 " in report_text(without_ratings(make_report()))
    assert "What became" not in report_text(make_report(funnel=None))
    document = make_report().to_json()["attribution"]
    assert list(document["shares"]) == FATES
    assert make_report(funnel=None).to_json()["attribution"] is None


def test_the_depth_curve_is_a_short_table_under_its_knee() -> None:
    words = sentence(make_report(), "Candidates:").split()
    table = words[words.index("depth") :]
    assert table == [
        *("depth", "10", "20", "50", "100", "200", "400", "800"),
        *("NDCG@10", ".250", ".250", ".251", ".251", ".252", ".254", ".258"),
        *("ms,", "median", "0.14", "0.29", "0.71", "1.43", "2.86", "5.71", "11"),
        *("ms,", "p99", "1.00", "2.00", "5.00", "10", "20", "40", "80"),
    ]
    assert "50 is the smallest whose NDCG@10 is within a standard error of the best" in " ".join(words)
    assert "Candidates:" not in report_text(make_report(depth=None))


def test_the_depth_curve_in_json_has_every_point() -> None:
    document = json.loads(json.dumps(make_report().to_json()["depth"]))
    assert (document["k"], document["knee"], len(document["points"])) == (10, 50, 7)
    assert document["points"][0] == {
        "candidates": 10,
        "ndcg@10": {name: pytest.approx(value) for name, value in asdict(around(0.2501)).items()},
        "p50_ms": 10 / 70,
        "p99_ms": 1.0,
    }
    assert make_report(depth=None).to_json()["depth"] is None


def groups_block(report: Report) -> list[str]:
    (block,) = [block for block in report_text(report).split("\n\n") if "\ncold, first 1 " in block]
    return block.split("\n")


def test_groups_are_lines_of_a_table_with_the_best_stage_marked() -> None:
    table = [line.split() for line in groups_block(make_report())[:7]]
    names = ["users", "pop.", "recent", "EASE", "kNN", "exact", "ann", "exact+r", "ann+r"]
    assert table[0] == ["NDCG@10", *names]
    assert table[1] == ["warm", "81", *[".200"] * 7, ".300*"]
    assert table[2] == ["cold,", "first", "1", "1,233", *[".200"] * 7, ".210*"]
    assert table[6] == ["brand", "new", "1,234", ".150", ".200*", *["-"] * 6]
    ties = [line.split() for line in groups_block(REPORTS["worst everywhere"])[:7]]
    assert ties[1] == ["warm", "1.2M", *["1.00*"] * 8]


def test_where_the_served_list_is_below_a_baseline_is_said_and_how_clearly() -> None:
    """By group: warm +.10, then +.01, +.03, +.05, +.10; less .04 on recent popularity, .11 on EASE."""
    words = " ".join(" ".join(groups_block(make_report())).split())
    served, found = words[words.index("Served:") :].split(". ", 1)
    assert served == "Served: ann+rerank to warm and cold, recent popularity to brand new"
    assert found == (
        "BELOW a baseline, clearly: cold, first 1 (EASE -.1000); cold, first 3 "
        "(EASE -.0800); cold, first 5 (EASE -.0600). Below a baseline, not clearly: warm "
        "(EASE -.0100); cold, first 1 (recent popularity -.0300); cold, first 3 (recent popularity -.0100); "
        "cold, first 10 (EASE -.0100)."
    )
    good = tuple(replace(each, difference=around(0.02)) for each in make_groups()[1].comparisons)
    better = make_report(groups=tuple(replace(group, comparisons=good) for group in make_groups()))
    assert groups_block(better)[-1].endswith("below no baseline in any group.")


def test_towers_that_know_only_their_users_are_said_to_serve_nothing_to_cold_ones() -> None:
    kept = {None: STAGES, 0: STAGES[:2]}
    groups = tuple(
        replace(
            group,
            ndcg={name: group.ndcg[name] for name in kept.get(group.history, BASELINES)},
            comparisons=(),
        )
        for group in make_groups()
    )
    words = " ".join(" ".join(groups_block(make_report(groups=groups))).split())
    assert (
        "Served: ann+rerank to warm, recent popularity to brand new, nothing to cold, as these towers know "
        "only their own users."
    ) in words
    assert words.count("first 3 1,231 .200* .200* .200* .200* - - - -") == 1


def test_without_cold_users_the_groups_say_nothing_new() -> None:
    for groups in ((), make_groups()[:1]):
        assert "cold, first" not in report_text(make_report(groups=groups))
        assert "brand new" not in report_text(make_report(groups=groups))
    document = make_report(groups=make_groups()[:1]).to_json()
    assert [group["name"] for group in document["groups"]] == ["warm"]


def test_groups_in_json_hold_every_stage_and_difference() -> None:
    groups = json.loads(json.dumps(make_report().to_json()))["groups"]
    assert [(group["name"], group["history"], group["users"]) for group in groups] == GROUPS
    first = groups[1]
    assert first["served"] == "ann+rerank"
    assert list(first["ndcg"]) == STAGES
    assert first["ndcg"]["ann+rerank"] == pytest.approx(asdict(around(0.21)))
    assert first["comparisons"][2] == {
        "stage": "ann+rerank",
        "against": "ease",
        "ndcg@10": pytest.approx(asdict(around(-0.1))),
        "p_value": 0.0123,
    }


def test_the_index_line_says_how_often_exact_search_had_to_answer() -> None:
    assert "leaves short" not in sentence(make_report(), "Index:")
    report = make_report(ann=replace(make_report().ann, rescued=0.031))
    assert "exact search answers for the 3.1% of users it leaves short" in sentence(report, "Index:")


def test_the_re_ranking_lines_show_alpha_and_its_validation_curve() -> None:
    words = sentence(make_report(), "Re-ranking")
    assert "alpha 0.3 weighs the predicted rating, 0 the trend; on test +.0000 over exact, the same" in words
    alphas = lines_with(make_report(), "  alpha")[0].split()[1:]
    gains = lines_with(make_report(), "  gain")[0].split()[1:]
    assert alphas == ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "1"]
    assert gains[:3] == ["+.0020", "+.0040", "+.0060"]
    assert len(gains) == len(alphas)
    nothing = sentence(make_report(blend=choice(0.0)), "Re-ranking")
    assert "left out of what is served, the order stays retrieval's" in nothing


def test_a_long_curve_is_broken_into_blocks() -> None:
    curve = tuple((step / 100, 0.1, around(0.01)) for step in range(31))
    report = make_report(blend=BlendChoice(0.3, 10, curve))
    assert len(lines_with(report, "  alpha")) == len(lines_with(report, "  gain")) > 1
    assert sum(len(line.split()) - 1 for line in lines_with(report, "  gain")) == 30
    assert max(map(len, report_text(report).split("\n"))) <= 80


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (Estimate(-0.02, -0.03, -0.01), "NeuralMF is better than the biases alone: RMSE -.0200"),
        (Estimate(-0.02, -0.03, 0.01), "NeuralMF is not clearly different from the biases: RMSE -.0200"),
        (Estimate(0.02, 0.01, 0.03), "NeuralMF is worse than the biases alone: RMSE +.0200"),
    ],
)
def test_rating_errors_stand_beside_the_biases(difference: Estimate, verdict: str) -> None:
    report = make_report(rating=replace(make_report().rating, rmse_difference=difference))
    text = sentence(report, "Ratings of 2,286 test rows")
    assert "NeuralMF 1.0400 0.9900-1.0900" in " ".join(text.split())
    assert "user and item biases 1.0500" in " ".join(text.split())
    assert verdict in " ".join(text.split())


def test_the_baselines_settings_are_named() -> None:
    line = sentence(make_report(), "Baselines")
    assert "recent is the last 20% of positives" in line
    assert "EASE l2 300; item-kNN 200 neighbours." in line
    assert "EASE left out" in sentence(without_ease(make_report()), "Baselines")


def test_the_json_report_has_the_documented_names_at_this_k() -> None:
    document = json.loads(json.dumps(make_report(k=7).to_json(), allow_nan=False))
    assert {"dataset", "protocol", "k", "split", "stages", "ann", "rating"} <= set(document)
    assert list(document["stages"]) == STAGES
    for stage in document["stages"].values():
        assert set(stage) == {"precision@7", "recall@7", "ndcg@7", "coverage@7", "popularity_rank@7"}
        assert stage["precision@7"] == {
            "value": 0.14,
            "low": pytest.approx(0.09),
            "high": pytest.approx(0.19),
        }
        assert stage["recall@7"]["value"] == 0.2
        assert stage["ndcg@7"]["value"] == 0.266
    assert document["ann"]["recall@candidates"] == 0.954
    assert document["ann"]["rescued_by_exact"] == 0
    assert document["ann"]["recall@candidates_interval"] == [0.946, 0.961]
    assert document["rating"]["rmse"] == 1.04
    assert document["rating"]["mae"] == 0.83
    assert document["rating"]["bias_rmse"] == 1.05
    assert document["rating"]["bias_mae"] == 0.84
    assert document["comparisons"][2]["stage"] == "ann+rerank"
    assert document["comparisons"][2]["against"] == "ann"
    assert document["comparisons"][2]["p_value"] == 0.0123
    assert document["rerank"]["alpha"] == 0.3


def test_nan_and_infinity_become_null_everywhere() -> None:
    report = replace(REPORTS["nothing judged"], baselines={"recent_window": math.inf})
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["stages"]["ann"]["ndcg@10"] == {"value": None, "low": None, "high": None}
    assert document["stages"]["ann"]["popularity_rank@10"] is None
    assert document["rating"]["mae_interval"] == [None, None]
    assert document["comparisons"][0]["ndcg@10"]["low"] is None
    assert document["baselines"]["recent_window"] is None
    assert document["stages"]["ann"]["precision@10"]["value"] == 0.1


def test_every_table_names_its_split_and_its_protocol() -> None:
    for names in VARIANTS:
        report = varied(make_report(), names)
        heading = report_text(report).split("\n\n")[0]
        at_random = report.split_kind == "random"
        title = f"ml-100k, split {'AT RANDOM' if at_random else 'by time'}, {report.protocol} protocol"
        assert heading.split("\n")[0] == title
        assert ("train knows everybody's future" in heading) == at_random
        document = report.to_json()
        assert (document["split"]["kind"], document["protocol"]) == (report.split_kind, report.protocol)


def test_a_report_of_clicks_says_what_is_left_out_and_speaks_of_no_ratings() -> None:
    for names in (names for names in VARIANTS if "clicks" in names):
        report = varied(make_report(), names)
        text = report_text(report)
        assert sentence(report, "Re-ranking") == (
            "Re-ranking: left out, and NeuralMF with it: there are no ratings to learn from."
        )
        assert "The served list, ann, is better than popularity" in text
        said = ("rerank", "rated", ">= 0", "its rating", "any rating", "RMSE", "alpha")
        assert not [word for word in said if word in text]
        document = report.to_json()
        assert [document[name] for name in ("rating", "rerank", "positive_threshold")] == [None] * 3
        block = text.split("\n\n")[2].split("\n")[1:]
        recent = ["recent popularity"] * ("no times" not in names)
        against = ["exact", "popularity", *recent, "EASE", "item-kNN"]
        assert [line.split("  ")[0] for line in block] == [f"ann vs {name}" for name in against]


def test_without_times_the_missing_baseline_is_said() -> None:
    report = without_times(make_report())
    assert "recent popularity left out, no timestamps; EASE l2 300" in sentence(report, "Baselines")
    assert lines_with(report, "recent popularity ") == []
    assert "recent" not in sentence(report, "The served list")
    assert report.to_json()["baselines"] == {"ease_l2": 300.0, "item_knn_neighbours": 200}


def test_the_notebooks_protocol_explains_its_own_counting() -> None:
    report = as_notebook(make_report())
    text = " ".join(report_text(report).split())
    assert "95 users, 81 with" in text
    assert "(rated >= 4)" not in text  # NDCG judges those who liked nothing too
    assert "Precision over all users" not in text
    assert "rated 4 or more" in text
    assert "precision among items of" in text and "NDCG" in text
    assert len(lines_with(report, "NeuralMF alone ")) == 1
    assert "neural_mf" in report.to_json()["stages"]


def test_tables_align_left_and_right_and_end_without_spaces() -> None:
    table = format_table(["a", "number", ""], [["long cell", "1", ""], ["b", "20,000", "x"]], right=[1])
    assert table.split("\n") == ["a          number", "long cell       1", "b          20,000  x"]
    assert format_table(["only", "header"], []) == "only  header"


def test_shortening_keeps_what_fits_and_marks_what_does_not() -> None:
    assert shorten("exactly", 7) == "exactly"
    assert shorten("exactly one", 9) == "exactly…"
    assert len(shorten("x" * 50, 20)) == 20


def test_paragraphs_wrap_at_80_columns_and_keep_names_whole() -> None:
    assert wrap("x" * 70 + " half-way-name") == "x" * 70 + "\n  half-way-name"
    lines = wrap("retrieval " * 20).split("\n")
    assert len(lines) == 3
    assert max(map(len, lines)) <= 80
    assert all(line.startswith("  r") for line in lines[1:])
