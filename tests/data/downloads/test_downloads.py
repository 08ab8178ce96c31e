import contextlib
import hashlib
import logging.handlers
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pooch
import pytest

from retrieval.data.downloads import archives
from retrieval.data.downloads.archives import Wheel, ZipArchive, ZipOnDisk, extract, mirror_url
from retrieval.data.downloads.fetching import SourceFailedError, Watch, fetch
from retrieval.errors import UsageError
from tests.support.archives import zipped
from tests.support.file_server import FileServer

CONTENT = bytes(range(256)) * 4_000  # 1,024,000 bytes
MOST = 4 * len(CONTENT)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    running = FileServer()
    running.files["/a.zip"] = CONTENT
    with contextlib.closing(running):
        yield running


@pytest.fixture
def log() -> list[str]:
    return []


def watch(log: list[str], timeout: float = 5) -> Watch:
    return Watch(log.append, timeout=timeout)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def packed(path: Path, **members: str) -> Path:
    path.write_bytes(zipped(members))
    return path


def test_a_file_is_fetched_whole_and_its_progress_told(
    server: FileServer, tmp_path: Path, log: list[str]
) -> None:
    told: list[tuple[int, int | None]] = []
    fetch(f"{server.url}/a.zip", tmp_path / "a", Watch(log.append, lambda r, t: told.append((r, t))), MOST)
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert told[0] == (65_536, len(CONTENT)) and told[-1] == (len(CONTENT), len(CONTENT))
    assert told == sorted(told)
    assert left_in(tmp_path) == ["a"]
    assert server.requests == ["/a.zip"] and log == []


def test_without_a_length_the_bytes_are_told_all_the_same(
    server: FileServer, tmp_path: Path, log: list[str]
) -> None:
    server.length = False
    told: list[tuple[int, int | None]] = []
    fetch(f"{server.url}/a.zip", tmp_path / "a", Watch(log.append, lambda r, t: told.append((r, t))), MOST)
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert {total for _, total in told} == {None}
    received = [received for received, _ in told]
    assert received[0] == 65_536 and received == sorted(received) and received[-1] >= len(CONTENT)


