import json
from dataclasses import replace

import numpy as np
import pytest

from index import AnnIndex, ItemLists
from retrieval.data.encoded import EncodedInteractions
from retrieval.evaluation import candidate_depth as depth_module
from retrieval.evaluation.candidate_depth import candidates_at, depth_curve, depths_of
from retrieval.evaluation.evaluate import evaluate
from retrieval.evaluation.judgements import Judgements
from retrieval.evaluation.report import DepthCurve
from retrieval.evaluation.uncertainty import mean_estimate
from retrieval.pipeline.build import Build
from retrieval.serving.rating_model import RatingModel
from retrieval.serving.rerank import BlendWeights
from retrieval.serving.tower_vectors import TowerVectors
from retrieval.serving.two_stage import TwoStageModel
from tests.support.models import with_weights

pytestmark = pytest.mark.usefixtures("few_resamples")
N_USERS, N_ITEMS, K = 40, 300, 5


def make_model(factory: str = "IVF8,Flat", alpha: float = 1.0, nprobe: int = 2) -> TwoStageModel:
    """Random towers; every user has seen some items, the last of them nearly all."""
    rng = np.random.default_rng(0)
    items, users = (rng.normal(size=(size, 4)).astype(np.float32) for size in (N_ITEMS, N_USERS))
    ann = AnnIndex.build(items, factory, seed=0, threads=1)
    if ann.nlist is not None:
        ann = ann.with_nprobe(nprobe)
    ratings = RatingModel(
        *(rng.normal(size=shape).astype(np.float32) for shape in ((N_USERS + 1, 3), (N_ITEMS, 3), (2, 3))),
        *(rng.normal(size=2).astype(np.float32) for _ in range(2)),
        rng.normal(size=1).astype(np.float32),
    )
    seen = [np.sort(rng.choice(N_ITEMS, 5 * user, replace=False)) for user in range(N_USERS - 1)]
    seen.append(np.arange(N_ITEMS - 3))
    lines = np.repeat(np.arange(N_USERS), [len(each) for each in seen])
    lists = ItemLists.from_pairs(lines, np.concatenate(seen), N_USERS)
    vectors, weights = TowerVectors(items, users, None, None), BlendWeights(alpha)
    return TwoStageModel(vectors, ratings, lists, 60, weights=weights, ann=ann)


def judgements() -> Judgements:
    rng = np.random.default_rng(1)
    pairs = np.argwhere(rng.random((N_USERS, N_ITEMS)) < 0.03)
    relevant = ItemLists.from_pairs(pairs[:, 0], pairs[:, 1], N_USERS)
    return Judgements(np.arange(N_USERS), relevant)


@pytest.mark.parametrize("nprobe", [1, 2, 8])
@pytest.mark.parametrize("factory", ["IVF8,Flat", "IVF8,SQ8", "IVF8,PQ2x4,RFlat", "HNSW8", "IVF8,PQ4x4fs"])
def test_candidates_of_every_depth_are_those_of_a_search_so_deep(factory: str, nprobe: int) -> None:
    """Also where lists are short and searched again, and where more candidates change the first."""
    model, users = make_model(factory, nprobe=nprobe), np.arange(N_USERS)
    depths = [5, 10, 60, 150, N_ITEMS]
    for depth, found in zip(depths, candidates_at(model, users, model.seen, depths), strict=True):
        expected = model.candidates(model.vectors.users, model.seen, depth, "ann")
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.scores, expected.scores)


def test_plain_ivf_indexes_are_searched_once_and_others_at_every_depth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deep: list[int] = []
    whole = depth_module.search_filtered

    def count(index, exact, queries, depth, exclude, **options):
        deep.append(depth)
        return whole(index, exact, queries, depth, exclude, **options)

    monkeypatch.setattr(depth_module, "search_filtered", count)
    for factory, expected in (("IVF8,Flat", [60]), ("HNSW8", [5, 10, 60])):
        deep.clear()
        model = make_model(factory)
        assert len(list(candidates_at(model, np.arange(N_USERS), model.seen, [5, 10, 60]))) == 3
        assert deep == expected


def test_depths_go_from_k_to_the_catalogue_and_include_the_configured_one() -> None:
    model = make_model()
    assert depths_of(model, 5) == [10, 20, 50, 60, 100, 200, 300]
    assert depths_of(model, 70) == [70, 100, 200, 300]
    assert depths_of(model, 1000) == [300]
    assert depths_of(replace(model, n_candidates=100), 1) == [10, 20, 50, 100, 200, 300]


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_every_point_is_what_evaluation_finds_with_so_many_candidates(
    tiny_build: Build, alpha: float
) -> None:
    evaluation = tiny_build.evaluation
    model = with_weights(evaluation.model, alpha=alpha)
    report = evaluate(replace(evaluation, model=model), 5)
    assert report.depth is not None
    assert [point.candidates for point in report.depth.points] == [10, 20, 50, 100, 112]
    for point in report.depth.points:
        deep = replace(evaluation, model=replace(model, n_candidates=point.candidates))
        assert evaluate(deep, 5).stages["ann+rerank"].ndcg == point.ndcg
    if alpha:
        assert len({point.ndcg.value for point in report.depth.points}) > 2


