"""The hidden folder for a download in progress; one process uses it at a time."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retrieval.data.downloads.fetching import Log

FOLDER, LOCK = ".retrieval-download", ".lock"


@contextmanager
def own_workshop(data_dir: Path, log: Log) -> Iterator[Path]:
    """An empty folder inside `data_dir` for this process alone, removed at the end.

    It waits while another process has the folder, and removes the remains of a killed process. The empty lock
    file may stay.
    """
    from filelock import FileLock, Timeout

    data_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(data_dir / LOCK)
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        log("another process is downloading into this folder; waiting for that")
        held = lock.acquire()
    with held:
        folder = data_dir / FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
