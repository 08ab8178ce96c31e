from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index import (
    AnnIndex,
    ExactIndex,
    ItemLists,
    SearchResult,
    SearchSettings,
    filtered_search,
    search_filtered,
)


def excluding(rng, q, n, shares):
    """A list for each query that holds about that share of the items; above 1 means all of them."""
    users, items = np.nonzero(rng.random((q, n)) < shares[:, np.newaxis])
    return ItemLists.from_pairs(users, items, q)


@st.composite
def cases(draw):
    """Catalogue, queries and exclude lists: none, some, heavy, all; continuous or full of ties."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, d, q = draw(st.integers(1, 80)), draw(st.integers(1, 6)), draw(st.integers(1, 12))
    values = rng.normal(size=(n + q, d)) * rng.lognormal(size=(n + q, 1)) + 0.5
    if draw(st.booleans()):
        values = np.round(np.clip(values, -3, 3))
    vectors, queries = values[:n].astype(np.float32), values[n:].astype(np.float32)
    exclude = excluding(rng, q, n, rng.choice([0.0, 0.1, 0.5, 0.9, 1.1], size=q))
    nlist = draw(st.integers(1, min(n, 12)))
    index = AnnIndex.build(
        vectors,
        f"IVF{nlist},Flat",
        seed=1,
        threads=1,
        settings=SearchSettings(nprobe=draw(st.sampled_from([1, nlist]))),
    )
    return index, ExactIndex(vectors), queries, draw(st.integers(1, 90)), exclude


@settings(max_examples=80)
@given(cases())
def test_full_depth_equals_filtered_exact_search(case):
    index, exact, queries, k, exclude = case
    found = search_filtered(index.with_nprobe(index.nlist), exact, queries, k, exclude)
    truth = exact.search(queries, k, exclude)
    assert found.fallbacks == 0
    np.testing.assert_allclose(found.result.scores, truth.scores, rtol=1e-5, atol=1e-5)
    for line in range(len(queries)):
        real = truth.scores[line][truth.rows[line] >= 0]
        last = real[-1] if len(real) else np.inf
        clear = truth.rows[line][truth.scores[line] > last + 1e-6 * (1 + abs(last))]
        assert set(clear.tolist()) <= set(found.result.rows[line].tolist())


@settings(max_examples=80)
@given(cases())
def test_no_excluded_item_no_duplicate_and_k_whenever_the_catalogue_has_them(case):
    index, exact, queries, k, exclude = case
    result = search_filtered(index, exact, queries, k, exclude).result
    width = min(k, index.size)
    assert result.rows.shape == (len(queries), width)
    for line in range(len(queries)):
        rows, scores = result.rows[line], result.scores[line]
        gone = exclude.of(line).tolist()
        owed = min(width, index.size - len(gone))
        real = rows[:owed].tolist()
        assert min(real, default=0) >= 0
        assert rows[owed:].tolist() == [-1] * (width - owed)
        assert scores[owed:].tolist() == [-np.inf] * (width - owed)
        assert len(set(real)) == owed
        assert not set(real) & set(gone)
        pairs = list(zip((-scores[:owed]).tolist(), real, strict=True))
        assert pairs == sorted(pairs)
        np.testing.assert_allclose(exact.vectors[real] @ queries[line], scores[:owed], rtol=1e-4, atol=1e-4)


@settings(max_examples=40)
@given(cases())
def test_without_rescue_lines_may_be_short_but_are_still_filtered(case):
    index, exact, queries, k, exclude = case
    found = search_filtered(index, exact, queries, k, exclude, rescue=False)
    assert found.fallbacks == 0
    lines = np.arange(len(queries))
    assert not exclude.contains(lines, found.result.rows).any()
    rescued = search_filtered(index, exact, queries, k, exclude).result
    assert ((found.result.rows >= 0).sum(axis=1) <= (rescued.rows >= 0).sum(axis=1)).all()


# With a filter: kinds that take selectors, and kinds that do not.
KINDS = (
    "Flat",
    "SQfp16",
    "IVF4,Flat",
    "IVF4,PQ4x4fs,RFlat",
    "PQ4x4fs,RFlat",
    "UPCAR8,PQ4x4fs,RFlat",
    "UPCAR8,IVF2,PQ8x4fsr,RFlat",
    "FlatIPPanorama2",
    "HNSW8",
)
# Rotated vectors give products that are only nearly the same.
ROTATED = ("UPCA8,FlatIPPanorama2", "UPCA8,IVF4,Flat", "RR8,IVF4,SQfp16")


def brute(vectors, queries, k, exclude, allowed):
    """By sorting everything: what a filtered search must answer. Sums in float64."""
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    scores[exclude.flat_users(), exclude.items] = -np.inf
    if allowed is not None:
        scores[:, np.setdiff1d(np.arange(len(vectors)), allowed)] = -np.inf
    rows = np.argsort(-scores, axis=1, kind="stable")[:, : min(k, len(vectors))]
    scores = np.take_along_axis(scores, rows, axis=1)
    return np.where(np.isneginf(scores), -1, rows), scores


@contextmanager
def asking_the_index(asked=True):
    """However few items a filter leaves."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_SELECTIVE_ITEMS", "_SELECTIVE_SHARE", "_SELECTIVE_SHARE_UNPARTED") if asked else ():
            patch.setattr(filtered_search, name, 0)
        yield


