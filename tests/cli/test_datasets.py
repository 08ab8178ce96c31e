import contextlib
import hashlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retrieval.cli.datasets import datasets
from retrieval.cli.options import complete_set_name
from retrieval.data.downloads.download_folder import FOLDER, LOCK
from retrieval.data.downloads.named_sets import NAMED_SETS
from tests.support.archives import zipped
from tests.support.checkout import ROOT
from tests.support.file_server import FileServer

NAMES = ["ml-100k", "ml-1m", "ml-latest-small", "ml-20m", "ml-25m", "sample"]
WHOLE = ["ml-latest-small", "ml-latest-small/movies.csv", "ml-latest-small/ratings.csv"]  # nothing else
LISTED = """\
name                   rows    users   items  download  here, in {data}
ml-100k             100,000      943   1,682    4.9 MB  no
ml-1m             1,000,209    6,040   3,706    5.9 MB  no
ml-latest-small     100,836      610   9,724    978 kB  no
ml-20m           20,000,263  138,493  26,744    199 MB  no
ml-25m           25,000,095  162,541  59,047    262 MB  no
sample                4,822      150     120            yes

ml-*: MovieLens by GroupLens: research use, with citation, no redistribution;
  https://grouplens.org/datasets/movielens/
sample: made up, in the package. To download and verify: retrieval datasets NAME
"""


@pytest.fixture
def server() -> Iterator[FileServer]:
    with contextlib.closing(FileServer()) as running:
        yield running


@pytest.fixture(scope="module")
def small() -> bytes:
    """An archive of made-up rows with the numbers of ml-latest-small, its own being out of reach."""
    rows = [
        f"{i % 610 + 1},{10_000_000 + i % 9_724},{i % 10 / 2 + 0.5},{1_000_000_000 + i}"
        for i in range(100_836)
    ]
    return zipped(
        {
            "ml-latest-small/ratings.csv": "userId,movieId,rating,timestamp\n" + "\n".join(rows) + "\n",
            "ml-latest-small/movies.csv": "movieId,title,genres\n10000000,Film (1995),Drama\n",
        },
        zipfile.ZIP_DEFLATED,
    )


def environment(mirror: str | None = None, **more: str) -> dict[str, str]:
    """Nothing but this machine can be reached: everything else goes through a proxy that is not there."""
    closed = "http://127.0.0.1:1"
    proxies = {"http_proxy": closed, "https_proxy": closed, "no_proxy": "127.0.0.1", "PIP_NO_INDEX": "1"}
    found = {name: value for name, value in os.environ.items() if not name.startswith("RETRIEVAL_")}
    return found | proxies | ({"RETRIEVAL_MIRROR": mirror} if mirror else {}) | more


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "retrieval", "datasets", *arguments]


def run(
    *arguments: str, data: Path, mirror: str | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, "--data", str(data)),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment(mirror, **more),
        timeout=60,
    )


