import json

import numpy as np
import pytest

from index import AnnIndex, ItemLists, standard_error
from retrieval.evaluation.choices import BlendChoice
from retrieval.evaluation.judgements import Judgements, score_lists
from retrieval.evaluation.uncertainty import Estimate
from retrieval.pipeline.blend_weights import ALPHAS, choose_user_weights
from retrieval.serving.fitted_model import FittedModel
from retrieval.serving.rating_model import RatingModel
from retrieval.serving.rerank import blend
from retrieval.serving.tower_vectors import TowerVectors, with_one
from retrieval.serving.two_stage import TwoStageModel

N_USERS, N_ITEMS, K = 60, 30, 5


def planted(scores: np.ndarray, ratings: np.ndarray, n_candidates: int = N_ITEMS) -> TwoStageModel:
    """A system whose retrieval scores and predicted ratings (1 and more) are these tables."""
    n_users, n_items = scores.shape
    eye = np.eye(n_items, dtype=np.float32)
    items = np.hstack([eye, np.zeros((n_items, 1), dtype=np.float32)])
    rating_model = RatingModel(
        users=np.vstack([ratings, ratings.mean(axis=0)]).astype(np.float32),
        items=np.where(eye > 0, 0, -1000).astype(np.float32),
        hidden_weight=np.ones((1, n_items), dtype=np.float32),
        hidden_bias=np.zeros(1, dtype=np.float32),
        output_weight=np.ones(1, dtype=np.float32),
        output_bias=np.zeros(1, dtype=np.float32),
    )
    return TwoStageModel(
        TowerVectors(items, with_one(scores.astype(np.float32)), None, None),
        rating_model,
        ItemLists.empty(n_users),
        n_candidates,
        ann=AnnIndex.build(items, "IVF1,Flat", seed=0, threads=1),
    )


def judged_by(relevant: np.ndarray) -> Judgements:
    """Judgements of all users by a boolean table."""
    pairs = np.argwhere(relevant)
    lists = ItemLists.from_pairs(pairs[:, 0], pairs[:, 1], len(relevant))
    return Judgements(np.arange(len(relevant)), lists)


def noise(seed: int, n_users: int = N_USERS) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 5, (n_users, N_ITEMS))


@pytest.fixture(scope="module")
def relevant() -> np.ndarray:
    return np.random.default_rng(0).random((N_USERS, N_ITEMS)) < 0.15


@pytest.fixture(scope="module")
def helpful(relevant: np.ndarray) -> BlendChoice:
    """Retrieval knows a little, the ratings know more."""
    return choose_user_weights(
        planted(noise(1) + relevant, noise(2) + 2 * relevant), [judged_by(relevant)], K
    )


def test_ratings_that_know_what_is_relevant_get_weight(helpful: BlendChoice) -> None:
    assert helpful.alpha >= 0.5
    gains = {alpha: gain for alpha, _, gain in helpful.curve}
    assert gains[helpful.alpha].value > 0.1
    assert gains[helpful.alpha].excludes_zero


def test_ratings_that_are_noise_beside_a_perfect_retrieval_get_none(relevant: np.ndarray) -> None:
    choice = choose_user_weights(planted(noise(10) + 4 * relevant, noise(11)), [judged_by(relevant)], K)
    assert choice.curve[0][1] == 1
    assert choice.curve[-1][2].high < 0
    assert choice.alpha == 0


def test_ratings_that_are_noise_beside_a_fair_retrieval_mostly_get_none(relevant: np.ndarray) -> None:
    judgements = judged_by(relevant)
    alphas = [
        choose_user_weights(planted(noise(seed) + 2 * relevant, noise(seed + 100)), [judgements], K).alpha
        for seed in range(10, 20)
    ]
    assert np.median(alphas) == 0
    assert max(alphas) <= 0.3


def test_ratings_that_say_nothing_leave_every_gain_at_0(relevant: np.ndarray) -> None:
    choice = choose_user_weights(
        planted(noise(1), np.full((N_USERS, N_ITEMS), 3.5)), [judged_by(relevant)], K
    )
    assert choice.alpha == 0
    assert all(gain == Estimate(0, 0, 0) for _, _, gain in choice.curve)


