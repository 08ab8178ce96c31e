"""Writes files so that they survive a crash or a power cut, and opens plain files only.

A file is certain to be on disk once it and the folder that names it are synced, and only a rename is all or
nothing (Pillai et al., "All file systems are not created equal", OSDI 2014).
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from retrieval.errors import DamagedBundle, EnvironmentProblem

MAX_SMALL_BYTES = 4_000_000  # of files without a known size, such as the manifest

NOT_ALLOWED = (errno.EROFS, errno.EACCES, errno.EPERM)
# The errors of file systems that cannot sync folders, mostly network ones.
CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOTTY)
UNFINISHED = ".unfinished-"  # prefix of files and folders that are not complete yet


def write_file(path: Path, data: bytes | memoryview) -> None:
    """Write a file, replacing one of that name, and sync it, but not its folder.

    Raises:
        OSError: if it cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o666)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        _sync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file in one step: a reader sees the whole old file or the whole new one.

    Raises:
        OSError: if it cannot be written; the old file is still there.
    """
    new = path.with_name(UNFINISHED + path.name)
    try:
        write_file(new, data)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, and sync the names of the new ones.

    Raises:
        OSError: if it cannot be made.
    """
    if folder.exists():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder, on file systems that can.

    Raises:
        OSError: if the disk fails.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _sync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn an error of the operating system in writing into one that the user can act on.

    Args:
        folder: for messages where the error names no file.

    Raises:
        EnvironmentProblem: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        advice = "make it writable" if error.errno in NOT_ALLOWED else "free space"
        raise EnvironmentProblem(
            f"{error.filename or folder}: cannot be written ({error.strerror or error})",
            f"{advice} or give another `artifacts`; what was current still is",
        ) from error


def _sync(descriptor: int) -> None:
    if hasattr(fcntl, "F_FULLFSYNC"):  # on macOS fsync leaves the data in the memory of the disk
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
        except OSError as error:
            if error.errno not in CANNOT_SYNC:
                raise
    os.fsync(descriptor)


def read_plain_file(path: Path, size: int | None) -> bytes:
    """All bytes of a regular file; see `opened_plain_file`."""
    with opened_plain_file(path, size) as file:
        return file.read()


def opened_plain_file(path: Path, size: int | None) -> BinaryIO:
    """Open a regular file for reading, without waiting for the writer of a pipe.

    Args:
        size: its size in bytes; None: at most `MAX_SMALL_BYTES`.

    Raises:
        DamagedBundle: if it is missing, anything but a regular file, or of another size.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise DamagedBundle(f"{path}: missing") from None
    except OSError as error:
        reason = (
            "a link, not a file" if error.errno == errno.ELOOP else f"cannot be opened ({error.strerror})"
        )
        raise DamagedBundle(f"{path}: {reason}") from None
    status = os.fstat(descriptor)
    wrong = None
    if not stat.S_ISREG(status.st_mode):
        wrong = "not a plain file"
    elif size is None and status.st_size > MAX_SMALL_BYTES:
        wrong = f"{status.st_size:,} bytes are too many for such a file"
    elif size is not None and status.st_size != size:
        wrong = f"{status.st_size:,} bytes, but the manifest says {size:,}"
    if wrong is not None:
        os.close(descriptor)
        raise DamagedBundle(f"{path}: {wrong}")
    return os.fdopen(descriptor, "rb")


def check_folder(folder: Path) -> None:
    """Refuse a link in place of a folder.

    Raises:
        DamagedBundle: if `folder` is a link.
    """
    if folder.is_symlink():
        raise DamagedBundle(f"{folder}: a link, not a folder")
