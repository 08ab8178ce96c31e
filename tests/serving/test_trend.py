"""The recent demand for an item as a part of the blend: how it is weighed, and for whom."""

from dataclasses import astuple, replace

import numpy as np
import polars as pl
import pytest

from index import ItemLists
from retrieval.data.datasets import Dataset
from retrieval.data.items import ItemTable
from retrieval.evaluation.baselines import ties_by
from retrieval.evaluation.cold_users import Newcomers
from retrieval.evaluation.judgements import Judgements
from retrieval.pipeline.blend_weights import (
    NEWCOMER_TRENDS,
    TRENDS,
    choose_newcomer_weights,
    choose_user_weights,
)
from retrieval.pipeline.build import Build, build
from retrieval.recommender import Recommender
from retrieval.serving.rerank import BlendWeights, blend, fading
from retrieval.serving.two_stage import TwoStageModel
from retrieval.settings import BuildSettings
from tests.pipeline.test_blend_weights import N_ITEMS, N_USERS, judged_by, noise, planted
from tests.serving.test_rerank import one_line, ratings_of
from tests.support.models import with_weights


def with_trend(model: TwoStageModel, trend: np.ndarray) -> TwoStageModel:
    return replace(model, trend=trend.astype(np.float32))


def in_demand() -> np.ndarray:
    """Six items that everybody likes next, whatever the towers say of them."""
    return (np.arange(N_ITEMS) < 6).astype(float)


def test_three_scores_are_added_by_hand() -> None:
    """z of (4, 2, 0) is (1.22, 0, -1.22) on every scale: 8, 3, 5 get 1.22 (1 - w), 0 and 1.22 (w - 1)."""
    for weight, expected in ((0.5, [8, 3, 5]), (1.0, [3, 5, 8]), (2.0, [5, 3, 8])):
        trend = np.array([[0.0, 10.0, 20.0]], np.float32)
        ranked = blend(one_line([8, 3, 5], [4, 2, 0]), ratings_of(3, 3, 3), 0.0, trend, weight)
        assert ranked.rows[0].tolist() == expected, weight


def test_every_user_may_have_a_weight_of_its_own() -> None:
    found = one_line([8, 3], [1, 0])
    both = replace(found, rows=np.repeat(found.rows, 2, axis=0), scores=np.repeat(found.scores, 2, axis=0))
    trend = np.array([[0.0, 1.0]] * 2, np.float32)
    ranked = blend(both, np.full((2, 2), 3, np.float32), 0.0, trend, np.array([0.5, 2.0]))
    assert ranked.rows.tolist() == [[8, 3], [3, 8]]


def test_demand_that_knows_what_comes_next_gets_weight_and_chance_gets_none() -> None:
    relevant = np.tile(in_demand() > 0, (N_USERS, 1))
    model = planted(noise(1), noise(2))
    told = choose_user_weights(with_trend(model, in_demand()), [judged_by(relevant)], 10)
    assert told.trend >= 0.5 and told.reranks
    assert [weight for weight, _, _ in told.trend_curve] == list(TRENDS)
    by_chance = with_trend(planted(noise(3) + 4 * relevant, noise(4)), noise(5)[0])
    assert choose_user_weights(by_chance, [judged_by(relevant)], 10).trend == 0


def test_a_model_without_a_trend_has_no_weight_for_it() -> None:
    relevant = np.tile(in_demand() > 0, (N_USERS, 1))
    choice = choose_user_weights(planted(noise(1), noise(2)), [judged_by(relevant)], 10)
    assert (choice.trend, choice.trend_curve) == (0, ())


def test_the_stretches_of_a_user_are_no_independent_users() -> None:
    """The same stretch three times is one: weights and curves stay what they were."""
    liked = np.random.default_rng(0).random((N_USERS, N_ITEMS)) < 0.2
    model = planted(noise(1) + liked, noise(2) + 0.5 * liked)
    one, three = (choose_user_weights(model, [judged_by(liked)] * count, 10) for count in (1, 3))
    assert one.alpha == three.alpha
    for mine, theirs in zip(one.curve, three.curve, strict=True):
        assert astuple(mine[2]) == pytest.approx(astuple(theirs[2]))


def test_the_trend_fades_with_what_is_known_of_a_newcomer() -> None:
    assert fading(0.6, np.array([0, 1, 2, 5])) == pytest.approx([0.6, 0.3, 0.2, 0.1])


