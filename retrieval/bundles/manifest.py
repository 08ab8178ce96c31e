"""The manifest of a bundle: what was built from what, the digests of all files, and the build id."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from retrieval.bundles.layout import FILE_NAME
from retrieval.data.split_counts import SplitCounts
from retrieval.errors import ArtifactError, DamagedBundle
from retrieval.json_document import JsonObject

if TYPE_CHECKING:
    from retrieval.settings import SplitKind

FORMAT_VERSION = 5
# Formats that `retrieval bundles upgrade` converts. Format 4 has no `validation` in the manifest, no
# `made_with` in a model.json and no evaluated/validation_ndcg.npy.
OLDER_VERSIONS = (4,)
ID_LENGTH = 12  # of the build id, in the folder's name
KINDS: "tuple[SplitKind, ...]" = ("time", "random")
LACKING: dict[str, Any] = {"validation": {"metric": "ndcg@10", "value": float("nan"), "users": 0}}
# The writer adds these keys itself; the others describe the build.
ADDED = frozenset({"format_version", "created", "files", "build_id"})


# The manifest and its parts are named tuples: every `query` makes these classes when it starts, and a frozen
# dataclass takes ten times as long to make, 1.2 ms where this was measured.


class FileEntry(NamedTuple):
    """Size in bytes and SHA-256, in hexadecimal, of one file."""

    size: int
    sha256: str


class DataIdentity(NamedTuple):
    """The interactions a bundle was built from: the data set's name, their digest and number of rows."""

    name: str
    sha256: str
    rows: int


class SplitSummary(NamedTuple):
    """How the interactions were split.

    Attributes:
        kind: "time" or "random".
        validation_start, test_start: the cuts, in unix seconds; None in a random split.
        counts: sizes of the slices.
    """

    kind: "SplitKind"
    validation_start: float | None
    test_start: float | None
    counts: SplitCounts


class RecordedSettings(NamedTuple):
    """The settings of the build that later commands read.

    Attributes:
        seed, threads: of the build.
        positive_threshold: ratings from here on are positive and relevant.
        preset: name of the preset; None where the build had none.
        document: all settings, as `BuildSettings` has them.
    """

    seed: int
    threads: int
    positive_threshold: float
    preset: str | None
    document: Mapping[str, Any]


class ValidationScore(NamedTuple):
    """The served lists on validation: the metric's name, its mean and the number of users it is over."""

    metric: str
    value: float
    users: int


class RecordedTraining(NamedTuple):
    """The training curves, as documents that `TrainingHistory.from_json` takes.

    Attributes:
        towers: one for each member, at least one.
        neural_mf: None where there were no ratings.
    """

    towers: tuple[Mapping[str, Any], ...]
    neural_mf: Mapping[str, Any] | None


class GateRecord(NamedTuple):
    """The gate's verdict on the build, in NDCG@10 on validation; see `pipeline.gate.GateVerdict`.

    Attributes:
        held: whether the build was kept without being made current.
        max_regression: how much less was allowed.
        new, current: of the new build and of the bundle that was current; None where there was none.
        against: name of the bundle that was current.
    """

    held: bool
    max_regression: float
    new: float
    current: float | None
    against: str | None


class CatalogueChange(NamedTuple):
    """One change of the catalogue since the build.

    Attributes:
        at: time, ISO 8601 in UTC.
        what: the command that made it.
        items: size of the catalogue after it.
        document: the whole entry, with the counts of the command.
    """

    at: str
    what: str
    items: int
    document: Mapping[str, Any]