def left_in(folder: Path) -> list[str]:
    """What there is but the empty lock."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != LOCK)


def test_the_list_says_what_there_is_and_what_is_here(tmp_path: Path) -> None:
    done = subprocess.run(
        command(),
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT), RETRIEVAL_DATA="films"),
    )
    assert (done.stdout, done.stderr, done.returncode) == (LISTED.format(data="films"), "", 0)
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_list_shows_archives_and_damaged_files_within_80_columns(tmp_path: Path) -> None:
    data = tmp_path / ("long-name-" * 8)
    (data / "ml-100k").mkdir(parents=True)
    (data / "ml-100k" / "u.data").write_text("1\t2\t3\t4\n")
    (data / "ml-latest-small").mkdir()
    (data / "ml-latest-small" / "ratings.csv").write_text("short")
    (data / "ml-1m.zip").write_text("x")
    (data / FOLDER / "tmpx").mkdir(parents=True)
    (data / FOLDER / "tmpx" / "ml-20m.zip").write_text("what a killed download left")
    done = run(data=data)
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith(("ml", "sa")))
    assert lines["ml-100k"].endswith("4.9 MB  damaged: ml-100k")
    assert lines["ml-latest-small"].endswith("  damaged: ml-latest-small")
    assert lines["ml-1m"].endswith("5.9 MB  ml-1m.zip")
    assert lines["ml-20m"].endswith("199 MB  no")
    assert max(map(len, done.stdout.splitlines())) <= 80
    document = json.loads(run("--json", data=data).stdout)
    assert document["data"] == str(data)
    states = {each["name"]: each["state"] for each in document["datasets"]}
    assert states == dict(zip(NAMES, ["damaged", "archive", "damaged", "no", "no", "here"], strict=True))
    by_name = {each["name"]: each for each in document["datasets"]}
    assert by_name["ml-20m"]["path"] is None
    assert by_name["ml-1m"]["path"] == str(data / "ml-1m.zip")
    assert "no redistribution" in by_name["ml-25m"]["terms"]


def test_the_list_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom retrieval.cli.datasets import datasets\n"
        "datasets.main(['--data', sys.argv[1]], standalone_mode=False)\nprint('MODULES', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env=environment(PYTHONPATH=str(ROOT)),
    )
    loaded = {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert not loaded & {
        "polars",
        "numpy",
        "torch",
        "faiss",
        "pandas",
        "rich",
        "requests",
        "pooch",
        "filelock",
        "ssl",
    }


def test_a_set_is_downloaded_verified_and_then_here(server: FileServer, small: bytes, tmp_path: Path) -> None:
    server.files["/m/ml-latest-small.zip"] = small
    data = tmp_path / "data"
    done = run("ml-latest-small", data=data, mirror=f"{server.url}/m")
    assert done.returncode == 0, done.stderr
    path = data / "ml-latest-small" / "ratings.csv"
    expected = (
        "ml-latest-small is here and whole: 100,836 rows, 610 users, 9,724 items\n"
        f"  {path}, checked by these numbers\n"
    )
    assert done.stdout == expected
    assert done.stderr == (
        f"ml-latest-small: trying {server.url}/m/ml-latest-small.zip\n"
        "ml-latest-small: unpacking and verifying\n"
    )
    assert left_in(data) == ["ml-latest-small", "ml-latest-small/movies.csv", "ml-latest-small/ratings.csv"]
    again = run("ml-latest-small", "sample", "--json", data=data)
    assert again.stderr == ""
    found, sample = json.loads(again.stdout)["datasets"]
    assert (found["state"], found["rows"], found["checked_by"]) == ("whole", 100_836, "these numbers")
    assert (sample["name"], sample["state"], sample["items"]) == ("sample", "whole", 120)
    assert len(server.requests) == 1
    assert (
        "\nml-latest-small     100,836      610   9,724    978 kB  ml-latest-small/\n"
        in run(data=data).stdout
    )


def test_quiet_says_nothing_at_all(server: FileServer, small: bytes, tmp_path: Path) -> None:
    server.files["/ml-latest-small.zip"] = small
    done = run("ml-latest-small", "--quiet", data=tmp_path, mirror=server.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_a_network_one_line_says_what_was_tried_and_what_to_do(tmp_path: Path) -> None:
    done = run("ml-100k", "--quiet", data=tmp_path / "d")
    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr.count("\n") == 1
    assert (
        "tried https://files.grouplens.org/datasets/movielens/ml-100k.zip "
        "(through the proxy: Connection refused); pip download recbole==1.2.1 ("
    ) in done.stderr
    assert f"save it as {tmp_path}/d/ml-100k.zip" in done.stderr
    assert "build-index --ratings PATH" in done.stderr
    assert left_in(tmp_path / "d") == []


def test_a_wrong_archive_is_refused_with_6_and_never_put_in_place(server: FileServer, tmp_path: Path) -> None:
    wrong = zipped({"ml-1m/ratings.dat": "1::2::3::4\n"})
    server.files["/ml-1m.zip"] = wrong
    done = run("ml-1m", "--quiet", data=tmp_path, mirror=server.url)
    assert done.returncode == 6 and done.stderr.count("\n") == 1
    known, digest = NAMED_SETS["ml-1m"].archive.sha256, hashlib.sha256(wrong).hexdigest()
    assert f"does not match the known hash: expected {known} but got {digest})" in done.stderr
    assert left_in(tmp_path) == []
    server.files["/ml-latest-small.zip"] = zipped(
        {"ml-latest-small/ratings.csv": "userId,movieId,rating,timestamp\n1,2,3.5,4\n"}
    )
    done = run("ml-latest-small", "--quiet", data=tmp_path, mirror=server.url)
    assert done.returncode == 6
    assert "(1 rows, 1 users, 1 items, rated 3.5 to 3.5; expected 100,836 rows, 610 users" in done.stderr
    assert left_in(tmp_path) == []


def test_files_of_ones_own_under_the_name_are_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "ml-1m" / "ratings.dat"
    path.parent.mkdir()
    path.write_text("1::2::3::4\n")
    done = run("ml-1m", data=tmp_path)
    assert done.returncode == 6 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: {path}: not the rows of ml-1m (11 bytes with SHA-256 ")
    assert "delete this file and run again to download it" in done.stderr
    assert path.read_text() == "1::2::3::4\n"


def test_a_stalled_server_ends_within_the_time_limit(server: FileServer, tmp_path: Path) -> None:
    server.silent = True
    started = time.monotonic()
    done = run("ml-1m", "--timeout", "1", data=tmp_path, mirror=server.url)
    assert time.monotonic() - started < 15
    assert done.returncode == 6
    assert "ml-1m.zip (no data for 1 seconds)" in done.stderr


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_download_that_was_stopped_leaves_nothing_in_the_end(
    server: FileServer, small: bytes, tmp_path: Path, how: signal.Signals
) -> None:
    server.files["/ml-latest-small.zip"], server.stalls_after = small, 100_000
    arguments = command("ml-latest-small", "--data", str(tmp_path))
    with subprocess.Popen(
        arguments,
        cwd=ROOT,
        env=environment(server.url),
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background made children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:
        deadline = time.monotonic() + 30
        while not any(path.stat().st_size for path in tmp_path.glob(f"{FOLDER}/*/tmp*")):
            assert running.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        running.send_signal(how)
        _, errors = running.communicate(timeout=30)
    codes = {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}
    assert running.returncode == codes[how], errors
    assert "Traceback" not in errors
    assert not (tmp_path / "ml-latest-small").exists()
    assert (left_in(tmp_path) == []) == (how != signal.SIGKILL)

    server.stalls_after = None
    done = run("ml-latest-small", data=tmp_path, mirror=server.url)
    assert done.returncode == 0, done.stderr
    assert left_in(tmp_path) == WHOLE


def test_two_commands_at_once_do_no_harm(server: FileServer, small: bytes, tmp_path: Path) -> None:
    server.files["/ml-latest-small.zip"], server.waits = small, True
    arguments = command("ml-latest-small", "--data", str(tmp_path))
    options: dict[str, Any] = {
        "cwd": ROOT,
        "env": environment(server.url),
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    with subprocess.Popen(arguments, **options) as one, subprocess.Popen(arguments, **options) as other:
        deadline = time.monotonic() + 30
        while not server.requests:
            assert (one.poll(), other.poll()) == (None, None) and time.monotonic() < deadline
            time.sleep(0.02)
        server.go_on.set()
        results = [each.communicate(timeout=30) for each in (one, other)]
    assert [one.returncode, other.returncode] == [0, 0], results
    assert {"100,836 rows" in out for out, _ in results} == {True}
    assert server.requests == ["/ml-latest-small.zip"]
    assert left_in(tmp_path) == WHOLE


def test_progress_is_drawn_on_a_terminal_only(server: FileServer, small: bytes, tmp_path: Path) -> None:
    server.files["/ml-latest-small.zip"], server.drips = small, True
    controller, terminal = pty.openpty()
    arguments = command("ml-latest-small", "--data", str(tmp_path), "--timeout", "1")
    with subprocess.Popen(
        arguments,
        cwd=ROOT,
        env=environment(server.url, TERM="xterm", COLUMNS="80"),
        stdout=subprocess.PIPE,
        stderr=terminal,
    ) as running:
        os.close(terminal)
        drawn = b""
        with contextlib.suppress(OSError):  # the terminal closes
            while piece := os.read(controller, 4096):
                drawn += piece
        running.wait(30)
    os.close(controller)
    assert re.search(rb"Reading ml-latest-small: (66|131) kB of %d kB" % round(len(small) / 1000), drawn)
    done = run("ml-latest-small", "--timeout", "1", data=tmp_path, mirror=server.url)
    assert "Reading" not in done.stderr and "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "more", "says"),
    [
        (["ml1m"], {}, "no data set 'ml1m'; did you mean ml-1m? There are ml-100k, ml-1m, "),
        (["sample", "ml-20"], {}, "no data set 'ml-20'; did you mean ml-20m?"),
        (["ml-1m", "--timeout", "0"], {}, "--timeout"),
        (
            ["ml-1m"],
            {"RETRIEVAL_MIRROR": "mirror.example"},
            "RETRIEVAL_MIRROR is 'mirror.example'; expected a",
        ),
    ],
)
def test_wrong_use_is_2_before_anything_is_done(
    tmp_path: Path, arguments: list[str], more: dict[str, str], says: str
) -> None:
    done = run(*arguments, data=tmp_path, **more)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and says in done.stderr
    assert left_in(tmp_path) == []


def test_help_has_an_example() -> None:
    done = subprocess.run(command("--help"), capture_output=True, text=True, check=True, cwd=ROOT)
    assert "Example:\n    retrieval datasets\n    retrieval datasets ml-1m" in done.stdout
    assert "RETRIEVAL_MIRROR" in done.stdout and "RETRIEVAL_DATA" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_shell_completes_names_that_are_not_given_yet() -> None:
    context = datasets.make_context("datasets", ["ml-1m"])
    names = next(parameter for parameter in datasets.params if parameter.name == "names")
    assert complete_set_name(context, names, "ml-") == ["ml-100k", "ml-latest-small", "ml-20m", "ml-25m"]
    assert complete_set_name(context, names, "s") == ["sample"]
    done = subprocess.run(
        [sys.executable, "-m", "retrieval"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment(
            _RETRIEVAL_COMPLETE="bash_complete", COMP_WORDS="retrieval datasets ml-2", COMP_CWORD="2"
        ),
    )
    assert done.stdout.split() == ["plain,ml-20m", "plain,ml-25m"]
