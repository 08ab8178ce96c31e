"""Rows that cannot be used: refused with their number, or left out where the user allows it, and told."""

from pathlib import Path

import polars as pl
import pytest

from retrieval.data.interactions import Interactions, read_interactions
from retrieval.errors import DataError, UsageError

GOOD = [
    f"{user},{item},{1 + (user + item) % 5},{1_700_000_000 + user}" for user in range(20) for item in (1, 2)
]


def table(tmp_path: Path, *bad: tuple[int, str]) -> Path:
    """A table whose lines, counted from 1 with the header, are replaced."""
    lines = ["user,item,rating,timestamp", *GOOD]
    for line, text in bad:
        lines[line - 1] = text
    path = tmp_path / "r.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


BAD = (
    (5, "1,2,oops,1700000000", "rating 'oops' is not a number"),
    (5, "1,,3,1700000000", "item is empty"),
    (5, "1,NULL,3,1700000000", "item NULL stands for a missing value"),
    (5, "NaN,2,3,1700000000", "user NaN stands for a missing value"),
    (5, "1,2,3,soon", "timestamp 'soon' is neither a number nor a date"),
    (5, "1,2,3", "expected 4 fields separated by ',', found 3: '1,2,3'"),
    (5, "1,2,inf,1700000000", "rating inf is not a finite number"),
)


@pytest.mark.parametrize(("line", "text", "says"), BAD)
def test_one_bad_row_is_refused_or_left_out_and_told(tmp_path: Path, line: int, text: str, says: str) -> None:
    path = table(tmp_path, (line, text))
    with pytest.raises(DataError) as caught:
        read_interactions(path)
    assert caught.value.what.startswith(f"{path}:5: {says}")
    assert caught.value.advice == "mend the row or remove it, or leave it out with `skip_bad=1`"
    found = read_interactions(path, skip_bad=1)
    whole = read_interactions(table(tmp_path))
    # The ids are numbers again, and every other row is there.
    assert found.frame.equals(pl.concat([whole.frame[:3], whole.frame[4:]]))
    (note,) = found.notes
    assert note.startswith(f"1 row that cannot be used was left out: {path}:5: {says}")


def test_bad_rows_of_every_kind_are_counted_together(tmp_path: Path) -> None:
    bad = [(line + 3 * place, text) for place, (line, text, _) in enumerate(BAD)]
    path = table(tmp_path, *bad)
    found = read_interactions(path, skip_bad=len(BAD))
    assert len(found) == len(GOOD) - len(BAD)
    (note,) = found.notes
    assert note.startswith("7 rows that cannot be used were left out: ") and note.endswith("; ...")
    assert note.count(str(path)) == 3
    with pytest.raises(DataError, match=r"leave them out with `skip_bad=\d`"):
        read_interactions(path, skip_bad=len(BAD) - 1)
    assert read_interactions(path, skip_bad=1000).frame.equals(found.frame)


def test_the_error_says_how_many_rows_are_bad(tmp_path: Path) -> None:
    path = table(tmp_path, (5, "1,2,oops,1700000000"), (9, "1,2,3,soon"), (9, ",2,x,y"))
    with pytest.raises(DataError, match=r":5: rating 'oops' is not a number \(2 of 40 rows cannot be used\)"):
        read_interactions(path)


@pytest.mark.parametrize(
    ("header", "row", "says", "advice"),
    [
        (
            "user,item,rating",
            "1,2,like",
            "rating 'like' is not a number",
            "name the column of the ratings with",
        ),
        (
            "user,item,rating,timestamp",
            "1,2,3,3/4/2024",
            "may begin with the day or",
            "say how times are written",
        ),
        ("user,item", "NULL,2", "user NULL stands for", "name another column with `columns.user`"),
    ],
)
def test_what_is_wrong_in_every_row_is_no_bad_row(
    tmp_path: Path, header: str, row: str, says: str, advice: str
) -> None:
    path = tmp_path / "r.csv"
    path.write_text("\n".join([header, *[row] * 9]) + "\n")
    for skip in (0, 100):
        with pytest.raises(DataError) as caught:
            read_interactions(path, skip_bad=skip)
        assert says in caught.value.what and caught.value.what.endswith("(so in all 9 rows)")
        assert caught.value.advice is not None and caught.value.advice.startswith(advice)


def test_a_separator_at_the_end_of_every_row_is_no_field(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("\n".join(["user,item,rating,timestamp", *(f"{row}," for row in GOOD)]))
    assert read_interactions(path).frame.equals(read_interactions(table(tmp_path)).frame)


def test_a_frame_leaves_out_rows_too() -> None:
    frame = pl.DataFrame(
        {"user": ["1", None, "3", "None"], "item": [1, 2, 3, 4], "rating": [1.0, 2.0, 3.0, 4.0]}
    )
    with pytest.raises(
        DataError, match=r"row 1 \(counted from 0\): user is empty \(2 of 4 rows cannot be used\)"
    ):
        Interactions.from_frame(frame)
    found = Interactions.from_frame(frame, skip_bad=2)
    assert found.frame.rows() == [(1, 1, 1.0), (3, 3, 3.0)]
    assert found.notes == (
        "2 rows that cannot be used were left out: DataFrame: row 1 (counted from 0): user is empty; "
        "DataFrame: row 3 (counted from 0): user None stands for a missing value",
    )


@pytest.mark.parametrize("skip", [-1, 1.5, "3", True, None])
def test_the_number_of_rows_to_leave_out_is_checked(skip: int) -> None:
    with pytest.raises(UsageError, match=r"^`skip_bad` must be a whole number from 0 on"):
        Interactions.from_frame(pl.DataFrame({"user": [1], "item": [1]}), skip_bad=skip)


def test_times_are_read_in_the_format_that_is_given(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("user,item,when_\n1,2,3/4/2024\n1,3,5/6/2024\n")
    path.write_text(path.read_text().replace("when_", "date"))
    found = read_interactions(path, time_format="%d/%m/%Y")
    assert found.frame["timestamp"].to_list() == [1712102400, 1717545600]
    assert "timestamps were read as %d/%m/%Y, UTC where they name no zone" in found.notes
