import gzip
import hashlib
import random
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.columns import COLUMNS, ColumnNames
from retrieval.errors import DataError
from retrieval.interactions import Interactions, read_interactions

ROWS = [(1, 1193, 5.0, 978300760), (1, 661, 3.5, 978302109), (2, 1193, 4.0, 978298413)]
DIGEST = hashlib.sha256(b"1\t661\t3.5\t978302109\n1\t1193\t5\t978300760\n2\t1193\t4\t978298413\n").hexdigest()

DAT = "1::1193::5::978300760\n1::661::3.5::978302109\n2::1193::4::978298413\n"
TABS = DAT.replace("::", "\t")
CSV = "userId,movieId,rating,timestamp\n" + DAT.replace("::", ",")
INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + TABS


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def frame(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"user": [1, 2], "item": [3, 4], "rating": [5, 1], "timestamp": [10, 20]} | columns)


@pytest.mark.parametrize("content", [DAT, TABS, CSV, INTER, DAT.replace("::", ",")])
@pytest.mark.parametrize("name", ["ratings.dat", "u.data", "ratings.csv", "x.inter", "whatever"])
def test_formats_are_known_by_content_whatever_the_name(tmp_path: Path, name: str, content: str) -> None:
    read = read_interactions(write(tmp_path / name, content))
    assert read.frame.rows() == ROWS
    assert read.frame.schema == pl.Schema(
        {"user": pl.Int64, "item": pl.Int64, "rating": pl.Float32, "timestamp": pl.Int64}
    )
    assert read.digest() == DIGEST


@pytest.mark.parametrize("content", [DAT, TABS, CSV, INTER])
def test_line_ends_byte_order_mark_and_blank_lines_do_not_matter(tmp_path: Path, content: str) -> None:
    variants = [
        content.rstrip("\n"),
        content.replace("\n", "\r\n"),
        "\ufeff" + content,
        "\ufeff" + content.replace("\n", "\r\n").rstrip(),
        "\n\n" + content.replace("\n", "\n\n"),
        content + "   \n\n",
    ]
    for number, variant in enumerate(variants):
        assert read_interactions(write(tmp_path / str(number), variant)).frame.rows() == ROWS, number


@pytest.mark.parametrize("content", [DAT, TABS, CSV, INTER])
def test_gzip_and_zip_are_read_as_they_are(tmp_path: Path, content: str) -> None:
    packed = write(tmp_path / "ratings", gzip.compress(content.encode()))
    assert read_interactions(packed).frame.rows() == ROWS
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        archive.writestr("ml/README", "read me")
        archive.writestr("ml/u1.base", "1\t1\t1\t1\n")
        archive.writestr("ml/ratings.dat", content)
    assert read_interactions(tmp_path / "one.zip").frame.rows() == ROWS


def test_a_zip_with_two_candidates_and_none_is_refused(tmp_path: Path) -> None:
    for name, members in (("two.zip", ["a/ratings.csv", "b/ratings.csv"]), ("none.zip", ["a", "b"])):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member in members:
                archive.writestr(member, CSV)
        with pytest.raises(
            DataError, match=rf"{name}: no single ratings file in this zip; looked for ratings.dat"
        ):
            read_interactions(tmp_path / name)


@pytest.mark.parametrize("name", ["ratings.dat", "u.data", "ratings.csv", "a.inter", "ratings.csv.gz"])
def test_a_folder_is_searched(tmp_path: Path, name: str) -> None:
    write(tmp_path / "README", "nothing")
    write(tmp_path / name, gzip.compress(CSV.encode()) if name.endswith(".gz") else CSV)
    assert len(read_interactions(tmp_path)) == 3


def test_missing_paths_name_the_path_and_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"nowhere: no such file or folder.*ratings.dat, u.data, ratings.csv, \*.inter"
    ):
        read_interactions(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no ratings file in this folder; looked for ratings.dat, u.data"):
        read_interactions(tmp_path)
    for name in ("a.inter", "b.inter"):
        write(tmp_path / name, INTER)
    with pytest.raises(DataError, match=r"several ratings files \(a.inter, b.inter\)"):
        read_interactions(tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        "user_id,item_id,score,ts",
        "USER,Movie_ID,Stars,Date",
        "userid,product_id,rating,time",
        '"userId", "movieId", "rating", "timestamp"',
    ],
)
def test_obvious_column_names_are_understood(tmp_path: Path, header: str) -> None:
    assert (
        read_interactions(write(tmp_path / "r.csv", header + "\n" + CSV.split("\n", 1)[1])).frame.rows()
        == ROWS
    )


