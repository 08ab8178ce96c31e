import json
from dataclasses import replace

import numpy as np
import pytest

from index import AnnIndex, SearchSettings
from retrieval.data.encoded import EncodedInteractions
from retrieval.data.split_counts import SplitCounts
from retrieval.evaluation.baselines import BaselineSet
from retrieval.evaluation.candidates import find_candidates
from retrieval.evaluation.choices import BlendChoice
from retrieval.evaluation.evaluate import (
    compare_stages,
    evaluate,
    stage_report,
    two_stage_lists,
)
from retrieval.evaluation.evaluated import Evaluated, EvaluationData
from retrieval.evaluation.judgements import StageScores
from retrieval.evaluation.report import Report
from retrieval.evaluation.uncertainty import Estimate
from retrieval.serving.rating_model import RatingModel
from retrieval.serving.rerank import BlendWeights
from retrieval.serving.tower_vectors import TowerVectors
from retrieval.serving.two_stage import TwoStageModel

pytestmark = pytest.mark.usefixtures("few_resamples")
BASELINES = ["popularity", "recent_popularity", "ease", "item_knn"]
STAGES = [*BASELINES, "exact", "ann", "exact+rerank", "ann+rerank"]
K = 2

# Positives an item: 3, 2, 1, 0, 0, 0, so row i has popularity rank i + 1.
TRAIN = [(0, 0, 5), (0, 1, 4), (1, 0, 5), (1, 2, 4), (2, 0, 4), (2, 3, 2), (3, 1, 5), (3, 4, 1)]
# Relevant: item 2 to user 0, item 1 to user 1, nothing to user 2; (0, 0) was seen in train.
TEST = [(0, 0, 5), (0, 2, 5), (0, 3, 2), (1, 1, 4), (2, 4, 1)]
PREDICTED = [5.0, 4.0, 4.5, 1.0, 2.0, 1.5]
COUNTS = SplitCounts(8, 3, 20, 1, 5, 4, 6, 3, 0)


def encoded(rows: list[tuple[int, int, float]], n_items: int = 6) -> EncodedInteractions:
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    users, items = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    times = np.arange(len(rows), dtype=np.int64)
    return EncodedInteractions(users, items, table[:, 2].astype(np.float32), times, 4, n_items)


def make_system(alpha: float = 10.0, n_candidates: int = 4, n_lists: int = 2) -> Evaluated:
    """Retrieval likes unpopular items best, item 5 first; each item's predicted rating is PREDICTED."""
    scores = np.arange(1, 7, dtype=np.float32)
    items = np.column_stack([scores, np.zeros(6, dtype=np.float32)])
    users = np.ones((4, 2), dtype=np.float32)
    one, zero = np.ones(1, dtype=np.float32), np.zeros(1, dtype=np.float32)
    predicted = np.array(PREDICTED, dtype=np.float32)[:, None]
    ratings = RatingModel(np.zeros((5, 1), dtype=np.float32), predicted, one[:, None], zero, one, zero)
    ann = AnnIndex.build(
        items, f"IVF{n_lists},Flat", seed=0, threads=1, settings=SearchSettings(nprobe=n_lists)
    )
    train = encoded(TRAIN)
    seen = train.item_lists()
    vectors, weights = TowerVectors(items, users, None, None), BlendWeights(alpha)
    model = TwoStageModel(vectors, ratings, seen, n_candidates, weights=weights, ann=ann)
    data = EvaluationData("tiny", train, encoded([(3, 2, 4)]), encoded(TEST), COUNTS, 4.0)
    baselines = BaselineSet.fit(train, 4.0, {"recent_window": 0.5, "ease_l2": 1.0, "item_knn_neighbours": 2})
    choice = BlendChoice(alpha, 10, ((0.0, 0.5, Estimate(0, 0, 0)), (alpha, 0.6, Estimate(0.1, 0.05, 0.2))))
    return Evaluated(model, data, baselines, choice)


def lists_of(model: TwoStageModel, users: np.ndarray, k: int) -> dict[str, np.ndarray]:
    found = find_candidates(model, users, model.seen.take(users), k)
    return two_stage_lists(model, users, k, found)


@pytest.fixture(scope="module")
def system() -> Evaluated:
    return make_system()


@pytest.fixture(scope="module")
def report(system: Evaluated) -> Report:
    return evaluate(system, K)


