"""Writes a bundle in a hidden folder, renames it when it is complete, and makes it current in one step."""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.arrays import Weights
from retrieval.bundles.bundle import open_folder
from retrieval.bundles.current import BUILDS, published_names, with_current, write_current_file
from retrieval.bundles.layout import FILE_NAME, MANIFEST
from retrieval.bundles.lock import build_lock
from retrieval.bundles.manifest import FileEntry, Manifest
from retrieval.disk import UNFINISHED, make_folder, sync_folder, write_file, writing_to
from retrieval.errors import EnvironmentProblem


class BundleWriter:
    """Collects the files of a new bundle in a folder that no reader knows yet; see `new_bundle`."""

    def __init__(self, artifacts: Path, folder: Path) -> None:
        self._artifacts = artifacts
        self._folder = folder
        self._files: dict[str, FileEntry] = {}

    def write(self, name: str, data: bytes) -> None:
        """Add a file; `name` may have one folder in it.

        Raises:
            ValueError: if `name` is not plain lower case with an ending, in at most one folder.
            EnvironmentProblem: if it cannot be written.
        """
        if not FILE_NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be a bundle's file; expected a name such as served/model.json")
        path = self._folder / name
        with writing_to(self._artifacts):
            path.parent.mkdir(exist_ok=True)
            write_file(path, data)
        self._files[name] = FileEntry(len(data), hashlib.sha256(data).hexdigest())

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

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of every file so far, by name."""
        return {name: entry.sha256 for name, entry in self._files.items()}

    def publish(
        self, description: Mapping[str, Any], *, current: bool = True, replaces: str | None = None
    ) -> Path:
        """Write the manifest, give the folder its final name, and make it current; returns the folder.

        Args:
            description: the manifest without what the writer adds itself, see `Manifest.description`.
            current: False only keeps the bundle; it can be promoted later.
            replaces: name of the bundle whose place among the served ones and their predecessors it takes,
                if that has one; `current` is then ignored.

        Raises:
            ValueError: if the description lacks a part, or one is of another type.
            EnvironmentProblem: if it cannot be written; the bundle that was current still is.
        """
        manifest = Manifest.new(description, self._files, datetime.now(UTC))
        name = manifest.bundle_name
        final = self._artifacts / BUILDS / name
        with writing_to(self._artifacts):
            write_file(self._folder / MANIFEST, manifest.to_bytes())
            for folder in {(self._folder / file).parent for file in self._files} | {self._folder}:
                sync_folder(folder)
            self._folder.rename(final)
            try:
                sync_folder(final.parent)
                names = published_names(self._artifacts)
                if replaces is not None:
                    names = tuple(name if each == replaces else each for each in names)
                elif current:
                    names = with_current(name, names)
                if name in names:
                    write_current_file(self._artifacts, names)
            except OSError as error:
                names = published_names(self._artifacts)
                if name in names:
                    state = "current" if name == names[0] else "published"
                    raise EnvironmentProblem(
                        f"{final}: is {state} now, but the disk did not confirm it ({error.strerror}), "
                        "and a power cut may undo it; check the disk and build again"
                    ) from error
                remove_folder(final)
                raise
        return final


@contextmanager
def new_bundle(artifacts: Path) -> Iterator[BundleWriter]:
    """A writer for the next bundle; its files are removed again unless it published them.

    Raises:
        EnvironmentProblem: if the folder cannot be written, or another build holds the lock.
    """
    with build_lock(artifacts):
        folder = artifacts / BUILDS / f"{UNFINISHED}{os.getpid()}"
        with writing_to(artifacts):
            make_folder(folder.parent)
            remove_leftovers(artifacts)
            folder.mkdir()
        try:
            yield BundleWriter(artifacts, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Rename a bundle, then remove it, so that no folder with a bundle's name lacks files.

    Raises:
        OSError: if it cannot be.
    """
    unfinished = folder.with_name(UNFINISHED + folder.name)
    folder.rename(unfinished)
    shutil.rmtree(unfinished)


def remove_leftovers(artifacts: Path) -> None:
    """Remove the unfinished files of dead builds.

    The caller holds the lock, so nothing here belongs to a live build.
    """
    for leftover in (*(artifacts / BUILDS).glob(UNFINISHED + "*"), *artifacts.glob(UNFINISHED + "*")):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def copy_bundle(folder: Path, artifacts: Path) -> Path:
    """Publish a checked copy of a bundle in another artifacts folder; returns the copy's own folder."""
    bundle = open_folder(folder)
    with new_bundle(artifacts) as writer:
        for name in bundle.manifest.files:
            writer.write(name, bundle.read(name))
        return writer.publish(bundle.manifest.description)


def to_parquet(frame: Any) -> bytes:
    """The bytes of a .parquet file of a polars frame."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()
