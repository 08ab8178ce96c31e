"""Opens a bundle and checks every file that it reads. `writer` writes them, `registry` lists a folder.

    artifacts/
        current                 names of the served bundle and its predecessors, see `current.py`
        builds/<time>-<id>/     one bundle: manifest.json and the files that it lists
        checkpoints/            of the build that is running or was stopped
        .lock                   held by the build that is running

A bundle is never edited. Its manifest has the size and SHA-256 of every other file, and a digest of
itself. Nothing parses a file before its size and digest are checked, because FAISS, safetensors and NumPy
load most damaged files without an error.
"""

import hashlib
import io
import json
import math
import mmap
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError  # NumPy raises it for some headers that are not Python literals
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from index.errors import InputError
from retrieval.arrays import Weights
from retrieval.bundles.current import BUILDS, BUNDLE_NAME, read_current_file
from retrieval.bundles.layout import MANIFEST
from retrieval.bundles.manifest import ID_LENGTH, FileEntry, Manifest
from retrieval.disk import check_folder, opened_plain_file, read_plain_file
from retrieval.errors import DamagedBundle

Verification = Literal["full", "fast"]
MAX_HEADER_BYTES = 4_096  # of an .npy file; the writer makes headers of 128 bytes
_BLOCK_BYTES = 2**18  # fits into the cache of a core
# NumPy and safetensors raise any of these while they parse a file that is not of their format.
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn a ValueError about the content of a file or folder into damage of the bundle.

    For parsing and for putting read parts together only: in any other code a ValueError is a bug, which has
    to show its traceback.

    Raises:
        DamagedBundle: in place of a ValueError; without the advice of `index`, which is for those who hold an
            index alone.
    """
    try:
        yield
    except ValueError as error:
        what = error.what if isinstance(error, InputError) else str(error)
        raise DamagedBundle(f"{path}: {what}") from error


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its manifest is checked, its files are checked as they are read.

    Attributes:
        folder: its path.
        manifest: what was built from what, and the digests of the files.
        verify: "full" checks size and SHA-256 of a file before anything parses it; "fast", for bundles
            too large to hash at every start, checks the size only and trusts the disk.
    """

    folder: Path
    manifest: Manifest
    verify: Verification = "full"

    def read(self, name: str) -> bytes:
        """Read one file and check its size and digest.

        Raises:
            DamagedBundle: if it is not listed, missing, not a plain file, or changed.
        """
        entry = self._entry(name)
        data = read_plain_file(self.folder / name, entry.size)
        self._check(name, data)
        return data

    def mapped(self, name: str) -> NDArray[np.uint8]:
        """As `read`, but map the file into memory: processes share its pages, and nothing is copied.

        The bytes stay readable after the file is removed.
        """
        data = self._mapped(name)
        self._check(name, data)
        return data

    def finite_array(self, name: str) -> NDArray[np.float32]:
        """As `array`, for float32 numbers, none of them NaN or infinite.

        The file is read once: each block is hashed (unless `verify` is "fast") and then searched for NaN
        while it is in the processor's cache.

        Raises:
            DamagedBundle: as `array` does, or if a number is of another type, NaN or infinite.
        """
        data, is_finite = self._mapped(name), True
        digest = hashlib.sha256()
        for start in range(0, len(data), _BLOCK_BYTES):
            block = data[start : start + _BLOCK_BYTES]
            if self.verify == "full":
                digest.update(block.data)
            # The header is text, in which no four bytes are NaN or infinity as a float32.
            whole = block[: len(block) // 4 * 4]
            is_finite = is_finite and bool(np.isfinite(whole.view(np.float32)).all())
        if self.verify == "full":
            self._check_digest(name, digest.hexdigest())
        found = self._parsed_array(name, data)
        # Unaligned numbers would be others than those that were looked at.
        if found.dtype != np.float32 or not found.flags.aligned or not is_finite:
            raise DamagedBundle(f"{self.folder / name}: expected finite float32 numbers")
        return found

    def array(self, name: str) -> NDArray[Any]:
        """An .npy file, mapped and read-only; an array of Python objects is refused, as it needs pickle."""
        return self._parsed_array(name, self.mapped(name))

    def _mapped(self, name: str) -> NDArray[np.uint8]:
        """The bytes of a file of the right size, not checked yet."""
        entry = self._entry(name)
        with opened_plain_file(self.folder / name, entry.size) as file:
            if not entry.size:  # nothing to map
                return np.empty(0, dtype=np.uint8)
            data = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
        if len(data) != entry.size:
            raise DamagedBundle(f"{self.folder / name}: changed while it was opened")
        return data

    def _parsed_array(self, name: str, data: NDArray[np.uint8]) -> NDArray[Any]:
        """The array in the checked bytes of an .npy file."""
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
        except (*UNREADABLE, EOFError, MemoryError, TokenError) as error:
            raise DamagedBundle(f"{self.folder / name}: not a plain .npy file ({error})") from error

    def json(self, name: str) -> Any:
        """A .json file; NaN and infinity, which JSON does not have, are refused."""

        def refuse(constant: str) -> None:
            raise ValueError(f"it holds {constant}")

        data = self.read(name)
        try:
            return json.loads(data, parse_constant=refuse)
        except (ValueError, RecursionError) as error:
            raise DamagedBundle(f"{self.folder / name}: not JSON ({error})") from error

    def tensors(self, name: str) -> Weights:
        """A .safetensors file as numpy arrays."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        data = self.read(name)
        try:
            return dict(load(data))
        except (SafetensorError, *UNREADABLE) as error:  # some are of element types that NumPy lacks
            raise DamagedBundle(f"{self.folder / name}: not safetensors ({error})") from error

    def _entry(self, name: str) -> FileEntry:
        """The manifest's entry of a file; the folder that the file is in must be no link."""
        entry = self.manifest.files.get(name)
        if entry is None:
            raise DamagedBundle(f"{self.folder / name}: not listed in {MANIFEST}")
        for folder in (self.folder / name).relative_to(self.folder).parents[:-1]:
            check_folder(self.folder / folder)
        return entry

    def _check(self, name: str, data: Any) -> None:
        if self.verify == "full":
            self._check_digest(name, hashlib.sha256(data).hexdigest())

    def _check_digest(self, name: str, digest: str) -> None:
        if digest != self.manifest.files[name].sha256:
            raise DamagedBundle(f"{self.folder / name}: its SHA-256 is not the manifest's")


def open_bundle(artifacts: Path, verify: Verification = "full") -> Bundle:
    """Open the current bundle of an artifacts folder.

    A caller that reads files of it should use `registry.read_current`, which tries again where another
    bundle became current meanwhile.

    Raises:
        ArtifactError: if there is none, or it is damaged.
    """
    return open_named(artifacts, read_current_file(artifacts)[0], verify)


def open_named(artifacts: Path, name: str, verify: Verification = "full") -> Bundle:
    """Open a bundle of an artifacts folder by its name.

    Raises:
        ArtifactError: as `open_folder`.
    """
    for folder in (artifacts / BUILDS, artifacts / BUILDS / name):
        check_folder(folder)
    return open_folder(artifacts / BUILDS / name, verify)


def open_folder(folder: Path, verify: Verification = "full") -> Bundle:
    """Open a bundle by the path of its own folder.

    Args:
        verify: see `Bundle`; the manifest is always checked in full.

    Raises:
        ArtifactError: if its manifest is missing, damaged, of another format or another folder's.
    """
    path = folder / MANIFEST
    manifest = Manifest.parse(read_plain_file(path, None), path)
    build = manifest.build_id[:ID_LENGTH]
    if BUNDLE_NAME.fullmatch(folder.name) and not folder.name.endswith(build):
        raise DamagedBundle(f"{path}: of the build {build}, not of this folder's")
    return Bundle(folder, manifest, verify)


def read_parquet(bundle: Bundle, name: str, columns: Sequence[str] = ()) -> Any:
    """A .parquet file of a bundle, as a Polars frame.

    Raises:
        DamagedBundle: if it is missing, changed, not Parquet, or lacks one of the columns.
    """
    import polars as pl

    from retrieval.data.reading.polars_panics import DAMAGED, without_panic_messages

    data = bundle.read(name)
    try:
        with without_panic_messages():
            frame = pl.read_parquet(io.BytesIO(data))
    except DAMAGED as error:
        raise DamagedBundle(f"{bundle.folder / name}: not a Parquet file ({error})") from error
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DamagedBundle(
            f"{bundle.folder / name}: no column {missing[0]}; it has {', '.join(frame.columns)}"
        )
    return frame
