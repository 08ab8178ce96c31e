"""The sizes of a split; without Polars, so that reading a bundle's manifest loads none."""

from dataclasses import dataclass


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
