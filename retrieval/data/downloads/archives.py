"""Sources of the archive of a data set: a zip by HTTP, a zip on disk, a wheel through pip."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from retrieval.data.downloads.fetching import SourceFailedError, Watch, fetch, size_text
from retrieval.errors import UsageError

MIRROR = "RETRIEVAL_MIRROR"
# A file this many times as long as expected is another file.
_TOO_LONG = 4
_PIP_CONNECT_SECONDS, _PIP_SECONDS = 10, 300


class Source(Protocol):
    """A source of the files of a data set.

    Attributes:
        name: for messages.
        members: paths in the archive, the ratings first; on disk they keep the last part of the path.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def members(self) -> tuple[str, ...]: ...  # noqa: D102

    def fetch(self, folder: Path, watch: Watch) -> Path:
        """The path of the archive, in `folder` if it was downloaded.

        Raises:
            SourceFailedError: with the reason.
        """
        ...


@dataclass(frozen=True)
class ZipArchive:
    """A zip file at a URL.

    Attributes:
        size: in bytes, as published; a much longer file is refused.
        sha256: of the archive; None where any archive with the right rows will do.
    """

    url: str
    members: tuple[str, ...]
    size: int
    sha256: str | None = None

    @property
    def name(self) -> str:
        """The URL."""
        return self.url

    def fetch(self, folder: Path, watch: Watch) -> Path:
        """Download the zip."""
        path = folder / PurePosixPath(self.url).name
        fetch(self.url, path, watch, _TOO_LONG * self.size, self.sha256)
        return path


@dataclass(frozen=True)
class ZipOnDisk:
    """A zip file that the user put into the data folder; it is only read."""

    path: Path
    members: tuple[str, ...]
    sha256: str | None = None

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def fetch(self, folder: Path, watch: Watch) -> Path:
        """The path, if the archive is the published one."""
        try:
            found = self.sha256 and file_sha256(self.path)
        except OSError as error:
            raise SourceFailedError(f"cannot be read: {error.strerror or error}") from error
        if found != self.sha256:
            raise SourceFailedError(f"its SHA-256 is {found}, expected {self.sha256}")
        return self.path


@dataclass(frozen=True)
class Wheel:
    """A package on the registry of pip; it is downloaded and never installed."""

    requirement: str
    members: tuple[str, ...]

    @property
    def name(self) -> str:
        """The pip command that fetches it."""
        return f"pip download {self.requirement}"

    def fetch(self, folder: Path, watch: Watch) -> Path:
        """Download the wheel."""
        import subprocess

        command = [
            sys.executable,
            "-P",
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--quiet",
        ]
        command += ["--disable-pip-version-check", "--no-input", "--retries", "1", "--timeout"]
        command += [str(_PIP_CONNECT_SECONDS), self.requirement, "-d", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise SourceFailedError(f"not done within {_PIP_SECONDS} seconds") from error
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise SourceFailedError(_one_line(lines[-1] if lines else f"pip ended with {done.returncode}"))
        wheels = sorted(folder.glob("*.whl"))
        if not wheels:
            raise SourceFailedError("pip left no wheel")
        return wheels[0]


def mirror_url() -> str | None:
    """The base URL in RETRIEVAL_MIRROR, a copy of GroupLens' folder with the same file names.

    Raises:
        UsageError: if it is no http or https URL.
    """
    from urllib.parse import urlsplit

    base = os.environ.get(MIRROR, "").strip()
    if not base:
        return None
    try:
        parts = urlsplit(base)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
        fits = fits and (parts.port is None or parts.port > 0) and not any(c.isspace() for c in base)
    except ValueError:
        fits = False
    if not fits or not base.isascii():
        raise UsageError(f"{MIRROR} is {base!r}", "expected a URL such as https://mirror.example/movielens")
    return base.rstrip("/")


def extract(archive: Path, members: tuple[str, ...], folder: Path, ratings_size: int) -> None:
    """Copy the members into `folder`. The first one, the ratings, must be there; others may be missing.

    Raises:
        SourceFailedError: if the archive is damaged, or a member is much longer than the ratings should be.
        OSError: if the disk refuses.
    """
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(archive) as opened:
            sizes = {info.filename: info.file_size for info in opened.infolist()}
            if members[0] not in sizes:
                raise SourceFailedError(f"no {members[0]} in {archive.name}")
            for member in members:
                if member not in sizes:
                    continue
                if sizes[member] > _TOO_LONG * ratings_size:
                    raise SourceFailedError(f"{member} is {size_text(sizes[member])} long")
                target = folder / PurePosixPath(member).name
                with opened.open(member) as read, target.open("wb") as write:
                    shutil.copyfileobj(read, write, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise SourceFailedError(f"a damaged archive: {error}") from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _one_line(text: str) -> str:
    text = " ".join(text.split()).removeprefix("ERROR: ")
    return text if len(text) <= 160 else text[:160] + "..."