def test_pooch_is_silent_during_a_download_and_then_as_before(
    server: FileServer, tmp_path: Path, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger, logged = pooch.get_logger(), logging.handlers.BufferingHandler(1000)
    monkeypatch.setattr(logger, "handlers", [logged])
    monkeypatch.setattr(logger, "level", logging.DEBUG)
    fetch(f"{server.url}/a.zip", tmp_path / "a", watch(log), MOST)
    with pytest.raises(SourceFailedError):
        fetch(f"{server.url}/gone.zip", tmp_path / "b", watch(log), MOST)
    assert logged.buffer == []
    assert logger.level == logging.DEBUG


@pytest.mark.parametrize("kind", ["cuts", "stalls_after"])
def test_what_is_cut_or_stalls_leaves_nothing_and_starts_over(
    server: FileServer, tmp_path: Path, log: list[str], kind: str
) -> None:
    setattr(server, kind, [600_000] if kind == "cuts" else 600_000)
    started = time.monotonic()
    with pytest.raises(SourceFailedError) as caught:
        fetch(f"{server.url}/a.zip", tmp_path / "a", watch(log, timeout=0.4), MOST)
    assert str(caught.value) in (
        "the connection was cut: IncompleteRead(600000 bytes read, 424000 more expected)",
        "no data for 0.4 seconds",
    )
    assert time.monotonic() - started < 3
    assert left_in(tmp_path) == []
    server.stalls_after = None
    fetch(f"{server.url}/a.zip", tmp_path / "a", watch(log), MOST)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_silent_server_ends_within_the_time_limit(
    server: FileServer, tmp_path: Path, log: list[str]
) -> None:
    server.silent = True
    started = time.monotonic()
    with pytest.raises(SourceFailedError, match=r"^no data for 0\.4 seconds$"):
        fetch(f"{server.url}/a.zip", tmp_path / "a", watch(log, timeout=0.4), MOST)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("length", [True, False])
def test_a_file_much_longer_than_expected_is_refused(
    server: FileServer, tmp_path: Path, log: list[str], length: bool
) -> None:
    server.length = length
    with pytest.raises(SourceFailedError, match=r"^longer than 100 kB, not what was asked for$"):
        fetch(f"{server.url}/a.zip", tmp_path / "a", watch(log), 100_000)
    assert left_in(tmp_path) == []


def test_reasons_are_short_and_say_what_happened(
    server: FileServer, tmp_path: Path, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_names(*args: object, **options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    def reason(url: str) -> str:
        try:  # an error that is handled while another one is, and is not its reason
            raise ConnectionError("something else")
        except ConnectionError:
            with pytest.raises(SourceFailedError) as caught:
                fetch(url, tmp_path / "a", watch(log), MOST)
        return str(caught.value)

    assert reason(f"{server.url}/gone.zip") == "the server answers 404 Not Found"
    assert reason("http://127.0.0.1:1/a.zip") == "Connection refused"
    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", no_names)
        assert reason("http://example.invalid/a.zip") == "Name or service not known"
    assert "[SSL" in reason(server.url.replace("http", "https") + "/a.zip")
    assert "label empty or too long" in reason("http://localhost..x/a.zip")
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert reason("http://example.invalid/a.zip") == "through the proxy: Connection refused"
    fetch(f"{server.url}/a.zip", tmp_path / "a", watch(log), MOST)
    assert (tmp_path / "a").exists()


def test_a_certificate_that_ran_out_is_said_to_have(
    tmp_path: Path, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*args: object, **options: object) -> None:
        text = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired"
        raise ssl.SSLCertVerificationError(1, text)

    monkeypatch.setattr("urllib3.connection.HTTPSConnection.connect", connect)
    with pytest.raises(SourceFailedError, match=r"certificate verify failed: certificate has expired$"):
        fetch("https://example.invalid/a.zip", tmp_path / "a", watch(log), MOST)


def test_a_full_disk_is_not_taken_for_the_network(server: FileServer, tmp_path: Path, log: list[str]) -> None:
    def full(received: int, total: int | None) -> None:  # called where pooch writes
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fetch(f"{server.url}/a.zip", tmp_path / "a", Watch(log.append, full), MOST)
    assert left_in(tmp_path) == []


def test_an_archive_with_another_digest_is_refused_and_not_kept(
    server: FileServer, tmp_path: Path, log: list[str]
) -> None:
    right = hashlib.sha256(CONTENT).hexdigest()
    source = ZipArchive(f"{server.url}/a.zip", ("u.data",), len(CONTENT), right)
    assert source.fetch(tmp_path, watch(log)).read_bytes() == CONTENT
    (tmp_path / "a.zip").unlink()
    wrong = ZipArchive(f"{server.url}/a.zip", ("u.data",), len(CONTENT), "0" * 64)
    with pytest.raises(SourceFailedError) as caught:
        wrong.fetch(tmp_path, watch(log))
    assert str(caught.value) == (
        "SHA256 hash of downloaded file (a.zip) does not match the known hash: "
        f"expected {'0' * 64} but got {right}"
    )
    assert left_in(tmp_path) == []


def test_a_zip_on_disk_is_checked_and_left_as_it_is(tmp_path: Path, log: list[str]) -> None:
    path = packed(tmp_path / "m.zip", **{"u.data": "1"})
    before = path.read_bytes()
    assert ZipOnDisk(path, ("u.data",)).fetch(tmp_path, watch(log)) == path
    with pytest.raises(SourceFailedError, match=r"its SHA-256 is [0-9a-f]{64}, expected 0{64}$"):
        ZipOnDisk(path, ("u.data",), "0" * 64).fetch(tmp_path, watch(log))
    assert path.read_bytes() == before
    with pytest.raises(SourceFailedError, match="cannot be read: No such file"):
        ZipOnDisk(tmp_path / "gone.zip", ("u.data",), "0" * 64).fetch(tmp_path, watch(log))


def test_members_are_unpacked_under_their_last_names(tmp_path: Path) -> None:
    archive = packed(tmp_path / "m.zip", **{"m/u.data": "1", "m/README": "2", "m/other": "3"})
    folder = tmp_path / "out"
    folder.mkdir()
    extract(archive, ("m/u.data", "m/README", "m/u.item"), folder, 100)
    assert sorted(path.name for path in folder.iterdir()) == ["README", "u.data"]
    with pytest.raises(SourceFailedError, match=r"no x/u.data in m.zip"):
        extract(archive, ("x/u.data",), folder, 100)


@pytest.mark.parametrize("damage", [b"", b"<html>no</html>", "truncated", "flipped"])
def test_damaged_archives_are_a_failed_source(tmp_path: Path, damage: bytes | str) -> None:
    archive = packed(tmp_path / "m.zip", **{"u.data": "1 " * 1000})
    content = bytearray(archive.read_bytes())
    if damage == "flipped":
        content[500] ^= 1
    archive.write_bytes(
        damage if isinstance(damage, bytes) else content[: len(content) - 30 * (damage == "truncated")]
    )
    with pytest.raises(SourceFailedError, match="a damaged archive"):
        extract(archive, ("u.data",), tmp_path, 2000)


def test_a_member_that_unpacks_to_far_too_much_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "m.zip", **{"u.data": "0" * 10_000})
    with pytest.raises(SourceFailedError, match=r"u\.data is 10 kB long"):
        extract(archive, ("u.data",), tmp_path, 2000)
    assert not (tmp_path / "u.data").exists()


def test_pip_downloads_the_wheel_without_installing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[str]
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        packed(tmp_path / "recbole-1.2.1-py3-none-any.whl", **{"a": "b"})
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert Wheel("recbole==1.2.1", ()).fetch(tmp_path, watch(log)).name == "recbole-1.2.1-py3-none-any.whl"
    assert commands[0][1:5] == ["-P", "-m", "pip", "download"]
    assert "--no-deps" in commands[0] and "recbole==1.2.1" in commands[0]


def test_what_pip_says_last_is_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[str]
) -> None:
    failed = subprocess.CompletedProcess(
        [], 1, "", "WARNING: x\nERROR: No matching distribution found for y\n\n"
    )
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: failed)
    with pytest.raises(SourceFailedError, match=r"^No matching distribution found for y$"):
        Wheel("y", ()).fetch(tmp_path, watch(log))


@pytest.mark.parametrize(
    "value", ["mirror.example", "ftp://m/x", "http://", "https://a b/", "http://u:p@m/", "http://m:x/"]
)
def test_a_mirror_that_is_no_url_is_wrong_use(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(archives.MIRROR, value)
    with pytest.raises(UsageError, match=r"RETRIEVAL_MIRROR is '.*'; expected a URL such as https://"):
        mirror_url()


def test_a_mirror_is_taken_with_or_without_its_last_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(archives.MIRROR, "https://m.example/movielens/")
    assert mirror_url() == "https://m.example/movielens"
    monkeypatch.setenv(archives.MIRROR, "")
    assert mirror_url() is None
