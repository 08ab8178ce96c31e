import gzip
import hashlib
import random
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.data.interactions import Interactions, read_interactions
from retrieval.data.reading import text_tables
from retrieval.data.reading.columns import COLUMNS, ColumnNames
from retrieval.errors import DataError
from tests.support.archives import zipped

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
    members = {"ml/README": "read me", "ml/u1.base": "1\t1\t1\t1\n", "ml/ratings.dat": content}
    assert read_interactions(write(tmp_path / "one.zip", zipped(members))).frame.rows() == ROWS


def test_a_zip_with_two_candidates_and_none_is_refused(tmp_path: Path) -> None:
    for name, members in (("two.zip", ["a/ratings.csv", "b/ratings.csv"]), ("none.zip", ["a", "b"])):
        write(tmp_path / name, zipped(dict.fromkeys(members, CSV)))
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
        (
            CSV + "1,2,3,soon\n",
            r"r:5: timestamp 'soon' is neither a number nor a date; expected Unix seconds or",
        ),
        (CSV + "1,2,3,\n", r"r:5: timestamp is empty"),
        (CSV + "1,2,3,2001-01-01\n", r"r:5: timestamp 2001-01-01 is ISO 8601, unlike most others"),
        (CSV + "1,2,3,-4\n", r"r:5: timestamp -4 is no time"),
        (CSV + "1,2,3,-0.5\n", r"r:5: timestamp -0.5 is no time"),
        (CSV + "1,2,3,nan\n", r"r:5: timestamp nan is no time"),
        (CSV + "1,2,3,978300760000\n", r"r:5: timestamp 978300760000 is in another unit than most"),
        (CSV + "1,2,3,978300760000000\n1,2,x,3\n", r"r:5: timestamp 978300760000000 is in another unit"),
        (CSV + ",2,3,4\n", r"r:5: user is empty"),
        (CSV + '"",2,3,4\n', r"r:5: user is empty"),
        (CSV + '"1,2,3,4\n1,2,x,4', r"r:5: a double quote is opened and not closed: '\"1,2,3,4"),
        (CSV + '1,2,3,"4\n', r"r:5: a double quote is opened and not closed: '1,2,3,\"4"),
        (CSV + '1,2,3,"4\n"a"b,2,3,4\n', r"r:5: a double quote is opened and not closed"),
        (CSV + '1,2",3,4\n1,2,3\n', r"r:6: expected 4 fields separated by ',', found 3: '1,2,3'"),
        (CSV + '1,2",3,4\n1,2,x,4\n1,2,3\n', r"r:6: rating 'x' is not a number"),
        ("\ufeff\r\n" + CSV.replace("\n", "\r\n") + "\r\n1,2,x,4", r"r:7: rating 'x'"),
        (DAT + "1::2::x::4\n1::2\n", r"r:4: rating 'x'"),
        (DAT + "1::2\n1::2::x::4\n", r"r:4: expected 4 fields"),
        ("a,b,c,d\n1,2,3,4\n", r"no user column: found a, b, c, d; name it with `columns.user`$"),
        ("userId,rating\n1,2\n", r"no item column: found userId, rating; name it with `columns.item`$"),
        ("1,2,3,4,5\n", r"no header, and 5 fields separated by ',': '1,2,3,4,5'; expected 2 to 4"),
        ("hello world\n", r"not a ratings file: begins with 'hello world'"),
        (b"\x89PNG\r\n\x00\x00", r"looks like a PNG picture"),
        (CSV.encode() + b"1,2,3,\x004", rf"a zero byte at byte offset {len(CSV) + 6}"),
        (CSV.encode() + b"\xff\x80,2,3,4\n", rf"byte 0xff at byte offset {len(CSV)} is not UTF-8"),
        (
            DAT.encode() + b"\x81::2::3::4\n",
            rf"byte 0x81 at byte offset {len(DAT)} is not UTF-8, nor",
        ),
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


def test_a_zip_member_is_named_in_messages(tmp_path: Path) -> None:
    write(tmp_path / "m.zip", zipped({"ml/ratings.dat": "1::2::x::4\n"}))
    with pytest.raises(DataError, match=r"m.zip/ml/ratings.dat:1: rating 'x'"):
        read_interactions(tmp_path / "m.zip")


