import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index import SearchResult
from retrieval.serving.rerank import blend, in_retrieval_order, standardise

# Close values beside far ones: their z-scores round to the same float32.
CLOSE = st.sampled_from([0.0, 1e-3, 1.0000001e-3, 1.0, 1.0000001, -1.0, 37.0, -1e4])


@st.composite
def candidates(draw: st.DrawFn) -> tuple[SearchResult, np.ndarray]:
    """Candidates as an index gives them (ties by row, padded at the end), and predicted ratings."""
    n_queries, width = draw(st.integers(1, 3)), draw(st.integers(1, 8))
    rows = np.full((n_queries, width), -1, dtype=np.int64)
    scores = np.full((n_queries, width), -np.inf, dtype=np.float32)
    for line in range(n_queries):
        found = draw(st.lists(st.integers(0, 30), max_size=width, unique=True))
        values = np.array(draw(st.lists(CLOSE, min_size=len(found), max_size=len(found))), dtype=np.float32)
        order = np.lexsort((found, -values))
        rows[line, : len(found)] = np.array(found, dtype=np.int64)[order]
        scores[line, : len(found)] = values[order]
    ratings = draw(
        st.lists(
            st.lists(st.integers(1, 5), min_size=width, max_size=width),
            min_size=n_queries,
            max_size=n_queries,
        )
    )
    return SearchResult(scores, rows), np.array(ratings, dtype=np.float32)


def one_line(rows: list[int], scores: list[float]) -> SearchResult:
    return SearchResult(np.array([scores], dtype=np.float32), np.array([rows], dtype=np.int64))


def ratings_of(*values: float) -> np.ndarray:
    return np.array([values], dtype=np.float32)


def test_standardised_lines_have_mean_0_and_deviation_1_over_their_real_entries() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(7, 3, (5, 20)).astype(np.float32)
    real = rng.random((5, 20)) < 0.7
    scaled = standardise(values, real)
    for line, kept in zip(scaled, real, strict=True):
        assert line[kept].mean() == pytest.approx(0, abs=1e-6)
        assert line[kept].std() == pytest.approx(1, abs=1e-6)
        assert (line[~kept] == 0).all()


def test_standardising_ignores_what_stands_in_padding() -> None:
    real = np.array([[True, True, False]])
    clean = standardise(np.array([[1, 3, 0]], dtype=np.float32), real)
    for rubbish in (np.nan, -np.inf, 1e30):
        np.testing.assert_array_equal(standardise(np.array([[1, 3, rubbish]], dtype=np.float32), real), clean)


@pytest.mark.parametrize("value", [0.0, 0.1, -12345.678, 3e30])
def test_a_constant_line_is_0_throughout(value: float) -> None:
    values, real = np.full((1, 7), value, dtype=np.float32), np.ones((1, 7), dtype=bool)
    assert standardise(values, real).tolist() == [[0.0] * 7]


def test_a_line_of_one_or_none_is_0() -> None:
    values = np.array([[4.0, 9.0], [4.0, 9.0]], dtype=np.float32)
    assert standardise(values, np.array([[True, False], [False, False]])).tolist() == [[0, 0], [0, 0]]


def test_a_blend_worked_by_hand() -> None:
    # z of (4, 2, 0) is (1.2247, 0, -1.2247), z of ratings (1, 4, 4) is (-1.4142, 0.7071, 0.7071).
    ranked = blend(one_line([8, 3, 5], [4, 2, 0]), ratings_of(1, 4, 4), alpha=1.0)
    assert ranked.rows.tolist() == [[3, 8, 5]]
    assert ranked.scores[0].tolist() == pytest.approx([0.7071, -0.1895, -0.5176], abs=1e-4)
    assert ranked.retrieval_ranks.tolist() == [[2, 1, 3]]
    assert ranked.retrieval_scores.tolist() == [[2, 4, 0]]
    assert ranked.predicted_ratings.tolist() == [[4, 1, 4]]


