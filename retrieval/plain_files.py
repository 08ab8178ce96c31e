"""Reading a file that should be plain and of a known size: links, pipes and folders are not followed."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from retrieval.errors import DamagedBundle

MAX_SMALL_BYTES = 4_000_000


def read_plain_file(path: Path, size: int | None) -> bytes:
    """All bytes of a regular file; see `opened_plain_file`."""
    with opened_plain_file(path, size) as file:
        return file.read()


def opened_plain_file(path: Path, size: int | None) -> BinaryIO:
    """A regular file, open for reading. Nothing is waited for: not for the writer of a pipe.

    Args:
        size: the bytes it must have; None: at most `MAX_SMALL_BYTES`.

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
        DamagedBundle: if it is one.
    """
    if folder.is_symlink():
        raise DamagedBundle(f"{folder}: a link, not a folder")
