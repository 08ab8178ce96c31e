import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from index import ItemLists
from retrieval.serving.tower_vectors import HISTORY_TABLE, PRIOR, TowerVectors, pool_histories, with_one

N_ITEMS = 9
Matrix = NDArray[np.float32]


def lists(histories: list[list[int]]) -> ItemLists:
    indptr = np.cumsum([0, *map(len, histories)]).astype(np.int64)
    return ItemLists(indptr, np.array([item for each in histories for item in each], dtype=np.int32))


def naive_pool(table: Matrix, histories: ItemLists) -> NDArray[np.float64]:
    pooled = np.zeros((len(histories), table.shape[1]))
    for row in range(len(histories)):
        own = histories.of(row)
        for item in own.tolist():
            pooled[row] += table[item] / np.sqrt(len(own) + 1)
    return pooled


def normal(*shape: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_pooling_by_hand() -> None:
    table = np.array([[1, 0], [0, 2], [4, 4], [0, 6]], dtype=np.float32)
    pooled = pool_histories(table, lists([[0, 1, 3], [], [2]]))
    # One more than there are: three items are divided by 2, a single one by the root of 2.
    assert pooled[:2].tolist() == [[1 / 2, 8 / 2], [0, 0]]
    assert pooled[2] == pytest.approx([4 / np.sqrt(2)] * 2)
    assert pooled.dtype == np.float32


@given(st.lists(st.sets(st.integers(0, N_ITEMS - 1)).map(sorted), max_size=12))
def test_pooling_agrees_with_a_loop(histories: list[list[int]]) -> None:
    table, given_lists = normal(N_ITEMS, 3), lists(histories)
    pooled = pool_histories(table, given_lists)
    assert pooled.shape == (len(histories), 3)
    assert pooled == pytest.approx(naive_pool(table, given_lists), abs=1e-5)


def test_pooling_in_many_blocks_agrees_with_a_loop() -> None:
    """3.2 million cells: several blocks, with empty histories at both ends and between."""
    rng, n_items, filled = np.random.default_rng(1), 40_000, [1, 2, 5, 6, 7, 11, 12, 13]
    histories = [
        np.flatnonzero(rng.random(n_items) < (i % 8 + 1) / 8).tolist() if i % 15 in filled else []
        for i in range(15 * 18)
    ]
    given_lists = lists(histories)
    assert given_lists.lengths().sum() > 2_000_000
    table = rng.normal(size=(n_items, 2)).astype(np.float32)
    pooled = pool_histories(table, given_lists)
    for row, own in enumerate(histories):
        expected = table[own].sum(axis=0, dtype=np.float64) / np.sqrt(len(own) + 1)
        assert pooled[row] == pytest.approx(expected, abs=1e-3), row
    assert not pooled[0].any() and not pooled[-1].any() and pooled[-2].any()


def test_one_history_may_be_longer_than_several_blocks() -> None:
    n_items = 1_600_000
    table = np.ones((n_items, 1), dtype=np.float32)
    everything = ItemLists(np.array([0, 0, n_items]), np.arange(n_items, dtype=np.int32))
    assert pool_histories(table, everything)[:, 0] == pytest.approx(
        [0, n_items / np.sqrt(n_items + 1)], rel=1e-5
    )


def test_no_history_gives_no_vector() -> None:
    assert pool_histories(normal(4, 3), ItemLists.empty(0)).shape == (0, 3)
    assert pool_histories(normal(4, 3), ItemLists.empty(2)).tolist() == [[0, 0, 0]] * 2


def test_with_one_appends_what_meets_the_bias() -> None:
    assert with_one(np.array([[2, 3], [4, 5]], dtype=np.float32)).tolist() == [[2, 3, 1], [4, 5, 1]]
    assert with_one(np.empty((0, 2), dtype=np.float32)).shape == (0, 3)
    assert with_one(normal(3, 2)).dtype == np.float32


def towers(n_items: int = 3, dimension: int = 2) -> TowerVectors:
    """Of the history tower, two users."""
    return TowerVectors(
        items=normal(n_items, dimension + 1, seed=1),
        users=normal(2, dimension + 1, seed=2),
        history_items=normal(n_items, dimension, seed=3),
        prior=normal(dimension, seed=4),
    )


def test_a_history_gets_the_pooled_vector_on_top_of_the_prior_and_a_one() -> None:
    table = np.array([[3, 0], [0, 6], [9, 2]], dtype=np.float32)
    vectors = replace(towers(), history_items=table, prior=np.array([100, -10], dtype=np.float32))
    assert vectors.dimension == 3
    given_to = vectors.for_histories(lists([[0, 1, 2], []]))
    assert given_to.tolist() == [[12 / 2 + 100, 8 / 2 - 10, 1], [100, -10, 1]]
    assert given_to.dtype == np.float32


def test_the_id_tower_has_no_vector_for_a_history() -> None:
    vectors = TowerVectors(normal(3, 3), normal(2, 3), None, None)
    with pytest.raises(ValueError, match="id user tower"):
        vectors.for_histories(lists([[1]]))


def test_the_weights_make_the_vectors_again_from_histories() -> None:
    vectors, histories = towers(), lists([[1], [0, 2]])
    weights = vectors.weights()
    assert list(weights) == ["items.weight", HISTORY_TABLE, PRIOR]
    again = pool_histories(weights[HISTORY_TABLE], histories) + weights[PRIOR]
    assert np.array_equal(with_one(again), vectors.for_histories(histories))
    assert np.array_equal(weights["items.weight"], vectors.items)
    by_id = TowerVectors(vectors.items, vectors.users, None, None)
    assert {name: array.tolist() for name, array in by_id.weights().items()} == {
        "items.weight": vectors.items.tolist(),
        "users.weight": vectors.users.tolist(),
    }


@pytest.mark.parametrize(
    ("items", "users", "table", "prior", "message"),
    [
        ((3, 4), (2, 5), (3, 3), (3,), "do not fit"),
        ((3,), (2, 3), (3, 2), (2,), "do not fit"),
        ((3, 4), (4,), (3, 3), (3,), "do not fit"),
        ((3, 4), (2, 4), (3, 4), (3,), r"history table has shape \(3, 4\), not \(3, 3\)"),
        ((3, 4), (2, 4), (2, 3), (3,), r"history table has shape \(2, 3\), not \(3, 3\)"),
        ((3, 4), (2, 4), (3, 3), (4,), r"prior has shape \(4,\), not \(3,\)"),
        ((3, 4), (2, 4), (3, 3), (1, 3), r"prior has shape \(1, 3\), not \(3,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    items: tuple[int, ...],
    users: tuple[int, ...],
    table: tuple[int, ...],
    prior: tuple[int, ...],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        TowerVectors(normal(*items), normal(*users), normal(*table), normal(*prior))


@pytest.mark.parametrize("left_out", ["history_items", "prior"])
def test_the_history_table_and_the_prior_belong_together(left_out: str) -> None:
    with pytest.raises(ValueError, match="belong together"):
        replace(towers(), **{left_out: None})


MATRICES = ["items", "users", "history_items", "prior"]


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused(name: str, value: float) -> None:
    matrix = getattr(towers(), name).copy()
    matrix[..., 1] = value
    with pytest.raises(ValueError, match=f"{name} must be finite"):
        replace(towers(), **{name: matrix})


@pytest.mark.parametrize("name", MATRICES)
def test_other_dtypes_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be finite float32"):
        replace(towers(), **{name: getattr(towers(), name).astype(np.float64)})


def test_what_a_query_needs_of_the_models_imports_no_torch() -> None:
    code = (
        "import sys, retrieval.serving.tower_vectors, retrieval.serving.rating_model;"
        "print(sorted({'torch', 'polars', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_exact_search_and_the_cosines_are_made_once() -> None:
    items, users = normal(6, 4), with_one(normal(2, 3))
    vectors = TowerVectors(items, users, None, None)
    assert vectors.exact is vectors.exact and vectors.exact.vectors is items
    assert vectors.cosine is vectors.cosine
    np.testing.assert_allclose(np.linalg.norm(vectors.cosine.vectors, axis=1), 1, rtol=1e-6)
    expected = items[:, :-1] / np.linalg.norm(items[:, :-1], axis=1, keepdims=True)
    np.testing.assert_allclose(vectors.cosine.vectors, expected, rtol=1e-6)
    other = replace(vectors, items=items[::-1].copy())
    assert other.exact is not vectors.exact and other.exact.vectors is other.items


def test_matrices_said_to_be_finite_are_checked_for_all_else() -> None:
    items, users = normal(6, 4), with_one(normal(2, 3))
    items[2, 1] = np.nan
    with pytest.raises(ValueError, match="items must be finite float32"):
        TowerVectors(items, users, None, None, finite=("users",))
    kept = TowerVectors(items, users, None, None, finite=("items", "users"))
    with pytest.raises(ValueError, match="items must be finite float32"):
        replace(kept, users=users)  # what is put together again is checked again
    with pytest.raises(ValueError, match="items must be finite float32"):
        TowerVectors(items.astype(np.float64), users, None, None, finite=("items", "users"))
