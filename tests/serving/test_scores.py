"""One meaning of `score`: laws over users, histories, searches, filters and every length of list."""

from dataclasses import replace

import numpy as np
import pytest

from index import AnnIndex, ItemLists, SearchSettings
from retrieval.serving.rating_model import RatingModel
from retrieval.serving.rerank import BlendWeights, RankedItems, Scale, blend
from retrieval.serving.tower_vectors import TowerVectors, pool_histories, with_one
from retrieval.serving.two_stage import TwoStageModel
from tests.serving.test_rerank import one_line, ratings_of

N_USERS, N_ITEMS, DIMENSION = 9, 40, 6
USERS = np.arange(N_USERS)
RERANKS, RETRIEVAL_ONLY = BlendWeights(0.6, 0.4, 0.5, 0.9), BlendWeights()
# An index that looks at everything, two that miss some, and one that finds others when it is asked for more.
INDEXES = {
    "IVF4,Flat": SearchSettings(nprobe=4),
    "IVF8,Flat": SearchSettings(nprobe=1),
    "HNSW4": SearchSettings(),
}
FILTERS = (np.arange(0, N_ITEMS, 3), np.arange(25, N_ITEMS), np.array([7]), np.arange(N_ITEMS))


def make_model(seed: int, factory: str, n_candidates: int, weights: BlendWeights) -> TwoStageModel:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    pairs = np.argwhere(rng.random((N_USERS, N_ITEMS)) < np.linspace(0, 0.9, N_USERS)[:, None])
    seen = ItemLists.from_pairs(pairs[:, 0], pairs[:, 1], N_USERS)
    items, table, prior = normal(N_ITEMS, DIMENSION + 1), normal(N_ITEMS, DIMENSION), normal(DIMENSION)
    ratings = RatingModel(
        normal(N_USERS + 1, 8), normal(N_ITEMS, 8), normal(4, 8), normal(4), normal(4), normal(1)
    )
    return TwoStageModel(
        TowerVectors(items, with_one(pool_histories(table, seen) + prior), table, prior),
        ratings,
        seen,
        n_candidates,
        trend=np.abs(normal(N_ITEMS)),
        weights=weights,
        ann=AnnIndex.build(items, factory, seed=0, threads=1, settings=INDEXES[factory]),
    )


def lists_of(
    model: TwoStageModel, k: int, search: str, allowed: np.ndarray | None = None
) -> list[RankedItems]:
    """Those of all users, and of people with the same items as histories."""
    return [
        model.for_users(USERS, k, search, allowed=allowed),  # type: ignore[arg-type]
        model.for_histories(model.seen, k, search, allowed=allowed),  # type: ignore[arg-type]
    ]


def score_table(whole: RankedItems) -> np.ndarray:
    """(q, n_items): every item's score in a list of the whole catalogue, NaN for seen ones."""
    table = np.full((len(whole.rows), N_ITEMS), np.nan, dtype=np.float32)
    lines, places = np.nonzero(whole.rows >= 0)
    table[lines, whole.rows[lines, places]] = whole.scores[lines, places]
    return table


CASES = pytest.mark.parametrize("weights", [RERANKS, RETRIEVAL_ONLY], ids=["reranks", "retrieval"])


@CASES
@pytest.mark.parametrize("search", ["exact", "ann"])
@pytest.mark.parametrize("factory", INDEXES)
@pytest.mark.parametrize("n_candidates", [1, 6, 17, 40])
def test_a_longer_list_continues_a_shorter_one(factory, n_candidates, search, weights) -> None:
    model = make_model(n_candidates, factory, n_candidates, weights)
    for allowed in (None, *FILTERS[:2]):
        whole = lists_of(model, N_ITEMS, search, allowed)
        for k in (1, 2, 5, 6, 7, 10, 17, 18, 24, N_ITEMS - 1, N_ITEMS + 2):
            for shorter, longer in zip(lists_of(model, k, search, allowed), whole, strict=True):
                for name in ("rows", "scores", "retrieval_ranks"):
                    cut = getattr(longer, name)[:, :k]
                    np.testing.assert_array_equal(getattr(shorter, name), cut, f"{name}, k={k}")
                cut = longer.predicted_ratings[:, :k]
                np.testing.assert_allclose(shorter.predicted_ratings, cut, rtol=1e-4, atol=1e-5)


