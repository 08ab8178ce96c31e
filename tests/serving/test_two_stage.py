from dataclasses import replace

import numpy as np
import pytest

from index import AnnIndex, ItemLists, SearchSettings
from retrieval.serving.rating_model import RatingModel
from retrieval.serving.rerank import BlendWeights
from retrieval.serving.tower_vectors import TowerVectors, pool_histories, with_one
from retrieval.serving.two_stage import TwoStageModel

N_USERS, N_ITEMS, DIMENSION = 25, 60, 8


def planted_ratings(table: np.ndarray) -> RatingModel:
    """Predicts `table` (n_users, n_items), of positive numbers: each item lets one hidden unit through."""
    n_items = table.shape[1]
    return RatingModel(
        users=np.vstack([table, table.mean(axis=0)]).astype(np.float32),
        items=np.where(np.eye(n_items, dtype=bool), 0, -1000).astype(np.float32),
        hidden_weight=np.ones((1, n_items), dtype=np.float32),
        hidden_bias=np.zeros(1, dtype=np.float32),
        output_weight=np.ones(1, dtype=np.float32),
        output_bias=np.zeros(1, dtype=np.float32),
    )


@pytest.fixture(scope="module")
def seen() -> ItemLists:
    rng = np.random.default_rng(0)
    share = np.linspace(0, 1, N_USERS)  # the first user saw nothing, the last everything
    pairs = np.argwhere(rng.random((N_USERS, N_ITEMS)) < share[:, None])
    return ItemLists.from_pairs(pairs[:, 0], pairs[:, 1], N_USERS)


@pytest.fixture(scope="module")
def ratings() -> np.ndarray:
    return np.random.default_rng(1).uniform(1, 5, (N_USERS, N_ITEMS)).astype(np.float32)


@pytest.fixture(scope="module")
def model(seen: ItemLists, ratings: np.ndarray) -> TwoStageModel:
    """Users are pooled from what they have seen, by the history tower; four lists, all of them probed."""
    rng = np.random.default_rng(2)
    items = rng.normal(size=(N_ITEMS, DIMENSION + 1)).astype(np.float32)
    table = rng.normal(size=(N_ITEMS, DIMENSION)).astype(np.float32)
    prior = rng.normal(size=DIMENSION).astype(np.float32)
    vectors = TowerVectors(items, with_one(pool_histories(table, seen) + prior), table, prior)
    ann = AnnIndex.build(items, "IVF4,Flat", seed=0, threads=1, settings=SearchSettings(nprobe=4))
    rating_model, weights = planted_ratings(ratings), BlendWeights(alpha=0.5)
    return TwoStageModel(vectors, rating_model, seen, n_candidates=20, weights=weights, ann=ann)


USERS = np.arange(N_USERS)


@pytest.mark.parametrize("search", ["exact", "ann"])
@pytest.mark.parametrize("rerank", [True, False])
@pytest.mark.parametrize("nprobe", [1, 4])
def test_seen_items_never_come_out_and_nothing_twice(model, seen, search, rerank, nprobe) -> None:
    model = replace(model, ann=model.ann.with_nprobe(nprobe))
    ranked = model.for_users(USERS, 30, search, rerank)
    assert not seen.contains(USERS, ranked.rows).any()
    # Everything unseen is offered, however little the index looked at: padding only where nothing is left.
    n_listed = (ranked.rows >= 0).sum(axis=1)
    assert n_listed.tolist() == np.minimum(30, N_ITEMS - seen.lengths()).tolist()
    for line, n in zip(ranked.rows, n_listed, strict=True):
        assert len(set(line[:n])) == n
        assert (line[n:] == -1).all()


def test_without_re_ranking_the_list_is_the_unseen_catalogue_by_inner_product(model, seen) -> None:
    products = model.vectors.users @ model.vectors.items.T
    products[seen.flat_users(), seen.items] = -np.inf
    ranked = model.for_users(USERS, 5, "exact", rerank=False)
    for user in range(N_USERS):
        best = np.argsort(-products[user], kind="stable")[:5]
        np.testing.assert_array_equal(
            ranked.rows[user], np.where(np.isneginf(products[user, best]), -1, best)
        )
    assert np.isnan(ranked.predicted_ratings).all()


def test_re_ranking_blends_the_first_candidates_only_and_shows_what_was_predicted(model, ratings) -> None:
    model = replace(model, weights=BlendWeights(1e6))
    ranked, candidates = (model.for_users(USERS, 20, "exact", rerank) for rerank in (True, False))
    for user in range(N_USERS):
        listed = ranked.rows[user][ranked.rows[user] >= 0]
        assert set(listed) == set(candidates.rows[user]) - {-1}
        predicted = ratings[user, listed]
        np.testing.assert_allclose(ranked.predicted_ratings[user, : len(listed)], predicted, rtol=1e-4)
        assert (np.diff(predicted) <= 1e-4).all()


def test_a_short_list_is_re_ranked_from_the_full_depth_of_candidates(model) -> None:
    np.testing.assert_array_equal(
        model.for_users(USERS, 3).rows, model.for_users(USERS, model.n_candidates).rows[:, :3]
    )
    assert (model.for_users(USERS, 3).retrieval_ranks > 3).any()


