import functools
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest

from retrieval import datasets
from retrieval.datasets import (
    ML_100K,
    Dataset,
    NamedSet,
    SourceFailedError,
    Wheel,
    ZipArchive,
    load_dataset,
)
from retrieval.errors import EnvironmentProblem, UsageError
from retrieval.interactions import Interactions, read_interactions
from retrieval.items import ItemTable

ROOT = Path(__file__).parent.parent
U_DATA = "1\t32\t5\t881250949\n2\t33\t4\t881250950\n42\t32\t1\t881250951\n"
U_ITEM = "\n".join(f"{item}|Film {item} (1995)|01-Jan-1995||u|" + "|".join("0" * 19) for item in (32, 33))
INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + U_DATA
ITEM = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n32\tFilm 32\t1995\tDrama\n"
# sha256 of U_DATA, whose lines are the canonical ones already
DIGEST = "b184d1ea407e926089cdfe1647924e7621fa2c909d34a8c758e195d202657f88"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server on this machine, and the folder it serves."""
    folder = tmp_path / "www"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", folder
        running.shutdown()
        thread.join()


@dataclass(frozen=True)
class FromDisk:
    """A source without a network: an archive that is there already, or an error."""

    name: str
    members: tuple[str, ...]
    archive: Path | None = None
    error: BaseException | None = None

    def fetch(self, folder: Path) -> Path:
        if self.error is not None:
            (folder / "half").write_text("half")
            raise self.error
        assert self.archive is not None
        return self.archive


def archive(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return path


def register(monkeypatch: pytest.MonkeyPatch, *sources: datasets.Source) -> NamedSet:
    named = replace(ML_100K, digest=DIGEST, sources=sources)
    monkeypatch.setitem(datasets.NAMED_SETS, "ml-100k", named)
    return named


def no_log(message: str) -> None:
    pass


def left_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) if folder.exists() else []


def test_the_first_source_is_downloaded_once(
    server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = server
    packed = archive(folder / "ml-100k.zip", **{"ml-100k/u.data": U_DATA, "ml-100k/u.item": U_ITEM})
    register(
        monkeypatch, ZipArchive(f"{url}/ml-100k.zip", ("ml-100k/u.data", "ml-100k/u.item", "ml-100k/u.genre"))
    )
    data = tmp_path / "data"
    log: list[str] = []
    first = load_dataset("ml-100k", data, log.append)
    assert log == [f"ml-100k: downloading ({url}/ml-100k.zip)"]
    assert left_in(data) == ["ml-100k", "ml-100k/u.data", "ml-100k/u.item"]
    assert first.items is not None
    assert first.items.titles_for([33]) == ["Film 33 (1995)"]

    packed.unlink()
    second = load_dataset("ml-100k", data, log.append)
    assert second.interactions.frame.equals(first.interactions.frame)
    assert len(log) == 1


def test_the_second_source_is_tried_when_the_first_fails(
    server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = server
    wheel = archive(tmp_path / "w.whl", **{"r/x.inter": INTER, "r/x.item": ITEM})
    register(
        monkeypatch,
        ZipArchive(f"{url}/gone.zip", ("u.data",)),
        FromDisk("wheel", ("r/x.inter", "r/x.item"), wheel),
    )
    log: list[str] = []
    loaded = load_dataset("ml-100k", tmp_path / "data", log.append)
    assert loaded.items is not None
    assert loaded.items.titles_for(["32"]) == ["Film 32 (1995)"]
    assert any("404" in line for line in log)


def test_both_sources_hold_the_same_rows_under_one_digest(tmp_path: Path) -> None:
    for name, content in (("u.data", U_DATA), ("x.inter", INTER)):
        (tmp_path / name).write_text(content)
        assert read_interactions(tmp_path / name).digest() == DIGEST


def test_when_all_sources_fail_one_line_says_what_was_tried_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(
        monkeypatch,
        ZipArchive("http://127.0.0.1:1/ml.zip", ("u.data",)),
        FromDisk("the wheel", ("u.data",), error=SourceFailedError("no such package")),
    )
    with pytest.raises(EnvironmentProblem) as caught:
        load_dataset("ml-100k", tmp_path / "data", no_log)
    message = str(caught.value)
    assert "http://127.0.0.1:1/ml.zip (the server cannot be reached)" in message
    assert "the wheel (no such package)" in message
    assert "--ratings PATH" in message
    assert "\n" not in message
    assert caught.value.exit_code == 6
    assert left_in(tmp_path / "data") == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (U_DATA.replace("\t5\t", "\t4\t"), "3 rows with digest"),
        (U_DATA + "1\t2\n", "expected 4 fields"),
        ("", "0 interactions"),
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


@pytest.mark.parametrize("damage", [b"", b"<html>no</html>", "truncated"])
def test_damaged_archives_count_as_failed_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes | str
) -> None:
    packed = archive(tmp_path / "m.zip", **{"u.data": U_DATA})
    packed.write_bytes(packed.read_bytes()[:-30] if isinstance(damage, str) else damage)
    register(monkeypatch, FromDisk("mirror", ("u.data",), packed))
    with pytest.raises(EnvironmentProblem, match=r"mirror \(a damaged archive"):
        load_dataset("ml-100k", tmp_path / "data", no_log)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)])
def test_an_interrupt_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    register(monkeypatch, FromDisk("slow", ("u.data",), error=error))
    with pytest.raises(type(error)):
        load_dataset("ml-100k", tmp_path / "data", no_log)
    assert left_in(tmp_path / "data") == []


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


def test_pip_downloads_the_wheel_without_installing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        archive(tmp_path / "recbole-1.2.1-py3-none-any.whl", **{"a": "b"})
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert Wheel("recbole==1.2.1", ()).fetch(tmp_path).name == "recbole-1.2.1-py3-none-any.whl"
    assert commands[0][1:4] == ["-m", "pip", "download"]
    assert "--no-deps" in commands[0] and "recbole==1.2.1" in commands[0]


def test_what_pip_says_last_is_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess(
        [], 1, "", "WARNING: x\nERROR: No matching distribution found for y\n\n"
    )
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: failed)
    with pytest.raises(SourceFailedError, match=r"^No matching distribution found for y$"):
        Wheel("y", ()).fetch(tmp_path)


def test_unknown_names_get_the_nearest_one_and_the_list() -> None:
    with pytest.raises(
        UsageError, match="no data set 'ml100k'; did you mean ml-100k\\? There are ml-100k, sample"
    ):
        load_dataset("ml100k", Path("unused"), no_log)


def test_ml_100k_on_disk_has_the_pinned_digest() -> None:
    folder = ROOT / "data" / "ml-100k"
    if not folder.is_dir():
        pytest.skip("data/ml-100k is not downloaded")
    loaded = load_dataset("ml-100k", folder.parent, no_log)
    assert isinstance(loaded.interactions, Interactions)
    assert len(loaded.interactions) == 100_000
    assert loaded.items is not None
    assert loaded.items.titles_for([50]) == ["Star Wars (1977)"]


def test_titles_that_fit_hardly_any_item_are_noted() -> None:
    interactions = Interactions.from_frame(
        pl.DataFrame({"user": [1, 1, 2], "item": [10, 11, 12], "rating": [5, 4, 3], "timestamp": [1, 2, 3]})
    )
    titles = ItemTable.from_frame(pl.DataFrame({"item": ["a", "10"], "title": ["A", "Ten"]}))
    notes = Dataset("x", interactions, titles).notes()
    assert notes == ["only 1 of 3 items have a title; are the ids the same?"]
    titles = ItemTable.from_frame(pl.DataFrame({"item": [10, 11], "title": ["Ten", "Eleven"]}))
    assert Dataset("x", interactions, titles).notes() == []
