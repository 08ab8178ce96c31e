"""Converts times, in the forms that tables use, to Unix seconds."""

import time
from datetime import UTC, datetime

import polars as pl

from retrieval.data.cells.bad_cells import Problems, is_empty, note_problem, shown, to_numbers
from retrieval.data.cells.local_dates import formatted_dates, known_format, local_dates
from retrieval.data.reading.delimiters import shorten
from retrieval.errors import UsageError

# A number above the n-th bound is in the n-th unit below seconds: in that unit the bound is the year 1973, in
# the unit above it the year 5138.
_BOUNDS = (10**11, 10**14, 10**17)
_UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
_FIRST_DAY, _LAST_DAY = 19700101, 21001231  # read as Unix seconds, these are two weeks of August 1970

_JANUARY_1970, _END = 31 * 86_400, 4_133_980_800  # the end of that month; the year 2101
_ZONE = r"Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?"
_ISO = rf"^\d{{4}}-\d{{2}}-\d{{2}}(?:[Tt ]\d{{2}}:\d{{2}}(?::\d{{2}}(?:[.,]\d+)?)?(?: ?(?:{_ZONE}))?)?$"
_EXPECTED = "Unix seconds or ISO 8601, such as 2024-01-31 18:30:00"
_FLOORED = "fractions of seconds in timestamps were floored"


def to_seconds(
    series: pl.Series, problems: Problems, time_format: str | None = None
) -> tuple[pl.Series, list[str]]:
    """Times as Unix seconds (Int64), with notes on how they were interpreted.

    Numbers are seconds, milliseconds, microseconds or nanoseconds, all in one unit that their size tells,
    days written yyyymmdd, or years. Text is numbers, ISO 8601 (UTC where it names no zone) or dates such as
    31/12/2024, all in one order. The cells that are none of these, or lie before 1970 or after 2100, are
    added to `problems`; the values in their place are undefined.

    Args:
        time_format: how texts are written, as for `datetime.strptime`; None: it is found out.

    Raises:
        UsageError: if this is no such format.
    """
    if time_format is not None and series.dtype not in (pl.Datetime, pl.Date):
        seconds, notes = _in_format(series.cast(pl.String), time_format, problems)
    elif series.dtype in (pl.Datetime, pl.Date):
        note_problem(problems, series.is_null(), lambda row: "timestamp is empty")
        seconds, notes = _from_datetimes(series)
    else:
        numbers = to_numbers(series)
        empty = is_empty(series) if numbers.null_count() else series.is_null()
        note_problem(problems, empty, lambda row: "timestamp is empty")
        if series.dtype == pl.String and (numbers.is_null() & ~empty).any():
            seconds, notes = _from_text(series, numbers, empty, problems)
        else:
            seconds, notes = _from_numbers(series, numbers, problems)
    note_problem(problems, seconds < 0, lambda row: _no_time(series[row]))
    note_problem(
        problems, seconds >= _END, lambda row: f"timestamp {shown(series[row])} lies after the year 2100"
    )
    return seconds, notes + ([] if problems else _oddities(seconds))


def _oddities(seconds: pl.Series) -> list[str]:
    """Notes on times that are possible, but seldom meant."""
    first, last = seconds.min(), seconds.max()
    if not isinstance(first, int) or not isinstance(last, int):
        return []
    if last < _JANUARY_1970 and first != last:
        return [
            f"timestamps from {first} to {last} all lie in January 1970; if they are no seconds, only their "
            "order counts"
        ]
    if last > time.time() + 86_400:
        return [f"timestamps go up to {datetime.fromtimestamp(last, UTC).date()}, which lies in the future"]
    return []


def _in_format(texts: pl.Series, time_format: str, problems: Problems) -> tuple[pl.Series, list[str]]:
    empty = is_empty(texts)
    note_problem(problems, empty, lambda row: "timestamp is empty")
    try:
        seconds = formatted_dates(texts, time_format)
    except ValueError as error:
        raise UsageError(
            f"`time_format` {time_format!r} is no format of times ({error})",
            "31/12/2024 18:30 is %d/%m/%Y %H:%M",
        ) from None
    note_problem(
        problems,
        seconds.is_null() & ~empty,
        lambda row: f"timestamp {shorten(texts[row])} is not written as {time_format}",
    )
    return seconds, [f"timestamps were read as {time_format}, UTC where they name no zone"]


def _from_datetimes(series: pl.Series) -> tuple[pl.Series, list[str]]:
    if series.dtype == pl.Date:
        return series.cast(pl.Int64) * 86_400, ["timestamps are dates: taken as midnight, UTC"]
    fine = series.dt.timestamp("us")
    notes = [_FLOORED] if (fine % 1_000_000 != 0).any() else []
    if series.dtype.time_zone is None:  # type: ignore[attr-defined]
        notes.append("timestamps name no time zone: taken as UTC")
    return fine // 1_000_000, notes


