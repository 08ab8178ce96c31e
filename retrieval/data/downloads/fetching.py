"""A file over HTTP, through pooch: whole or not at all, the reason in one line; sizes for people."""

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
    """One source could not deliver; the next one is tried. The message is the reason, without the source."""


@dataclass(frozen=True)
class Watch:
    """How a download is watched.

    Attributes:
        log: receives what a user should know, a line each.
        on_bytes: receives the bytes there are and the size of the whole, None where the server does not say.
        timeout: seconds until a connection stands, and between two pieces of data.
    """

    log: Log
    on_bytes: OnBytes | None = None
    timeout: float = TIMEOUT


@dataclass
class _Received:
    """What pooch takes for a progress bar: passes on the bytes, and stops what is far too long."""

    on_bytes: OnBytes | None
    most_bytes: int
    total: int = 0  # set by pooch; 0 where the server does not say
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
    """Download `url` to `path`, which is there only once it is whole.

    Args:
        most_bytes: give up on a file longer than this.
        sha256: of the file, in hex; None for any.

    Raises:
        SourceFailedError: with the reason.
        OSError: if the disk refuses.
    """
    import pooch
    from requests import RequestException

    before, logger = sys.exception(), pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # below that it prints
    bar = _Received(watch.on_bytes, most_bytes)
    # Identity, so that the bytes that are counted are the file's.
    options = {"timeout": watch.timeout, "headers": {"Accept-Encoding": "identity"}}
    downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=_CHUNK, **options)
    try:
        pooch.retrieve(url, sha256, path.name, path.parent, downloader=downloader)
    except RequestException as error:
        raise SourceFailedError(_reason(error, before, watch.timeout)) from error
    except ValueError as error:  # another digest
        raise SourceFailedError(str(error).partition(". Deleted")[0]) from error
    finally:
        logger.setLevel(level)


def _reason(error: "RequestException", before: BaseException | None, timeout: float) -> str:
    """What the operating system said, deep inside what requests makes of it.

    Args:
        before: what was being handled when the download began, which is no part of the story.
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
    """Bytes for people.

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
