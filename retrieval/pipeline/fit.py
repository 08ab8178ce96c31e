"""Second step of a build: fit the baselines, search settings if asked for, fit both models on train."""

from dataclasses import dataclass
from pathlib import Path

from retrieval.evaluation.baselines import BaselineSet
from retrieval.evaluation.choices import TuningResult
from retrieval.evaluation.validation import CHOICE_K
from retrieval.pipeline.prepare import TrainingData
from retrieval.pipeline.trainer import FittedModels, Trainer
from retrieval.pipeline.tuning import tune_towers


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
    trainer.progress.phase("Fitting the baselines")
    threshold = trainer.settings.positive_threshold
    baselines = BaselineSet.choose(training.train, training.lists.warm, threshold, CHOICE_K)
    towers, search = tune_towers(trainer, training, trials)
    tuned = trainer.with_towers(towers)
    models = tuned.on_train(training, baselines.window)
    return FittedOnTrain(trainer=tuned, baselines=baselines, models=models, search=search)
