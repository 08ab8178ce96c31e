"""A manifest as a value: every part has its type, unknown keys are kept, the bytes are those on disk."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from retrieval.bundles.bundle import open_bundle
from retrieval.bundles.manifest import FileEntry, Manifest, manifest_bytes, manifest_digest
from retrieval.errors import DamagedBundle
from retrieval.json_document import JsonObject
from tests.support.manifests import DESCRIPTION, GATE

CREATED = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
FILES = {"served/b.npy": FileEntry(3, "b" * 64), "a.json": FileEntry(2, "a" * 64)}


def test_a_manifest_is_the_same_from_its_bytes() -> None:
    changes = [{"at": "2026-01-02T03:04:05+00:00", "what": "add", "added": 1, "items": 5}]
    made = Manifest.new(DESCRIPTION | {"gate": GATE, "changes": changes, "later": [1]}, FILES, CREATED)
    read = Manifest.parse(made.to_bytes(), Path("manifest.json"))
    assert read == made and read.to_bytes() == made.to_bytes()
    assert list(read.document) == [
        *("format_version", "created", *DESCRIPTION, "gate", "changes", "later", "files", "build_id")
    ]
    assert list(read.document["files"]) == list(read.files) == ["a.json", "served/b.npy"]
    assert read.description == DESCRIPTION | {"gate": GATE, "changes": changes, "later": [1]}
    assert (read.data.name, read.split.kind, read.split.counts.train) == ("invented", "time", 7)
    assert (read.settings.seed, read.validation.value, read.training.neural_mf) == (1, 0.5, None)
    assert read.gate is not None and read.gate.held and read.gate.current == 0.6
    assert [(change.what, change.items, change.document["added"]) for change in read.changes] == [
        ("add", 5, 1)
    ]
    assert read.bundle_name == f"20260102-030405-{read.build_id[:12]}"


def test_the_manifest_of_a_build_is_spelled_as_on_disk(artifacts: Path) -> None:
    bundle = open_bundle(artifacts)
    assert bundle.manifest.to_bytes() == (bundle.folder / "manifest.json").read_bytes()


@pytest.mark.parametrize(
    ("part", "key", "value", "says"),
    [
        ("data", "name", 3, "data.name is 3; expected a text"),
        ("data", "rows", 1.5, "data.rows is 1.5; expected an integer"),
        ("split", "kind", "x", 'split.kind is \'x\'; expected "time" or "random"'),
        ("split", "counts", [], "split.counts is a list; expected an object"),
        ("settings", "seed", True, "settings.seed is True; expected an integer"),
        ("settings", "positive_threshold", float("inf"), "expected a finite number"),
        ("validation", "value", None, "validation.value is None; expected a number"),
        ("training", "towers", [], "training.towers is empty"),
        ("training", "towers", [1], "training.towers[0] is 1; expected an object"),
    ],
)
def test_a_part_of_another_type_is_named(part: str, key: str, value: Any, says: str) -> None:
    description = DESCRIPTION | {part: DESCRIPTION[part] | {key: value}}
    with pytest.raises(ValueError) as caught:
        Manifest.new(description, FILES, CREATED)
    assert says in str(caught.value)
    document = dict(Manifest.new(DESCRIPTION, FILES, CREATED).document) | {part: description[part]}
    document["build_id"] = manifest_digest(document)
    with pytest.raises(DamagedBundle) as damaged:
        Manifest.parse(manifest_bytes(document), Path("x/manifest.json"))
    assert str(damaged.value).startswith("x/manifest.json: not a manifest (") and says in str(damaged.value)


@pytest.mark.parametrize("part", DESCRIPTION)
def test_a_missing_part_is_named(part: str) -> None:
    with pytest.raises(ValueError, match=f"^{part} is missing$"):
        Manifest.new({key: value for key, value in DESCRIPTION.items() if key != part}, FILES, CREATED)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**400, 1.0, "1", None, [1], False])
def test_no_integer_of_64_bits_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^n is "):
        JsonObject({"n": value}).integer("n")


def test_a_number_keeps_its_type_and_no_field_may_be_unknown() -> None:
    document = JsonObject({"whole": 4, "part": 0.5})
    assert [repr(document.number(name)) for name in ("whole", "part")] == ["4", "0.5"]
    with pytest.raises(ValueError, match=r"^part is unknown; expected whole$"):
        document.check_names({"whole"})