def test_the_knee_is_the_smallest_depth_within_a_standard_error_of_the_best() -> None:
    steady = np.array([0.2, 0.4, 0.6, 0.8])
    # Behind the best by 0.1 give or take 0.14: within a standard error, which is 0.14; by 0.1 for all: not.
    noisy = steady - np.array([0.5, -0.1, 0.1, -0.1])
    for first, knee in ((noisy, 0), (steady - 0.1, 1), (steady, 0)):
        assert depth_module._knee([first, steady, steady - 0.05]) == knee
    assert depth_module._knee([steady - 0.2, steady - 0.1, steady]) == 2


def test_the_curve_of_a_model_whose_re_ranker_is_right_rises_with_depth() -> None:
    """Retrieval puts the items in any order, the ratings know the one item each user wants."""
    model = make_model(nprobe=8)
    wanted = np.array([np.setdiff1d(np.arange(N_ITEMS), model.seen.of(user))[-1] for user in range(N_USERS)])
    first = np.zeros((N_ITEMS, N_USERS), dtype=np.float32)
    first[wanted, np.arange(N_USERS)] = 1
    users = np.eye(N_USERS + 1, N_USERS, dtype=np.float32)
    one, zero = np.ones(1, dtype=np.float32), np.zeros(1, dtype=np.float32)
    # The rating is the rectified sum of user + item - 1: 1 for the wanted item, 0 for the user's others.
    ratings = RatingModel(users, first - 1, np.ones((1, N_USERS), dtype=np.float32), zero, one, zero)
    model = replace(model, rating_model=ratings, weights=BlendWeights(100.0))
    relevant = ItemLists(np.arange(N_USERS + 1, dtype=np.int64), wanted)
    curve = depth_curve(model, Judgements(np.arange(N_USERS), relevant), K)
    assert curve is not None
    values = [point.ndcg.value for point in curve.points]
    assert values == sorted(values)
    assert values[0] < 0.3
    assert (values[-1], curve.knee, curve.points[-1].candidates) == (1, 300, 300)


def test_where_nothing_is_re_ranked_neither_quality_nor_time_knows_of_ratings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(TwoStageModel, "rerank", lambda *_: pytest.fail("re-ranked all the same"))
    for model in (make_model(alpha=0.0, nprobe=8), replace(make_model(nprobe=8), rating_model=None)):
        curve = depth_curve(model, judgements(), K)
        assert curve is not None
        assert all(0 < point.p50_ms <= point.p99_ms for point in curve.points)
        assert len({point.ndcg for point in curve.points}) == 1
        assert curve.knee == 10


def test_of_very_many_users_an_even_sample_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = depth_curve(make_model(), judgements(), K)
    monkeypatch.setattr(depth_module, "MOST_USERS", 3)
    few = depth_curve(make_model(), judgements(), K)
    assert whole is not None and few is not None
    assert [point.candidates for point in few.points] == [point.candidates for point in whole.points]
    places = np.flatnonzero(judgements().n_relevant)[[0, 19, 39]]
    chosen = Judgements(places, judgements().relevant.take(places))
    expected = depth_curve(make_model(), chosen, K)
    assert expected is not None
    assert [point.ndcg for point in few.points] == [point.ndcg for point in expected.points]


def test_without_a_relevant_item_there_is_no_curve() -> None:
    nobody = Judgements(np.arange(N_USERS), ItemLists.empty(N_USERS))
    assert depth_curve(make_model(), nobody, K) is None


def test_the_curve_goes_to_json() -> None:
    point = depth_module.DepthPoint(10, mean_estimate(np.array([0.5])), 0.25, 0.5)
    document = json.loads(json.dumps(DepthCurve(K, (point,), 10).to_json()))
    ndcg = {"value": 0.5, "low": 0.5, "high": 0.5}
    assert document == {
        "k": 5,
        "knee": 10,
        "points": [{"candidates": 10, "ndcg@5": ndcg, "p50_ms": 0.25, "p99_ms": 0.5}],
    }


def test_an_evaluation_searches_for_candidates_once(
    tiny_build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retrieval.evaluation import evaluate as evaluation

    asked: list[int] = []
    whole = evaluation.find_candidates

    def count(model: TwoStageModel, users: np.ndarray, exclude: ItemLists, depth: int) -> object:
        asked.append(len(users))
        return whole(model, users, exclude, depth)

    monkeypatch.setattr(evaluation, "find_candidates", count)
    monkeypatch.setattr(TwoStageModel, "for_users", lambda *_: pytest.fail("searched again"))
    test: EncodedInteractions = tiny_build.evaluation.data.test
    evaluate(tiny_build.evaluation, 10)
    assert asked == [len(np.unique(test.users))]