def test_re_ranking_at_alpha_0_is_the_retrieval_order(model) -> None:
    found = replace(model, weights=BlendWeights()).for_users(USERS, 10)
    np.testing.assert_array_equal(found.rows, model.for_users(USERS, 10, rerank=False).rows)


def test_an_index_that_looks_at_everything_answers_like_exact_search(model) -> None:
    for rerank in (True, False):
        exact, ann = (model.for_users(USERS, 10, search, rerank) for search in ("exact", "ann"))
        np.testing.assert_array_equal(ann.rows, exact.rows)
        np.testing.assert_allclose(ann.scores, exact.scores, rtol=1e-4, atol=1e-4)


def test_an_index_that_looks_at_less_finds_less(model) -> None:
    hasty = replace(model, ann=model.ann.with_nprobe(1))
    exact, ann = (hasty.for_users(USERS[:10], 10, search, rerank=False).rows for search in ("exact", "ann"))
    assert (exact != ann).any()


@pytest.mark.parametrize("search", ["exact", "ann"])
def test_k_above_the_catalogue_gives_the_whole_of_it(model, seen, search) -> None:
    ranked = model.for_users(USERS, N_ITEMS + 7, search)
    assert ranked.rows.shape == (N_USERS, N_ITEMS)
    assert ((ranked.rows >= 0).sum(axis=1) == N_ITEMS - seen.lengths()).all()
    assert sorted(ranked.rows[0]) == list(range(N_ITEMS))
    assert (ranked.rows[-1] == -1).all()


def test_users_are_answered_in_the_order_asked_for(model) -> None:
    asked = np.array([7, 2, 7])
    np.testing.assert_array_equal(model.for_users(asked, 5).rows, model.for_users(USERS, 5).rows[asked])
    assert model.for_users(np.array([], dtype=np.int64), 5).rows.shape == (0, 5)


@pytest.mark.parametrize("search", ["exact", "ann"])
def test_a_history_is_left_out_and_anybodys_rating_is_predicted_for_it(model, search) -> None:
    histories = ItemLists.from_pairs(np.array([0, 0, 1]), np.array([3, 40, 11]), 2)
    ranked = model.for_histories(histories, N_ITEMS, search)
    assert sorted(ranked.rows[0, :58]) == sorted(set(range(N_ITEMS)) - {3, 40})
    assert ranked.rows[0, 58:].tolist() == [-1, -1]
    assert 11 not in ranked.rows[1]
    rows = ranked.rows[:, :58]
    anybody = model.rating_model.predict(np.full(2, model.rating_model.unknown_user), rows)
    np.testing.assert_array_equal(ranked.predicted_ratings[:, :58], anybody)
    plain = model.for_histories(histories, N_ITEMS, search, rerank=False)
    assert np.isnan(plain.predicted_ratings).all()
    np.testing.assert_array_equal(ranked.retrieval_ranks[0, :58], np.arange(1, 59))


def test_a_history_of_a_users_own_items_is_that_user(model, seen) -> None:
    np.testing.assert_allclose(model.vectors.for_histories(seen), model.vectors.users, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(
        model.for_histories(seen, 10).rows, model.for_users(USERS, 10, rerank=False).rows
    )


def test_the_id_tower_has_no_vector_for_a_history(model, seen) -> None:
    idle = replace(model, vectors=replace(model.vectors, history_items=None, prior=None))
    with pytest.raises(ValueError, match="no vector for a history"):
        idle.for_histories(seen, 10)


def test_parts_of_different_builds_do_not_fit_together(model, ratings, seen) -> None:
    with pytest.raises(ValueError, match=r"know 25 users and 60 items, NeuralMF 24 and 60"):
        replace(model, rating_model=planted_ratings(ratings[1:]))
    with pytest.raises(ValueError, match=r"know 25 users and 60 items, NeuralMF 25 and 59"):
        replace(model, rating_model=planted_ratings(ratings[:, 1:]))
    for vectors in (model.vectors.items[1:], np.ascontiguousarray(model.vectors.items[:, 1:])):
        other = AnnIndex.build(vectors, "IVF1,Flat", seed=0, threads=1)
        with pytest.raises(ValueError, match="the index holds"):
            replace(model, ann=other)
    with pytest.raises(ValueError, match="seen items for 3 users, but 25"):
        replace(model, seen=seen.take(np.arange(3)))


@pytest.mark.parametrize("search", ["exact", "ann"])
@pytest.mark.parametrize("rerank", [True, False])
def test_only_allowed_items_come_out_and_all_that_are_left_of_them(model, seen, search, rerank) -> None:
    model = replace(model, ann=model.ann.with_nprobe(1))
    allowed = np.arange(0, N_ITEMS, 3)
    ranked = model.for_users(USERS, 30, search, rerank, allowed)
    for user in range(N_USERS):
        expected = set(allowed.tolist()) - set(seen.of(user).tolist())
        assert sorted(ranked.rows[user][ranked.rows[user] >= 0]) == sorted(expected)
    ranked = model.for_histories(seen, 30, search, rerank, allowed)
    assert ((ranked.rows >= 0).sum(axis=1) == len(allowed) - seen.within(allowed).lengths()).all()
    nothing = model.for_users(USERS, 5, search, rerank, allowed[:0])
    assert (nothing.rows == -1).all()
