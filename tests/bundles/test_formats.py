"""A bundle of every format that is read or converted lies in `formats`, as its program wrote it."""

import errno
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retrieval import Recommender
from retrieval.bundles.bundle import open_bundle, open_named
from retrieval.bundles.current import BUILDS, read_current_file
from retrieval.bundles.layout import MANIFEST, VALIDATION
from retrieval.bundles.manifest import FORMAT_VERSION, OLDER_VERSIONS, manifest_bytes, manifest_digest
from retrieval.bundles.registry import entries, problems, promote, prune, rollback
from retrieval.bundles.writer import copy_bundle
from retrieval.catalogue.change import without_items
from retrieval.catalogue.publish import changing_bundle
from retrieval.errors import ArtifactError, DamagedBundle, EnvironmentProblem
from retrieval.evaluation.evaluate import evaluate
from retrieval.evaluation.from_bundle import measure_validation, read_evaluated
from retrieval.pipeline.upgrade import upgrade
from tests.support.commands import run

FORMATS = Path(__file__).parent / "formats"
Unpacked = Callable[[int], Path]


@pytest.fixture
def unpacked(tmp_path: Path) -> Unpacked:
    """Artifacts with the kept bundle of a format, to be changed at will."""

    def unpack(version: int) -> Path:
        folder = tmp_path / f"format-{version}"
        with zipfile.ZipFile(FORMATS / f"{version}.zip") as archive:
            archive.extractall(folder)
        return folder

    return unpack


def current(artifacts: Path) -> str:
    return read_current_file(artifacts)[0]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lists_of(artifacts: Path) -> list[list[tuple[object, float]]]:
    recommender = Recommender.load(artifacts)
    lists = [
        *recommender.recommend(recommender.system.users.ids, 10),
        recommender.recommend_for_history([1, 2, 30], 10),
        recommender.recommend(["nobody"], 3, fallback="popular")[0],
        recommender.similar_items([7], 4)[0],
        recommender.recommend([42], 5, only={"genre": "Comedy"})[0],
        recommender.recommend([42], 40, exact=True, rerank=False)[0],
    ]
    return [[(place.item, round(place.score, 4)) for place in each.items] for each in lists]


def assert_serves(artifacts: Path) -> None:
    """It is whole, gives lists of every kind, and every figure can be measured again."""
    assert problems(artifacts, current(artifacts)) == ()
    assert all(lists_of(artifacts))
    bundle = open_bundle(artifacts)
    report = evaluate(read_evaluated(bundle), 10)
    recorded = bundle.json("report.json")["stages"]
    for stage, measured in report.stages.items():
        assert measured.ndcg.value == pytest.approx(recorded[stage]["ndcg@10"]["value"], abs=1e-6), stage
    np.testing.assert_allclose(measure_validation(bundle), bundle.array(VALIDATION), atol=1e-6)
    assert bundle.manifest.validation.value == pytest.approx(bundle.array(VALIDATION).mean())


def test_a_bundle_of_every_format_is_kept_and_small() -> None:
    kept = {path.stem: path.stat().st_size for path in FORMATS.iterdir()}
    assert kept.keys() == {str(version) for version in (*OLDER_VERSIONS, FORMAT_VERSION)}
    assert max(kept.values()) < 300_000


def test_a_bundle_of_todays_format_from_an_earlier_program_serves(unpacked: Unpacked) -> None:
    """Also what was added to the format since: a file or a field that it lacks is optional."""
    artifacts = unpacked(FORMAT_VERSION)
    assert_serves(artifacts)
    assert "rating_bounds" not in open_bundle(artifacts).json("served/model.json")


def test_a_bundle_from_an_earlier_program_can_be_changed_and_copied(
    unpacked: Unpacked, tmp_path: Path
) -> None:
    artifacts = unpacked(FORMAT_VERSION)
    with changing_bundle(artifacts) as changing:
        changing.publish(without_items(changing.system, [3]), {"what": "remove", "items": 47})
    assert_serves(artifacts)
    copy_bundle(artifacts / BUILDS / current(artifacts), tmp_path / "copied")
    assert lists_of(tmp_path / "copied") == lists_of(artifacts)


@pytest.mark.parametrize("version", OLDER_VERSIONS)
def test_an_older_format_is_refused_with_the_command_that_converts_it(
    unpacked: Unpacked, version: int
) -> None:
    artifacts = unpacked(version)
    says = f"format version {version}, but this program reads {FORMAT_VERSION}; `retrieval bundles upgrade"
    with pytest.raises(ArtifactError, match=says):
        Recommender.load(artifacts)
    assert "bundles upgrade" in run("query", "--user", 42, "--artifacts", artifacts).refusal(4)


@pytest.mark.parametrize("version", OLDER_VERSIONS)
def test_a_converted_bundle_serves_in_the_place_of_the_old_one_which_stays(
    unpacked: Unpacked, version: int
) -> None:
    artifacts = unpacked(version)
    old = current(artifacts)
    before = files_of(artifacts / BUILDS / old)
    folder = upgrade(artifacts, old)
    assert read_current_file(artifacts) == (folder.name,)
    assert files_of(artifacts / BUILDS / old) == before
    assert_serves(artifacts)
    manifest = open_bundle(artifacts).manifest
    assert manifest.document["format_version"] == FORMAT_VERSION
    assert manifest.document["upgraded"]["name"] == old
    assert [entry.state for entry in entries(artifacts)] == ["current", "unreadable"]
    # The two programs trained the same models: the lists are those of the bundle of today's format.
    assert lists_of(artifacts) == lists_of(unpacked(FORMAT_VERSION))