def test_every_stage_and_key_of_the_json_report_is_there(report: Report) -> None:
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert list(document["stages"]) == STAGES
    for stage in document["stages"].values():
        for figure in ("precision@2", "recall@2", "ndcg@2"):
            assert list(stage[figure]) == ["value", "low", "high"]
        assert {"coverage@2", "popularity_rank@2"} <= set(stage)
    assert (document["dataset"], document["protocol"], document["k"]) == ("tiny", "standard", 2)
    assert document["split"] == {
        "kind": "time",
        "train": 8,
        "validation": 3,
        "test": 20,
        "warm_validation": 1,
        "warm_test": 5,
        "users": 4,
        "items": 6,
        "test_users": 3,
        "duplicates": 0,
    }
    assert document["cold_test_rows"] == 15
    assert {"index", "candidates", "recall@candidates"} <= set(document["ann"])
    assert {"rmse", "mae", "bias_rmse", "bias_mae", "rows"} <= set(document["rating"])
    assert document["rerank"]["alpha"] == 10
    assert document["baselines"] == {"recent_window": 0.5, "ease_l2": 1, "item_knn_neighbours": 2}


def test_lists_of_the_stages_worked_by_hand(system: Evaluated) -> None:
    lists = lists_of(system.model, np.array([0, 1, 2]), K)
    assert lists["exact"].tolist() == [[5, 4], [5, 4], [5, 4]]
    # The four best unseen by rating: 2 (4.5) and 4 (2.0); 1 and 4; 2 and 1.
    assert lists["exact+rerank"].tolist() == [[2, 4], [1, 4], [2, 1]]


def test_precision_is_over_all_users_recall_and_ndcg_over_those_with_a_relevant_item(report: Report) -> None:
    assert report.judged_users == 2
    # Popularity lists [2, 3], [1, 3], [1, 2]: one hit each for users 0 and 1, at rank 1.
    popularity, exact = report.stages["popularity"], report.stages["exact"]
    assert popularity.precision.value == pytest.approx(1 / 3)
    assert (popularity.recall.value, popularity.ndcg.value) == (1, 1)
    assert (exact.precision.value, exact.recall.value, exact.ndcg.value) == (0, 0, 0)
    reranked = report.stages["exact+rerank"]
    assert (reranked.precision.value, reranked.ndcg.value) == (pytest.approx(1 / 3), 1)


def test_coverage_and_popularity_rank_worked_by_hand(report: Report) -> None:
    # Popularity lists items 2, 3, 1, 3, 1, 2 of ranks 3, 4, 2, 4, 2, 3; exact only 5 and 4.
    assert report.stages["popularity"].coverage == pytest.approx(3 / 6)
    assert report.stages["popularity"].popularity_rank == pytest.approx(3)
    assert report.stages["exact"].coverage == pytest.approx(2 / 6)
    assert report.stages["exact"].popularity_rank == pytest.approx(5.5)


def test_padding_is_no_listed_item() -> None:
    nothing = np.zeros(2)
    ranks = np.array([1.0, 2.0, 3.0, 4.0])
    stage = stage_report(StageScores(np.array([[3, -1], [1, 3]]), nothing, nothing, nothing), ranks)
    assert (stage.coverage, stage.popularity_rank) == (0.5, pytest.approx(10 / 3))
    empty = stage_report(StageScores(np.full((2, 2), -1), nothing, nothing, nothing), ranks)
    assert empty.coverage == 0
    assert np.isnan(empty.popularity_rank)


def test_an_index_that_looks_at_everything_finds_every_candidate(report: Report) -> None:
    assert report.ann.recall == Estimate(1, 1, 1)
    assert report.ann.candidates == 4
    assert report.ann.index == "IVF2,Flat nprobe=2"
    assert report.stages["ann"] == report.stages["exact"]
    assert report.stages["ann+rerank"] == report.stages["exact+rerank"]


def test_candidate_recall_is_measured_at_the_depth_of_the_candidates() -> None:
    system = make_system(n_candidates=3, n_lists=1)
    # An index of other vectors, all equal: it answers rows 0, 1, 2 or the lowest unseen.
    flat = AnnIndex.build(np.ones((6, 2), dtype=np.float32), "IVF1,Flat", seed=0, threads=1)
    model, users = replace(system.model, ann=flat), np.array([0, 1, 2])
    lists = lists_of(model, users, K)
    # Exact candidates 5, 4, 3 | 5, 4, 3 | 5, 4, 2; the flat index finds 2, 3, 4 | 1, 3, 4 | 1, 2, 4.
    found = find_candidates(model, users, model.seen.take(users), 3)
    assert found.recalls == pytest.approx([2 / 3, 2 / 3, 2 / 3])
    assert lists["ann"].tolist() == [[2, 3], [1, 3], [1, 2]]
    # Each search's own candidates are re-ranked: ratings 4.5, 2 and 4, 2 and 4.5, 4; of exact's 2, 1.5.
    assert lists["ann+rerank"].tolist() == [[2, 4], [1, 4], [2, 1]]
    assert lists["exact+rerank"][:2].tolist() == [[4, 5], [4, 5]]