def test_columns_may_stand_in_any_order_among_others_and_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", 'note;when;mark;film;user\n"a;b";10;4;7;8\n;11;5;9;8\n')
    read = read_interactions(path, ColumnNames(item="film", rating="mark", timestamp="when"))
    assert read.frame.rows() == [(8, 7, 4.0, 10), (8, 9, 5.0, 11)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "0 interactions"),
        ("\n\n", "0 interactions"),
        ("userId,movieId,rating,timestamp\n", "0 interactions"),
        (DAT + "1::2::3\n", r"r:4: expected 4 fields separated by '::', found 3: '1::2::3'"),
        (DAT + "1::2::3::4::5\n", r"r:4: expected 4 fields separated by '::', found 5: '1::2::3::4::5'"),
        (TABS + "\n1\t2\n", r"r:5: expected 4 fields separated by '\\t', found 2: '1\\t2'"),
        (CSV + "1,2,3,4,5\n", r"r:5: expected 4 fields separated by ',', found 5: '1,2,3,4,5'"),
        (CSV + "1,2,good,4\n", r"r:5: rating 'good' is not a number"),
        (CSV + "1,2,,4\n", r"r:5: rating is empty"),
        (CSV + "1,2,nan,4\n", r"r:5: rating nan is not a finite number"),
        (CSV + "1,2,-inf,4\n", r"r:5: rating -inf is not a finite number"),
        (CSV + "1,2,1e39,4\n", r"r:5: rating 1e39 is not a finite number"),
        (CSV + "1,2,3,soon\n", r"r:5: timestamp 'soon' is not a number"),
        (CSV + "1,2,3,-4\n", r"r:5: timestamp -4 is no time"),
        (CSV + "1,2,3,-0.5\n", r"r:5: timestamp -0.5 is no time"),
        (CSV + "1,2,3,nan\n", r"r:5: timestamp nan is no time"),
        (CSV + "1,2,3,978300760000\n", r"r:5: timestamp 978300760000 is in another unit than most"),
        (CSV + "1,2,3,978300760000000\n1,2,x,3\n", r"r:5: timestamp 978300760000000 is in another unit"),
        (CSV + ",2,3,4\n", r"r:5: user is empty"),
        (CSV + '"",2,3,4\n', r"r:5: user is empty"),
        (CSV + '"1,2,3,4\n', r"r:5: expected 4 fields separated by ',', found 1"),
        ("\ufeff\r\n" + CSV.replace("\n", "\r\n") + "\r\n1,2,x,4", r"r:7: rating 'x'"),
        (DAT + "1::2::x::4\n1::2\n", r"r:4: rating 'x'"),
        (DAT + "1::2\n1::2::x::4\n", r"r:4: expected 4 fields"),
        ("a,b,c,d\n1,2,3,4\n", r"no user column: found a, b, c, d; expected one named user or userid"),
        ("userId,movieId,timestamp\n1,2,3\n", r"no rating column: found userId, movieId, timestamp"),
        ("userId,movieId,rating\n1,2,3\n", r"no timestamp column: found userId, movieId, rating"),
        ("user_id:token\titem_id:token\n1\t2\n", r"no rating column: found user_id, item_id"),
        ("hello world\n", r"not a ratings file: begins with 'hello world'"),
        (b"\x89PNG\r\n\x00\x00", r"a zero byte at byte offset 6"),
        (CSV.encode() + b"\xff,2,3,4\n", rf"byte 0xff at byte offset {len(CSV)} is not UTF-8"),
        (DAT.encode() + b"\x81::2::3::4\n", rf"byte 0x81 at byte offset {len(DAT)} is not UTF-8 or latin-1"),
        (b"\x1f\x8bnot really", r"cannot be read"),
        (gzip.compress(CSV.encode())[:-9], r"cannot be read"),
        (b"PK\x03\x04not really", r"cannot be read"),
    ],
)
def test_bad_files_are_refused_with_file_and_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_interactions(write(tmp_path / "r", content))
    assert str(caught.value).startswith(str(tmp_path / "r"))
    assert "\n" not in str(caught.value)


def test_the_first_bad_line_is_found_far_into_a_file(tmp_path: Path) -> None:
    lines = [f"{i}::{i}::3::{i}" for i in range(1, 250_001)]
    lines[219_999] = "1::2::3:4"
    lines[230_000] = "1::2::x::4"
    with pytest.raises(DataError, match=r":220000: expected 4 fields"):
        read_interactions(write(tmp_path / "r.dat", "\n".join(lines)))


