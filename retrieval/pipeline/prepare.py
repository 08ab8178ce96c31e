"""Prepares a build: checks the table, splits it, encodes the slices, refuses what cannot work."""

from dataclasses import replace

from index import EXACT, check_factory
from retrieval.data.encoded import EncodedInteractions
from retrieval.data.ids import IdMap
from retrieval.data.interactions import Interactions
from retrieval.data.reading.columns import ITEM, RATING, USER
from retrieval.data.split import Split
from retrieval.errors import DataError, UsageError
from retrieval.evaluation.cold_users import newcomers_of_test
from retrieval.evaluation.evaluated import EvaluationData
from retrieval.evaluation.funnel import outside_catalogue
from retrieval.pipeline.index_choice import AUTO
from retrieval.settings import BuildSettings

# Above this share of positive rows the threshold is probably meant for another scale.
MOST_POSITIVE = 0.9


def check_index(settings: BuildSettings, n_items: int) -> None:
    """Refuse an index string that cannot work on so many items: at once, not after the training.

    Raises:
        UsageError: with one that works.
    """
    if settings.index in (AUTO, EXACT):
        return
    try:
        check_factory(settings.index, n_items, settings.towers.dimension + 1)  # the bias is a column too
    except ValueError as error:
        raise UsageError(f"`index`: {error}") from error


def encode_split(split: Split, users: IdMap, items: IdMap, name: str, threshold: float) -> EvaluationData:
    """The three slices in the rows of train's users and items; what train does not know is left out."""
    train, validation, test = (
        EncodedInteractions.from_frame(frame, users, items)
        for frame in (split.train, split.validation, split.test)
    )
    outside = outside_catalogue(split.test, users, items, threshold)
    newcomers = newcomers_of_test(split.test, split.validation, users, items, threshold)
    return EvaluationData(
        name, train, validation, test, split.counts, threshold, split.kind, outside, newcomers
    )


def usable(interactions: Interactions, threshold: float) -> tuple[Interactions, list[str]]:
    """The table, without ratings that say nothing, and what to know of them; whole sentences.

    Raises:
        DataError: if there is one user or one item only, or no rating is a positive one.
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