def test_newcomers_have_a_choice_of_their_own(tiny_build: Build) -> None:
    """All that they are to find is in demand: much weight, though the known users have none."""
    model = tiny_build.evaluated.model
    model = replace(model, n_candidates=model.exact.size)
    wanted = np.arange(model.exact.size - 12, model.exact.size)
    trend = np.isin(np.arange(model.exact.size), wanted).astype(np.float32)
    rows = [(user, item, 5.0, time) for user in range(40) for time, item in enumerate([0, *wanted[:5]])]
    schema = {"user": pl.Int64, "item": pl.Int64, "rating": pl.Float32, "timestamp": pl.Int64}
    items = tiny_build.evaluated.items
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        item=pl.col("item").map_elements(lambda row: int(items.ids[row]), return_dtype=pl.Int64)
    )
    people = [Newcomers.of(frame, [], items, 4.0, 1)]
    choice = choose_newcomer_weights(with_trend(model, trend), people, 10)
    assert choice.trend > 0
    assert [weight for weight, _, _ in choice.trend_curve] == list(NEWCOMER_TRENDS)
    served = with_weights(with_trend(model, trend), newcomer_trend_weight=3.0)
    histories = ItemLists.from_pairs(np.array([0]), np.array([0]), 1)
    lists = served.for_histories(histories, 10, "exact").rows[0].tolist()
    plain = model.for_histories(histories, 10, "exact").rows[0].tolist()
    assert len(set(lists) & set(wanted)) > len(set(plain) & set(wanted))


def test_newcomers_get_the_blend_of_their_own_weights(tiny_build: Build) -> None:
    """Histories of two items and of one: the list is the blend made by hand, the trend faded with each."""
    model = replace(tiny_build.evaluated.model, weights=BlendWeights(9.0, 9.0, 0.3, 1.5))
    assert model.rating_model is not None and model.trend is not None
    histories = ItemLists.from_pairs(np.array([0, 0, 1]), np.array([3, 40, 7]), 2)
    queries = model.vectors.for_histories(histories)
    found = model.candidates(queries, histories, model.n_candidates, "exact")
    anybody = model.rating_model.predict(np.full(2, model.rating_model.unknown_user), found.rows)
    by_hand = blend(found, anybody, 0.3, model.trend[found.rows], np.array([1.5 / 3, 1.5 / 2]))
    ranked = model.for_histories(histories, 10, "exact")
    np.testing.assert_array_equal(ranked.rows, by_hand.rows[:, :10])
    np.testing.assert_array_equal(ranked.scores, by_hand.scores[:, :10])
    unfaded = blend(found, anybody, 0.3, model.trend[found.rows], 1.5)
    assert (ranked.rows != unfaded.rows[:, :10]).any()


def test_popularity_decides_between_equal_scores_only() -> None:
    scorer = ties_by(lambda users: np.array([[0, 0, 1]] * len(users), np.float32), np.array([3.0, 9.0, 0.0]))
    assert np.argsort(-scorer(np.array([0]))[0]).tolist() == [2, 1, 0]


def test_hits_can_be_kept_to_some_items() -> None:
    judged = Judgements(np.array([1, 4]), ItemLists.from_pairs(np.array([0, 0, 1]), np.array([2, 3, 2]), 2))
    some = ItemLists.from_pairs(np.array([1, 4, 4]), np.array([3, 2, 7]), 5)
    kept = judged.only(some)
    assert [kept.relevant.of(row).tolist() for row in range(2)] == [[3], [2]]
    assert kept.users.tolist() == [1, 4]


def test_an_item_nobody_rated_is_served_by_its_genres(
    sample_set: Dataset, tiny_settings: BuildSettings
) -> None:
    assert sample_set.items is not None
    frame = sample_set.items.frame.select("item", "title", "genres")
    new = pl.DataFrame({"item": [9001], "title": ["Brand new"], "genres": [["Drama"]]})
    table = ItemTable.from_frame(pl.concat([frame, new.cast({"item": frame.schema["item"]})]))
    built = build(sample_set.interactions, items=table, settings=tiny_settings)
    assert built.evaluated.items.row(9001) is None
    row = built.served.items.row(9001)
    assert row is not None
    vector = built.served.model.vectors.items[row]
    assert np.isfinite(vector).all() and vector.any()
    assert built.item_table().filter(pl.col("item") == 9001)["interactions"].to_list() == [0]
    everything = Recommender(built.served).recommend([42], k=len(built.served.items), exact=True)[0]
    assert 9001 in {item.item for item in everything.items}
