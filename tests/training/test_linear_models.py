import numpy as np
import pytest

from retrieval.data.encoded import EncodedInteractions
from retrieval.data.matrices import positive_matrix
from retrieval.training import linear_models
from retrieval.training.linear_models import Ease, ItemKnn


def liked_by(*users: list[int], n_items: int) -> EncodedInteractions:
    """Positives: the items of each user, ascending."""
    pairs = np.array([(user, item) for user, items in enumerate(users) for item in items], dtype=np.int64)
    return EncodedInteractions(pairs[:, 0], pairs[:, 1], None, None, len(users), n_items)


def random_positives(seed: int, n_users: int = 30, n_items: int = 12) -> EncodedInteractions:
    chosen = np.random.default_rng(seed).random((n_users, n_items)) < np.linspace(0.7, 0.1, n_items)
    return liked_by(*(np.flatnonzero(line).tolist() for line in chosen), n_items=n_items)


def test_ease_worked_by_hand_for_three_items() -> None:
    # Items 0 and 1 are liked by the same two users, item 2 by a third: with l2 = 1 the weight from 0 to 1 is
    # the ridge coefficient 2 / (2 + 1), and item 2 has nothing to do with them.
    model = Ease.fit(liked_by([0, 1], [0, 1], [2], n_items=3), l2=1.0)
    assert model.weights.ravel() == pytest.approx([0, 2 / 3, 0, 2 / 3, 0, 0, 0, 0, 0], abs=1e-6)
    newcomer = positive_matrix(liked_by([], [0], n_items=3))
    assert model.scorer(newcomer)(np.array([1])).ravel() == pytest.approx([0, 2 / 3, 0], abs=1e-6)


@pytest.mark.parametrize("l2", [0.5, 20.0])
def test_each_ease_column_is_the_ridge_regression_on_the_other_items(l2: float) -> None:
    liked = random_positives(0)
    dense = positive_matrix(liked).toarray().astype(np.float64)
    weights = Ease.fit(liked, l2).weights
    assert (np.diag(weights) == 0).all()
    assert not np.allclose(weights, weights.T, atol=1e-3)
    for item in range(liked.n_items):
        others = np.delete(np.arange(liked.n_items), item)
        design = dense[:, others]
        ridge = np.linalg.solve(design.T @ design + l2 * np.eye(len(others)), design.T @ dense[:, item])
        np.testing.assert_allclose(weights[others, item], ridge, atol=1e-5)


def test_ease_scores_are_the_users_positives_times_the_weights() -> None:
    liked = random_positives(1)
    model = Ease.fit(liked, 10.0)
    matrix = positive_matrix(liked)
    users = np.array([7, 2, 2])
    expected = matrix.toarray()[users] @ model.weights
    np.testing.assert_allclose(model.scorer(matrix)(users), expected, rtol=1e-5)


def test_item_knn_worked_by_hand() -> None:
    # Users of 1, 2 and 3 positives among 3 items weigh a = ln 4, b = ln 2.5, c = ln 2.
    liked = liked_by([0], [0, 1], [0, 1, 2], n_items=3)
    a, b, c = np.log([4, 2.5, 2])
    zero, one = np.sqrt(a**2 + b**2 + c**2), np.hypot(b, c)  # lengths of items 0 and 1; that of item 2 is c
    first = (b**2 + c**2) / (zero * one)  # 0 with 1
    second, third = c / zero, c / one  # 0 with 2, 1 with 2
    both = ItemKnn.fit(liked, 2).similarities.toarray()
    np.testing.assert_allclose(both, [[0, first, second], [first, 0, third], [second, third, 0]], rtol=1e-6)
    # The nearest of 0 is 1, of 1 it is 0, of 2 it is 1: items are neighbours one way only.
    nearest = ItemKnn.fit(liked, 1)
    np.testing.assert_allclose(
        nearest.similarities.toarray(), [[0, first, 0], [first, 0, 0], [0, third, 0]], rtol=1e-6
    )
    # Somebody train does not know, who likes 0 and 2: both speak for item 1, and nothing for the others.
    stranger = positive_matrix(liked_by([0, 2], n_items=3))
    np.testing.assert_allclose(nearest.scorer(stranger)(np.array([0])), [[0, first + third, 0]], rtol=1e-6)


@pytest.mark.parametrize("neighbours", [1, 3, 11, 1000])
@pytest.mark.parametrize("block", [1, 40, 10**6])
def test_item_knn_is_what_dense_arithmetic_says(
    neighbours: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oracle computes all similarities at once and sorts every line whole."""
    monkeypatch.setattr(linear_models, "SIMILARITIES_A_BLOCK", block)
    liked = random_positives(2)
    dense = positive_matrix(liked).toarray().astype(np.float64)
    dense *= np.log(1 + liked.n_items / np.maximum(dense.sum(axis=1, keepdims=True), 1))
    cosine = (dense.T @ dense) / np.outer(np.linalg.norm(dense, axis=0), np.linalg.norm(dense, axis=0))
    np.fill_diagonal(cosine, 0)
    for line in cosine:
        line[np.argsort(-line)[neighbours:]] = 0
    model = ItemKnn.fit(liked, neighbours)
    np.testing.assert_allclose(model.similarities.toarray(), cosine, atol=1e-6)
    matrix, users = positive_matrix(liked), np.array([4, 0, 4])
    np.testing.assert_allclose(model.scorer(matrix)(users), matrix.toarray()[users] @ cosine, atol=1e-5)


def test_of_equal_neighbours_the_first_items_are_kept() -> None:
    liked = liked_by([0, 1, 2, 3], [0, 1, 2, 3], n_items=4)
    kept = ItemKnn.fit(liked, 2).similarities
    assert [kept[[item]].indices.tolist() for item in range(4)] == [[1, 2], [0, 2], [0, 1], [0, 1]]


@pytest.mark.parametrize("neighbours", [1, 4])
def test_fewer_neighbours_of_a_wide_fit_are_a_narrow_fit(neighbours: int) -> None:
    liked = random_positives(3)
    wide, narrow = ItemKnn.fit(liked, 1000), ItemKnn.fit(liked, neighbours)
    np.testing.assert_array_equal(
        wide.narrowed(neighbours).similarities.toarray(), narrow.similarities.toarray()
    )
    assert wide.similarities.nnz > narrow.similarities.nnz


def test_items_nobody_likes_have_no_neighbours() -> None:
    liked = liked_by([0, 1], [], n_items=4)
    similarities = ItemKnn.fit(liked, 5).similarities.toarray()
    expected = np.zeros((4, 4))
    expected[0, 1] = expected[1, 0] = 1
    np.testing.assert_allclose(similarities, expected, atol=1e-6)
