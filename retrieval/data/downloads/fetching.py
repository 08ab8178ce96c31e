"""Downloads a file over HTTP, complete or not at all; a failure is one line. Formats sizes in bytes."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from requests import RequestException

Log = Callable[[str], None]
OnBytes = Callable[[int, int | None], None]

TIMEOUT = 30.0
_CHUNK = 1 << 16


class SourceFailedError(Exception):
    """A source could not deliver. The message is the reason without the name of the source."""


@dataclass(frozen=True)
class Watch:
    """Receivers of the progress of a download, and its patience.

    Attributes:
        log: receives the notes for the user, a line each.
        on_bytes: receives the bytes received and in total; None where the server does not tell the total.
        timeout: seconds to wait for a connection, and for the next piece of data.
    """

    log: Log
    on_bytes: OnBytes | None = None
    timeout: float = TIMEOUT


@dataclass
class _Received:
    """The progress bar that pooch expects; it passes on the bytes and stops a file that is far too long."""

    on_bytes: OnBytes | None
    most_bytes: int
    total: int = 0  # set by pooch; 0 where the server does not tell it
    received: int = 0

    def update(self, count: int) -> None:
        self.received += count  # the last chunk counts as a full one
        if self.total:
            self.received = min(self.received, self.total)
        if max(self.received, self.total) > self.most_bytes:
            raise SourceFailedError(f"longer than {size_text(self.most_bytes)}, not what was asked for")
        if self.on_bytes and count:
            self.on_bytes(self.received, self.total or None)

    def reset(self) -> None:
        self.received = 0

    def close(self) -> None:
        pass


def fetch(url: str, path: Path, watch: Watch, most_bytes: int, sha256: str | None = None) -> None:
    """Download `url` to `path`, which exists only once it is complete.

    Args:
        most_bytes: a longer file is given up.
        sha256: of the file, in hex; None for any.

    Raises:
        SourceFailedError: with the reason.
        OSError: if the disk refuses.
    """
    import pooch
    from requests import RequestException

    before, logger = sys.exception(), pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # at lower levels pooch prints
    bar = _Received(watch.on_bytes, most_bytes)
    # Without compression the counted bytes are those of the file.
    options = {"timeout": watch.timeout, "headers": {"Accept-Encoding": "identity"}}
    downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=_CHUNK, **options)
    try:
        pooch.retrieve(url, sha256, path.name, path.parent, downloader=downloader)
    except RequestException as error:
        raise SourceFailedError(_reason(error, before, watch.timeout)) from error
    except ValueError as error:  # the digest differs
        raise SourceFailedError(str(error).partition(". Deleted")[0]) from error
    finally:
        logger.setLevel(level)


def _reason(error: "RequestException", before: BaseException | None, timeout: float) -> str:
    """The reason that the operating system gave, at the bottom of the chain of exceptions of requests.

    Args:
        before: the exception in handling when the download began; it ends the chain.
    """
    from requests.exceptions import ChunkedEncodingError, HTTPError, ProxyError

    if isinstance(error, HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    prefixes = {ChunkedEncodingError: "the connection was cut: ", ProxyError: "through the proxy: "}
    prefix = prefixes.get(type(error), "")
    cause: BaseException = error
    while cause.__context__ is not None and cause.__context__ is not before:
        cause = cause.__context__
    if isinstance(cause, TimeoutError):
        return f"{prefix}no data for {timeout:g} seconds"
    return prefix + " ".join(str(getattr(cause, "strerror", None) or cause).split())


def size_text(size: int) -> str:
    """A number of bytes in the unit that people read.

    >>> size_text(4_924_029), size_text(198_702_078), size_text(512)
    ('4.9 MB', '199 MB', '512 bytes')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            value = size / factor
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{size} bytes"


def progress_text(received: int, total: int | None) -> str:
    """How far a download is.

    >>> progress_text(43_000_000, 198_702_078), progress_text(43_000_000, None)
    ('43 MB of 199 MB', '43 MB')
    """
    return size_text(received) if total is None else f"{size_text(received)} of {size_text(total)}"