def test_what_exact_search_adds_is_no_merit_of_the_index(system: Evaluated) -> None:
    # Three lists of two items, looked at in the order of the rows: one at first, two at the second try.
    corners = np.repeat(np.array([[3, 0], [0, 2], [-1, -1]], dtype=np.float32), 2, axis=0)
    ann = AnnIndex.build(corners, "IVF3,Flat", seed=0, threads=1, settings=SearchSettings(nprobe=1))
    model = replace(system.model, ann=ann)
    users = np.array([0, 1, 2])
    found = find_candidates(model, users, model.seen.take(users), 4)
    # Of items 0 and 1 user 0 has seen both, the others item 0; all have four candidates.
    assert found.recalls.tolist() == [0, 0.25, 0.25]
    assert found.rescued == 1
    np.testing.assert_array_equal(found.ann.rows, found.exact.rows)
    lists = lists_of(model, np.array([0, 1, 2]), K)
    np.testing.assert_array_equal(lists["ann"], lists["exact"])
    report = evaluate(replace(system, model=model), K)
    assert report.ann.recall.value == pytest.approx(0.5 / 3)
    assert report.ann.rescued == 1


def test_lists_longer_than_the_candidates_continue_those_of_all_candidates(system: Evaluated) -> None:
    report = evaluate(system, 6)
    assert report.ann.candidates == 4
    users = np.array([0, 1, 2])
    lists, shorter = lists_of(system.model, users, 6), lists_of(system.model, users, 4)
    for name, rows in lists.items():
        assert rows.shape == (3, 6)
        np.testing.assert_array_equal(rows[:, :4], shorter[name])
        search, _, reranked = name.partition("+")
        served = system.model.for_users(users, 6, search, bool(reranked))  # type: ignore[arg-type]
        np.testing.assert_array_equal(rows, served.rows)
    assert report.stages["exact"].coverage == 5 / 6  # all three users have seen item 0
    assert report.stages["exact"].recall.value == 1


def test_rating_errors_worked_by_hand_without_the_pair_of_train(report: Report) -> None:
    # 4.5 for 5, 1 for 2, 4 for 4, 2 for 1: squares 0.25, 1, 0, 1.
    assert report.rating.rows == 4
    assert report.rating.rmse.value == pytest.approx(0.75)
    assert report.rating.mae.value == pytest.approx(0.625)
    assert report.rating.rmse.low < 0.75 < report.rating.rmse.high
    assert report.rating.bias_rmse.value != report.rating.rmse.value


def test_comparisons_are_differences_user_by_user() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(200)
    stages = dict.fromkeys(STAGES, base) | {"exact+rerank": base + 0.01, "ann": base - 0.02}
    scores = {name: StageScores(np.empty((0, 2)), base, base, values) for name, values in stages.items()}
    comparisons = compare_stages(scores)
    found = {(each.stage, each.against): each.difference for each in comparisons}
    # Constant differences have no spread, however much the users differ among themselves.
    constant = {("exact+rerank", "exact"): 0.01, ("ann", "exact"): -0.02, ("ann+rerank", "ann"): 0.02}
    for pair, value in constant.items():
        estimate = found[pair]
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx((value,) * 3)
    # 200 users who all differ the same way are no accident; none who differs at all says nothing.
    p_values = {(each.stage, each.against): each.p_value for each in comparisons}
    assert [p_values[pair] for pair in constant] == [1e-4] * 3
    assert p_values["exact", "popularity"] == 1
    for stage in ("exact", "exact+rerank", "ann+rerank"):
        for against in BASELINES:
            assert (stage, against) in found


def test_comparisons_of_the_whole_system(report: Report) -> None:
    found = {(each.stage, each.against): each.difference for each in report.comparisons}
    assert found["exact+rerank", "exact"] == Estimate(1, 1, 1)
    assert found["ann", "exact"] == Estimate(0, 0, 0)
    assert found["exact", "popularity"] == Estimate(-1, -1, -1)
    assert found["ann+rerank", "popularity"] == Estimate(0, 0, 0)
    # Two users are judged: of the four sign patterns of (1, 1) two are as far from 0.
    p_values = {(each.stage, each.against): each.p_value for each in report.comparisons}
    assert (p_values["exact+rerank", "exact"], p_values["ann", "exact"]) == (0.5, 1)


