import random
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from retrieval.data.interactions import Interactions, read_interactions
from retrieval.data.split import Split, latest_of_each_pair, split_by_time, warm_rows
from retrieval.errors import DataError
from retrieval.settings import SplitSettings
from tests.support.checkout import ROOT

ML_100K = ROOT / "data" / "ml-100k"
USUAL = SplitSettings(test_fraction=0.2, validation_fraction=0.1)
COLUMNS = ["user", "item", "rating", "timestamp"]

Row = tuple[int, int, float, int]

# Few users, items and seconds, so that ties, duplicates and warm rows are common.
row = st.tuples(st.integers(1, 3), st.integers(1, 3), st.sampled_from([1.0, 3.0, 5.0]), st.integers(0, 30))
tables = st.lists(row, min_size=12, max_size=60)
fractions = st.sampled_from([(0.2, 0.1), (0.1, 0.1), (0.4, 0.2), (0.25, 0.25), (0.3, 0.3)])


def table(rows: list[Row], source: str = "a table") -> Interactions:
    schema = {"user": pl.Int64, "item": pl.Int64, "rating": pl.Float32, "timestamp": pl.Int64}
    return Interactions(pl.DataFrame(rows, schema=schema, orient="row"), source)


def split_or_reject(rows: list[Row], how: SplitSettings = USUAL) -> Split:
    """The split of a drawn table; tables that cannot be split are another test's."""
    try:
        return split_by_time(table(rows), how)
    except DataError:
        assume(False)
        raise


def naive_quantile(values: list[int], share: Fraction) -> Fraction:
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def naive_latest(rows: list[Row]) -> list[Row]:
    best: dict[tuple[int, int], tuple[int, float]] = {}
    for user, item, rating, time in rows:
        best[user, item] = max(best.get((user, item), (-1, -1.0)), (time, rating))
    return sorted((user, item, rating, time) for (user, item), (time, rating) in best.items())


def test_ten_rows_by_hand() -> None:
    """0.7 * 9 = 6.3 and 0.8 * 9 = 7.2: the cuts are 60 + 0.3 * 40 = 72 and 100 + 0.2 * 100 = 120."""
    rows: list[Row] = [
        (1, 10, 4.0, 0),
        (1, 11, 3.0, 10),
        (2, 10, 5.0, 20),
        (2, 12, 1.0, 30),
        (1, 10, 2.0, 40),  # again, later: this one stays
        (3, 11, 4.0, 50),
        (3, 12, 5.0, 60),
        (1, 12, 3.0, 100),
        (2, 11, 4.0, 200),
        (4, 11, 5.0, 300),  # user 4 is cold
    ]
    split = split_by_time(table(rows), USUAL)
    assert split.validation_start == pytest.approx(72.0, abs=1e-9)
    assert split.test_start == pytest.approx(120.0, abs=1e-9)
    assert split.train.rows() == [
        (1, 10, 2.0, 40),
        (1, 11, 3.0, 10),
        (2, 10, 5.0, 20),
        (2, 12, 1.0, 30),
        (3, 11, 4.0, 50),
        (3, 12, 5.0, 60),
    ]
    assert split.validation.rows() == [(1, 12, 3.0, 100)]
    assert split.test.rows() == [(2, 11, 4.0, 200), (4, 11, 5.0, 300)]
    counts = split.counts
    assert (counts.train, counts.validation, counts.test, split.rows) == (7, 1, 2, 10)
    assert (counts.warm_validation, counts.warm_test) == (1, 1)
    assert (counts.users, counts.items, counts.test_users, counts.duplicates) == (3, 3, 1, 1)


def test_labels_say_which_slice() -> None:
    rows: list[Row] = [(1, 1, 5.0, time) for time in range(0, 100, 10)]
    labelled = split_by_time(table(rows), USUAL).labelled()
    assert labelled.columns == [*COLUMNS, "slice"]
    assert labelled.select("timestamp", "slice").rows() == [(60, "train"), (70, "validation"), (90, "test")]


