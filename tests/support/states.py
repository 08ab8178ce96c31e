"""What is current in an artifacts folder, in a line that can be compared."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from retrieval.bundles.bundle import Bundle
from retrieval.bundles.current import BUNDLE_NAME, CURRENT
from retrieval.bundles.fitted_system_files import read_system
from retrieval.bundles.registry import read_current
from retrieval.recommender import Recommender

NO_BUNDLE = "no bundle yet"


def state_of(artifacts: Path, named: bool = False, pause: Callable[[], None] = lambda: None) -> str:
    """What answers, wholly: every file of the bundle and what it recommends; its name where that counts.

    Args:
        pause: called before each file.

    Raises:
        ArtifactError: if what is current is not whole.
    """
    if not os.path.lexists(artifacts / CURRENT):
        return NO_BUNDLE

    def read(bundle: Bundle) -> str:
        digest = hashlib.sha256()
        for name in bundle.manifest.files:
            pause()
            digest.update(name.encode() + bundle.read(name))
        answer = Recommender(read_system(bundle, "served")).recommend([42], 5)[0]
        digest.update(json.dumps(answer.to_json()).encode())
        return f"{bundle.folder.name if named else ''} {digest.hexdigest()}"

    return read_current(artifacts, read)


def bundle_names(artifacts: Path) -> list[str]:
    """Folders whose names say that they are whole."""
    builds = artifacts / "builds"
    found = [path.name for path in builds.iterdir()] if builds.exists() else []
    return sorted(filter(BUNDLE_NAME.fullmatch, found))
