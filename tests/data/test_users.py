"""Users' tables in every format, and what is wrong with a bad one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from retrieval.data.users import UserTable, find_users_beside, read_users
from retrieval.errors import DataError
from tests.support.archives import zipped


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def known(table: UserTable) -> list[dict[str, Any]]:
    return [
        {"user": user} | {name: row for name, row in each.items() if name != "zip"}
        for user, each in zip(table.ids.to_list(), table.categories.to_dicts(), strict=True)
    ]


EXPECTED = [
    {"user": 1, "age": ["24"], "gender": ["M"], "occupation": ["technician"]},
    {"user": 2, "age": ["53"], "gender": ["F"], "occupation": ["other"]},
]


def test_u_user_of_movielens_100k(tmp_path: Path) -> None:
    text = "1|24|M|technician|85711\n2|53|F|other|94043\n"
    assert known(read_users(write(tmp_path / "u.user", text))) == EXPECTED


def test_users_dat_of_movielens_1m(tmp_path: Path) -> None:
    table = read_users(write(tmp_path / "users.dat", "1::F::1::10::48067\n2::M::56::16::70072\n"))
    assert known(table) == [
        {"user": 1, "gender": ["F"], "age": ["1"], "occupation": ["10"]},
        {"user": 2, "gender": ["M"], "age": ["56"], "occupation": ["16"]},
    ]


def test_users_csv(tmp_path: Path) -> None:
    text = '"userId","Age",Gender,occupation\r\n1,24,M,technician\r\n2,53,F,other\r\n'
    assert known(read_users(write(tmp_path / "users.csv", text))) == EXPECTED


def test_recbole_users_without_their_floats(tmp_path: Path) -> None:
    text = (
        "user_id:token\tage:token\tgender:token\toccupation:token\tlikes:token_seq\theight:float\n"
        "1\t24\tM\ttechnician\ta b\t1.8\n2\t53\tF\tother\t\t1.7\n"
    )
    found = known(read_users(write(tmp_path / "x.user", text)))
    assert found == [EXPECTED[0] | {"likes": ["a", "b"]}, EXPECTED[1] | {"likes": []}]


@pytest.mark.parametrize("make", [pl.DataFrame, pd.DataFrame])
def test_frames_as_people_have_them(make: Callable[..., Any]) -> None:
    frame = make(
        {
            "user": [1, 2],
            "age": [24.0, 53.0],
            "gender": ["M", "F"],
            "occupation": ["technician", "other"],
            "clubs": [["x"], None],
        }
    )
    found = known(UserTable.from_frame(frame))
    assert found == [EXPECTED[0] | {"clubs": ["x"]}, EXPECTED[1] | {"clubs": []}]


def test_parquet_with_a_column_that_its_parts_hold_differently(tmp_path: Path) -> None:
    folder = tmp_path / "users"
    folder.mkdir()
    whole = pl.DataFrame({"user": [1, 2], "gender": ["F", None], "blob": [[1.0], [2.0]]})
    whole.head(1).write_parquet(folder / "part-0.parquet")
    assert known(read_users(folder)) == [{"user": 1, "gender": ["F"]}]
    whole.tail(1).with_columns(blob=pl.lit(1)).write_parquet(folder / "part-1.parquet")
    table = read_users(folder)  # the users are there, though nothing else can be read of them
    assert (table.ids.to_list(), table.categories.width) == ([1, 2], 0)


def test_zip_codes_fall_out(tmp_path: Path) -> None:
    rows = "".join(f"{row}|{20 + row % 30}|{'MF'[row % 2]}|none|{10000 + row}\n" for row in range(1, 101))
    assert read_users(write(tmp_path / "u.user", rows)).categories.columns == ["age", "gender", "occupation"]


def test_the_first_of_two_lines_for_a_user_counts(tmp_path: Path) -> None:
    table = read_users(write(tmp_path / "users.csv", "user,gender\n7,F\n7,M\n8,M\n"))
    assert known(table) == [{"user": 7, "gender": ["F"]}, {"user": 8, "gender": ["M"]}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "0 users"),
        ("user,age\n", "0 users"),
        ("1::F::1::10::48067\n2::F::1\n", r"users.dat:2: expected 5 fields separated by '::', found 3"),
        ("1|24|M|x|85711\n2|24|M\n", r"users.dat:2: expected 5 fields separated by '\|', found 3"),
        ("user,age\n1,5\n,6\n", r"users.dat:3: user is empty"),
        ('user,city\n1,A\n2,"B\n3,C\n', r"users.dat:3: a double quote is opened and not closed"),
        ("hello\n", "not a users file: begins with 'hello'"),
        ("a:token\tb:token\n1\t2\n", "no user column: found a, b"),
    ],
)
def test_bad_users_files_say_what_is_wrong(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_users(write(tmp_path / "users.dat", content))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"gender": ["F"]}, "DataFrame: no user column: found gender"),
        ({"user": [None], "gender": ["F"]}, r"DataFrame: row 0 \(counted from 0\): user is empty"),
        ({"user": [], "gender": []}, "DataFrame: 0 users"),
    ],
)
def test_a_frame_that_is_no_table_of_users_is_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        UserTable.from_frame(pl.DataFrame(columns))


def test_a_table_checks_its_frames() -> None:
    with pytest.raises(ValueError, match="not a table of users"):
        UserTable(pl.DataFrame({"item": [1]}))
    with pytest.raises(ValueError, match="a user occurs twice"):
        UserTable(pl.DataFrame({"user": [1, 1]}))
    with pytest.raises(ValueError, match="categories of 1 rows"):
        UserTable(pl.DataFrame({"user": [1, 2]}), pl.DataFrame({"a": [["x"]]}))


def test_find_users_beside_takes_the_relative_first(tmp_path: Path) -> None:
    for name in ("users.dat", "u.user", "users.csv", "x.user", "y.user"):
        write(tmp_path / name, "")
    pairs = {
        "ratings.dat": "users.dat",
        "u.data": "u.user",
        "ratings.csv": "users.csv",
        "x.inter": "x.user",
        "ratings.parquet": "users.dat",
    }
    for ratings, users in pairs.items():
        assert find_users_beside(tmp_path / ratings) == tmp_path / users
    write(tmp_path / "users.parquet", "")
    assert find_users_beside(tmp_path / "ratings.parquet") == tmp_path / "users.parquet"


def test_find_users_beside_looks_into_a_zip(tmp_path: Path) -> None:
    archive = write(
        tmp_path / "ml.zip",
        zipped({"ml/u.data": "1\t1\t5\t0\n", "ml/u.user": "1|24|M|technician|85711\n"}),
    )
    assert find_users_beside(archive) == archive
    assert known(read_users(archive)) == EXPECTED[:1]
