"""Data sets by name: reads them from the data folder, downloads what is missing, and verifies both."""

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from retrieval.data.downloads.archives import Source, ZipArchive, ZipOnDisk, extract, file_sha256
from retrieval.data.downloads.download_folder import own_workshop
from retrieval.data.downloads.fetching import TIMEOUT, Log, OnBytes, SourceFailedError, Watch, size_text
from retrieval.data.downloads.named_sets import (
    SAMPLE,
    NamedSet,
    Shape,
    archives_by_hand,
    find_set,
    ratings_on_disk,
    sample_folder,
    sources,
)
from retrieval.data.ids import IdMap, other_spelling
from retrieval.data.interactions import Interactions, read_interactions
from retrieval.data.items import ItemTable, find_items_beside, read_items
from retrieval.data.reading.columns import ITEM, RATING, USER
from retrieval.data.users import UserTable, find_users_beside, read_users
from retrieval.errors import DataError, EnvironmentProblem


@dataclass(frozen=True)
class Dataset:
    """Interactions, and the tables of their items and users where there are such."""

    name: str
    interactions: Interactions
    items: ItemTable | None
    users: UserTable | None = None

    def notes(self) -> list[str]:
        """Sentences for the user: how the source was interpreted, and tables whose ids do not fit."""
        notes = list(self.interactions.notes)
        if self.items is not None:
            ids = self.interactions.frame["item"].unique().to_numpy()
            titled = sum(title is not None for title in self.items.titles_for(ids))
            notes += self.items.notes
            known = IdMap.from_values(ids).rows(self.items.ids.to_list())
            described = len(set(known[known >= 0].tolist()))
            if described < len(ids) / 2:
                told = other_spelling(ids, self.items.ids.to_numpy())
                notes.append(f"only {described:,} of {len(ids):,} items are in the table of items{told}")
            elif titled < len(ids) / 2 and titled:
                notes.append(f"only {titled:,} of {len(ids):,} items have a title")
        if self.users is not None:
            ids = self.interactions.frame[USER].unique().to_numpy()
            known = IdMap.from_values(ids).rows(self.users.ids.to_list())
            described = len(set(known[known >= 0].tolist()))
            if described < len(ids) / 2:
                told = other_spelling(ids, self.users.ids.to_numpy())
                notes.append(f"only {described:,} of {len(ids):,} users are in the table of users{told}")
        return notes


@dataclass(frozen=True)
class Verified:
    """The ratings of a set, read and verified.

    Attributes:
        path: the file on disk.
        checked_by: what was compared with the published value: "the digest of its rows", "the digest of its
            file", "the digest of its archive" or "these numbers" (rows, users, items); None for the sample,
            which is a part of the package.
    """

    path: Path
    interactions: Interactions
    checked_by: str | None


def load_dataset(
    name: str,
    data_dir: Path,
    log: Log,
    *,
    on_bytes: OnBytes | None = None,
    timeout: float = TIMEOUT,
) -> Dataset:
    """Read a data set from `data_dir`; download it into that folder first where it is missing.

    Args:
        log: receives the notes for the user, a line each.
        on_bytes: receives the progress of a download: bytes received, and bytes in total or None.
        timeout: seconds a server may stay silent.

    Raises:
        UsageError: if no set has this name, or RETRIEVAL_MIRROR is no URL.
        EnvironmentProblem: if no source delivers, the disk refuses, or files on disk hold other rows.
    """
    found = obtain(name, data_dir, log, on_bytes=on_bytes, timeout=timeout)
    beside = find_items_beside(found.path)
    users = find_users_beside(found.path)
    return Dataset(
        name,
        found.interactions,
        read_items(beside) if beside else None,
        read_users(users) if users else None,
    )


def obtain(
    name: str,
    data_dir: Path,
    log: Log,
    *,
    on_bytes: OnBytes | None = None,
    timeout: float = TIMEOUT,
) -> Verified:
    """As `load_dataset`, but only the ratings, verified."""
    named = find_set(name)
    data_dir = Path(data_dir)
    if name == SAMPLE:
        path = sample_folder() / "ratings.csv"
        return Verified(path, read_interactions(path), None)
    ratings = ratings_on_disk(named, data_dir)
    if ratings is not None:
        return _from_disk(named, ratings)
    watch = Watch(lambda line: log(f"{name}: {line}"), on_bytes, timeout)
    return _download(named, data_dir, watch)


def _from_disk(named: NamedSet, ratings: Path) -> Verified:
    try:
        return _verified(named, ratings)
    except (DataError, SourceFailedError) as error:
        raise EnvironmentProblem(
            f"{ratings}: not the rows of {named.name} ({error})",
            "delete this file and run again to download it, or give it with build-index `ratings` if it is a "
            "table of your own",
        ) from error
    except OSError as error:
        raise EnvironmentProblem(f"{ratings}: cannot be read: {error.strerror or error}") from error


