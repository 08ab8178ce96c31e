"""The sizes of a split; without Polars, so that reading a bundle's manifest loads none."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SplitCounts:
    """Sizes a report prints beside every table.

    Rows are counted before duplicates are dropped; warm rows are those whose user and item both
    occur in train; `test_users` are the users with at least one warm test row.
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
