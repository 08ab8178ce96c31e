"""A build that searches first: on train and validation only, kept beside the bundles, told in the report."""

import json
import os
import re
import signal
import subprocess
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from retrieval.data.datasets import Dataset
from retrieval.data.interactions import Interactions
from retrieval.errors import ArtifactError, EnvironmentProblem, UsageError
from retrieval.evaluation.choices import TuningResult
from retrieval.evaluation.uncertainty import Estimate
from retrieval.pipeline.build import Build, build
from retrieval.progress import Silent
from retrieval.reporting.text.report import report_text
from retrieval.reporting.text.tuning import tuning_text
from retrieval.settings import BuildSettings, TowerSettings, TuneSettings
from tests.support.commands import ROOT, SCRIPTS, Bench, environment, files_of

pytest.importorskip("optuna")

TINY = ["--dataset", "sample", "--epochs", "2", "--threads", "1", "--candidates", "20", "--members", "1"]
PLAN = TuneSettings(minutes=10, held=("dimension",), trials=3)


class Record(Silent):
    """A `Progress` that keeps its phases and notes."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.notes: list[str] = []

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def settings(tiny_settings: BuildSettings) -> BuildSettings:
    return replace(
        tiny_settings,
        towers=replace(tiny_settings.towers, members=1),
        index="auto",
        recall_target=0.95,
        refit=False,
        tune=PLAN,
    )


@pytest.fixture(scope="module")
def tuned(
    sample_set: Dataset, settings: BuildSettings, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Build, Record, Path]:
    record, folder = Record(), tmp_path_factory.mktemp("tuned") / "tuning"
    built = build(
        sample_set.interactions, items=sample_set.items, settings=settings, progress=record, trials=folder
    )
    return built, record, folder


# the build


def test_a_build_is_made_with_what_the_search_chose(
    tuned: tuple[Build, Record, Path], sample_set: Dataset, settings: BuildSettings
) -> None:
    built, *_ = tuned
    result = built.report.tuning
    assert result is not None and result.is_chosen  # two epochs at the default rate are too few
    assert built.settings == replace(settings, towers=replace(settings.towers, **result.settings))
    assert built.settings.towers.dimension == 8 and built.settings.towers.max_epochs == 2
    plain = build(
        sample_set.interactions, items=sample_set.items, settings=replace(built.settings, tune=None)
    )
    np.testing.assert_array_equal(plain.evaluated.model.vectors.items, built.evaluated.model.vectors.items)


def test_trials_are_judged_as_the_build_itself_is(tuned: tuple[Build, Record, Path]) -> None:
    built, *_ = tuned
    best = built.report.tuning and built.report.tuning.best
    assert best == pytest.approx(
        next(each.validation for each in built.towers[0].curve if each.epoch == built.towers[0].epochs),
        abs=1e-6,
    )


def test_the_trials_are_phases_and_the_outcome_is_a_note(tuned: tuple[Build, Record, Path]) -> None:
    _, record, _ = tuned
    trials = [phase for phase in record.phases if phase.startswith("Tuning the towers")]
    assert [re.match(r"Tuning the towers, trial (\d+): ", each)[1] for each in trials] == ["1", "2", "3"]
    assert trials[0].endswith("the settings as given") and "dimension" not in trials[1]
    assert record.phases.index(trials[-1]) < record.phases.index("Training TwoTowerBPR on 2,072 positives")
    assert len(record.notes) == 1
    said = r"tuning: \+\d.* NDCG@10 on validation \(95% interval .* to .*, 3 trials\) by .*"
    assert re.fullmatch(said, record.notes[0])


def test_a_second_build_of_the_same_goes_on(
    tuned: tuple[Build, Record, Path], sample_set: Dataset, settings: BuildSettings
) -> None:
    first, _, folder = tuned
    record = Record()
    built = build(
        sample_set.interactions, items=sample_set.items, settings=settings, progress=record, trials=folder
    )
    one, two = first.report.tuning, built.report.tuning
    assert one is not None and two is not None
    assert (two.trials, two.earlier, two.default) == (6, 3, one.default)
    assert two.best is not None and one.best is not None and two.best >= one.best
    assert re.match(r"tuning goes on after 3 trials: .*\.log$", record.notes[0])
    assert len(list(folder.iterdir())) == 1


def other_rows(interactions: Interactions, late: pl.Expr) -> Interactions:
    """The same table with other ratings where `late`."""
    turned = pl.when(late).then(6 - pl.col("rating")).otherwise(pl.col("rating"))
    return Interactions.from_frame(interactions.frame.with_columns(rating=turned))


def test_trials_of_other_data_or_settings_are_left_alone(
    tuned: tuple[Build, Record, Path], sample_set: Dataset, settings: BuildSettings
) -> None:
    built, _, folder = tuned
    before = files_of(folder)
    cut = built.split.validation_start
    once = replace(settings, tune=replace(PLAN, trials=1))
    changes: list[tuple[Any, BuildSettings]] = [
        (other_rows(sample_set.interactions, pl.col("timestamp") <= cut), once),
        (sample_set.interactions, replace(once, seed=7)),
        (sample_set.interactions, replace(once, positive_threshold=3.0)),
        (sample_set.interactions, replace(once, towers=replace(once.towers, dimension=9))),
        (sample_set.interactions, replace(once, tune=TuneSettings(1, ("negatives", "dimension"), 1))),
    ]
    for table, changed in changes:
        report = build(table, items=sample_set.items, settings=changed, trials=folder).report
        assert report.tuning is not None and (report.tuning.trials, report.tuning.earlier) == (1, 0)
    after = files_of(folder)
    assert len(after) == len(before) + len(changes) and before.items() <= after.items()


def test_nothing_of_the_test_slice_is_read(
    tuned: tuple[Build, Record, Path], sample_set: Dataset, settings: BuildSettings
) -> None:
    built, *_ = tuned
    start = built.split.test_start
    # Every row of the test slice turned upside down: the same search, trial by trial, and the same weights.
    other = build(
        other_rows(sample_set.interactions, pl.col("timestamp") > start),
        items=sample_set.items,
        settings=settings,
    )
    assert other.report.tuning == built.report.tuning
    assert other.settings == built.settings
    np.testing.assert_array_equal(other.evaluated.model.vectors.items, built.evaluated.model.vectors.items)
    assert other.report.stages["exact"] != built.report.stages["exact"]


def test_trials_of_the_same_train_and_validation_go_on_whatever_comes_later(
    tuned: tuple[Build, Record, Path], sample_set: Dataset, settings: BuildSettings, tmp_path: Path
) -> None:
    built, *_ = tuned
    once = replace(settings, tune=replace(PLAN, trials=1))
    tables = [
        sample_set.interactions,
        other_rows(sample_set.interactions, pl.col("timestamp") > built.split.test_start),
    ]
    earlier = [
        result.earlier
        for table in tables
        if (result := build(table, items=sample_set.items, settings=once, trials=tmp_path).report.tuning)
    ]
    assert earlier == [0, 1]


def test_a_damaged_file_of_trials_is_named_before_training(
    tuned: tuple[Build, Record, Path], sample_set: Dataset, settings: BuildSettings, tmp_path: Path
) -> None:
    record, folder = Record(), tmp_path / "tuning"
    folder.mkdir()
    file = folder / sorted(tuned[2].iterdir())[0].name
    for name in (each.name for each in tuned[2].iterdir()):
        (folder / name).write_text("nonsense\n")
    with pytest.raises(ArtifactError, match=r"tuning/\w+\.log: .*delete it"):
        build(
            sample_set.interactions, items=sample_set.items, settings=settings, progress=record, trials=folder
        )
    assert file.read_text() == "nonsense\n" and record.phases[-1] == "Fitting the baselines"


def test_a_table_without_times_or_ratings_is_tuned_too(sample_set: Dataset, settings: BuildSettings) -> None:
    frame = sample_set.interactions.frame.select("user", "item")
    split = replace(settings.split, kind="random")
    built = build(Interactions.from_frame(frame), settings=replace(settings, split=split))
    result = built.report.tuning
    assert result is not None and result.trials == 3
    assert set(result.settings) == {"learning_rate", "l2", "short_histories", "negatives"}


def test_only_dimensions_that_the_index_takes_are_tried(sample_set: Dataset, settings: BuildSettings) -> None:
    # 13 parts of 65 numbers, the bias included; 33 and 129 have none.
    for index, tried in (("PQ13x4", {64}), ("PQ3x4", {32, 128})):
        names = set(TowerSettings.__dataclass_fields__) - {"dimension", "l2"}
        plan = TuneSettings(10, tuple(names), trials=8)
        towers, record = replace(settings.towers, dimension=max(tried), max_epochs=1), Record()
        changed = replace(settings, towers=towers, tune=plan, index=index, recall_target=0.01)
        build(sample_set.interactions, settings=changed, progress=record)
        found = {re.search(r"dimension (\d+)", each) for each in record.phases if "Tuning" in each}
        assert {int(each[1]) for each in found if each} == (tried if len(tried) > 1 else set())


def test_a_preset_is_not_tuned() -> None:
    with pytest.raises(UsageError, match="`tune`"):
        BuildSettings(preset="notebook", tune=PLAN)


@pytest.mark.parametrize(
    "wrong", [{"minutes": value} for value in (0, -1.0, np.nan, np.inf)] + [{"minutes": 1, "trials": 0}]
)
def test_a_plan_is_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        TuneSettings(**wrong)


def test_without_the_extra_a_build_ends_before_anything_is_trained(
    sample_set: Dataset, settings: BuildSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    record = Record()
    with pytest.raises(EnvironmentProblem, match="pip install optuna"):
        build(sample_set.interactions, settings=settings, progress=record)
    assert record.phases == []


# the report


def result(**changes: Any) -> TuningResult:
    found = TuningResult(
        trials=23,
        earlier=0,
        pruned=0,
        failed=0,
        minutes=10.0,
        held=(),
        k=10,
        default=0.1,
        best=0.125,
        gain=Estimate(0.025, 0.01, 0.04),
        gain_error=0.008,
        settings={"l2": 0.0123456, "recency_half_life_days": None},
        is_chosen=True,
    )
    return replace(found, **changes)


def test_the_text_says_what_was_gained_and_that_it_flatters() -> None:
    assert tuning_text(result()) == (
        "Tuning: the best of 23 trials has NDCG@10 on validation .125, .100 with the defaults: +.0250, 95% "
        "interval +.0100 to +.0400. Taken: l2 0.0123, recency half-life days none. The best of many is best "
        "by luck too; what is left of this gain is in the test figures."
    )


def test_the_text_says_what_was_held_and_what_became_of_the_trials() -> None:
    text = tuning_text(result(held=("learning_rate",), earlier=12, pruned=5, failed=1))
    assert "23 trials (12 from before, 5 given up half way, 1 broken down) has" in text
    assert "with the settings as given (learning rate held)" in text


def test_the_text_says_that_nothing_changes() -> None:
    text = tuning_text(result(gain=Estimate(0.005, -0.01, 0.02), is_chosen=False))
    assert text.endswith("no more than its standard error of .008, so nothing changes.")
    none = result(trials=1, best=None, gain=None, gain_error=None, settings={}, is_chosen=False)
    assert "10 minutes were too few" in tuning_text(none) and "defaults, which stay" in tuning_text(none)


def test_every_report_of_the_bundle_has_it(tuned: tuple[Build, Record, Path]) -> None:
    report = tuned[0].report
    assert report.tuning is not None
    assert report.to_json()["tuning"] == report.tuning.to_json()
    words = " ".join(report_text(report).split())
    assert tuning_text(report.tuning) in words
    assert max(map(len, report_text(report).splitlines())) <= 80
    assert "Tuning" not in report_text(replace(report, tuning=None))


# the command


def tuning_of(bench: Bench, artifacts: Path, *arguments: object) -> tuple[dict[str, Any], list[str]]:
    ran = bench.run("build-index", *TINY, "--artifacts", artifacts, "--json", *arguments)
    document: dict[str, Any] = ran.json
    bundle = Path(document["bundle"])
    bundle = bundle if bundle.is_absolute() else bench.folder / bundle
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["tuning"] == document["tuning"]
    assert json.loads((bundle / "report.json").read_text())["tuning"] == document["tuning"]
    return document["tuning"], ran.notes


def test_the_command_tunes_goes_on_and_is_measured_again(bench: Bench) -> None:
    artifacts = bench.folder / "mine"
    flags = ("--tune", "0.02", "--learning-rate", "0.006", "--dimension", "64")
    first, notes = tuning_of(bench, artifacts, *flags)
    assert first["trials"] >= 1 and first["earlier"] == 0 and first["minutes"] == 0.02
    assert sorted(first["held"]) == ["dimension", "learning_rate"]
    assert not {"dimension", "learning_rate"} & set(first["settings"])
    assert notes[-1].startswith("tuning: ")
    second, notes = tuning_of(bench, artifacts, *flags)
    assert second["earlier"] == first["trials"] and second["default"] == first["default"]
    assert notes[-2].startswith(f"tuning goes on after {first['trials']} trials: ")
    again = bench.run("retrieval", "evaluate", "--artifacts", artifacts, "--json").json
    assert again["tuning"] == second
    assert bench.run("query", "--user", "42", "--artifacts", artifacts, "--json").code == 0
    assert sorted(each.name for each in artifacts.iterdir()) == [".lock", "builds", "current", "tuning"]


@pytest.mark.slow
def test_a_search_that_was_killed_or_interrupted_goes_on(tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    words = [str(SCRIPTS / "build-index"), *TINY, "--artifacts", str(artifacts), "--tune"]

    def start(minutes: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*words, minutes, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    finished = 0
    for signum, code in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        process = start("60")
        wait_until(lambda before=finished: trials_in(artifacts) >= before + 2, process)
        os.kill(process.pid, signum)
        _, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        finished = trials_in(artifacts)
    assert err.splitlines()[-1] == "error: interrupted; what was there before is unchanged"
    assert not (artifacts / "current").exists()
    process = start("0.001")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out)["tuning"]["earlier"] == finished >= 4


def trials_in(artifacts: Path) -> int:
    """Trials that came to an end, by the file."""
    from retrieval.pipeline.tuning_trials import open_study

    files = list(artifacts.glob("tuning/*.log"))
    if not files:
        return 0
    copy = artifacts.parent / "copy.log"
    copy.write_bytes(files[0].read_bytes())
    with open_study(copy) as study:
        return study.tried


def wait_until(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--tune", "0"], "--tune must be a positive number of minutes"),
        (["--tune", "-5"], "--tune must be a positive number of minutes"),
        (["--tune", "nan"], "--tune must be a positive number of minutes"),
        (["--tune", "soon"], "'--tune': 'soon' is not a valid float"),
        (["--tune", "5", "--preset", "notebook"], "leave one of the two out"),
    ],
    ids=" ".join,
)
def test_a_wrong_number_of_minutes_is_wrong_use(bench: Bench, arguments: Sequence[str], says: str) -> None:
    assert says in bench.refused(16, "build-index", *TINY, *arguments, code=2)


def test_the_missing_extra_ends_with_6_and_the_command_that_installs_it(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    without = tmp_path_factory.mktemp("without")
    (without / "sitecustomize.py").write_text("import sys\nsys.modules['optuna'] = None\n")
    more = {"PYTHONPATH": f"{without}:{ROOT}"}
    given = "--tune without optuna"
    line = bench.refused(17, "build-index", *TINY, "--tune", "5", code=6, given=given, **more)
    install = re.search(r"pip install ([\w-]+);", line)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert install is not None, line
    assert any(need.startswith(install[1]) for need in project["optional-dependencies"]["tune"])
