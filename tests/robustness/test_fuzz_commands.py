import contextlib
import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from retrieval.cli import app

WORDS = (
    *("1", "42", "150", "0", "-1", "7.5", "1e999"),
    *("nan", "inf", "99999999999999999999", "", " ", ",", "1,2,3"),
    *("x", "é", "\udcff", "\u2028", "a\nb", "\x1b[31m", "-"),
    *("--", "---", "-h", "--help", "=", "@", "@missing"),
    *("@.", "genre=Drama", "genre=", "=x", "genre"),
    *("decade=1990s,", "year=1995", "popular", "notebook", "exact"),
    *("x" * 3_000, "missing/file.csv", ".", "..", "/dev/null", "ml-100k", "50%", "2G", "10**9", "add"),
)
# What each begins with: its own words, and perhaps an option it cannot do without.
PROGRAMS: dict[str, tuple[tuple[str, ...], ...]] = {
    "query": ((), ("--user", "42"), ("--user", "7"), ("--history", "1,50,x"), ("--user", "\u2028")),
    "evaluate": ((),),
    "index add": ((), ("--items", "items.csv"), ("--items", "odd.csv"), ("--items", "ids.txt")),
    "index remove": ((), ("--item", "1,2"), ("--items", "ids.txt"), ("--item", "é\n")),
    "index compact": ((),),
    "index": ((),),
    "build-index": ((),),
    "": ((),),
}
FITTING = {
    "--k": ("1", "5", "1000000", "99999999999999999999", "0", "0x5", "1_0", "５"),
    "--user": ("42", "1", "007", "42 ", "99999999999999999999", "-1", "４２", "x", ""),
    "--history": ("1,2,3", "1,1", "1,x", ",1,", "99999999999999999999", "nan,1", "x"),
    "--only": ("genre=Drama", "genre = drama,Comedy", "1,2", "@ids.txt", "@odd.csv", "@.", "@", "x=1"),
    "--items": ("items.csv", "odd.csv", "ids.txt", "missing.csv", "vectors.npy", "."),
    "--vectors": ("vectors.npy", "odd.csv", "missing.npy", "."),
    "--item": ("1", "1,2", "x", "99999999999999999999", ","),
    "--artifacts": ("artifacts", "missing", "items.csv", "", ".", "a\nb"),
    "--fallback": ("popular", "x"),
    "--protocol": ("standard", "notebook"),
}
FITTING["--exclude"] = FITTING["--only"]
BARE = ("--json", "--exact", "--no-rerank", "--help", "--version", "--no-refit", "--quiet", "--progress")
MISSING = "missing/ratings.csv"


def flags_of(words: tuple[str, ...]) -> list[str]:
    """All flags of a command but --debug, which is there to show tracebacks."""
    command: click.Command | None = app.load("retrieval.cli.commands:retrieval")
    for word in words:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None
    options = [option for option in command.params if isinstance(option, click.Option)]
    flags = [flag for option in options for flag in (*option.opts, *option.secondary_opts)]
    return [flag for flag in flags if flag != "--debug"]


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command with its own flags and words that may fit them; nothing that would start a build."""
    program = draw(st.sampled_from(sorted(PROGRAMS)))
    words = tuple(program.split())
    arguments = [*words, *draw(st.sampled_from(PROGRAMS[program]))]
    flags = [*flags_of(words), "--help"]
    for _ in range(draw(st.integers(0, 3))):
        flag = draw(st.sampled_from(flags))
        odd = draw(st.integers(0, 9))
        value = draw(st.sampled_from(FITTING.get(flag, WORDS) if odd else WORDS) | st.text(max_size=4))
        value = value.replace("\0", "")
        if flag in BARE and odd:
            arguments.append(flag)
        else:
            arguments += {1: [flag + value], 2: [value], 3: [f"{flag}={value}"]}.get(odd, [flag, value])
    if words == ("build-index",):
        arguments += ["--ratings", MISSING]  # the last counts, and is refused before any work
    return arguments


def run(arguments: list[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `retrieval` in this process."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace") for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["retrieval", *arguments])
        for module in ("app", "index"):  # which would leave this process deaf
            patch.setattr(f"retrieval.cli.{module}.ignore_signals", lambda: None)
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            code = app.run(app.load("retrieval.cli.commands:retrieval"), "retrieval")
    texts = []
    for stream in streams:
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
    return code, texts[0], texts[1]


@pytest.fixture(scope="module")
def standing_here(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder to run in, with artifacts that commands may change."""
    here = tmp_path_factory.mktemp("commands")
    shutil.copytree(artifacts, here / "artifacts")
    (here / "items.csv").write_text("item,title,genres\n1,Heat (1995),Drama\n9001,New (2020),Comedy|Drama\n")
    (here / "odd.csv").write_bytes(b"item,title\n1,\x85\n\xe2\x80\xa8,x\n")
    (here / "ids.txt").write_text("3\n\n 4 \nx\n")
    np.save(here / "vectors.npy", np.zeros((2, 9), dtype=np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        yield


@pytest.mark.usefixtures("standing_here")
@given(arguments=command_lines())
def test_any_command_line_ends_with_a_known_code_and_one_line(arguments: list[str]) -> None:
    code, out, err = run(arguments)
    event(f"{arguments[:1]} ends with {code}")
    assert code in (0, 2, 3, 4, 5, 6)
    assert "Traceback" not in out + err
    if code:
        assert err.startswith("error: ") and err.count("\n") == 1 and len(err.splitlines()) == 1, err
    else:
        assert "error:" not in err
