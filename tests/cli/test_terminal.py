"""What a person sees in a terminal, and what a program or a log gets instead."""

import fcntl
import io
import json
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.bundles.bundle import open_bundle
from retrieval.reporting.text.tables import WIDTH, cell_width, format_table, printable, shorten
from tests.support.checkout import ROOT
from tests.support.forging import republish

COLORS = ("NO_COLOR", "FORCE_COLOR")


def environment(**more: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if name not in COLORS}
    return plain | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"} | more


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "retrieval", *map(str, arguments)]


def run(words: Sequence[str], **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        words, capture_output=True, text=True, encoding="utf-8", env=environment(**more), check=False
    )


def on_terminal(words: Sequence[str], columns: int = 80, **more: str) -> tuple[int, str, str]:
    """Exit code, stdout, and everything that was written to stderr, a terminal."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=slave, env=environment(**{"TERM": "xterm"} | more)
    ) as process:
        os.close(slave)
        written = b""
        while True:
            try:
                chunk = os.read(master, 4096)
            except OSError:  # the other end is closed
                break
            written += chunk
        os.close(master)
        assert process.stdout is not None
        out = process.stdout.read().decode()
    return process.returncode, out, written.decode()


def screen(written: str, columns: int) -> list[str]:
    """What such a terminal shows in the end; what is not understood is an error."""
    lines, column = [[]], 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[^\x1b]", written):
        line = lines[-1]
        if part == "\r":
            column = 0
        elif part == "\n":
            lines.append([])
        elif part == "\x1b[K":
            del line[column:]
        elif part.startswith("\x1b"):
            assert part.endswith("m"), repr(part)
        else:
            if column == columns:
                lines.append([])
                line, column = lines[-1], 0
            line[column : column + 1] = part
            column += 1
    assert "\x1b" not in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    return ["".join(line) for line in lines]


# Progress

WORKING = """
import sys, time
import click
from retrieval.cli.app import run
from retrieval.cli.process import start
from retrieval.cli.progress import progress_for
from retrieval.errors import DataError

@click.command()
@click.argument("mode")
@click.argument("fails", default="")
def work(mode, fails):
    with progress_for(mode) as progress:
        progress.phase("Reading the data")
        progress.note("a note \\x1b[31m of data")
        progress.phase("Training TwoTowerBPR on 1,000 positives")
        for epoch in (1, 2):
            progress.epoch(epoch, 20, f"loss 0.{epoch}234, NDCG@10 0.1234")
            time.sleep(0.15)
        progress.phase("Downloading")
        progress.downloaded(2_000_000, 4_000_000)
        if fails:
            raise DataError("line 3 is bad")
    print("done")

start(lambda: run(work, "work"))
"""
NOTE = r"a note \x1b[31m of data"
PHASES = [
    "  0.0 s  Reading the data",
    "  0.3 s  Training TwoTowerBPR on 1,000 positives (epoch 2, loss 0.2234, NDCG@10 0.1234)",
    "  0.0 s  Downloading (2.0 MB of 4.0 MB)",
]


def untimed(lines: Sequence[str]) -> list[str]:
    return [re.sub(r"^ +\d+\.\d s", "  0.0 s", line) for line in lines]


def working(*arguments: str) -> list[str]:
    return [sys.executable, "-c", WORKING, *arguments]


def test_a_terminal_keeps_a_line_a_phase_and_the_live_line_is_gone() -> None:
    code, out, written = on_terminal(working("auto"), columns=120)
    assert (code, out) == (0, "done\n")
    assert untimed(screen(written, 120)) == untimed([NOTE, *PHASES, ""])
    assert "Training TwoTowerBPR on 1,000 positives: epoch 2 of at most 20, loss 0.2" in written
    assert re.search(r"\d s  \[10%, \d s left at most\] Training", written)
    assert "Downloading: 2.0 MB of 4.0 MB" in written


def test_the_seconds_of_the_live_line_go_on() -> None:
    _, _, written = on_terminal(working("auto"), columns=120)
    shown = re.findall(r"(\d\.\d) s  \[.*?\] Training TwoTowerBPR on 1,000 positives: epoch", written)
    assert len(set(shown)) >= 3, written


PLANNED = """
import time
from retrieval.cli import progress as shown
from retrieval.cli.process import start

shown.SILENT_SECONDS = 0.3