def test_latin_1_is_read_and_said(tmp_path: Path) -> None:
    for content in ("josé::é::3::4\n", "user,item,rating,time\njosé,é,3,4\n"):
        read = read_interactions(write(tmp_path / "r", content.encode("latin-1")))
        assert read.frame.rows() == [("josé", "é", 3.0, 4)]
        assert read.notes == ("not UTF-8: read as latin-1",)


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
    with pytest.raises(DataError, match="no user column: found item, rating, timestamp"):
        Interactions.from_frame(frame().drop("user"))
    with pytest.raises(DataError, match="0 interactions"):
        Interactions.from_frame(frame().clear())
    with pytest.raises(DataError, match=r"no column 'film' for `columns.item`: found user, item, rating"):
        Interactions.from_frame(frame(), columns=ColumnNames(item="film"))
    for wrong in (frame(), frame().select("user", "rating"), frame().select("item", "user")):
        with pytest.raises(ValueError, match="not a table of interactions"):
            Interactions(wrong, "mine")


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


@pytest.mark.parametrize(
    ("lines", "row", "notes"),
    [
        ("1,2,5,100\n", (1, 2, 5.0, 100), ["user, item, rating, timestamp"]),
        ("a;b;5;2001-01-01\n", ("a", "b", 5.0, 978307200), ["user, item, rating, timestamp", "ISO 8601"]),
        ("1,2,978300760,5\n", (1, 2, 5.0, 978300760), ["user, item, timestamp, rating"]),
        ("1|2|3,5\n", (1, 2, 3.5), ["user, item, rating", "decimal comma"]),
        ("1::2::3\n", (1, 2, 3.0), ["user, item, rating"]),
        ("1\t2\t978300760\n", (1, 2, 978300760), ["user, item, timestamp", "every row counts"]),
        ("a,b,2001-01-01T00:00\n", ("a", "b", 978307200), ["user, item, timestamp", "every row", "ISO"]),
        ('"1","2"\n', (1, 2), ["user, item", "every row counts"]),
        ("1 2 5 97\n", (1, 2, 5.0, 97), ["user, item, rating, timestamp"]),
        ("x::1,2,5,100\n", ("x::1", 2, 5.0, 100), ["user, item, rating, timestamp"]),
    ],
)
def test_a_file_without_a_header_is_read_in_order_and_says_so(
    tmp_path: Path, lines: str, row: tuple[Any, ...], notes: list[str]
) -> None:
    found = read_interactions(write(tmp_path / "plain", lines))
    assert found.frame.rows() == [row]
    assert found.notes[0] == f"no header: columns taken as {notes[0]}"
    assert len(found.notes) == len(notes)
    for note, part in zip(found.notes[1:], notes[1:], strict=True):
        assert part in note


def test_a_third_column_is_a_time_only_if_all_lines_say_so(tmp_path: Path) -> None:
    found = read_interactions(write(tmp_path / "r", "1,2,978300760\n1,3,5\n"))
    assert found.frame.columns == ["user", "item", "rating"]


def test_a_flag_does_not_name_a_column_of_a_file_without_a_header(tmp_path: Path) -> None:
    path = write(tmp_path / "r", "1,2,5\n")
    with pytest.raises(DataError, match=r"no column 'stars' for `columns\.rating`: there is no header"):
        read_interactions(path, ColumnNames(rating="stars"))
    assert read_interactions(path, ColumnNames(rating="rating")).has_ratings


CLICKS = "user,item,my_stars,when\n1,2,5,2001-01-01\n1,3,4,2001-01-02\n"


