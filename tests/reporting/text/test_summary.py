"""The first screen: its answers in words, its one table, its size."""

import math
import re
from dataclasses import replace

import pytest

from retrieval.data.split_counts import SliceDates
from retrieval.evaluation.comparisons import Comparison
from retrieval.evaluation.report import GroupReport, Report
from retrieval.evaluation.uncertainty import Estimate
from retrieval.reporting.text.summary import FEW, summary_text
from retrieval.reporting.text.tables import cell_width
from tests.evaluation.test_report import REPORTS, make_report

BASELINES = ("popularity", "recent_popularity", "ease", "item_knn")


def group(name: str, history: int | None, users: int, gains: dict[str, tuple[float, float]]) -> GroupReport:
    """A group whose served list has .5; `gains`: its differences with the baselines, half their widths."""
    served = "recent_popularity" if history == 0 else "ann+rerank"
    figures = {served: 0.5} | {base: 0.5 - gain for base, (gain, _) in gains.items()}
    compared = tuple(
        Comparison(served, base, Estimate(gain, gain - half, gain + half), 0.01 if abs(gain) > half else 0.6)
        for base, (gain, half) in gains.items()
    )
    ndcg = {stage: Estimate(value, value - 0.1, value + 0.1) for stage, value in figures.items()}
    return GroupReport(name, history, users, ndcg, compared)


def gains(*values: float, half: float = 0.02) -> dict[str, tuple[float, float]]:
    return {base: (value, half) for base, value in zip(BASELINES, values, strict=True)}


def screen(*groups: GroupReport, **changes: object) -> str:
    return " ".join(summary_text(replace(make_report(groups=groups), **changes)).split())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name in REPORTS if REPORTS[name].protocol == "standard"])
def test_every_report_fits_on_one_screen(name: str) -> None:
    lines = summary_text(REPORTS[name]).splitlines()
    assert len(lines) <= 30
    assert max(map(cell_width, lines)) <= 80
    assert not re.search("nan|None", "\n".join(lines[1:]))


def test_an_example() -> None:
    report = make_report(
        groups=(
            group("warm", None, 81, gains(0.045, -0.061, 0.029, 0.05)),
            group("cold, first 1", 1, 192, gains(0.019, -0.008, 0.05, 0.055, half=0.03)),
            group("cold, first 3", 3, 150, gains(0.019, 0.008, 0.05, 0.055, half=0.03)),
            group("brand new", 0, 192, {"popularity": (0.033, 0.05)}),
        )
    )
    assert summary_text(report).splitlines()[2:13] == [
        "Ship it?",
        "  To users it knows: no. A list of the recent bestsellers is better for them",
        "    (.500 against .561; 95% sure between -.081 and -.041; 81 users).",
        "  To new users with 1 to 3 known items: level. No simple list is clearly better,",
        "    nor it than all of them (150 users or more).",
        "  To users of whom nothing is known: they get a list of the recent bestsellers.",
        "",
        "NDCG@10         users  served   popular   recent   EASE   item-kNN",
        "users it knows     81    .500      .455     .561*  .471       .450",
        "new, 1 known      192    .500      .481     .508*  .450       .445",
        "new, 3 known      150    .500*     .481     .492   .450       .445",
    ]


@pytest.mark.parametrize(
    ("against", "says"),
    [
        (
            gains(0.1, 0.2, 0.3, 0.05),
            "yes. It is better than every simple list, also than the best, item-kNN, ",
        ),
        (gains(0.1, 0.2, 0.3, -0.05), "no. Item-kNN, items near those they liked is better for them (.500 "),
        (
            gains(-0.03, -0.05, 0.3, 0.2),
            "no. A list of the recent bestsellers is better for them (.500 against",
        ),
        # Not the largest shortfall, which is unclear, but the clear one.
        (
            gains(0.1, -0.03, 0.3, 0.2) | {"ease": (-0.1, 0.2)},
            "no. A list of the recent bestsellers is better",
        ),
        (gains(0.1, 0.2, 0.3, 0.01), "level. It cannot be told apart from the best simple list, item-kNN"),
        (gains(0.1, 0.2, 0.3, -0.01), "It is better than popularity, recent popularity and EASE"),
        (gains(0.0, 0.0, 0.0, 0.0), "level."),
    ],
)
def test_the_answer_for_users_it_knows(against: dict[str, tuple[float, float]], says: str) -> None:
    text = screen(group("warm", None, 81, against))
    answer = text.partition("To users it knows: ")[2].partition(" NDCG@10 users")[0]
    if says.startswith(("yes", "no", "level")):
        assert answer.startswith(says)
    else:
        beaten = answer.rpartition("It is better than ")[2].rstrip(".").replace(" and ", ", ").split(", ")
        assert sorted(beaten) == ["EASE", "popularity", "recent popularity"]


