"""Checkpoints of a running or stopped build: one file for each fit; `resume` goes on from them."""

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
WHOLE = f"[!.]*{SUFFIX}"  # unfinished files start with a dot
# Part of every key. Raise it whenever the format changes, or the same settings give other weights.
FORMAT_VERSION = 1
# Seconds of training between two checkpoints of a fit; writing one takes some hundredths of a second.
SECONDS = 5.0

Key = dict[str, Any]


@dataclass(frozen=True)
class Saved:
    """The contents of a checkpoint.

    Attributes:
        path: the file, for errors.
        epoch: the last finished epoch; None: the fit is finished.
        tensors: arrays by name; the code that saves them defines names, shapes and dtypes.
        document: the rest of the state, of plain JSON types.
    """

    path: Path
    epoch: int | None
    tensors: Tensors = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints of one build; without a folder it keeps and finds nothing. See `open`.

    The caller holds the build lock of the artifacts, so no other process writes here.

    Args:
        folder: made with the first checkpoint.
        key: see `checkpoint_key`; of plain JSON types.
        seconds: of training between two checkpoints of a fit; `SECONDS` unless given.
        clock: a monotonic clock, in seconds.
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
        self._number = 0  # of the latest checkpoint
        self._epochs = dict[str, int | None]()  # epoch of each checkpoint, by its title

    @classmethod
    def open(
        cls, folder: Path, key: Key, progress: Progress, *, resume: bool, seconds: float | None = None
    ) -> "Checkpoints":
        """Open the folder of a build that resumes, or clear it for a build that begins anew.

        Raises:
            ArtifactError: if a checkpoint to resume from is damaged.
            UsageError: if the checkpoints are of a build with other data or settings.
            EnvironmentProblem: if an old checkpoint cannot be removed.
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
            title: readable and unique within a build; it names the file.
        """
        return Checkpoint(self, title)

    def path_of(self, title: str) -> Path | None:
        """The path of the checkpoint of a fit; None without a folder."""
        name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        return self._folder and self._folder / f"{name}{SUFFIX}"

    @property
    def is_due(self) -> bool:
        """Whether the last checkpoint is old enough to save another one now."""
        return self._folder is not None and self._clock() - self._last >= self._seconds

    def has(self, title: str, *, finished: bool = False) -> bool:
        """Whether a fit has a checkpoint to go on from; with `finished`, one of the finished fit."""
        return title in self._epochs and (self._epochs[title] is None or not finished)

    def read(self, title: str) -> Saved | None:
        """The contents of the checkpoint of a fit; None where there is none.

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
        """Replace the checkpoint of a fit in one atomic step.

        Raises:
            EnvironmentProblem: if it cannot be written; the previous one stays.
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
                with suppress(OSError):  # the folder holds something else
                    path.parent.rmdir()
                raise
        self._epochs[title] = epoch
        self._last = self._clock()

    def _look(self) -> str | None:
        """Load every checkpoint, so that damage shows at once, and describe the latest."""
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
        """Whether there is a checkpoint to go on from."""
        return self.checkpoints.has(self.title)

    @property
    def is_finished(self) -> bool:
        """Whether the checkpoint is of the finished fit."""
        return self.checkpoints.has(self.title, finished=True)

    @property
    def is_due(self) -> bool:
        """Whether the last checkpoint is old enough to save another one now."""
        return self.checkpoints.is_due

    def read(self) -> Saved | None:
        """The last saved state; None where there is none.

        Raises:
            ArtifactError: if it is damaged.
        """
        return self.checkpoints.read(self.title)

    def save(self, epoch: int | None, tensors: Tensors, document: dict[str, Any]) -> None:
        """Save the state after an epoch, or the finished fit (None).

        Raises:
            EnvironmentProblem: if it cannot be written; the previous checkpoint stays.
        """
        self.checkpoints.write(self.title, epoch, tensors, document)


NOWHERE = Checkpoints()


def remove_checkpoints(folder: Path) -> None:
    """Remove all checkpoints, finished and unfinished; the folder may be missing.

    Raises:
        EnvironmentProblem: if a file cannot be removed.
    """
    for pattern in (WHOLE, f"{UNFINISHED}*"):
        _remove(folder, pattern)


def _remove(folder: Path, pattern: str) -> None:
    """Remove the files that match, then the folder if it is empty."""
    with writing_to(folder.parent):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
    with suppress(OSError):  # missing, or it holds something else
        folder.rmdir()


def stamps(folder: Path) -> set[tuple[str, int, int]]:
    """Name, inode and time of every checkpoint in a folder; they change with every write."""
    with suppress(OSError):
        found = [(path.name, path.stat()) for path in folder.glob(WHOLE)]
        return {(name, stat.st_ino, stat.st_mtime_ns) for name, stat in found}
    return set()


def _check_key(path: Path, was: Key, now: Key) -> None:
    """Raise a UsageError that lists the differences, if there are any."""
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