def _verified(named: NamedSet, ratings: Path) -> Verified:
    """Read the ratings and compare them with the pinned values.

    Messages about the rows name the file without its folder: the caller says where it lies.

    Raises:
        SourceFailedError: if the rows are others.
        DataError: if they cannot be read.
    """
    if named.rows_sha256 is not None:
        interactions = _read(ratings)
        digest = interactions.digest()
        if digest != named.rows_sha256:
            expected = f"{named.rows_sha256[:12]}..."
            raise SourceFailedError(
                f"{len(interactions):,} rows with digest {digest[:12]}..., expected {expected}"
            )
        return Verified(ratings, interactions, "the digest of its rows")
    if named.ratings_sha256 is not None:
        digest = file_sha256(ratings)
        if digest != named.ratings_sha256:
            raise SourceFailedError(
                f"{ratings.stat().st_size:,} bytes with SHA-256 {digest[:12]}..., "
                f"expected {named.ratings_sha256[:12]}..."
            )
    interactions = _read(ratings)
    _check_shape(named, interactions)
    return Verified(
        ratings, interactions, "these numbers" if named.ratings_sha256 is None else "the digest of its file"
    )


def _read(ratings: Path) -> Interactions:
    interactions = read_interactions(ratings, label=ratings.name)
    return replace(interactions, source=str(ratings))


def _check_shape(named: NamedSet, interactions: Interactions) -> None:
    frame, expected = interactions.frame, named.shape
    if not interactions.has_ratings or not interactions.has_timestamps:
        raise SourceFailedError(f"columns {', '.join(interactions.columns_found)}, expected four")
    ratings = frame[RATING].to_numpy()
    found = Shape(
        rows=len(interactions),
        users=frame[USER].n_unique(),
        items=frame[ITEM].n_unique(),
        lowest=float(ratings.min()),
        highest=float(ratings.max()),
    )
    if found != expected:
        raise SourceFailedError(f"{found}; expected {expected}")


def _download(named: NamedSet, data_dir: Path, watch: Watch) -> Verified:
    """Download from the first source that delivers the right rows; only these get their final name."""
    candidates = sources(named, data_dir)
    failures: list[str] = []
    try:
        with own_workshop(data_dir, watch.log) as folder:
            ratings = ratings_on_disk(named, data_dir)
            if ratings is not None:  # another process was faster
                return _from_disk(named, ratings)
            _check_space(named, candidates[0], folder)
            for source in candidates:
                watch.log(f"trying {source.name}")
                try:
                    return _from_source(named, source, folder, data_dir, watch)
                except SourceFailedError as error:
                    failures.append(f"{source.name} ({error})")
                    if source is not candidates[-1]:
                        watch.log(f"failed: {error}")
    except OSError as error:
        raise EnvironmentProblem(
            f"{data_dir}: {named.name} cannot be written here: {error.strerror or error}",
            "free some space or choose another data folder with `data_dir`",
        ) from error
    archive, _ = archives_by_hand(named, data_dir)
    raise EnvironmentProblem(
        f"{named.name}: no source could deliver it; tried {'; '.join(failures)}",
        f"fetch {archive.name} in another way and save it as {archive}, or its ratings as "
        f"{data_dir / named.archive.members[0]}, and run again; or give a file of your own with build-index "
        "`ratings=PATH`",
    )


def _from_source(named: NamedSet, source: Source, folder: Path, data_dir: Path, watch: Watch) -> Verified:
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        archive = source.fetch(Path(temporary), watch)
        watch.log("unpacking and verifying")
        staging = Path(temporary) / named.name
        staging.mkdir()
        extract(archive, source.members, staging, max(named.ratings_bytes.values()))
        try:
            found = _verified(named, staging / PurePosixPath(source.members[0]).name)
        except DataError as error:
            raise SourceFailedError(str(error)) from error
        path = _publish(staging, data_dir / named.name, source)
    checked_by = found.checked_by
    if isinstance(source, (ZipArchive, ZipOnDisk)) and source.sha256 is not None:
        checked_by = "the digest of its archive"
    return Verified(path, replace(found.interactions, source=str(path)), checked_by)


def _publish(staging: Path, folder: Path, source: Source) -> Path:
    """Move complete files to their final place. The ratings come last: they mark a complete set."""
    if not folder.exists():
        staging.rename(folder)
    else:
        for member in reversed(source.members):
            name = PurePosixPath(member).name
            if (staging / name).exists():
                (staging / name).replace(folder / name)
    return folder / PurePosixPath(source.members[0]).name


def _check_space(named: NamedSet, source: Source, folder: Path) -> None:
    """Refuse a full disk before a long download rather than after it."""
    download = 0 if isinstance(source, ZipOnDisk) else named.archive.size
    needed = download + max(named.ratings_bytes.values())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise EnvironmentProblem(
            f"{folder.parent}: {size_text(needed)} are needed for {named.name}, {size_text(free)} are free",
            "free some space or choose another data folder with `data_dir`",
        )
