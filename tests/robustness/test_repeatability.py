"""The same data, settings, seed and threads with an index string: the same bundle but for what was timed."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from index import AnnIndex, ChosenIndex, Goal, Workload, candidate_kinds, kind_of, set_to_target
from retrieval import machine
from retrieval.bundles.bundle import open_bundle
from retrieval.bundles.layout import MEASURED, TIMED_FILES
from retrieval.bundles.manifest import Manifest
from retrieval.data.encoded import EncodedInteractions
from retrieval.evaluation.validation import ValidationLists
from retrieval.machine import made_on
from retrieval.pipeline.build import Build
from retrieval.pipeline.index_choice import choose_index
from retrieval.progress import Silent
from retrieval.settings import BuildSettings
from tests.support.commands import run
from tests.support.models import without_index

INDEX = "UPCAR8,IVF8,PQ8x4fsr,RFlat"  # has the most to set: lists and how many are scored again
BY_NAME = ("IVF16,Flat", "IVF128_HNSW8,Flat", "RR16,PQ4x4", "HNSW16,SQ8", "UPCA8,HNSW8")
SMALL = ("--dimension", 8, "--epochs", 1, "--members", 1, "--candidates", 20, "--threads", 2)


def built(folder: Path, seed: int, **more: str) -> Manifest:
    """The manifest of what a command of its own published; `more` goes into its environment."""
    done = run(
        *("build-index", "--dataset", "sample", "--index", INDEX, *SMALL, "--seed", seed, "--quiet"),
        *("--artifacts", folder, "--device", "cpu"),
        **more,
    )
    assert done.code == 0, done.err
    return open_bundle(folder).manifest


def digests(manifest: Manifest) -> dict[str, str]:
    return {name: entry.sha256 for name, entry in manifest.files.items()}


@dataclass(frozen=True)
class Builds:
    one: Manifest
    same: Manifest
    other: Manifest  # of another seed


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    folder = tmp_path_factory.mktemp("built")
    one, same = (built(folder / seed, 7, PYTHONHASHSEED=seed) for seed in ("1", "2"))
    return Builds(one, same, built(folder / "3", 8))


def test_two_builds_differ_in_nothing_but_what_was_timed(builds: Builds) -> None:
    one, same = digests(builds.one), digests(builds.same)
    assert one.keys() == same.keys() >= TIMED_FILES
    assert {name for name in one if one[name] != same[name]} <= TIMED_FILES
    untimed = one.keys() - TIMED_FILES
    for part in ("evaluated", "served"):
        kept = ("towers.safetensors", "neural_mf.safetensors", "index.faiss", "model.json", "item_ids.npy")
        assert {f"{part}/{name}" for name in kept} <= untimed
    rest = builds.one.document.keys() - MEASURED
    assert rest >= {"data", "split", "settings", "training", "libraries", "made_on"}
    one_document, same_document = builds.one.document, builds.same.document
    assert {name: one_document[name] for name in rest} == {name: same_document.get(name) for name in rest}


def test_another_seed_gives_other_weights_and_another_index(builds: Builds) -> None:
    one, other = digests(builds.one), digests(builds.other)
    for part in ("evaluated", "served"):
        for name in ("towers.safetensors", "neural_mf.safetensors", "index.faiss", "item_vectors.npy"):
            assert one[f"{part}/{name}"] != other[f"{part}/{name}"], name
        for name in ("item_ids.npy", "user_ids.npy", "seen_items.npy"):  # these are the data's
            assert one[f"{part}/{name}"] == other[f"{part}/{name}"], name


def catalogue(n: int = 1000, d: int = 16) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Clusters of vectors, and queries near them."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, d))
    near = centres[rng.integers(0, 40, n + 120)] + 0.4 * rng.normal(size=(n + 120, d))
    return near[:n].astype(np.float32), near[n:].astype(np.float32)


KINDS = tuple(kind.factory for kind in candidate_kinds(catalogue()[0], small=True))
OPQ = pytest.param("OPQ8_16,IVF8,PQ8x4", marks=pytest.mark.slow)  # fifty rounds of k-means, each part by part


@pytest.mark.parametrize("factory", [*KINDS, *BY_NAME, OPQ])
def test_an_index_built_by_several_threads_repeats_byte_for_byte(factory: str) -> None:
    vectors, _ = catalogue()
    one, same = (AnnIndex.build(vectors, factory, seed=5, threads=2).to_bytes() for _ in range(2))
    assert one.tobytes() == same.tobytes()


def test_every_family_is_among_the_kinds_that_are_repeated() -> None:
    families = {kind.family for kind in candidate_kinds(catalogue()[0], small=True)}
    expected = ("flat", "half precision", "panorama", "lists", "fast scan", "fast scan lists", "graph")
    assert families == set(expected)


def clock(favours: int) -> Callable[..., NDArray[np.float64]]:
    """A clock by which the first of what is timed is the fastest (1), or the last (-1)."""

    def seconds(workload: Workload, indexes: list[Any], rounds: int) -> NDArray[np.float64]:
        order = np.arange(len(indexes))[::favours] + 1.0
        return np.broadcast_to(order[:, None, None], (len(indexes), rounds, len(workload))).copy()

    return seconds


@pytest.mark.parametrize("factory", ["UPCAR16,IVF64,PQ16x4fsr,RFlat", "UPCAR8,PQ8x4fs,RFlat", "IVF64,Flat"])
@pytest.mark.parametrize("recall", [0.9, 1.0])
def test_a_string_is_set_the_same_whatever_the_clock_says(
    factory: str, recall: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, queries = catalogue()
    found: list[ChosenIndex] = []
    for favours in (1, -1):
        monkeypatch.setattr(Workload, "seconds", clock(favours))
        found.append(set_to_target(vectors, queries, 20, Goal(recall), kind_of(factory), seed=1, threads=1))
    one, other = found
    assert one.chosen.name == other.chosen.name == one.index.name
    assert [point.name for point in one.points] == [point.name for point in other.points]


@pytest.mark.parametrize("factory", ["Flat", "UPCA9,FlatIPPanorama4"])
def test_what_was_named_is_served_whatever_the_clock_says(
    factory: str, tiny_build: Build, tiny_settings: BuildSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, system = tiny_build.evaluation.data, tiny_build.evaluated
    frame = tiny_build.split.validation
    validation = EncodedInteractions.from_frame(frame, system.users, system.items)
    lists = ValidationLists.of(data.train, validation, frame, system.users, system.items, 4.0)
    settings = replace(tiny_settings, index=factory)
    for favours in (1, -1):  # exact search is timed last
        monkeypatch.setattr(Workload, "seconds", clock(favours))
        bare = without_index(system.model)
        model, choice = choose_index(bare, settings, lists, Silent())
        assert (model.serves, choice.chosen.factory) == ("ann", factory)
        tuned = choose_index(bare, replace(settings, index="auto"), lists, Silent())[1]
        assert tuned.serves == ("exact" if favours == -1 else "ann")  # the clock is asked where it should be


def test_the_manifest_says_what_could_make_a_repetition_differ(
    builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = builds.one.document["made_on"]
    assert (told["threads"], told["device"]) == (2, {"type": "cpu"})
    assert set(told["instruction_sets"]) == {"numpy", "torch", "faiss"}
    assert all(told[key] for key in ("python", "platform", "machine", "cpu", "cores", "blas"))
    assert set(told["environment"]) <= set(machine.ENVIRONMENT)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    here = made_on(torch.device("cpu"), 3)
    assert (here["environment"]["OPENBLAS_CORETYPE"], here["threads"]) == ("Haswell", 3)
    assert "hidden" not in json.dumps(here) and str(Path.home()) not in json.dumps(here)


def test_a_machine_that_does_not_name_its_processor_is_told_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_CPU_INFO", tmp_path / "none")
    assert made_on(torch.device("cpu"), 1)["cpu"]
