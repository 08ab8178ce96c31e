"""Splits interactions: the oldest train, the middle validates, the latest test; without times, at random."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from retrieval.data.interactions import Interactions
from retrieval.data.reading.columns import ITEM, RATING, TIMESTAMP, USER
from retrieval.data.split_counts import SliceDates, SplitCounts
from retrieval.errors import DataError
from retrieval.settings import SplitKind, SplitSettings


@dataclass(frozen=True)
class Split:
    """Three slices of one table.

    Attributes:
        train, validation, test: frames with the columns of the table; every pair of user and item occurs
            once within a slice.
        kind: "time" or "random".
        validation_start, test_start: the cuts, unix seconds (quantiles, so possibly fractional):
            train <= validation_start < validation <= test_start < test; None in a random split.
        counts: sizes, see `SplitCounts`.
    """

    train: pl.DataFrame
    validation: pl.DataFrame
    test: pl.DataFrame
    kind: SplitKind
    validation_start: float | None
    test_start: float | None
    counts: SplitCounts

    @property
    def rows(self) -> int:
        """Rows of the whole table, before duplicates were dropped."""
        return self.counts.train + self.counts.validation + self.counts.test

    @property
    def dates(self) -> SliceDates | None:
        """The first and last timestamp of train and test; None where the split is not by time."""
        if self.kind != "time":
            return None
        times = (self.train["timestamp"], self.test["timestamp"])
        ends = [int(end) for each in times for end in (each.min(), each.max())]  # type: ignore[arg-type]
        return SliceDates(*ends)

    def labelled(self) -> pl.DataFrame:
        """All slices in one frame; its column `slice` names the slice of each row."""
        slices = {"train": self.train, "validation": self.validation, "test": self.test}
        return pl.concat([frame.with_columns(slice=pl.lit(name)) for name, frame in slices.items()])

    @classmethod
    def from_labelled(
        cls,
        frame: pl.DataFrame,
        kind: SplitKind,
        validation_start: float | None,
        test_start: float | None,
        counts: SplitCounts,
    ) -> "Split":
        """Read back what `labelled` gave; the other arguments are the class's own."""
        train, validation, test = (
            frame.filter(pl.col("slice") == name).drop("slice") for name in ("train", "validation", "test")
        )
        return cls(train, validation, test, kind, validation_start, test_start, counts)


def split_interactions(
    interactions: Interactions, settings: SplitSettings | None = None, *, seed: int = 42
) -> Split:
    """Split a table by time or at random, as the settings say.

    Args:
        seed: of a random split; a split by time needs none.

    Raises:
        DataError: if a slice is empty, nothing in the test slice is warm, or there are no timestamps
            to split by.
    """
    settings = settings or SplitSettings()
    if settings.kind == "random":
        return split_at_random(interactions, settings, seed)
    return split_by_time(interactions, settings)


def split_by_time(interactions: Interactions, settings: SplitSettings | None = None) -> Split:
    """Cut at quantiles of all timestamps (linear interpolation; a row at the cut goes to the left).

    Rows with equal timestamps fall on the same side, so the split does not depend on the order of the rows.
    Duplicates are dropped after the cut: a later row must not change train.

    Raises:
        DataError: as for `split_interactions`.
    """
    settings = settings or SplitSettings()
    if not interactions.has_timestamps:
        found = f"found {', '.join(interactions.columns_found)}; " if interactions.columns_found else ""
        raise DataError(
            f"{interactions.source}: no timestamp column, so it cannot be split by time: {found}name one "
            "with `columns.timestamp`, or give `split.kind=random`"
        )
    frame = interactions.frame
    cuts = np.quantile(frame[TIMESTAMP].to_numpy(), _shares(settings))
    # Interpolation can put a quantile a hair below the timestamp it equals; rounding undoes that.
    first, second = (round(float(cut), 3) for cut in cuts)
    time = pl.col(TIMESTAMP)
    slices = (
        frame.filter(time <= first),
        frame.filter((time > first) & (time <= second)),
        frame.filter(time > second),
    )
    return _split(interactions, slices, "time", first, second)