def test_a_gain_below_its_standard_error_is_not_believed() -> None:
    # Ten users lose a little by the ratings, one gains a lot: the mean gains, by less than its own error.
    scores = np.tile([3.0, 2.0, 1.0] + [0.0] * (N_ITEMS - 3), (11, 1))
    ratings = np.tile([1.0, 5.0, 1.0] + [1.0] * (N_ITEMS - 3), (11, 1))
    relevant = np.zeros((11, N_ITEMS), dtype=bool)
    relevant[:3, 1] = True
    relevant[3:5, 0] = True
    relevant[5:, 20] = True
    choice = choose_user_weights(planted(scores, ratings), [judged_by(relevant)], 3)
    gains = [gain.value for _, _, gain in choice.curve]
    assert max(gains) > 0.02
    assert choice.alpha == 0
    # The same gains from a hundred times the users are believed.
    many = [np.tile(table, (100, 1)) for table in (scores, ratings, relevant)]
    believed = choose_user_weights(planted(many[0], many[1]), [judged_by(many[2])], 3)
    assert [gain.value for _, _, gain in believed.curve] == pytest.approx(gains)
    assert believed.alpha > 0


def test_a_single_user_is_taken_at_their_word() -> None:
    scores, ratings = np.zeros((1, N_ITEMS)), np.ones((1, N_ITEMS))
    scores[0, :3], ratings[0, 1] = [3, 2, 1], 5
    relevant = np.arange(N_ITEMS)[None, :] == 1
    assert choose_user_weights(planted(scores, ratings), [judged_by(relevant)], K).alpha > 0


def test_the_curve_starts_at_alpha_0_with_a_gain_of_exactly_0(helpful: BlendChoice) -> None:
    assert [alpha for alpha, _, _ in helpful.curve] == list(ALPHAS)
    assert helpful.curve[0][0] == 0
    assert helpful.curve[0][2] == Estimate(0, 0, 0)


def test_a_gain_is_the_difference_to_alpha_0(helpful: BlendChoice) -> None:
    start = helpful.curve[0][1]
    for _, ndcg, gain in helpful.curve:
        assert gain.value == pytest.approx(ndcg - start)
        assert gain.low <= gain.value <= gain.high


def test_the_curve_is_of_re_ranked_candidates_not_of_the_catalogue(relevant: np.ndarray) -> None:
    # With k candidates re-ranking can change their order only, so no relevant item can enter the list.
    scores = noise(1) - 10 * relevant
    choice = choose_user_weights(
        planted(scores, noise(2) + 5 * relevant, n_candidates=1), [judged_by(relevant)], K
    )
    assert [ndcg for _, ndcg, _ in choice.curve] == [0] * len(ALPHAS)
    deep = choose_user_weights(planted(scores, noise(2) + 5 * relevant), [judged_by(relevant)], K)
    assert deep.curve[-1][1] > 0


def test_what_a_user_has_seen_is_no_candidate_on_validation(relevant: np.ndarray) -> None:
    model = planted(noise(1) + 9 * relevant, noise(2))
    pairs = np.argwhere(relevant)
    seen = ItemLists.from_pairs(pairs[:, 0], pairs[:, 1], N_USERS)
    blocked = FittedModel(model.vectors, model.rating_model, seen, N_ITEMS)
    assert choose_user_weights(blocked, [judged_by(relevant)], K).curve[0][1] == 0
    assert choose_user_weights(model, [judged_by(relevant)], K).curve[0][1] > 0.9


def test_the_smallest_weight_within_a_standard_error_of_the_best_is_taken() -> None:
    """Derived again from the lists, over many seeds; the plain best would often be another."""
    smaller = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        liked = rng.random((N_USERS, N_ITEMS)) < 0.2
        model = planted(liked + rng.normal(size=liked.shape), noise(100 + seed) + 0.4 * liked)
        judgements = judged_by(liked)
        choice = choose_user_weights(model, [judgements], k=5)
        found = model.candidates(model.vectors.users, model.seen, N_ITEMS, "exact")
        predicted = model.rating_model.predict(np.arange(N_USERS), found.rows)
        ndcg = [score_lists(blend(found, predicted, a).rows, judgements, 5).ndcg for a in ALPHAS]
        best = int(np.argmax([scores.mean() for scores in ndcg]))
        enough = ndcg[best].mean() - standard_error(ndcg[best] - ndcg[0])
        within = [alpha for alpha, scores in zip(ALPHAS, ndcg, strict=True) if scores.mean() >= enough]
        assert choice.alpha == min(within)
        smaller += choice.alpha < ALPHAS[best]
    assert smaller > 6


def test_a_choice_survives_json(helpful: BlendChoice) -> None:
    document = json.loads(json.dumps(helpful.to_json(), allow_nan=False))
    assert BlendChoice.from_json(document) == helpful
    assert set(document) == {"alpha", "k", "validation_curve", "trend", "trend_curve", "newcomers"}
    assert set(document["validation_curve"][3]) == {"alpha", f"ndcg@{K}", "gain"}
