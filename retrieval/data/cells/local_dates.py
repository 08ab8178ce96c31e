"""Dates as people write them, such as 31/12/2024, where all rows agree on one order; and given formats."""

from dataclasses import dataclass

import polars as pl

_CLOCK = r"(?:[ T,]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d+)?)?(?: ?([AaPp])\.?[Mm]\.?)?)?"
# Of Twitter and Goodreads, of Amazon's reviewTime, and of pages that spell the month.
_KNOWN = (
    "%a %b %d %H:%M:%S %z %Y",
    "%m %d, %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d %b %Y",
    "%d %B %Y",
    "%d-%b-%Y",
)
_LOCAL = rf"^\s*(\d{{1,2}}|\d{{4}})([./-])(\d{{1,2}})[./-](\d{{1,2}}|\d{{4}}){_CLOCK}\s*$"


@dataclass(frozen=True)
class LocalDates:
    """Texts read as dates.

    Attributes:
        seconds: Int64, Unix seconds, UTC; null where a text is no date in the order of the others.
        order: "day/month/year", "month/day/year" or "year/month/day"; None where nothing tells day and month
            apart.
    """

    seconds: pl.Series
    order: str | None


def local_dates(texts: pl.Series) -> LocalDates | None:
    """Read dates whose parts are numbers between "/", "." or "-"; None where most texts are no such dates.

    The order is day first where some first number is above 12, month first where some second number is, and
    day first where the numbers are separated by points. A year of two digits is no year.
    """
    parts = texts.str.extract_groups(_LOCAL).struct.unnest()
    first, second, third = (parts[str(group)].cast(pl.Int64, strict=False) for group in (1, 3, 4))
    year_first = first > 31
    dated = year_first | (third > 31)
    if 2 * int(dated.sum()) <= len(texts):
        return None
    day_first, month_first = (
        int((each > 12).sum()) for each in (_where(first, ~year_first), _where(second, ~year_first))
    )
    if bool((year_first & (parts["2"] == "-")).any()):
        return None  # ISO 8601, or badly so
    if bool(year_first.all()):
        order = "year/month/day"
    elif day_first > month_first:
        order = "day/month/year"
    elif month_first:
        order = "month/day/year"
    elif bool((parts["2"].fill_null(".") == ".").all()):
        order = "day/month/year"
    else:
        return LocalDates(pl.Series([None], dtype=pl.Int64).new_from_index(0, len(texts)), None)
    day, month = (second, first) if order == "month/day/year" else (first, second)
    day, year = _either(year_first, third, day), _either(year_first, first, third)
    month = _either(year_first, second, month)
    days = pl.select(
        pl.concat_str(
            [
                pl.lit(each.cast(pl.String)).str.zfill(width)
                for each, width in ((year, 4), (month, 2), (day, 2))
            ]
        )
    ).to_series()
    return LocalDates(days.str.to_date("%Y%m%d", strict=False).cast(pl.Int64) * 86_400 + _clock(parts), order)


def formatted_dates(texts: pl.Series, time_format: str) -> pl.Series:
    """Unix seconds of texts in a format of `datetime.strptime`; null where a text does not fit.

    Raises:
        ValueError: if this is no such format.
    """
    try:
        moments = texts.str.strip_chars().str.to_datetime(time_format, strict=False, time_unit="us")
        return moments.dt.timestamp("us") // 1_000_000
    except pl.exceptions.PolarsError as error:
        raise ValueError(str(error).splitlines()[0]) from None


def known_format(texts: pl.Series) -> str | None:
    """The first of the formats that public data sets use in which most texts are written.

    >>> known_format(pl.Series(["Thu Mar 22 20:09:38 -0700 2012", "?", "Wed Aug 27 13:08:45 +0000 2008"]))
    '%a %b %d %H:%M:%S %z %Y'
    """
    for written in _KNOWN:
        if 2 * int(formatted_dates(texts, written).is_not_null().sum()) > len(texts):
            return written
    return None


def _clock(parts: pl.DataFrame) -> pl.Series:
    """Seconds since midnight; null where there are no such."""
    hours, minutes, seconds = (parts[str(group)].cast(pl.Int64).fill_null(0) for group in (5, 6, 7))
    half = parts["8"].str.to_lowercase()
    twelve = half.is_not_null()
    right = (minutes < 60) & (seconds < 60) & _either(twelve, hours.is_between(1, 12), hours < 24)
    hours = _either(twelve, hours % 12 + (half == "p").fill_null(False).cast(pl.Int64) * 12, hours)
    return _where(hours * 3600 + minutes * 60 + seconds, right)


def _where(values: pl.Series, condition: pl.Series) -> pl.Series:
    """The values where a condition holds, null elsewhere."""
    return pl.select(pl.when(condition).then(values)).to_series()


def _either(condition: pl.Series, one: pl.Series, other: pl.Series) -> pl.Series:
    return pl.select(pl.when(condition).then(one).otherwise(other)).to_series()
