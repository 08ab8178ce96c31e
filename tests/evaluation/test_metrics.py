import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import P, R, nDCG

from retrieval.evaluation.metrics import ndcg, precision, recall, squared_errors

# trec_eval's measures: with 0/1 judgements its nDCG has binary gain, 1 / log2(rank + 1), and an ideal
# list cut at k. (ir_measures asks gdeval first for nDCG, whose gain and parser differ.)
REFERENCE = ir_measures.pytrec_eval


def by_ir_measures(lists: list[list[int]], relevant: list[set[int]], k: int) -> dict[str, np.ndarray]:
    """P@k, R@k and nDCG@k of every user, by ir_measures; -1 in a list is padding."""
    # A user without relevant items is known to trec_eval only by a judgement of 0.
    qrels = {
        str(user): {str(item): 1 for item in items} or {"none": 0} for user, items in enumerate(relevant)
    }
    run = {
        str(user): {str(item): float(-rank) for rank, item in enumerate(items) if item >= 0}
        for user, items in enumerate(lists)
    }
    names = {P @ k: "precision", R @ k: "recall", nDCG @ k: "ndcg"}
    values = {name: np.zeros(len(lists)) for name in names.values()}
    for metric in REFERENCE.iter_calc(list(names), qrels, run):
        values[names[metric.measure]][int(metric.query_id)] = metric.value
    return values


@st.composite
def judged_lists(draw: st.DrawFn) -> tuple[list[list[int]], list[set[int]], int]:
    """Lists of 8 places or fewer, padded with -1, of a catalogue of 12; some users like nothing."""
    n_users, width = draw(st.integers(1, 5)), draw(st.integers(1, 8))
    lists, relevant = [], []
    for _ in range(n_users):
        items = draw(st.lists(st.integers(0, 11), max_size=width, unique=True))
        lists.append(items + [-1] * (width - len(items)))
        relevant.append(draw(st.sets(st.integers(0, 11), max_size=10)))
    return lists, relevant, draw(st.integers(1, 12))


@given(judged_lists())
@settings(max_examples=150)
def test_agrees_with_ir_measures_on_short_lists_any_k_and_users_without_relevant_items(case) -> None:
    lists, relevant, k = case
    hits = np.array(
        [[item in wanted for item in items] for items, wanted in zip(lists, relevant, strict=True)]
    )
    expected = by_ir_measures(lists, relevant, k)
    n_relevant = np.array([len(wanted) for wanted in relevant])
    judged = n_relevant > 0
    np.testing.assert_allclose(precision(hits, k), expected["precision"], atol=1e-9)
    for name, ours in (("recall", recall), ("ndcg", ndcg)):
        np.testing.assert_allclose(
            ours(hits[judged], n_relevant[judged], k), expected[name][judged], atol=1e-9
        )


def test_precision_divides_by_k_even_where_the_list_is_shorter() -> None:
    assert precision(np.array([[True, True], [False, True]]), k=4).tolist() == [0.5, 0.25]


def test_only_the_first_k_places_count() -> None:
    hits = np.array([[False, False, True]])
    assert precision(hits, 2).tolist() == [0]
    assert recall(hits, np.array([1]), 2).tolist() == [0]
    assert ndcg(hits, np.array([1]), 2).tolist() == [0]


def test_recall_is_over_all_relevant_items_even_those_that_no_list_of_k_could_hold() -> None:
    assert recall(np.array([[True, True]]), np.array([8]), k=2).tolist() == [0.25]


def test_ndcg_worked_by_hand() -> None:
    # Ranks 2 and 3 hit: 1/log2(3) + 1/log2(4) = 0.63093 + 0.5; ideal of two: 1 + 0.63093.
    hits = np.array([[False, True, True]])
    assert ndcg(hits, np.array([2]), k=3)[0] == pytest.approx(1.13093 / 1.63093, abs=1e-5)
    # With five relevant items the ideal list of three is full: 1 + 0.63093 + 0.5.
    assert ndcg(hits, np.array([5]), k=3)[0] == pytest.approx(1.13093 / 2.13093, abs=1e-5)


def test_a_full_list_of_relevant_items_is_ideal_however_many_more_there_are() -> None:
    assert ndcg(np.ones((1, 3), dtype=bool), np.array([9]), k=3)[0] == pytest.approx(1)


@pytest.mark.parametrize("metric", [recall, ndcg])
def test_recall_and_ndcg_refuse_users_without_relevant_items(metric) -> None:
    with pytest.raises(ValueError, match="at least one relevant item"):
        metric(np.zeros((2, 3), dtype=bool), np.array([1, 0]), 3)


def test_no_users_give_no_figures() -> None:
    nobody, none = np.zeros((0, 3), dtype=bool), np.zeros(0, dtype=np.int64)
    assert precision(nobody, 3).shape == recall(nobody, none, 3).shape == ndcg(nobody, none, 3).shape == (0,)


def test_squared_errors_are_taken_in_float64() -> None:
    predicted, actual = np.array([4.5, 1.0], dtype=np.float32), np.array([5.0, 3.0], dtype=np.float32)
    errors = squared_errors(predicted, actual)
    assert errors.tolist() == [0.25, 4.0]
    assert errors.dtype == np.float64
