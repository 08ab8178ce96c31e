"""Searches better settings of the towers within a build: trials in a file, outcome in a checkpoint."""

import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.data.interactions import Interactions
from retrieval.data.side_features import SideFeatures
from retrieval.errors import ArtifactError, UsageError
from retrieval.evaluation.choices import TuningResult, described
from retrieval.evaluation.validation import CHOICE_K
from retrieval.pipeline.prepare import TrainingData, check_index
from retrieval.pipeline.trainer import Trainer
from retrieval.pipeline.tuning_search import DIMENSIONS, search_settings, searched_space
from retrieval.pipeline.tuning_trials import open_study, study_key
from retrieval.settings import BuildSettings, TowerSettings, TuneSettings
from retrieval.training.checkpoints import Saved

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SEARCH = "search for settings"  # the title of its checkpoint


def tune_towers(
    trainer: Trainer, training: TrainingData, folder: Path | None
) -> tuple[TowerSettings, TuningResult | None]:
    """The settings of the towers to build with, and the outcome of the search that chose them.

    Without a search, these are the trainer's own settings. A resumed build whose search had finished takes
    the outcome from its checkpoint: more minutes could choose other settings.

    Args:
        folder: keeps the trials, one file for each combination of data, settings and search space; None:
            they are kept in memory.

    Raises:
        DataError: if training breaks down with the settings as given.
        ArtifactError: if the file of the trials, or the checkpoint, is damaged.
        EnvironmentProblem: if optuna is missing or a file cannot be written.
    """
    plan, base = trainer.settings.tune, trainer.settings.towers
    if plan is None:
        return base, None
    checkpoint = trainer.checkpoints.of(SEARCH)
    saved = checkpoint.read()
    result = _search(trainer, training, plan, folder) if saved is None else _result_in(saved)
    if saved is None:
        checkpoint.save(None, {}, {"result": result.to_json()})
    trainer.progress.note(f"tuning: {_outcome(result)}")
    return (replace(base, **result.settings) if result.is_chosen else base), result


def _search(
    trainer: Trainer, training: TrainingData, plan: TuneSettings, folder: Path | None
) -> TuningResult:
    settings, base = trainer.settings, trainer.settings.towers
    dimensions = tuple(each for each in DIMENSIONS if _index_takes(settings, each, len(training.items)))
    has_times = training.train.timestamps is not None
    space = searched_space(base, plan.held, has_times=has_times, dimensions=dimensions)
    path = folder and folder / f"{_key(trainer, training, space)}.log"
    with open_study(path) as study:
        if study.tried:
            trainer.progress.note(f"tuning goes on after {study.tried:,} trials: {path}")
        _, result = search_settings(
            trainer.tower_trial(training),
            base,
            plan,
            space,
            study,
            trainer.progress,
            seed=settings.seed,
            k=CHOICE_K,
        )
    return result


def _result_in(saved: Saved) -> TuningResult:
    try:
        return TuningResult.from_json(saved.document["result"])
    except (KeyError, TypeError) as error:
        raise ArtifactError(
            f"{saved.path}: not the outcome of a search", "delete it, or build without `resume`"
        ) from error


def _outcome(result: TuningResult) -> str:
    if result.best is None or result.gain is None:
        return f"trials: {result.trials:,}, and none but the settings as given came to its end; they stay"
    interval = f"95% interval {result.gain.low:+.4f} to {result.gain.high:+.4f}"
    gain = f"{result.gain.value:+.4f} NDCG@{result.k} on validation ({interval}, {result.trials:,} trials)"
    if result.is_chosen:
        return f"{gain} by {described(result.settings)}"
    return f"the best gain is {gain}, no more than its standard error; the settings stay as given"


def _index_takes(settings: BuildSettings, dimension: int, n_items: int) -> bool:
    """Whether vectors of this dimension fit the index string of the settings."""
    try:
        check_index(replace(settings, towers=replace(settings.towers, dimension=dimension)), n_items)
    except UsageError:
        return False
    return True


def _key(trainer: Trainer, training: TrainingData, space: "dict[str, BaseDistribution]") -> str:
    """Cache key: builds with the same data, settings and search space share trials."""
    from optuna.distributions import distribution_to_json

    settings = trainer.settings
    features = trainer.tower_features(training.users, training.items)
    return study_key(
        [Interactions(each, "").digest() for each in training.slices],
        [_digest(each) for each in (features.items, features.users)],
        settings.positive_threshold,
        settings.seed,
        asdict(settings.towers),
        {name: distribution_to_json(each) for name, each in space.items()},
    )


def _digest(features: SideFeatures | None) -> str | None:
    if features is None:
        return None
    arrays = (features.lists.indptr, features.lists.items)
    names = "\n".join(features.names).encode()
    return hashlib.sha256(b"\0".join([names, *(each.tobytes() for each in arrays)])).hexdigest()
