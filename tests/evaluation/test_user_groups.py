import json
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from index import AnnIndex, ItemLists, SearchSettings
from retrieval.data.datasets import Dataset
from retrieval.data.encoded import EncodedInteractions
from retrieval.data.ids import IdMap
from retrieval.data.interactions import Interactions
from retrieval.evaluation.baselines import BaselineSet
from retrieval.evaluation.cold_users import Newcomers, newcomers_of_test
from retrieval.evaluation.evaluate import evaluate
from retrieval.evaluation.report import GroupReport
from retrieval.evaluation.user_groups import evaluate_groups, history_lists
from retrieval.pipeline.build import Build, build
from retrieval.reporting.text.report import report_text
from retrieval.serving.tower_vectors import TowerVectors
from retrieval.serving.two_stage import TwoStageModel
from retrieval.settings import BuildSettings
from tests.support.reports import with_weights, without_times

K = 2
ONE = 1 / (1 + 1 / np.log2(3))  # NDCG@2 of a hit at rank 1 where two or more are relevant
TWO = 1 - ONE  # of one at rank 2

# By popularity 0, 1, 2, then none; the last fifth of the positives are of items 1 and 2, then by popularity.
TRAIN = [(0, 0, 5), (1, 0, 5), (2, 0, 4), (0, 1, 4), (1, 1, 5), (3, 2, 5), (2, 3, 2), (3, 4, 1)]
VALIDATION = [(12, 0, 5)]
# 10 and 11 are cold; 12 is known by validation, 0 by train, and nothing in the catalogue is known of 13.
TEST = [
    *((10, 0, 5), (10, 3, 2), (10, 1, 5), (10, 5, 4)),
    *((11, 4, 1), (11, 0, 4), (11, 2, 5)),
    *((12, 1, 5), (12, 2, 5), (0, 2, 5), (13, 99, 5)),
]
USERS, ITEMS = IdMap(np.arange(4)), IdMap(np.arange(6))
SETTINGS = {"recent_window": 0.2, "ease_l2": 1.0, "item_knn_neighbours": 2}


def frame(rows: list[tuple[int, int, int]]) -> pl.DataFrame:
    """Each row a second after the one before."""
    table = pl.DataFrame(rows, schema=["user", "item", "rating"], orient="row")
    return table.with_columns(timestamp=pl.int_range(pl.len()))


def tiny_newcomers(test: pl.DataFrame) -> tuple[Newcomers, ...]:
    return newcomers_of_test(test, frame(VALIDATION), USERS, ITEMS, 4.0)


def tiny_baselines(train: pl.DataFrame, settings: dict[str, float] = SETTINGS) -> BaselineSet:
    return BaselineSet.fit(EncodedInteractions.from_frame(train, USERS, ITEMS), 4.0, settings)


def tiny_model(takes_histories: bool = True) -> TwoStageModel:
    """Who liked anything gets items 5, 4, 3, ...; of whom nothing is known, or nothing liked: 0, 1, 2, ..."""
    scores = np.arange(1, 7, dtype=np.float32)
    items = np.column_stack([scores, np.zeros(6, dtype=np.float32)])
    history = np.full((6, 1), 10, dtype=np.float32) if takes_histories else None
    prior = np.full(1, -1, dtype=np.float32) if takes_histories else None
    vectors = TowerVectors(items, np.ones((4, 2), dtype=np.float32), history, prior)
    ann = AnnIndex.build(items, "IVF2,Flat", seed=0, threads=1, settings=SearchSettings(nprobe=2))
    return TwoStageModel(vectors, None, ItemLists.empty(4), 4, ann=ann)


def tiny_groups(
    test: list[tuple[int, int, int]] = TEST, takes_histories: bool = True
) -> dict[str, GroupReport]:
    return by_name(
        evaluate_groups(
            tiny_model(takes_histories), tiny_baselines(frame(TRAIN)), tiny_newcomers(frame(test)), K
        )
    )


def by_name(groups: Iterable[GroupReport]) -> dict[str, GroupReport]:
    return {group.name: group for group in groups}


def values(group: GroupReport) -> dict[str, float]:
    return {stage: estimate.value for stage, estimate in group.ndcg.items()}


# By hand


def test_groups_are_those_with_anybody_left_to_judge() -> None:
    """After three known items user 11 has none left, after five nobody has."""
    groups = tiny_groups()
    assert [(name, group.history, group.users) for name, group in groups.items()] == [
        ("cold, first 1", 1, 2),
        ("cold, first 3", 3, 1),
        ("brand new", 0, 2),
    ]


def test_one_known_item_is_history_and_left_out_of_every_list() -> None:
    """User 10 liked 0, the best seller, and is to be given 1 and 5; 11 disliked 4: 0 and 2 are to come.

    Popularity: 1, 2 and 0, 1, a hit at rank 1 each. Recent: 1, 2 to both, hits at ranks 1 and 2. Exact: 5, 4
    to the first; the second has no likes, so the prior says 0, 1.
    """
    group = tiny_groups()["cold, first 1"]
    found = values(group)
    assert found["popularity"] == pytest.approx(ONE)
    assert found["recent_popularity"] == pytest.approx((ONE + TWO) / 2)
    assert found["exact"] == found["ann"] == pytest.approx(ONE)
    assert list(found) == ["popularity", "recent_popularity", "ease", "item_knn", "exact", "ann"]
    assert (group.ndcg["recent_popularity"].low, group.ndcg["recent_popularity"].high) == pytest.approx(
        (TWO, ONE)
    )