def test_a_zip_member_is_named_in_messages(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr("ml/ratings.dat", "1::2::x::4\n")
    with pytest.raises(DataError, match=r"m.zip/ml/ratings.dat:1: rating 'x'"):
        read_interactions(tmp_path / "m.zip")


def test_latin_1_ids_of_the_old_formats_are_read(tmp_path: Path) -> None:
    read = read_interactions(write(tmp_path / "r", "josé::é::3::4\n".encode("latin-1")))
    assert read.frame.rows() == [("josé", "é", 3.0, 4)]


@pytest.mark.parametrize(
    "ids",
    [
        ["0", "-5", str(2**31 + 1), str(2**63 - 1), str(-(2**63))],
        ["007", "7"],
        ["+5", "5"],
        ["-0", "0"],
        [str(2**63), "1"],
        [" 7", "7 ", "a b"],
        ["ünï", "日本", "x::y"],
    ],
)
def test_ids_are_kept_as_they_are(tmp_path: Path, ids: list[str]) -> None:
    body = "".join(f"{value},1,3,4\n" for value in ids)
    read = read_interactions(write(tmp_path / "r.csv", "user,item,rating,timestamp\n" + body))
    assert [str(value) for value in read.frame["user"].to_list()] == ids
    is_integer = all(
        str(int(i)) == i and -(2**63) <= int(i) < 2**63 for i in ids if i.strip("+- ").isdecimal()
    )
    is_integer = is_integer and all(i.removeprefix("-").isdecimal() for i in ids)
    assert (read.frame["user"].dtype == pl.Int64) == is_integer


def test_quoted_ids_may_hold_separators_quotes_and_line_ends(tmp_path: Path) -> None:
    text = 'user,item,rating,timestamp\n"a,b",1,3,4\n"say ""hi""",1,3,4\n"two\nlines",1,3,4\n'
    path = write(tmp_path / "r.csv", text)
    assert read_interactions(path).frame["user"].to_list() == ["a,b", 'say "hi"', "two\nlines"]
    with pytest.raises(DataError, match=r"r.csv:6: rating 'x'"):
        read_interactions(write(path, text + "1,1,x,4\n"))


def test_separators_of_one_byte_inside_ids_survive_the_double_colon(tmp_path: Path) -> None:
    read = read_interactions(write(tmp_path / "r", "a\tb::|;\x1f::3::4\n"))
    assert read.frame.rows() == [("a\tb", "|;\x1f", 3.0, 4)]


def test_fractions_are_floored_and_milliseconds_become_seconds_and_both_are_said(tmp_path: Path) -> None:
    read = read_interactions(write(tmp_path / "a", "1::2::3::978300760.9\n1::3::3::5\n"))
    assert read.frame["timestamp"].to_list() == [978300760, 5]
    assert read.notes == ("fractions of seconds in timestamps were floored",)
    read = read_interactions(write(tmp_path / "b", "1::2::3::978300760999\n1::3::3::978300761000\n"))
    assert read.frame["timestamp"].to_list() == [978300760, 978300761]
    assert read.notes == ("timestamps were read as milliseconds",)
    with pytest.raises(DataError, match="timestamp 978300760999000 is no time"):
        read_interactions(write(tmp_path / "c", "1::2::3::978300760999000\n"))


def test_frames_of_polars_and_pandas_agree_and_are_left_alone() -> None:
    polars = pl.DataFrame(ROWS, schema=["userId", "movieId", "rating", "timestamp"], orient="row")
    pandas = pd.DataFrame(ROWS, columns=["userId", "movieId", "rating", "timestamp"])
    before = polars.clone(), pandas.copy(deep=True)
    assert Interactions.from_frame(polars).frame.rows() == ROWS
    assert Interactions.from_frame(pandas, source="notebook").frame.rows() == ROWS
    assert polars.equals(before[0]) and polars.columns == before[0].columns
    pd.testing.assert_frame_equal(pandas, before[1])


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["7", "8"]),
        pd.Series(["7", "8"], dtype="category"),
        pd.Series([7, 8], dtype="Int64"),
        pd.Series([7.0, 8.0]),
        pd.Series([7, 8], dtype="int8"),
        pd.Series([7, "8"], dtype=object),
        pd.Series([7, 8], dtype="uint64"),
    ],
)
def test_pandas_ids_of_any_type_become_integers(column: pd.Series) -> None:
    pandas = pd.DataFrame({"user": column, "item": [1, 2], "rating": [1, 2], "timestamp": [1, 2]})
    assert Interactions.from_frame(pandas).frame["user"].to_list() == [7, 8]


@pytest.mark.parametrize("ids", [[7, "x"], [2**63, 7], [2**70, -1], ["7", "08"]])
def test_pandas_ids_that_are_no_64_bit_integers_become_text(ids: list[object]) -> None:
    pandas = pd.DataFrame({"user": ids, "item": [1, 2], "rating": [1, 2], "timestamp": [1, 2]})
    assert Interactions.from_frame(pandas).frame["user"].to_list() == [str(value) for value in ids]