def _from_text(
    series: pl.Series, numbers: pl.Series, empty: pl.Series, problems: Problems
) -> tuple[pl.Series, list[str]]:
    """Seconds from text that is not all numbers: ISO 8601, or wrong."""
    moments, has_fractions = _parse_iso(series.str.strip_chars())
    is_number, is_iso = numbers.is_not_null(), moments.is_not_null()
    local = local_dates(series) if int((is_number | is_iso).sum()) * 2 < len(series) else None
    if local is not None and local.order is None:
        note_problem(
            problems,
            ~empty,
            lambda row: f"timestamp {shorten(series[row])} may begin with the day or with the month",
        )
        return local.seconds, []
    if local is None and not (is_number | is_iso).any():
        found = known_format(series)
        if found is not None:
            return _in_format(series, found, problems)
    if local is not None:
        note_problem(
            problems,
            local.seconds.is_null() & ~empty,
            lambda row: f"timestamp {shorten(series[row])} is no date written {local.order}, as most are",
        )
        return local.seconds, [f"timestamps were read as {local.order}, UTC"]
    note_problem(problems, ~(is_number | is_iso | empty), lambda row: _unreadable(series[row]))
    if is_number.sum() > is_iso.sum():
        note_problem(
            problems,
            is_iso,
            lambda row: f"timestamp {shown(series[row])} is ISO 8601, unlike most others, which are numbers",
        )
        return _from_numbers(series, numbers, problems)
    note_problem(
        problems,
        is_number,
        lambda row: f"timestamp {shown(series[row])} is a number, unlike most others, which are ISO 8601",
    )
    notes = ["timestamps were read as ISO 8601, UTC where they name no zone"]
    return moments, [*notes, _FLOORED] if has_fractions else notes


def _from_numbers(series: pl.Series, numbers: pl.Series, problems: Problems) -> tuple[pl.Series, list[str]]:
    notes = []
    whole = numbers
    if numbers.dtype.is_float():
        floor = numbers.floor()
        whole = floor.cast(pl.Int64, strict=False)
        note_problem(problems, whole.is_null() & numbers.is_not_null(), lambda row: _no_time(series[row]))
        if (numbers != floor).any():
            notes.append(_FLOORED)
    if whole.is_between(_FIRST_DAY, _LAST_DAY).all():
        days = whole.cast(pl.String).str.to_date("%Y%m%d", strict=False)
        # About one in thirty other numbers of eight digits happens to be a day.
        if days.null_count() * 2 < len(days):
            note_problem(problems, days.is_null() & whole.is_not_null(), lambda row: _no_time(series[row]))
            return days.cast(pl.Int64) * 86_400, ["timestamps were read as days written yyyymmdd, UTC"]
    if whole.is_between(1970, 2100).all() and whole.null_count() < len(whole):
        days = (whole.cast(pl.String) + "0101").str.to_date("%Y%m%d", strict=False)
        return days.cast(pl.Int64) * 86_400, [*notes, "timestamps were read as years, each as its 1 January"]
    unit = (whole > _BOUNDS[0]).cast(pl.Int8)
    for bound in _BOUNDS[1:]:
        unit = unit + (whole > bound).cast(pl.Int8)
    rows_of = [int((unit == number).sum()) for number in range(len(_UNITS))]
    # Negative numbers are wrong in any unit and zero is right in any, so they do not vote.
    rows_of[0] -= int((whole <= 0).sum())
    chosen = max(range(len(_UNITS)), key=lambda number: (rows_of[number], number if rows_of[number] else 0))
    note_problem(
        problems,
        (unit != chosen) & (whole > 0),
        lambda row: f"timestamp {shown(series[row])} is in another unit than most others, {_UNITS[chosen]}",
    )
    if chosen:
        notes.append(f"timestamps were read as {_UNITS[chosen]}")
    return whole // 1000**chosen, notes


def _parse_iso(texts: pl.Series) -> tuple[pl.Series, bool]:
    """Unix seconds of ISO 8601 texts, null for other texts; and whether a fraction was cut off."""
    fits = texts.str.contains(_ISO)
    texts = pl.select(pl.when(fits).then(texts)).to_series()
    days = texts.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False).cast(pl.Int64)
    clock = texts.str.slice(10)

    def digits(start: int) -> pl.Series:
        return clock.str.slice(start, 2).cast(pl.Int64, strict=False).fill_null(0)

    hours, minutes = digits(1), digits(4)
    has_seconds = clock.str.slice(6, 1) == ":"
    seconds = digits(7) * has_seconds
    zones = clock.str.extract(r"([+-]\d{2}:?\d{0,2})$").str.replace(":", "", literal=True)
    away = zones.str.slice(1, 2).cast(pl.Int64, strict=False).fill_null(0)
    away_minutes = zones.str.slice(3, 2).cast(pl.Int64, strict=False).fill_null(0)
    offset = (away * 3600 + away_minutes * 60) * pl.select(
        pl.when((zones.str.slice(0, 1) == "-").fill_null(False)).then(-1).otherwise(1)
    ).to_series()
    valid = (hours < 24) & (minutes < 60) & (seconds < 60) & (away < 24) & (away_minutes < 60)
    moments = days * 86_400 + hours * 3600 + minutes * 60 + seconds - offset
    moments = pl.select(pl.when(valid).then(moments)).to_series()
    return moments, bool(texts.str.contains(r"[.,]\d*[1-9]").any())


def _no_time(value: object) -> str:
    return f"timestamp {shown(value)} is no time since 1970; expected {_EXPECTED}"


def _unreadable(value: str) -> str:
    return f"timestamp {shorten(value)} is neither a number nor a date; expected {_EXPECTED}"