@given(candidates())
@settings(max_examples=200)
def test_alpha_0_keeps_the_retrieval_order_exactly(case) -> None:
    found, ratings = case
    ranked = blend(found, ratings, 0.0)
    np.testing.assert_array_equal(ranked.rows, found.rows)
    np.testing.assert_array_equal(ranked.retrieval_ranks, in_retrieval_order(found).retrieval_ranks)


@given(candidates())
@settings(max_examples=100)
def test_a_huge_alpha_orders_by_rating(case) -> None:
    found, ratings = case
    ranked = blend(found, ratings, 1e6)
    for line in ranked.predicted_ratings:
        real = line[~np.isnan(line)]
        assert (np.diff(real) <= 0).all()


@given(candidates(), st.sampled_from([0.0, 0.3, 1.0, 50.0]))
@settings(max_examples=150)
def test_a_blend_permutes_the_candidates_and_its_columns_stay_together(case, alpha) -> None:
    found, ratings = case
    ranked = blend(found, ratings, alpha)
    for line in range(len(found.rows)):
        n_real = int((found.rows[line] >= 0).sum())
        assert sorted(ranked.rows[line, :n_real]) == sorted(found.rows[line, :n_real])
        origin = ranked.retrieval_ranks[line, :n_real] - 1
        np.testing.assert_array_equal(found.rows[line, origin], ranked.rows[line, :n_real])
        np.testing.assert_array_equal(found.scores[line, origin], ranked.retrieval_scores[line, :n_real])
        np.testing.assert_array_equal(ratings[line, origin], ranked.predicted_ratings[line, :n_real])
        assert (np.diff(ranked.scores[line, :n_real]) <= 0).all()
        assert (ranked.rows[line, n_real:] == -1).all()
        assert np.isneginf(ranked.scores[line, n_real:]).all()
        assert np.isnan(ranked.predicted_ratings[line, n_real:]).all()
        assert (ranked.retrieval_ranks[line, n_real:] == 0).all()


def test_equal_blends_are_ordered_by_item_row() -> None:
    # z-scores 1 and -1 against -1 and 1: both blends are 0.
    ranked = blend(one_line([9, 2], [1, 0]), ratings_of(1, 5), alpha=1.0)
    assert ranked.scores.tolist() == [[0, 0]]
    assert ranked.rows.tolist() == [[2, 9]]


def test_each_user_is_scaled_alone() -> None:
    scores = np.array([[4, 2, 0], [400, 200, 0]], dtype=np.float32)
    found = SearchResult(scores, np.array([[0, 1, 2], [0, 1, 2]]))
    ratings = np.array([[1, 2, 4], [1, 2, 4]], dtype=np.float32)
    ranked = blend(found, ratings, 0.7)
    np.testing.assert_allclose(ranked.scores[0], ranked.scores[1], rtol=1e-6)
    np.testing.assert_array_equal(ranked.rows[0], ranked.rows[1])


def test_padding_comes_last_whatever_was_predicted_for_it() -> None:
    ranked = blend(one_line([4, 7, -1], [-5, -6, -np.inf]), ratings_of(1, 2, 5), alpha=3.0)
    assert ranked.rows.tolist() == [[7, 4, -1]]
    assert ranked.scores[0, 2] == -np.inf
    assert np.isnan(ranked.predicted_ratings[0, 2])


def test_without_re_ranking_nothing_is_predicted() -> None:
    ranked = in_retrieval_order(one_line([4, 7, -1], [5, 1, -np.inf]))
    assert ranked.rows.tolist() == [[4, 7, -1]]
    assert ranked.retrieval_ranks.tolist() == [[1, 2, 0]]
    assert ranked.scores.tolist() == ranked.retrieval_scores.tolist() == [[5, 1, -np.inf]]
    assert np.isnan(ranked.predicted_ratings).all()


def test_the_top_cuts_every_column() -> None:
    top = blend(one_line([8, 3, 5], [4, 2, 0]), ratings_of(1, 4, 4), 1.0).top(2)
    assert top.rows.tolist() == [[3, 8]]
    assert top.retrieval_ranks.tolist() == [[2, 1]]
    for name in ("scores", "retrieval_scores", "predicted_ratings"):
        assert getattr(top, name).shape == (1, 2)
