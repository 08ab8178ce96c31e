"""All bundles of an artifacts folder: listed, verified, promoted, rolled back to, pruned.

Whatever changes which of them answers holds the build lock, and takes effect in one step.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

from retrieval.bundles.bundle import Bundle, Verification, open_named
from retrieval.bundles.current import (
    BUILDS,
    BUNDLE_NAME,
    CURRENT,
    history,
    read_pointer,
    with_current,
    write_pointer,
)
from retrieval.bundles.layout import MANIFEST
from retrieval.bundles.lock import build_lock
from retrieval.bundles.manifest import Manifest
from retrieval.bundles.writer import remove_folder, remove_leftovers
from retrieval.disk import writing_to
from retrieval.errors import ArtifactError, DamagedBundle, NotFoundError

Read = TypeVar("Read")
State = Literal["current", "earlier", "held back", "kept", "unreadable"]


@dataclass(frozen=True)
class Entry:
    """A bundle of an artifacts folder, by its manifest alone.

    Attributes:
        name: of its folder.
        state: "current" answers; "earlier" did before it; "held back" was found worse than what answered,
            see `gate`; "kept" is any other, such as one that was rolled back from; "unreadable" has a
            manifest that cannot be read.
        manifest: None where it is unreadable.
        problem: why it is.
    """

    name: str
    state: State
    manifest: Manifest | None
    problem: str | None = None

    @property
    def n_bytes(self) -> int:
        """What its files take; 0 where they are not known."""
        return 0 if self.manifest is None else sum(entry.size for entry in self.manifest.files.values())


def read_current(artifacts: Path, read: Callable[[Bundle], Read], verify: Verification = "full") -> Read:
    """What `read` makes of the current bundle: wholly of that, or wholly of one published meanwhile.

    Args:
        read: reads all it needs at once.

    Raises:
        ArtifactError: if there is no bundle or it is damaged; where an earlier one is whole, that is said.
    """
    while True:
        name = None
        try:
            name = read_pointer(artifacts)[0]
            return read(open_named(artifacts, name, verify))
        except DamagedBundle as error:
            if name is not None and history(artifacts)[:1] not in ((), (name,)):
                continue  # it was replaced, and perhaps pruned, while it was read
            raise DamagedBundle(error.what, way_out(artifacts)) from error


def way_out(artifacts: Path) -> str:
    """What can be done about a damaged current bundle."""
    names = history(artifacts)
    for name in _whole(artifacts, _earlier(names)):
        return f"the bundle is damaged: `retrieval bundles rollback` goes back to {name}, which is whole"
    for name in _whole(artifacts, () if names else _names(artifacts)):
        return f"`retrieval bundles promote {name}` names the latest bundle that is whole"
    return "the bundle is damaged, run build-index again"


def entries(artifacts: Path) -> tuple[Entry, ...]:
    """All bundles of the folder, latest first."""
    published = history(artifacts)
    return tuple(_entry(artifacts, name, published) for name in _names(artifacts))


def entry_of(artifacts: Path, wanted: str | None) -> Entry:
    """One bundle.

    Args:
        wanted: its name or any part of it that no other has; None: the current one.

    Raises:
        ArtifactError: if there is no bundle at all, or the pointer to the current one is damaged.
        NotFoundError: if no bundle, or more than one, has such a name.
    """
    published = _published(artifacts) if wanted is None else history(artifacts)
    if wanted is None:
        return _entry(artifacts, published[0], published)
    names = _names(artifacts)
    if not names:
        read_pointer(artifacts)  # says where it looked
    found = [name for name in names if name == wanted] or [
        name for name in names if wanted and wanted in name
    ]
    if len(found) != 1:
        which = "is in the names of several bundles" if found else "is in the name of no bundle"
        some = ", ".join((found or names)[:3])
        raise NotFoundError(
            f"{artifacts / BUILDS}: {wanted!r} {which}; expected one, such as {some}, see retrieval "
            "bundles list"
        )
    return _entry(artifacts, found[0], published)


def problems(artifacts: Path, name: str) -> tuple[str, ...]:
    """What is wrong with a bundle: every file is read, the parts are put together. Nothing: it is whole."""
    from retrieval.bundles.fitted_system_files import read_system

    try:
        bundle = open_named(artifacts, name)
    except ArtifactError as error:
        return (_what(error),)
    found = []
    for file in bundle.manifest.files:
        try:
            bundle.mapped(file)
        except ArtifactError as error:
            found.append(_what(error))
    listed = {MANIFEST, *bundle.manifest.files}
    for path in sorted(bundle.folder.rglob("*")):
        if not path.is_dir() and path.relative_to(bundle.folder).as_posix() not in listed:
            found.append(f"{path}: not listed in {MANIFEST}")
    if found:
        return tuple(found)
    bundle = replace(bundle, verify="fast")  # all is hashed already
    for part in ("served", "evaluated"):
        try:
            read_system(bundle, part)
        except ArtifactError as error:
            found.append(_what(error))
    return tuple(found)


def promote(artifacts: Path, name: str, before: Callable[[], None] = lambda: None) -> None:
    """Let a bundle answer, once it is found whole.

    Args:
        before: called when only the one step is left.

    Raises:
        DamagedBundle: if it is not.
        EnvironmentProblem: if the folder cannot be written, or a build is running there.
    """
    with build_lock(artifacts):
        found = problems(artifacts, name)
        if found:
            raise DamagedBundle(found[0], "that bundle is damaged and stays as it is; promote another")
        before()
        with writing_to(artifacts):
            write_pointer(artifacts, with_current(name, history(artifacts)))


def rollback(artifacts: Path, before: Callable[[], None] = lambda: None) -> tuple[str, tuple[str, ...]]:
    """Let the bundle answer again that did before the current one.

    Args:
        before: called when only the one step is left.

    Returns:
        its name, and the names of those in between that are gone or damaged.

    Raises:
        ArtifactError: if there is no earlier one that is whole.
        EnvironmentProblem: if the folder cannot be written, or a build is running there.
    """
    _published(artifacts)  # where there is none, nothing is to be written
    with build_lock(artifacts):
        names = _published(artifacts)
        skipped: list[str] = []
        for position, name in enumerate(names[1:], start=1):
            if name in (names[0], *skipped):
                continue
            if problems(artifacts, name):
                skipped.append(name)
                continue
            before()
            with writing_to(artifacts):
                write_pointer(artifacts, names[position:])
            return name, tuple(skipped)
    damaged = f"{', '.join(skipped)} is damaged or gone" if skipped else "none answered before"
    raise ArtifactError(
        f"{artifacts / CURRENT}: no bundle to go back to, {damaged}; see retrieval bundles list, promote "
        "another or run build-index"
    )


def prune(artifacts: Path, keep: int, *, rehearse: bool = False) -> tuple[Entry, ...]:
    """Remove all bundles but the latest that are whole; who has one open goes on with it.

    The current one stays whatever its age, and so does the one that `rollback` would go back to.

    Args:
        keep: how many of the latest stay; damaged ones do not count.
        rehearse: remove nothing.

    Returns:
        what was removed.

    Raises:
        EnvironmentProblem: if they cannot be removed, or a build is running there.
    """
    _published(artifacts)
    with build_lock(artifacts):
        names = _published(artifacts)
        latest, earlier = (_whole(artifacts, each) for each in (_names(artifacts), _earlier(names)))
        kept = {names[0], *islice(latest, keep), *islice(earlier, 1)}
        gone = tuple(entry for entry in entries(artifacts) if entry.name not in kept)
        if rehearse:
            return gone
        with writing_to(artifacts):
            left = tuple(name for name in names if name in kept)
            if left != names:
                write_pointer(artifacts, left)
            for entry in gone:
                remove_folder(artifacts / BUILDS / entry.name)
            remove_leftovers(artifacts)
    return gone


def _published(artifacts: Path) -> tuple[str, ...]:
    """As `read_pointer`; where it is damaged, what can be done is said."""
    try:
        return read_pointer(artifacts)
    except DamagedBundle as error:
        raise DamagedBundle(error.what, way_out(artifacts)) from error


def _whole(artifacts: Path, names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if not problems(artifacts, name))


def _names(artifacts: Path) -> list[str]:
    """Folders that are named as bundles are, latest first."""
    try:
        found = [path.name for path in (artifacts / BUILDS).iterdir()]
    except OSError:
        return []
    return sorted(filter(BUNDLE_NAME.fullmatch, found), key=partial(_age, artifacts), reverse=True)


def _age(artifacts: Path, name: str) -> tuple[str, str]:
    """What bundles are ordered by: names know the second only, manifests the microsecond."""
    try:
        created = open_named(artifacts, name).manifest.created
    except ArtifactError:
        created = ""
    return name[:15], created


def _earlier(names: Sequence[str]) -> list[str]:
    """What answered before the first of the names, each once."""
    return [name for name in dict.fromkeys(names) if name != names[0]]


def _entry(artifacts: Path, name: str, published: Sequence[str]) -> Entry:
    state: State = "kept"
    if name in published:
        state = "current" if name == published[0] else "earlier"
    try:
        manifest = open_named(artifacts, name).manifest
    except ArtifactError as error:
        return Entry(name, "current" if state == "current" else "unreadable", None, _what(error))
    if state == "kept" and manifest.gate is not None and manifest.gate.held:
        state = "held back"
    return Entry(name, state, manifest)


def _what(error: ArtifactError) -> str:
    return error.what if isinstance(error, DamagedBundle) else str(error)