@given(tables, fractions)
def test_slices_agree_with_a_naive_split(rows: list[Row], shares: tuple[float, float]) -> None:
    test_share, validation_share = shares
    split = split_or_reject(rows, SplitSettings(test_share, validation_share))
    test, validation = Fraction(str(test_share)), Fraction(str(validation_share))
    times = [time for *_, time in rows]
    first, second = naive_quantile(times, 1 - test - validation), naive_quantile(times, 1 - test)
    parts = [
        [row for row in rows if row[3] <= first],
        [row for row in rows if first < row[3] <= second],
        [row for row in rows if row[3] > second],
    ]
    assert (split.validation_start, split.test_start) == pytest.approx((float(first), float(second)))
    counts = split.counts
    assert [counts.train, counts.validation, counts.test] == [len(part) for part in parts]
    assert split.rows == len(rows)
    for frame, part in zip((split.train, split.validation, split.test), parts, strict=True):
        assert sorted(frame.rows()) == naive_latest(part)
    kept = len(split.train) + len(split.validation) + len(split.test)
    assert counts.duplicates == len(rows) - kept

    users, items = {row[0] for row in parts[0]}, {row[1] for row in parts[0]}
    warm = [[row for row in part if row[0] in users and row[1] in items] for part in parts[1:]]
    assert [counts.warm_validation, counts.warm_test] == [len(part) for part in warm]
    assert (counts.users, counts.items) == (len(users), len(items))
    assert counts.test_users == len({row[0] for row in warm[1]})


@given(tables)
def test_train_ends_before_validation_and_validation_before_test(rows: list[Row]) -> None:
    split = split_or_reject(rows)
    slices = (split.train, split.validation, split.test)
    seconds = [set(part["timestamp"].to_list()) for part in slices]
    assert max(seconds[0]) <= split.validation_start < min(seconds[1])
    assert max(seconds[1]) <= split.test_start < min(seconds[2])
    # Strictly later: no second lies on both sides of a cut.
    assert max(seconds[0]) < min(seconds[1]) and max(seconds[1]) < min(seconds[2])


