"""Checkpoints of a build that is running or was stopped: a file for each fit, from which `resume` goes on."""

import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retrieval.disk import UNFINISHED, make_folder, replace_file, writing_to
from retrieval.errors import UsageError
from retrieval.progress import Progress
from retrieval.training.checkpoint_files import Tensors, damaged, packed, unpacked

FOLDER = "checkpoints"  # beside the bundles
SUFFIX = ".checkpoint"
WHOLE = f"[!.]*{SUFFIX}"  # not what is unfinished
# Part of every key. Another one whenever what is kept, or the weights of the same settings, would be others.
FORMAT_VERSION = 1
# Of training between two checkpoints of a fit; writing one takes some hundredths of a second.
SECONDS = 5.0

Key = dict[str, Any]


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds.

    Attributes:
        path: the file, for errors.
        epoch: after which epoch; None: the fit is finished.
        tensors: whoever saved them knows their names, shapes and dtypes.
        document: the rest, of plain JSON types.
    """

    path: Path
    epoch: int | None
    tensors: Tensors = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints of one build; without a folder nothing is kept and nothing found. See `open`.

    The build lock of the folder's artifacts is held: nobody else writes here.

    Args:
        folder: is made with the first checkpoint.
        key: what the weights depend on, by the names that people know, of plain JSON types.
        seconds: of training between two checkpoints of a fit; `SECONDS` unless given.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        folder: Path | None = None,
        key: Key | None = None,
        *,
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._key: Key = json.loads(json.dumps({"checkpoint format": FORMAT_VERSION} | (key or {})))
        self._seconds = SECONDS if seconds is None else seconds
        self._clock = clock
        self._last = clock()
        self._number = 0  # of the last checkpoint
        self._epochs = dict[str, int | None]()  # what there is to go on from

    @classmethod
    def open(
        cls, folder: Path, key: Key, progress: Progress, *, resume: bool, seconds: float | None = None
    ) -> "Checkpoints":
        """For a build that goes on from what lies in a folder, or begins anew and removes it.

        Raises:
            ArtifactError: if one that would be read is damaged.
            UsageError: if they are of a build with other data or settings.
            EnvironmentProblem: if what an earlier build left cannot be removed.
        """
        checkpoints = cls(folder, key, seconds=seconds)
        if not resume:
            remove_checkpoints(folder)
            return checkpoints
        _remove(folder, f"{UNFINISHED}*")
        latest = checkpoints._look()
        if latest is None:
            progress.note(f"nothing to resume in {folder}: the build begins at the start")
        else:
            progress.note(f"resuming: {latest}")
        return checkpoints

    def of(self, title: str) -> "Checkpoint":
        """The checkpoint of one fit.

        Args:
            title: names it, to people too; another one for every fit of a build.
        """
        return Checkpoint(self, title)

    def path_of(self, title: str) -> Path | None:
        """Where the checkpoint of a fit is; None without a folder."""
        name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        return self._folder and self._folder / f"{name}{SUFFIX}"

    @property
    def is_due(self) -> bool:
        """Whether an epoch that is over now is to be kept."""
        return self._folder is not None and self._clock() - self._last >= self._seconds

    def has(self, title: str, *, finished: bool = False) -> bool:
        """Whether there is a checkpoint of a fit to go on from; of a finished one only, if asked."""
        return title in self._epochs and (self._epochs[title] is None or not finished)

    def read(self, title: str) -> Saved | None:
        """The checkpoint of a fit; None where there is none to go on from.

        Raises:
            ArtifactError: if it is damaged.
            UsageError: if it is of another build.
        """
        path = self.path_of(title)
        if path is None or not self.has(title):
            return None
        tensors, head = self._read(path)
        return Saved(path, head["epoch"], tensors, head["document"])

    def write(self, title: str, epoch: int | None, tensors: Tensors, document: dict[str, Any]) -> None:
        """Write a checkpoint in place of the fit's last one, in one step.

        Raises:
            EnvironmentProblem: if it cannot be written; the last one is still there.
        """
        path = self.path_of(title)
        if path is None:
            return
        self._number += 1
        head = {"key": self._key, "title": title, "number": self._number, "epoch": epoch}
        data = packed(tensors, head | {"document": document})
        with writing_to(path.parent.parent):
            try:
                make_folder(path.parent)
                replace_file(path, data)
            except BaseException:
                with suppress(OSError):  # something else is in it
                    path.parent.rmdir()
                raise
        self._epochs[title] = epoch
        self._last = self._clock()

    def _look(self) -> str | None:
        """Find what there is and return the last of it, for people. All is read: damage is known at once."""
        assert self._folder is not None
        for path in sorted(self._folder.glob(WHOLE)):
            head = self._read(path)[1]
            title, epoch, number = head["title"], head["epoch"], head["number"]
            if self.path_of(title) != path:
                raise damaged(path, f"it is of {title}")
            self._epochs[title] = epoch
            if number > self._number:
                self._number = number
                latest = f"after {title}" if epoch is None else f"{title}, epoch {epoch + 1}"
        return latest if self._number else None

    def _read(self, path: Path) -> tuple[Tensors, dict[str, Any]]:
        tensors, head = unpacked(path)
        _check_key(path, head["key"], self._key)
        return tensors, head


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint of one fit."""

    checkpoints: Checkpoints
    title: str

    @property
    def exists(self) -> bool:
        """Whether there is something to go on from."""
        return self.checkpoints.has(self.title)

    @property
    def is_finished(self) -> bool:
        """Whether that is the finished fit."""
        return self.checkpoints.has(self.title, finished=True)

    @property
    def is_due(self) -> bool:
        """Whether an epoch that is over now is to be kept."""
        return self.checkpoints.is_due

    def read(self) -> Saved | None:
        """What was kept last; None where nothing was.

        Raises:
            ArtifactError: if it is damaged.
        """
        return self.checkpoints.read(self.title)

    def save(self, epoch: int | None, tensors: Tensors, document: dict[str, Any]) -> None:
        """Keep the state after an epoch, or the finished fit (None).

        Raises:
            EnvironmentProblem: if it cannot be written; what was kept before still is.
        """
        self.checkpoints.write(self.title, epoch, tensors, document)


