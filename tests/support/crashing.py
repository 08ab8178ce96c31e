"""Death at a file-system step: for a process that ends itself with SIGKILL where its turn has come.

Nothing in the product knows of it. What the standard library is asked to change below one folder is counted,
and at the step that was asked for the process is gone: no handler, no `finally`, no flush. Or the disk is
full from there on, or broken there.
"""

import builtins
import errno
import fcntl
import io
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Of a step: not done, a write done by half, done, and done with the power gone: then what no sync has made
# certain is lost as well, which a mere kill never shows.
MOMENTS = ("before", "half way", "after", "power cut")
# What a full disk and a broken one refuse: the one all that takes space, from then on; the other that step.
FULL, BROKEN = "disk full", "disk broken"
REFUSED = {
    FULL: (errno.ENOSPC, ("mkdir", "open", "write")),
    BROKEN: (errno.EIO, ("fsync", "rename", "replace", "truncate")),
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# What changes names; the rest has a form of its own.
NAMING = ("mkdir", "rmdir", "unlink", "remove", "rename", "replace", "truncate", "link", "symlink")


@dataclass(frozen=True)
class Point:
    """Where a process dies, or its disk fails: at the step of that number, from 0, and when in it."""

    step: int
    moment: str


@dataclass(frozen=True)
class Step:
    """What was asked of the file system."""

    kind: str
    path: str

    @property
    def moments(self) -> tuple[str, ...]:
        """When a process can die in it."""
        return MOMENTS if self.kind == "write" else tuple(each for each in MOMENTS if each != "half way")

    @property
    def refusals(self) -> tuple[str, ...]:
        """How it can fail."""
        return tuple(moment for moment, (_, kinds) in REFUSED.items() if self.kind in kinds)


class Steps:
    """Counts the steps below a folder, and dies at one of them.

    Args:
        root: the folder.
        point: where; None: nowhere.
    """

    def __init__(self, root: Path, point: Point | None = None) -> None:
        self.taken: list[Step] = []
        self._root, self._point = os.path.realpath(root), point
        self._paths: dict[int, str] = {}  # of open descriptors
        self._unsynced: set[int] = set()  # inodes of files that were written since their last sync
        self._cut = os.truncate

    def watch(self) -> "Steps":
        """Take the place of the standard library's functions, for the rest of this process."""
        for name in NAMING:
            setattr(os, name, self._naming(name, getattr(os, name)))
        os.open = self._opening(os.open)  # type: ignore[assignment]
        os.write = self._writing(os.write)
        os.fsync = self._syncing(os.fsync)  # type: ignore[assignment]
        os.fdatasync = self._syncing(os.fdatasync)  # type: ignore[assignment]
        fcntl.flock = self._locking(fcntl.flock)
        io.open = builtins.open = self._opening_a_file(io.open)
        if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: then os.fsync is called, and counted
            del fcntl.F_FULLFSYNC
        return self

    def step(self, kind: str, path: str, whole: Callable[[], Any], half: Callable[[], Any] = int) -> Any:
        """Do one step, or die of it."""
        moment = None
        if self._point is not None and len(self.taken) == self._point.step:
            moment = self._point.moment
        elif self._point is not None and len(self.taken) > self._point.step and self._point.moment == FULL:
            moment = FULL
        self.taken.append(Step(kind, os.path.relpath(path, self._root)))
        if moment in REFUSED and kind in REFUSED[moment][1]:
            number = REFUSED[moment][0]
            raise OSError(number, os.strerror(number), path)
        if moment == "before":
            _die()
        if moment == "half way":
            half()
            _die()
        try:
            return whole()
        finally:
            if moment == "power cut":
                self._lose_what_is_not_synced()
            if moment in ("after", "power cut"):
                _die()

    def wrote(self, descriptor: int) -> None:
        """What is in this file is not certain any more."""
        self._unsynced.add(os.fstat(descriptor).st_ino)

    def _lose_what_is_not_synced(self) -> None:
        for path in Path(self._root).rglob("*"):
            if path.is_file() and path.stat().st_ino in self._unsynced:
                self._cut(path, 0)

    def _path(self, path: Any, folder: int | None) -> str | None:
        """The whole path where it lies below the root."""
        if isinstance(path, int):
            return self._paths.get(path)
        whole = os.fsdecode(path)
        if folder is not None:
            if folder not in self._paths:
                return None
            whole = f"{self._paths[folder]}{os.sep}{whole}"
        # A link at the end stays: it is what is removed or replaced.
        above, name = os.path.split(os.path.normpath(whole))
        whole = str(Path(os.path.realpath(above), name))
        return whole if whole == self._root or whole.startswith(self._root + os.sep) else None

    def _naming(self, kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *others: Any, **keywords: Any) -> Any:
            folder = keywords.get("dir_fd", keywords.get("src_dir_fd"))
            found = self._path(path, folder)
            if found is None:
                return real(path, *others, **keywords)
            return self.step(kind, found, lambda: real(path, *others, **keywords))

        return call

    def _opening(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            found = self._path(path, dir_fd)
            if found is None:
                return real(path, flags, mode, dir_fd=dir_fd)
            descriptor: int
            if flags & WRITING:
                descriptor = self.step("open", found, lambda: real(path, flags, mode, dir_fd=dir_fd))
                self.wrote(descriptor)
            else:
                descriptor = real(path, flags, mode, dir_fd=dir_fd)
            self._paths[descriptor] = found
            return descriptor

        return call

    def _writing(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(descriptor: int, data: Any) -> int:
            path = self._paths.get(descriptor)
            if path is None:
                return real(descriptor, data)
            half = memoryview(data)[: len(data) // 2]
            written: int = self.step(
                "write", path, lambda: real(descriptor, data), lambda: real(descriptor, half)
            )
            self.wrote(descriptor)
            return written

        return call

    def _syncing(self, real: Callable[[int], None]) -> Callable[[int], None]:
        # Not done: to this machine, which stays on, it makes no difference but time.
        def call(descriptor: int) -> None:
            path = self._paths.get(descriptor)
            if path is None:
                return real(descriptor)
            inode = os.fstat(descriptor).st_ino
            return self.step("fsync", path, lambda: self._unsynced.discard(inode))

        return call

    def _locking(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, operation: int) -> Any:
            path = self._paths.get(file if isinstance(file, int) else file.fileno())
            if path is None:
                return real(file, operation)
            return self.step("flock", path, lambda: real(file, operation))

        return call

    def _opening_a_file(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
            path = None if isinstance(file, int) or set(mode) <= {"r", "b", "t"} else self._path(file, None)
            if path is None:
                return real(file, mode, *arguments, **keywords)
            opened = self.step("open", path, lambda: real(file, mode, *arguments, **keywords))
            self._paths[opened.fileno()] = path
            self.wrote(opened.fileno())
            return _File(opened, self, path)

        return call


class _File:
    """An open file whose writes are steps."""

    def __init__(self, file: Any, steps: Steps, path: str) -> None:
        self._file, self._steps, self._path = file, steps, path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()

    def write(self, data: Any) -> Any:
        def half() -> None:
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        written = self._steps.step("write", self._path, lambda: self._file.write(data), half)
        self._steps.wrote(self._file.fileno())
        return written

    def truncate(self, size: int | None = None) -> Any:
        return self._steps.step("truncate", self._path, lambda: self._file.truncate(size))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