def work():
    with shown.progress_for("always") as progress:
        progress.phase("Reading the data")
        progress.plan(13)
        progress.phase("Training TwoTowerBPR on 1,000,000,000 positives of a shop with a long name")
        progress.epoch(10, 20, "loss 0.1234", 2, 3)
        time.sleep(1.0)
        progress.phase("Publishing the bundle")
        time.sleep(0.1)
    return 0

start(work)
"""


def test_a_terminal_of_60_columns_shows_how_far_the_whole_is_and_the_time_left() -> None:
    _, _, written = on_terminal([sys.executable, "-c", PLANNED], columns=60)
    # The second of three members is half way: half of the phase is done.
    assert re.search(r"\d s  \[2/13: 50%, \d s left at most\] Training Two\w*…", written), written


def test_a_log_hears_of_a_long_phase_while_it_runs() -> None:
    ran = run([sys.executable, "-c", PLANNED])
    lines = untimed(ran.stderr.splitlines())
    training = "Training TwoTowerBPR on 1,000,000,000 positives of a shop with a long name"
    assert lines[0] == "  0.0 s  Reading the data"
    told = [re.sub(r"\d s left", "N s left", line) for line in lines[1:-2]]
    assert set(told) == {f"  0.0 s  so far: [2/13: 50%, N s left at most] {training}: epoch 10, loss 0.1234"}
    assert 2 <= len(told) <= 3  # every .3 of a second of 1.0
    assert lines[-2:] == [f"  0.0 s  {training} (epoch 10, loss 0.1234)", "  0.0 s  Publishing the bundle"]


def test_a_narrow_terminal_is_no_mess() -> None:
    code, _, written = on_terminal(working("auto"), columns=40)
    kept = [line for whole in [NOTE, *PHASES] for line in re.findall(".{1,40}", whole)]
    assert code == 0
    assert untimed(screen(written, 40)) == untimed([*kept, ""])
    live = re.findall(r"\r\x1b\[K( +\d\.\d s  [^\r]*)(?=\r\x1b)", written)
    assert live and max(map(len, live)) == 39 and any("…" in line for line in live)


@pytest.mark.parametrize("terminal", ["dumb", "unknown", ""])
def test_a_dumb_terminal_gets_lines_only(terminal: str) -> None:
    code, _, written = on_terminal(working("auto"), TERM=terminal)
    assert code == 0
    assert untimed(written.replace("\r\n", "\n").splitlines()) == untimed([NOTE, *PHASES])


def test_an_error_stands_alone_where_the_live_line_was() -> None:
    code, out, written = on_terminal(working("auto", "fails"), columns=120, NO_COLOR="1")
    assert (code, out) == (3, "")
    assert untimed(screen(written, 120)) == untimed([NOTE, *PHASES[:2], "error: line 3 is bad", ""])


def test_a_signal_while_the_live_line_is_being_erased_leaves_none_of_it() -> None:
    stopping = """
import os, signal
from retrieval.cli import progress
end = progress._LiveLine.end
def interrupted(self):
    progress._LiveLine.end = end
    os.kill(os.getpid(), signal.SIGTERM)
    end(self)
