"""The index of a fitted system: what is chosen, served, kept and refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

from index import AnnIndex, ChosenIndex, HeldOut, OperatingPoint, SearchSettings
from retrieval.bundles.bundle import open_bundle
from retrieval.bundles.fitted_system_files import read_system
from retrieval.data.encoded import EncodedInteractions
from retrieval.errors import UsageError
from retrieval.evaluation.choices import IndexChoice
from retrieval.evaluation.from_bundle import read_evaluated
from retrieval.evaluation.validation import ValidationLists
from retrieval.pipeline import index_choice
from retrieval.pipeline.build import Build
from retrieval.pipeline.index_choice import _LossLimit, choose_index, same_index
from retrieval.progress import Silent
from retrieval.serving.fitted_model import FittedModel
from retrieval.serving.fitted_system import FittedSystem
from retrieval.serving.two_stage import TwoStageModel
from retrieval.settings import BuildSettings
from tests.support.models import without_index


class Heard(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def lists(tiny_build: Build) -> ValidationLists:
    data, system = tiny_build.evaluation.data, tiny_build.evaluated
    frame = tiny_build.split.validation
    validation = EncodedInteractions.from_frame(frame, system.users, system.items)
    return ValidationLists.of(data.train, validation, frame, system.users, system.items, 4.0)


@pytest.fixture(scope="module")
def bare(tiny_build: Build) -> FittedModel:
    """The model before an index is chosen."""
    return without_index(tiny_build.evaluated.model)


def chosen(
    fitted: FittedModel, lists: ValidationLists, settings: BuildSettings
) -> tuple[TwoStageModel, IndexChoice, list[str]]:
    heard = Heard()
    model, choice = choose_index(fitted, settings, lists, heard)
    return model, choice, heard.notes


def test_auto_serves_what_is_fastest_and_measures_an_index_all_the_same(
    bare: FittedModel, lists: ValidationLists, tiny_settings: BuildSettings
) -> None:
    model, choice, _ = chosen(bare, lists, replace(tiny_settings, index="auto", recall_target=0.9))
    assert isinstance(model.ann, AnnIndex)
    assert model.ann.name == choice.approximate.name
    assert choice.serves == model.serves
    assert choice.chosen.is_exact or (model.serves, choice.chosen) == ("ann", choice.approximate)
    assert choice.held_out.recall >= 0.9
    assert len({point.factory for point in choice.points}) > 4
    # what was measured is kept to the single query
    assert all(len(point.recalls) and point.milliseconds.ndim == 2 for point in choice.points)


def test_exact_serves_exact_search(
    bare: FittedModel, lists: ValidationLists, tiny_settings: BuildSettings
) -> None:
    model, choice, _ = chosen(bare, lists, replace(tiny_settings, index="exact"))
    assert (model.serves, choice.serves) == ("exact", "exact")
    users = np.arange(20)
    served, exact = model.for_users(users, 5), model.for_users(users, 5, "exact")
    np.testing.assert_array_equal(served.rows, exact.rows)


def test_an_index_that_is_named_is_served_and_a_missed_target_is_said(
    bare: FittedModel, lists: ValidationLists, tiny_settings: BuildSettings
) -> None:
    settings = replace(tiny_settings, index="RR8,PQ2x4", recall_target=1.0)
    model, choice, notes = chosen(bare, lists, settings)
    assert isinstance(model.ann, AnnIndex) and model.ann.factory == "RR8,PQ2x4"
    assert (model.serves, choice.pays_from) == ("ann", None)
    assert "RFlat" in notes[0]
    assert "`recall_target=1` missed" in notes[1]


def test_a_target_that_nothing_meets_within_the_memory_is_refused_with_the_best(
    bare: FittedModel, lists: ValidationLists, tiny_settings: BuildSettings
) -> None:
    limit = int(bare.vectors.items.nbytes * 0.3)
    settings = replace(tiny_settings, index="auto", recall_target=1.0, memory_limit=limit)
    with pytest.raises(UsageError, match="`recall_target` and `memory_limit`: no") as caught:
        chosen(bare, lists, settings)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("ask for less or allow more")


def test_a_limit_on_the_loss_is_kept_by_the_lists_that_are_served(
    bare: FittedModel, lists: ValidationLists, tiny_settings: BuildSettings
) -> None:
    def loss(model: TwoStageModel, search: str) -> _LossLimit:
        return _LossLimit(bare, lists.warm, lists.seen, 0.0)

    hasty = AnnIndex.build(bare.vectors.items, "IVF8,Flat", seed=1, threads=1).with_nprobe(1)
    none, half = (_LossLimit(bare, lists.warm, lists.seen, most) for most in (0.0, 0.5))
    assert none(bare.exact) and half(bare.exact)
    losses = none._ndcg(bare.exact) - none._ndcg(hasty)
    assert none(hasty) == (losses.mean() + 1.645 * losses.std(ddof=1) / np.sqrt(len(losses)) <= 0)
    settings = replace(tiny_settings, index="IVF8,Flat", recall_target=None, max_ndcg_loss=0.0)
    model, _, _ = chosen(bare, lists, settings)
    assert none(model.ann)


def test_a_refit_keeps_the_kind_and_sets_it_anew(
    bare: FittedModel, lists: ValidationLists, tiny_settings: BuildSettings, tiny_build: Build
) -> None:
    settings = replace(tiny_settings, recall_target=0.9)
    _, choice, _ = chosen(bare, lists, settings)
    served = tiny_build.served.model
    model, points = same_index(without_index(served), choice, settings)
    assert isinstance(model.ann, AnnIndex) and model.ann.factory == "IVF8,Flat"
    assert model.ann.size == len(served.vectors.items)
    assert points and model.serves == choice.serves


def test_what_was_measured_lies_in_the_bundle(tiny_build: Build, artifacts: Path) -> None:
    bundle = open_bundle(artifacts)
    points = tiny_build.index.points
    recalls = bundle.array("evaluated/index_recalls.npy")
    times = bundle.array("evaluated/index_milliseconds.npy")
    assert (len(recalls), len(times)) == (len(points), len(points))
    for point, found, took in zip(points, recalls, times, strict=True):
        assert found.mean() == pytest.approx(point.recall, abs=1e-6)
        assert np.median(took) == pytest.approx(point.p50_ms, rel=1e-4)
    again = read_evaluated(bundle).index
    assert again is not None and again.to_json() == json.loads(json.dumps(tiny_build.index.to_json()))


def test_a_loaded_system_serves_as_it_was_built(tiny_build: Build, artifacts: Path) -> None:
    model, users = read_system(open_bundle(artifacts), "evaluated").model, np.arange(15)
    assert model.serves == tiny_build.evaluated.model.serves
    np.testing.assert_array_equal(
        model.for_users(users, 5).rows, tiny_build.evaluated.model.for_users(users, 5).rows
    )


def test_there_is_no_two_stage_model_without_an_index(bare: FittedModel) -> None:
    """So no system without an index can be written: `write_system` takes a `FittedSystem`, which has one."""
    with pytest.raises(TypeError, match="'ann'"):
        TwoStageModel(bare.vectors, bare.rating_model, bare.seen, bare.n_candidates)  # type: ignore[call-arg]
    assert get_type_hints(FittedSystem)["model"] is TwoStageModel
    assert get_type_hints(TwoStageModel)["ann"] is AnnIndex


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"memory_limit": 0}, "`memory_limit` must be at least one byte"),
        ({"max_ndcg_loss": -0.1}, "`max_ndcg_loss` must lie in"),
        ({"max_ndcg_loss": float("nan")}, "`max_ndcg_loss` must lie in"),
        ({"index_minutes": 0.0}, "`index_minutes` must be a positive number"),
        ({"index_minutes": float("inf")}, "`index_minutes` must be a positive number"),
        ({"recall_target": None}, "needs a target"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float | None], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        BuildSettings(**wrong)  # type: ignore[arg-type]


def point(factory: str, ms: float) -> OperatingPoint:
    is_exact = factory in ("exact", "Flat")
    return OperatingPoint(factory, SearchSettings(), 1.0, 0.0, ms, ms, 1.0, 0.0, is_exact, "flat")


@pytest.mark.parametrize(
    ("chosen_ms", "factory", "serves", "ann"),
    [
        (1.0, "exact", "exact", "IVF8,Flat"),
        (0.9, "Flat", "exact", "IVF8,Flat"),  # exact search is nearly as fast, and there anyway
        (0.5, "Flat", "ann", "Flat"),
        (0.5, "IVF8,Flat", "ann", "IVF8,Flat"),
    ],
)
def test_what_was_chosen_is_what_answers(
    bare: FittedModel,
    lists: ValidationLists,
    tiny_settings: BuildSettings,
    monkeypatch: pytest.MonkeyPatch,
    chosen_ms: float,
    factory: str,
    serves: str,
    ann: str,
) -> None:
    ivf, flat = (
        AnnIndex.build(bare.vectors.items, each, seed=1, threads=1) for each in ("IVF8,Flat", "Flat")
    )
    index = {"exact": bare.exact, "Flat": flat, "IVF8,Flat": ivf}[factory]
    best, other = point(factory, chosen_ms), point("IVF8,Flat", 2.0)
    points = (point("exact", 1.0), best, other)
    approximate = best if factory == "IVF8,Flat" else other
    found = ChosenIndex(index, ivf, best, approximate, points, HeldOut(1.0, 0.0, 9), 1.0)  # type: ignore[arg-type]
    monkeypatch.setattr(index_choice, "choose", lambda *given, **named: found)
    monkeypatch.setattr(index_choice, "pays_from", lambda *given, **named: 1234)
    model, choice, _ = chosen(bare, lists, replace(tiny_settings, index="auto"))
    assert (model.serves, choice.serves) == (serves, serves)
    assert isinstance(model.ann, AnnIndex) and model.ann.factory == choice.approximate.factory == ann
    assert choice.pays_from == (1234 if serves == "exact" else None)
