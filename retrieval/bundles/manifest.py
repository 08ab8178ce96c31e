"""The manifest of a bundle: its format version, its spelling on disk, and the digest that names the build."""

import hashlib
import json
from typing import Any

FORMAT_VERSION = 5
MANIFEST = "manifest.json"
ID_LENGTH = 12  # of the build id, in the folder's name


def manifest_digest(manifest: dict[str, Any]) -> str:
    """SHA-256 of everything in the manifest but the build id itself."""
    content = {key: value for key, value in manifest.items() if key != "build_id"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def manifest_bytes(manifest: dict[str, Any]) -> bytes:
    """The one way a manifest is spelled on disk."""
    return (json.dumps(manifest, indent=1) + "\n").encode()