progress._LiveLine.end = interrupted
start("""
    words = [sys.executable, "-c", WORKING.replace("\nstart(", stopping), "auto"]
    code, out, written = on_terminal(words, columns=120, NO_COLOR="1")
    assert (code, out) == (143, "")
    said = "error: terminated; what was there before is unchanged"
    assert untimed(screen(written, 120)) == untimed([NOTE, *PHASES, said, ""])


@pytest.mark.parametrize(
    ("mode", "lines"),
    [("auto", [NOTE]), ("always", [NOTE, *PHASES]), ("never", [])],
)
def test_a_log_gets_notes_or_phases_too_or_nothing(mode: str, lines: list[str]) -> None:
    ran = run(working(mode))
    assert (ran.returncode, ran.stdout) == (0, "done\n")
    assert untimed(ran.stderr.splitlines()) == untimed(lines)
    failed = run(working(mode, "fails"))
    assert (failed.returncode, failed.stdout) == (3, "")
    done = [line for line in lines if "Downloading" not in line]
    assert untimed(failed.stderr.splitlines()) == untimed([*done, "error: line 3 is bad"])


def test_quiet_is_quiet_in_a_terminal_too() -> None:
    assert on_terminal(working("never")) == (0, "done\n", "")


@pytest.mark.parametrize(
    ("flags", "mode"),
    [
        ([], "auto"),
        (["--progress"], "always"),
        (["--quiet"], "never"),
        (["--progress", "--quiet"], "never"),
        (["--quiet", "--progress"], "always"),
    ],
    ids=" ".join,
)
def test_the_later_of_progress_and_quiet_wins(flags: list[str], mode: str) -> None:
    import click

    from retrieval.cli.options import progress_option

    @click.command()
    @progress_option
    def given_mode(progress_mode: str) -> str:
        return progress_mode

    assert given_mode.main(flags, standalone_mode=False) == mode
    assert "default: " in given_mode.get_help(click.Context(given_mode))


# Colours


@pytest.mark.parametrize(
    ("variables", "in_terminal", "in_pipe"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
        ({"TERM": "dumb"}, False, False),
    ],
    ids=str,
)
def test_colours_are_for_terminals_unless_told_otherwise(
    variables: dict[str, str], in_terminal: bool, in_pipe: bool
) -> None:
    code, _, written = on_terminal(command("qury"), **variables)
    assert (code, "\x1b[1;31m" in written) == (2, in_terminal)
    ran = run(command("qury"), **variables)
    assert (ran.returncode, "\x1b[1;31m" in ran.stderr) == (2, in_pipe)
    assert "no command 'qury'" in written and "no command 'qury'" in ran.stderr


def test_forced_colours_draw_no_live_line_into_a_log() -> None:
    ran = run(working("auto"), FORCE_COLOR="1")
    assert ran.stderr == NOTE + "\n"


# Streams that are closed, full or of another alphabet


@pytest.fixture
def asking(artifacts: Path) -> str:
    """A query, for a shell."""
    return shlex.join(command("query", "--user", "42", "--artifacts", artifacts))


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("{query} 2>&-", 0),
        ("{query} >&-", 0),
        ("{query} <&-", 0),
        ("{query} <&- >&- 2>&-", 0),
        ("{query} --k 0 2>&-", 2),
        ("{query} --k 0 >&- 2>&-", 2),
        ("{query} | head -n 1", 0),
        ("set -o pipefail; {query} | true", 141),
        ("set -o pipefail; {retrieval} --help | true", 141),
        ("set -o pipefail; {query} --json | true", 141),
        ("set -o pipefail; {query} --k 0 2>&1 | true", 2),
    ],
)
def test_a_stream_that_is_closed_changes_no_exit_code_and_leaves_no_noise(
    asking: str, script: str, code: int
) -> None:
    ran = run(["bash", "-c", script.format(query=asking, retrieval=shlex.join(command()))])
    assert (ran.returncode, ran.stderr) == (code, "")


def test_a_log_that_takes_no_more_does_not_stop_the_work() -> None:
    with subprocess.Popen(
        working("always"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stderr.close()
        assert process.stdout.read() == b"done\n"
    assert process.returncode == 0
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            working("always"), stdout=subprocess.PIPE, stderr=full, env=environment(), check=False
        )
    assert (done.returncode, done.stdout) == (0, b"done\n")


def test_a_file_is_never_opened_in_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    code = f"""
import os
from retrieval.cli.process import start
def work():
    with open({str(tmp_path / "file")!r}, "w") as file:
        os.write(2, b"a library's warning")
        return 0 if file.fileno() > 2 else 1
start(work)
"""
    ran = run(["bash", "-c", f"{shlex.join([sys.executable, '-c', code])} 2>&-"])
    assert ran.returncode == 0
    assert (tmp_path / "file").read_text() == ""


def test_letters_that_an_encoding_lacks_are_escaped(own_artifacts: Path) -> None:
    retitle(own_artifacts, lambda titles: [f"Amélie 千 {title}" for title in titles])
    words = command("query", "--user", "42", "--artifacts", own_artifacts)
    for encoding, shown in (("utf-8", "Amélie 千 "), ("latin-1", r"Amélie \u5343 ")):
        done = subprocess.run(
            words, capture_output=True, env=environment(PYTHONIOENCODING=encoding), check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert shown in done.stdout.decode(encoding)


# --json


@pytest.mark.parametrize(
    "words",
    [["query", "--user", "42"], ["query", "--history", "1,2"], ["evaluate"], ["datasets"]],
    ids=" ".join,
)
def test_json_is_one_document_alone_on_stdout(artifacts: Path, tmp_path: Path, words: list[str]) -> None:
    folders = {"RETRIEVAL_ARTIFACTS": str(artifacts), "RETRIEVAL_DATA": str(tmp_path)}
    ran = run(command(*words, "--json"), **folders)
    assert (ran.returncode, ran.stderr, ran.stdout.count("\n")) == (0, "", 1)
    assert ran.stdout.isascii()
    json.loads(ran.stdout, parse_constant=pytest.fail)
    failed = run(command(*words, "--json", "--nonsense"), **folders)
    assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (2, "", 1)


# Tables


def retitle(artifacts: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Publish the same bundle with other titles."""
    name, buffer = "served/item_titles.npy", io.BytesIO()
    titles = open_bundle(artifacts).array(name).tolist()
    np.save(buffer, np.array(change(titles)), allow_pickle=False)
    republish(artifacts, {name: buffer.getvalue()})


HOSTILE = "\x1b[2J\x1b]0;owned\x07 \r\n\x9b31m \u202egnp.exe \u2028 Léon: 千と千尋の神隠し "


def test_a_query_fits_80_columns_and_obeys_no_title(own_artifacts: Path) -> None:
    retitle(own_artifacts, lambda titles: [HOSTILE + title * 9 for title in titles])
    words = command("query", "--artifacts", own_artifacts, "--k", "200", "--user")
    ran = run([*words, "42"])
    assert ran.returncode == 0, ran.stderr
    assert r"\x1b[2J\x1b]0;owned\x07" in ran.stdout
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", ran.stdout)
    assert max(map(cell_width, ran.stdout.splitlines())) <= WIDTH
    noted = run([*words[:-1], "--history", "1,2,x\x1b]0;owned\x07"])
    assert r"left out: x\x1b]0;owned\x07" in noted.stdout and "\x1b" not in noted.stdout
    refused = run([*words, "x\x1b[2J\ny"])
    assert (refused.returncode, refused.stderr.count("\n")) == (5, 1)
    assert r"x\x1b[2J" in refused.stderr and "\x1b" not in refused.stderr


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("", 0),
        ("Alien", 5),
        ("Amélie", 6),
        (unicodedata.normalize("NFD", "Amélie"), 6),
        ("A\u20dd", 1),
        ("千と千尋の神隠し", 16),
        ("기생충", 6),
        (unicodedata.normalize("NFD", "기생충"), 6),
        ("ﾊﾝｶｸ", 4),
        ("Ｆｕｌｌ", 8),
        ("กุ้ง", 2),
        ("فيلم", 4),
        ("zero\u200bwidth\ufeff", 9),
        ("🎬", 2),
    ],
)
def test_the_width_of_a_text_is_what_a_terminal_gives_it(text: str, width: int) -> None:
    assert cell_width(text) == width


