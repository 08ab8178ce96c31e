"""The data sets that have a name: their published figures, and their files on this disk.

The list of sets and the completion of the shell come from here, so nothing slow is imported or read.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from retrieval.data.downloads.archives import Source, Wheel, ZipArchive, ZipOnDisk, mirror_url
from retrieval.errors import EnvironmentProblem, UsageError

SAMPLE = "sample"
GROUPLENS = "https://files.grouplens.org/datasets/movielens"
TERMS = "research use, with citation, no redistribution"
TERMS_URL = "https://grouplens.org/datasets/movielens/"

State = Literal["no", "here", "damaged", "archive"]


@dataclass(frozen=True)
class Shape:
    """The published figures of a set: numbers of rows, users and items, and the scale of the ratings."""

    rows: int
    users: int
    items: int
    lowest: float
    highest: float

    def __str__(self) -> str:
        scale = f"{self.lowest:g} to {self.highest:g}"
        return f"{self.rows:,} rows, {self.users:,} users, {self.items:,} items, rated {scale}"


@dataclass(frozen=True)
class NamedSet:
    """A data set that can be asked for by name.

    Its rows are verified by the digest of the table where one is pinned, else by the digest of the published
    ratings file and by the shape; a downloaded archive also by its own digest. Independent projects pin the
    same digests (data/README.md names them); a set without a digest has only its shape.

    Attributes:
        name: what `load_dataset` takes.
        description: one line.
        shape: of the right rows.
        ratings_bytes: file name of the ratings in any source -> its published size.
        sources: tried in this order, after a zip on disk and the mirror.
        rows_sha256: `Interactions.digest` of the rows, the same for every source; it decides alone.
        ratings_sha256: of the ratings file as GroupLens publishes it.
    """

    name: str
    description: str
    shape: Shape
    ratings_bytes: dict[str, int]
    sources: tuple[Source, ...]
    rows_sha256: str | None = None
    ratings_sha256: str | None = None

    @property
    def archive(self) -> ZipArchive:
        """The first source that is a zip at a URL: the publisher's."""
        return next(source for source in self.sources if isinstance(source, ZipArchive))


@dataclass(frozen=True)
class Standing:
    """The state of a set on this disk, by names and sizes of files alone.

    Attributes:
        state: "here"; "damaged", a ratings file that is shorter than published; "archive", a zip that is not
            unpacked yet; or "no".
        path: the ratings file, the zip, or the folder where the set would be.
    """

    state: State
    path: Path


def ratings_on_disk(named: NamedSet, data_dir: Path) -> Path | None:
    """The ratings file of a set on disk, under the name of any of its sources; None where there is none."""
    candidates = [data_dir / named.name / PurePosixPath(source.members[0]).name for source in named.sources]
    return next((path for path in candidates if path.is_file()), None)


def sources(named: NamedSet, data_dir: Path) -> list[Source]:
    """All sources of a set in the order of trying: a zip on disk, the mirror, the published ones.

    Raises:
        UsageError: if RETRIEVAL_MIRROR is no URL.
    """
    archive = named.archive
    found: list[Source] = [
        ZipOnDisk(path, archive.members, archive.sha256)
        for path in archives_by_hand(named, data_dir)
        if path.is_file()
    ]
    mirror = mirror_url()
    if mirror is not None:
        url = f"{mirror}/{PurePosixPath(archive.url).name}"
        found.append(ZipArchive(url, archive.members, archive.size, archive.sha256))
    return [*found, *named.sources]


def archives_by_hand(named: NamedSet, data_dir: Path) -> tuple[Path, Path]:
    """The two places for a zip that the user fetched in another way."""
    return data_dir / f"{named.name}.zip", data_dir / named.name / f"{named.name}.zip"


def standing(named: NamedSet, data_dir: Path) -> Standing:
    """The state of a set on this disk. Opens no file, so it is quick."""
    if named.name == SAMPLE:
        return Standing("here", sample_folder() / "ratings.csv")
    ratings = ratings_on_disk(named, data_dir)
    if ratings is not None:
        # A longer file may have other line ends; a shorter one is incomplete.
        short = ratings.stat().st_size < named.ratings_bytes[ratings.name]
        return Standing("damaged" if short else "here", ratings)
    for path in archives_by_hand(named, data_dir):
        if path.is_file():
            return Standing("archive", path)
    return Standing("no", data_dir / named.name)


