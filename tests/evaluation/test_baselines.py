from dataclasses import replace

import numpy as np
import pytest

from index import ItemLists
from retrieval.data.encoded import EncodedInteractions
from retrieval.data.matrices import popularity, positive_matrix
from retrieval.evaluation import baselines as baselines_module
from retrieval.evaluation.baselines import (
    EASE_L2,
    RECENT_WINDOWS,
    BaselineSet,
    popular_now,
    recent_popularity,
    same_for_all,
)
from retrieval.evaluation.judgements import Judgements, rank_by_scores, score_lists
from retrieval.training.linear_models import Ease, ItemKnn


def encoded(rows: list[tuple[int, int, float, int]], n_users: int, n_items: int) -> EncodedInteractions:
    """(user, item, rating, timestamp) rows, ordered as the models expect them."""
    table = np.array(sorted(rows), dtype=np.float64).reshape(-1, 4)
    return EncodedInteractions(
        table[:, 0].astype(np.int64),
        table[:, 1].astype(np.int64),
        table[:, 2].astype(np.float32),
        table[:, 3].astype(np.int64),
        n_users,
        n_items,
    )


def random_interactions(seed: int, n_users: int = 30, n_items: int = 12) -> EncodedInteractions:
    rng = np.random.default_rng(seed)
    pairs = np.argwhere(rng.random((n_users, n_items)) < np.linspace(0.7, 0.1, n_items))
    rows = [(u, i, float(rng.integers(1, 6)), int(rng.integers(1000))) for u, i in pairs.tolist()]
    return encoded(rows, n_users, n_items)


# Ten positives at times 0 to 9. Item 1 is the favourite of the last two, item 0 of all times.
HISTORY = encoded(
    [
        (user, item, 5.0, time)
        for time, (user, item) in enumerate(
            [(0, 0), (1, 0), (2, 0), (3, 0), (4, 2), (0, 2), (1, 3), (2, 3), (3, 1), (4, 1)]
        )
    ],
    n_users=5,
    n_items=5,
)


def test_popularity_counts_positives() -> None:
    assert popularity(HISTORY).tolist() == [4, 2, 2, 2, 0]


def test_recent_popularity_counts_the_last_share_and_breaks_ties_by_all_times() -> None:
    # The last 20 %: times 8 and 9, both of item 1. The rest tie at 0 recent ones: all-time count / (4 + 1).
    assert recent_popularity(HISTORY, 0.2).tolist() == pytest.approx([0.8, 2.4, 0.4, 0.4, 0.0])
    # The last half: times 5 to 9 (the quantile is 4.5): item 1 twice, 3 twice, 2 once.
    assert recent_popularity(HISTORY, 0.5).tolist() == pytest.approx([0.8, 2.4, 1.4, 2.4, 0.0])
    # All: the order of popularity itself.
    assert recent_popularity(HISTORY, 1.0).tolist() == pytest.approx([4.8, 2.4, 2.4, 2.4, 0.0])


def test_more_recent_counts_beat_any_all_time_count() -> None:
    rows = [(user, 0, 5.0, user) for user in range(99)] + [(0, 1, 5.0, 200), (0, 2, 5.0, 100)]
    scores = recent_popularity(encoded(rows, 99, 3), 0.005)
    assert np.argsort(-scores).tolist() == [1, 0, 2]


def judgements_on(train: EncodedInteractions, rows: list[tuple[int, int, float, int]]) -> Judgements:
    return Judgements.of(encoded(rows, train.n_users, train.n_items), train, 4)


def test_the_window_is_the_one_that_foretells_validation() -> None:
    # Items 1 and 2 are old favourites, item 3 that of the last 2 %; nobody of validation saw any of them.
    rows = [(user, 0, 1.0, 0) for user in range(120)]
    rows += [(user, 1 + user % 2, 5.0, user) for user in range(100)]
    rows += [(user, 3, 5.0, 1000) for user in range(100, 102)]
    train = encoded(rows, 120, 4)
    trendy = judgements_on(train, [(user, 3, 5.0, 2000) for user in range(110, 120)])
    assert BaselineSet.choose(train, trendy, 4, 1).settings["recent_window"] == 0.02
    steady = judgements_on(train, [(user, 1, 5.0, 2000) for user in range(110, 120)])
    assert BaselineSet.choose(train, steady, 4, 1).settings["recent_window"] > 0.02