def test_datetimes_are_timestamps() -> None:
    moments = [datetime(2000, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, 0, 0, 1, 999_999, tzinfo=UTC)]
    expected = [946_684_800, 946_684_801]
    naive = [moment.replace(tzinfo=None) for moment in moments]
    for values in (moments, naive, np.array(naive, dtype="datetime64[ns]")):
        assert Interactions.from_frame(frame(timestamp=values)).frame["timestamp"].to_list() == expected
    for series in (pd.Series(naive), pd.Series(moments), pd.Series(moments).dt.tz_convert("Asia/Tokyo")):
        pandas = pd.DataFrame({"user": [1, 2], "item": [3, 4], "rating": [5, 1], "timestamp": series})
        assert Interactions.from_frame(pandas).frame["timestamp"].to_list() == expected
    days = Interactions.from_frame(frame(timestamp=[date(1970, 1, 2), date(2000, 1, 1)]))
    assert days.frame["timestamp"].to_list() == [86_400, 946_684_800]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"rating": [5, None]}, r"row 1 \(counted from 0\): rating is empty"),
        ({"rating": [5.0, float("nan")]}, r"row 1 .*: rating nan is not a finite number"),
        ({"rating": [float("inf"), 1.0]}, r"row 0 .*: rating inf is not"),
        ({"timestamp": [10, -1]}, r"row 1 .*: timestamp -1 is no time"),
        ({"timestamp": [None, 5]}, r"row 0 .*: timestamp is empty"),
        ({"timestamp": [datetime(1969, 1, 1), None]}, r"row 0 .*: timestamp 1969-01-01 00:00:00 is no time"),
        ({"user": [1, None]}, r"row 1 .*: user is empty"),
        ({"item": ["", "x"]}, r"row 0 .*: item is empty"),
        ({"item": [1.0, 2.5]}, r"row 1 .*: item 2.5 is neither an integer nor text"),
        ({"user": [True, False]}, r"the user column holds Boolean; expected integers or text"),
        ({"rating": [[1], [2]]}, r"the rating column holds List"),
    ],
)
def test_bad_frames_are_refused_with_row_and_value(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match="^mine: " + message):
        Interactions.from_frame(frame(**columns), source="mine")


def test_missing_columns_no_rows_and_other_things_are_refused() -> None:
    with pytest.raises(DataError, match="no rating column: found user, item, timestamp"):
        Interactions.from_frame(frame().drop("rating"))
    with pytest.raises(DataError, match="0 interactions"):
        Interactions.from_frame(frame().clear())
    with pytest.raises(DataError, match=r"no item column: found user.*expected one named film"):
        Interactions.from_frame(frame(), columns=ColumnNames(item="film"))
    with pytest.raises(ValueError, match="not a table of interactions"):
        Interactions(frame(), "mine")


ROW = st.tuples(
    st.integers(-5, 5), st.integers(0, 5), st.sampled_from([0.5, 1.0, 3.3, -0.0, 5.0]), st.integers(0, 9)
)


@given(st.lists(ROW, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_digest_does_not_depend_on_row_order(
    rows: list[tuple[int, int, float, int]], rng: random.Random
) -> None:
    shuffled = rng.sample(rows, len(rows))
    one, other = (
        Interactions.from_frame(pl.DataFrame(table, schema=list(COLUMNS), orient="row")).digest()
        for table in (rows, shuffled)
    )
    assert one == other


@pytest.mark.parametrize(
    "change", [{"user": [1, 3]}, {"item": [3, 5]}, {"rating": [5, 2]}, {"timestamp": [10, 21]}]
)
def test_digest_changes_with_any_value(change: dict[str, list[int]]) -> None:
    assert Interactions.from_frame(frame(**change)).digest() != Interactions.from_frame(frame()).digest()


def test_digest_of_text_ids_is_the_documented_bytes() -> None:
    read = Interactions.from_frame(frame(user=["é\\", "a\tb"], rating=[0.1, 1e10]))
    expected = "a\\tb\t4\t10000000000\t20\né\\\\\t3\t0.1\t10\n"
    assert read.digest() == hashlib.sha256(expected.encode()).hexdigest()


def test_a_csv_without_a_header_is_read_in_order_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "plain.csv"
    path.write_text("1,2,5,100\n1,3,4,200\n")
    found = read_interactions(path)
    assert found.frame.row(1) == (1, 3, 4.0, 200)
    assert found.notes == ("no header: columns taken as user, item, rating, timestamp",)
