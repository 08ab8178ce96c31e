"""Faults 13 and 18: downloads that fail in every way, from a server on this machine."""

import signal
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.archives import zipped
from tests.support.commands import NOWHERE, SCRIPTS, Bench, Ran, environment, files_of, record

GROUPLENS = "https://files.grouplens.org/datasets/movielens"


@cache
def whole_archive() -> bytes:
    """What passes for ml-latest-small, of which only the shape is known."""
    rows = (f"{n % 610 + 1},{n % 9724 + 1},{n % 10 / 2 + 0.5},{10**9 + n}" for n in range(100_836))
    table = "\n".join(["userId,movieId,rating,timestamp", *rows])
    return zipped({"ml-latest-small/ratings.csv": table}, zipfile.ZIP_DEFLATED)


class Mirror(BaseHTTPRequestHandler):
    """Serves under the first part of the path what that part is called."""

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        body = {
            "page": b"<html>Sign in to the network</html>",
            "other": zipped({"ml-1m/ratings.dat": "1::2::3::4\n"}),
            "damaged": whole_archive()[:-1000],
        }.get(kind, whole_archive())
        if kind == "silent":
            self.wait()
            return
        self.send_response(404 if kind == "missing" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if kind in ("cut", "stalled") else body)
        if kind == "stalled":
            self.wfile.flush()
            self.wait()

    def wait(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked.set()
        self.server.over.wait(120)


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Mirror)
        self.asked, self.over = threading.Event(), threading.Event()

    def mirror(self, kind: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{kind}"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.over.set()
        running.shutdown()
        thread.join()


def refused(bench: Bench, name: str, mirror: str, given: str, *flags: str, fault: int = 13) -> str:
    """The line with which `retrieval datasets` ends; nothing is left but an empty data folder."""
    (bench.folder / "data").mkdir(exist_ok=True)
    command = ("retrieval", "datasets", name, "--quiet", *flags)
    line = bench.refused(fault, *command, code=6, given=given, RETRIEVAL_MIRROR=mirror)
    assert f"tried {mirror}/{name}.zip (" in line and f"{GROUPLENS}/{name}.zip (" in line, line
    assert f"save it as data/{name}.zip" in line and "--ratings PATH" in line, line
    return line


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("missing", "ml-1m", "the server answers 404"),
        ("page", "ml-1m", "SHA256 hash of downloaded file (ml-1m.zip) does not match"),
        ("page", "ml-latest-small", "archive"),
        ("other", "ml-1m", "SHA256 hash of downloaded file (ml-1m.zip) does not match"),
        ("other", "ml-latest-small", "no ml-latest-small/ratings.csv in "),
        ("damaged", "ml-latest-small", "a damaged archive"),
        ("cut", "ml-1m", "the connection was cut: IncompleteRead("),
        ("cut", "ml-latest-small", "the connection was cut: IncompleteRead("),
    ],
)
def test_a_download_that_fails_says_what_was_tried_and_leaves_nothing(
    bench: Bench, server: Server, kind: str, name: str, reason: str
) -> None:
    line = refused(bench, name, server.mirror(kind), f"`retrieval datasets {name}`, {reason.strip()}")
    assert reason in line


def test_without_a_network_a_build_ends_with_6_and_how_to_give_a_file(bench: Bench) -> None:
    line = bench.refused(
        *(13, "build-index", "--dataset", "ml-1m", "--quiet", "--data", "."),
        code=6,
        given="`build-index --dataset ml-1m` without a network",
        RETRIEVAL_MIRROR=NOWHERE,
    )
    assert f"{NOWHERE}/ml-1m.zip (Connection refused)" in line
    assert f"{GROUPLENS}/ml-1m.zip (through the proxy: Connection refused)" in line
    assert "save it as ml-1m.zip" in line and "--ratings PATH" in line


