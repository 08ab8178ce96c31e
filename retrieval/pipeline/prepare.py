"""First step of a build: check the table, split it, encode the slices, refuse what cannot work."""

from dataclasses import dataclass, replace

import polars as pl

from index import EXACT, check_factory
from retrieval.data.encoded import EncodedInteractions, ids_of
from retrieval.data.ids import IdMap
from retrieval.data.interactions import Interactions
from retrieval.data.reading.columns import ITEM, RATING, USER
from retrieval.data.split import Split, split_interactions
from retrieval.errors import DataError, UsageError
from retrieval.evaluation.evaluated import EvaluationData
from retrieval.evaluation.validation import ValidationLists
from retrieval.pipeline.index_choice import AUTO
from retrieval.progress import Progress
from retrieval.settings import BuildSettings

# Above this share of positive rows the threshold was probably meant for another rating scale.
MOST_POSITIVE = 0.9


@dataclass(frozen=True)
class TrainingData:
    """The train and validation slices: all that fitting and choosing may see. The test slice is not here.

    Attributes:
        train: all rows of train.
        validation: the warm rows of validation.
        users, items: row numbers of the ids in train.
        lists: the validation users and their relevant items.
        slices: train and validation as tables of ids, cold rows included.
    """

    train: EncodedInteractions
    validation: EncodedInteractions
    users: IdMap
    items: IdMap
    lists: ValidationLists
    slices: tuple[pl.DataFrame, pl.DataFrame]


@dataclass(frozen=True)
class Prepared:
    """The data of a build: checked, split and encoded.

    Attributes:
        table: all interactions that can be used.
        notes: what the user should know about the table, in whole sentences.
        digest: of the interactions as they were given, see `Interactions.digest`.
        split: the three slices as tables of ids.
        training: train and validation, for fitting and choosing.
        evaluation: all three slices, for the evaluation alone.
    """

    table: Interactions
    notes: tuple[str, ...]
    digest: str
    split: Split
    training: TrainingData
    evaluation: EvaluationData


def prepare(interactions: Interactions, settings: BuildSettings, name: str, progress: Progress) -> Prepared:
    """Check, split and encode the interactions of a build.

    Args:
        name: of the data set, for the report.

    Raises:
        DataError: if the data cannot be split, learned from or chosen by.
        UsageError: if the index string cannot work on this catalogue.
    """
    threshold = settings.positive_threshold
    table, notes = usable(interactions, threshold)
    progress.phase("Splitting at random" if settings.split.kind == "random" else "Splitting by time")
    split = split_interactions(table, settings.split, seed=settings.seed)
    users, items = ids_of(split.train)
    data = EvaluationData.of(name, split, users, items, threshold)
    lists = ValidationLists.of(data.train, data.validation, split.validation, users, items, threshold)
    if not (lists.warm.n_relevant > 0).any():
        raise DataError(_nothing_to_choose_by(table, threshold))
    if not split.counts.warm_test and not data.newcomers:
        raise DataError(
            f"{table.source}: no test user is known to train, and no test row of a new user is rated "
            f"{threshold:g} or more, so nothing can be measured",
            "lower `positive_threshold`, or raise `split.test_fraction`",
        )
    check_index(settings, len(items))
    training = TrainingData(
        train=data.train,
        validation=data.validation,
        users=users,
        items=items,
        lists=lists,
        slices=(split.train, split.validation),
    )
    return Prepared(
        table=table,
        notes=tuple(notes),
        digest=interactions.digest(),
        split=split,
        training=training,
        evaluation=data,
    )


def check_index(settings: BuildSettings, n_items: int) -> None:
    """Refuse an index string that cannot work on so many items, before any training.

    Raises:
        UsageError: with a string that works.
    """
    if settings.index in (AUTO, EXACT):
        return
    try:
        check_factory(settings.index, n_items, settings.towers.dimension + 1)  # the bias is a column too
    except ValueError as error:
        raise UsageError(f"`index`: {error}") from error


def usable(interactions: Interactions, threshold: float) -> tuple[Interactions, list[str]]:
    """The table without ratings that are all equal, and notes on it in whole sentences.

    Raises:
        DataError: if there is one user or one item only, or no rating is positive.
    """
    for column in (USER, ITEM):
        ids = interactions.frame[column]
        if ids.n_unique() == 1:
            raise DataError(
                f"{interactions.source}: all {len(ids):,} rows are of one {column}, {ids[0]!r}, so there is "
                "nothing to learn",
                f"give more data, or name another column with `columns.{column}`",
            )
    if not interactions.has_ratings:
        return interactions, []
    ratings = interactions.frame[RATING].to_numpy()
    low, high = float(ratings.min()), float(ratings.max())
    if low == high:
        return replace(interactions, frame=interactions.frame.drop(RATING)), [
            f"every rating is {low:g}, so they are left out: every row counts as a positive, and there is no "
            "NeuralMF and no re-ranking"
        ]
    share = float((ratings >= threshold).mean())
    scale = f"the ratings go from {low:g} to {high:g}"
    if not share:
        raise DataError(
            f"{interactions.source}: no rating is {threshold:g} or more, so there is nothing to learn from: "
            f"{scale}",
            "set `positive_threshold`",
        )
    if share > MOST_POSITIVE:
        return interactions, [
            f"{share:.0%} of the rows are positive (rated {threshold:g} or more): {scale}; should "
            "`positive_threshold` be higher?"
        ]
    return interactions, []


def _nothing_to_choose_by(table: Interactions, threshold: float) -> str:
    if not table.has_ratings:
        return (
            f"{table.source}: every warm validation row is a pair that train has already, so nothing can be "
            "chosen; raise `split.validation_fraction` or give more data"
        )
    return (
        f"{table.source}: no warm validation row is rated {threshold:g} or more for a pair that train does "
        "not have, so nothing can be chosen; lower `positive_threshold` or raise `split.validation_fraction`"
    )
