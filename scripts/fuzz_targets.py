"""The law for bytes from outside: they give an answer, or an error of one line that names the file.

`fuzz.py` tests readers and bundles by coverage,
`tests/robustness/test_fuzz_inputs.py` by chosen kinds of bytes.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from small_build import small_build

from retrieval.bundles.bundle import open_folder
from retrieval.bundles.fitted_system_files import read_system
from retrieval.bundles.layout import MANIFEST
from retrieval.bundles.manifest import manifest_bytes, manifest_digest
from retrieval.data.interactions import Interactions, read_interactions
from retrieval.data.items import ItemTable, find_items_beside, read_items
from retrieval.data.users import UserTable, find_users_beside, read_users
from retrieval.errors import ArtifactError, RetrievalError
from retrieval.evaluation.from_bundle import read_evaluated
from retrieval.recommender import Recommender
from retrieval.serving.fitted_system import FittedSystem

TableReader = Callable[[Path], Interactions | ItemTable | UserTable]
# The name decides little: files are known by content, and members of a zip by name.
READERS: tuple[tuple[str, TableReader], ...] = (
    ("ratings.dat", read_interactions),
    ("u.data", read_interactions),
    ("ratings.csv", read_interactions),
    ("ml.inter", read_interactions),
    ("ratings.csv.gz", read_interactions),
    ("ratings.zip", read_interactions),
    ("ratings.parquet", read_interactions),
    ("movies.dat", read_items),
    ("u.item", read_items),
    ("movies.csv", read_items),
    ("ml.item", read_items),
    ("movies.parquet", read_items),
    ("users.dat", read_users),
    ("u.user", read_users),
    ("users.csv", read_users),
)
JSONS = ("model.json", "attributes.json", "features_names.json")
ARRAYS = (
    *("item_vectors.npy", "user_vectors.npy", "seen_starts.npy", "seen_items.npy", "user_ids.npy"),
    *("item_ids.npy", "item_titles.npy", "popularity.npy", "attribute_values.npy", "attribute_starts.npy"),
    *("attribute_rows.npy", "features_vectors.npy", "features_histories.npy"),
)
FORGED = (
    MANIFEST,
    *("evaluated/choices.json", "evaluated/index_choice.json"),
    *(f"{part}/{name}" for part in ("served", "evaluated") for name in JSONS),
    *(f"served/{name}" for name in ARRAYS),
)
USERS, K = 3, 5


class BrokenLaw(AssertionError):
    """A reader gave neither an answer nor an error of one line."""


def read_table(case: int, data: bytes, folder: Path) -> Interactions | ItemTable | UserTable | None:
    """Read `data` as the file of `READERS[case]`; None where it is refused.

    Raises:
        BrokenLaw: if there is neither a sound answer nor an error of one line.
    """
    name, reader = READERS[case % len(READERS)]
    path = folder / name
    path.write_bytes(data)
    try:
        find_items_beside(path)
        find_users_beside(path)
        table = reader(path)
    except RetrievalError as error:
        check_error(error, path)
        return None
    check_table(table)
    return table


def check_error(error: RetrievalError, path: Path) -> None:
    """Check that an error is one line that names the path."""
    if len(str(error).splitlines()) != 1:
        raise BrokenLaw(f"not one line: {str(error)!r}")
    if str(path) not in str(error):
        raise BrokenLaw(f"{path} is not named: {error}")


def check_table(table: Interactions | ItemTable | UserTable) -> None:
    """Check what the classes promise about their contents."""
    frame = table.frame
    if not frame.height:
        raise BrokenLaw("a table of no rows")
    if isinstance(table, Interactions):
        table.digest()
        if sum(frame.null_count().row(0)):
            raise BrokenLaw("a row lacks something")
        if table.has_ratings and not frame["rating"].is_finite().all():
            raise BrokenLaw("a rating is not finite")
        if table.has_timestamps and (frame["timestamp"] < 0).any():
            raise BrokenLaw("a time before 1970")
        ids = frame.select("user", "item")
    else:
        ids = frame.select(frame.columns[0])
        if ids.is_duplicated().any():
            raise BrokenLaw("an id occurs twice")
    for column in ids:
        if column.null_count() or (column.dtype == pl.String and (column == "").any()):
            raise BrokenLaw("an id is empty")


class Forge:
    """A bundle whose files are replaced while its digests stay right, as an attacker could do.

    Args:
        folder: the bundle's own, to be changed; not named as bundles are, as the name follows the digest.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        bundle = open_folder(folder)
        self._manifest = bundle.manifest.document
        self.names = [name for name in FORGED if name == MANIFEST or name in self._manifest["files"]]
        self._own = {name: (folder / name).read_bytes() for name in self.names}
        self._answers = answers(read_system(bundle, "served"))

    def content(self, name: str) -> bytes:
        """The contents of a file that may be replaced."""
        return self._own[name]

    def open(self, name: str, data: bytes) -> bool:
        """Whether the bundle opens and answers with `data` in the file `name`.

        Raises:
            BrokenLaw: if the answer differs from the whole bundle's, or the error is not one line.
        """
        with self._forged(name, data):
            try:
                bundle = open_folder(self.folder)
                found = None
                if not name.startswith("evaluated/"):
                    found = answers(read_system(bundle, "served"))
                if not name.startswith("served/"):
                    read_evaluated(bundle)
            except ArtifactError as error:
                check_error(error, self.folder)
                return False
        if name == MANIFEST and found != self._answers:
            raise BrokenLaw("another answer out of the same files")
        return True

    @contextmanager
    def _forged(self, name: str, data: bytes) -> Iterator[None]:
        changed = {name: data}
        if name == MANIFEST:
            changed[MANIFEST] = _with_digest(data)
        else:
            files = self._manifest["files"] | {name: _entry(data)}
            part = f"{name.split('/')[0]}/model.json"
            if part in self._own and part != name:
                # It lists the digests of the files it was made with.
                model = json.loads(self._own[part])
                if name in model.get("made_with", ()):
                    model["made_with"][name] = _entry(data)["sha256"]
                    changed[part] = json.dumps(model).encode()
                    files[part] = _entry(changed[part])
            changed[MANIFEST] = _with_digest(json.dumps(self._manifest | {"files": files}).encode())
        try:
            for each, content in changed.items():
                self._replace(each, content)
            yield
        finally:
            for each in changed:
                self._replace(each, self._own[each])

    def _replace(self, name: str, data: bytes) -> None:
        path = self.folder / name
        path.unlink()  # what is mapped stays what it was
        path.write_bytes(data)


def answers(system: FittedSystem) -> list[dict[str, Any]]:
    """The lists of a few users, a history and an item."""
    recommender = Recommender(system)
    found = [*recommender.recommend(system.users.ids[:USERS], K)]
    if system.model.vectors.history_items is not None:
        found.append(recommender.recommend_for_history(system.items.ids[:2], K))
    found += recommender.similar_items(system.items.ids[:1], K)
    return [each.to_json() for each in found]


def _with_digest(data: bytes) -> bytes:
    """A manifest with the digest it should carry, spelled as the writer does; as it is where it is none."""
    try:
        manifest = json.loads(data)
        manifest["build_id"] = manifest_digest(manifest)
        return manifest_bytes(manifest)
    except (ValueError, TypeError, IndexError, AttributeError, RecursionError):
        return data


def _entry(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def small_bundle(folder: Path) -> Path:
    """A bundle of the tracked sample in `folder`; its own folder."""
    from retrieval.bundles.writer import new_bundle
    from retrieval.pipeline.save import write_build

    built = small_build()
    with new_bundle(folder) as writer:
        written = write_build(writer, built)
    return written.rename(folder / "bundle")