def test_few_people_give_no_answer() -> None:
    better = gains(0.1, 0.2, 0.3, 0.05)
    assert "To users it knows: yes." in screen(group("warm", None, FEW, better))
    text = screen(group("warm", None, FEW - 1, better), group("cold, first 1", 1, 1, better))
    assert f"To users it knows: nobody can say, {FEW - 1} such users are too few to judge by." in text
    assert "To new users with 1 known item: nobody can say, one such user is too few to judge by." in text


def test_new_users_get_an_answer_each_where_they_fare_differently() -> None:
    text = screen(
        group("warm", None, 81, gains(0.1, 0.1, 0.1, 0.1)),
        group("cold, first 1", 1, 99, gains(0.1, -0.1, 0.1, 0.1)),
        group("cold, first 3", 3, 99, gains(0.1, 0.1, 0.1, 0.1)),
    )
    assert "To new users with 1 known item: no. A list of the recent bestsellers is better" in text
    assert "To new users with 3 known items: yes." in text
    worse = screen(*(group(f"cold, first {n}", n, 99, gains(0.1, -0.1, -0.1, 0.1)) for n in (1, 3)))
    assert "with 1 to 3 known items: no. Recent popularity and EASE are better for them (99 users" in worse
    alike = screen(*(group(f"cold, first {n}", n, 99, gains(0.1, 0.1, 0.1, 0.1)) for n in (1, 3)))
    assert "To new users with 1 to 3 known items: yes. It is better than every simple list" in alike


def test_strangers_are_told_where_another_list_is_better() -> None:
    fine, worse = ({"popularity": (value, 0.02)} for value in (0.01, -0.1))
    end = "they get a list of the recent bestsellers"
    assert f"{end}. NDCG" in screen(group("brand new", 0, 99, fine))
    assert f"{end}, though a list of the bestsellers is better (.500 against .600;" in screen(
        group("brand new", 0, 99, worse)
    )


def test_towers_of_their_own_users_serve_no_new_ones() -> None:
    cold = GroupReport("cold, first 1", 1, 99, {"ease": Estimate(0.2, 0.1, 0.3)}, ())
    assert "To new users: no. These towers know only their own users." in screen(cold)


def test_nobody_to_judge_by_is_said() -> None:
    text = screen(judged_users=0)
    assert "To users it knows: nobody can say, none of them has a relevant item to be judged by." in text


@pytest.mark.parametrize(
    ("gain", "says"),
    [
        (Estimate(0.02, 0.01, 0.03), "+.0200 (+.0100 to +.0300), a gain."),
        (Estimate(-0.02, -0.03, -0.01), "-.0200 (-.0300 to -.0100), a loss."),
        (Estimate(0.02, -0.01, 0.05), "+.0200 (-.0100 to +.0500), no clear gain."),
    ],
)
def test_what_re_ranking_gains(gain: Estimate, says: str) -> None:
    compared = (Comparison("exact+rerank", "exact", gain, 0.01),)
    text = summary_text(make_report(comparisons=compared))
    assert f"Re-ranking by NeuralMF's ratings: {says}" in text


def test_a_random_split_is_called_too_kind() -> None:
    report: Report = REPORTS["at random"] if "at random" in REPORTS else make_report(split_kind="random")
    assert "AT RANDOM" in summary_text(report) and "too kind" in summary_text(report)


def test_without_figures_there_is_still_a_screen() -> None:
    none = Estimate(math.nan, math.nan, math.nan)
    report = make_report(groups=(), comparisons=(Comparison("exact+rerank", "exact", none, math.nan),))
    assert "no clear gain" in summary_text(report)


def test_the_days_of_train_and_test_stand_below_the_title() -> None:
    # 20 September 1997, 03:05:10 UTC, and so on: MovieLens 100K's own.
    dates = SliceDates(874_724_710, 887_000_000, 889_237_269, 893_286_638)
    heading = summary_text(make_report(dates=dates)).splitlines()[:3]
    assert heading == [
        "ml-100k: trained on the oldest 70,001 rows, judged on the newest 19,997",
        "  from 1997-09-20 to 1998-02-09, and from 1998-03-07 to 1998-04-22",
        "",
    ]
    assert make_report(dates=dates).to_json()["dates"]["test_last"] == 893_286_638
    assert make_report().to_json()["dates"] is None
