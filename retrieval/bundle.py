"""Bundles on disk: written beside the old one, made current in one step, read only when whole.

    artifacts/
        current                 name of the folder that answers; replaced atomically
        builds/<time>-<id>/     one bundle: manifest.json and the files it lists
        .lock                   held by the build that is running

A bundle is never edited. Its manifest holds the size and SHA-256 of every other file and a digest of
itself, and no byte is parsed before it has been checked: FAISS, safetensors and NumPy load most
damaged files without a word.
"""

import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ArtifactError, EnvironmentProblem
from retrieval.vectors import Weights

FORMAT_VERSION = 1
MANIFEST, CURRENT, BUILDS, LOCK = "manifest.json", "current", "builds", ".lock"
UNFINISHED = ".unfinished-"
BUNDLE_NAME = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{12}")
FILE_NAME = re.compile(r"([a-z_]+/)?[a-z_]+\.[a-z]+")
MAX_MANIFEST_BYTES = 4_000_000


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its manifest is checked, its files are checked as they are read.

    Attributes:
        folder: where it lies.
        manifest: see `BundleWriter.publish`.
    """

    folder: Path
    manifest: dict[str, Any]

    def read(self, name: str) -> bytes:
        """The bytes of one file, after its size and digest.

        Raises:
            ArtifactError: if it is not listed, missing, not a plain file, or changed.
        """
        entry = self.manifest["files"].get(name)
        if entry is None:
            raise ArtifactError(f"{self.folder / name}: not listed in {MANIFEST}; {_advice()}")
        for folder in (self.folder / name).relative_to(self.folder).parents[:-1]:
            if (self.folder / folder).is_symlink():
                raise ArtifactError(f"{self.folder / folder}: a link, not a folder; {_advice()}")
        data = _read_plain_file(self.folder / name, int(entry["size"]))
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise ArtifactError(f"{self.folder / name}: its SHA-256 is not the manifest's; {_advice()}")
        return data

    def array(self, name: str) -> NDArray[Any]:
        """An .npy file; arrays of Python objects are refused."""
        data = self.read(name)
        try:
            return np.asarray(np.lib.format.read_array(io.BytesIO(data), allow_pickle=False))
        except (ValueError, EOFError, MemoryError) as error:
            raise ArtifactError(
                f"{self.folder / name}: not a plain .npy file ({error}); {_advice()}"
            ) from error

    def json(self, name: str) -> Any:
        """A .json file."""
        return json.loads(self.read(name))

    def tensors(self, name: str) -> Weights:
        """A .safetensors file as numpy arrays."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        data = self.read(name)
        try:
            return dict(load(data))
        except SafetensorError as error:
            raise ArtifactError(f"{self.folder / name}: not safetensors ({error}); {_advice()}") from error


def open_bundle(artifacts: Path) -> Bundle:
    """The current bundle of an artifacts folder.

    Raises:
        ArtifactError: if there is none, or it is damaged.
    """
    pointer = artifacts / CURRENT
    if not os.path.lexists(pointer):
        raise ArtifactError(
            f"{artifacts.absolute()}: no bundle here; run build-index first, or give --artifacts"
        )
    name = _read_plain_file(pointer, None).decode("utf-8", "replace").strip()
    if not BUNDLE_NAME.fullmatch(name):
        raise ArtifactError(f"{pointer}: does not name a bundle; {_advice()}")
    return open_folder(artifacts / BUILDS / name)


