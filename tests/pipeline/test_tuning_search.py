"""The search over settings, with scripted trials that train nothing: what it tries, when it stops."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.errors import DataError
from retrieval.evaluation.choices import TuningResult, described
from retrieval.pipeline.epoch_progress import OnMemberEpoch
from retrieval.pipeline.tuning_search import search_settings, searched_space
from retrieval.progress import Silent
from retrieval.settings import TowerSettings, TuneSettings, id_towers
from retrieval.training.curves import EpochRecord

pytest.importorskip("optuna")

from retrieval.pipeline.tuning_trials import EPOCHS_BEFORE_PRUNING, TRIALS_BEFORE_PRUNING, open_study

BASE = TowerSettings(max_epochs=8, members=2)
ALL = {
    "recency_half_life_days",
    "learning_rate",
    "l2",
    "parted_by_time",
    "short_histories",
    "negatives",
    "dimension",
}
SPREAD = np.linspace(-0.1, 0.1, 41)


class Interrupted(BaseException):
    """As a signal raises it."""


@dataclass
class Scripted:
    """Values whose mean is the larger the nearer l2 is to `goal`; every trial takes `minutes` of `now`."""

    goal: float = 1e-4
    minutes: float = 1.0
    noise: float = 0.0
    breaks: int | None = None
    stops: int | None = None
    tried: list[TowerSettings] = field(default_factory=list)
    finished: list[TowerSettings] = field(default_factory=list)
    now: float = 0.0

    def quality(self, settings: TowerSettings) -> float:
        return 0.5 - 0.1 * abs(math.log10(settings.l2 / self.goal))

    def __call__(self, settings: TowerSettings, on_epoch: OnMemberEpoch) -> np.ndarray:
        self.tried.append(settings)
        if len(self.tried) == self.breaks:
            raise DataError("training broke down in epoch 1 (loss nan); lower the learning rate")
        for member in range(settings.members):
            for epoch in range(1, settings.max_epochs + 1):
                on_epoch(member, EpochRecord(epoch, 1.0, self.quality(settings) * epoch / 10))
                if len(self.tried) == self.stops and epoch == 3:
                    raise Interrupted
        self.now += 60 * self.minutes
        self.finished.append(settings)
        noise = self.noise * np.random.default_rng(len(self.tried)).normal(size=len(SPREAD))
        return self.quality(settings) + SPREAD + noise

    def clock(self) -> float:
        return self.now


def search(
    scripted: Scripted,
    path: Path | None = None,
    *,
    base: TowerSettings = BASE,
    minutes: float = 1e6,
    held: tuple[str, ...] = (),
    trials: int | None = None,
    seed: int = 42,
    progress: Any = None,
) -> tuple[TowerSettings, TuningResult]:
    plan = TuneSettings(minutes, held, trials)
    space = searched_space(base, held, has_times=True)
    with open_study(path) as study:
        return search_settings(
            scripted, base, plan, space, study, progress or Silent(), seed=seed, k=10, clock=scripted.clock
        )


# what is searched


def test_a_space_has_the_first_settings_in_it() -> None:
    base = replace(BASE, dimension=50, recency_half_life_days=45.0, learning_rate=0.5, l2=1e-9, negatives=7)
    space = searched_space(base, (), has_times=True)
    assert set(space) == ALL
    for name, distribution in space.items():
        value = getattr(base, name)
        assert distribution._contains(distribution.to_internal_repr(value)), name


@pytest.mark.parametrize(
    ("base", "has_times", "held", "left_out"),
    [
        (BASE, True, (), set()),
        (BASE, True, ("dimension", "negatives"), {"dimension", "negatives"}),
        (BASE, False, (), {"recency_half_life_days", "parted_by_time"}),
        (id_towers(), True, (), {"parted_by_time", "short_histories"}),
        (replace(BASE, loss="softmax"), True, (), {"negatives"}),
        (replace(BASE, l2=0.0), True, (), {"l2"}),
        (replace(BASE, dimension=2**31 - 1), True, (), set()),
    ],
)
def test_what_is_held_or_does_nothing_is_not_searched(
    base: TowerSettings, has_times: bool, held: tuple[str, ...], left_out: set[str]
) -> None:
    assert set(searched_space(base, held, has_times=has_times)) == ALL - left_out


def test_everything_that_can_be_proposed_is_a_setting_of_the_towers() -> None:
    for base in (BASE, id_towers(negatives=1), replace(BASE, negatives=2**31 - 1, dimension=1)):
        scripted = Scripted()
        search(scripted, base=base, trials=30)
        assert len(scripted.tried) == 30  # TowerSettings refuses what it does not take


# the trials


def test_the_settings_as_given_are_tried_first_and_held_ones_stay() -> None:
    scripted = Scripted()
    base = replace(BASE, dimension=50, learning_rate=0.004)
    chosen, result = search(scripted, base=base, held=("dimension", "learning_rate"), trials=12)
    assert scripted.tried[0] == base
    assert {(each.dimension, each.learning_rate) for each in scripted.tried} == {(50, 0.004)}
    assert len({each.l2 for each in scripted.tried}) == 12
    assert (chosen.dimension, chosen.learning_rate, result.held) == (
        50,
        0.004,
        ("dimension", "learning_rate"),
    )
    unsearched = set(TowerSettings.__dataclass_fields__) - ALL
    assert all(getattr(each, name) == getattr(base, name) for each in scripted.tried for name in unsearched)


def test_no_trial_begins_when_the_minutes_are_over_and_one_that_runs_is_finished() -> None:
    scripted = Scripted(minutes=1.75)
    _, result = search(scripted, minutes=5.0)
    assert (len(scripted.tried), scripted.now) == (3, 315.0)  # began at 0, 1.75 and 3.5 minutes
    assert (result.trials, result.earlier, result.minutes) == (3, 0, 5.0)


def test_the_first_settings_are_tried_even_if_they_take_all_the_time() -> None:
    scripted = Scripted(minutes=100.0)
    chosen, result = search(scripted, minutes=1.0)
    assert scripted.tried == [BASE] and chosen == BASE
    assert (result.trials, result.best, result.gain, result.is_chosen) == (1, None, None, False)
    assert result.default == pytest.approx(scripted.quality(BASE))


def test_with_nothing_to_search_the_first_settings_are_all() -> None:
    scripted = Scripted()
    assert search(scripted, held=tuple(ALL))[0] == BASE
    assert scripted.tried == [BASE]


def test_the_same_seed_proposes_the_same_and_another_seed_something_else() -> None:
    one, same, other = Scripted(), Scripted(), Scripted()
    search(one, trials=15)
    search(same, trials=15)
    search(other, trials=15, seed=7)
    assert one.tried == same.tried
    assert one.tried[0] == other.tried[0] and not set(one.tried[1:]) & set(other.tried[1:])


def test_a_trial_behind_the_others_is_given_up_in_its_first_member() -> None:
    scripted = Scripted()
    shown: list[tuple[str, int, str]] = []

    class Watching(Silent):
        def phase(self, text: str) -> None:
            self.text = text

        def plan(self, phases: int) -> None: ...

        def epoch(self, epoch: int, of: int, text: str, member: int = 1, members: int = 1) -> None:
            shown.append((self.text, epoch, text))

    _, result = search(scripted, trials=30, progress=Watching())
    given_up = [each for each in scripted.tried if each not in scripted.finished]
    assert result.pruned == len(given_up) > 0 and result.trials == 30
    assert BASE in scripted.finished and not set(given_up) & set(scripted.tried[:TRIALS_BEFORE_PRUNING])
    for trial, settings in enumerate(scripted.tried, start=1):
        epochs = [text for phase, _, text in shown if f"trial {trial}:" in phase]
        if settings in given_up:
            assert len(epochs) == EPOCHS_BEFORE_PRUNING and all("member 1/2" in text for text in epochs)
        else:
            assert len(epochs) == 2 * BASE.max_epochs
    good = sorted(map(scripted.quality, scripted.finished))
    assert np.mean([scripted.quality(each) for each in given_up]) < np.median(good)


def test_settings_that_break_down_cost_a_trial_and_nothing_else() -> None:
    scripted = Scripted(breaks=3)
    _, result = search(scripted, trials=5)
    assert (result.trials, result.failed, len(scripted.finished)) == (5, 1, 4)


def test_the_first_settings_breaking_down_is_an_error_of_the_data() -> None:
    with pytest.raises(DataError, match="lower the learning rate"):
        search(Scripted(breaks=1), trials=5)


# the choice


def test_the_best_is_taken_where_its_gain_is_larger_than_its_standard_error() -> None:
    scripted = Scripted(noise=0.01)
    chosen, result = search(scripted, trials=20)
    assert result.is_chosen and result.gain is not None and result.best is not None
    best = max(scripted.finished[1:], key=scripted.quality)
    assert scripted.quality(chosen) == pytest.approx(scripted.quality(best), abs=0.01)
    assert result.gain.value == pytest.approx(result.best - result.default)
    assert result.gain.low < result.gain.value < result.gain.high
    assert result.gain.value > result.gain_error > 0
    assert replace(BASE, **result.settings) == chosen != BASE


def test_the_first_settings_stay_where_nothing_is_better() -> None:
    chosen, result = search(Scripted(goal=BASE.l2), trials=20)
    assert chosen == BASE and not result.is_chosen
    assert result.gain is not None and result.gain.value < 0
    assert result.settings and result.settings["l2"] != BASE.l2  # it is told what was best of the others


def test_the_first_settings_stay_where_the_gain_is_within_its_noise() -> None:
    class Flat(Scripted):
        def quality(self, settings: TowerSettings) -> float:
            return 0.3 if settings == BASE else 0.301

    (chosen, result), (sure, _) = search(Flat(noise=0.2), trials=2), search(Flat(), trials=2)
    assert chosen == BASE and sure != BASE
    assert result.gain is not None and abs(result.gain.value) <= result.gain_error


def test_of_equals_the_earliest_is_the_best() -> None:
    class Level(Scripted):
        def quality(self, settings: TowerSettings) -> float:
            return 0.3 if settings == BASE else 0.4

    scripted = Level()
    assert search(scripted, trials=6)[0] == scripted.tried[1]


# going on


def test_a_search_that_goes_on_tries_what_one_that_runs_through_would(tmp_path: Path) -> None:
    whole, first, second = Scripted(), Scripted(), Scripted()
    through = search(whole, trials=25)
    earlier = search(first, tmp_path / "a.log", trials=15)[1]
    chosen, result = search(second, tmp_path / "a.log", trials=10)
    assert (earlier.trials, earlier.earlier) == (15, 0)
    assert (result.trials, result.earlier) == (25, 15)
    assert first.tried + second.tried == whole.tried and len(whole.tried) == 25
    assert chosen == through[0]
    assert replace(result, earlier=0, minutes=0) == replace(through[1], minutes=0)


@pytest.mark.parametrize("stops", [1, 4])
def test_what_was_interrupted_is_tried_again(tmp_path: Path, stops: int) -> None:
    whole, first, second = Scripted(), Scripted(stops=stops), Scripted()
    search(whole, trials=8)
    with pytest.raises(Interrupted):
        search(first, tmp_path / "a.log", trials=8)
    _, result = search(second, tmp_path / "a.log", trials=9 - stops)
    assert (result.trials, result.earlier, result.failed) == (8, stops - 1, 0)
    assert first.tried[:-1] + second.tried == whole.tried and first.tried[-1] == second.tried[0]


def test_a_search_whose_time_is_up_says_what_was_found_before(tmp_path: Path) -> None:
    found = search(Scripted(), tmp_path / "a.log", trials=15)

    class Late(Scripted):
        def clock(self) -> float:
            self.now += 3600
            return self.now

    late = Late()
    chosen, result = search(late, tmp_path / "a.log", minutes=1)
    assert late.tried == [] and chosen == found[0]
    assert replace(result, minutes=0, earlier=0) == replace(found[1], minutes=0)


# the result


def test_a_result_goes_to_json_and_back() -> None:
    import json

    for trials in (1, 12):
        result = search(Scripted(), held=("dimension",), trials=trials)[1]
        assert TuningResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_settings_are_described_shortly() -> None:
    found = described({"learning_rate": 0.00612345, "recency_half_life_days": None, "negatives": 64})
    assert found == "learning rate 0.00612, recency half-life days none, negatives 64"
