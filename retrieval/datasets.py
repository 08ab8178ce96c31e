"""Public data sets by name: where they come from, and how their rows are known to be the right ones."""

import difflib
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from retrieval.errors import DataError, EnvironmentProblem, UsageError
from retrieval.interactions import Interactions, read_interactions
from retrieval.items import ItemTable, find_items_beside, read_items

Log = Callable[[str], None]

SAMPLE = "sample"
_CONNECT_SECONDS, _READ_SECONDS, _PIP_SECONDS = 10, 60, 300
_REASONS = {
    "ConnectTimeout": f"no answer within {_CONNECT_SECONDS} seconds",
    "ReadTimeout": f"no data for {_READ_SECONDS} seconds",
    "ConnectionError": "the server cannot be reached",
    "ProxyError": "the proxy refused",
    "SSLError": "no trusted TLS connection",
}


class SourceFailedError(Exception):
    """One source could not deliver; the next one is tried. The message is the reason."""


class Source(Protocol):
    """Somewhere to get the files of a data set from.

    Attributes:
        name: for messages.
        members: the files in the archive, the ratings first; they keep their last name on disk.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def members(self) -> tuple[str, ...]: ...  # noqa: D102

    def fetch(self, folder: Path) -> Path:
        """Download into `folder` and give the archive's path; `SourceFailedError` with a reason."""
        ...


@dataclass(frozen=True)
class ZipArchive:
    """A zip file at a URL."""

    url: str
    members: tuple[str, ...]

    @property
    def name(self) -> str:
        """The URL."""
        return self.url

    def fetch(self, folder: Path) -> Path:
        """Download the zip."""
        import pooch

        pooch.get_logger().setLevel("ERROR")
        download = pooch.HTTPDownloader(timeout=(_CONNECT_SECONDS, _READ_SECONDS))
        try:
            # The rows are checked, not the archive: one digest for every source.
            return Path(pooch.retrieve(self.url, None, fname="archive.zip", path=folder, downloader=download))
        except (OSError, ValueError) as error:
            # The errors of requests are OSErrors without a number; one with a number is the disk's.
            if getattr(error, "errno", None) is not None:
                raise
            reason = _REASONS.get(type(error).__name__, _one_line(str(error)))
            raise SourceFailedError(reason) from error


@dataclass(frozen=True)
class Wheel:
    """A package on the registry that pip is set up for; downloaded, never installed."""

    requirement: str
    members: tuple[str, ...]

    @property
    def name(self) -> str:
        """The requirement, as pip takes it."""
        return f"pip download {self.requirement}"

    def fetch(self, folder: Path) -> Path:
        """Download the wheel."""
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
        command += ["--disable-pip-version-check", "--no-input", "--retries", "1", "--timeout"]
        command += [str(_CONNECT_SECONDS), self.requirement, "-d", str(folder)]
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


@dataclass(frozen=True)
class NamedSet:
    """A data set that can be asked for by name.

    Attributes:
        name: what `--dataset` takes.
        description: one line for people.
        digest: `Interactions.digest` of its rows, the same for every source.
        sources: tried in this order.
    """

    name: str
    description: str
    digest: str
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Dataset:
    """Interactions, and what their items are called where that is known."""

    name: str
    interactions: Interactions
    items: ItemTable | None

    def notes(self) -> list[str]:
        """What whoever gave the data should know: what was guessed, and titles that fit no item."""
        notes = list(self.interactions.notes)
        if self.items is not None:
            ids = self.interactions.frame["item"].unique().to_numpy()
            titled = sum(title is not None for title in self.items.titles_for(ids))
            if titled < len(ids) / 2:
                notes.append(f"only {titled:,} of {len(ids):,} items have a title; are the ids the same?")
        return notes


ML_100K = NamedSet(
    name="ml-100k",
    description="MovieLens 100K: 100,000 ratings, 943 users, 1,682 films, 1997-1998",
    digest="6cfffb52c89b05fbc3afb75f6912eeda04c81c2add0dc58e773a0ef6c8adb160",
    sources=(
        ZipArchive(
            "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
            ("ml-100k/u.data", "ml-100k/u.item", "ml-100k/u.genre", "ml-100k/README"),
        ),
        Wheel(
            "recbole==1.2.1",
            ("recbole/dataset_example/ml-100k/ml-100k.inter", "recbole/dataset_example/ml-100k/ml-100k.item"),
        ),
    ),
)
NAMED_SETS = {named.name: named for named in (ML_100K,)}


