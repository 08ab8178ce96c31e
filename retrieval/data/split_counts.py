"""The sizes and dates of a split; without Polars, so that reading a bundle's manifest loads none."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True)
class SplitCounts:
    """The sizes that a report prints beside its tables.

    Rows are counted before duplicates are dropped; the user and item of a warm row both occur in
    train; `test_users` counts the users with at least one warm test row.
    """

    train: int
    validation: int
    test: int
    warm_validation: int
    warm_test: int
    users: int
    items: int
    test_users: int
    duplicates: int


@dataclass(frozen=True)
class SliceDates:
    """The first and last timestamp of train and of test, in Unix seconds."""

    train_first: int
    train_last: int
    test_first: int
    test_last: int

    def days(self) -> tuple[str, str, str, str]:
        """The same as days in UTC.

        >>> SliceDates(874_724_710, 887_000_000, 889_237_269, 893_286_638).days()
        ('1997-09-20', '1998-02-09', '1998-03-07', '1998-04-22')
        """
        seconds = (self.train_first, self.train_last, self.test_first, self.test_last)
        first, last, test_first, test_last = (
            (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=each)).date().isoformat()
            for each in seconds
        )
        return first, last, test_first, test_last