def open_folder(folder: Path) -> Bundle:
    """One bundle's own folder.

    Raises:
        ArtifactError: if its manifest is missing, damaged or of a newer format.
    """
    path = folder / MANIFEST
    data = _read_plain_file(path, None)
    try:
        manifest = json.loads(data)
        version = manifest["format_version"]
        if not isinstance(version, int):
            raise TypeError
        if version > FORMAT_VERSION:
            raise ArtifactError(
                f"{path}: format version {version}, but this program reads up to {FORMAT_VERSION}; "
                "use a newer version of it, or run build-index again"
            )
        build_id, files = manifest["build_id"], manifest["files"]
        plain = all(
            FILE_NAME.fullmatch(name) and isinstance(entry["size"], int) and isinstance(entry["sha256"], str)
            for name, entry in files.items()
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{path}: not a manifest ({type(error).__name__}); {_advice()}") from None
    # The bytes too: JSON has many spellings of the same content, the writer only one.
    if not plain or build_id != _digest(manifest) or data != _manifest_bytes(manifest):
        raise ArtifactError(f"{path}: its digest is not the build id it carries; {_advice()}")
    return Bundle(folder, manifest)


class BundleWriter:
    """Collects the files of a new bundle in a folder that nobody reads yet. See `new_bundle`."""

    def __init__(self, artifacts: Path, folder: Path) -> None:
        self._artifacts = artifacts
        self._folder = folder
        self._files: dict[str, dict[str, Any]] = {}

    def write(self, name: str, data: bytes) -> None:
        """Add a file; `name` may have one folder in it.

        Raises:
            ValueError: if `name` is not plain lower case with an ending, in at most one folder.
            EnvironmentProblem: if it cannot be written.
        """
        if not FILE_NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be a bundle's file; expected a name such as served/model.json")
        path = self._folder / name
        with _writing(self._artifacts):
            path.parent.mkdir(exist_ok=True)
            _write_synced(path, data)
        self._files[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def write_array(self, name: str, array: NDArray[Any]) -> None:
        """Add an .npy file."""
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
        self.write(name, buffer.getvalue())

    def write_json(self, name: str, document: Any) -> None:
        """Add a .json file."""
        self.write(name, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())

    def write_tensors(self, name: str, tensors: Weights) -> None:
        """Add a .safetensors file."""
        from safetensors.numpy import save

        self.write(name, save({key: np.ascontiguousarray(value) for key, value in tensors.items()}))

    def publish(self, description: dict[str, Any]) -> Path:
        """Write the manifest, give the folder its final name and make it current; returns the folder.

        Args:
            description: what the manifest says of the build besides format version, time and files.
        """
        created = datetime.now(UTC)
        manifest = {
            "format_version": FORMAT_VERSION,
            # To the microsecond, so that saving the same build twice gives two bundles.
            "created": created.isoformat(timespec="microseconds"),
            **description,
            "files": dict(sorted(self._files.items())),
        }
        manifest["build_id"] = _digest(manifest)
        name = f"{created:%Y%m%d-%H%M%S}-{manifest['build_id'][:12]}"
        final = self._artifacts / BUILDS / name
        with _writing(self._artifacts):
            _write_synced(self._folder / MANIFEST, _manifest_bytes(manifest))
            for folder in {(self._folder / file).parent for file in self._files} | {self._folder}:
                _sync_folder(folder)
            self._folder.rename(final)
            _sync_folder(final.parent)
            pointer = self._artifacts / (UNFINISHED + CURRENT)
            _write_synced(pointer, f"{name}\n".encode())
            pointer.replace(self._artifacts / CURRENT)
            _sync_folder(self._artifacts)
        return final


@contextmanager
def new_bundle(artifacts: Path) -> Iterator[BundleWriter]:
    """A writer for the next bundle; whatever it wrote is gone again unless it published.

    Raises:
        EnvironmentProblem: if the folder cannot be written, or another build holds the lock.
    """
    with build_lock(artifacts):
        folder = artifacts / BUILDS / f"{UNFINISHED}{os.getpid()}"
        with _writing(artifacts):
            folder.parent.mkdir(exist_ok=True)
            # The lock is ours, so whatever is unfinished was left by a build that died.
            for leftover in folder.parent.glob(UNFINISHED + "*"):
                shutil.rmtree(leftover, ignore_errors=True)
            folder.mkdir()
        try:
            yield BundleWriter(artifacts, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            (artifacts / (UNFINISHED + CURRENT)).unlink(missing_ok=True)


@contextmanager
def build_lock(artifacts: Path) -> Iterator[None]:
    """Held while a bundle is written; the kernel releases it when its holder ends, however that happens.

    Raises:
        EnvironmentProblem: if another process holds it.
    """
    with _writing(artifacts):
        artifacts.mkdir(parents=True, exist_ok=True)
        file = (artifacts / LOCK).open("a+b", buffering=0)
    with file:
        with _writing(artifacts):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read(20).decode("ascii", "replace").strip() or "unknown"
                raise EnvironmentProblem(
                    f"{artifacts}: another build is writing here (process {holder}); "
                    "wait for it, or give another --artifacts"
                ) from None
            file.truncate(0)
            file.write(f"{os.getpid()}\n".encode())
        yield


@contextmanager
def _writing(artifacts: Path) -> Iterator[None]:
    """Turns what the operating system says about writing into an error a user can act on."""
    try:
        yield
    except OSError as error:
        raise EnvironmentProblem(
            f"{error.filename or artifacts}: cannot be written ({error.strerror or error}); "
            "free space or give another --artifacts; what was current still is"
        ) from error


def copy_bundle(folder: Path, artifacts: Path) -> Path:
    """Publish a checked copy of a bundle in another artifacts folder; returns the copy's own folder."""
    bundle = open_folder(folder)
    derived = {"format_version", "created", "files", "build_id"}
    with new_bundle(artifacts) as writer:
        for name in bundle.manifest["files"]:
            writer.write(name, bundle.read(name))
        return writer.publish({key: value for key, value in bundle.manifest.items() if key not in derived})


def _digest(manifest: dict[str, Any]) -> str:
    """SHA-256 of everything in the manifest but the build id itself."""
    content = {key: value for key, value in manifest.items() if key != "build_id"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _manifest_bytes(manifest: dict[str, Any]) -> bytes:
    return (json.dumps(manifest, indent=1) + "\n").encode()


def _read_plain_file(path: Path, size: int | None) -> bytes:
    """All bytes of a regular file of the expected size; links, pipes and folders are not followed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: missing; {_advice()}") from None
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be opened ({error.strerror}); {_advice()}") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise ArtifactError(f"{path}: not a plain file; {_advice()}")
    with os.fdopen(descriptor, "rb") as file:
        if size is None and status.st_size > MAX_MANIFEST_BYTES:
            raise ArtifactError(f"{path}: {status.st_size:,} bytes are too many for such a file; {_advice()}")
        if size is not None and status.st_size != size:
            raise ArtifactError(
                f"{path}: {status.st_size:,} bytes, but the manifest says {size:,}; {_advice()}"
            )
        return file.read()


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _advice() -> str:
    return "the bundle is damaged, run build-index again"