def split_at_random(interactions: Interactions, settings: SplitSettings, seed: int) -> Split:
    """Assign rows to slices at random; the same seed assigns the same rows, whatever their order.

    The model then knows the future of every test user, so its figures are better than what it reaches in
    use; every table therefore names the split.

    Raises:
        DataError: as for `split_interactions`.
    """
    frame = interactions.frame.sort(interactions.frame.columns)
    order = np.random.default_rng(seed).permutation(len(frame))
    first, second = (round(len(frame) * share) for share in _shares(settings))
    slices = (frame[order[:first]], frame[order[first:second]], frame[order[second:]])
    return _split(interactions, slices, "random", None, None)


def latest_of_each_pair(frame: pl.DataFrame) -> pl.DataFrame:
    """Keep each pair of user and item once: its latest row, and within one second the higher rating.

    The result is ordered by user and item.
    """
    keys = [column for column in (USER, ITEM, TIMESTAMP, RATING) if column in frame.columns]
    return frame.sort(keys).unique([USER, ITEM], keep="last", maintain_order=True)


def warm_rows(frame: pl.DataFrame, train: pl.DataFrame) -> pl.DataFrame:
    """The warm rows: those whose user and item both occur in train."""
    users, items = train.select(USER).unique(), train.select(ITEM).unique()
    return frame.join(users, on=USER, how="semi", maintain_order="left").join(
        items, on=ITEM, how="semi", maintain_order="left"
    )


def _shares(settings: SplitSettings) -> tuple[float, float]:
    """The shares of the rows that lie before the first and the second cut."""
    after_train = 1 - settings.test_fraction - settings.validation_fraction
    return round(after_train, 12), round(1 - settings.test_fraction, 12)


def _split(
    interactions: Interactions,
    slices: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame],
    kind: SplitKind,
    validation_start: float | None,
    test_start: float | None,
) -> Split:
    train, validation, test = (latest_of_each_pair(part) for part in slices)
    counts = SplitCounts(
        train=len(slices[0]),
        validation=len(slices[1]),
        test=len(slices[2]),
        warm_validation=len(warm_rows(slices[1], train)),
        warm_test=len(warm_rows(slices[2], train)),
        users=train[USER].n_unique(),
        items=train[ITEM].n_unique(),
        test_users=warm_rows(test, train)[USER].n_unique(),
        duplicates=len(interactions) - len(train) - len(validation) - len(test),
    )
    _check(counts, interactions, kind, cold_test=_cold_rows(slices))
    return Split(train, validation, test, kind, validation_start, test_start, counts)


def _cold_rows(slices: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]) -> int:
    """Number of test rows by which a cold user can be judged: of a new user and an item of train."""
    train, validation, test = slices
    known = pl.concat([train.select(USER), validation.select(USER)]).unique()
    items = train.select(ITEM).unique()
    return test.join(known, on=USER, how="anti").join(items, on=ITEM, how="semi").height


def _check(counts: SplitCounts, interactions: Interactions, kind: SplitKind, cold_test: int) -> None:
    source, frame = interactions.source, interactions.frame
    sizes = f"train {counts.train}, validation {counts.validation}, test {counts.test} rows"
    advice = "give more data, or other `split.test_fraction` and `split.validation_fraction`"
    if not (counts.train and counts.validation and counts.test):
        if kind == "time" and frame[TIMESTAMP].n_unique() < 3:
            moments = "the same timestamp" if frame[TIMESTAMP].n_unique() == 1 else "one of two timestamps"
            raise DataError(
                f"{source}: all {len(frame):,} rows have {moments}, so they cannot be split by time "
                f"({sizes})",
                "name another column with `columns.timestamp`, or give `split.kind=random`",
            )
        raise DataError(f"{source}: the split leaves an empty slice ({sizes})", advice)
    if not counts.warm_validation or not (counts.warm_test or cold_test):
        raise DataError(
            f"{source}: no validation or test row has a user and an item that occur in train ({sizes}; "
            f"warm {counts.warm_validation} and {counts.warm_test}), so nothing can be measured",
            advice,
        )
