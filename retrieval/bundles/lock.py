"""One writer at a time: the lock that a build holds on its artifacts folder."""

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
    """Held while a bundle is written; the kernel releases it when its holder ends, however that happens.

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
