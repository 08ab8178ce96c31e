"""Bundles with other contents and digests that are right: what no checksum refuses."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.bundles.bundle import Bundle, open_bundle
from retrieval.bundles.writer import new_bundle


def npy(array: Any) -> bytes:
    """The bytes of an .npy file; an array of objects is pickled, as NumPy would for who allows it."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=array.dtype.hasobject)
    return buffer.getvalue()


def republish(artifacts: Path, replaced: dict[str, bytes]) -> Bundle:
    """A new bundle with other contents in some files, and digests that are right, the parts' own too."""
    old = open_bundle(artifacts)
    with new_bundle(artifacts) as writer:
        for name in sorted(old.manifest.files, key=lambda name: name.endswith("model.json")):
            data = replaced.get(name, old.read(name))
            if name.endswith("/model.json") and name not in replaced:
                settings = json.loads(data)
                settings["made_with"] = {each: writer.digests[each] for each in settings["made_with"]}
                data = json.dumps(settings).encode()
            writer.write(name, data)
        writer.publish(old.manifest.description)
    return open_bundle(artifacts)
