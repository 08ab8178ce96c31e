"""The main job: split, fit on train, choose alpha, evaluate, refit on everything."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from index import OperatingPoint, faiss_threads
from retrieval.alpha import choose_alpha
from retrieval.baselines import BaselineSet
from retrieval.encoded import EncodedInteractions
from retrieval.errors import DataError
from retrieval.evaluation import Evaluated, EvaluationData, evaluate
from retrieval.fitted import FittedSystem
from retrieval.fitting import CHOICE_K, Fitting, TrainingHistory, check_index, ids_of
from retrieval.ids import IdMap
from retrieval.interactions import Interactions
from retrieval.judgements import Judgements
from retrieval.progress import Progress, Silent
from retrieval.report import Report
from retrieval.settings import BuildSettings
from retrieval.split import TemporalSplit, split_by_time
from retrieval.training import borrowed_torch, choose_device

if TYPE_CHECKING:
    from retrieval.items import ItemTable


@dataclass(frozen=True)
class Build:
    """What a build leaves behind, in memory.

    Attributes:
        name: of the data set.
        digest: of the interactions, see `Interactions.digest`.
        evaluated: fitted on train; every figure of the report is its.
        served: fitted on all interactions, or `evaluated` itself without a refit.
        operating_points, served_operating_points: recall and latency of the settings the two indexes
            were tuned over.
    """

    name: str
    digest: str
    settings: BuildSettings
    split: TemporalSplit
    items: "ItemTable | None"
    evaluated: FittedSystem
    served: FittedSystem
    report: Report
    towers: TrainingHistory
    neural_mf: TrainingHistory
    operating_points: tuple[OperatingPoint, ...]
    served_operating_points: tuple[OperatingPoint, ...]

    def user_table(self) -> pl.DataFrame:
        """The served users, for people: user, interactions."""
        counts = self.served.model.seen.lengths()
        return pl.DataFrame({"user": self.served.users.ids, "interactions": counts})

    def item_table(self) -> pl.DataFrame:
        """The served items, for people: item, title, genres, interactions."""
        items, seen = self.served.items, self.served.model.seen
        genres = [[] for _ in items.ids] if self.items is None else self.items.genres_for(items.ids)
        return pl.DataFrame(
            {
                "item": items.ids,
                "title": self.served.titles,
                "genres": pl.Series(genres, dtype=pl.List(pl.String)),
                "interactions": np.bincount(seen.items, minlength=len(items)),
            }
        )


def build(
    interactions: Interactions,
    *,
    items: "ItemTable | None" = None,
    settings: BuildSettings | None = None,
    progress: Progress | None = None,
    name: str | None = None,
) -> Build:
    """Run the main job.

    Args:
        items: titles, where there are any.
        name: of the data set, for the report; the interactions' source unless given.

    Raises:
        DataError: if the data cannot be split or trained on.
        UsageError: if the index string cannot work on this data.
        EnvironmentProblem: if the device is not there.
    """
    settings, progress = settings or BuildSettings(), progress or Silent()
    fitting = Fitting(settings, items, progress, choose_device(settings.device))
    threshold = settings.positive_threshold
    with borrowed_torch(settings.resolved_threads), faiss_threads(settings.resolved_threads):
        progress.phase("Splitting by time")
        split = split_by_time(interactions, settings.split)
        users, items_of_train = ids_of(split.train)
        data = encode_split(split, users, items_of_train, name or interactions.source, threshold)
        validation = Judgements.of(data.validation, data.train, threshold)
        if not (validation.n_relevant > 0).any():
            raise DataError(
                f"{interactions.source}: no warm validation row is rated {threshold:g} or more for a pair "
                "that train does not have, so nothing can be chosen; lower --positive-threshold or raise "
                "--validation-fraction"
            )
        check_index(settings, len(items_of_train))
        fitted = fitting.on_train(data.train, users, items_of_train, validation, data.validation)
        progress.phase("Weighing the re-ranker on validation")
        alpha = choose_alpha(fitted.system.model, validation, CHOICE_K)
        evaluated = with_alpha(fitted.system, alpha.alpha)
        progress.phase("Fitting the baselines")
        baselines = BaselineSet.choose(data.train, validation, threshold, CHOICE_K)
        progress.phase("Evaluating on the test slice")
        report = evaluate(Evaluated(evaluated.model, data, baselines, alpha), CHOICE_K)
        served, served_points = evaluated, fitted.operating_points
        if settings.refit:
            refitted = fitting.on_everything(interactions, fitted.towers.epochs, fitted.neural_mf.epochs)
            served = with_alpha(refitted.system, alpha.alpha)
            served_points = refitted.operating_points
    return Build(
        name=data.dataset,
        digest=interactions.digest(),
        settings=settings,
        split=split,
        items=items,
        evaluated=evaluated,
        served=served,
        report=report,
        towers=fitted.towers,
        neural_mf=fitted.neural_mf,
        operating_points=fitted.operating_points,
        served_operating_points=served_points,
    )


def encode_split(
    split: TemporalSplit, users: IdMap, items: IdMap, name: str, threshold: float
) -> EvaluationData:
    """The three slices in the rows of train's users and items; what train does not know is left out."""
    train, validation, test = (
        EncodedInteractions.from_frame(frame, users, items)
        for frame in (split.train, split.validation, split.test)
    )
    return EvaluationData(name, train, validation, test, split.counts, threshold)


def with_alpha(system: FittedSystem, alpha: float) -> FittedSystem:
    """The same system with another weight of the predicted rating."""
    return replace(system, model=replace(system.model, alpha=alpha))