class Manifest(NamedTuple):
    """A manifest whose parts have the right types and whose build id is the digest of the rest.

    Attributes:
        created: time of publishing, ISO 8601 in UTC.
        build_id: SHA-256 of the rest of the document.
        data, split, settings, validation, training: the build.
        gate: None where the build had no gate.
        changes: of the catalogue since the build, first to last.
        files: every other file of the bundle, by its name.
        document: the whole manifest as JSON has it, with keys that this program does not know; its order is
            that on disk.
    """

    created: str
    build_id: str
    data: DataIdentity
    split: SplitSummary
    settings: RecordedSettings
    validation: ValidationScore
    training: RecordedTraining
    gate: GateRecord | None
    changes: tuple[CatalogueChange, ...]
    files: Mapping[str, FileEntry]
    document: Mapping[str, Any]

    @classmethod
    def new(
        cls, description: Mapping[str, Any], files: Mapping[str, FileEntry], created: datetime
    ) -> "Manifest":
        """The manifest of a bundle that is being published.

        Args:
            description: everything but the keys of `ADDED`.
            created: to the microsecond, so that publishing the same build twice gives two bundles.

        Raises:
            ValueError: if a part of the description is missing or of another type.
        """
        document = {
            "format_version": FORMAT_VERSION,
            "created": created.isoformat(timespec="microseconds"),
            **description,
            "files": {name: entry._asdict() for name, entry in sorted(files.items())},
        }
        return cls._of(document | {"build_id": manifest_digest(document)})

    @classmethod
    def parse(cls, data: bytes, path: Path, versions: Collection[int] = (FORMAT_VERSION,)) -> "Manifest":
        """Read a manifest and check it: format version, digest, spelling, the type of every part.

        Args:
            data: the bytes of the file.
            path: of the file, for messages.
            versions: the format versions to read; `validation`, which older ones lack, is NaN of 0 users.

        Raises:
            DamagedBundle: if it is not what `to_bytes` gave.
            ArtifactError: if it is of another format version.
        """
        try:
            document = json.loads(data)
            _check_version(JsonObject(document).integer("format_version"), path, versions)
            entries = _files(JsonObject(document))
            # The bytes too: JSON has many spellings of the same content, the writer only one.
            whole = document.get("build_id") == manifest_digest(document) and data == manifest_bytes(document)
            if whole and all(map(FILE_NAME.fullmatch, entries)):
                return cls._of(document if FORMAT_VERSION in versions else LACKING | document)
        except (ValueError, RecursionError) as error:
            raise DamagedBundle(f"{path}: not a manifest ({error})") from None
        raise DamagedBundle(f"{path}: its digest is not the build id it carries")

    def to_bytes(self) -> bytes:
        """The one spelling on disk."""
        return manifest_bytes(self.document)

    @property
    def bundle_name(self) -> str:
        """Name of the bundle's folder: time and start of the build id."""
        return f"{datetime.fromisoformat(self.created):%Y%m%d-%H%M%S}-{self.build_id[:ID_LENGTH]}"

    @property
    def description(self) -> dict[str, Any]:
        """What the builder said of the bundle: the document without the keys of `ADDED`."""
        return {key: value for key, value in self.document.items() if key not in ADDED}

    @classmethod
    def _of(cls, document: Mapping[str, Any]) -> "Manifest":
        """The parts of a document; ValueError where one is missing or of another type."""
        top = JsonObject(document)
        gate = top.optional("gate", JsonObject.object)
        return cls(
            created=top.text("created"),
            build_id=top.text("build_id"),
            data=_data(top.object("data")),
            split=_split(top.object("split")),
            settings=_settings(top.object("settings")),
            validation=_validation(top.object("validation")),
            training=_training(top.object("training")),
            gate=None if gate is None else _gate(gate),
            changes=tuple(map(_change, top.optional("changes", JsonObject.objects) or ())),
            files=_files(top),
            document=document,
        )


def manifest_digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of everything in the manifest but the build id itself."""
    content = {key: value for key, value in document.items() if key != "build_id"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def manifest_bytes(document: Mapping[str, Any]) -> bytes:
    """The one spelling of a manifest on disk."""
    return (json.dumps(document, indent=1) + "\n").encode()


def _check_version(version: int, path: Path, versions: Collection[int]) -> None:
    if version in versions:
        return
    advice = "run build-index again"
    if version > FORMAT_VERSION:
        advice = f"use a newer version of it, or {advice}"
    if version in OLDER_VERSIONS:
        advice = f"`retrieval bundles upgrade {path.parent.name}` converts it"
    raise ArtifactError(
        f"{path}: format version {version}, but this program reads {', '.join(map(str, versions))}", advice
    )


def _files(top: JsonObject) -> dict[str, FileEntry]:
    files = top.object("files")
    entries = {name: files.object(name) for name in files.document}
    return {
        name: FileEntry(entry.integer("size", least=0), entry.text("sha256"))
        for name, entry in entries.items()
    }


def _data(part: JsonObject) -> DataIdentity:
    return DataIdentity(part.text("name"), part.text("sha256"), part.integer("rows"))


def _split(part: JsonObject) -> SplitSummary:
    counts = part.object("counts")
    sizes = {field.name: counts.integer(field.name) for field in fields(SplitCounts)}
    return SplitSummary(
        kind=part.choice("kind", KINDS),
        validation_start=part.optional("validation_start", JsonObject.number),
        test_start=part.optional("test_start", JsonObject.number),
        counts=SplitCounts(**sizes),
    )


def _settings(part: JsonObject) -> RecordedSettings:
    return RecordedSettings(
        seed=part.integer("seed"),
        threads=part.integer("threads"),
        positive_threshold=part.number("positive_threshold"),
        preset=part.optional("preset", JsonObject.text),
        document=part.document,
    )


def _validation(part: JsonObject) -> ValidationScore:
    return ValidationScore(part.text("metric"), part.figure("value"), part.integer("users"))


def _training(part: JsonObject) -> RecordedTraining:
    towers = tuple(each.document for each in part.objects("towers"))
    if not towers:
        raise ValueError("training.towers is empty; expected at least one")
    neural_mf = part.optional("neural_mf", JsonObject.object)
    return RecordedTraining(towers, None if neural_mf is None else neural_mf.document)


def _gate(part: JsonObject) -> GateRecord:
    return GateRecord(
        held=part.truth("held"),
        max_regression=part.figure("max_regression"),
        new=part.figure("new"),
        current=part.optional("current", JsonObject.figure),
        against=part.optional("against", JsonObject.text),
    )


def _change(entry: JsonObject) -> CatalogueChange:
    return CatalogueChange(entry.text("at"), entry.text("what"), entry.integer("items"), entry.document)
