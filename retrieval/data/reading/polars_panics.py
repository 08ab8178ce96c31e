"""Panics of polars on damaged Parquet: an exception in Python, and no lines of Rust's on stderr."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

DAMAGED = (pl.exceptions.PolarsError, pl.exceptions.PanicException)  # a panic is no Exception
_STDERR = 2


@contextmanager
def without_panic_messages() -> Iterator[None]:
    """Hold back what the block writes to stderr, and drop it where it ends in a panic.

    The hook that prints panics is Rust's own: it can be reached only where the bytes go. What other threads
    say meanwhile comes a little later.
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
