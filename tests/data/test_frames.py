"""Tables as Python programs hold them: what each is read as, and what is refused in one line."""

import datetime as dt
import uuid
from collections import namedtuple
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from small_build import small_settings

from retrieval import Recommender
from retrieval.data.frames import from_values
from retrieval.data.interactions import Interactions
from retrieval.data.items import ItemTable
from retrieval.data.users import UserTable
from retrieval.errors import DataError

NOON = 1_704_110_400  # 2024-01-01 12:00 UTC
ROWS = [(7, "b", 2.5, NOON), (42, "a", 4.0, NOON + 1), (7, "a", 5.0, NOON + 2)]
NAMES = ("user", "item", "rating", "timestamp")
COLUMNS: dict[str, list[Any]] = {
    name: list(values) for name, values in zip(NAMES, zip(*ROWS, strict=True), strict=True)
}
Event = namedtuple("Event", ["item", "user", "timestamp", "rating"])


class Arrow:
    """A table of another library: it has the Arrow interface and nothing else."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return pl.DataFrame(COLUMNS).__arrow_c_stream__(requested_schema)


def pandas_frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(COLUMNS | columns)


@pytest.mark.parametrize(
    "table",
    [
        pl.DataFrame(COLUMNS),
        pl.LazyFrame(COLUMNS),
        pandas_frame(),
        pandas_frame().convert_dtypes(),
        pandas_frame().astype({"user": "category", "item": "category"}),
        pandas_frame().astype({"user": "uint8", "rating": "float16"}),
        pandas_frame(user=pd.arrays.SparseArray(COLUMNS["user"])),
        pandas_frame(rating=[Decimal("2.5"), Decimal(4), Decimal(5)]),
        pandas_frame(timestamp=pd.to_datetime(COLUMNS["timestamp"], unit="s", utc=True)),
        pandas_frame(
            timestamp=pd.to_datetime(COLUMNS["timestamp"], unit="s", utc=True).tz_convert("Asia/Tokyo")
        ),
        Arrow(),
        COLUMNS,
        COLUMNS | {"user": np.array(COLUMNS["user"]), "item": pd.Series(COLUMNS["item"])},
        ROWS,
        tuple(map(list, ROWS)),
        iter(ROWS),
        [dict(zip(NAMES, row, strict=True)) for row in ROWS],
        [Event(item, user, time, rating) for user, item, rating, time in ROWS],
        np.array(ROWS, dtype=[("user", "i8"), ("item", "U1"), ("rating", "f4"), ("timestamp", "i8")]),
        np.array(ROWS, dtype=object),
    ],
    ids=lambda table: type(table).__name__,
)
def test_every_table_is_read_as_the_same_rows(table: Any) -> None:
    assert Interactions.from_frame(table).frame.rows() == ROWS


def test_tuples_may_lack_the_rating_and_the_time() -> None:
    pairs = Interactions.from_frame([row[:2] for row in ROWS])
    assert pairs.frame.rows() == [row[:2] for row in ROWS]
    assert not pairs.has_ratings and not pairs.has_timestamps
    rated = Interactions.from_frame(np.array([[1, 2, 5], [3, 4, 1]]))
    assert rated.frame.rows() == [(1, 2, 5.0), (3, 4, 1.0)]


def test_tables_of_pyarrow_and_columns_of_pandas_that_it_backs() -> None:
    pa = pytest.importorskip("pyarrow")
    assert Interactions.from_frame(pa.table(COLUMNS)).frame.rows() == ROWS
    assert Interactions.from_frame(pa.table(COLUMNS).to_batches()[0]).frame.rows() == ROWS
    backed = pandas_frame().convert_dtypes(dtype_backend="pyarrow")
    assert Interactions.from_frame(backed).frame.rows() == ROWS
    moments = [dt.datetime(2024, 1, 1, 12, 0, second) for second in range(3)]
    for unit in ("s", "us", "ns"):
        zoned = pd.array(moments, dtype=pd.ArrowDtype(pa.timestamp(unit, "UTC")))
        assert Interactions.from_frame(pandas_frame(timestamp=zoned)).frame.rows() == ROWS
    days = pd.array([dt.date(2024, 1, 1)] * 3, dtype=pd.ArrowDtype(pa.date32()))
    midnight = Interactions.from_frame(pandas_frame(timestamp=days)).frame["timestamp"]
    assert midnight.to_list() == [NOON - 12 * 3600] * 3


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ([dt.date(2024, 1, 1)] * 2, [NOON - 43_200] * 2),
        ([dt.date(2024, 1, 1), dt.datetime(2024, 1, 1, 12)], [NOON - 43_200, NOON]),
        ([dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC), dt.datetime(2024, 1, 1, 12)], [NOON, NOON]),
        (
            [dt.datetime(2024, 1, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=hours))) for hours in (2, -3)],
            [NOON - 7200, NOON + 10_800],
        ),
        ([np.datetime64("2024-01-01T12:00:00.5", "ns")] * 2, [NOON] * 2),
    ],
    ids=["days", "a day and a moment", "with and without zone", "of two zones", "of numpy"],
)
def test_times_of_python(times: list[Any], seconds: list[int]) -> None:
    rows = [(1, 2, 3, times[0]), (3, 4, 5, times[1])]
    assert Interactions.from_frame(rows).frame["timestamp"].to_list() == seconds


def test_items_and_users_may_be_dicts_whose_categories_are_sets() -> None:
    items = ItemTable.from_frame(
        [{"item": 1, "title": "Heat", "genres": {"Crime", "Action"}}, {"item": 2, "title": "Big"}]
    )
    assert items.titles_for([2, 1]) == ["Big", "Heat"]
    assert items.genres_for([1, 2]) == [["Action", "Crime"], []]
    users = UserTable.from_frame({"user": [7, 8], "gender": ["F", "M"]})
    assert users.categories["gender"].to_list() == [["F"], ["M"]]
    assert UserTable.from_frame(pl.LazyFrame({"user": [7]})).ids.to_list() == [7]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, None, float("nan"), pd.NA, pd.NaT], [1, None, None, None, None]),
        ([uuid.UUID(int=1), None], ["00000000-0000-0000-0000-000000000001", None]),
        ([uuid.UUID(int=1), 5], ["00000000-0000-0000-0000-000000000001", "5"]),
        ([Path("a/b")], ["a/b"]),
        ([np.int64(5), 6], [5, 6]),
        ([np.str_("a"), "b"], ["a", "b"]),
        ([2**63, -1], ["9223372036854775808", "-1"]),
        ([True, False], [True, False]),
        ([{"b", "a"}, frozenset()], [["a", "b"], []]),
        ([], []),
    ],
)
def test_values_of_python(values: list[Any], expected: list[Any]) -> None:
    assert from_values(values).to_list() == expected


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (5, "list of dicts or of tuples (user, item, rating, timestamp)), not int"),
        ("ratings.csv", "not str; read a file first, such as with pandas.read_csv"),
        (b"1,2", "not bytes"),
        (None, "not NoneType"),
        (pd.Series([1, 2]), "not Series"),
        (pl.Series([1, 2]), "not Series"),
        (np.array([1, 2]), "not ndarray"),
        ([1, 2], "not list"),
        (["ab", "cd"], "not list"),
        ([], "DataFrame: 0 interactions; give a table with rows"),
        ([(1, 2), (3,)], "row 1 (counted from 0) is (3,); expected as many values in every row"),
        (
            [(1, 2, 3, 4, 5)],
            "row 0 (counted from 0) is (1, 2, 3, 4, 5); expected as many values in every row",
        ),
        ([(1,)], "row 0 (counted from 0) is (1,)"),
        ([{"user": 1, "item": 2}, (3, 4)], "the rows are dicts, but one is (3, 4)"),
        ([(3, 4), {"user": 1, "item": 2}], "row 1 (counted from 0) is {'user': 1, 'item': 2}"),
        ([{"user": 1, "item": 2, "rating": 3}, {"user": 1, "item": 2}], "row 1 (counted from 0): rating is"),
        ({"user": [1, 2], "item": [1]}, "the columns differ in their numbers of values: user 2, item 1"),
        ({"user": "ab", "item": [1, 2]}, "a column of the mapping is 'ab'; expected a list of values"),
        (
            np.ones((2, 7)),
            "the array has the shape (2, 7); expected the columns user, item, rating, timestamp",
        ),
        (pl.scan_csv("/no/such.csv"), "the LazyFrame cannot be collected: No such file"),
        (pl.LazyFrame({"user": [1]}).select("item"), "the LazyFrame cannot be collected: "),
        ([(object(), 1)], "the user column holds Object; expected integers or text"),
        ([((1, 2), 1)], "the user column holds List(Int64); expected integers or text"),
        ([(dt.timedelta(1), 1)], "the user column holds Duration"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(table: Any, says: str) -> None:
    with pytest.raises(DataError) as caught:
        Interactions.from_frame(table)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_tuples_are_no_table_of_items() -> None:
    with pytest.raises(DataError, match=r"expected a table \(.*, list of dicts\), not list"):
        ItemTable.from_frame([(1, "Heat")])


def test_ids_of_any_class_are_looked_up_as_they_are_stored(sample_set: Any) -> None:
    frame = sample_set.interactions.frame
    users = [uuid.uuid5(uuid.NAMESPACE_OID, f"{user}") for user in frame["user"]]
    rows = list(zip(users, frame["item"], frame["rating"], frame["timestamp"], strict=True))
    fitted = Recommender.fit(rows, settings=small_settings())
    someone = users[0]
    (answer,) = fitted.recommend([someone], 5)
    assert answer.user == str(someone)
    assert answer == fitted.recommend([str(someone)], 5)[0]
