"""The temporal split: train on the past, validate on the middle, test on the most recent."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from retrieval.errors import DataError
from retrieval.interactions import Interactions
from retrieval.settings import SplitSettings


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


@dataclass(frozen=True)
class TemporalSplit:
    """Three slices of one table, cut at two moments.

    Attributes:
        train, validation, test: frames with `interactions.columns`; inside a slice every pair of
            user and item occurs once.
        validation_start, test_start: the cuts, unix seconds (quantiles, so possibly fractional):
            train <= validation_start < validation <= test_start < test.
        counts: sizes, see `SplitCounts`.
    """

    train: pl.DataFrame
    validation: pl.DataFrame
    test: pl.DataFrame
    validation_start: float
    test_start: float
    counts: SplitCounts

    @property
    def rows(self) -> int:
        """Rows of the whole table, before duplicates were dropped."""
        return self.counts.train + self.counts.validation + self.counts.test

    def labelled(self) -> pl.DataFrame:
        """All slices in one frame, a column `slice` saying which."""
        slices = {"train": self.train, "validation": self.validation, "test": self.test}
        return pl.concat([frame.with_columns(slice=pl.lit(name)) for name, frame in slices.items()])


def split_by_time(interactions: Interactions, settings: SplitSettings | None = None) -> TemporalSplit:
    """Cut at quantiles of all timestamps (linear interpolation; a row at the cut goes to the left).

    Rows with equal timestamps always fall on the same side, so the split does not depend on the
    order of the rows. Duplicates are dropped after the cut, so that no later row changes train.

    Raises:
        DataError: if a slice is empty, or nothing in the test slice is warm.
    """
    settings = settings or SplitSettings()
    frame = interactions.frame
    after_train = 1 - settings.test_fraction - settings.validation_fraction
    quantiles = [round(after_train, 12), round(1 - settings.test_fraction, 12)]
    cuts = np.quantile(frame["timestamp"].to_numpy(), quantiles)
    # Rounded, as a quantile that is some row's timestamp can come out a hair below it.
    first, second = (round(float(cut), 3) for cut in cuts)
    time = pl.col("timestamp")
    slices = [
        frame.filter(time <= first),
        frame.filter((time > first) & (time <= second)),
        frame.filter(time > second),
    ]
    train, validation, test = (latest_of_each_pair(part) for part in slices)
    counts = SplitCounts(
        train=len(slices[0]),
        validation=len(slices[1]),
        test=len(slices[2]),
        warm_validation=len(warm_rows(slices[1], train)),
        warm_test=len(warm_rows(slices[2], train)),
        users=train["user"].n_unique(),
        items=train["item"].n_unique(),
        test_users=warm_rows(test, train)["user"].n_unique(),
        duplicates=len(frame) - len(train) - len(validation) - len(test),
    )
    _check(counts, interactions.source)
    return TemporalSplit(train, validation, test, first, second, counts)


def latest_of_each_pair(frame: pl.DataFrame) -> pl.DataFrame:
    """Each pair of user and item once: the latest row, in the same second the higher rating.

    The result is ordered by user and item, whatever the order of the rows before.
    """
    keys = ["user", "item", "timestamp", "rating"]
    return frame.sort(keys).unique(["user", "item"], keep="last", maintain_order=True)


def warm_rows(frame: pl.DataFrame, train: pl.DataFrame) -> pl.DataFrame:
    """The rows whose user and item both occur in train."""
    users, items = train.select("user").unique(), train.select("item").unique()
    return frame.join(users, on="user", how="semi", maintain_order="left").join(
        items, on="item", how="semi", maintain_order="left"
    )


def _check(counts: SplitCounts, source: str) -> None:
    sizes = f"train {counts.train}, validation {counts.validation}, test {counts.test} rows"
    advice = "give more data, or other --test-fraction and --validation-fraction"
    if not (counts.train and counts.validation and counts.test):
        raise DataError(f"{source}: the split by time leaves an empty slice ({sizes}); {advice}")
    if not counts.warm_test or not counts.warm_validation:
        raise DataError(
            f"{source}: no validation or test row has a user and an item that occur in train ({sizes}; "
            f"warm {counts.warm_validation} and {counts.warm_test}), so nothing can be measured; {advice}"
        )