TEXTS = st.text(st.characters(), max_size=120)


@given(st.lists(st.tuples(TEXTS, TEXTS, st.integers(0, 9999).map(str)), max_size=5))
def test_a_table_fits_and_is_aligned_whatever_is_in_it(rows: list[tuple[str, str, str]]) -> None:
    table = format_table(["item", "title", "rank"], rows, right=[2], shrink=[1, 0])
    lines = table.split("\n")
    assert len(lines) == len(rows) + 1
    assert {cell_width(line) for line in lines} == {cell_width(lines[0])}
    assert cell_width(lines[0]) <= WIDTH
    assert printable(table.replace("\n", "")) == table.replace("\n", "")


def test_the_first_column_to_shrink_gives_way_before_the_second() -> None:
    rows = [["an-id-of-24-characters--", "A Title " * 12, "1"], ["7", "Alien", "2"]]
    lines = format_table(["item", "title", "rank"], rows, shrink=[1, 0]).splitlines()
    assert lines[1].startswith("an-id-of-24-characters--  A Title A Title")
    assert [len(lines[0]), len(lines[1])] == [WIDTH, WIDTH - 3]
    both = format_table(["item", "title"], [["i" * 200, "t" * 200]], shrink=[1, 0]).splitlines()
    assert both[1] == "i" * 69 + "…" + "  " + "t" * 7 + "…"


@given(TEXTS, st.integers(1, 40))
def test_what_is_shortened_fits_and_is_the_beginning(text: str, width: int) -> None:
    short = shorten(text, width)
    assert cell_width(short) <= width
    whole = printable(text)
    assert short == whole or (short.endswith("…") and whole.startswith(short[:-1]))


@given(TEXTS)
def test_what_is_printable_stays_as_it_is(text: str) -> None:
    assert printable(printable(text)) == printable(text)
    if text.isprintable():
        assert printable(text) == text
