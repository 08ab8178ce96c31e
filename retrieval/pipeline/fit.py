"""Second step of a build: fit the baselines, search settings if asked for, fit both models on train."""

from dataclasses import dataclass, replace
from pathlib import Path

from retrieval.evaluation.baselines import BaselineSet
from retrieval.evaluation.choices import TuningResult
from retrieval.evaluation.validation import CHOICE_K
from retrieval.machine import memory_left
from retrieval.pipeline.prepare import TrainingData
from retrieval.pipeline.trainer import FittedModels, Trainer
from retrieval.pipeline.tuning import tune_towers
from retrieval.training.linear_models import EASE_MAX_ITEMS, ease_bytes


@dataclass(frozen=True)
class FittedOnTrain:
    """Everything fitted on train.

    Attributes:
        trainer: the trainer with the settings that were used; the refit uses it again.
        baselines: what the models are compared with.
        models: the towers and NeuralMF.
        search: the outcome of the search for settings; None where none was asked for.
    """

    trainer: Trainer
    baselines: BaselineSet
    models: FittedModels
    search: TuningResult | None


def fit(trainer: Trainer, training: TrainingData, trials: Path | None) -> FittedOnTrain:
    """Fit baselines and models on train; validation stops the training and chooses the settings.

    Args:
        trials: folder for the trials of a search over settings; None keeps them in memory.

    Raises:
        DataError: if training breaks down.
        ArtifactError: if the trials of an earlier search, or a checkpoint, are damaged.
        EnvironmentProblem: if a trial or a checkpoint cannot be written.
    """
    trainer = _without_ease_where_memory_is_short(trainer, training.train.n_items)
    trainer.progress.phase("Fitting the baselines")
    threshold, with_ease = trainer.settings.positive_threshold, trainer.settings.ease
    baselines = BaselineSet.choose(
        training.train, training.lists.warm, threshold, CHOICE_K, with_ease=with_ease
    )
    towers, search = tune_towers(trainer, training, trials)
    tuned = trainer.with_towers(towers)
    models = tuned.on_train(training, baselines.window)
    return FittedOnTrain(trainer=tuned, baselines=baselines, models=models, search=search)


def _without_ease_where_memory_is_short(trainer: Trainer, n_items: int) -> Trainer:
    """The trainer; with `ease=False` and a note where fitting EASE would take more memory than is left."""
    needed, left = ease_bytes(n_items), memory_left()
    if not trainer.settings.ease or n_items > EASE_MAX_ITEMS or left is None or needed <= left:
        return trainer
    trainer.progress.note(
        f"EASE is left out, and the towers start without it: with {n_items:,} items it takes "
        f"{needed / 2**20:,.0f} MiB of memory, and {left / 2**20:,.0f} MiB are left; free some to have it"
    )
    return replace(trainer, settings=replace(trainer.settings, ease=False))