def test_without_ease_its_stage_and_comparisons_are_left_out(system: Evaluated) -> None:
    baselines = BaselineSet.fit(system.data.train, 4.0, {"recent_window": 0.5, "item_knn_neighbours": 2})
    document = evaluate(replace(system, baselines=baselines), K).to_json()
    assert list(document["stages"]) == [name for name in STAGES if name != "ease"]
    assert "ease" not in {each["against"] for each in document["comparisons"]}


def test_figures_that_do_not_exist_are_null_in_strict_json(system: Evaluated) -> None:
    # Nobody has a relevant item, and every test pair was seen in train.
    data = replace(system.data, test=encoded([(0, 0, 5), (1, 2, 4)]))
    document = json.loads(json.dumps(evaluate(replace(system, data=data), K).to_json(), allow_nan=False))
    assert document["judged_users"] == 0
    assert document["stages"]["exact"]["ndcg@2"] == {"value": None, "low": None, "high": None}
    assert document["stages"]["exact"]["precision@2"] == {"value": 0, "low": 0, "high": 0}
    assert document["rating"]["rmse"] is None
    assert document["rating"]["rmse_interval"] == [None, None]
    assert document["comparisons"][0]["ndcg@2"]["value"] is None
    assert document["comparisons"][0]["p_value"] is None


def test_latencies_are_in_milliseconds_and_in_order(report: Report) -> None:
    ann = report.ann
    assert 0 < ann.exact_p50_ms <= ann.exact_p99_ms
    assert 0.001 < ann.ann_p50_ms <= ann.ann_p99_ms < 10_000


# Without ratings


@pytest.fixture(scope="module")
def of_clicks(system: Evaluated) -> Evaluated:
    """The same rows and vectors, but nobody rated anything."""
    data = replace(
        system.data,
        **{
            name: replace(getattr(system.data, name), ratings=None)
            for name in ("train", "validation", "test")
        },
    )
    model = replace(system.model, rating_model=None, weights=replace(system.model.weights, alpha=0.0))
    return Evaluated(model, data, BaselineSet.fit(data.train, 4.0, system.baselines.settings), None)


def test_without_ratings_nothing_is_re_ranked_and_no_rating_judged(of_clicks: Evaluated) -> None:
    for protocol in ("standard", "notebook"):
        report = evaluate(of_clicks, K, protocol)  # type: ignore[arg-type]
        assert list(report.stages) == STAGES[:6]
        assert (report.rating, report.blend, report.positive_threshold) == (None, None, None)
        assert not [each for each in report.comparisons if "rerank" in each.stage + each.against]
        assert report.served == "ann"
        json.dumps(report.to_json(), allow_nan=False)
    lists = lists_of(of_clicks.model, np.array([0, 1, 2]), K)
    assert {name: rows.tolist() for name, rows in lists.items()} == {
        "exact": [[5, 4], [5, 4], [5, 4]],
        "ann": [[5, 4], [5, 4], [5, 4]],
    }


def test_without_ratings_every_new_test_item_is_relevant(of_clicks: Evaluated) -> None:
    """User 0 has 2 and 3 to find ((0, 0) was seen), user 1 has 1, user 2 has 4, which comes second."""
    report = evaluate(of_clicks, K)
    assert report.judged_users == 3
    exact = report.stages["exact"]
    assert exact.precision.value == pytest.approx(0.5 / 3)
    assert exact.recall.value == pytest.approx(1 / 3)
    assert exact.ndcg.value == pytest.approx(0.63093 / 3, rel=1e-5)
    # Popularity counts every row of train: 3, 2, 1, 1, 1, 0.
    assert of_clicks.baselines.popularity.tolist() == [3, 2, 1, 1, 1, 0]


def test_the_least_rated_threshold_is_as_good_as_no_ratings(system: Evaluated, of_clicks: Evaluated) -> None:
    data = replace(system.data, positive_threshold=1.0)
    baselines = BaselineSet.fit(data.train, 1.0, system.baselines.settings)
    rated = evaluate(replace(system, data=data, baselines=baselines), K)
    clicked = evaluate(of_clicks, K)
    assert {name: rated.stages[name] for name in clicked.stages} == clicked.stages
    assert rated.judged_users == clicked.judged_users


def test_the_report_carries_how_the_slices_were_cut(system: Evaluated) -> None:
    assert evaluate(system, K).split_kind == "time"
    at_random = replace(system, data=replace(system.data, split_kind="random"))
    assert evaluate(at_random, K).to_json()["split"]["kind"] == "random"
