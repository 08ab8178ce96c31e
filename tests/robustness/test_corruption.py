"""A sample of the corruption run: no random damage is read. In full: scripts/corrupt_bundles.py."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corrupt_bundles import (
    OTHERS,
    SINGLE,
    Shelf,
    Tally,
    corrupt,
    corrupt_current_file,
    damaged,
    readers_of,
    refuses,
)

from retrieval.bundles.bundle import open_bundle
from retrieval.bundles.writer import copy_bundle, new_bundle
from retrieval.data.datasets import Dataset
from retrieval.pipeline.build import Build, build
from retrieval.pipeline.save import write_build
from tests.support.commands import Bench

ONLY_VERIFIED = {"report.html", "report.json", "items.parquet", "users.parquet"} | {
    f"evaluated/{name}.npy" for name in ("index_recalls", "index_milliseconds", "validation_ndcg")
}


@pytest.fixture(scope="module")
def shelf(
    artifacts: Path, tiny_build: Build, sample_set: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shelf]:
    """Two bundles of the tiny build in one folder, and one of another seed."""
    folder = tmp_path_factory.mktemp("shelf")
    for _ in range(2):
        copy_bundle(open_bundle(artifacts).folder, folder / "artifacts")
    settings = replace(tiny_build.settings, seed=7)
    other = build(sample_set.interactions, items=sample_set.items, settings=settings, name="sample")
    with new_bundle(folder / "other") as writer:
        published = write_build(writer, other)
    yield Shelf(folder / "artifacts", published)


def test_every_file_is_read_by_verify_and_most_by_what_serves_or_judges(shelf: Shelf) -> None:
    found = readers_of(shelf)
    assert set(found) == {"manifest.json", *open_bundle(shelf.artifacts).manifest.files}
    for file, who in found.items():
        expected = ["verify"]
        if file.startswith("served/") or file == "manifest.json":
            expected.append("query")
        judged = file.startswith("evaluated/") and file not in ONLY_VERIFIED
        if judged or file in ("manifest.json", "report.json"):  # whose notes the new report repeats
            expected.append("evaluate")
        assert who == expected, file


def test_no_random_damage_is_read_and_the_whole_bundle_always(shelf: Shelf) -> None:
    tally = Tally()
    steps = sum(1 for _ in corrupt(shelf, 240, 1, tally))
    assert tally.survivors == []
    assert (steps, tally.accepted) == (320, 4)
    assert [tally.done[kind] for kind in (*SINGLE, *OTHERS)] == [120, 120, 27, 27, 26]
    assert tally.refused == tally.done


def test_damage_to_the_current_file_is_refused_or_names_the_same_bundle(shelf: Shelf) -> None:
    """A flip in a predecessor's name, or a cut between names, leaves the first name as it is."""
    tally = Tally()
    corrupt_current_file(shelf, 200, 1, tally)
    assert tally.survivors == [] and tally.done == {"current": 200}
    assert (
        5 < tally.same < 50
    )  # most flips make a name none, or that of no bundle, and most cuts are in a name


@pytest.mark.parametrize("kind", SINGLE)
def test_every_damage_differs_from_what_was_there(kind: str) -> None:
    rng = np.random.default_rng(0)
    for data in (b"a", b"ab" * 50):
        assert all(damaged(data, kind, [], rng) != data for _ in range(100))


def test_what_is_read_though_damaged_is_a_survivor(shelf: Shelf) -> None:
    assert not refuses(lambda: None, "a.npy")
    tally = Tally()
    tally.count(SINGLE[0], "a.npy, flipped bit: read by query", False)
    assert tally.survivors == ["a.npy, flipped bit: read by query"]
    assert tally.of(SINGLE) == "0 of 1 refused (1 flipped bit, 0 truncated)"


def test_the_query_itself_refuses_random_damage(shelf: Shelf, tmp_path: Path) -> None:
    artifacts = Path(shutil.copytree(shelf.artifacts, tmp_path / "artifacts"))
    (tmp_path / "work").mkdir()
    bench, rng = Bench(tmp_path / "work", artifacts), np.random.default_rng(5)
    before, folder = bench.answer(), open_bundle(artifacts).folder
    served = sorted((folder / "served").iterdir())
    for number in range(4):
        path = served[int(rng.integers(len(served)))]
        whole = path.read_bytes()
        path.write_bytes(damaged(whole, SINGLE[number % 2], [], rng))
        line = bench.refused(20, "query", "--user", "42", code=4, given="")
        assert f"{path}: " in line and "retrieval bundles rollback" in line
        path.write_bytes(whole)
    assert bench.answer() == before
