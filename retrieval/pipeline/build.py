"""The main job: split, fit on train, choose alpha, evaluate, refit on everything."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from index import OperatingPoint, faiss_threads
from retrieval.data.encoded import ids_of
from retrieval.data.interactions import Interactions
from retrieval.data.split import Split, split_interactions
from retrieval.errors import DataError
from retrieval.evaluation.baselines import BaselineSet
from retrieval.evaluation.choices import BlendChoice, IndexChoice
from retrieval.evaluation.evaluate import evaluate
from retrieval.evaluation.evaluated import Evaluated
from retrieval.evaluation.report import Report
from retrieval.evaluation.validation import CHOICE_K, ValidationLists
from retrieval.pipeline.blend_weights import choose_alpha, choose_newcomer_alpha
from retrieval.pipeline.fit import Fitted, Fitting
from retrieval.pipeline.index_choice import choose_index, same_index
from retrieval.pipeline.prepare import _nothing_to_choose_by, check_index, encode_split, usable
from retrieval.pipeline.tuning import tune
from retrieval.pipeline.tuning_trials import require_optuna
from retrieval.progress import Progress, Silent
from retrieval.serving.fitted_system import FittedSystem
from retrieval.serving.rerank import NO_RERANKING
from retrieval.serving.two_stage import TwoStageModel
from retrieval.settings import BuildSettings
from retrieval.training.checkpoint_key import checkpoint_key
from retrieval.training.checkpoints import Checkpoints
from retrieval.training.curves import TrainingHistory, training_curves
from retrieval.training.device import borrowed_torch, choose_device

if TYPE_CHECKING:
    from retrieval.data.items import ItemTable
    from retrieval.data.users import UserTable


@dataclass(frozen=True)
class Build:
    """What a build leaves behind, in memory.

    Attributes:
        name: of the data set.
        digest: of the interactions, see `Interactions.digest`.
        evaluated: fitted on train; every figure of the report is its.
        served: fitted on all interactions, or `evaluated` itself without a refit.
        evaluation: `evaluated` with all that it is judged by.
        index: how the index was chosen.
        served_operating_points: recall and latency of the settings that the served one was set by.
        validation_ndcg: shape (q,), float64: NDCG@10 of what `evaluated` lists for each warm user of
            validation who has a relevant item there.
    """

    name: str
    digest: str
    settings: BuildSettings
    split: Split
    items: "ItemTable | None"
    users: "UserTable | None"
    evaluated: FittedSystem
    served: FittedSystem
    evaluation: Evaluated
    report: Report
    towers: tuple[TrainingHistory, ...]
    neural_mf: TrainingHistory | None
    index: IndexChoice
    served_operating_points: tuple[OperatingPoint, ...]
    validation_ndcg: NDArray[np.float64]

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
    users: "UserTable | None" = None,
    settings: BuildSettings | None = None,
    progress: Progress | None = None,
    name: str | None = None,
    notes: Sequence[str] = (),
    trials: Path | None = None,
    checkpoints: Path | None = None,
    resume: bool = False,
) -> Build:
    """Run the main job.

    Args:
        items: titles and categories, where there are any.
        users: what is known of the users, where anything is.
        name: of the data set, for the report; the interactions' source unless given.
        notes: what else to know of the table, told once it has proved usable.
        trials: folder where a search over settings keeps what it tried, and goes on from; None: nowhere.
        checkpoints: folder where the state of the training is kept, until whoever saves the build removes it;
            None: nowhere.
        resume: go on from what is there, to the weights of a build that ran through; else it is removed.

    Raises:
        DataError: if the data cannot be split or trained on.
        UsageError: if the index string cannot work on this data, or the checkpoints are of another build.
        EnvironmentProblem: if the device is not there, or what a search needs, or nothing can be kept.
        ArtifactError: if what a search kept is damaged, or a checkpoint to go on from.
    """
    settings, progress = settings or BuildSettings(), progress or Silent()
    fitting = Fitting(settings, items, progress, choose_device(settings.device), users)
    threshold = settings.positive_threshold
    if settings.tune is not None:
        require_optuna()
    table, own_notes = usable(interactions, threshold)
    with borrowed_torch(settings.resolved_threads, fitting.device), faiss_threads(settings.resolved_threads):
        progress.phase("Splitting at random" if settings.split.kind == "random" else "Splitting by time")
        split = split_interactions(table, settings.split, seed=settings.seed)
        users_of_train, items_of_train = ids_of(split.train)
        data = encode_split(split, users_of_train, items_of_train, name or interactions.source, threshold)
        lists = ValidationLists.of(
            data.train, data.validation, split.validation, users_of_train, items_of_train, threshold
        )
        if not (lists.warm.n_relevant > 0).any():
            raise DataError(_nothing_to_choose_by(table, threshold))
        check_index(settings, len(items_of_train))
        digest = interactions.digest()
        if checkpoints is not None:
            key = checkpoint_key(digest, items, users, settings, fitting.device)
            kept = Checkpoints.open(checkpoints, key, progress, resume=resume)
            fitting = replace(fitting, checkpoints=kept)
        for note in (*notes, *own_notes):  # not before: a refusal is one line
            progress.note(f"{name or interactions.source}: {note}")
        progress.phase("Fitting the baselines")
        baselines = BaselineSet.choose(data.train, lists.warm, threshold, CHOICE_K)
        fitting, tuning = tune(
            fitting,
            data.train,
            users_of_train,
            items_of_train,
            lists,
            (split.train, split.validation),
            trials,
        )
        fitted = fitting.on_train(data, users_of_train, items_of_train, lists, baselines.window)
        evaluated, alpha = fitted.system, None
        if fitted.system.model.rating_model is not None:
            progress.phase("Weighing the re-ranker on validation")
            alpha = choose_alphas(fitted.system.model, lists)
            evaluated = with_alphas(fitted.system, alpha)
        progress.phase("Measuring indexes and choosing one")
        model, index = choose_index(evaluated.model, settings, lists, progress)
        evaluated = replace(evaluated, model=model)
        progress.phase("Evaluating on the test slice")
        curves = training_curves(fitted.towers, fitted.neural_mf)
        evaluation = Evaluated(model, data, baselines, alpha, curves, tuning, index)
        report = evaluate(evaluation, CHOICE_K)
        served, served_points = evaluated, index.points
        if settings.refit:
            served, served_points = refit(fitting, table, fitted, alpha, index, baselines.window)
    return Build(
        name=data.dataset,
        digest=digest,
        settings=fitting.settings,
        split=split,
        items=items,
        users=users,
        evaluated=evaluated,
        served=served,
        evaluation=evaluation,
        report=report,
        towers=fitted.towers,
        neural_mf=fitted.neural_mf,
        index=index,
        served_operating_points=served_points,
        validation_ndcg=lists.served_ndcg(model),
    )


def refit(
    fitting: Fitting,
    table: Interactions,
    fitted: Fitted,
    alpha: BlendChoice | None,
    index: IndexChoice,
    window: float | None,
) -> tuple[FittedSystem, tuple[OperatingPoint, ...]]:
    """What was fitted on train and chosen for it, once more on all interactions; and its operating points.

    Args:
        window: share of the positives that counts as recent, as chosen on validation.
    """
    neural_mf = fitted.neural_mf.epochs if fitted.neural_mf else None
    epochs = (tuple(member.epochs for member in fitted.towers), neural_mf)
    system = with_alphas(fitting.on_everything(table, epochs, window).system, alpha)
    fitting.progress.phase("Building the index")
    model, points = same_index(system.model, index, fitting.settings)
    return replace(system, model=model), points


def choose_alphas(model: TwoStageModel, lists: ValidationLists) -> BlendChoice:
    """How much the predicted rating weighs for users the models know, and for newcomers."""
    choice = choose_alpha(model, lists.stretches, CHOICE_K)
    if model.vectors.history_items is None or not lists.newcomers:
        return choice
    return replace(choice, newcomers=choose_newcomer_alpha(model, lists.newcomers, CHOICE_K))


def with_alphas(system: FittedSystem, choice: BlendChoice | None) -> FittedSystem:
    """The same system with these weights of the predicted rating; 0 where none was chosen."""
    weights = choice.weights if choice else NO_RERANKING
    return replace(system, model=replace(system.model, weights=weights))
