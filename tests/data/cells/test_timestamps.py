from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.data.cells.bad_cells import BadRowError, Problems
from retrieval.data.cells.timestamps import to_seconds

ISO = "timestamps were read as ISO 8601, UTC where they name no zone"
DAYS = "timestamps were read as days written yyyymmdd, UTC"
FLOORED = "fractions of seconds in timestamps were floored"


def seconds(values: list[object], dtype: pl.DataType | None = None) -> tuple[list[int], list[str]]:
    problems = Problems(len(values))
    found, notes = to_seconds(pl.Series(values, dtype=dtype), problems)
    if problems:
        raise problems.first()
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
        (["31.01.01"], 0, "timestamp '31.01.01' is neither"),
        (
            ["31/12/2001", "12/31/2001", "30/12/2001"],
            1,
            "'12/31/2001' is no date written day/month/year, as most",
        ),
        (["31/12/2001", "", "30/12/2001"], 1, "timestamp is empty"),
        (["1/2/2001", "3/4/2001"], 0, "timestamp '1/2/2001' may begin with the day or with the month"),
        (["31/12/2001 10:60"], 0, "is no date written day/month/year"),
        (["31/12/2001 13:00 PM"], 0, "is no date written day/month/year"),
        ([4_133_980_799, 4_133_980_800], 1, "timestamp 4133980800 lies after the year 2100"),
        (["2001-01-01", "2101-01-01"], 1, "timestamp 2101-01-01 lies after the year 2100"),
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


@pytest.mark.parametrize(
    ("values", "expected", "order"),
    [
        (["31/12/2001", "1/2/2001 18:30"], [1009756800, 981052200], "day/month/year"),
        (["12/31/2001 1:05 PM", "1/2/2001 12:00 am"], [1009803900, 978393600], "month/day/year"),
        (["1.2.2001", "3.4.2001, 12:00:05"], [980985600, 986299205], "day/month/year"),
        (["13-02-2001", "1-2-2001"], [982022400, 980985600], "day/month/year"),
        (["2001/12/31", "2001/1/5"], [1009756800, 978652800], "year/month/day"),
    ],
)
def test_dates_as_people_write_them_are_read_in_the_one_order_that_fits_all(
    values: list[object], expected: list[int], order: str
) -> None:
    assert seconds(values) == (expected, [f"timestamps were read as {order}, UTC"])


@given(
    st.lists(st.datetimes(datetime(1970, 1, 1), datetime(2100, 12, 31)), min_size=1, max_size=9),
    st.sampled_from(["%d/%m/%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p", "%d.%m.%Y %H:%M:%S"]),
)
def test_local_dates_are_read_as_python_reads_them(moments: list[datetime], written: str) -> None:
    moments = [*moments, datetime(2001, 1, 31)]  # which tells the order
    texts: list[object] = [moment.strftime(written) for moment in moments]
    try:
        found = seconds(texts)[0]
    except BadRowError as bad:  # where most others fit the other order too
        assert "as most are" in str(bad)
        return
    assert found == [int(moment.replace(tzinfo=UTC, microsecond=0).timestamp()) for moment in moments]


def test_a_format_that_is_given_is_the_one_that_counts() -> None:
    twitter = "%a %b %d %H:%M:%S %z %Y"
    problems = Problems(2)
    found, notes = to_seconds(pl.Series(["Wed Aug 27 13:08:45 +0000 2008", "x"]), problems, twitter)
    assert found[0] == 1219842525
    assert str(problems.first()) == f"timestamp 'x' is not written as {twitter}"
    assert notes == [f"timestamps were read as {twitter}, UTC where they name no zone"]
    found, _ = to_seconds(pl.Series(["01/02/2001"]), Problems(1), "%d/%m/%Y")
    assert found.to_list() == [980985600]
    found, _ = to_seconds(pl.Series([200102, 200103]), Problems(2), "%Y%m")  # numbers too
    assert len(found) == 2


def test_years_are_their_first_day_and_odd_times_are_told() -> None:
    assert seconds([2010, 1999]) == (
        [1262304000, 915148800],
        ["timestamps were read as years, each as its 1 January"],
    )
    found, notes = seconds([1, 999])
    assert found == [1, 999]
    assert notes == [
        "timestamps from 1 to 999 all lie in January 1970; if they are no seconds, only their order counts"
    ]
    assert seconds(["2001-01-01", "2099-01-01"])[1][1:] == [
        "timestamps go up to 2099-01-01, which lies in the future"
    ]


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
    moment=st.datetimes(datetime(1970, 1, 3), datetime(2100, 12, 28)),
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