def test_a_table_without_ratings_or_times_has_no_such_column_and_says_what_it_has(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", CLICKS)
    found = read_interactions(path)
    assert found.frame.columns == ["user", "item"] and found.frame.rows() == [(1, 2), (1, 3)]
    assert (found.has_ratings, found.has_timestamps) == (False, False)
    assert found.columns_found == ("user", "item", "my_stars", "when")
    assert found.notes == (
        "no rating column among user, item, my_stars, when: every row counts as a positive; "
        "name one with `columns.rating`",
    )
    rated = read_interactions(path, ColumnNames(rating="My-Stars"))
    assert rated.frame.columns == ["user", "item", "rating"] and rated.notes == ()
    timed = read_interactions(path, ColumnNames(timestamp="when"))
    assert timed.frame.columns == ["user", "item", "timestamp"]
    inter = write(tmp_path / "r.inter", "user_id:token\titem_id:token\n1\t2\n")
    assert read_interactions(inter).frame.rows() == [(1, 2)]
    frame = Interactions.from_frame(pd.DataFrame({"uid": [1], "sku": ["a"]}))
    assert frame.frame.rows() == [(1, "a")] and frame.notes[0].startswith("no rating column among uid, sku")


def test_digest_of_a_table_without_ratings_or_times_has_empty_fields() -> None:
    lines = {
        ("rating", "timestamp"): "1\t3\t5\t10\n2\t4\t1\t20\n",
        ("timestamp",): "1\t3\t\t10\n2\t4\t\t20\n",
        ("rating",): "1\t3\t5\t\n2\t4\t1\t\n",
        (): "1\t3\t\t\n2\t4\t\t\n",
    }
    for columns, expected in lines.items():
        table = Interactions.from_frame(frame().select("user", "item", *columns))
        assert table.digest() == hashlib.sha256(expected.encode()).hexdigest(), columns


def test_notes_say_which_of_two_columns_was_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "user,isbn,movieId,rating\n1,2,3,4\n")
    assert read_interactions(path).frame.rows() == [(1, 3, 4.0)]
    expected = "the item column is movieId; `columns.item` chooses another (isbn)"
    assert read_interactions(path).notes == (expected,)
    chosen = read_interactions(path, ColumnNames(item="ISBN"))
    assert chosen.frame.rows() == [(1, 2, 4.0)] and chosen.notes == ()
    assert Interactions.from_frame(pl.read_csv(path)).notes == (expected,)


def test_ids_that_may_surprise_are_kept_and_said(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "user,item,rating\n1.0, 2,3\n7.0, 4,3\n")
    found = read_interactions(path)
    assert found.frame.rows() == [("1.0", " 2", 3.0), ("7.0", " 4", 3.0)]
    assert found.notes == (
        "user ids are text such as '1.0', kept as they are, not the integers they look like",
        "item ids keep the spaces around them, as in ' 2'",
    )


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_decimal_comma_is_read_where_every_rating_has_that_form(tmp_path: Path, separator: str) -> None:
    text = 'user;item;rating\n1;2;"3,5"\n1;3;4\n'.replace(";", separator)
    found = read_interactions(write(tmp_path / "r.csv", text))
    assert found.frame["rating"].to_list() == [3.5, 4.0]
    assert found.notes == ("ratings were read with a decimal comma",)
    with pytest.raises(
        DataError, match=r"r.csv:4: rating '4.5' is not a number with a decimal comma, as most are"
    ):
        read_interactions(write(tmp_path / "r.csv", text + f"1{separator}4{separator}4.5\n"))


def test_true_and_false_are_ratings_as_in_a_column_of_booleans(tmp_path: Path) -> None:
    found = read_interactions(write(tmp_path / "r.csv", "user,item,rating\n1,2,True\n1,3,False\n"))
    assert found.frame["rating"].to_list() == [1.0, 0.0]
    assert found.notes == ("ratings were read as true = 1, false = 0",)
    booleans = Interactions.from_frame(pd.DataFrame({"user": 1, "item": [2, 3], "rating": [True, False]}))
    assert booleans.frame.equals(found.frame)
    with pytest.raises(DataError, match="rating 'True' is not a number"):
        read_interactions(write(tmp_path / "r.csv", "user,item,rating\n1,2,True\n1,3,4\n"))


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize(
    ("line", "message"),
    [("1,1,x,4,a", "rating 'x' is not"), ("1,1,1", "expected 5 fields"), (",1,1,1,a", "user is")],
)
def test_the_first_bad_line_is_found_far_into_a_file_without_walking_there(
    tmp_path: Path, quote: str, line: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_tables, "_lines", None)
    lines = ["user,item,rating,timestamp,title"]
    lines += [f"{i},{i},3,{i},{quote}t{i}{quote}" for i in range(2, 250_001)]
    lines[219_999] = line
    lines[230_000] = "1::2::x::4"
    with pytest.raises(DataError, match=rf":220000: {message}"):
        read_interactions(write(tmp_path / "r.csv", "\n".join(lines)))


