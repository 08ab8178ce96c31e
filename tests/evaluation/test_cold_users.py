from typing import Any

import polars as pl
import pytest

from retrieval.data.ids import IdMap
from retrieval.evaluation.cold_users import Newcomers

ITEMS = IdMap.from_values([10, 20, 30, 40, 50])
KNOWN = IdMap.from_values(["ann", "bob"])
Row = tuple[str, int, float, int]


def frame(rows: list[Row]) -> pl.DataFrame:
    schema = {"user": pl.String, "item": pl.Int64, "rating": pl.Float32, "timestamp": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


# Cy likes four of five, Dan has two, Eve likes nothing after her first, Fay knows only strange items.
ROWS: list[Row] = [
    ("ann", 10, 5, 1),
    ("cy", 30, 5, 40),
    ("cy", 10, 5, 10),
    ("cy", 50, 2, 20),
    ("cy", 20, 4, 30),
    ("cy", 40, 5, 50),
    ("dan", 50, 5, 9),
    ("dan", 40, 3, 8),
    ("dan", 99, 5, 1),  # not in the catalogue: neither history nor judged
    ("eve", 10, 5, 1),
    ("eve", 20, 3, 2),
    ("fay", 98, 5, 1),
    ("bob", 20, 5, 3),
]


def of(n: int, rows: list[Row] = ROWS, known: Any = (KNOWN,), threshold: float = 4) -> Newcomers:
    return Newcomers.of(frame(rows), known, ITEMS, threshold, n)


def ids(lists: Any) -> list[list[int]]:
    return [ITEMS.ids[lists.of(row)].tolist() for row in range(len(lists))]


def test_the_first_interactions_are_history_and_the_rest_is_judged() -> None:
    one = of(1)
    assert len(one) == 2  # cy and dan; eve has nothing relevant left
    assert ids(one.seen) == [[10], [40]]
    assert ids(one.judgements.relevant) == [[20, 30, 40], [50]]
    assert ids(one.liked) == [[10], []]
    three = of(3)
    assert (ids(three.seen), ids(three.liked)) == ([[10, 20, 50]], [[10, 20]])
    assert ids(three.judgements.relevant) == [[30, 40]]
    assert three.history.users.tolist() == [0, 0, 0] and three.history.n_users == 1
    assert three.judgements.users.tolist() == [0]
    assert one.history.ratings is not None and one.history.ratings.tolist() == [5, 3]


def test_of_brand_new_users_nothing_is_known_and_everything_is_judged() -> None:
    nothing = of(0)
    assert ids(nothing.judgements.relevant) == [[10, 20, 30, 40], [50], [10]]
    assert ids(nothing.seen) == ids(nothing.liked) == [[], [], []]
    assert len(nothing.history) == 0 and nothing.history.n_users == 3


@pytest.mark.parametrize("n", [0, 1, 3])
def test_users_of_earlier_slices_are_no_newcomers(n: int) -> None:
    """Whichever slice knew them, and whatever they do now."""
    strangers = [row for row in ROWS if row[0] not in ("ann", "bob")]
    alone = of(n, strangers, known=())
    for known in ((KNOWN,), (IdMap.from_values(["ann"]), IdMap.from_values(["bob"]))):
        made = of(n, known=known)
        assert (ids(made.seen), ids(made.judgements.relevant)) == (
            ids(alone.seen),
            ids(alone.judgements.relevant),
        )
    without_cy = of(n, known=(KNOWN, IdMap.from_values(["cy"])))
    assert len(without_cy) == len(alone) - 1
    assert not any(30 in own for own in ids(without_cy.seen) + ids(without_cy.judgements.relevant))


def test_interactions_at_the_same_time_are_in_the_order_of_their_items() -> None:
    rows: list[Row] = [("cy", 50, 5, 7), ("cy", 20, 5, 7), ("cy", 40, 5, 7), ("cy", 10, 5, 8)]
    for given in (rows, rows[::-1]):
        made = of(2, given)
        assert (ids(made.seen), ids(made.judgements.relevant)) == ([[20, 40]], [[10, 50]])


def test_without_timestamps_all_interactions_are_in_the_order_of_their_items() -> None:
    made = Newcomers.of(frame(ROWS).drop("timestamp"), [KNOWN], ITEMS, 4, 3)
    assert (ids(made.seen), ids(made.judgements.relevant)) == ([[10, 20, 30]], [[40]])
    assert made.history.timestamps is None


def test_without_ratings_everything_is_liked() -> None:
    made = Newcomers.of(frame(ROWS).drop("rating"), [KNOWN], ITEMS, 4, 1)
    assert ids(made.liked) == ids(made.seen) == [[10], [40], [10]]
    assert ids(made.judgements.relevant) == [[20, 30, 40, 50], [50], [20]]


@pytest.mark.parametrize("n", [5, 6, 1000])
def test_longer_histories_than_anybody_has_leave_nobody(n: int) -> None:
    made = of(n)
    assert len(made) == len(made.seen) == len(made.liked) == len(made.history) == 0


@pytest.mark.parametrize("columns", [(), ("rating",), ("timestamp",), ("rating", "timestamp")])
@pytest.mark.parametrize(
    "rows", [[], ROWS[:1], [("fay", 98, 5.0, 1)]], ids=["no row", "known", "strange items"]
)
def test_where_nobody_is_new_there_is_nobody(rows: list[Row], columns: tuple[str, ...]) -> None:
    made = Newcomers.of(frame(rows).drop(columns), [KNOWN], ITEMS, 4, 1)
    assert len(made) == len(made.seen) == len(made.liked) == 0
    assert made.history.n_items == len(ITEMS)
    assert (made.history.timestamps is None) == ("timestamp" in columns)