@CASES
@pytest.mark.parametrize("search", ["exact", "ann"])
@pytest.mark.parametrize("factory", INDEXES)
@pytest.mark.parametrize("n_candidates", [1, 6, 17, 40])
def test_a_score_is_the_same_with_every_filter_and_orders_each_run(
    factory, n_candidates, search, weights
) -> None:
    model = make_model(n_candidates + 1, factory, n_candidates, weights)
    tables = [score_table(each) for each in lists_of(model, N_ITEMS, search)]
    for allowed in FILTERS:
        for k in (1, 4, n_candidates, N_ITEMS):
            for table, ranked in zip(tables, lists_of(model, k, search, allowed), strict=True):
                lines, places = np.nonzero(ranked.rows >= 0)
                found = ranked.scores[lines, places]
                expected = table[lines, ranked.rows[lines, places]]
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
                for start in range(0, ranked.rows.shape[1], n_candidates):
                    run = ranked.scores[:, start : start + n_candidates]
                    assert (run[:, :-1] >= run[:, 1:]).all()


@pytest.mark.parametrize("allowed", [None, FILTERS[0]])
def test_where_nothing_reranks_the_score_is_retrievals_and_ratings_are_still_shown(allowed) -> None:
    model = make_model(0, "IVF4,Flat", 6, RETRIEVAL_ONLY)
    products = model.vectors.users @ model.vectors.items.T
    for k in (1, 3, 25):
        ranked = model.for_users(USERS, k, allowed=allowed)
        lines, places = np.nonzero(ranked.rows >= 0)
        rows = ranked.rows[lines, places]
        np.testing.assert_allclose(ranked.scores[lines, places], products[lines, rows], rtol=1e-4, atol=1e-5)
        predicted = model.rating_model.predict_pairs(lines, rows)
        np.testing.assert_allclose(ranked.predicted_ratings[lines, places], predicted, rtol=1e-4, atol=1e-5)


def test_without_reranking_a_list_of_exact_search_is_the_catalogue_by_inner_product() -> None:
    model = make_model(1, "HNSW4", 6, RERANKS)
    products = model.vectors.users @ model.vectors.items.T
    products[model.seen.flat_users(), model.seen.items] = -np.inf
    ranked = model.for_users(USERS, N_ITEMS, "exact", rerank=False)
    for user in USERS:
        real = ranked.rows[user][ranked.rows[user] >= 0]
        np.testing.assert_array_equal(real, np.argsort(-products[user], kind="stable")[: len(real)])


def test_one_users_list_is_that_of_a_batch() -> None:
    model = make_model(2, "IVF8,Flat", 6, RERANKS)
    together = model.for_users(USERS, 15, allowed=FILTERS[0])
    for user in USERS:
        alone = model.for_users(USERS[user : user + 1], 15, allowed=FILTERS[0])
        np.testing.assert_array_equal(alone.rows[0], together.rows[user])
        np.testing.assert_allclose(alone.scores[0], together.scores[user], rtol=1e-4, atol=1e-4)


def test_scores_by_given_scales_worked_by_hand() -> None:
    """Mean 2 and deviation 1 of the scores 1, 3; mean 3 and deviation 2 of the ratings 1, 5."""
    unfiltered, ratings = one_line([4, 9], [3, 1]), ratings_of(1, 5)
    first = blend(unfiltered, ratings, 0.5)
    assert first.rows.tolist() == [[4, 9]]
    assert first.scores.tolist() == [[0.5, -0.5]]
    # A filter leaves items 9 and 2, the second of score 0 and rating 4: -2 + 0.5 * 0.5.
    model = replace(make_model(0, "IVF4,Flat", 2, BlendWeights(0.5)), trend=None)
    table = {4: 1.0, 9: 5.0, 2: 4.0}
    ranked = model._blended(
        one_line([9, 2], [1, 0]),
        unfiltered,
        lambda rows: np.vectorize(table.get)(rows).astype(np.float32),
        0.5,
        0.0,
    )
    assert ranked.rows.tolist() == [[9, 2]]
    assert ranked.scores.tolist() == [[-0.5, -1.75]]


def test_runs_are_ordered_one_after_the_other() -> None:
    """The second run has the better rating, and stays behind the first."""
    ranked = blend(one_line([1, 2, 3, 4, -1], [4, 3, 2, 1, -np.inf]), ratings_of(2, 4, 3, 5, 0), 100.0, run=2)
    assert ranked.rows.tolist() == [[2, 1, 4, 3, -1]]
    assert ranked.retrieval_ranks.tolist() == [[2, 1, 4, 3, 0]]
    # By the first run's ratings: mean 3, deviation 1.
    assert ranked.scores[0, :4] == pytest.approx([99, -99, 195, -3], abs=1e-3)
    assert ranked.scores[0, 4] == -np.inf


def test_a_scale_of_nothing_or_of_equal_values_gives_zeros() -> None:
    values, real = np.array([[2, 2, 7]], dtype=np.float32), np.array([[True, True, False]])
    for scale in (Scale.of(values, real), Scale.of(values, np.zeros_like(real))):
        assert scale.standardise(values, np.ones_like(real)).tolist() == [[0, 0, 0]]