MISSING = re.compile(r" *(|(?i:nan|null|n/a|#n/a|<na>|\\n)|None|NA|NaT) *")
TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=":,;|\t\ufeff"), min_size=1, max_size=6
).filter(
    lambda text: not MISSING.fullmatch(text) and text[0] not in '"{[' and not ColumnNames().positions([text])
)
INTEGERS = st.integers(-(2**65), 2**65).map(str)
ANY_ID = st.one_of(INTEGERS, st.integers(0, 9).map(str), TEXT)
TABLE = st.lists(
    st.tuples(ANY_ID, ANY_ID, st.integers(1, 10).map(lambda half: half / 2), st.integers(10**8, 2**31)),
    min_size=1,
    max_size=8,
)


def written(rows: list[tuple[str, str, float, int]], folder: Path) -> dict[str, Path]:
    """The same table in every text format, and packed."""
    plain = "".join("::".join(map(str, row)) + "\n" for row in rows)
    quoted = "".join(
        '"{}","{}","{}","{}"\n'.format(*(str(cell).replace('"', '""') for cell in row)) for row in rows
    )
    header = "userId::item_id::Rating::TS\n"
    inter = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    tabs = plain.replace("::", "\t")
    texts = {
        "ratings.dat": plain,
        "double-colon-header": header + plain,
        "u.data": tabs,
        "tabs": header.replace("::", "\t") + tabs,
        "semicolons": header.replace("::", ";") + plain.replace("::", ";"),
        "pipes": header.replace("::", "|") + plain.replace("::", "|"),
        "commas": header.replace("::", ",") + plain.replace("::", ","),
        "no-header": quoted,
        "quoted": header.replace("::", ",") + quoted,
        "inter": inter + tabs,
        "crlf": (header + plain).replace("::", ",").replace("\n", "\r\n"),
        "mark": "\ufeff" + header + plain,
    }
    found = {name: write(folder / name, text.encode()) for name, text in texts.items()}
    found["utf-16"] = write(folder / "utf-16", texts["tabs"].encode("utf-16"))
    found["gz"] = write(folder / "gz", gzip.compress(texts["quoted"].encode()))
    found["zip"] = write(folder / "zip", zipped({"x/ratings.csv": texts["quoted"]}))
    frame = pl.DataFrame(rows, schema=["user", "item", "rating", "timestamp"], orient="row")
    frame.write_parquet(folder / "parquet")
    return found | {"parquet": folder / "parquet"}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=TABLE)
def test_one_table_is_the_same_in_every_format(
    rows: list[tuple[str, str, float, int]], tmp_path: Path
) -> None:
    frame = pl.DataFrame(rows, schema=["user", "item", "rating", "timestamp"], orient="row")
    expected = Interactions.from_frame(frame)
    assert [list(map(str, row)) for row in expected.frame.rows()] == [list(map(str, row)) for row in rows]
    others = {"pandas": Interactions.from_frame(pd.DataFrame(frame.to_dict(as_series=False)))}
    others |= {name: read_interactions(path) for name, path in written(rows, tmp_path).items()}
    for name, found in others.items():
        assert found.frame.equals(expected.frame), name
        assert found.digest() == expected.digest(), name


def test_columns_without_names_are_named_by_number(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "x,7,50,n,4,900000000\ny,8,51,n,5,900000001\n")
    with pytest.raises(
        DataError, match=r"no header, and 6 fields .*number the columns, from 1: `columns\.user`"
    ):
        read_interactions(path)
    found = read_interactions(path, ColumnNames("2", "3", "5", "6"))
    assert found.frame.rows() == [(7, 50, 4.0, 900000000), (8, 51, 5.0, 900000001)]
    assert read_interactions(path, ColumnNames("2", "3")).frame.rows() == [(7, 50), (8, 51)]
    # A header's own numbers are names as they stand, but the first line is data where they can be positions.
    with pytest.raises(DataError):
        read_interactions(path, ColumnNames("2", "9"))
