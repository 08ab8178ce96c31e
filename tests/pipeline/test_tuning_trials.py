"""Trials on disk: they survive a torn end, other keys never mix, damage is named, optuna is silent."""

import logging
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.errors import ArtifactError, EnvironmentProblem
from retrieval.pipeline.tuning_trials import Study, open_study, study_key
from tests.support.checkout import ROOT

optuna = pytest.importorskip("optuna")

SPACE = {"l2": optuna.distributions.FloatDistribution(0.0, 1.0)}
MERITS = np.array([0.25, 0.5, 0.75])


def fill(study: Study, values: list[float]) -> list[float]:
    """The first settings, then a trial for each value; returns what was proposed."""
    if study.first is None:
        study.add_first({"l2": 0.5}, SPACE, MERITS, {1: 0.1})
    proposed = []
    for value in values:
        trial = study.ask(SPACE, seed=1)
        proposed.append(trial.params["l2"])
        study.tell(trial, np.full(3, value))
    return proposed


def test_first_and_best_come_back_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.log"
    with open_study(path) as study:
        assert (study.first, study.best, study.tried) == (None, None, 0)
        proposed = fill(study, [0.125, 0.75, 0.5, 0.75])
    with open_study(path) as study:
        assert study.tried == 5
        assert study.first is not None and study.first.params == {"l2": 0.5}
        np.testing.assert_array_equal(study.first.values, MERITS)
        assert study.best is not None and study.best.params == {"l2": proposed[1]}
        np.testing.assert_array_equal(study.best.values, np.full(3, 0.75))


def test_the_first_settings_are_never_the_best_of_the_others() -> None:
    with open_study(None) as study:
        fill(study, [0.125])
        assert study.best is not None and study.best.values.mean() == 0.125


def test_what_was_given_up_or_broke_down_is_counted_apart() -> None:
    with open_study(None) as study:
        fill(study, [0.5])
        study.tell_pruned(study.ask(SPACE, seed=1))
        study.tell_failed(study.ask(SPACE, seed=1))
        study.tell_failed(study.ask(SPACE, seed=1))
        study.ask(SPACE, seed=1)  # and never told: interrupted
        assert (study.tried, study.pruned, study.failed) == (5, 1, 2)


@pytest.mark.parametrize("torn", [b'{"op_code":4', b"\x00\x00", b"{"])
def test_a_half_written_last_line_is_forgotten(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "a.log"
    with open_study(path) as study:
        fill(study, [0.5, 0.25])
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    with open_study(path) as study:
        assert study.tried == 3
        fill(study, [0.75])
    with open_study(path) as study:
        assert study.tried == 4
    assert path.read_bytes().startswith(whole) and torn + b"\n" not in path.read_bytes()


def test_any_beginning_of_the_file_can_be_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with open_study(path) as study:
        fill(study, [0.5, 0.25])
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with open_study(path) as study:
            before = study.tried
            fill(study, [0.75])
            assert study.first is not None and study.best is not None
            assert study.tried in (before + 1, before + 2)


def test_a_lock_that_a_killed_process_left_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.with_name("a.log.lock").symlink_to(path)
    started = time.monotonic()
    with open_study(path) as study:
        fill(study, [0.5])
    assert time.monotonic() - started < 15  # optuna waits 30 seconds
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.log"]


@pytest.mark.parametrize(
    "content",
    [b"nonsense\n", b'{"op_code":0}\n', b"[1]\n", b'{"a":1}\n', b"\xff\xfe\n", pickle.dumps(1) + b"\n"],
)
def test_a_file_that_is_no_study_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"a\.log: .*delete it"), open_study(path):
        pass
    assert path.read_bytes() == content


def test_figures_that_are_gone_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with open_study(path) as study:
        fill(study, [0.5])
    text = path.read_text()
    assert text.count('"merits"') == 2
    for damaged in (text.replace('"merits"', '"merit"'), text.replace('"merits":"', '"merits":"AAAA')):
        path.write_text(damaged)
        with pytest.raises(ArtifactError, match="delete it"), open_study(path):
            pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "tuning").write_text("a file")
    with pytest.raises(EnvironmentProblem, match="tuning"), open_study(tmp_path / "tuning" / "a.log"):
        pass


def test_keys_differ_with_every_part() -> None:
    parts: list[Any] = [["a", "b"], 4.0, 42, {"l2": 0.1, "dimension": 64}]
    others: list[list[Any]] = [
        [["a", "c"], *parts[1:]],
        [parts[0], 3.5, *parts[2:]],
        [*parts[:2], 43, parts[3]],
        [*parts[:3], {"l2": 0.2, "dimension": 64}],
    ]
    keys = {study_key(*each) for each in (parts, *others)}
    assert len(keys) == 5 and all(key.isalnum() for key in keys)
    assert study_key(*parts[:3], {"dimension": 64, "l2": 0.1}) == study_key(*parts)


def test_optuna_says_nothing_and_its_logging_is_the_callers_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    before = optuna.logging.get_verbosity()
    with open_study(tmp_path / "a.log") as study:
        fill(study, [0.5, 0.25])
        study.tell_pruned(study.ask(SPACE, seed=1))
        assert optuna.logging.get_verbosity() == logging.ERROR
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")
    assert not list(recwarn)


def test_optuna_is_imported_only_when_it_is_needed() -> None:
    code = (
        "import sys, retrieval.pipeline.tuning_search, retrieval.pipeline.tuning_trials\n"
        "import retrieval.pipeline.build, retrieval.reporting.text.report\n"
        "print('optuna' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.stdout, done.stderr) == ("False\n", "")
