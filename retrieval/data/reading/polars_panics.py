"""Keeps the messages of polars' panics on damaged Parquet off stderr; the exceptions stay."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

DAMAGED = (pl.exceptions.PolarsError, pl.exceptions.PanicException)  # a panic is no Exception
_STDERR = 2


@contextmanager
def without_panic_messages() -> Iterator[None]:
    """Hold back the stderr of the block, and drop it if the block ends in a panic.

    Rust prints a panic itself, so it can be stopped only at the file descriptor. Lines of other threads
    appear after the block.
    """
    try:
        kept = os.dup(_STDERR)
    except OSError:  # there is no stderr
        yield
        return
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), _STDERR)
        try:
            yield
        except pl.exceptions.PanicException:
            said.truncate(0)
            raise
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
            said.seek(0)
            if text := said.read():
                os.write(_STDERR, text)