NOWHERE = Checkpoints()


def remove_checkpoints(folder: Path) -> None:
    """Remove what builds left in a folder of checkpoints; there may be none.

    Raises:
        EnvironmentProblem: if that fails.
    """
    for pattern in (WHOLE, f"{UNFINISHED}*"):
        _remove(folder, pattern)


def _remove(folder: Path, pattern: str) -> None:
    """Remove files, and the folder if it is empty then."""
    with writing_to(folder.parent):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
    with suppress(OSError):  # not there, or something else is in it
        folder.rmdir()


def stamps(folder: Path) -> set[tuple[str, int, int]]:
    """Every checkpoint in a folder: name, inode and time, another one whenever it is written."""
    with suppress(OSError):
        found = [(path.name, path.stat()) for path in folder.glob(WHOLE)]
        return {(name, stat.st_ino, stat.st_mtime_ns) for name, stat in found}
    return set()


def _check_key(path: Path, was: Key, now: Key) -> None:
    """Raises: UsageError, with what differs."""
    if was == now:
        return
    names = [name for name in {**now, **was} if was.get(name) != now.get(name)]
    differences = ", ".join(
        f"{name} was {_in_a_word(was.get(name))}, is {_in_a_word(now.get(name))}" for name in names
    )
    raise UsageError(
        f"`resume`: {path.parent} is of another build: {differences}",
        "give the same data and settings, or leave out `resume` to begin anew",
    )


def _in_a_word(value: Any) -> str:
    """A value in one word; of a digest its beginning.

    >>> _in_a_word(0.1), _in_a_word(None), _in_a_word([64, 32]), _in_a_word("ab" * 32)
    ('0.1', 'none', '64,32', 'abababababab')
    """
    if value is None:
        return "none"
    if isinstance(value, list):
        return ",".join(map(_in_a_word, value))
    text = str(value)
    return text[:12] if re.fullmatch(r"[0-9a-f]{64}", text) else text
