"""The format of a checkpoint file: a SHA-256 digest (32 bytes), then safetensors.

The digest covers the rest of the file, because safetensors alone loads flipped bits silently (200 of 200
flips). The safetensors metadata is JSON: the key of the build, and the part of the state that is no array.
A file holds nothing that could be executed.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ArtifactError

DIGEST_BYTES = 32
DOCUMENT = "checkpoint"  # the one key of the metadata

Tensors = dict[str, NDArray[Any]]


def packed(tensors: Tensors, head: dict[str, Any]) -> bytes:
    """The bytes of a checkpoint file.

    Args:
        head: of plain JSON types.
    """
    from safetensors.numpy import save

    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    data = save(arrays, {DOCUMENT: json.dumps(head, allow_nan=False)})
    return hashlib.sha256(data).digest() + data


def unpacked(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Check the digest of a file; return its tensors and its head.

    Raises:
        ArtifactError: if the file is damaged or no plain file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if path.is_symlink() or not path.is_file():
        raise damaged(path, "it is not a plain file")
    try:
        content = memoryview(path.read_bytes())
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error
    digest, data = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != digest:
        raise damaged(path, "its SHA-256 is another")
    try:
        tensors = dict(load(bytes(data)))
        head = json.loads(_metadata(data)[DOCUMENT])
        types = {"key": dict, "title": str, "number": int, "epoch": int | None, "document": dict}
        if not all(isinstance(head[name], kind) for name, kind in types.items()):
            raise TypeError
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, f"not what a build keeps ({type(error).__name__})") from error
    return tensors, head


def _metadata(data: memoryview) -> dict[str, str]:
    """The free text in the safetensors header; the first 8 bytes hold the size of the header."""
    size = int.from_bytes(data[:8], "little")
    found: dict[str, str] = json.loads(bytes(data[8 : 8 + size]))["__metadata__"]
    return found


def damaged(path: Path, why: str) -> ArtifactError:
    """The error for a damaged checkpoint, with advice."""
    return ArtifactError(f"{path}: damaged checkpoint: {why}", "delete it, or build without `resume`")