@pytest.mark.parametrize("version", OLDER_VERSIONS)
def test_rollback_goes_back_across_a_format(unpacked: Unpacked, version: int) -> None:
    """From a bundle of today's format to one of an earlier format: first told how, then done."""
    artifacts, newer = unpacked(version), unpacked(FORMAT_VERSION)
    old, new = current(artifacts), current(newer)
    shutil.copytree(newer / BUILDS / new, artifacts / BUILDS / new)
    promote(artifacts, new)
    with pytest.raises(
        ArtifactError, match=f"{old} is of an earlier format; `retrieval bundles upgrade {old}`"
    ):
        rollback(artifacts)
    assert read_current_file(artifacts) == (new, old)
    folder = upgrade(artifacts, old)
    assert read_current_file(artifacts) == (new, folder.name)
    assert rollback(artifacts) == (folder.name, ())
    assert_serves(artifacts)
    assert {each.name for each in prune(artifacts, 1)} == {old, new}


def test_prune_counts_a_bundle_that_can_be_converted(unpacked: Unpacked) -> None:
    """Else a nightly `prune --keep 5` would remove, after an update, all that one could go back to."""
    artifacts, newer = unpacked(4), unpacked(FORMAT_VERSION)
    old, new = current(artifacts), current(newer)
    shutil.copytree(newer / BUILDS / new, artifacts / BUILDS / new)
    promote(artifacts, new)
    assert prune(artifacts, 1) == ()  # the one that rollback names stays too
    assert read_current_file(artifacts) == (new, old)


def test_a_bundle_that_was_never_served_is_kept_when_it_is_converted(unpacked: Unpacked) -> None:
    artifacts, newer = unpacked(FORMAT_VERSION), unpacked(4)
    served, old = current(artifacts), current(newer)
    shutil.copytree(newer / BUILDS / old, artifacts / BUILDS / old)
    folder = upgrade(artifacts, old)
    assert read_current_file(artifacts) == (served,)
    assert problems(artifacts, folder.name) == ()


@pytest.mark.parametrize("file", ["served/item_vectors.npy", "evaluated/choices.json", "report.html"])
def test_a_damaged_bundle_is_not_converted_and_nothing_changes(unpacked: Unpacked, file: str) -> None:
    artifacts = unpacked(4)
    old = current(artifacts)
    path = artifacts / BUILDS / old / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedBundle, match=r"its SHA-256 is not the manifest's"):
        upgrade(artifacts, old)
    assert read_current_file(artifacts) == (old,)
    assert [each.name for each in (artifacts / BUILDS).iterdir()] == [old]


def test_a_changed_manifest_is_not_converted(unpacked: Unpacked) -> None:
    artifacts = unpacked(4)
    path = artifacts / BUILDS / current(artifacts) / MANIFEST
    path.write_bytes(path.read_bytes().replace(b'"rows": 1228', b'"rows": 1229'))
    with pytest.raises(DamagedBundle, match="its digest is not the build id"):
        upgrade(artifacts, current(artifacts))


@pytest.mark.parametrize("version", [3, FORMAT_VERSION + 1])
def test_a_format_that_cannot_be_converted_is_refused(unpacked: Unpacked, version: int) -> None:
    artifacts = unpacked(4)
    path = artifacts / BUILDS / current(artifacts) / MANIFEST
    document = json.loads(path.read_bytes()) | {"format_version": version}
    document |= {"build_id": manifest_digest(document)}
    path.write_bytes(manifest_bytes(document))
    with pytest.raises(ArtifactError, match=f"format version {version}, .*run build-index again"):
        upgrade(artifacts, current(artifacts))
    run("retrieval", "bundles", "upgrade", "--artifacts", artifacts).refusal(4)


def test_the_command_converts_the_current_bundle_once(unpacked: Unpacked) -> None:
    artifacts = unpacked(4)
    old = current(artifacts)
    words = ("bundles", "upgrade", "--artifacts", artifacts)
    ran = run("retrieval", *words)
    assert ran.code == 0
    assert ran.out.startswith(f"{old} converted to format version {FORMAT_VERSION}: {artifacts / BUILDS}")
    assert ran.out.endswith(", current\n")
    new = current(artifacts)
    assert run("retrieval", *words, "--json").json == {"bundle": new, "upgraded": False}
    assert open_named(artifacts, new).manifest.document["upgraded"]["format_version"] == 4
    assert run("query", "--user", 42, "--artifacts", artifacts).code == 0


def test_a_disk_that_fails_at_the_last_step_leaves_the_old_bundle_alone(
    unpacked: Unpacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = unpacked(4)
    old = current(artifacts)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("retrieval.bundles.writer.write_current_file", fail)
    with pytest.raises(EnvironmentProblem):
        upgrade(artifacts, old)
    assert read_current_file(artifacts) == (old,)
    assert [each.name for each in (artifacts / BUILDS).iterdir()] == [old]
