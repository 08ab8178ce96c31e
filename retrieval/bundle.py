"""Bundles on disk, and how one is opened: read only when whole. `publishing` writes them.

    artifacts/
        current                 name of the folder that answers; replaced atomically
        builds/<time>-<id>/     one bundle: manifest.json and the files it lists
        .lock                   held by the build that is running

A bundle is never edited. Its manifest holds the size and SHA-256 of every other file and a digest of
itself, and no byte is parsed before it has been checked: FAISS, safetensors and NumPy load most
damaged files without a word.
"""

import hashlib
import io
import json
import math
import mmap
import os
import re
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError  # NumPy lets it out of a header it cannot read
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ArtifactError
from retrieval.vectors import Weights

FORMAT_VERSION = 4
MANIFEST, CURRENT, BUILDS = "manifest.json", "current", "builds"
BUNDLE_NAME = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{12}")
FILE_NAME = re.compile(r"([a-z_]+/)?[a-z_]+\.[a-z]+")
MAX_MANIFEST_BYTES = 4_000_000
MAX_HEADER_BYTES = 4_096  # of an .npy file; ours take 128


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its manifest is checked, its files are checked as they are read.

    Attributes:
        folder: where it lies.
        manifest: see `publishing.BundleWriter.publish`.
    """

    folder: Path
    manifest: dict[str, Any]

    def read(self, name: str) -> bytes:
        """The bytes of one file, after its size and digest.

        Raises:
            ArtifactError: if it is not listed, missing, not a plain file, or changed.
        """
        entry = self._entry(name)
        data = _read_plain_file(self.folder / name, int(entry["size"]))
        self._check(name, data)
        return data

    def mapped(self, name: str) -> NDArray[np.uint8]:
        """As `read`, but the bytes stay in the file: processes share them, and no copy is made.

        A bundle is never edited, and what is mapped stays readable after the file is removed.
        """
        entry = self._entry(name)
        with _opened(self.folder / name, int(entry["size"])) as file:
            if not entry["size"]:  # nothing to map
                return np.empty(0, dtype=np.uint8)
            data = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
        if len(data) != entry["size"]:
            raise ArtifactError(f"{self.folder / name}: changed while it was opened; {_advice()}")
        self._check(name, data)
        return data

    def array(self, name: str) -> NDArray[Any]:
        """An .npy file, mapped and read-only; arrays of Python objects are refused."""
        data = self.mapped(name)
        try:
            start = io.BytesIO(data[:MAX_HEADER_BYTES].tobytes())
            version = np.lib.format.read_magic(start)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, by_columns, dtype = read[version](start)
            if dtype.hasobject or not dtype.isnative or (by_columns and len(shape) > 1):
                raise ValueError(f"an array of {dtype}{', by columns' if by_columns else ''}")
            n_bytes = math.prod(shape) * dtype.itemsize
            if start.tell() + n_bytes != len(data):
                raise ValueError(f"{len(data) - start.tell()} bytes for {shape} of {dtype}")
            values = data[start.tell() :]
            if dtype.kind == "U" and len(values) and values.view(np.uint32).max() > sys.maxunicode:
                raise ValueError("text with numbers that are no characters")
            return np.asarray(values.view(dtype).reshape(shape))
        except (ValueError, TypeError, KeyError, EOFError, MemoryError, TokenError) as error:
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

    def _entry(self, name: str) -> dict[str, Any]:
        """What the manifest says of a file, whose folder must be one."""
        entry: dict[str, Any] | None = self.manifest["files"].get(name)
        if entry is None:
            raise ArtifactError(f"{self.folder / name}: not listed in {MANIFEST}; {_advice()}")
        for folder in (self.folder / name).relative_to(self.folder).parents[:-1]:
            if (self.folder / folder).is_symlink():
                raise ArtifactError(f"{self.folder / folder}: a link, not a folder; {_advice()}")
        return entry

    def _check(self, name: str, data: Any) -> None:
        if hashlib.sha256(data).hexdigest() != self.manifest["files"][name]["sha256"]:
            raise ArtifactError(f"{self.folder / name}: its SHA-256 is not the manifest's; {_advice()}")


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
    for folder in (artifacts / BUILDS, artifacts / BUILDS / name):
        if folder.is_symlink():
            raise ArtifactError(f"{folder}: a link, not a folder; {_advice()}")
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
        if version != FORMAT_VERSION:
            newer = "use a newer version of it, or " if version > FORMAT_VERSION else ""
            raise ArtifactError(
                f"{path}: format version {version}, but this program reads {FORMAT_VERSION}; "
                f"{newer}run build-index again"
            )
        build_id, files = manifest["build_id"], manifest["files"]
        plain = all(
            FILE_NAME.fullmatch(name) and isinstance(entry["size"], int) and isinstance(entry["sha256"], str)
            for name, entry in files.items()
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{path}: not a manifest ({type(error).__name__}); {_advice()}") from None
    # The bytes too: JSON has many spellings of the same content, the writer only one.
    if not plain or build_id != manifest_digest(manifest) or data != manifest_bytes(manifest):
        raise ArtifactError(f"{path}: its digest is not the build id it carries; {_advice()}")
    return Bundle(folder, manifest)


def manifest_digest(manifest: dict[str, Any]) -> str:
    """SHA-256 of everything in the manifest but the build id itself."""
    content = {key: value for key, value in manifest.items() if key != "build_id"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def manifest_bytes(manifest: dict[str, Any]) -> bytes:
    """The one way a manifest is spelled on disk."""
    return (json.dumps(manifest, indent=1) + "\n").encode()


def _read_plain_file(path: Path, size: int | None) -> bytes:
    """All bytes of a regular file of the expected size; links, pipes and folders are not followed."""
    with _opened(path, size) as file:
        return file.read()


def _opened(path: Path, size: int | None) -> BinaryIO:
    """A regular file of the expected size, open for reading; closed again where it is anything else."""
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
    if size is None and status.st_size > MAX_MANIFEST_BYTES:
        os.close(descriptor)
        raise ArtifactError(f"{path}: {status.st_size:,} bytes are too many for such a file; {_advice()}")
    if size is not None and status.st_size != size:
        os.close(descriptor)
        raise ArtifactError(f"{path}: {status.st_size:,} bytes, but the manifest says {size:,}; {_advice()}")
    return os.fdopen(descriptor, "rb")


def _advice() -> str:
    return "the bundle is damaged, run build-index again"