def test_linear_models_know_what_cold_users_liked_and_not_what_they_disliked() -> None:
    """Who likes 0 likes 4 in train, so user 10, who likes 0, gets 4 first; of 11, who dislikes 0, they know
    nothing, so popularity decides, and 4 is the best seller after 0.
    """
    swapped = {1: 4, 4: 1}
    baselines = tiny_baselines(frame([(user, swapped.get(item, item), r) for user, item, r in TRAIN]))
    test = frame([(10, 0, 5), (10, 4, 5), (11, 0, 1), (11, 4, 5)])
    (one, *_) = evaluate_groups(tiny_model(), baselines, tiny_newcomers(test), K)
    assert (one.name, one.users) == ("cold, first 1", 2)
    assert values(one)["ease"] == values(one)["item_knn"] == 1


def test_towers_list_nothing_of_a_history_liked_or_not() -> None:
    liked = ItemLists.from_pairs(np.array([0, 1]), np.array([5, 4]), 3)
    seen = ItemLists.from_pairs(np.array([0, 0, 1, 2]), np.array([5, 4, 4, 0]), 3)
    for rows in history_lists(tiny_model(), liked, seen, K).values():
        assert rows.tolist() == [[3, 2], [5, 3], [1, 2]]


def test_strangers_get_lists_that_are_the_same_for_all() -> None:
    """User 10 is to be given 0, 1 and 5, user 11 0 and 2; popularity and the prior say 0, 1, recent 1, 2."""
    group = tiny_groups()["brand new"]
    assert values(group) == pytest.approx(
        {
            "popularity": (1 + ONE) / 2,
            "recent_popularity": (ONE + TWO) / 2,
            "exact": (1 + ONE) / 2,
            "ann": (1 + ONE) / 2,
        }
    )
    assert group.served == "recent_popularity"
    differences = {(each.stage, each.against): each.difference.value for each in group.comparisons}
    assert differences == pytest.approx(
        {
            ("recent_popularity", "popularity"): -TWO + (TWO - ONE) / 2 + TWO / 2,
            ("exact", "popularity"): 0,
            ("exact", "recent_popularity"): TWO - (TWO - ONE) / 2 - TWO / 2,
        }
    )


def test_the_served_stage_and_exact_are_compared_with_every_baseline_user_by_user() -> None:
    group = tiny_groups()["cold, first 1"]
    assert group.served == "ann"
    baselines = ["popularity", "recent_popularity", "ease", "item_knn"]
    pairs = [(stage, base) for stage in ("ann", "exact") for base in baselines]
    assert [(each.stage, each.against) for each in group.comparisons] == pairs
    recent = group.comparisons[1]
    # Nothing for user 10, and a rank for user 11; one of two signs is never significant.
    assert recent.difference.value == pytest.approx((ONE - TWO) / 2)
    assert (recent.difference.low, recent.p_value) == (0, 1)


def test_users_of_validation_and_of_train_are_in_no_cold_group() -> None:
    without = [row for row in TEST if row[0] in (10, 11)]
    assert tiny_groups(without) == tiny_groups()


def test_the_id_user_tower_says_nothing_to_cold_users() -> None:
    groups = tiny_groups(takes_histories=False)
    for name, group in groups.items():
        strangers = name == "brand new"
        baselines = ["popularity", "recent_popularity", *([] if strangers else ["ease", "item_knn"])]
        assert list(group.ndcg) == baselines
        assert group.served == ("recent_popularity" if strangers else None)
        assert len(group.comparisons) == (1 if strangers else 0)
    taken = tiny_groups()
    assert groups["cold, first 1"].ndcg["ease"] == taken["cold, first 1"].ndcg["ease"]


def test_without_times_first_is_first_in_the_table_and_nothing_is_recent() -> None:
    """Interactions are ordered by user and item: user 11 is known by 0, and is to be given 2 alone."""
    untimed = frame(TRAIN).drop("timestamp")
    baselines = tiny_baselines(untimed, {"ease_l2": 1.0, "item_knn_neighbours": 2})
    test = frame([row for row in TEST if row[0] == 11]).drop("timestamp")
    groups = by_name(evaluate_groups(tiny_model(), baselines, tiny_newcomers(test), K))
    assert values(groups["cold, first 1"])["popularity"] == pytest.approx(1 / np.log2(3))  # of 1 and 2
    assert "recent_popularity" not in groups["cold, first 1"].ndcg
    assert groups["brand new"].served == "popularity"
    assert [(each.stage, each.against) for each in groups["brand new"].comparisons] == [
        ("exact", "popularity")
    ]


