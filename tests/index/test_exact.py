import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index import ExactIndex, ItemLists, check_queries, check_vectors
from tests.support.checkout import ROOT


def brute_force(vectors, queries, k, excluded=None):
    """A full stable sort in plain numpy: equal scores stay in row order."""
    scores = queries @ vectors.T
    if excluded is not None:
        for line, rows in enumerate(excluded):
            scores[line, list(rows)] = -np.inf
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    scores = np.take_along_axis(scores, rows, axis=1)
    return scores, np.where(np.isneginf(scores), -1, rows)


@st.composite
def catalogues(draw):
    """Vectors and queries of multiples of 1/2: many ties, and every product exact in float32."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, d, q = draw(st.integers(1, 40)), draw(st.integers(1, 6)), draw(st.integers(1, 9))
    values = rng.integers(-3, 5, size=(n + q, d)) / 2
    return values[:n].astype(np.float32), values[n:].astype(np.float32), rng


@given(catalogues(), st.integers(1, 45))
def test_equals_brute_force_ties_by_row(catalogue, k):
    vectors, queries, _ = catalogue
    result = ExactIndex(vectors).search(queries, k)
    scores, rows = brute_force(vectors, queries, k)
    assert result.rows.tolist() == rows.tolist()
    assert result.scores.tolist() == scores.tolist()


@given(catalogues(), st.integers(1, 45))
def test_excluded_items_never_come_out_and_lines_are_padded_only_when_the_catalogue_is_spent(catalogue, k):
    vectors, queries, rng = catalogue
    n = len(vectors)
    excluded = [np.flatnonzero(rng.random(n) < share) for share in rng.random(len(queries)) * 1.3]
    users = np.repeat(np.arange(len(queries)), [len(rows) for rows in excluded])
    lists = ItemLists.from_pairs(users, np.concatenate(excluded), len(queries))
    result = ExactIndex(vectors).search(queries, k, lists)
    scores, rows = brute_force(vectors, queries, k, excluded)
    assert result.rows.tolist() == rows.tolist()
    assert result.scores.tolist() == scores.tolist()


def test_recall_is_one_on_vectors_of_unequal_length():
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(3000, 33)) * rng.lognormal(size=(3000, 1)) + 0.3).astype(np.float32)
    queries = rng.normal(size=(50, 33)).astype(np.float32)
    found = ExactIndex(vectors).search(queries, 100)
    scores, rows = brute_force(vectors, queries, 100)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-6)


def test_blocks_give_what_one_piece_gives(monkeypatch):
    rng = np.random.default_rng(1)
    vectors = rng.integers(-4, 5, size=(50, 4)).astype(np.float32)
    queries = rng.integers(-4, 5, size=(23, 4)).astype(np.float32)
    lists = ItemLists.from_pairs(rng.integers(0, 23, 300), rng.integers(0, 50, 300), 23)
    whole = ExactIndex(vectors).search(queries, 9, lists)
    monkeypatch.setattr("index.exact._BLOCK_BYTES", 4 * 50 * 5)  # five queries at a time
    parts = ExactIndex(vectors).search(queries, 9, lists)
    np.testing.assert_array_equal(parts.rows, whole.rows)
    np.testing.assert_array_equal(parts.scores, whole.scores)


def test_more_than_the_catalogue_is_cut_without_padding():
    result = ExactIndex(np.eye(3, dtype=np.float32)).search(np.ones((2, 3), dtype=np.float32), 10)
    assert result.rows.tolist() == [[0, 1, 2]] * 2


def test_no_queries_give_no_lines():
    result = ExactIndex(np.eye(3, dtype=np.float32)).search(np.empty((0, 3), dtype=np.float32), 2)
    assert result.rows.shape == result.scores.shape == (0, 2)


GOOD = np.ones((2, 3), dtype=np.float32)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones((2, 3)), "float64.*float32"),
        ([[1.0]], "list"),
        (np.ones(3, dtype=np.float32), "shape"),
        (np.ones((0, 3), dtype=np.float32), "at least one"),
        (np.ones((3, 0), dtype=np.float32), "at least one"),
        (np.array([[1, 2], [np.nan, 1]], dtype=np.float32), "1 of 2 rows, the first is row 1"),
        (np.array([[np.inf, 2]], dtype=np.float32), "infinity"),
    ],
)
def test_bad_vectors_are_refused(vectors, message):
    with pytest.raises(ValueError, match=message):
        check_vectors(vectors)
    with pytest.raises(ValueError, match=message):
        ExactIndex(vectors)


@pytest.mark.parametrize(
    ("queries", "k", "message"),
    [
        (GOOD, 0, "k is 0"),
        (GOOD, -1, "k is -1"),
        (GOOD, 1.5, "k is 1.5"),
        (GOOD, True, "k is True"),
        (GOOD[:, :2].copy(), 1, "dimension 2.*3"),
        (GOOD[0], 1, "shape"),
        (GOOD.astype(np.float64), 1, "float64"),
        (GOOD * np.float32(np.nan), 1, "NaN"),
        (GOOD * np.float32(-np.inf), 1, "infinity"),
    ],
)
def test_bad_queries_are_refused(queries, k, message):
    with pytest.raises(ValueError, match=message):
        check_queries(queries, 3, k)
    with pytest.raises(ValueError, match=message):
        ExactIndex(GOOD).search(queries, k)


def test_exclude_lists_of_other_queries_or_another_catalogue_are_refused():
    with pytest.raises(ValueError, match=r"1 lists .* 2 queries"):
        ExactIndex(GOOD).search(GOOD, 1, ItemLists.empty(1))
    other = ItemLists.from_pairs(np.array([0]), np.array([2]), 2)
    with pytest.raises(ValueError, match="row 2 is not in the index of 2"):
        ExactIndex(GOOD).search(GOOD, 1, other)


UNDER_O = """
import numpy as np
from index import AnnIndex, ExactIndex, ItemLists, search_filtered
assert False, "never reached under -O"
ok = np.ones((5, 3), dtype=np.float32)
bad = ok * np.float32(np.nan)
exact, ann = ExactIndex(ok), AnnIndex.build(ok, "IVF1,Flat", seed=0, threads=1)
data = ann.to_bytes()
calls = [
    lambda: ExactIndex(bad),
    lambda: AnnIndex.build(bad, "Flat", seed=0, threads=1),
    lambda: AnnIndex.build(ok, "IVF9,Flat", seed=0, threads=1),
    lambda: AnnIndex.from_bytes(data, factory="IVF1,Flat", size=6, dimension=3),
    lambda: AnnIndex.from_bytes(data, factory="IVF1,Flat", size=5, dimension=4),
    lambda: ItemLists(np.array([0, 2]), np.array([3])),
]
for index in (exact, ann):
    calls += [
        lambda index=index: index.search(bad, 1),
        lambda index=index: index.search(ok, 0),
        lambda index=index: index.search(ok[:, :2].copy(), 1),
        lambda index=index: search_filtered(index, exact, ok, 1, ItemLists.empty(4)),
    ]
refused = 0
for call in calls:
    try:
        call()
    except ValueError:
        refused += 1
print(refused, len(calls))
"""


def test_checks_hold_without_asserts():
    root = ROOT
    done = subprocess.run(
        [sys.executable, "-O", "-c", UNDER_O],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["14", "14"], "")


def test_a_trusted_index_answers_the_same_and_checks_all_but_the_numbers() -> None:
    vectors = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
    one, other = ExactIndex(vectors).search(vectors, 7), ExactIndex.trusted(vectors).search(vectors, 7)
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_array_equal(one.scores, other.scores)
    assert ExactIndex.trusted(vectors).vectors is vectors
    for wrong in (vectors.astype(np.float64), vectors[0], vectors[:0]):
        with pytest.raises(ValueError, match="item vectors"):
            ExactIndex.trusted(wrong)
