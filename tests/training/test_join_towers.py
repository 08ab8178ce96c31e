import numpy as np
import pytest
from numpy.typing import NDArray

from index import ItemLists
from retrieval.serving.tower_vectors import TowerVectors, pool_histories, with_one
from retrieval.training.join_towers import join

N_ITEMS, N_USERS, DIMENSION = 40, 12, 4
Matrix = NDArray[np.float32]


def histories(n_items: int = N_ITEMS) -> ItemLists:
    rng = np.random.default_rng(8)
    liked = [np.sort(rng.choice(n_items, size % n_items, replace=False)) for size in range(N_USERS)]
    return ItemLists(np.cumsum([0, *map(len, liked)]), np.concatenate(liked))


def member(seed: int, n_items: int = N_ITEMS, dimension: int = DIMENSION) -> TowerVectors:
    rng = np.random.default_rng(seed)
    items, table, prior = (
        rng.normal(size=shape).astype(np.float32)
        for shape in ((n_items, dimension + 1), (n_items, dimension), dimension)
    )
    return TowerVectors(items, with_one(pool_histories(table, histories(n_items)) + prior), table, prior)


def scores(vectors: TowerVectors) -> Matrix:
    return vectors.users @ vectors.items.T


def ones(n_items: int = N_ITEMS) -> Matrix:
    return np.ones(n_items, dtype=np.float32)


def test_a_single_member_is_left_as_it_is() -> None:
    alone = member(1)
    assert join([alone], ones(), 2) is alone


@pytest.mark.parametrize("copies", [2, 3])
def test_members_that_are_all_the_same_give_its_scores(copies: int) -> None:
    """Side by side they are several times as wide, and of no higher rank."""
    one = member(1)
    joined = join([one] * copies, ones(), DIMENSION)
    assert joined.items.shape == one.items.shape
    assert scores(joined) == pytest.approx(scores(one), abs=1e-4)


@pytest.mark.parametrize("dimension", [3 * DIMENSION, 3 * DIMENSION + 5])
def test_of_enough_dimensions_the_scores_are_the_members_mean(dimension: int) -> None:
    members = [member(seed) for seed in range(3)]
    joined = join(members, np.arange(1, N_ITEMS + 1, dtype=np.float32), dimension)
    mean = np.mean([scores(each) for each in members], axis=0)
    assert scores(joined) == pytest.approx(mean, abs=1e-4)
    assert joined.dimension == dimension + 1
    assert joined.items[:, -1] == pytest.approx(np.mean([each.items[:, -1] for each in members], axis=0))
    # So are those of people who come with a history, or with none.
    strangers = ItemLists.from_pairs(np.array([0, 0, 0, 2]), np.array([3, 7, 39, 0]), 3)
    mean = np.mean([each.for_histories(strangers) @ each.items.T for each in members], axis=0)
    assert joined.for_histories(strangers) @ joined.items.T == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize("dimension", [1, 4, 9])
def test_users_are_still_those_of_their_histories(dimension: int) -> None:
    joined = join([member(seed) for seed in range(3)], ones(), dimension)
    assert joined.for_histories(histories()) == pytest.approx(joined.users, abs=1e-4)
    assert (joined.users[:, -1] == 1).all()
    assert all(
        matrix is not None and matrix.dtype == np.float32 and matrix.flags.c_contiguous
        for matrix in (joined.items, joined.users, joined.history_items, joined.prior)
    )


def parts(members: list[TowerVectors], weights: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Histories and prior with the roots of their weights, and items: their product is what is kept."""
    left = np.hstack([np.vstack([each.history_items, each.prior]) for each in members]) / len(members)
    roots = np.sqrt(np.append(weights, weights.sum()).astype(np.float64))
    return left * roots[:, None], np.hstack([each.items[:, :-1] for each in members]).astype(np.float64)


def error(members: list[TowerVectors], joined: TowerVectors, weights: Matrix) -> float:
    """Weighted distance of the joined scores from the members' mean, the biases aside."""
    left, right = parts(members, weights)
    mine, items = parts([joined], weights)
    return float(np.linalg.norm(left @ right.T - mine @ items.T))


@pytest.mark.parametrize("dimension", [1, 2, 4, 7, 11])
@pytest.mark.parametrize("even", [True, False])
def test_no_approximation_of_that_width_is_nearer(dimension: int, even: bool) -> None:
    """As near as the singular values that are left out allow, and nearer than other projections."""
    members = [member(seed) for seed in range(3)]
    weights = ones() if even else np.random.default_rng(5).pareto(1, N_ITEMS).astype(np.float32) + 1
    left, right = parts(members, weights)
    mine = error(members, join(members, weights, dimension), weights)
    left_out = np.linalg.svd(left @ right.T, compute_uv=False)[dimension:]
    assert mine == pytest.approx(float(np.linalg.norm(left_out)), rel=1e-4)
    rng = np.random.default_rng(6)
    for _ in range(20):
        basis = np.linalg.qr(rng.normal(size=(left.shape[1], dimension)))[0]
        assert mine < np.linalg.norm(left @ right.T - (left @ basis) @ (right @ basis).T)
    if dimension == DIMENSION:
        assert all(mine < error(members, each, weights) for each in members)


def test_what_weighs_more_is_met_more_nearly() -> None:
    members = [member(seed) for seed in range(3)]
    weights = ones()
    weights[7] = 1e4

    def distance(joined: TowerVectors) -> float:
        alone = np.eye(1, N_ITEMS, 7, dtype=np.float32)[0]
        alone = alone * 1.0
        left, right = parts(members, alone)
        mine, items = parts([joined], alone)
        return float(np.linalg.norm((left @ right.T - mine @ items.T)[7]))

    assert distance(join(members, weights, 3)) < 0.2 * distance(join(members, ones(), 3))


@pytest.mark.parametrize("n_items", [1, 2, 5])
@pytest.mark.parametrize("dimension", [4, 12])
def test_of_fewer_items_than_columns_the_mean_is_met_and_the_width_kept(n_items: int, dimension: int) -> None:
    members = [member(seed, n_items) for seed in range(3)]
    joined = join(members, ones(n_items), dimension)
    assert joined.items.shape == (n_items, dimension + 1)
    assert joined.history_items is not None and joined.history_items.shape == (n_items, dimension)
    if dimension >= n_items:
        mean = np.mean([scores(each) for each in members], axis=0)
        assert scores(joined) == pytest.approx(mean, abs=1e-4)


def test_rows_of_zeros_break_nothing() -> None:
    """Silent items, and towers that have learned nothing at all."""
    zeros = TowerVectors(
        np.zeros((N_ITEMS, DIMENSION + 1), np.float32),
        with_one(np.zeros((N_USERS, DIMENSION), np.float32)),
        np.zeros((N_ITEMS, DIMENSION), np.float32),
        np.zeros(DIMENSION, np.float32),
    )
    assert not scores(join([zeros, zeros], ones(), DIMENSION)).any()
    half = join([member(1), zeros], ones(), DIMENSION)
    assert scores(half) == pytest.approx(scores(member(1)) / 2, abs=1e-4)


def test_id_towers_are_not_joined() -> None:
    vectors = TowerVectors(member(1).items, member(1).users, None, None)
    with pytest.raises(ValueError, match="only history towers"):
        join([vectors, vectors], ones(), 4)
