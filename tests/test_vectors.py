import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from index import ItemLists
from retrieval.vectors import TowerVectors, pool_histories, with_one

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
            pooled[row] += table[item] / np.sqrt(len(own))
    return pooled


def normal(*shape: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_pooling_by_hand() -> None:
    table = np.array([[1, 0], [0, 2], [4, 4], [0, 6]], dtype=np.float32)
    pooled = pool_histories(table, lists([[2], [], [0, 1, 2, 3]]))
    assert pooled.tolist() == [[4, 4], [0, 0], [5 / 2, 12 / 2]]
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
        expected = table[own].sum(axis=0, dtype=np.float64) / np.sqrt(max(1, len(own)))
        assert pooled[row] == pytest.approx(expected, abs=1e-3), row
    assert not pooled[0].any() and not pooled[-1].any() and pooled[-2].any()


def test_one_history_may_be_longer_than_several_blocks() -> None:
    n_items = 1_600_000
    table = np.ones((n_items, 1), dtype=np.float32)
    everything = ItemLists(np.array([0, 0, n_items]), np.arange(n_items, dtype=np.int32))
    assert pool_histories(table, everything)[:, 0] == pytest.approx([0, np.sqrt(n_items)], rel=1e-5)


def test_no_history_gives_no_vector() -> None:
    assert pool_histories(normal(4, 3), ItemLists.empty(0)).shape == (0, 3)
    assert pool_histories(normal(4, 3), ItemLists.empty(2)).tolist() == [[0, 0, 0]] * 2


def test_with_one_appends_what_meets_the_bias() -> None:
    assert with_one(np.array([[2, 3], [4, 5]], dtype=np.float32)).tolist() == [[2, 3, 1], [4, 5, 1]]
    assert with_one(np.empty((0, 2), dtype=np.float32)).shape == (0, 3)
    assert with_one(normal(3, 2)).dtype == np.float32


def test_a_history_gets_the_pooled_vector_and_a_one() -> None:
    table = np.array([[3, 0], [0, 5], [1, 1]], dtype=np.float32)
    vectors = TowerVectors(normal(3, 3), normal(2, 3), table)
    assert vectors.dimension == 3
    assert vectors.for_histories(lists([[1], []])).tolist() == [[0, 5, 1], [0, 0, 1]]


def test_the_id_tower_has_no_vector_for_a_history() -> None:
    vectors = TowerVectors(normal(3, 3), normal(2, 3), None)
    with pytest.raises(ValueError, match="id user tower"):
        vectors.for_histories(lists([[1]]))


@pytest.mark.parametrize(
    ("items", "users", "table", "message"),
    [
        ((3, 4), (2, 5), (3, 3), "do not fit"),
        ((3,), (2, 3), (3, 2), "do not fit"),
        ((3, 4), (4,), (3, 3), "do not fit"),
        ((3, 4), (2, 4), (3, 4), r"history table has shape \(3, 4\), not \(3, 3\)"),
        ((3, 4), (2, 4), (2, 3), r"history table has shape \(2, 3\), not \(3, 3\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    items: tuple[int, ...], users: tuple[int, ...], table: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TowerVectors(normal(*items), normal(*users), normal(*table))


@pytest.mark.parametrize("name", ["items", "users", "history_items"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused(name: str, value: float) -> None:
    matrices = {"items": normal(3, 4), "users": normal(2, 4), "history_items": normal(3, 3)}
    TowerVectors(**matrices)
    matrices[name][1, 1] = value
    with pytest.raises(ValueError, match=f"{name} must be finite"):
        TowerVectors(**matrices)


@pytest.mark.parametrize("name", ["items", "users", "history_items"])
def test_other_dtypes_are_refused(name: str) -> None:
    matrices = {"items": normal(3, 4), "users": normal(2, 4), "history_items": normal(3, 3)}
    matrices[name] = matrices[name].astype(np.float64)
    with pytest.raises(ValueError, match=f"{name} must be finite float32"):
        TowerVectors(**matrices)


def test_what_a_query_needs_of_the_models_imports_no_torch() -> None:
    code = (
        "import sys, retrieval.vectors, retrieval.rating_model;"
        "print(sorted({'torch', 'polars', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
