"""The `current` file: the served bundle, then its predecessors.

The file has one name of a bundle a line: the served bundle first, then the bundles that were served before
it, latest first. A writer replaces the whole file in one step, so that the served bundle and the one that
`rollback` returns to never disagree.
"""

import os
import re
from pathlib import Path

from retrieval.bundles.layout import MANIFEST
from retrieval.disk import read_plain_file, replace_file
from retrieval.errors import ArtifactError, DamagedBundle

CURRENT, BUILDS = "current", "builds"
BUNDLE_NAME = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{12}")
MOST_NAMES = 1_000


def read_current_file(artifacts: Path) -> tuple[str, ...]:
    """Read the names of the served bundle and of its predecessors, latest first.

    Raises:
        ArtifactError: if there is no bundle yet.
        DamagedBundle: if the content is not lines with names of bundles.
    """
    path = artifacts / CURRENT
    if not os.path.lexists(path):
        raise _none_is_current(artifacts)
    text = read_plain_file(path, None).decode("utf-8", "replace")
    names = text.splitlines()
    if not text.endswith("\n") or not all(BUNDLE_NAME.fullmatch(name) for name in names):
        raise DamagedBundle(f"{path}: does not name a bundle")
    return tuple(names)


def write_current_file(artifacts: Path, names: tuple[str, ...]) -> None:
    """Make the bundle of the first name current, in one step; keeps at most `MOST_NAMES` names.

    Raises:
        OSError: if it cannot be written; the served bundle is still the old one.
    """
    text = "".join(f"{name}\n" for name in names[:MOST_NAMES])
    replace_file(artifacts / CURRENT, text.encode())


def published_names(artifacts: Path) -> tuple[str, ...]:
    """As `read_current_file`, but empty where there is no bundle yet or the file is damaged."""
    try:
        return read_current_file(artifacts)
    except ArtifactError:
        return ()


def bundle_names(artifacts: Path) -> list[str]:
    """Names of the folders that have a bundle's name, latest first; within a second in any order."""
    try:
        found = [path.name for path in (artifacts / BUILDS).iterdir()]
    except OSError:
        return []
    return sorted(filter(BUNDLE_NAME.fullmatch, found), reverse=True)


def is_bundle(folder: Path) -> bool:
    """Whether this is the own folder of one bundle, as `Recommender.save` returns it, and holds no others."""
    return os.path.lexists(folder / MANIFEST) and not os.path.lexists(folder / CURRENT)


def _none_is_current(artifacts: Path) -> ArtifactError:
    """The error where there is no `current` file: it may have been left behind when bundles were copied."""
    folder, names = artifacts.absolute(), bundle_names(artifacts)
    if names:
        return ArtifactError(
            f"{folder}: no bundle is current here",
            f"`retrieval bundles promote {names[0]}` makes the latest so",
        )
    if is_bundle(artifacts):
        return ArtifactError(
            f"{folder}: the folder of one bundle",
            f"give the one it lies in as `artifacts`, {folder.parent.parent}",
        )
    return ArtifactError(f"{folder}: no bundle here", "run build-index first, or give `artifacts`")


def with_current(name: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names for the file once `name` is current.

    >>> with_current("b", ("a",)), with_current("a", ("a",))
    (('b', 'a'), ('a',))
    """
    return names if names[:1] == (name,) else (name, *names)
