"""Searches the few settings of the towers that matter most, by NDCG on validation."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from index import standard_error
from retrieval.arrays import MetricValues
from retrieval.errors import DataError
from retrieval.evaluation.choices import TuningResult, described
from retrieval.evaluation.uncertainty import mean_estimate
from retrieval.pipeline.epoch_progress import OnMemberEpoch, tell_member_epochs
from retrieval.progress import Progress
from retrieval.settings import LARGEST_COUNT, TowerSettings, TuneSettings
from retrieval.training.curves import EpochRecord

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution

    from retrieval.pipeline.tuning_trials import Study

# Trains towers with these settings and returns their NDCG on validation, one value for each list.
TowerTrial = Callable[[TowerSettings, OnMemberEpoch], MetricValues]

HALF_LIVES = (10.0, 30.0, 90.0, 365.0, None)
DIMENSIONS = (32, 64, 128)
RATES, L2S = (1e-3, 3e-2), (1e-4, 1e-1)
# Factors on the default number of negatives.
NEGATIVES = (0.25, 0.5, 1, 2, 4)


class Pruned(Exception):
    """Stops a trial that falls behind the others."""


def searched_space(
    base: TowerSettings, held: tuple[str, ...], *, has_times: bool, dimensions: tuple[int, ...] = DIMENSIONS
) -> "dict[str, BaseDistribution]":
    """The search space, by the names of `TowerSettings`; every range includes the value of `base`.

    The space leaves out the settings that `held` names, settings without effect on these towers or this
    table, settings with one possible value, and an l2 of 0, which no logarithmic scale has.

    Args:
        has_times: whether the table has timestamps, so that recency weights have an effect.
        dimensions: the dimensions to choose from.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    def around(low: float, high: float, value: float, log: bool = False) -> "BaseDistribution":
        return FloatDistribution(min(low, value), max(high, value), log=log)

    def one_of(choices: "tuple[Any, ...]", value: Any) -> "BaseDistribution":
        return CategoricalDistribution(choices if value in choices else (*choices, value))

    negatives = tuple(
        dict.fromkeys(min(max(1, round(base.negatives * by)), LARGEST_COUNT) for by in NEGATIVES)
    )
    space = {
        "recency_half_life_days": one_of(HALF_LIVES, base.recency_half_life_days),
        "learning_rate": around(*RATES, base.learning_rate, log=True),
        "l2": around(*L2S, base.l2, log=True) if base.l2 > 0 else None,
        "parted_by_time": around(0.0, 1.0, base.parted_by_time),
        "short_histories": around(0.0, 1.0, base.short_histories),
        "negatives": one_of(negatives, base.negatives),
        "dimension": one_of(dimensions, base.dimension),
    }
    idle = set[str]()
    if not has_times:
        idle |= {"recency_half_life_days", "parted_by_time"}
    if base.user_tower == "id":
        idle |= {"parted_by_time", "short_histories"}
    if base.loss == "softmax":
        idle.add("negatives")
    idle |= {name for name, each in space.items() if each is None or each.single()}
    return {name: each for name, each in space.items() if each and name not in idle | set(held)}


def search_settings(
    run_trial: TowerTrial,
    base: TowerSettings,
    plan: TuneSettings,
    space: "dict[str, BaseDistribution]",
    study: "Study",
    progress: Progress,
    *,
    seed: int,
    k: int,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[TowerSettings, TuningResult]:
    """The settings to build with: `base`, or better ones where validation is sure of the gain.

    The search tries `base` first. Every trial trains all members of the towers, because that is what a
    build trains: joined members have less noise than one, and a dimension that is enough for one may be too
    small for all. A trial that falls behind the others stops before its first member is done.

    The best of many trials is partly luck: the search takes it only if its gain over `base`, paired by list
    and on the same seed, is larger than the standard error of the gain.

    Args:
        run_trial: sees train and validation only.
        plan: no trial starts after its minutes; a running one is finished.
        space: see `searched_space`.
        study: holds the trials of earlier searches, see `tuning_trials`.
        seed: of the proposals; a resumed search makes the same proposals as an uninterrupted one.

    Raises:
        DataError: if training breaks down with `base`.
    """
    search = _Search(run_trial, base, plan, space, study, progress, seed)
    deadline, ran = clock() + 60 * plan.minutes, 0
    earlier = study.tried
    if study.first is None:
        search.try_first()
        ran += 1
    while clock() < deadline and (plan.trials is None or ran < plan.trials) and space:
        search.try_next()
        ran += 1
    progress.phase("Comparing the best trial with the first")
    result = _result(study, plan, earlier, k)
    return (replace(base, **result.settings) if result.is_chosen else base), result


@dataclass(frozen=True)
class _Search:
    """Runs one trial after the other."""

    run_trial: TowerTrial
    base: TowerSettings
    plan: TuneSettings
    space: "dict[str, BaseDistribution]"
    study: "Study"
    progress: Progress
    seed: int

    def try_first(self) -> None:
        self._phase("the settings as given")
        curve: dict[int, float] = {}
        tell = tell_member_epochs(self.progress, self.base)

        def on_epoch(member: int, record: EpochRecord) -> None:
            tell(member, record)
            if member == 0 and record.validation is not None:
                curve[record.epoch] = record.validation

        values = self.run_trial(self.base, on_epoch)
        params = {name: getattr(self.base, name) for name in self.space}
        self.study.add_first(params, self.space, values, curve)

    def try_next(self) -> None:
        # Seeded anew for each trial: a resumed search makes the same proposals as an uninterrupted one.
        trial = self.study.ask(self.space, self.seed)
        settings = replace(self.base, **trial.params)
        self._phase(described(trial.params))
        try:
            self.study.tell(trial, self.run_trial(settings, self._watched(trial, settings)))
        except Pruned:
            self.study.tell_pruned(trial)
        except DataError:  # a learning rate that is too much for this table
            self.study.tell_failed(trial)

    def _watched(self, trial: "Trial", settings: TowerSettings) -> OnMemberEpoch:
        tell = tell_member_epochs(self.progress, settings)

        def on_epoch(member: int, record: EpochRecord) -> None:
            tell(member, record)
            if member == 0 and record.validation is not None:
                trial.report(record.validation, record.epoch)
                if trial.should_prune():
                    raise Pruned

        return on_epoch

    def _phase(self, settings: str) -> None:
        self.progress.phase(f"Tuning the towers, trial {self.study.tried + 1}: {settings}")


def _result(study: "Study", plan: TuneSettings, earlier: int, k: int) -> TuningResult:
    first, best = study.first, study.best
    assert first is not None  # it was tried
    result = TuningResult(
        trials=study.tried,
        earlier=earlier,
        pruned=study.pruned,
        failed=study.failed,
        minutes=plan.minutes,
        held=plan.held,
        k=k,
        default=float(first.values.mean()),
        best=None,
        gain=None,
        gain_error=None,
        settings={},
        is_chosen=False,
    )
    if best is None:
        return result
    difference = best.values - first.values
    error = standard_error(difference)
    return replace(
        result,
        best=float(best.values.mean()),
        gain=mean_estimate(difference),
        gain_error=error,
        settings=best.params,
        is_chosen=bool(difference.mean() > error),
    )
