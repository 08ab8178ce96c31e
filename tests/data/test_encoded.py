import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.data.encoded import EncodedInteractions
from retrieval.data.ids import IdMap

Pair = tuple[int, int]
pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), unique=True, max_size=40)

N_USERS, N_ITEMS = 7, 7


def frame(rows: list[tuple[object, object, float, int]]) -> pl.DataFrame:
    names = ["user", "item", "rating", "timestamp"]
    columns = zip(*rows, strict=True) if rows else [[], [], [], []]
    return pl.DataFrame(dict(zip(names, map(list, columns), strict=True)))


def encode(given_pairs: list[Pair]) -> EncodedInteractions:
    """Rows of ids that are rows already; rating and time name the pair."""
    rows = [(user, item, float(user * 10 + item), user * 100 + item) for user, item in given_pairs]
    schema = {"user": pl.Int64, "item": pl.Int64, "rating": pl.Float32, "timestamp": pl.Int64}
    return EncodedInteractions.from_frame(
        pl.DataFrame(rows, schema=schema, orient="row"),
        IdMap.from_values(list(range(N_USERS))),
        IdMap.from_values(list(range(N_ITEMS))),
    )


def as_pairs(data: EncodedInteractions) -> list[Pair]:
    return list(zip(data.users.tolist(), data.items.tolist(), strict=True))


def test_unknown_ids_are_left_out_and_rows_are_ordered() -> None:
    users, items = IdMap.from_values(["ann", "bob", "cy"]), IdMap.from_values([10, 20, 30])
    data = EncodedInteractions.from_frame(
        frame(
            [
                ("cy", 20, 1.0, 5),
                ("ann", 30, 2.5, 6),
                ("eve", 10, 3.0, 7),  # unknown user
                ("ann", 40, 4.0, 8),  # unknown item
                ("ann", 10, 5.0, 9),
                ("cy", 10, 4.5, 2**33),
            ]
        ),
        users,
        items,
    )
    assert data.users.tolist() == [0, 0, 2, 2]
    assert data.items.tolist() == [0, 2, 0, 1]
    assert data.ratings.tolist() == [5.0, 2.5, 4.5, 1.0]
    assert data.timestamps.tolist() == [9, 6, 2**33, 5]
    assert (len(data), data.n_users, data.n_items) == (4, 3, 3)
    dtypes = [array.dtype for array in (data.users, data.items, data.ratings, data.timestamps)]
    assert dtypes == [np.int64, np.int64, np.float32, np.int64]


def test_a_frame_without_known_rows_encodes_to_nothing() -> None:
    known = IdMap.from_values([1, 2])
    data = EncodedInteractions.from_frame(frame([(3, 1, 5.0, 0), (1, 3, 5.0, 0)]), known, known)
    assert (len(data), data.n_users, data.n_items) == (0, 2, 2)
    assert data.item_lists().lengths().tolist() == [0, 0]


@given(pairs)
def test_rows_are_sorted_by_user_then_item_and_keep_their_values(given_pairs: list[Pair]) -> None:
    data = encode(given_pairs)
    assert as_pairs(data) == sorted(given_pairs)
    assert data.ratings.tolist() == [user * 10 + item for user, item in sorted(given_pairs)]
    assert data.timestamps.tolist() == [user * 100 + item for user, item in sorted(given_pairs)]


@given(pairs, pairs)
def test_without_leaves_out_the_pairs_of_the_other(left: list[Pair], right: list[Pair]) -> None:
    rest = encode(left).without(encode(right))
    assert as_pairs(rest) == sorted(set(left) - set(right))
    assert rest.ratings.tolist() == [user * 10 + item for user, item in as_pairs(rest)]
    assert (rest.n_users, rest.n_items) == (N_USERS, N_ITEMS)


@given(pairs, st.integers(0, 70))
def test_positives_are_rated_at_least_the_threshold(given_pairs: list[Pair], threshold: int) -> None:
    positives = encode(given_pairs).positives(threshold)
    assert as_pairs(positives) == [
        pair for pair in sorted(given_pairs) if pair[0] * 10 + pair[1] >= threshold
    ]


