"""The lock on an artifacts folder, so that one process at a time writes there."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retrieval.disk import make_folder, writing_to
from retrieval.errors import EnvironmentProblem

LOCK = ".lock"


@contextmanager
def build_lock(artifacts: Path) -> Iterator[None]:
    """Hold the lock inside the block; the kernel releases it when the process ends, even if it is killed.

    Raises:
        EnvironmentProblem: if another process holds it.
    """
    with writing_to(artifacts):
        make_folder(artifacts)
        file = (artifacts / LOCK).open("a+b", buffering=0)
    with file:
        with writing_to(artifacts):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read(20).decode("ascii", "replace").strip() or "unknown"
                raise EnvironmentProblem(
                    f"{artifacts}: another build is writing here (process {holder})",
                    "wait for it, or give another `artifacts`",
                ) from None
            file.truncate(0)
            file.write(f"{os.getpid()}\n".encode())
        yield