def test_where_every_test_user_is_known_there_is_no_cold_group() -> None:
    assert tiny_newcomers(frame([(0, 2, 5), (12, 1, 5)])) == ()
    assert tiny_groups([(0, 2, 5), (12, 1, 5)]) == {}


# Of a whole system


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_the_lists_judged_are_those_a_query_with_a_history_answers_by(
    tiny_build: Build, alpha: float
) -> None:
    model = with_weights(tiny_build.evaluated.model, newcomer_alpha=alpha)
    histories = model.seen.take(np.arange(40))
    lists = history_lists(model, histories, histories, 10)
    assert list(lists) == ["exact", "ann", "exact+rerank", "ann+rerank"]
    for search in ("exact", "ann"):
        answers = model.for_histories(histories, 10, search)  # type: ignore[arg-type]
        np.testing.assert_array_equal(lists[f"{search}+rerank"], answers.rows)
        assert (lists[search] != lists[f"{search}+rerank"]).any() == (alpha > 0)
    assert (lists["exact"] != lists["ann"]).any()
    plain = model.for_histories(histories, 10, "exact", rerank=False)
    np.testing.assert_array_equal(lists["exact"], plain.rows)


def test_the_warm_group_holds_the_figures_of_the_stages(tiny_build: Build) -> None:
    report = tiny_build.report
    warm = report.groups[0]
    assert (warm.name, warm.history, warm.users) == ("warm", None, report.judged_users)
    assert warm.ndcg == {name: stage.ndcg for name, stage in report.stages.items()}
    assert report.blend is not None
    served = "ann+rerank" if report.blend.reranks else "ann"
    assert warm.served == report.served == served
    assert len(warm.comparisons) == 8
    assert set(warm.comparisons) < set(report.comparisons)
    assert {each.stage for each in warm.comparisons} == {"exact", served}


def test_every_group_of_a_build_is_in_its_json_and_text(tiny_build: Build) -> None:
    document = json.loads(json.dumps(tiny_build.report.to_json(), allow_nan=False))
    groups = document["groups"]
    cold = "ann+rerank" if tiny_build.evaluated.model.reranks_newcomers else "ann"
    assert [(group["name"], group["history"], group["served"]) for group in groups] == [
        ("warm", None, tiny_build.report.served),
        ("cold, first 1", 1, cold),
        ("cold, first 3", 3, cold),
        ("cold, first 5", 5, cold),
        ("cold, first 10", 10, cold),
        ("brand new", 0, "recent_popularity"),
    ]
    assert [group["users"] for group in groups[1:]] == [6, 6, 6, 3, 6]
    assert groups[0]["ndcg"]["exact"] == document["stages"]["exact"]["ndcg@10"]
    assert groups[1]["comparisons"][0].keys() == {"stage", "against", "ndcg@10", "p_value"}
    text = report_text(tiny_build.report)
    assert all(f"\n{group['name']}  " in text for group in groups)


def test_the_notebooks_protocol_has_no_groups(tiny_build: Build) -> None:
    report = evaluate(tiny_build.evaluation, 10, "notebook")
    assert report.groups == ()
    assert report.to_json()["groups"] == []


def test_where_no_warm_user_has_a_relevant_item_the_warm_group_is_left_out(tiny_build: Build) -> None:
    data = tiny_build.evaluation.data
    disliked = replace(data.test, ratings=np.ones_like(data.test.ratings))
    report = evaluate(replace(tiny_build.evaluation, data=replace(data, test=disliked)), 10)
    assert report.judged_users == 0
    assert report.groups == tiny_build.report.groups[1:]


def test_what_cold_users_do_changes_their_own_figures_and_nothing_else(
    tiny_build: Build, sample_set: Dataset, tiny_settings: BuildSettings
) -> None:
    """No model, no setting and no warm figure is trained, chosen or measured on them."""
    split, table = tiny_build.split, sample_set.interactions.frame
    known = pl.concat([split.train, split.validation])["user"].unique()
    cold = ~pl.col("user").is_in(known.implode())
    last = table["item"].max()
    turned = table.with_columns(
        item=pl.when(cold).then(last + 1 - pl.col("item")).otherwise(pl.col("item")),
        rating=pl.when(cold).then(6 - pl.col("rating")).otherwise(pl.col("rating")),
    )
    assert 0 < turned.filter(cold).height < 400
    settings = replace(tiny_settings, refit=False)
    other = build(Interactions.from_frame(turned), items=sample_set.items, settings=settings, name="sample")
    for part in ("tower_weights", "neural_mf_weights"):
        one, two = (getattr(each.evaluated, part) for each in (tiny_build, other))
        assert [name for name in one if one[name].tobytes() != two[name].tobytes()] == []
    reports = [without_times(each.report.to_json()) for each in (tiny_build, other)]
    groups = [report.pop("groups") for report in reports]
    assert reports[0] == reports[1]
    assert groups[0][0] == groups[1][0]
    for before, after in zip(groups[0][1:], groups[1][1:], strict=True):
        assert before["ndcg"] != after["ndcg"]