def test_the_chosen_settings_are_the_best_of_all_on_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = (3, 5, 19)  # those of big catalogues are all the same here
    monkeypatch.setattr(baselines_module, "ITEM_KNN_NEIGHBOURS", sizes)
    train = random_interactions(9, n_users=60, n_items=20)
    rng = np.random.default_rng(3)
    rows = [(u, i, 5.0, 2000) for u, i in np.argwhere(rng.random((60, 20)) < 0.15).tolist()]
    validation, positives = judgements_on(train, rows), train.positives(4)

    def score(scorer) -> float:
        lists = rank_by_scores(
            scorer, validation.users, train.item_lists().take(validation.users), 3, train.n_items
        )
        return float(score_lists(lists, validation, 3).ndcg.mean())

    chosen = BaselineSet.choose(train, validation, 4, 3)
    matrix = positive_matrix(positives)
    by_l2 = {l2: score(Ease.fit(positives, l2).scorer(matrix)) for l2 in EASE_L2}
    by_size = {size: score(ItemKnn.fit(positives, size).scorer(matrix)) for size in sizes}
    by_window = {w: score(same_for_all(recent_popularity(positives, w))) for w in RECENT_WINDOWS}
    # The first of equals; here neither is the first or the last of all.
    assert chosen.ease_l2 == max(by_l2, key=lambda l2: by_l2[l2]) == 300
    assert chosen.item_knn_neighbours == max(by_size, key=lambda size: by_size[size]) == 5
    assert chosen.item_knn.similarities.nnz == ItemKnn.fit(positives, 5).similarities.nnz
    assert chosen.window == max(by_window, key=lambda share: by_window[share]) == 0.05


@pytest.fixture(scope="module")
def train() -> EncodedInteractions:
    return random_interactions(4)


@pytest.fixture(scope="module")
def validation(train: EncodedInteractions) -> Judgements:
    rows = [(u, i, 5.0, 2000) for u, i in np.argwhere(np.ones((30, 12))).tolist() if (u + i) % 3 == 0]
    return judgements_on(train, rows)


def test_lists_hold_the_best_unseen_items_of_each_baseline(
    train: EncodedInteractions, validation: Judgements
) -> None:
    chosen = BaselineSet.choose(train, validation, 4, 3)
    positives, users = train.positives(4), np.array([0, 9, 4])
    lists = chosen.lists(users, 4, train.item_lists().take(users))
    assert list(lists) == ["popularity", "recent_popularity", "ease", "item_knn"]
    seen = train.item_lists()
    assert chosen.ease is not None and chosen.item_knn is not None
    scores = {
        "popularity": np.tile(popularity(positives), (3, 1)),
        "recent_popularity": np.tile(recent_popularity(positives, chosen.window), (3, 1)),
        "ease": chosen.ease.scorer(positive_matrix(positives))(users),
        "item_knn": chosen.item_knn.scorer(positive_matrix(positives))(users),
    }
    for name, rows in lists.items():
        assert rows.shape == (3, 4)
        for line, user, row in zip(rows, users, scores[name], strict=True):
            # What was seen counts whatever its rating, though only positives are counted.
            unseen = np.setdiff1d(np.arange(train.n_items), seen.of(user))
            best = sorted(unseen, key=lambda item: (-row[item], item))[:4]
            assert line[line >= 0].tolist() == best
    np.testing.assert_array_equal(chosen.popularity, popularity(positives))


