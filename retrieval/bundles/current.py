"""Which bundle of an artifacts folder answers, and which did before it.

The file `current` holds names of bundles, one a line: the first answers, the others answered before,
latest first. It is replaced in one step, so that what is current and what `rollback` goes back to never
disagree.
"""

import os
import re
from pathlib import Path

from retrieval.disk import read_plain_file, replace_file
from retrieval.errors import ArtifactError, DamagedBundle

CURRENT, BUILDS = "current", "builds"
BUNDLE_NAME = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{12}")
MOST_NAMES = 1_000


def read_pointer(artifacts: Path) -> tuple[str, ...]:
    """Names of the bundle that answers and of those that did before, latest first.

    Raises:
        ArtifactError: if there is no bundle yet.
        DamagedBundle: if the file is not what was written.
    """
    pointer = artifacts / CURRENT
    if not os.path.lexists(pointer):
        raise ArtifactError(
            f"{artifacts.absolute()}: no bundle here", "run build-index first, or give `artifacts`"
        )
    text = read_plain_file(pointer, None).decode("utf-8", "replace")
    names = text.splitlines()
    if not text.endswith("\n") or not all(BUNDLE_NAME.fullmatch(name) for name in names):
        raise DamagedBundle(f"{pointer}: does not name a bundle")
    return tuple(names)


def write_pointer(artifacts: Path, names: tuple[str, ...]) -> None:
    """Make the first of the names current, in one step.

    Raises:
        OSError: if it cannot be written; what was current still is.
    """
    text = "".join(f"{name}\n" for name in names[:MOST_NAMES])
    replace_file(artifacts / CURRENT, text.encode())


def history(artifacts: Path) -> tuple[str, ...]:
    """As `read_pointer`; nothing where there is no bundle yet, or the pointer is damaged."""
    try:
        return read_pointer(artifacts)
    except ArtifactError:
        return ()


def with_current(name: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names after this one was made current.

    >>> with_current("b", ("a",)), with_current("a", ("a",))
    (('b', 'a'), ('a',))
    """
    return names if names[:1] == (name,) else (name, *names)
