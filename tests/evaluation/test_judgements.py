import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import P, R, nDCG

from index import ItemLists
from retrieval.data.encoded import EncodedInteractions
from retrieval.evaluation import judgements as judgements_module
from retrieval.evaluation.judgements import Judgements, rank_by_scores, score_lists


def encoded(rows: list[tuple[int, int, float]], n_users: int, n_items: int) -> EncodedInteractions:
    """(user, item, rating) rows, time passing from row to row."""
    order = sorted(range(len(rows)), key=lambda i: rows[i][:2])
    users, items, ratings = (np.array([rows[i][part] for i in order]) for part in range(3))
    return EncodedInteractions(
        users.astype(np.int64),
        items.astype(np.int64),
        ratings.astype(np.float32),
        np.array(order, dtype=np.int64),
        n_users,
        n_items,
    )


def lists_of(judgements: Judgements) -> list[list[int]]:
    return [judgements.relevant.of(row).tolist() for row in range(len(judgements))]


TRAIN = encoded([(0, 0, 5), (1, 1, 2), (2, 0, 5), (3, 2, 4)], n_users=5, n_items=5)


def test_relevant_are_test_items_from_the_threshold_on() -> None:
    test = encoded([(0, 2, 4), (0, 1, 3.5), (0, 4, 5), (1, 3, 4)], 5, 5)
    judgements = Judgements.of(test, TRAIN, 4)
    assert lists_of(judgements) == [[2, 4], [3]]
    assert lists_of(Judgements.of(test, TRAIN, 3.5)) == [[1, 2, 4], [3]]


def test_a_pair_that_train_has_seen_is_not_relevant_whatever_its_rating_there() -> None:
    test = encoded([(0, 0, 5), (0, 1, 5), (1, 1, 5)], 5, 5)
    judgements = Judgements.of(test, TRAIN, 4)
    assert judgements.users.tolist() == [0, 1]
    assert lists_of(judgements) == [[1], []]  # item 1 was seen by user 1 only


def test_users_without_relevant_items_stay_and_users_without_rows_do_not() -> None:
    judgements = Judgements.of(encoded([(4, 1, 1), (2, 3, 5)], 5, 5), TRAIN, 4)
    assert judgements.users.tolist() == [2, 4]
    assert judgements.n_relevant.tolist() == [1, 0]


def test_hits_belong_to_each_users_own_items_and_padding_never_hits() -> None:
    judgements = Judgements.of(encoded([(1, 3, 5), (3, 4, 5), (3, 0, 5)], 5, 5), TRAIN, 4)
    lists = np.array([[3, 4, -1], [3, 4, 0]])
    assert judgements.hits(lists).tolist() == [[True, False, False], [False, True, True]]


def test_precision_counts_users_without_relevant_items_recall_and_ndcg_leave_them_out() -> None:
    judgements = Judgements.of(encoded([(0, 1, 5), (1, 2, 1), (2, 3, 5), (2, 4, 5)], 5, 5), TRAIN, 4)
    scores = score_lists(np.array([[1, 2, 3], [2, 3, 4], [1, 3, 4]]), judgements, 2)
    assert scores.precision.tolist() == [0.5, 0, 0.5]
    assert scores.recall.tolist() == [1, 0.5]
    # User 2: rank 2 hits, ideal of two.
    assert scores.ndcg.tolist() == pytest.approx([1, 0.63093 / 1.63093], abs=1e-5)
    assert scores.lists.tolist() == [[1, 2], [2, 3], [1, 3]]


def naive_lists(scores: np.ndarray, users: np.ndarray, seen: ItemLists, k: int) -> list[list[int]]:
    """Sorting each user's unseen items by score downwards, then by row."""
    lists = []
    for user in users:
        known = set(seen.of(user).tolist())
        unseen = [item for item in range(scores.shape[1]) if item not in known]
        best = sorted(unseen, key=lambda item: (-scores[user, item], item))[:k]
        lists.append(best + [-1] * (min(k, scores.shape[1]) - len(best)))
    return lists


