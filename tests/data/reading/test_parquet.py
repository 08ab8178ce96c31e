import io
import random
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from retrieval.data.interactions import Interactions, read_interactions
from retrieval.data.items import read_items
from retrieval.data.reading.columns import ColumnNames
from retrieval.errors import DataError

FRAME = pl.DataFrame({"user_id": [1, 2], "movieId": ["a", "b"], "rating": [3.5, 4.0], "ts": [10, 20]})


def parquet(path: Path, frame: pl.DataFrame = FRAME) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)
    return path


@pytest.mark.parametrize(
    ("column", "values", "dtype", "expected"),
    [
        ("user", [1, -2], pl.Int8, [1, -2]),
        ("user", [1, 2**63], pl.UInt64, ["1", str(2**63)]),
        ("user", [1.0, 2.0], pl.Float32, [1, 2]),
        ("user", ["7", "8"], pl.String, [7, 8]),
        ("user", ["x", "y"], pl.Categorical, ["x", "y"]),
        ("user", ["x", "y"], pl.Enum(["x", "y"]), ["x", "y"]),
        ("user", [b"x", "é".encode()], pl.Binary, ["x", "é"]),
        ("user", [Decimal(5), Decimal(2**70)], pl.Decimal(38, 0), ["5", str(2**70)]),
        ("user", [Decimal("5.00"), Decimal("7.00")], pl.Decimal(10, 2), [5, 7]),
        ("rating", [1, 5], pl.UInt8, [1.0, 5.0]),
        ("rating", [True, False], pl.Boolean, [1.0, 0.0]),
        ("rating", [Decimal("3.5"), Decimal("4.0")], pl.Decimal(3, 1), [3.5, 4.0]),
        ("rating", ["3.5", "4"], pl.String, [3.5, 4.0]),
        ("timestamp", [10, 20], pl.UInt32, [10, 20]),
        ("timestamp", [datetime(2001, 1, 1)] * 2, pl.Datetime("ns"), [978307200] * 2),
        ("timestamp", [datetime(2001, 1, 1, tzinfo=UTC)] * 2, pl.Datetime("ms", "UTC"), [978307200] * 2),
        ("timestamp", [date(2001, 1, 1)] * 2, pl.Date, [978307200] * 2),
        ("timestamp", ["2001-01-01"] * 2, pl.String, [978307200] * 2),
        ("timestamp", [978307200123] * 2, pl.Int64, [978307200] * 2),
        ("timestamp", [Decimal(10), Decimal(20)], pl.Decimal(20, 0), [10, 20]),
    ],
)
def test_any_type_that_makes_sense_is_read_from_a_file_as_from_a_frame(
    tmp_path: Path, column: str, values: list[Any], dtype: pl.DataType, expected: list[Any]
) -> None:
    usual = {"user": [1, 2], "item": [3, 4], "rating": [5, 1], "timestamp": [10, 20]}
    frame = pl.DataFrame(usual).with_columns(pl.Series(column, values, dtype=dtype))
    found = read_interactions(parquet(tmp_path / "x", frame))
    assert found.frame[column].to_list() == expected
    again = Interactions.from_frame(frame)
    assert found.frame.equals(again.frame) and found.notes == again.notes


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("user", [1, None], "x: row 1 (counted from 0): user is empty"),
        ("user", [None, None], "x: row 0 (counted from 0): user is empty"),
        ("user", ["a\0", "a"], "row 0 (counted from 0): user 'a\\x00' holds a zero character"),
        ("user", [b"\xff", b"a"], "row 0 (counted from 0): user b'\\xff' is not UTF-8"),
        ("user", [1.5, 1.0], "row 0 (counted from 0): user 1.5 is neither an integer nor text"),
        ("user", [Decimal("1.5"), Decimal(1)], "row 0 (counted from 0): user 1.5 is neither an integer nor"),
        ("user", [date(2001, 1, 1)] * 2, "x: the user column holds Date; expected integers or text"),
        ("user", [[1], [2]], "x: the user column holds List(Int64); expected integers or text"),
        ("rating", [float("nan"), 1.0], "row 0 (counted from 0): rating nan is not a finite number"),
        (
            "timestamp",
            [True, False],
            "x: the timestamp column holds Boolean; expected Unix seconds, ISO 8601",
        ),
    ],
)
def test_what_does_not_convert_is_named_with_its_row(
    tmp_path: Path, column: str, values: list[Any], message: str
) -> None:
    usual = {"user": [1, 2], "item": [3, 4], "rating": [5, 1], "timestamp": [10, 20]}
    path = parquet(tmp_path / "x", pl.DataFrame(usual | {column: values}))
    with pytest.raises(DataError) as caught:
        read_interactions(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_only_the_columns_that_count_are_looked_at(tmp_path: Path) -> None:
    frame = FRAME.with_columns(tags=pl.Series([["a"], None]), none=None)
    assert read_interactions(parquet(tmp_path / "x", frame)).frame.height == 2


def test_parts_of_spark_are_one_table_and_a_bad_row_names_its_file(tmp_path: Path) -> None:
    parquet(tmp_path / "t" / "part-00000-x.snappy.parquet")
    parquet(
        tmp_path / "t" / "part-00001-x.snappy.parquet", FRAME.select("ts", "rating", "user_id", "movieId")
    )
    (tmp_path / "t" / "_SUCCESS").touch()
    found = read_interactions(tmp_path / "t")
    assert found.frame.rows() == [(1, "a", 3.5, 10), (2, "b", 4.0, 20)] * 2
    assert found.notes[0] == "2 Parquet files were read as one table"
    bad = parquet(tmp_path / "t" / "part-00002.parquet", FRAME.with_columns(rating=pl.Series([1.0, None])))
    with pytest.raises(DataError) as caught:
        read_interactions(tmp_path / "t")
    assert str(caught.value).startswith(f"{bad}: row 1 (counted from 0): rating is empty; ")


def test_folders_of_hive_are_columns(tmp_path: Path) -> None:
    parquet(tmp_path / "day=2001-01-01" / "part-0.parquet", FRAME.drop("ts"))
    parquet(tmp_path / "day=2001-01-02" / "part-0.parquet", FRAME.drop("ts"))
    found = read_interactions(tmp_path, ColumnNames(timestamp="day"))
    assert found.frame["timestamp"].to_list() == [978307200] * 2 + [978393600] * 2
    assert found.columns_found == ("user_id", "movieId", "rating", "day")
    parquet(tmp_path / "day=__HIVE_DEFAULT_PARTITION__" / "part-0.parquet", FRAME.drop("ts"))
    with pytest.raises(DataError, match=r"PARTITION__/part-0.parquet: row 0 .*: timestamp is empty"):
        read_interactions(tmp_path, ColumnNames(timestamp="day"))


def test_a_column_may_lie_only_in_the_names_of_folders(tmp_path: Path) -> None:
    for user in ("a b", "c"):
        parquet(tmp_path / f"user={user.replace(' ', '%20')}" / "x.parquet", pl.DataFrame({"item": [1, 2]}))
    assert read_interactions(tmp_path).frame.rows() == [("a b", 1), ("a b", 2), ("c", 1), ("c", 2)]


def test_types_that_differ_between_parts_are_reconciled_or_refused(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", FRAME)
    parquet(
        tmp_path / "b.parquet", FRAME.with_columns(pl.lit("x").alias("user_id"), pl.col("ts").cast(pl.Int32))
    )
    assert read_interactions(tmp_path).frame["user"].to_list() == ["1", "2", "x", "x"]
    parquet(tmp_path / "b.parquet", FRAME.with_columns(ts=pl.lit(date(2001, 1, 1))))
    with pytest.raises(
        DataError, match=r"column ts holds Int64 in .*a.parquet and Date in .*b.parquet; write"
    ):
        read_interactions(tmp_path)


def test_a_part_of_empty_cells_fits_any_other(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", FRAME.with_columns(ts=None))
    parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"a.parquet: row 0 \(counted from 0\): timestamp is empty"):
        read_interactions(tmp_path)


def test_different_tables_in_a_folder_are_refused(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet")
    parquet(tmp_path / "b.parquet", FRAME.select("user_id"))
    with pytest.raises(
        DataError, match=r"several tables: .*a.parquet has the columns user_id, movieId, rating, ts, "
    ):
        read_interactions(tmp_path)


def test_a_path_with_signs_of_patterns_is_taken_as_it_is(tmp_path: Path) -> None:
    parquet(tmp_path / "[1]*" / "part-[0].parquet")
    parquet(tmp_path / "[1]*" / "part-[1].parquet")
    assert read_interactions(tmp_path / "[1]*").frame.height == 4
    assert read_interactions(tmp_path / "[1]*" / "part-[0].parquet").frame.height == 2


def test_an_empty_parquet_has_no_interactions(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x: 0 interactions"):
        read_interactions(parquet(tmp_path / "x", FRAME.clear()))


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    FRAME.write_parquet(buffer)
    whole = buffer.getvalue()
    path = tmp_path / "x.parquet"
    for length in random.Random(0).sample(range(8, len(whole)), 40):
        path.write_bytes(whole[:length])
        with pytest.raises(
            DataError, match=r"x.parquet: a damaged Parquet file: .*; write or download it again$"
        ):
            read_interactions(path)
    path.write_bytes(whole[:-8] + b"\xff\xff\xff\x7fPAR1")
    with pytest.raises(DataError, match="a damaged Parquet file"):
        read_interactions(path)
    path.rename(tmp_path / "part-1.parquet")
    parquet(tmp_path / "part-0.parquet")
    with pytest.raises(DataError, match=r"part-1.parquet: a damaged Parquet file"):
        read_interactions(tmp_path)


def test_items_are_read_from_parquet(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "id": [7, 8, 7],
            "Product Name": ["A", None, "C"],
            "genres": [["x", "y"], None, []],
            "year": [1995, 1, 2],
        }
    )
    items = read_items(parquet(tmp_path / "movies.parquet", frame))
    assert items.frame.rows() == [(7, "A (1995)", ["x", "y"]), (8, "", [])]
    with pytest.raises(DataError, match=r"movies.parquet: row 1 \(counted from 0\): item is empty"):
        read_items(parquet(tmp_path / "movies.parquet", frame.with_columns(id=pl.Series([7, None, 8]))))
