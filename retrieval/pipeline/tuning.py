"""The step of a build that searches settings of the towers: what it is given, where its trials are kept."""

import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from retrieval.data.encoded import EncodedInteractions
from retrieval.data.ids import IdMap
from retrieval.data.interactions import Interactions
from retrieval.data.side_features import SideFeatures
from retrieval.errors import ArtifactError, UsageError
from retrieval.evaluation.choices import TuningResult, described
from retrieval.evaluation.validation import CHOICE_K, ValidationLists
from retrieval.pipeline.fit import Fitting
from retrieval.pipeline.prepare import check_index
from retrieval.pipeline.tuning_search import DIMENSIONS, search_settings, searched_space
from retrieval.pipeline.tuning_trials import open_study, study_key
from retrieval.settings import BuildSettings
from retrieval.training.checkpoints import Saved

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SEARCH = "search for settings"  # the title of its checkpoint


def tune(
    fitting: Fitting,
    train: EncodedInteractions,
    users: IdMap,
    items: IdMap,
    lists: ValidationLists,
    slices: tuple[pl.DataFrame, pl.DataFrame],
    folder: Path | None,
) -> tuple[Fitting, TuningResult | None]:
    """The fitting with the settings that the search chose, and how; as it was where none is asked for.

    A build that goes on after its search takes what that chose: more minutes could choose otherwise.

    Args:
        slices: train and validation, by which trials of other data are told apart. Nothing here knows the
            test slice.
        folder: where the trials are kept, a file for each combination of data and settings; None: nowhere.

    Raises:
        DataError: if training breaks down with the settings as given.
        ArtifactError: if the file of the trials is damaged, or the checkpoint.
        EnvironmentProblem: if optuna is missing or the file cannot be written.
    """
    settings, plan = fitting.settings, fitting.settings.tune
    if plan is None:
        return fitting, None
    checkpoint = fitting.checkpoints.of(SEARCH)
    saved = checkpoint.read()
    if saved is not None:
        return _tuned(fitting, _result_in(saved))
    base = settings.towers
    space = searched_space(
        base,
        plan.held,
        has_times=train.timestamps is not None,
        dimensions=tuple(each for each in DIMENSIONS if _index_takes(settings, each, len(items))),
    )
    path = folder and folder / f"{_key(fitting, users, items, slices, space)}.log"
    with open_study(path) as study:
        if study.tried:
            fitting.progress.note(f"tuning goes on after {study.tried:,} trials: {path}")
        _, result = search_settings(
            fitting.judge(train, users, items, lists),
            base,
            plan,
            space,
            study,
            fitting.progress,
            seed=settings.seed,
            k=CHOICE_K,
        )
    checkpoint.save(None, {}, {"result": result.to_json()})
    return _tuned(fitting, result)


def _tuned(fitting: Fitting, result: TuningResult) -> tuple[Fitting, TuningResult]:
    """The fitting with what was chosen, which is said."""
    fitting.progress.note(f"tuning: {_outcome(result)}")
    towers = fitting.settings.towers
    if result.is_chosen:
        towers = replace(towers, **result.settings)
    return replace(fitting, settings=replace(fitting.settings, towers=towers)), result


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
    """Whether towers of this dimension go into the index that was asked for."""
    try:
        check_index(replace(settings, towers=replace(settings.towers, dimension=dimension)), n_items)
    except UsageError:
        return False
    return True


def _key(
    fitting: Fitting,
    users: IdMap,
    items: IdMap,
    slices: tuple[pl.DataFrame, pl.DataFrame],
    space: "dict[str, BaseDistribution]",
) -> str:
    """One for the same data, first settings and search: trials of another build are no trials of this."""
    from optuna.distributions import distribution_to_json

    settings, features = fitting.settings, fitting.tower_features(users, items)
    return study_key(
        [Interactions(each, "").digest() for each in slices],
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