@st.composite
def tied_cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]], int]:
    """Scores of few distinct values, users in any order, seen pairs, k up to beyond the catalogue."""
    n_users, n_items = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = rng.integers(0, draw(st.sampled_from([1, 2, 50])), (n_users, n_items), endpoint=True)
    users = rng.permutation(n_users)[: rng.integers(1, n_users, endpoint=True)]
    seen = np.argwhere(rng.random((n_users, n_items)) < draw(st.sampled_from([0, 0.4, 0.9])))
    return scores.astype(np.float32), users, [tuple(pair) for pair in seen], draw(st.integers(1, n_items + 2))


def seen_lists(pairs: list[tuple[int, int]], n_users: int) -> ItemLists:
    array = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return ItemLists.from_pairs(array[:, 0], array[:, 1], n_users)


@given(tied_cases(), st.integers(1, 40))
@settings(max_examples=150)
def test_ranking_by_scores_is_a_sort_of_the_unseen_whatever_the_block_size(case, scores_a_block) -> None:
    scores, users, pairs, k = case
    seen = seen_lists(pairs, len(scores))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judgements_module, "SCORES_A_BLOCK", scores_a_block)
        lists = rank_by_scores(lambda rows: scores[rows], users, seen.take(users), k, scores.shape[1])
    assert lists.tolist() == naive_lists(scores, users, seen, k)
    assert not seen.contains(users, lists).any()


def test_scores_are_asked_for_in_blocks_of_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judgements_module, "SCORES_A_BLOCK", 8)
    asked = []

    def scorer(rows: np.ndarray) -> np.ndarray:
        asked.append(rows.tolist())
        return np.ones((len(rows), 4), dtype=np.float32)

    rank_by_scores(scorer, np.array([4, 2, 0, 1, 3]), ItemLists.empty(5), 2, 4)
    assert asked == [[4, 2], [0, 1], [3]]


def test_a_scorers_own_array_is_left_as_it_is() -> None:
    scores = np.ones((1, 3), dtype=np.float32)
    seen = ItemLists.from_pairs(np.array([0]), np.array([1]), 1)
    rank_by_scores(lambda rows: scores, np.array([0]), seen, 2, 3)
    assert scores.tolist() == [[1, 1, 1]]


@given(tied_cases(), st.integers(0, 2**32 - 1))
@settings(max_examples=80)
def test_scores_to_metrics_agrees_with_ir_measures_ties_seen_pairs_and_idle_users_included(
    case, seed
) -> None:
    scores, _, pairs, k = case
    n_users, n_items = scores.shape
    rated = np.argwhere(np.random.default_rng(seed).random(scores.shape) < 0.4)
    ratings = [(user, item, 5.0 if (user + item) % 2 else 2.0) for user, item in rated.tolist()]
    train = encoded([(*pair, 3.0) for pair in pairs], n_users, n_items)
    judgements = Judgements.of(encoded(ratings, n_users, n_items), train, 4)
    seen = train.item_lists()
    lists = rank_by_scores(
        lambda rows: scores[rows], judgements.users, seen.take(judgements.users), k, n_items
    )
    ours = score_lists(lists, judgements, k)

    qrels, run = {}, {}
    for user in sorted({user for user, _, _ in ratings}):
        good = {item for u, item, rating in ratings if u == user and rating >= 4} - set(
            seen.of(user).tolist()
        )
        qrels[str(user)] = {str(item): int(item in good) for item in range(n_items)}
        # Descending dummy scores state the order among ties: by item row.
        best = naive_lists(scores, np.array([user]), seen, n_items)[0]
        run[str(user)] = {str(item): -float(rank) for rank, item in enumerate(best) if item >= 0}
    judged = {user for user, items in qrels.items() if any(items.values())}
    expected = {P @ k: [], R @ k: [], nDCG @ k: []}
    if qrels:
        found = {
            (metric.query_id, metric.measure): metric.value
            for metric in ir_measures.pytrec_eval.iter_calc(list(expected), qrels, run)
        }
        for user in qrels:
            for measure in expected:
                if measure == P @ k or user in judged:
                    # trec_eval is silent about a user whose list is empty: 0.
                    expected[measure].append(found.get((user, measure), 0.0))
    for measure, values in zip(expected, (ours.precision, ours.recall, ours.ndcg), strict=True):
        np.testing.assert_allclose(values, expected[measure], atol=1e-9)