def test_fitting_the_chosen_settings_again_gives_the_same_lists(
    train: EncodedInteractions, validation: Judgements
) -> None:
    chosen = BaselineSet.choose(train, validation, 4, 3)
    again = BaselineSet.fit(train, 4, chosen.settings)
    assert again.settings == chosen.settings
    assert chosen.ease is not None and again.ease is not None
    np.testing.assert_array_equal(again.ease.weights, chosen.ease.weights)
    users = np.arange(train.n_users)
    seen = train.item_lists()
    expected, found = chosen.lists(users, 5, seen), again.lists(users, 5, seen)
    assert list(found) == list(expected)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_ease_is_left_out_above_its_limit_and_from_nothing_else(
    train: EncodedInteractions, validation: Judgements, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines_module, "EASE_MAX_ITEMS", train.n_items)
    first, seen = np.array([0]), train.item_lists().take(np.array([0]))
    assert "ease" in BaselineSet.choose(train, validation, 4, 3).lists(first, 3, seen)
    monkeypatch.setattr(baselines_module, "EASE_MAX_ITEMS", train.n_items - 1)
    monkeypatch.setattr(Ease, "fit", lambda *_: pytest.fail("EASE was fitted all the same"))
    chosen = BaselineSet.choose(train, validation, 4, 3)
    assert chosen.ease is None
    assert "ease_l2" not in chosen.settings
    for each in (chosen, BaselineSet.fit(train, 4, chosen.settings)):
        assert list(each.lists(first, 3, seen)) == ["popularity", "recent_popularity", "item_knn"]


def test_without_times_recent_popularity_is_left_out(
    train: EncodedInteractions, validation: Judgements
) -> None:
    bare = replace(train, timestamps=None)
    chosen = BaselineSet.choose(bare, validation, 4, 3)
    assert chosen.window is None
    timed = BaselineSet.choose(train, validation, 4, 3).settings
    timed.pop("recent_window")
    assert chosen.settings == timed
    first, seen = np.array([0]), train.item_lists().take(np.array([0]))
    for each in (chosen, BaselineSet.fit(bare, 4, chosen.settings)):
        assert list(each.lists(first, 3, seen)) == ["popularity", "ease", "item_knn"]
    with pytest.raises(ValueError, match="without timestamps nothing is recent"):
        recent_popularity(bare, 0.2)


def test_without_times_and_too_many_items_popularity_and_item_knn_are_left(
    train: EncodedInteractions, validation: Judgements, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines_module, "EASE_MAX_ITEMS", train.n_items - 1)
    chosen = BaselineSet.choose(replace(train, timestamps=None), validation, 4, 3)
    assert list(chosen.settings) == ["item_knn_neighbours"]
    first, seen = np.array([0]), train.item_lists().take(np.array([0]))
    assert list(chosen.lists(first, 3, seen)) == ["popularity", "item_knn"]


def test_without_ratings_every_row_is_popularity() -> None:
    clicks = replace(random_interactions(2), ratings=None)
    counts = np.bincount(clicks.items, minlength=clicks.n_items)
    assert BaselineSet.fit(clicks, 4, {}).popularity.tolist() == counts.tolist()


def test_what_is_popular_now_needs_a_window() -> None:
    assert popular_now(HISTORY, None).tolist() == [4, 2, 2, 2, 0]
    assert popular_now(HISTORY, 0.2).tolist() == pytest.approx([0.8, 2.4, 0.4, 0.4, 0.0])
    assert popular_now(replace(HISTORY, timestamps=None), None).tolist() == [4, 2, 2, 2, 0]


def test_excluded_items_are_those_that_are_given_not_those_of_train(
    train: EncodedInteractions, validation: Judgements
) -> None:
    chosen = BaselineSet.choose(train, validation, 4, 3)
    users = np.array([3, 3])
    everything_but = [np.setdiff1d(np.arange(train.n_items), kept) for kept in ([5, 2], [11])]
    lines = np.repeat([0, 1], [len(items) for items in everything_but])
    exclude = ItemLists.from_pairs(lines, np.concatenate(everything_but), 2)
    for name, rows in chosen.lists(users, 4, exclude).items():
        assert sorted(rows[0][:2].tolist()) == [2, 5], name
        assert rows[0][2:].tolist() == [-1, -1]
        assert rows[1].tolist() == [11, -1, -1, -1]