@given(tables, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(rows: list[Row], chance: random.Random) -> None:
    split = split_or_reject(rows)
    shuffled = rows.copy()
    chance.shuffle(shuffled)
    again = split_by_time(table(shuffled), USUAL)
    for name in ("train", "validation", "test"):
        assert getattr(split, name).equals(getattr(again, name)), name
    assert again.counts == split.counts
    assert (again.validation_start, again.test_start) == (split.validation_start, split.test_start)


@given(tables, st.data())
def test_nothing_after_the_cut_changes_train(rows: list[Row], data: st.DataObject) -> None:
    """Whatever happens later (duplicates of train's pairs with other ratings too), train stays."""
    split = split_or_reject(rows)
    pairs = st.sampled_from([row[:2] for row in rows if row[3] <= split.validation_start])
    changed = [
        (*data.draw(pairs), data.draw(st.sampled_from([1.0, 5.0])), row[3])
        if row[3] > split.validation_start
        else row
        for row in rows
    ]
    again = split_by_time(table(changed), USUAL)
    assert again.train.equals(split.train)
    assert again.counts.warm_test == again.counts.test


def test_a_cut_that_falls_on_a_row_leaves_it_on_the_left() -> None:
    """1 - 0.4 - 0.2 is a little less than 0.4 in floating point; the row at the cut must not feel it."""
    rows: list[Row] = [(1, 1, 5.0, time) for time in range(6)]
    counts = split_by_time(table(rows), SplitSettings(test_fraction=0.4, validation_fraction=0.2)).counts
    assert (counts.train, counts.validation, counts.test) == (3, 1, 2)


@pytest.mark.parametrize("gap", [1, 100_000_000])
@pytest.mark.parametrize("n", range(11, 302, 10))
def test_whole_tenths_of_distinct_seconds(n: int, gap: int) -> None:
    """At n = 10 m + 1 the cuts are rows, 7 m and 8 m; 0.7 * 90 is a little less than 63 in floating point."""
    tenth = n // 10
    rows: list[Row] = [(1, 1, 5.0, time * gap) for time in range(n)]
    counts = split_by_time(table(rows), USUAL).counts
    assert (counts.train, counts.validation, counts.test) == (7 * tenth + 1, tenth, 2 * tenth)


def test_the_latest_row_of_a_pair_stays_and_in_the_same_second_the_higher_rating() -> None:
    rows: list[Row] = [(2, 1, 1.0, 9), (1, 1, 5.0, 3), (1, 1, 2.0, 8), (1, 1, 4.0, 8), (1, 1, 3.0, 8)]
    kept = latest_of_each_pair(table(rows).frame)
    assert kept.rows() == [(1, 1, 4.0, 8), (2, 1, 1.0, 9)]
    assert latest_of_each_pair(kept).equals(kept)


def test_warm_rows_need_a_known_user_and_a_known_item() -> None:
    train = table([(1, 10, 5.0, 0), (2, 20, 5.0, 0)]).frame
    later = table([(2, 10, 1.0, 5), (3, 10, 1.0, 6), (1, 30, 1.0, 7), (1, 20, 1.0, 8)]).frame
    assert warm_rows(later, train).rows() == [(2, 10, 1.0, 5), (1, 20, 1.0, 8)]


def test_an_empty_slice_is_refused_with_counts_and_a_way_out() -> None:
    rows: list[Row] = [(1, 1, 5.0, 7)] * 12
    with pytest.raises(
        DataError,
        match=r"clicks\.csv: all 12 rows have the same.*train 12, validation 0.*`split.kind=random`",
    ):
        split_by_time(table(rows, "clicks.csv"), USUAL)


def test_an_empty_validation_slice_alone_is_refused() -> None:
    rows: list[Row] = [(1, 1, 5.0, 0)] * 6 + [(1, 1, 5.0, 1)] * 3 + [(1, 1, 5.0, 2)]
    with pytest.raises(DataError, match=r"empty slice \(train 9, validation 0, test 1 rows\)"):
        split_by_time(table(rows), USUAL)


@pytest.mark.parametrize(
    ("validation", "test", "warm"),
    [((1, 1), (9, 9), "1 and 0"), ((9, 9), (1, 1), "0 and 2"), ((1, 9), (9, 9), "0 and 0")],
)
def test_nothing_warm_is_refused_with_counts(
    validation: tuple[int, int], test: tuple[int, int], warm: str
) -> None:
    rows: list[Row] = [(1, 1, 5.0, time) for time in range(7)]
    rows += [(*validation, 5.0, 7), (*test, 5.0, 8), (*test, 5.0, 9)]
    with pytest.raises(DataError, match=rf"train 7, validation 1, test 2 rows; warm {warm}\)"):
        split_by_time(table(rows), USUAL)


def test_text_ids_are_split_alike() -> None:
    frame = pl.DataFrame(
        {"user": ["a"] * 10, "item": ["x"] * 10, "rating": [5.0] * 10, "timestamp": list(range(10))},
        schema_overrides={"rating": pl.Float32},
    )
    counts = split_by_time(Interactions(frame, "text"), USUAL).counts
    assert (counts.train, counts.validation, counts.test) == (7, 1, 2)


def test_movielens_100k_has_the_counts_of_its_quantiles() -> None:
    found = [ML_100K / name for name in ("ml-100k.inter", "u.data") if (ML_100K / name).is_file()]
    if not found:
        pytest.skip("data/ml-100k is not downloaded")
    interactions = read_interactions(found[0])
    split = split_by_time(interactions, USUAL)
    counts = split.counts
    assert (counts.train, counts.validation, counts.test) == (70001, 10002, 19997)
    assert (counts.warm_validation, counts.warm_test) == (1693, 2286)
    assert (counts.users, counts.items, counts.test_users) == (674, 1573, 95)
    assert counts.duplicates == 0
    cuts = np.quantile(interactions.frame["timestamp"].to_numpy(), [0.7, 0.8])
    assert (split.validation_start, split.test_start) == pytest.approx(tuple(cuts))


def test_new_users_of_known_items_are_a_test_slice() -> None:
    """They are judged as cold users; see `evaluation.cold_users`."""
    rows: list[Row] = [(1, 1, 5.0, time) for time in range(7)]
    rows += [(1, 1, 5.0, 7), (9, 1, 5.0, 8), (9, 1, 5.0, 9)]
    counts = split_by_time(table(rows), USUAL).counts
    assert (counts.warm_validation, counts.warm_test, counts.test) == (1, 0, 2)
