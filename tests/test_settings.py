"""Settings: every value is checked where it is made."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from retrieval.errors import UsageError
from retrieval.machine import usable_cores
from retrieval.settings import (
    BuildSettings,
    NeuralMFSettings,
    SplitSettings,
    TowerSettings,
    TuneSettings,
    id_towers,
)

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("name", ["test_fraction", "validation_fraction"])
@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1.5, NAN, INF])
def test_a_fraction_outside_0_to_1_is_refused(name: str, value: float) -> None:
    given = {"test_fraction": 0.2, "validation_fraction": 0.1, name: value}
    with pytest.raises(UsageError, match=f"^`split.{name}` must"):
        SplitSettings(**given)


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.9, 0.2)])
def test_fractions_must_leave_something_to_train_on(fractions: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match=f"{fractions[0]}.*{fractions[1]}.*nothing to train on"):
        SplitSettings(*fractions)


@pytest.mark.parametrize("kind", ["", "Time", "chance"])
def test_an_unknown_split_is_refused(kind: Any) -> None:
    with pytest.raises(UsageError, match=f"^`split.kind` must be time or random, not {kind!r}$"):
        SplitSettings(kind=kind)


def test_the_split_is_by_time_unless_said_otherwise() -> None:
    assert SplitSettings().kind == "time"
    assert SplitSettings(0.2, 0.1, "random").kind == "random"


def test_fractions_may_come_close_to_their_limits() -> None:
    assert SplitSettings(0.001, 0.001).test_fraction == 0.001
    assert SplitSettings(0.6, 0.39).validation_fraction == 0.39


@pytest.mark.parametrize(
    ("name", "refused", "accepted"),
    [
        ("dimension", [0, -1], [1, 512]),
        ("negatives", [0, -1], [1]),
        ("batch_size", [0], [1]),
        ("max_epochs", [0], [1]),
        ("patience", [0], [1]),
        ("members", [0, -1, 2**31], [1, 9]),
        ("catalogue_sample", [0, -1], [1]),
        ("learning_rate", [0.0, -1e-3, NAN, INF], [1e-9]),
        ("recency_half_life_days", [0.0, -1.0, NAN, INF], [0.5, None]),
        ("initial_std", [0.0, -0.1, NAN, INF], [1e-3, 1.0]),
        ("l2", [-1e-9, NAN, INF], [0.0]),
        ("user_dropout", [-0.1, 1.0, NAN], [0.0, 0.99]),
        ("feature_share", [-0.1, 1.0, NAN], [0.0, 0.99]),
        ("parted_by_time", [-0.1, 1.1, NAN], [0.0, 1.0]),
        ("short_histories", [-0.1, 1.1, NAN], [0.0, 1.0]),
        ("averaging_decay", [-0.1, 1.0, NAN], [0.0, 0.99]),
        ("user_tower", ["matrix", "", "ID"], ["history"]),
        ("loss", ["warp", "", "BPR"], ["bpr", "softmax"]),
        ("user_sampling", ["uniform", "", "Users"], ["positives", "users"]),
    ],
)
def test_tower_settings_are_checked(name: str, refused: list[Any], accepted: list[Any]) -> None:
    for value in refused:
        with pytest.raises(UsageError, match=f"^`towers.{name}` must"):
            TowerSettings(**{name: value})
    for value in accepted:
        assert getattr(TowerSettings(**{name: value}), name) == value


def test_the_id_tower_has_its_own_defaults_and_takes_what_is_given() -> None:
    settings = id_towers()
    assert (settings.user_tower, settings.loss, settings.members) == ("id", "bpr", 1)
    history = TowerSettings()
    differing = {
        field.name
        for field in dataclasses.fields(settings)
        if getattr(settings, field.name) != getattr(history, field.name)
    }
    assert differing == {
        "user_tower",
        "members",
        "initial_std",
        "negatives",
        "learning_rate",
        "batch_size",
        "l2",
    }
    given = id_towers(negatives=3, dimension=7, l2=0.5)
    assert (given.negatives, given.dimension, given.l2) == (3, 7, 0.5)
    assert (given.batch_size, given.user_tower) == (settings.batch_size, "id")


@pytest.mark.parametrize("given", [{"loss": "softmax"}, {"members": 2}, {"loss": "softmax", "members": 3}])
def test_what_only_the_history_tower_has_is_refused_for_the_id_tower(given: dict[str, Any]) -> None:
    with pytest.raises(
        UsageError,
        match=r"leave out `towers\.loss` and `towers\.members`, or take `towers\.user_tower=history`",
    ):
        id_towers(**given)
    assert TowerSettings(**given).user_tower == "history"


@pytest.mark.parametrize(
    ("name", "refused", "accepted"),
    [
        ("dimension", [0, -1], [1]),
        ("batch_size", [0], [1]),
        ("max_epochs", [0], [1]),
        ("patience", [0], [1]),
        ("hidden", [(0, 4), (4, 0), (4,), (4, 4, 4)], [(1, 1), (128, 8)]),
        ("learning_rate", [0.0, -1e-3, NAN, INF], [1e-9]),
        ("initial_std", [0.0, -0.1, NAN, INF], [1e-3, 1.0]),
        ("weight_decay", [-0.1, NAN, INF], [0.0, 1.0]),
        ("dropout", [-0.1, 1.0, NAN], [0.0, 0.5]),
        ("averaging_decay", [-0.1, 1.0, NAN], [0.0, 0.5]),
    ],
)
def test_neural_mf_settings_are_checked(name: str, refused: list[Any], accepted: list[Any]) -> None:
    for value in refused:
        with pytest.raises(UsageError, match=f"^`neural_mf.{name}` must"):
            NeuralMFSettings(**{name: value})
    for value in accepted:
        assert getattr(NeuralMFSettings(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "refused", "accepted"),
    [
        ("recall_target", [0.0, -0.5, 1.01, NAN], [1.0, 0.01]),
        ("candidates", [0, -5], [1]),
        ("threads", [0, -1], [1, None]),
        ("positive_threshold", [NAN, INF], [-1.0, 0.0, 4.5]),
        ("seed", [-1, 2**31], [0, 2**31 - 1]),
        ("device", ["gpu", "", "CPU"], ["auto", "cpu", "cuda"]),
        ("preset", ["", "Notebook"], ["notebook", None]),
    ],
)
def test_build_settings_are_checked(name: str, refused: list[Any], accepted: list[Any]) -> None:
    for value in refused:
        with pytest.raises(UsageError, match=f"^`{name}[`=]"):
            BuildSettings(**{name: value})
    for value in accepted:
        assert getattr(BuildSettings(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: BuildSettings(threads="1"), "`threads` must be a whole number or None, not '1'"),
        (lambda: BuildSettings(seed=True), "`seed` must be a whole number, not True"),
        (lambda: BuildSettings(seed=None), "`seed` must be a whole number, not None"),
        (lambda: BuildSettings(candidates=50.0), "`candidates` must be a whole number, not 50.0"),
        (lambda: BuildSettings(refit=1), "`refit` must be True or False, not 1"),
        (lambda: BuildSettings(index=None), "`index` must be text, not None"),
        (lambda: BuildSettings(recall_target="high"), "`recall_target` must be a number or None, not 'high'"),
        (lambda: BuildSettings(towers={}), "`towers` must be a TowerSettings, not {}; write TowerSettings("),
        (lambda: BuildSettings(split="random"), "`split` must be a SplitSettings, not 'random'; write Sp"),
        (lambda: TowerSettings(max_epochs=2.5), "`towers.max_epochs` must be a whole number, not 2.5"),
        (lambda: TowerSettings(learning_rate="1"), "`towers.learning_rate` must be a number, not '1'"),
        (lambda: TowerSettings(loss=["bpr"]), "`towers.loss` must be bpr or softmax, not ['bpr']"),
        (lambda: NeuralMFSettings(hidden=64), "`neural_mf.hidden` must be a tuple, not 64"),
        (lambda: NeuralMFSettings(hidden=(8, "4")), "`neural_mf.hidden` must be a whole number, not '4'"),
        (lambda: SplitSettings(test_fraction=None), "`split.test_fraction` must be a number, not None"),
        (lambda: TuneSettings(minutes="10"), "`tune.minutes` must be a number, not '10'"),
    ],
)
def test_a_value_of_another_type_is_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert str(caught.value).startswith(says)


def test_numbers_of_numpy_become_those_of_the_manifest() -> None:
    given: Any = {"dimension": np.int64(8), "learning_rate": np.float32(0.5), "l2": 1}
    towers = TowerSettings(**given)
    assert [type(value) for value in (towers.dimension, towers.learning_rate, towers.l2)] == [int, float, int]
    hidden: Any = [np.int32(8), 4]
    assert NeuralMFSettings(hidden=hidden).hidden == (8, 4)
    assert json.dumps(dataclasses.asdict(towers)) and json.dumps(dataclasses.asdict(NeuralMFSettings()))


@pytest.mark.parametrize("kind", [SplitSettings, TowerSettings, NeuralMFSettings, BuildSettings])
def test_the_defaults_are_valid_and_cannot_be_changed(kind: type) -> None:
    settings = kind()
    assert settings == kind()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(settings, dataclasses.fields(settings)[0].name, None)


def test_messages_are_one_line_and_name_the_value() -> None:
    with pytest.raises(UsageError, match="-3") as caught:
        BuildSettings(candidates=-3)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_choices_are_listed_in_words() -> None:
    with pytest.raises(UsageError, match=r"^`device` must be auto, cpu or cuda, not 'gpu'$"):
        BuildSettings(device="gpu")
    with pytest.raises(
        UsageError, match=r"^`towers.recency_half_life_days` must be a positive number or none, not 0; "
    ):
        TowerSettings(recency_half_life_days=0)


def test_threads_are_all_usable_cores_unless_set() -> None:
    assert BuildSettings(threads=3).resolved_threads == 3
    assert BuildSettings().resolved_threads == usable_cores() >= 1


def test_settings_import_nothing_heavy() -> None:
    code = (
        "import sys, retrieval.settings, retrieval.pipeline.presets;"
        "print(sorted({'torch', 'polars', 'pandas', 'faiss', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
