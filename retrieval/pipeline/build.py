"""The main job of the project, step by step: prepare, fit, choose, evaluate, refit."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from index import OperatingPoint, faiss_threads
from retrieval.data.interactions import Interactions
from retrieval.data.split import Split
from retrieval.errors import memory_named
from retrieval.evaluation.choices import IndexChoice
from retrieval.evaluation.evaluate import evaluate
from retrieval.evaluation.evaluated import Evaluated
from retrieval.evaluation.report import Report
from retrieval.evaluation.validation import CHOICE_K
from retrieval.pipeline.choose import Chosen, choose
from retrieval.pipeline.fit import FittedOnTrain, fit
from retrieval.pipeline.prepare import Prepared, prepare
from retrieval.pipeline.refit import refit
from retrieval.pipeline.trainer import Trainer
from retrieval.pipeline.tuning_trials import require_optuna
from retrieval.progress import Progress, Silent
from retrieval.serving.fitted_system import FittedSystem
from retrieval.settings import BuildSettings
from retrieval.training.checkpoint_key import checkpoint_key
from retrieval.training.checkpoints import NOWHERE, Checkpoints
from retrieval.training.curves import TrainingHistory, training_curves
from retrieval.training.device import borrowed_torch, choose_device

if TYPE_CHECKING:
    from retrieval.data.items import ItemTable
    from retrieval.data.users import UserTable

_LESS_MEMORY = (
    "free some, or lower `towers.dimension`, `threads` or the rows; `ease=False` leaves out what grows with "
    "the square of the catalogue"
)


@dataclass(frozen=True)
class Build:
    """The result of a build, in memory.

    Attributes:
        name: of the data set.
        digest: of the interactions, see `Interactions.digest`.
        settings: with the towers' settings that a search chose, if there was one.
        evaluated: the system fitted on train; every figure of the report is measured on it.
        served: the system fitted on all interactions; `evaluated` itself without a refit.
        evaluation: `evaluated` with its data, its baselines and the choices it rests on.
        towers: training history of each member, on train.
        neural_mf: likewise; None where there are no ratings.
        index: how the index was chosen.
        served_operating_points: recall and latency of the settings that the served index was set by.
        validation_ndcg: shape (q,), float64: NDCG@10 of the lists of `evaluated` for each warm validation
            user with a relevant item.
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
        """The served users as a table: user, interactions."""
        counts = self.served.model.seen.lengths()
        return pl.DataFrame({"user": self.served.users.ids, "interactions": counts})

    def item_table(self) -> pl.DataFrame:
        """The served items as a table: item, title, genres, interactions."""
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
    """Run the main job: prepare -> fit -> choose -> evaluate -> refit.

    Args:
        items: titles and categories, where there are any.
        users: what is known of the users, where anything is.
        name: of the data set, for the report; the interactions' source unless given.
        notes: more notes on the table; all notes are told once the table has proved usable, and the report
            has them.
        trials: folder where a search over settings keeps its trials and goes on from them; None: nowhere.
        checkpoints: folder where the state of the training is kept; whoever saves the build removes it.
            None: nowhere.
        resume: go on from the checkpoints there, to the same weights as an uninterrupted build; otherwise
            they are removed.

    Raises:
        DataError: if the data cannot be split or trained on.
        UsageError: if the index string cannot work on this data, or the checkpoints are of another build.
        EnvironmentProblem: if the device or optuna is missing, memory is short, or a file cannot be written.
        ArtifactError: if the trials of an earlier search, or a checkpoint to go on from, are damaged.
    """
    settings, progress = settings or BuildSettings(), progress or Silent()
    name, threads = name or interactions.source, settings.resolved_threads
    device = choose_device(settings.device)
    if settings.tune is not None:
        require_optuna()
    with memory_named(_LESS_MEMORY), borrowed_torch(threads, device), faiss_threads(threads):
        prepared = prepare(interactions, settings, name, progress)
        kept = NOWHERE
        if checkpoints is not None:
            key = checkpoint_key(prepared.digest, items, users, settings, device)
            kept = Checkpoints.open(checkpoints, key, progress, resume=resume)
        notes = (*notes, *prepared.notes)
        for note in notes:  # only now: a refusal is one line
            progress.note(f"{name}: {note}")
        trainer = Trainer(settings, items, users, device, progress, kept)
        fitted = fit(trainer, prepared.training, trials)
        chosen = choose(fitted, prepared.training)
        evaluation, report = evaluate_on_test(prepared, fitted, chosen, notes)
        served = refit(fitted, chosen, prepared.table)
    return Build(
        name=name,
        digest=prepared.digest,
        settings=fitted.trainer.settings,
        split=prepared.split,
        items=items,
        users=users,
        evaluated=chosen.system,
        served=served.system,
        evaluation=evaluation,
        report=report,
        towers=fitted.models.towers,
        neural_mf=fitted.models.neural_mf,
        index=chosen.index,
        served_operating_points=served.operating_points,
        validation_ndcg=prepared.training.lists.served_ndcg(chosen.system.model),
    )


def evaluate_on_test(
    prepared: Prepared, fitted: FittedOnTrain, chosen: Chosen, notes: Sequence[str] = ()
) -> tuple[Evaluated, Report]:
    """Fourth step of a build: the first and only look at the test slice, and the report on it.

    Args:
        notes: on the tables, for the report.
    """
    fitted.trainer.progress.phase("Evaluating on the test slice")
    models = fitted.models
    evaluation = Evaluated(
        model=chosen.system.model,
        data=prepared.evaluation,
        baselines=fitted.baselines,
        blend=chosen.weights,
        training=training_curves(models.towers, models.neural_mf),
        tuning=fitted.search,
        index=chosen.index,
        notes=tuple(notes),
    )
    return evaluation, evaluate(evaluation, CHOICE_K)