def sample_folder() -> Path:
    """The folder of the sample: inside the installed package, or in the data folder of the checkout."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "sample_data", package.parent / "data" / "sample"):
        if (folder / "ratings.csv").is_file():
            return folder
    raise EnvironmentProblem(
        f"the sample is missing from {package.parent / 'data' / 'sample'}", "install again"
    )


def find_set(name: str) -> NamedSet:
    """The set of that name.

    Raises:
        UsageError: if there is none; the message has the nearest name and the whole list.
    """
    if name not in NAMED_SETS:
        close = difflib.get_close_matches(name, NAMED_SETS, n=1, cutoff=0.0)
        raise UsageError(f"no data set {name!r}; did you mean {close[0]}? There are {', '.join(NAMED_SETS)}")
    return NAMED_SETS[name]


def _grouplens(name: str, size: int, sha256: str | None, *files: str) -> ZipArchive:
    members = tuple(f"{name}/{file}" for file in files)
    return ZipArchive(f"{GROUPLENS}/{name}.zip", members, size, sha256)


ML_100K = NamedSet(
    name="ml-100k",
    description="MovieLens 100K, 1997-1998",
    shape=Shape(100_000, 943, 1_682, 1, 5),
    ratings_bytes={"u.data": 1_979_173, "ml-100k.inter": 1_979_230},
    sources=(
        # The digest of the rows is enough, and holds for every source.
        _grouplens("ml-100k", 4_924_029, None, "u.data", "u.item", "u.genre", "u.user", "README"),
        Wheel(
            "recbole==1.2.1",
            tuple(
                f"recbole/dataset_example/ml-100k/ml-100k.{ending}" for ending in ("inter", "item", "user")
            ),
        ),
    ),
    rows_sha256="6cfffb52c89b05fbc3afb75f6912eeda04c81c2add0dc58e773a0ef6c8adb160",
)
ML_1M = NamedSet(
    name="ml-1m",
    description="MovieLens 1M, 2000-2003",
    shape=Shape(1_000_209, 6_040, 3_706, 1, 5),
    ratings_bytes={"ratings.dat": 24_594_131},
    sources=(
        _grouplens(
            "ml-1m",
            5_917_549,
            "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
            *("ratings.dat", "movies.dat", "users.dat", "README"),
        ),
    ),
    ratings_sha256="506d64ca44484487c11dc2d9a28de5c54948213e6b96285e298afe28d6ea4e0f",
)
ML_LATEST_SMALL = NamedSet(
    name="ml-latest-small",
    description="MovieLens latest small, as of September 2018",
    shape=Shape(100_836, 610, 9_724, 0.5, 5),
    ratings_bytes={"ratings.csv": 2_483_723},
    # GroupLens may change this archive, so its digest is not checked: another README or another packing must
    # not make the set unusable. The shape decides; a set with other numbers is another set.
    sources=(_grouplens("ml-latest-small", 978_202, None, "ratings.csv", "movies.csv", "README.txt"),),
)
ML_20M = NamedSet(
    name="ml-20m",
    description="MovieLens 20M, 1995-2015",
    shape=Shape(20_000_263, 138_493, 26_744, 0.5, 5),
    ratings_bytes={"ratings.csv": 533_444_411},
    sources=(
        _grouplens(
            "ml-20m",
            198_702_078,
            "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3",
            *("ratings.csv", "movies.csv", "README.txt"),
        ),
    ),
)
ML_25M = NamedSet(
    name="ml-25m",
    description="MovieLens 25M, 1995-2019",
    shape=Shape(25_000_095, 162_541, 59_047, 0.5, 5),
    ratings_bytes={"ratings.csv": 678_260_987},
    sources=(
        _grouplens(
            "ml-25m",
            261_978_986,
            "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa",
            *("ratings.csv", "movies.csv", "README.txt"),
        ),
    ),
)
SAMPLE_SET = NamedSet(
    name=SAMPLE,
    description="made up, small, part of the package",
    shape=Shape(4_822, 150, 120, 1, 5),
    ratings_bytes={},
    sources=(),
)
NAMED_SETS = {named.name: named for named in (ML_100K, ML_1M, ML_LATEST_SMALL, ML_20M, ML_25M, SAMPLE_SET)}
