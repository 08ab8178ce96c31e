"""An index whose catalogue changes, against a plain dict: ids never drift, what is gone never comes back."""

from dataclasses import dataclass

import faiss
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from index import AnnIndex, ExactIndex, ItemLists, SearchResult, SearchSettings, search_filtered
from index.row_map import RowMap

KINDS = [
    "Flat",
    "SQfp16",
    "IVF4,Flat",
    "IVF1,PQ4x4fs,RFlat",
    "IVF4,PQ4x4fsr,RFlat",
    "RR8,IVF2,SQfp16,RFlat",
    "UPCA8,IVF4,Flat",
    "UPCAR8,IVF4,PQ4x4fs,RFlat",
    "HNSW8",
    "PQ4x4fs,RFlat",  # from here on none takes selectors
    "UPCAR8,PQ4x4fs,Refine(SQfp16)",
    "FlatIPPanorama2",
    "IVF2,FlatPanorama2",
]
DIMENSION, FEWEST, K = 8, 16, 7
Catalogue = dict[int, np.ndarray]


def vectors_of(seed: int, n: int) -> np.ndarray:
    """Numbers that half precision holds exactly."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, DIMENSION)) * rng.lognormal(sigma=0.5, size=(n, 1)) + 0.4
    return vectors.astype(np.float16).astype(np.float32)


QUERIES = vectors_of(99, 5)


def matrix(catalogue: Catalogue) -> np.ndarray:
    """The vectors in the order of their ids, which is that of the rows."""
    return np.stack([catalogue[key] for key in sorted(catalogue)])


def change(index: AnnIndex, before: Catalogue, after: Catalogue, written: set[int]) -> AnnIndex:
    """The index after a change of the dict; `written` are the ids that were added or replaced."""
    row_of = {key: row for row, key in enumerate(sorted(after))}
    kept = [-1 if key in written else row_of.get(key, -1) for key in sorted(before)]
    new = sorted(written)
    vectors = np.stack([after[key] for key in new]) if new else np.empty((0, DIMENSION), np.float32)
    return index.changed(np.array(kept, np.int64), vectors, np.array([row_of[key] for key in new], np.int64))


def check(index: AnnIndex, catalogue: Catalogue, k: int) -> None:
    """Looking at everything finds the best of the dict by their own ids; looking at less, some of it."""
    ids, products = np.array(sorted(catalogue)), QUERIES @ matrix(catalogue).T
    assert (index.size, index.dimension) == (len(catalogue), DIMENSION)
    width = min(k, len(ids))
    best = -np.sort(-products, axis=1)[:, :width]
    whole, some = index.exhaustive().search(QUERIES, k), index.search(QUERIES, k)
    assert whole.rows.shape == some.rows.shape == (len(QUERIES), width)
    assert whole.rows.min() >= 0
    np.testing.assert_allclose(whole.scores, best, rtol=1e-4, atol=1e-4)
    for result in (whole, some):
        for line, rows in enumerate(result.rows):
            real = rows[rows >= 0]
            assert len(set(real.tolist())) == len(real)
            claimed = result.scores[line][: len(real)]
            np.testing.assert_allclose(products[line, real], claimed, rtol=1e-4, atol=1e-4)


class ChangingIndex(RuleBasedStateMachine):
    """Any changes in any order, by one kind of index after the other."""

    @initialize(kind=st.sampled_from(KINDS), n=st.integers(FEWEST, 40))
    def build(self, kind: str, n: int) -> None:
        self.kind = kind
        self.catalogue = dict(zip(range(0, 10 * n, 10), vectors_of(n, n), strict=True))
        self.index = self.built()
        self.remembered = (self.index, self.catalogue)

    def built(self) -> AnnIndex:
        few = SearchSettings(nprobe=1) if "IVF" in self.kind else None
        return AnnIndex.build(matrix(self.catalogue), self.kind, seed=1, threads=1, settings=few)

    def become(self, after: Catalogue, written: set[int]) -> None:
        self.index, self.catalogue = change(self.index, self.catalogue, after, written), after

    @rule(ids=st.sets(st.integers(-50, 450), min_size=1, max_size=8), seed=st.integers(0, 2**31))
    def add_or_replace(self, ids: set[int], seed: int) -> None:
        new = dict(zip(sorted(ids), vectors_of(seed, len(ids)), strict=True))
        self.become(self.catalogue | new, ids)

    @rule(data=st.data(), seed=st.integers(0, 2**31))
    def replace(self, data: st.DataObject, seed: int) -> None:
        ids = data.draw(st.sets(st.sampled_from(sorted(self.catalogue)), min_size=1, max_size=8))
        self.become(self.catalogue | dict(zip(ids, vectors_of(seed, len(ids)), strict=True)), ids)

    @precondition(lambda self: len(self.catalogue) > 1)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        most = len(self.catalogue) - 1
        ids = data.draw(st.sets(st.sampled_from(sorted(self.catalogue)), max_size=min(most, 12)))
        self.become({key: self.catalogue[key] for key in self.catalogue.keys() - ids}, set())

    @rule()
    def remove_what_is_found_first(self) -> None:
        """So that tombstones stand in the way of what is searched for."""
        products = QUERIES[0] @ matrix(self.catalogue).T
        gone = {sorted(self.catalogue)[row] for row in np.argsort(-products)[: len(products) // 2].tolist()}
        self.become({key: self.catalogue[key] for key in self.catalogue.keys() - gone}, set())

    @precondition(lambda self: len(self.catalogue) >= FEWEST)
    @rule()
    def compact(self) -> None:
        self.index = self.built()
        assert self.index.tombstones == 0 and self.index.row_map is None

    @rule()
    def save_and_load(self) -> None:
        index = self.index
        rows = None if index.row_map is None else index.row_map.rows.copy()
        self.index = AnnIndex.from_bytes(
            index.to_bytes().tobytes(),
            factory=index.factory,
            settings=index.settings,
            size=len(self.catalogue),
            dimension=DIMENSION,
            rows=rows,
        )
        assert self.index.tombstones == index.tombstones

    @rule()
    def remember(self) -> None:
        self.remembered = (self.index, self.catalogue)

    @invariant()
    def answers_are_the_dicts(self) -> None:
        if hasattr(self, "index"):
            check(self.index, self.catalogue, K)

    @rule(k=st.integers(1, 60))
    def any_depth(self, k: int) -> None:
        check(self.index, self.catalogue, k)

    @rule()
    def an_index_from_before_still_answers(self) -> None:
        check(*self.remembered, K)

    @rule(data=st.data())
    def only_allowed_rows_are_found(self, data: st.DataObject) -> None:
        n, whole = len(self.catalogue), self.index.exhaustive()
        if not whole.takes_selectors:
            return
        allowed = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
        found = whole.search(QUERIES, K, allowed=allowed)
        products = np.where(allowed, QUERIES @ matrix(self.catalogue).T, -np.inf)
        best = -np.sort(-products, axis=1)[:, : min(K, n)]
        np.testing.assert_allclose(found.scores, best, rtol=1e-4, atol=1e-4)
        assert allowed[found.rows[found.rows >= 0]].all()


ChangingIndex.TestCase.settings = settings(max_examples=60, stateful_step_count=12)
TestChangingIndex = ChangingIndex.TestCase


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_changed_also_where_it_is_a_view_on_its_bytes(kind: str) -> None:
    before = dict(enumerate(vectors_of(1, 60)))
    built = AnnIndex.build(matrix(before), kind, seed=1, threads=1)
    data = built.to_bytes().tobytes()
    loaded = AnnIndex.from_bytes(data, factory=kind, settings=built.settings, size=60, dimension=DIMENSION)
    after = {key: vector for key, vector in before.items() if key % 3} | dict(
        zip((1, 2, 100, -5), vectors_of(2, 4), strict=True)
    )
    for index in (built, loaded):
        changed = change(index, before, after, {1, 2, 100, -5})
        assert changed.tombstones == 20 + 2
        assert (changed.factory, changed.settings) == (kind, built.settings)
        check(changed, after, 30)
        check(index, before, 30)


@pytest.mark.parametrize("kind", KINDS)
def test_many_tombstones_before_the_first_item_are_passed(kind: str) -> None:
    """The 50 best of 60 are removed: whatever is asked for lies behind all of them."""
    before = dict(enumerate(vectors_of(3, 60) + 1))
    query = np.ones((1, DIMENSION), np.float32)
    order = np.argsort(-(matrix(before) @ query[0])).tolist()
    after = {key: before[key] for key in order[50:]}
    index = AnnIndex.build(matrix(before), kind, seed=1, threads=1).exhaustive()
    found = change(index, before, after, set()).search(query, 3)
    assert [sorted(after)[row] for row in found.rows[0]] == order[50:53]


@dataclass
class Counting:
    """A search that finds positions 0, 1, 2, ... up to `most`, and notes what it was asked."""

    most: int
    asked: list[tuple[int, int]]

    def __call__(self, queries: np.ndarray, depth: int) -> SearchResult:
        self.asked.append((len(queries), depth))
        rows = np.tile(np.arange(depth, dtype=np.int64), (len(queries), 1))
        rows[rows >= self.most] = -1
        return SearchResult(np.where(rows >= 0, -rows, -np.inf).astype(np.float32), rows)


def test_few_tombstones_cost_one_search_and_many_as_many_as_it_takes() -> None:
    queries = np.ones((4, 1), np.float32)
    few = np.arange(-3, 997)
    few[:3] = -1
    search = Counting(1000, [])
    assert RowMap(few).search(search, queries, 10).rows.tolist() == [list(range(10))] * 4
    assert search.asked == [(4, 13)]

    many = np.concatenate([np.full(500, -1), np.arange(500)])
    search = Counting(1000, [])
    assert RowMap(many).search(search, queries, 10).rows.tolist() == [list(range(10))] * 4
    assert search.asked == [(4, 26), (4, 52), (4, 104), (4, 208), (4, 416), (4, 510)]

    search = Counting(20, [])  # an index that looks at too little: deeper is no help
    assert (RowMap(many).search(search, queries, 10).rows == -1).all()
    assert search.asked == [(4, 26)]


def test_an_index_without_changes_has_no_map_and_one_whose_items_come_last_neither() -> None:
    before = dict(enumerate(vectors_of(4, 30)))
    index = AnnIndex.build(matrix(before), "IVF2,Flat", seed=1, threads=1)
    appended = change(index, before, before | dict(zip((30, 31), vectors_of(5, 2), strict=True)), {30, 31})
    assert index.row_map is None and appended.row_map is None and appended.size == 32
    inserted = change(index, before, before | {-1: vectors_of(5, 1)[0]}, {-1})
    assert inserted.row_map is not None and inserted.tombstones == 0


def test_lists_clustered_by_distance_are_added_to_by_distance() -> None:
    """As they were built: each new vector is in the list whose centroid is nearest."""
    before, new = dict(enumerate(vectors_of(9, 200))), vectors_of(10, 50)
    after = before | dict(zip(range(200, 250), new, strict=True))
    index = AnnIndex.build(matrix(before), "UPCA8,IVF8,Flat", seed=1, threads=1)
    changed = change(index, before, after, set(range(200, 250)))._index
    lists = faiss.downcast_index(changed.index)
    centroids = faiss.downcast_index(lists.quantizer).reconstruct_n(0, 8)
    turned = changed.chain.at(0).apply(new)
    nearest = ((turned[:, np.newaxis] - centroids) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest != (turned @ centroids.T).argmax(axis=1)).any()
    for number in range(8):
        ids = faiss.rev_swig_ptr(lists.invlists.get_ids(number), lists.invlists.list_size(number))
        assert set(ids[ids >= 200].tolist()) == set((200 + np.flatnonzero(nearest == number)).tolist())


def test_filtered_search_takes_a_changed_index_for_what_it_is() -> None:
    before = dict(enumerate(vectors_of(6, 60)))
    after = {key: vector for key, vector in before.items() if key % 2} | {100: QUERIES[0] * 2}
    exact = ExactIndex(matrix(after))
    seen = ItemLists.from_pairs(np.repeat(np.arange(5), 6), np.tile(np.arange(6), 5), 5)
    for kind in KINDS:
        index = change(AnnIndex.build(matrix(before), kind, seed=1, threads=1), before, after, {100})
        found = search_filtered(index.exhaustive(), exact, QUERIES, 9, seen)
        truth = exact.search(QUERIES, 9, seen)
        assert found.fallbacks == 0
        np.testing.assert_allclose(found.result.scores, truth.scores, rtol=1e-4, atol=1e-4)
        assert not seen.hold(found.result.rows).any()


ROWS = np.array([0, -1, 1, 2])


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        (np.array([0, 0, 1]), "not each from 0 to 2 once"),
        (np.array([0, 2, -1]), "not each from 0 to 1 once"),
        (np.array([0, 1, -2]), "not each from 0 to 2 once"),
        (np.array([-1, -1]), "the 0 live rows"),
        (np.array([], dtype=np.int64), "the 0 live rows"),
        (np.array([0, 1], dtype=np.int32), "int32"),
        (np.array([[0, 1]]), r"shape \(1, 2\)"),
    ],
)
def test_a_map_that_is_none_is_refused(rows: np.ndarray, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        RowMap(rows)


def test_a_map_of_another_index_is_refused() -> None:
    index = AnnIndex.build(vectors_of(7, 20), "Flat", seed=1, threads=1)
    data = index.to_bytes()
    of = {"factory": "Flat", "dimension": DIMENSION}
    with pytest.raises(ValueError, match="row map has 3 items; expected 20"):
        AnnIndex.from_bytes(data, size=20, rows=ROWS, **of)
    with pytest.raises(ValueError, match="holds 20 vectors of 8 numbers; expected 4"):
        AnnIndex.from_bytes(data, size=3, rows=ROWS, **of)
    with pytest.raises(ValueError, match="holds 20 vectors of 8 numbers; expected 19"):
        AnnIndex.from_bytes(data, size=19, **of)


@pytest.mark.parametrize(
    ("kept", "n", "rows", "complaint"),
    [
        ([0, 1, 2], 1, [2], "not each from 0 to 3 once"),  # two for row 2
        ([0, 1, 2], 1, [4], "not each from 0 to 3 once"),
        ([0, 1], 1, [2], "3 items"),
        ([-1, -1, -1], 0, [], "the 0 live rows"),
        ([0, 1, 2], 2, [3], "1 rows for vectors of shape"),
    ],
)
def test_a_change_that_does_not_add_up_is_refused(
    kept: list[int], n: int, rows: list[int], complaint: str
) -> None:
    index = AnnIndex.build(vectors_of(8, 3), "Flat", seed=1, threads=1)
    with pytest.raises(ValueError, match=complaint):
        index.changed(np.array(kept, np.int64), vectors_of(1, n), np.array(rows, np.int64))


def test_vectors_that_are_no_numbers_or_too_wide_are_refused() -> None:
    index, kept = AnnIndex.build(vectors_of(8, 3), "Flat", seed=1, threads=1), np.arange(3)
    broken = vectors_of(1, 1)
    broken[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity"):
        index.changed(kept, broken, np.array([3]))
    with pytest.raises(ValueError, match="8 numbers"):
        index.changed(kept, np.ones((1, 9), np.float32), np.array([3]))
