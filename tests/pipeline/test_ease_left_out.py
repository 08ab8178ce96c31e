"""EASE takes memory by the square of the catalogue; a build does without it where that is not there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval import machine
from retrieval.data.datasets import Dataset
from retrieval.errors import EnvironmentProblem, lacks_memory, memory_named
from retrieval.pipeline.build import Build, build
from retrieval.progress import Silent
from retrieval.settings import BuildSettings
from retrieval.training.linear_models import Ease, ease_bytes

N_ITEMS = 112  # of the sample's train slice


class Notes(Silent):
    """Keeps the notes of a build."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def built(sample_set: Dataset, settings: BuildSettings) -> tuple[Build, list[str]]:
    heard = Notes()
    return build(
        sample_set.interactions, items=sample_set.items, settings=settings, progress=heard
    ), heard.notes


def test_too_little_memory_leaves_ease_out_with_a_note_as_the_setting_does_without_one(
    sample_set: Dataset, tiny_build: Build, tiny_settings: BuildSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = ease_bytes(N_ITEMS)
    monkeypatch.setattr("retrieval.pipeline.fit.memory_left", lambda: needed - 1)
    short, notes = built(sample_set, tiny_settings)
    assert any("EASE is left out" in note and "112 items" in note for note in notes)
    assert "ease" not in short.report.stages and "ease" in tiny_build.report.stages
    assert "ease_l2" not in short.report.baselines
    assert not short.settings.ease
    monkeypatch.setattr("retrieval.pipeline.fit.memory_left", lambda: needed)
    without, notes = built(sample_set, replace(tiny_settings, ease=False))
    assert not any("EASE" in note for note in notes)
    for name, weights in without.served.tower_weights.items():
        np.testing.assert_array_equal(weights, short.served.tower_weights[name])
        assert (weights != tiny_build.served.tower_weights[name]).any()  # which start from EASE's


@pytest.mark.parametrize("left", [ease_bytes(N_ITEMS), None])
def test_enough_memory_or_an_unknown_amount_keeps_ease(
    sample_set: Dataset, tiny_settings: BuildSettings, monkeypatch: pytest.MonkeyPatch, left: int | None
) -> None:
    monkeypatch.setattr("retrieval.pipeline.fit.memory_left", lambda: left)
    whole, notes = built(sample_set, replace(tiny_settings, refit=False))
    assert "ease" in whole.report.stages and whole.settings.ease
    assert not any("EASE" in note for note in notes)


def test_ease_is_that_of_the_formula_and_leaves_the_counts_as_they_are() -> None:
    rng = np.random.default_rng(0)
    table = (rng.random((40, 13)) < 0.3).astype(np.float64)
    gram = table.T @ table
    before = gram.copy()
    weights = Ease.from_gram(gram, 7.0).weights
    np.testing.assert_array_equal(gram, before)
    inverse = np.linalg.inv(before + 7 * np.eye(13))
    expected = np.eye(13) - inverse / np.diag(inverse)
    np.testing.assert_allclose(weights, expected * (1 - np.eye(13)), atol=1e-6)
    assert weights.flags.c_contiguous and weights.dtype == np.float32


@pytest.mark.parametrize(
    "short",
    [
        MemoryError(),
        RuntimeError("Memory error in scipy.linalg.inv"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000000 bytes."),
        RuntimeError("can't start new thread"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_a_lack_of_memory_becomes_one_error_that_says_what_to_lower(short: Exception) -> None:
    assert lacks_memory(short)
    says = "not enough memory; lower `candidates`"
    with pytest.raises(EnvironmentProblem, match=says), memory_named("lower `candidates`"):
        raise short


@pytest.mark.parametrize(
    "other",
    [RuntimeError("no kernel"), ValueError("k is 0"), OSError(28, "No space left"), KeyError("memory")],
)
def test_other_errors_stay_what_they_are(other: Exception) -> None:
    assert not lacks_memory(other)
    with pytest.raises(type(other)) as caught, memory_named("lower `candidates`"):
        raise other
    assert caught.value is other


def test_a_build_whose_arithmetic_finds_no_memory_is_an_error_of_the_environment(
    sample_set: Dataset, tiny_settings: BuildSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Memory error in scipy.linalg.inv")

    monkeypatch.setattr("retrieval.training.linear_models.linalg.inv", fail)
    with pytest.raises(EnvironmentProblem, match="`ease=False` leaves out"):
        built(sample_set, tiny_settings)


@pytest.mark.parametrize(
    ("limit", "left"), [("1000", 1000 - 700 + 150), ("max", None), ("600", 50), ("100", 0), ("?", None)]
)
def test_what_a_container_leaves_is_its_limit_without_what_is_in_use_but_for_cached_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, left: int | None
) -> None:
    for name, text in {"max": limit, "current": "700", "stat": "anon 500\ninactive_file 150\n"}.items():
        (tmp_path / f"memory.{name}").write_text(text)
    monkeypatch.setattr(machine, "_CONTROL_GROUP", tmp_path)
    monkeypatch.setattr(machine, "_MEMORY_INFO", tmp_path / "none")
    monkeypatch.setattr(machine, "address_space_left", lambda: None)
    assert machine.memory_left() == left


def test_the_least_of_what_is_left_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "meminfo"
    info.write_text("MemTotal:  9000 kB\nMemAvailable:    3 kB\n")
    monkeypatch.setattr(machine, "_MEMORY_INFO", info)
    monkeypatch.setattr(machine, "_CONTROL_GROUP", tmp_path)
    monkeypatch.setattr(machine, "address_space_left", lambda: 5000)
    assert machine.memory_left() == 3072
    monkeypatch.setattr(machine, "address_space_left", lambda: 100)
    assert machine.memory_left() == 100