def load_dataset(name: str, data_dir: Path, log: Log) -> Dataset:
    """A data set by name, from `data_dir` or downloaded into it once.

    Raises:
        UsageError: no set has this name.
        EnvironmentProblem: no source delivers, the disk refuses, or files on disk hold other rows.
    """
    if name == SAMPLE:
        folder = sample_folder()
        return Dataset(SAMPLE, read_interactions(folder / "ratings.csv"), read_items(folder / "movies.csv"))
    if name not in NAMED_SETS:
        known = [*NAMED_SETS, SAMPLE]
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        raise UsageError(f"no data set {name!r}; did you mean {close[0]}? There are {', '.join(known)}")
    named = NAMED_SETS[name]
    folder = Path(data_dir) / name
    ratings = _ratings_on_disk(named, folder) or _download(named, folder, log)
    try:
        interactions = _verified(named, ratings)
    except (DataError, SourceFailedError) as error:
        raise EnvironmentProblem(
            f"{ratings}: not the rows of {name} ({error}); delete this file and run again to download it"
        ) from error
    beside = find_items_beside(ratings)
    return Dataset(name, interactions, read_items(beside) if beside else None)


def sample_folder() -> Path:
    """Where the sample lies: inside the installed package, or in the checkout's data folder."""
    package = Path(__file__).resolve().parent
    for folder in (package / "sample_data", package.parent / "data" / "sample"):
        if (folder / "ratings.csv").is_file():
            return folder
    raise EnvironmentProblem(
        f"the sample is missing from {package.parent / 'data' / 'sample'}; install again"
    )


def _ratings_on_disk(named: NamedSet, folder: Path) -> Path | None:
    candidates = [folder / PurePosixPath(source.members[0]).name for source in named.sources]
    return next((path for path in candidates if path.is_file()), None)


def _verified(named: NamedSet, ratings: Path) -> Interactions:
    interactions = read_interactions(ratings)
    digest = interactions.digest()
    if digest != named.digest:
        raise SourceFailedError(
            f"{len(interactions)} rows with digest {digest[:12]}..., expected {named.digest[:12]}..."
        )
    return interactions


def _download(named: NamedSet, folder: Path, log: Log) -> Path:
    """Fetch from the first source that delivers the right rows; nothing appears in `folder` before that."""
    failures = []
    for source in named.sources:
        log(f"{named.name}: downloading ({source.name})")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{named.name}-", dir=folder.parent) as temporary:
                staging = Path(temporary) / "complete"
                staging.mkdir()
                _extract(source.fetch(Path(temporary)), source.members, staging)
                _verified(named, staging / PurePosixPath(source.members[0]).name)
                return _publish(staging, folder, source)
        except (SourceFailedError, DataError) as error:
            failures.append(f"{source.name} ({error})")
            log(f"{named.name}: {source.name} failed: {error}")
        except OSError as error:
            raise EnvironmentProblem(
                f"{folder}: cannot be written: {error.strerror or error}; choose another data folder"
            ) from error
    raise EnvironmentProblem(
        f"{named.name}: no source could deliver it; tried {'; '.join(failures)}; "
        "give a file of your own with --ratings PATH"
    )


def _extract(archive: Path, members: tuple[str, ...], folder: Path) -> None:
    """Copy the members into `folder`; only the first one, the ratings, has to be there."""
    try:
        with zipfile.ZipFile(archive) as opened:
            present = set(opened.namelist())
            if members[0] not in present:
                raise SourceFailedError(f"no {members[0]} in {archive.name}")
            for member in members:
                if member in present:
                    target = folder / PurePosixPath(member).name
                    with opened.open(member) as read, target.open("wb") as write:
                        shutil.copyfileobj(read, write)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise SourceFailedError(f"a damaged archive: {error}") from error


def _publish(staging: Path, folder: Path, source: Source) -> Path:
    """Move complete files to their final place, the ratings last: where they are, everything is."""
    if not folder.exists():
        try:
            staging.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    if staging.exists():
        for member in reversed(source.members):
            name = PurePosixPath(member).name
            if (staging / name).exists():
                (staging / name).replace(folder / name)
    return folder / PurePosixPath(source.members[0]).name


def _one_line(text: str) -> str:
    text = " ".join(text.split()).removeprefix("ERROR: ")
    return text if len(text) <= 160 else text[:160] + "..."
