"""The hidden folder in which a download is made, by one process at a time."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retrieval.data.downloads.fetching import Log

FOLDER, LOCK = ".retrieval-download", ".lock"


@contextmanager
def own_workshop(data_dir: Path, log: Log) -> Iterator[Path]:
    """An empty folder inside `data_dir`, for this process alone; gone at the end.

    Waits while another process has it. What a killed one left there is removed; the empty lock file may stay.
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
