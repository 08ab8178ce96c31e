from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.data.reading.bad_cells import BadRowError
from retrieval.data.reading.timestamps import to_seconds

ISO = "timestamps were read as ISO 8601, UTC where they name no zone"
DAYS = "timestamps were read as days written yyyymmdd, UTC"
FLOORED = "fractions of seconds in timestamps were floored"


def seconds(values: list[object], dtype: pl.DataType | None = None) -> tuple[list[int], list[str]]:
    problems: list[BadRowError] = []
    found, notes = to_seconds(pl.Series(values, dtype=dtype), problems)
    if problems:
        raise min(problems, key=lambda problem: problem.row)
    assert found.dtype == pl.Int64
    return found.to_list(), notes


@pytest.mark.parametrize(
    ("values", "expected", "notes"),
    [
        ([0, 978300760], [0, 978300760], []),
        (["0", "978300760"], [0, 978300760], []),
        ([978300760.9, 5.0], [978300760, 5], [FLOORED]),
        (["978300760.9", "5"], [978300760, 5], [FLOORED]),
        (["9.78300760e8"], [978300760], []),
        ([978300760123, 0], [978300760, 0], ["timestamps were read as milliseconds"]),
        ([978300760123456], [978300760], ["timestamps were read as microseconds"]),
        (["978300760123456789"], [978300760], ["timestamps were read as nanoseconds"]),
        ([0, 0], [0, 0], []),
        (
            ["20010101", "20010102"],
            [978307200, 978393600],
            ["timestamps were read as days written yyyymmdd, UTC"],
        ),
        ([20000000, 20000001, 20010101], [20000000, 20000001, 20010101], []),
        (["2001-01-01"], [978307200], [ISO]),
        (["2001-01-01T00:00"], [978307200], [ISO]),
        (["2001-01-01 00:00:01"], [978307201], [ISO]),
        (["2001-01-01T00:00:01Z"], [978307201], [ISO]),
        (["2001-01-01 00:00:01 UTC"], [978307201], [ISO]),
        (["2001-01-01T01:30:00+01:30"], [978307200], [ISO]),
        (["2000-12-31T19:00:00-0500"], [978307200], [ISO]),
        (["2000-12-31T19:00:00-05"], [978307200], [ISO]),
        (["2001-01-01T00:00:01.999", "2001-01-01"], [978307201, 978307200], [ISO, FLOORED]),
        (["2001-01-01T00:00:01.000"], [978307201], [ISO]),
    ],
)
def test_what_people_write_is_understood_and_said(
    values: list[object], expected: list[int], notes: list[str]
) -> None:
    assert seconds(values) == (expected, notes)


@pytest.mark.parametrize(
    ("values", "row", "message"),
    [
        ([5, -1], 1, "timestamp -1 is no time since 1970"),
        (["5", "-0.5"], 1, "timestamp -0.5 is no time since 1970"),
        ([1.0, float("nan")], 1, "timestamp nan is no time"),
        ([1.0, float("inf")], 1, "timestamp inf is no time"),
        ([None, 5], 0, "timestamp is empty"),
        (["5", " "], 1, "timestamp is empty"),
        ([5, 6, 978300760000], 2, "timestamp 978300760000 is in another unit than most others, seconds"),
        ([978300760000, 7, 978300760001], 1, "timestamp 7 is in another unit than most others, milliseconds"),
        (
            ["5", "6", "2001-01-01"],
            2,
            "timestamp 2001-01-01 is ISO 8601, unlike most others, which are",
        ),
        (["2001-01-01", "5", "2001-01-01"], 1, "timestamp 5 is a number, unlike most others, which are ISO"),
        (
            ["5", "soon", "later"],
            1,
            "timestamp 'soon' is neither a number nor a date; expected",
        ),
        (["2001-01-01", "2001-02-29"], 1, "timestamp '2001-02-29' is neither"),
        (["2001-01-01T24:00"], 0, "is neither"),
        (["2001-01-01T10:60"], 0, "is neither"),
        (["2001-01-01T10:00:60"], 0, "is neither"),
        (["2001-01-01T10:00+24:00"], 0, "is neither"),
        (["2001-01-01T10"], 0, "is neither"),
        (["2001-1-1"], 0, "is neither"),
        (["31.01.2001"], 0, "timestamp '31.01.2001' is neither"),
        (["1969-12-31T23:59:59Z"], 0, "timestamp 1969-12-31T23:59:59Z is no time since 1970"),
        (["1970-01-01T00:00+01:00"], 0, "is no time since 1970"),
        ([20010101, 20010228, 20010229], 2, "timestamp 20010229 is no time"),
    ],
)
def test_what_is_no_time_is_named_with_its_row(values: list[object], row: int, message: str) -> None:
    with pytest.raises(BadRowError) as caught:
        seconds(values)
    assert caught.value.row == row
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_datetimes_without_a_zone_are_said_to_be_taken_as_utc() -> None:
    moment = datetime(2001, 1, 1, 0, 0, 1, 500_000)
    expected = [FLOORED, "timestamps name no time zone: taken as UTC"]
    assert seconds([moment]) == ([978307201], expected)
    assert seconds([moment.replace(tzinfo=UTC)]) == ([978307201], [FLOORED])
    assert seconds([moment.date()]) == ([978307200], ["timestamps are dates: taken as midnight, UTC"])
    for unit in ("ms", "us", "ns"):
        assert seconds([moment], pl.Datetime(unit))[0] == [978307201]


ZONES = st.one_of(st.none(), st.integers(-23 * 60 - 59, 23 * 60 + 59))


@given(
    moment=st.datetimes(datetime(1970, 1, 3), datetime(9999, 12, 28)),
    zone=ZONES,
    parts=st.sampled_from(["date", "minutes", "seconds", "microseconds"]),
    separator=st.sampled_from("T "),
    style=st.sampled_from(["colon", "plain", "Z"]),
)
def test_iso_8601_is_read_as_python_reads_it(
    moment: datetime, zone: int | None, parts: str, separator: str, style: str
) -> None:
    if parts == "date":
        text = moment.date().isoformat()
    else:
        text = moment.isoformat(separator, parts)
        if zone is not None and style == "Z":
            text += "Z"
        elif zone is not None:
            offset = timezone(timedelta(minutes=zone))
            shown = datetime(2000, 1, 1, tzinfo=offset).isoformat()[19:]
            text += shown if style == "colon" else shown.replace(":", "")
    told = datetime.fromisoformat(text)
    told = told if told.tzinfo else told.replace(tzinfo=UTC)
    assert seconds([text])[0] == [(told - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)]


@given(st.lists(st.integers(10**8, 4 * 10**9), min_size=1), st.sampled_from([1, 10**3, 10**6, 10**9]))
def test_units_are_known_by_size(values: list[int], unit: int) -> None:
    in_unit = [value * unit + unit // 2 for value in values]
    assert seconds(in_unit)[0] == values
    assert seconds([str(value) for value in in_unit])[0] == values
