import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index import (
    AnnIndex,
    ExactIndex,
    ItemLists,
    SearchResult,
    SearchSettings,
    Workload,
    measure_latency,
    recall_against_exact,
    search_filtered,
)

ROW_SETS = st.lists(
    st.tuples(st.sets(st.integers(0, 12)), st.sets(st.integers(0, 12))), min_size=1, max_size=6
)


def padded(sets, width):
    return np.array([sorted(s) + [-1] * (width - len(s)) for s in sets], dtype=np.int64).reshape(
        len(sets), width
    )


@given(ROW_SETS)
def test_recall_agrees_with_python_sets(pairs):
    found, exact = [f for f, _ in pairs], [e for _, e in pairs]
    expected = [len(f & e) / len(e) if e else 1.0 for f, e in pairs]
    recall = recall_against_exact(padded(found, 13), padded(exact, 14))
    assert recall.tolist() == pytest.approx(expected)


def test_recall_known_values():
    exact = np.array([[1, 2, 3, 4], [5, 6, -1, -1], [-1, -1, -1, -1]])
    found = np.array([[4, 9, 1, -1], [1, 2, 3, 4], [7, -1, -1, -1]])
    assert recall_against_exact(found, exact).tolist() == [0.5, 0.0, 1.0]


def test_a_row_found_twice_counts_once_and_one_line_does_not_help_another():
    exact = np.array([[0, 1], [2, 3]])
    assert recall_against_exact(np.array([[1, 1], [0, 1]]), exact).tolist() == [0.5, 0.0]


def test_recall_of_different_queries_is_refused():
    with pytest.raises(ValueError, match="line for each query"):
        recall_against_exact(np.zeros((2, 3), dtype=np.int64), np.zeros((1, 3), dtype=np.int64))


class Sleepy:
    """Takes the time that its query says, in milliseconds, and counts calls."""

    name, size, dimension, calls = "sleepy", 5, 1, 0

    def search(self, queries, k):
        self.calls += 1
        assert queries.shape == (1, 1)
        time.sleep(float(queries[0, 0]) / 1000)
        return SearchResult(np.zeros((1, k), np.float32), np.zeros((1, k), np.int64))


def test_latency_is_raw_seconds_of_each_single_query_after_a_warm_up():
    index = Sleepy()
    seconds = measure_latency(index, np.array([[1], [8]], dtype=np.float32), 1, repeats=3)
    assert seconds.shape == (3, 2)
    assert (seconds[:, 0] >= 0.001).all()
    assert (seconds[:, 1] >= 0.008).all()
    assert index.calls > 6


def test_nothing_to_time_is_refused():
    with pytest.raises(ValueError, match="0 queries"):
        measure_latency(Sleepy(), np.empty((0, 1), np.float32), 1, 1)
    with pytest.raises(ValueError, match="0 repeats"):
        measure_latency(Sleepy(), np.ones((1, 1), np.float32), 1, 0)


def test_recall_is_of_filtered_candidates_without_the_exact_fallback():
    """With 600 candidates of 2,000 one list is always too few: rescued answers would look perfect."""
    rng = np.random.default_rng(2)
    vectors = (rng.normal(size=(2000, 8)) + 0.2).astype(np.float32)
    queries = rng.normal(size=(40, 8)).astype(np.float32)
    exclude = ItemLists.from_pairs(rng.integers(0, 40, 2000), rng.integers(0, 2000, 2000), 40)
    index = AnnIndex.build(vectors, "IVF24,Flat", seed=0, threads=1, settings=SearchSettings(nprobe=1))
    exact = ExactIndex(vectors)
    assert search_filtered(index, exact, queries, 600, exclude).fallbacks == len(queries)
    found = index.search(queries, 2000).rows
    truth = exact.search(queries, 600, exclude).rows
    by_hand = [len(set(f) & set(t) - {-1}) / 600 for f, t in zip(found.tolist(), truth.tolist(), strict=True)]
    recalls = Workload(exact, queries, 600, exclude).recalls(index)
    assert recalls.tolist() == pytest.approx(by_hand)
    assert recalls.mean() < 0.5


def test_indexes_take_turns_and_every_time_is_kept():
    exact, asked = ExactIndex(np.ones((5, 1), np.float32)), []

    class Noting:
        size, dimension = 5, 1

        def __init__(self, name):
            self.name = name

        def search(self, queries, k):
            asked.append(self.name)
            return exact.search(queries, k)

    seconds = Workload(exact, np.ones((4, 1), np.float32), 2).seconds([Noting("a"), Noting("b")], rounds=3)
    assert seconds.shape == (2, 3, 4)
    assert (seconds > 0).all()
    turns = [name for i, name in enumerate(asked) if not i or asked[i - 1] != name]
    assert turns == ["a", "b"] * 3