@given(pairs)
def test_item_lists_hold_each_users_items(given_pairs: list[Pair]) -> None:
    lists = encode(given_pairs).item_lists()
    assert len(lists) == N_USERS
    for user in range(N_USERS):
        assert lists.of(user).tolist() == sorted(item for owner, item in given_pairs if owner == user)


def test_a_mask_takes_all_columns_along() -> None:
    data = encode([(0, 1), (2, 3), (4, 5)])
    taken = data.where(np.array([True, False, True]))
    assert as_pairs(taken) == [(0, 1), (4, 5)]
    assert taken.ratings.tolist() == [1.0, 45.0]
    assert taken.timestamps.tolist() == [1, 405]


def test_a_repeated_pair_makes_no_item_lists() -> None:
    with pytest.raises(ValueError, match="strictly increasing"):
        encode([(1, 1), (1, 1)]).item_lists()


# Tables that lack ratings or times


def without(given_pairs: list[Pair], *columns: str) -> EncodedInteractions:
    """As `encode`, of a frame without some columns."""
    rows = [(user, item, float(user * 10 + item), user * 100 + item) for user, item in given_pairs]
    schema = {"user": pl.Int64, "item": pl.Int64, "rating": pl.Float32, "timestamp": pl.Int64}
    ids = IdMap.from_values(list(range(N_USERS)))
    return EncodedInteractions.from_frame(
        pl.DataFrame(rows, schema=schema, orient="row").drop(columns), ids, ids
    )


@given(pairs, st.floats(-10, 100))
def test_without_ratings_every_row_is_a_positive(given_pairs: list[Pair], threshold: float) -> None:
    data = without(given_pairs, "rating")
    assert data.ratings is None
    assert as_pairs(data.positives(threshold)) == sorted(given_pairs)
    assert data.timestamps is not None
    assert data.timestamps.tolist() == [user * 100 + item for user, item in sorted(given_pairs)]


@given(pairs, pairs, st.integers(0, 70))
def test_what_is_missing_stays_missing_through_every_selection(
    left: list[Pair], right: list[Pair], threshold: int
) -> None:
    for columns in (("rating",), ("timestamp",), ("rating", "timestamp")):
        data, whole = without(left, *columns), encode(left)
        rest = data.without(without(right, *columns))
        assert as_pairs(rest) == sorted(set(left) - set(right))
        # The other's columns do not matter.
        assert as_pairs(data.without(encode(right))) == as_pairs(rest)
        half = data.where(data.users % 2 == 0)
        for part, same in (
            (rest, whole.without(encode(right))),
            (half, whole.where(whole.users % 2 == 0)),
            (data.positives(threshold), whole if "rating" in columns else whole.positives(threshold)),
        ):
            assert as_pairs(part) == as_pairs(same)
            for name in ("rating", "timestamp"):
                kept = getattr(part, f"{name}s")
                assert (kept is None) == (name in columns)
                if kept is not None:
                    assert kept.tolist() == getattr(same, f"{name}s").tolist()
            assert (part.n_users, part.n_items) == (N_USERS, N_ITEMS)


# Some users on their own


@given(pairs, st.sets(st.integers(0, N_USERS - 1)).map(sorted))
def test_users_taken_out_become_the_first_rows_in_their_order(
    given_pairs: list[Pair], rows: list[int]
) -> None:
    data = encode(given_pairs)
    part = data.of_users(np.array(rows, dtype=np.int64))
    assert as_pairs(part) == [(rows.index(user), item) for user, item in sorted(given_pairs) if user in rows]
    assert (part.n_users, part.n_items) == (len(rows), N_ITEMS)
    assert part.users.dtype == np.int64
    assert part.ratings.tolist() == [rows[user] * 10 + item for user, item in as_pairs(part)]
    assert part.timestamps.tolist() == [rows[user] * 100 + item for user, item in as_pairs(part)]
    whole = data.item_lists()
    for row, user in enumerate(rows):
        assert part.item_lists().of(row).tolist() == whole.of(user).tolist()


def test_users_without_interactions_keep_their_row() -> None:
    part = without([(0, 1), (4, 2)], "rating", "timestamp").of_users(np.array([3, 4, 6]))
    assert as_pairs(part) == [(1, 2)]
    assert part.item_lists().lengths().tolist() == [0, 1, 0]
    assert part.ratings is None and part.timestamps is None
