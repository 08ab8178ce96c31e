import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from index import order_result, top_k

# Few distinct values, so that nearly every line has ties at the cut; -inf is a masked entry.
TIED = st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 0.5, 2.0])
SCORES = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12), elements=TIED)


def reference(line, k):
    """The rule as a sort: by score downwards, then by column; masked entries are padding."""
    best = sorted(range(len(line)), key=lambda column: (-line[column], column))[:k]
    return [(line[c], c) if line[c] > -np.inf else (-np.inf, -1) for c in best]


@given(SCORES, st.integers(1, 14))
def test_agrees_with_sorting_by_score_then_column(scores, k):
    values, columns = top_k(scores, k)
    assert values.dtype == np.float32
    assert columns.dtype == np.int64
    for line, line_values, line_columns in zip(scores, values, columns, strict=True):
        assert list(zip(line_values, line_columns, strict=True)) == reference(line, k)


def test_ties_at_the_cut_keep_the_lowest_columns_also_in_long_lines():
    scores = np.zeros((3, 5000), dtype=np.float32)
    scores[:, 4000] = 1
    values, columns = top_k(scores, 4)
    assert columns.tolist() == [[4000, 0, 1, 2]] * 3
    assert values.tolist() == [[1, 0, 0, 0]] * 3


def test_lines_with_and_without_ties_do_not_disturb_each_other():
    scores = np.array([[1, 2, 3, 4], [5, 5, 5, 5], [-np.inf, 7, -np.inf, -np.inf]], dtype=np.float32)
    values, columns = top_k(scores, 2)
    assert columns.tolist() == [[3, 2], [0, 1], [1, -1]]
    assert values.tolist() == [[4, 3], [5, 5], [7, -np.inf]]


def test_input_is_left_as_it_was():
    scores = np.array([[3, 1, 2]], dtype=np.float32)
    top_k(scores, 2)
    top_k(scores, 3)
    assert scores.tolist() == [[3, 1, 2]]


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_no_lines_or_no_columns_give_an_empty_answer(shape):
    values, columns = top_k(np.empty(shape, dtype=np.float32), 2)
    assert values.shape == columns.shape == (shape[0], min(2, shape[1]))


@pytest.mark.parametrize("k", [1, 3])
def test_nan_is_refused_whatever_k(k):
    with pytest.raises(ValueError, match="NaN"):
        top_k(np.array([[1, np.nan, 2]], dtype=np.float32), k)


def test_k_below_one_and_flat_scores_are_refused():
    with pytest.raises(ValueError, match="k is 0"):
        top_k(np.zeros((1, 2), dtype=np.float32), 0)
    with pytest.raises(ValueError, match="shape"):
        top_k(np.zeros(2, dtype=np.float32), 1)


def test_order_result_sorts_ties_by_row_and_puts_padding_last():
    scores = np.array([[1, 9, 2, 2], [4, 3, 3, -3.4e38]], dtype=np.float32)
    rows = np.array([[5, -1, 8, 3], [9, 1, 2, -1]], dtype=np.int64)
    result = order_result(scores, rows)
    assert result.rows.tolist() == [[3, 8, 5, -1], [9, 1, 2, -1]]
    assert result.scores.tolist() == [[2, 2, 1, -np.inf], [4, 3, 3, -np.inf]]
    assert rows.tolist() == [[5, -1, 8, 3], [9, 1, 2, -1]]  # input untouched
