import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from index import ItemLists
from retrieval.data.encoded import EncodedInteractions
from retrieval.data.ids import IdMap
from retrieval.evaluation.cold_users import Newcomers
from retrieval.evaluation.judgements import Judgements
from retrieval.evaluation.validation import NEWCOMER_HISTORIES, ValidationLists, alike
from retrieval.serving.tower_vectors import TowerVectors

# Items 0 to 13 by id; every user vector is 1, so that an item's number is its score.
N_ITEMS = 14
ITEMS, USERS = IdMap.from_values(list(range(N_ITEMS))), IdMap.from_values([100, 101])
SECOND = 1 / math.log2(3)


def vectors(histories: bool = True, sign: float = 1.0) -> TowerVectors:
    """Item 13 is the best for everyone; with the other sign item 0."""
    items = np.column_stack([np.arange(N_ITEMS), np.zeros(N_ITEMS)]).astype(np.float32) * sign
    users = np.ones((2, 2), dtype=np.float32)
    table, prior = np.zeros((N_ITEMS, 1), np.float32), np.ones(1, np.float32)
    return TowerVectors(items, users, table if histories else None, prior if histories else None)


def judged(lists: list[list[int]]) -> Judgements:
    pairs = [(user, item) for user, items in enumerate(lists) for item in items]
    users, items = np.array(pairs).T
    return Judgements(np.arange(len(lists)), ItemLists.from_pairs(users, items, len(lists)))


def frame() -> pl.DataFrame:
    """Two newcomers: 7 begins with 13, 12, 11 and then likes 10; 8 has three of 0 to 2 and likes 9 and 4."""
    rows = [(7, item, 5.0, time) for time, item in enumerate([13, 12, 11, 10])]
    rows += [(8, item, 5.0, time) for time, item in enumerate([0, 1, 2, 9, 4])]
    rows += [(100, 5, 5.0, 9)]
    schema = {"user": pl.Int64, "item": pl.Int64, "rating": pl.Float32, "timestamp": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def encoded(pairs: list[tuple[int, int]], times: list[int] | None = None) -> EncodedInteractions:
    """Everything rated 5, by the users of train."""
    users, items = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    stamps = np.zeros(len(users), np.int64) if times is None else np.array(times, np.int64)
    return EncodedInteractions(users, items, np.full(len(users), 5, np.float32), stamps, 2, N_ITEMS)


TRAIN = encoded([(0, 13)])


def validation(rows: pl.DataFrame | None = None) -> ValidationLists:
    """User 0 has seen the best item and likes the second best; so does user 1, who has seen nothing."""
    likes = encoded([(0, 12), (1, 12)])
    return ValidationLists.of(TRAIN, likes, frame() if rows is None else rows, USERS, ITEMS, 4.0)


def test_newcomers_are_those_of_validation_whom_train_does_not_know() -> None:
    lists = validation()
    assert [each.n for each in lists.newcomers] == [1, 3]  # nobody has more than 10
    assert [each.seen.of(0).tolist() for each in lists.newcomers] == [[13], [11, 12, 13]]
    assert len(lists.newcomers[0]) == 2
    assert NEWCOMER_HISTORIES == (1, 3, 10)


def test_figures_worked_by_hand() -> None:
    found = validation().ndcg(vectors())
    # With one interaction known towers are not judged. With three newcomer 7 has seen the best: 10 is first.
    # 8 is given 13 to 4: 9 is fifth and 4 is tenth.
    ideal = 1 + SECOND
    of_8 = (1 / math.log2(6) + 1 / math.log2(11)) / ideal
    warm, new = [1, SECOND], [1, of_8]
    assert found == pytest.approx([*warm, *new])
    assert found.mean() == pytest.approx((np.mean(warm) + np.mean(new)) / 2)
    assert (validation().ndcg(vectors(sign=-1)) < 1).all()


def test_the_id_tower_is_judged_by_warm_users_alone() -> None:
    assert validation().ndcg(vectors(histories=False)) == pytest.approx([1, SECOND])


def test_newcomers_get_the_vector_of_what_they_liked_in_their_history() -> None:
    """Items point where they count; a history of 8's likes turns the order around, another does not."""
    table = np.zeros((N_ITEMS, 1), dtype=np.float32)
    table[:3] = -100  # what 8 has
    turned = TowerVectors(vectors().items, vectors().users, table, np.ones(1, np.float32))
    found = validation().ndcg(turned)
    # 8 is given 3 to 12 in rising order: 4 is second, 9 is seventh.
    assert found[2:] == pytest.approx([1, (SECOND + 1 / math.log2(8)) / (1 + SECOND)])
    disliked = frame().with_columns(
        rating=pl.when(pl.col("item") < 3).then(1.0).otherwise(pl.col("rating")).cast(pl.Float32)
    )
    assert validation(disliked).ndcg(turned)[2:] == pytest.approx(validation().ndcg(vectors())[2:])


def test_what_warm_users_have_seen_is_theirs_in_any_order_of_rows() -> None:
    """The warm users are some of train's."""
    train, likes = encoded([(0, 12), (1, 13)]), encoded([(1, 12)])
    lists = ValidationLists.of(train, likes, frame().clear(), USERS, ITEMS, 4.0)
    assert lists.newcomers == ()
    assert lists.ndcg(vectors()).tolist() == [1]


def test_groups_count_alike_whatever_their_size() -> None:
    warm = judged([[12]] * 2)
    lists = ValidationLists(warm, (warm,), ItemLists.empty(2), ())
    many = Newcomers.of(
        pl.DataFrame({"user": np.repeat(np.arange(30), 4), "item": np.tile([0, 1, 2, 13], 30)}),
        [],
        ITEMS,
        4.0,
        3,
    )
    assert len(many) == 30
    both = ValidationLists(warm, (warm,), lists.seen, (many,)).ndcg(vectors())
    assert len(both) == 32
    assert both.mean() == pytest.approx((SECOND + 1) / 2)


def test_validation_is_cut_into_stretches_of_as_many_rows() -> None:
    """Six likes of user 0 in time: two in each stretch, and what train has is in none."""
    likes = encoded([(0, item) for item in (1, 2, 3, 4, 5, 13)], [60, 10, 50, 20, 40, 30])
    lists = ValidationLists.of(TRAIN, likes, frame(), USERS, ITEMS, 4.0)
    assert [each.users.tolist() for each in lists.stretches] == [[0]] * 3
    assert [each.relevant.of(0).tolist() for each in lists.stretches] == [[2, 4], [5], [1, 3]]
    assert lists.warm.relevant.of(0).tolist() == [1, 2, 3, 4, 5]


def test_without_timestamps_validation_is_one_stretch() -> None:
    likes = replace(encoded([(0, 1), (1, 2)]), timestamps=None)
    lists = ValidationLists.of(TRAIN, likes, frame().drop("timestamp"), USERS, ITEMS, 4.0)
    assert [each.relevant.items.tolist() for each in lists.stretches] == [[1, 2]]


def test_alike_by_hand() -> None:
    groups = [np.array([1.0, 2.0]), np.array([]), np.array([6.0])]
    # Three lists in two groups: half of the mean each, so 3 / (2 * 2) and 3 / (1 * 2) times.
    assert alike(groups).tolist() == [0.75, 1.5, 9.0]
    assert alike(groups).mean() == (1.5 + 6) / 2
    assert alike([np.array([1.0, 0.5])]).tolist() == [1.0, 0.5]