def test_what_is_said_on_the_way_is_no_second_error(bench: Bench) -> None:
    ran = bench.run("retrieval", "datasets", "ml-1m", RETRIEVAL_MIRROR=NOWHERE)
    *notes, error = ran.err.splitlines()
    assert (ran.code, ran.out) == (6, "")
    assert notes and all(note.startswith("ml-1m: ") for note in notes)
    assert error.startswith("error: ml-1m: no source could deliver it")


def test_after_a_cut_the_next_call_gets_the_whole(bench: Bench, server: Server) -> None:
    refused(bench, "ml-latest-small", server.mirror("cut"), "a connection cut half way")
    command = ("datasets", "ml-latest-small", "--quiet", "--json")
    ran = bench.run("retrieval", *command, RETRIEVAL_MIRROR=server.mirror("whole"))
    assert (ran.json["datasets"][0]["rows"], ran.err) == (100_836, "")
    assert list(files_of(bench.folder / "data" / "ml-latest-small")) == ["ratings.csv"]


def test_a_file_with_other_rows_is_named_and_left_as_it_is(bench: Bench) -> None:
    bench.write("data/ml-1m/ratings.dat", "1::2::3::4\n")
    command = ("build-index", "--dataset", "ml-1m", "--quiet")
    line = bench.refused(13, *command, code=6, given="`data/ml-1m/ratings.dat` with other rows")
    assert "data/ml-1m/ratings.dat: not the rows of ml-1m" in line and "delete this file" in line


def test_a_mirror_that_is_no_url_ends_with_2(bench: Bench) -> None:
    (bench.folder / "data").mkdir()
    command = ("retrieval", "datasets", "ml-1m", "--quiet")
    line = bench.refused(13, *command, code=2, given="`RETRIEVAL_MIRROR=ftp://x`", RETRIEVAL_MIRROR="ftp://x")
    assert "RETRIEVAL_MIRROR is 'ftp://x'" in line


def test_ctrl_c_in_a_download_ends_with_130_and_leaves_nothing_under_the_final_name(
    bench: Bench, server: Server
) -> None:
    before = files_of(bench.artifacts)
    process = subprocess.Popen(
        [SCRIPTS / "build-index", "--dataset", "ml-latest-small", "--quiet"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=bench.folder,
        env=environment(RETRIEVAL_MIRROR=server.mirror("stalled"), RETRIEVAL_ARTIFACTS=str(bench.artifacts)),
        # Whoever runs the tests in the background made children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert server.asked.wait(60)
    time.sleep(0.3)  # for what was sent to arrive
    assert not (bench.folder / "data" / "ml-latest-small").exists()  # or `kill -9` would leave it
    process.send_signal(signal.SIGINT)
    ran = Ran(process.wait(30), *(stream.read() for stream in (process.stdout, process.stderr) if stream))
    assert ran.refusal(130).startswith("error: interrupted")
    record(13, "Ctrl-C half way through a download", ran)
    assert not (bench.folder / "data" / "ml-latest-small").exists()
    assert files_of(bench.artifacts) == before


# 18: there is no engine with an address yet. The nearest to it is a server that takes the connection and
# says nothing.


@pytest.mark.parametrize("kind", ["silent", "stalled"])
def test_a_server_that_falls_silent_ends_with_6_within_the_time_limit(
    bench: Bench, server: Server, kind: str
) -> None:
    started = time.monotonic()
    given = f"a {kind} server, `--timeout 1`"
    line = refused(bench, "ml-latest-small", server.mirror(kind), given, "--timeout", "1", fault=18)
    assert "(no data for 1 seconds)" in line
    assert time.monotonic() - started < 20


@pytest.mark.slow
def test_a_build_waits_half_a_minute_for_a_silent_server(bench: Bench, server: Server) -> None:
    started = time.monotonic()
    command = ("build-index", "--dataset", "ml-1m", "--quiet", "--data", ".")
    more = {"RETRIEVAL_MIRROR": server.mirror("silent")}
    line = bench.refused(18, *command, code=6, given="a silent server", **more)
    assert "no data for 30 seconds" in line
    assert 30 < time.monotonic() - started < 60
