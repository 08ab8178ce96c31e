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
    choose_nprobe,
    measure_filtered_latency,
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


@pytest.fixture(scope="module")
def catalogue():
    rng = np.random.default_rng(2)
    vectors = (rng.normal(size=(2000, 8)) + 0.2).astype(np.float32)
    queries = rng.normal(size=(40, 8)).astype(np.float32)
    exclude = ItemLists.from_pairs(rng.integers(0, 40, 2000), rng.integers(0, 2000, 2000), 40)
    index = AnnIndex.build(vectors, "IVF24,Flat", seed=0, threads=1, settings=SearchSettings(nprobe=5))
    return index, ExactIndex(vectors), queries, exclude


def test_the_sweep_ends_at_every_list_where_recall_is_one(catalogue):
    index, exact, queries, exclude = catalogue
    points, _ = choose_nprobe(index, exact, queries, 20, exclude, 0.9, timed_queries=4, repeats=1)
    assert [point.nprobe for point in points] == [1, 2, 4, 8, 16, 24]
    assert points[-1].recall == 1.0
    assert all(0 < point.p50_ms <= point.p99_ms for point in points)
    recalls = [point.recall for point in points]
    assert recalls == sorted(recalls)
    assert index.settings.nprobe == 5


@pytest.mark.parametrize("target", [0.3, 0.8, 0.95, 1.0])
def test_the_smallest_nprobe_that_meets_the_target_is_chosen(catalogue, target):
    index, exact, queries, exclude = catalogue
    points, chosen = choose_nprobe(index, exact, queries, 20, exclude, target, timed_queries=2, repeats=1)
    assert chosen.recall >= target
    assert all(point.recall < target for point in points if point.nprobe < chosen.nprobe)


def test_recall_is_of_filtered_candidates_without_the_exact_fallback(catalogue):
    """With 600 candidates of 2,000 one list is always too few: rescued answers would look perfect."""
    index, exact, queries, exclude = catalogue
    assert search_filtered(index.with_nprobe(1), exact, queries, 600, exclude).fallbacks == len(queries)
    points, _ = choose_nprobe(index, exact, queries, 600, exclude, 0.95, timed_queries=2, repeats=1)
    found = index.with_nprobe(1).search(queries, 2000).rows
    truth = exact.search(queries, 600, exclude).rows
    by_hand = [len(set(f) & set(t) - {-1}) / 600 for f, t in zip(found.tolist(), truth.tolist(), strict=True)]
    assert points[0].recall == pytest.approx(np.mean(by_hand))
    assert points[0].recall < 0.5


def test_a_target_out_of_reach_gives_the_best_point(catalogue):
    _, exact, queries, exclude = catalogue
    coarse = AnnIndex.build(exact.vectors, "IVF4,PQ1x4", seed=0, threads=1)
    points, chosen = choose_nprobe(coarse, exact, queries, 20, exclude, 1.0, timed_queries=2, repeats=1)
    assert chosen.recall == max(point.recall for point in points) < 1.0


def test_filtered_latency_has_a_time_for_each_query(catalogue):
    index, exact, queries, exclude = catalogue
    assert (measure_filtered_latency(index, exact, queries, 20, exclude, 2) > 0).all()


def test_indexes_without_lists_and_impossible_targets_are_refused(catalogue):
    index, exact, queries, exclude = catalogue
    flat = AnnIndex.build(exact.vectors, "Flat", seed=0, threads=1)
    with pytest.raises(ValueError, match="no nprobe"):
        choose_nprobe(flat, exact, queries, 20, exclude, 0.9)
    for target in (0.0, 1.1, float("nan")):
        with pytest.raises(ValueError, match="recall target"):
            choose_nprobe(index, exact, queries, 20, exclude, target)
