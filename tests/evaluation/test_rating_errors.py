from dataclasses import replace

import numpy as np
import pytest

from retrieval.data.encoded import EncodedInteractions
from retrieval.evaluation.rating_errors import BiasModel


def ratings_of(rows: list[tuple[int, int, float]], n_users: int, n_items: int) -> EncodedInteractions:
    """(user, item, rating) rows, ordered as the models expect them."""
    users, items, ratings = (np.array(column) for column in zip(*sorted(rows), strict=True))
    return EncodedInteractions(users, items, ratings.astype(np.float32), None, n_users, n_items)


def biased_ratings(noise: float = 0.0) -> tuple[EncodedInteractions, np.ndarray, np.ndarray]:
    """Every user rates every item: 3 + user bias + item bias, both of mean 0."""
    rng = np.random.default_rng(5)
    users, items = rng.normal(0, 0.5, 40), rng.normal(0, 0.7, 25)
    users, items = users - users.mean(), items - items.mean()
    ratings = 3 + users[:, None] + items + noise * rng.normal(size=(40, 25))
    rows = [(u, i, ratings[u, i]) for u in range(40) for i in range(25)]
    return ratings_of(rows, 40, 25), users, items


def test_biases_without_damping_are_the_planted_ones() -> None:
    ratings, users, items = biased_ratings()
    model = BiasModel.fit(ratings, damping=0.0)
    assert model.mean == pytest.approx(3, abs=1e-5)
    np.testing.assert_allclose(model.users, users, atol=1e-5)
    np.testing.assert_allclose(model.items, items, atol=1e-5)
    predicted = model.predict_pairs(ratings.users, ratings.items)
    np.testing.assert_allclose(predicted, ratings.ratings, atol=1e-4)


def test_a_user_who_rated_only_good_items_is_not_taken_for_a_generous_one() -> None:
    ratings, _, items = biased_ratings()
    # Each user rates the better or the worse half only, and a few items that connect the halves.
    better = items[ratings.items] > np.median(items)
    half = ratings.where((better == (ratings.users % 2 == 0)) | (ratings.items < 4))
    model = BiasModel.fit(half, damping=0.0, rounds=200)
    predicted = model.predict_pairs(ratings.users, ratings.items)
    np.testing.assert_allclose(predicted, ratings.ratings, atol=1e-3)


def test_damping_shrinks_biases_and_keeps_their_order() -> None:
    ratings, users, items = biased_ratings()
    model = BiasModel.fit(ratings)
    assert np.corrcoef(model.users, users)[0, 1] > 0.999
    # 40 ratings of an item, 25 of a user, 10 at the mean.
    np.testing.assert_allclose(model.items, items * 40 / 50, atol=0.02)
    np.testing.assert_allclose(model.users, users * 25 / 35, atol=0.02)


def test_a_damped_bias_by_hand() -> None:
    # Mean 4, the item is average, the users are 1 above and below it; one rating each against ten at 0.
    model = BiasModel.fit(ratings_of([(0, 0, 5), (1, 0, 3)], 3, 2))
    assert model.users.tolist() == pytest.approx([1 / 11, -1 / 11, 0])
    assert model.predict_pairs(np.array([0, 2]), np.array([0, 1])).tolist() == pytest.approx([4 + 1 / 11, 4])


def test_constant_ratings_are_predicted_as_that_constant() -> None:
    rows = [(u, i, 3.5) for u in range(4) for i in range(3)]
    model = BiasModel.fit(ratings_of(rows, 5, 4))
    predicted = model.predict_pairs(np.repeat(np.arange(5), 4), np.tile(np.arange(4), 5))
    assert predicted.tolist() == pytest.approx([3.5] * 20)


def test_without_ratings_there_are_no_biases() -> None:
    ratings, _, _ = biased_ratings()
    with pytest.raises(ValueError, match="there are none"):
        BiasModel.fit(replace(ratings, ratings=None))
