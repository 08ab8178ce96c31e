"""Lists, verifies, promotes, rolls back and prunes the bundles of an artifacts folder.

Every function that changes the current bundle holds the build lock, and the change takes effect in one step.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

from retrieval.bundles.bundle import Bundle, Verification, open_folder, open_named
from retrieval.bundles.current import (
    BUILDS,
    CURRENT,
    bundle_names,
    is_bundle,
    published_names,
    read_current_file,
    with_current,
    write_current_file,
)
from retrieval.bundles.layout import MANIFEST
from retrieval.bundles.lock import build_lock
from retrieval.bundles.manifest import Manifest
from retrieval.disk import writing_to
from retrieval.errors import ArtifactError, DamagedBundle, NotFoundError, UsageError

Read = TypeVar("Read")
State = Literal["current", "earlier", "held back", "kept", "unreadable"]


@dataclass(frozen=True)
class Entry:
    """A bundle of an artifacts folder, as its manifest describes it; no other file is read.

    Attributes:
        name: of its folder.
        state: "current" is served; "earlier" was served before; "held back" failed the gate, see
            `pipeline.gate`; "kept" is any other, such as one that was rolled back from; "unreadable" has a
            manifest that cannot be read.
        manifest: None where it is unreadable.
        problem: why it is unreadable.
    """

    name: str
    state: State
    manifest: Manifest | None
    problem: str | None = None

    @property
    def n_bytes(self) -> int:
        """Size of its files; 0 where it is unreadable."""
        return 0 if self.manifest is None else sum(entry.size for entry in self.manifest.files.values())


def read_current(artifacts: Path, read: Callable[[Bundle], Read], verify: Verification = "full") -> Read:
    """Call `read` with the current bundle, and return its result.

    Where another bundle becomes current while `read` runs, and reading fails, `read` runs again with the new
    one. So a result is never made of files of two bundles.

    Args:
        read: reads everything it needs from the bundle before it returns.

    Raises:
        ArtifactError: if there is no bundle or it is damaged; the advice names an earlier one that is whole.
    """
    while True:
        name = None
        try:
            name = read_current_file(artifacts)[0]
            return read(open_named(artifacts, name, verify))
        except DamagedBundle as error:
            if name is not None and published_names(artifacts)[:1] not in ((), (name,)):
                continue  # it was replaced, and perhaps pruned, while it was read
            raise DamagedBundle(error.what, way_out(artifacts)) from error


def read_bundle(
    artifacts: Path, read: Callable[[Bundle], Read], verify: Verification = "full", name: str | None = None
) -> Read:
    """As `read_current`, or with a bundle that is named.

    Args:
        artifacts: the folder of the bundles, or the own folder of one bundle, which is then read.
        name: of another bundle than the current one, see `entry_of`.

    Raises:
        ArtifactError: if there is no bundle or it is damaged.
        NotFoundError: if no bundle, or more than one, has such a name.
        UsageError: if `artifacts` is the folder of one bundle and a name is given too.
    """
    if is_bundle(artifacts):
        if name is not None:
            raise UsageError(
                f"{artifacts}: the folder of one bundle already", "leave out `bundle`, which names another"
            )
        return read(open_folder(artifacts, verify))
    if name is None:
        return read_current(artifacts, read, verify)
    return read(open_named(artifacts, entry_of(artifacts, name).name, verify))


def way_out(artifacts: Path) -> str:
    """The advice for a damaged current bundle: roll back, promote another, or build again."""
    names = published_names(artifacts)
    for name in _whole(artifacts, _earlier(names)):
        return f"the bundle is damaged: `retrieval bundles rollback` goes back to {name}, which is whole"
    for name in _whole(artifacts, () if names else _names(artifacts)):
        return f"`retrieval bundles promote {name}` names the latest bundle that is whole"
    return "the bundle is damaged, run build-index again"


def entries(artifacts: Path) -> tuple[Entry, ...]:
    """Every bundle of the folder, latest first."""
    published = published_names(artifacts)
    return tuple(_entry(artifacts, name, published) for name in _names(artifacts))


def entry_of(artifacts: Path, wanted: str | None) -> Entry:
    """Find one bundle.

    Args:
        wanted: its name, or a part of it that no other name has; None: the current bundle.

    Raises:
        ArtifactError: if there is no bundle at all, or the `current` file is damaged.
        NotFoundError: if no bundle, or more than one, has such a name.
    """
    published = _published(artifacts) if wanted is None else published_names(artifacts)
    if wanted is None:
        return _entry(artifacts, published[0], published)
    names = _names(artifacts)
    if not names:
        read_current_file(artifacts)  # says where it looked
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
    """Read every file of a bundle and put its parts together; returns what is wrong, empty if it is whole."""
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
    bundle = replace(bundle, verify="fast")  # every file was hashed just now
    for part in ("served", "evaluated"):
        try:
            read_system(bundle, part)
        except ArtifactError as error:
            found.append(_what(error))
    return tuple(found)


def promote(artifacts: Path, name: str, before: Callable[[], None] = lambda: None) -> None:
    """Verify a bundle and make it current.

    Args:
        before: called when only the last step is left.

    Raises:
        DamagedBundle: if it is not whole.
        EnvironmentProblem: if the folder cannot be written, or a build is running there.
    """
    with build_lock(artifacts):
        found = problems(artifacts, name)
        if found:
            raise DamagedBundle(found[0], "that bundle is damaged and stays as it is; promote another")
        before()
        with writing_to(artifacts):
            write_current_file(artifacts, with_current(name, published_names(artifacts)))


def rollback(artifacts: Path, before: Callable[[], None] = lambda: None) -> tuple[str, tuple[str, ...]]:
    """Make the previous bundle current.

    Args:
        before: called when only the last step is left.

    Returns:
        its name, and the names of later ones that were passed over because they are gone, damaged or of
        another format.

    Raises:
        ArtifactError: if no earlier bundle is whole.
        EnvironmentProblem: if the folder cannot be written, or a build is running there.
    """
    _published(artifacts)  # raises before anything is written where there is no bundle
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
                write_current_file(artifacts, names[position:])
            return name, tuple(skipped)
    for name in skipped:
        if _is_older(artifacts, name):
            raise ArtifactError(
                f"{artifacts / CURRENT}: no bundle to go back to, {name} is of an earlier format",
                f"`retrieval bundles upgrade {name}` converts it",
            )
    damaged = f"{', '.join(skipped)} is damaged or gone" if skipped else "none was current before"
    raise ArtifactError(
        f"{artifacts / CURRENT}: no bundle to go back to, {damaged}; see retrieval bundles list, promote "
        "another or run build-index"
    )


def prune(artifacts: Path, keep: int, *, rehearse: bool = False) -> tuple[Entry, ...]:
    """Remove all bundles but the latest ones that are whole, or of an earlier format and convertible.

    A process that has a removed bundle open can go on reading it. The current bundle stays whatever its age,
    and so does the one that `rollback` would return to.

    Args:
        keep: number of the latest bundles that stay; damaged ones do not count.
        rehearse: remove nothing.

    Returns:
        the bundles that were removed, or would be.

    Raises:
        EnvironmentProblem: if they cannot be removed, or a build is running there.
    """
    from retrieval.bundles.writer import remove_folder, remove_leftovers  # `query` needs no writer

    _published(artifacts)
    with build_lock(artifacts):
        names = _published(artifacts)
        latest, earlier = (_of_use(artifacts, each) for each in (_names(artifacts), _earlier(names)))
        kept = {names[0], *islice(latest, keep), *islice(earlier, 1)}
        gone = tuple(entry for entry in entries(artifacts) if entry.name not in kept)
        if rehearse:
            return gone
        with writing_to(artifacts):
            left = tuple(name for name in names if name in kept)
            if left != names:
                write_current_file(artifacts, left)
            for entry in gone:
                remove_folder(artifacts / BUILDS / entry.name)
            remove_leftovers(artifacts)
    return gone


def _published(artifacts: Path) -> tuple[str, ...]:
    """As `read_current_file`, with the advice of `way_out` where the file is damaged."""
    try:
        return read_current_file(artifacts)
    except DamagedBundle as error:
        raise DamagedBundle(error.what, way_out(artifacts)) from error


def _is_older(artifacts: Path, name: str) -> bool:
    """Whether a bundle is of an earlier format that `pipeline.upgrade` converts."""
    from retrieval.bundles.older import open_older  # `query` needs none of it

    try:
        open_older(artifacts, name)
    except ArtifactError:
        return False
    return True


def _whole(artifacts: Path, names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if not problems(artifacts, name))


def _of_use(artifacts: Path, names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if not problems(artifacts, name) or _is_older(artifacts, name))


def _names(artifacts: Path) -> list[str]:
    """Names of the folders that have a bundle's name, latest first."""
    return sorted(bundle_names(artifacts), key=partial(_age, artifacts), reverse=True)


def _age(artifacts: Path, name: str) -> tuple[str, str]:
    """Key for sorting by age: a name has the second only, a manifest the microsecond."""
    try:
        created = open_named(artifacts, name).manifest.created
    except ArtifactError:
        created = ""
    return name[:15], created


def _earlier(names: Sequence[str]) -> list[str]:
    """The predecessors of the first name, each once."""
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