@st.composite
def filtered_cases(draw):
    """An index of any kind over whole numbers, whose products are exact and often tie, with a filter."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, q = draw(st.integers(40, 120)), draw(st.integers(1, 8))
    values = np.round(rng.normal(size=(n + q, 8)) * draw(st.sampled_from([0.5, 2]))).astype(np.float32)
    vectors, queries = values[:n], values[n:]
    if draw(st.booleans()):
        vectors[rng.integers(0, n, n // 2)] = vectors[0]  # half of them the same
    share = draw(st.sampled_from([0.0, 0.05, 0.3, 0.7, 1.1]))
    allowed = np.flatnonzero(rng.random(n) < share)
    if draw(st.booleans()):  # those that score lowest for the first query
        allowed = np.sort(np.argsort(vectors @ queries[0], kind="stable")[: len(allowed)])
    exclude = excluding(rng, q, n, rng.choice([0.0, 0.1, 0.5, 1.1], size=q))
    index = AnnIndex.build(vectors, draw(st.sampled_from(KINDS)), seed=1, threads=1)
    k = draw(st.integers(1, n + 10))
    return index, ExactIndex(vectors), queries, k, exclude, draw(st.sampled_from([None, allowed, allowed]))


@settings(max_examples=300)
@given(filtered_cases(), st.booleans())
def test_at_full_depth_filtered_search_is_filtered_exact_search_for_every_kind(case, asked):
    index, exact, queries, k, exclude, allowed = case
    rows, scores = brute(exact.vectors, queries, k, exclude, allowed)
    with asking_the_index(asked):
        found = search_filtered(index.exhaustive(), exact, queries, k, exclude, allowed=allowed)
    for result in (found.result, exact.search(queries, k, exclude, allowed)):
        np.testing.assert_array_equal(result.rows, rows, err_msg=index.factory)
        np.testing.assert_array_equal(result.scores, scores, err_msg=index.factory)
    if index.takes_selectors and "fs" not in index.factory:  # fast scan finds nothing for a query of zeros
        assert found.fallbacks == 0


@settings(max_examples=200)
@given(filtered_cases())
def test_at_any_depth_a_filter_holds_and_k_come_whenever_it_leaves_them(case):
    index, exact, queries, k, exclude, allowed = case
    with asking_the_index():
        result = search_filtered(index, exact, queries, k, exclude, allowed=allowed).result
        unrescued = search_filtered(index, exact, queries, k, exclude, allowed=allowed, rescue=False)
    left = set(range(index.size) if allowed is None else allowed.tolist())
    for line in range(len(queries)):
        may = left - set(exclude.of(line).tolist())
        real = [row for row in result.rows[line].tolist() if row >= 0]
        assert len(real) == len(set(real)) == min(k, len(may)), index.factory
        assert set(real) <= may
        assert set(unrescued.result.rows[line].tolist()) <= may | {-1}
    assert unrescued.fallbacks == 0


@pytest.mark.parametrize("kind", KINDS + ROTATED)
@pytest.mark.parametrize("share", [0.05, 0.6])
def test_real_numbers_too_at_full_depth(kind, share):
    rng = np.random.default_rng(5)
    vectors = (rng.normal(size=(300, 8)) * rng.lognormal(size=(300, 1)) + 0.4).astype(np.float32)
    queries = rng.normal(size=(20, 8)).astype(np.float32)
    allowed = np.flatnonzero(rng.random(300) < share)
    exclude = excluding(rng, 20, 300, np.full(20, 0.2))
    index = AnnIndex.build(vectors, kind, seed=1, threads=1).exhaustive()
    with asking_the_index():
        found = search_filtered(index, ExactIndex(vectors), queries, 30, exclude, allowed=allowed).result
    rows, scores = brute(vectors, queries, 30, exclude, allowed)
    tolerance = 5e-3 if "SQfp16" in kind else 1e-4  # half precision is all that index has
    np.testing.assert_allclose(found.scores, scores, rtol=tolerance, atol=tolerance)
    if "SQfp16" not in kind:
        assert (found.rows == rows).mean() > 0.99


def test_equal_scores_at_the_cut_go_to_the_lowest_rows():
    """FAISS keeps any of them; told to find ten of a hundred equals it keeps others than the first ten."""
    vectors = np.ones((100, 2), dtype=np.float32)
    vectors[70] = 2
    index, exact = AnnIndex.build(vectors, "Flat", seed=0, threads=1), ExactIndex(vectors)
    query, none = np.ones((1, 2), np.float32), ItemLists.empty(1)
    found = search_filtered(index, exact, query, 10, none)
    assert found.result.rows.tolist() == [[70, *range(9)]]
    assert found.fallbacks == 0  # the index left nothing short
    with asking_the_index():
        evens = search_filtered(index, exact, query, 10, none, allowed=np.arange(0, 100, 2))
    assert evens.result.rows.tolist() == [[70, *range(0, 18, 2)]]


def test_kinds_that_cannot_be_told_are_searched_as_much_deeper_as_the_filter_takes_away():
    exact = thousand()
    index, none = Recording(exact, dry=1000), ItemLists.empty(3)
    with asking_the_index():
        quarter = np.arange(0, 1000, 4)
        found = search_filtered(index, exact, np.ones((3, 1), np.float32), 10, none, allowed=quarter)
    assert index.asked == [(3, 48)]  # (10 + 1) / 0.25, and on to six eighths of a power of two
    assert found.fallbacks == 0
    assert found.result.rows.tolist() == [list(range(0, 40, 4))] * 3


def test_what_a_filter_leaves_far_down_is_searched_deeper_once_then_exactly():
    exact = thousand()
    index, last = Recording(exact, dry=1000), np.arange(700, 1000)
    with asking_the_index():
        found = search_filtered(
            index, exact, np.ones((1, 1), np.float32), 10, ItemLists.empty(1), allowed=last
        )
    assert index.asked == [(1, 40), (1, 80)]
    assert (found.fallbacks, found.result.rows.tolist()) == (1, [list(range(700, 710))])


def test_an_index_with_lists_is_told_what_is_allowed_and_looks_at_as_many_of_it(monkeypatch):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(1000, 4)).astype(np.float32)
    index = AnnIndex.build(vectors, "IVF20,Flat", seed=0, threads=1, settings=SearchSettings(nprobe=3))
    allowed, asked, whole = np.arange(0, 1000, 4), [], AnnIndex.search

    def search(self, queries, k, allowed=None):
        asked.append((self.settings.nprobe, k, None if allowed is None else int(allowed.sum())))
        return whole(self, queries, k, allowed)

    monkeypatch.setattr(AnnIndex, "search", search)
    with asking_the_index():
        for rows in (allowed, None, np.arange(1000)):
            search_filtered(
                index, ExactIndex(vectors), vectors[:2], 10, ItemLists.empty(2), allowed=rows, rescue=False
            )
    assert asked == [(12, 12, 250), (3, 12, None), (3, 12, None)]


def test_a_filter_that_leaves_few_items_is_answered_by_exact_search_among_them():
    exact = thousand()
    index, few = Recording(exact, dry=1000), np.array([990, 5, 7])
    found = search_filtered(
        index, exact, np.ones((1, 1), np.float32), 5, ItemLists.empty(1), allowed=np.sort(few)
    )
    assert index.asked == []
    assert (found.fallbacks, found.result.rows.tolist()) == (0, [[5, 7, 990, -1, -1]])


@pytest.mark.parametrize("index", ["Flat", "exact"])
def test_an_empty_filter_leaves_nothing(index):
    vectors = np.eye(3, dtype=np.float32)
    exact = ExactIndex(vectors)
    asked = exact if index == "exact" else AnnIndex.build(vectors, index, seed=0, threads=1)
    with asking_the_index():
        found = search_filtered(asked, exact, vectors, 2, ItemLists.empty(3), allowed=np.array([], np.int64))
    assert found.result.rows.tolist() == [[-1, -1]] * 3
    assert np.isneginf(found.result.scores).all()


@pytest.mark.parametrize(
    ("allowed", "message"),
    [
        ([0, 1], "allowed rows are .*expected int64"),
        (np.array([True, False]), "bool of .*expected int64"),
        (np.array([[0]]), "expected int64, one axis"),
        (np.array([2, 1]), "not strictly increasing"),
        (np.array([1, 1]), "not strictly increasing"),
        (np.array([-1, 2]), "row -1 is not in the index of 1000"),
        (np.array([3, 1000]), "row 1000 is not in the index of 1000"),
    ],
)
def test_what_is_no_set_of_rows_is_refused(allowed, message):
    for search in (
        lambda: thousand().search(np.ones((1, 1), np.float32), 1, allowed=allowed),
        lambda: search_filtered(
            thousand(), thousand(), np.ones((1, 1), np.float32), 1, ItemLists.empty(1), allowed=allowed
        ),
    ):
        with pytest.raises(ValueError, match=message):
            search()


class Recording:
    """An index that notes how deep it is asked, and returns at most `dry` items a line."""

    def __init__(self, exact, dry):
        self.exact, self.dry, self.asked = exact, dry, []
        self.name, self.size, self.dimension = "recording", exact.size, exact.dimension

    def search(self, queries, k):
        self.asked.append((len(queries), k))
        result = self.exact.search(queries, k)
        late = np.arange(result.rows.shape[1]) >= self.dry
        return SearchResult(
            np.where(late, np.float32(-np.inf), result.scores), np.where(late, -1, result.rows)
        )


def thousand():
    """1,000 items on a line: item i scores 1000 - i for the query [1]."""
    return ExactIndex(np.arange(1000, 0, -1, dtype=np.float32)[:, np.newaxis])


def test_one_heavy_user_does_not_make_all_searches_deep():
    exact = thousand()
    index = Recording(exact, dry=1000)
    heavy = ItemLists.from_pairs(np.full(300, 1), np.arange(300), 5)
    found = search_filtered(index, exact, np.ones((5, 1), np.float32), 10, heavy)
    assert sorted(index.asked) == [(1, 320), (4, 12)]
    assert found.fallbacks == 0
    assert found.result.rows[:, 0].tolist() == [0, 300, 0, 0, 0]


def test_dry_lines_are_searched_deeper_once_then_exactly_and_counted():
    exact = thousand()
    index = Recording(exact, dry=12)  # enough for lines 0 and 2, not for line 1 with 5 of 12 excluded
    exclude = ItemLists.from_pairs(np.full(5, 1), np.arange(5), 3)
    found = search_filtered(index, exact, np.ones((3, 1), np.float32), 10, exclude)
    assert index.asked == [(2, 12), (1, 16), (1, 32)]
    assert found.fallbacks == 1
    assert found.result.rows.tolist() == [list(range(10)), list(range(5, 15)), list(range(10))]


def test_deeper_search_looks_at_more_lists_before_exact_search():
    # Two lists: items 0-4 point one way, 5-9 the other; one probe sees five items.
    vectors = np.array([[10 + i, 0] for i in range(5)] + [[0, 10 + i] for i in range(5)], dtype=np.float32)
    index = AnnIndex.build(vectors, "IVF2,Flat", seed=0, threads=1, settings=SearchSettings(nprobe=1))
    found = search_filtered(index, ExactIndex(vectors), np.array([[1, 0]], np.float32), 8, ItemLists.empty(1))
    assert found.fallbacks == 0
    assert found.result.rows.tolist() == [[4, 3, 2, 1, 0, 5, 6, 7]]


def test_everything_excluded_gives_padding_without_a_fallback():
    exact = thousand()
    everything = ItemLists.from_pairs(np.zeros(1000, int), np.arange(1000), 1)
    index = Recording(exact, dry=1000)
    found = search_filtered(index, exact, np.ones((1, 1), np.float32), 3, everything)
    assert found.result.rows.tolist() == [[-1, -1, -1]]
    assert (found.fallbacks, index.asked) == (0, [])


def test_exact_index_answers_through_its_own_mask():
    exact = thousand()
    exclude = ItemLists.from_pairs(np.array([0]), np.array([0]), 1)
    found = search_filtered(exact, exact, np.ones((1, 1), np.float32), 2, exclude)
    assert (found.result.rows.tolist(), found.fallbacks) == ([[1, 2]], 0)


def test_many_lines_are_searched_in_blocks_of_bounded_size(monkeypatch):
    monkeypatch.setattr("index.filtered_search._BLOCK_ENTRIES", 40)
    exact = thousand()
    index = Recording(exact, dry=1000)
    found = search_filtered(index, exact, np.ones((7, 1), np.float32), 10, ItemLists.empty(7))
    assert index.asked == [(3, 12), (3, 12), (1, 12)]  # 40 // 12 lines at a time
    assert found.result.rows.tolist() == [list(range(10))] * 7


def test_indexes_of_different_catalogues_are_refused():
    exact = thousand()
    small = ExactIndex(np.ones((3, 1), dtype=np.float32))
    with pytest.raises(ValueError, match="3 vectors of 1 numbers, the exact one 1000"):
        search_filtered(small, exact, np.ones((1, 1), np.float32), 1, ItemLists.empty(1))


def test_exclude_lists_of_other_queries_are_refused():
    with pytest.raises(ValueError, match=r"2 lists .* 1 queries"):
        search_filtered(thousand(), thousand(), np.ones((1, 1), np.float32), 1, ItemLists.empty(2))


PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=40)


@given(PAIRS, st.lists(st.integers(0, 5), max_size=8), st.integers(1, 4))
def test_item_lists_agree_with_python_sets(pairs, users, k):
    lists = ItemLists.from_pairs(
        np.array([u for u, _ in pairs], int), np.array([i for _, i in pairs], int), 6
    )
    truth = [sorted({i for u, i in pairs if u == user}) for user in range(6)]
    assert [lists.of(user).tolist() for user in range(6)] == truth
    assert lists.lengths().tolist() == [len(items) for items in truth]
    assert lists.flat_users().tolist() == [user for user in range(6) for _ in truth[user]]
    taken = lists.take(np.array(users, int))
    assert [taken.of(i).tolist() for i in range(len(users))] == [truth[user] for user in users]
    asked = np.random.default_rng(k).integers(-1, 12, size=(len(users), k))
    expected = [[int(row) in truth[user] for row in line] for user, line in zip(users, asked, strict=True)]
    assert lists.contains(np.array(users, int), asked).tolist() == expected


def test_the_last_item_of_one_user_is_not_the_first_of_the_next():
    lists = ItemLists(np.array([0, 1, 2]), np.array([9, 0]))
    assert lists.contains(np.array([0, 1]), np.array([[9, -1, 0], [0, -1, 9]])).tolist() == [
        [True, False, False],
        [True, False, False],
    ]


def test_of_is_a_view_not_a_copy():
    lists = ItemLists(np.array([0, 2]), np.array([1, 3]))
    assert np.shares_memory(lists.of(0), lists.items)


@pytest.mark.parametrize(
    ("indptr", "items", "message"),
    [
        ([0, 2], [1], "runs from 0 to 2"),
        ([1, 2], [1, 2], "runs from 1"),
        ([0, 2, 1, 3], [1, 2, 3], "never to fall"),
        ([], [], "indptr"),
        ([0, 1], [-1], "-1; expected 0 or more"),
        ([0, 1, 3], [5, 4, 4], "list 1 are not strictly increasing"),
        ([0, 2, 3], [5, 4, 9], "list 0 are not strictly increasing"),
        ([0, 0, 0, 2], [3, 1], "list 2 are not strictly increasing"),
    ],
)
def test_lists_that_do_not_fit_together_are_refused(indptr, items, message):
    with pytest.raises(ValueError, match=message):
        ItemLists(np.array(indptr, dtype=np.int64), np.array(items, dtype=np.int32))


def test_unknown_users_and_unmatched_pairs_are_refused():
    lists = ItemLists.empty(2)
    for bad in (-1, 2):
        with pytest.raises(ValueError, match="expected 0 to 1"):
            lists.of(bad)
        with pytest.raises(ValueError, match="expected 0 to 1"):
            lists.take(np.array([bad]))
    with pytest.raises(ValueError, match="same length"):
        ItemLists.from_pairs(np.array([0]), np.array([0, 1]), 2)
    with pytest.raises(ValueError, match="users from 0 to 1"):
        ItemLists.from_pairs(np.array([2]), np.array([0]), 2)
    with pytest.raises(ValueError, match="int32 or int64"):
        ItemLists(np.array([0, 1]), np.array([1.0]))


@settings(max_examples=60)
@given(cases())
def test_a_query_alone_is_answered_as_among_others(case):
    index, exact, queries, k, exclude = case
    together = search_filtered(index, exact, queries, k, exclude, rescue=False)
    for line in range(len(queries)):
        rows = np.array([line])
        alone = search_filtered(index, exact, queries[rows], k, exclude.take(rows), rescue=False)
        np.testing.assert_allclose(alone.result.scores[0], together.result.scores[line], rtol=1e-5, atol=1e-5)
        assert (alone.result.rows[0] >= 0).sum() == (together.result.rows[line] >= 0).sum()
        assert not exclude.take(rows).hold(alone.result.rows).any()
