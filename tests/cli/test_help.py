"""Help, wrong names answered with the right ones, and completion, for every command there is."""

import inspect
import os
import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from retrieval.cli.commands import retrieval as group
from retrieval.cli.completion import COMMANDS as COMPLETED
from retrieval.cli.options import SHARED
from tests.support.checkout import ROOT
from tests.support.commands import Ran, environment, run_cold
from tests.support.commands import run as run_command

HEAVY = {"torch", "numpy", "faiss", "polars", "pandas", "scipy", "pooch", "rich"}
PROGRAMS = {"retrieval": "main", "build-index": "build_index_main", "query": "query_main"}


def commands(
    command: click.Command = group, path: tuple[str, ...] = ("retrieval",)
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below a group, and the group itself, with the words that call it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path[-1])
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None and below.name == name
            yield from commands(below, (*path, name))


ALL = dict(commands())
SAID_DEFAULTS = {
    "progress_mode": "tell a terminal",
    "threads": "all cores",
    "members": "3; id tower: 1",
    "negatives": "128; id tower: 16",
    "batch_size": "64; id tower: 1024",
    "learning_rate": "0.006; id tower: 0.003",
}
every_command = pytest.mark.parametrize("path", ALL, ids=" ".join)


def run(program: str, *arguments: object, before: str = "", **more: str) -> Ran:
    """A program in a process of its own; with `before` in a new one, after that code."""
    if not before:
        return run_command(program, *arguments, **more)
    code = f"{before}\nfrom retrieval.cli import {PROGRAMS[program]}; {PROGRAMS[program]}()"
    return run_cold([sys.executable, "-c", code, *map(str, arguments)], environment(**more))


def refusal(ran: Ran, code: int = 2) -> str:
    """The one line of an error; nothing else is on either stream."""
    assert (ran.code, ran.out) == (code, ""), ran
    assert re.fullmatch(r"error: .*\n", ran.err), ran.err
    return ran.err.strip()


# Help


def help_of(path: Sequence[str], flag: str = "--help") -> str:
    shown = CliRunner().invoke(group, [*path[1:], flag], prog_name="retrieval")
    assert shown.exit_code == 0, shown.output
    return shown.output


@every_command
def test_help_explains_every_option_within_80_columns(path: tuple[str, ...]) -> None:
    text, command = help_of(path), ALL[path]
    assert text == help_of(path, "-h")
    assert text.startswith(f"Usage: {' '.join(path)} ")
    assert max(map(len, text.splitlines())) <= 80
    assert command.help and command.help[0].isupper()
    context = click.Context(command, info_name=path[-1], **SHARED)
    for option in command.get_params(context):
        if isinstance(option, click.Option):
            assert option.help and re.search(r"\w", option.help), option.name
            assert all(f" {flag}" in text for flag in (*option.opts, *option.secondary_opts)), option.name


@every_command
def test_help_shows_what_a_setting_is_unless_given(path: tuple[str, ...]) -> None:
    text = " ".join(help_of(path).split())
    for option in ALL[path].params:
        default = option.to_info_dict()["default"]
        if isinstance(option, click.Option) and not option.is_flag and default is not None:
            assert f"default: {default}" in text, option.name
        elif option.name in SAID_DEFAULTS:
            assert f"[default: {SAID_DEFAULTS[option.name]}]" in text, option.name


def examples_of(command: click.Command) -> list[str]:
    text = inspect.cleandoc(command.help or "")
    assert "\b\nExample:\n" in text, command.name
    lines = text.split("Example:\n")[1].split("\n\n")[0].splitlines()
    assert lines and all(line.startswith("  ") for line in lines)
    return [line.strip() for line in lines]


@every_command
def test_help_has_examples_that_parse(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRIEVAL_DEBUG", "")  # for a --debug among them
    for example in examples_of(ALL[path]):
        called = re.search(r"\b(retrieval|build-index|query)\b[^|>)]*", example)
        assert called, example
        words = shlex.split(called[0])
        words = words if words[0] == "retrieval" else ["retrieval", *words]
        called_path = next(tuple(words[:count]) for count in (3, 2) if tuple(words[:count]) in ALL)
        ALL[called_path].make_context(called_path[-1], words[len(called_path) :])
        assert called_path[: len(path)] == path, example


def test_the_group_lists_every_command_with_what_it_is_for_in_full() -> None:
    listed = help_of(["retrieval"]).split("Commands:\n")[1]
    assert "..." not in listed
    words = " ".join(listed.split())
    for path, command in ALL.items():
        if len(path) == 2:
            assert re.search(rf"^  {path[1]}  +\w", listed, re.M)
            assert f"{path[1]} {command.get_short_help_str(1000)}" in words


def test_a_group_in_the_group_lists_and_corrects_its_own_commands() -> None:
    listed = help_of(["retrieval", "index"]).split("Commands:\n")[1]
    assert re.findall(r"^  (\w+)  +\w", listed, re.M) == ["add", "remove", "compact"]
    bare = run("retrieval", "index")
    assert (bare.code, bare.err) == (0, "") and bare.out == run("retrieval", "index", "-h").out
    line = refusal(run("retrieval", "index", "delete"))
    assert line == "error: no command 'delete' among add, remove, compact; see retrieval index --help"
    line = refusal(run("retrieval", "index", "remov", "--item", "1"))
    assert line.endswith("; did you mean remove? see retrieval index --help")


def test_without_a_command_the_help_is_shown_and_nothing_failed() -> None:
    plain, asked = run("retrieval"), run("retrieval", "--help")
    assert (plain.code, plain.err) == (asked.code, asked.err) == (0, "")
    assert plain.out == asked.out != ""


def test_programs_of_their_own_say_so() -> None:
    for program in ("build-index", "query"):
        ran = run(program, "-h")
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.startswith(f"Usage: {program} ")


@pytest.mark.parametrize("arguments", [["build-index", "--help"], ["--help"], ["--version"]], ids=" ".join)
def test_help_and_version_need_nothing_heavy(arguments: list[str]) -> None:
    blocked = f"import sys; sys.modules.update(dict.fromkeys({sorted(HEAVY)}))"
    ran = run("retrieval", *arguments, before=blocked)
    assert (ran.code, ran.err) == (0, "")
    if arguments == ["--version"]:
        assert re.fullmatch(r"retrieval, version \d+\.\d+\.\d+\n", ran.out)


# Wrong names and values


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("qury", "query"),
        ("build_index", "build-index"),
        ("indx", "index"),
        ("build", "build-index"),
        ("EVALUATE", "evaluate"),
        ("dataset", "datasets"),
        ("xyzzy", None),
    ],
)
def test_an_unknown_command_is_answered_with_the_nearest_and_all(typed: str, meant: str | None) -> None:
    line = refusal(run("retrieval", typed, "--user", "42"))
    assert line.startswith(
        f"error: no command '{typed}' among build-index, query, evaluate, benchmark, index, bundles, datasets"
    )
    assert line.endswith(
        f"; did you mean {meant}? see retrieval --help" if meant else "; see retrieval --help"
    )


@pytest.mark.parametrize(
    ("program", "arguments", "typed", "meant"),
    [
        ("retrieval", ["query", "--usr", "42"], "--usr", "--user"),
        ("retrieval", ["query", "--usr=42"], "--usr", "--user"),
        ("query", ["-user", "42"], "-user", "--user"),
        ("query", ["-k", "3"], "-k", "--k"),
        ("query", ["--JSON"], "--JSON", "--json"),
        ("build-index", ["--lr", "0.1"], "--lr", "--learning-rate"),
        ("build-index", ["--dim", "8"], "--dim", "--dimension"),
        ("build-index", ["--quite"], "--quite", "--quiet"),
        ("retrieval", ["--versoin"], "--versoin", "--version"),
        ("query", ["--xyzzy"], "--xyzzy", None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_unknown_flag_is_answered_with_the_nearest(
    program: str, arguments: list[str], typed: str, meant: str | None
) -> None:
    path = " ".join([program, *[word for word in arguments[:1] if not word.startswith("-")]])
    hint = f"; did you mean {meant}?" if meant else ";"
    assert refusal(run(program, *arguments)) == f"error: no option {typed}{hint} see {path} --help"


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["--user-tower", "histroy"], "history"),
        (["--device", "CUDA"], "cuda"),
        (["--device", "abacus"], None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_unknown_choice_is_answered_with_all_and_the_nearest(
    arguments: list[str], meant: str | None
) -> None:
    line = refusal(run("build-index", *arguments))
    assert f"'{arguments[0]}': '{arguments[1]}' is not one of '" in line
    assert line.endswith(
        f"; did you mean {meant}? see build-index --help" if meant else "; see build-index --help"
    )


OUT_OF_RANGE = [
    *(("build-index", f"--{flag}", value) for value in ("0", "-1") for flag in (
        "dimension", "epochs", "batch-size", "candidates", "negatives", "threads", "learning-rate",
        "recency-half-life", "test-fraction", "validation-fraction", "recall-target",
    )),
    *(("build-index", f"--{flag}", "nan") for flag in (
        "learning-rate", "recency-half-life", "test-fraction", "validation-fraction", "recall-target",
        "positive-threshold", "dimension",
    )),
    ("build-index", "--learning-rate", "inf"),
    ("build-index", "--test-fraction", "1"),
    ("build-index", "--validation-fraction", "0.8"),
    ("build-index", "--recall-target", "1.01"),
    ("build-index", "--threads", "99999"),
    ("build-index", "--seed", "-1"),
    ("build-index", "--seed", "2147483648"),
    ("build-index", "--epochs", "2.5"),
    ("query", "--k", "0"),
    ("query", "--k", "-3"),
    ("query", "--k", "ten"),
    ("evaluate", "--k", "0"),
    *(("benchmark", f"--{flag}", value) for flag in ("k", "queries", "threads") for value in ("0", "-1")),
    ("benchmark", "--threads", "99999"),
]  # fmt: skip
REMEMBER = """
import atexit, os, sys
atexit.register(lambda: os.write(3, " ".join(sys.modules).encode()))
"""


@pytest.mark.parametrize("arguments", OUT_OF_RANGE, ids=" ".join)
def test_a_value_out_of_range_is_refused_at_once(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    command, flag, value = arguments
    if command == "query":
        arguments = (*arguments, "--user", "42")
    seen = tmp_path / "modules"
    before = REMEMBER.replace("os.write(3,", f"open({str(seen)!r}, 'wb').write(")
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    ran = run("retrieval", *arguments, "--artifacts", tmp_path / "a", before=before)
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - used
    line = refusal(ran)
    assert flag.lstrip("-") in line.replace("_", "-") and value.lstrip("-") in line
    assert not HEAVY & set(seen.read_text().split())
    assert used < 1.5  # of a processor, whatever else the machine does
    assert [path.name for path in tmp_path.iterdir()] == ["modules"]


# --debug


@pytest.mark.parametrize(
    ("arguments", "more", "is_shown"),
    [
        (["--debug"], {}, True),
        ([], {"RETRIEVAL_DEBUG": "1"}, True),
        ([], {"RETRIEVAL_DEBUG": "0"}, False),
        ([], {}, False),
    ],
    ids=str,
)
def test_debug_shows_the_traceback_and_then_the_line(
    tmp_path: Path, arguments: list[str], more: dict[str, str], is_shown: bool
) -> None:
    ran = run("query", "--user", "42", "--artifacts", tmp_path, *arguments, **more)
    assert (ran.code, ran.out) == (4, "")
    *traceback, line = ran.err.splitlines()
    assert line.startswith(f"error: {tmp_path}: no bundle here")
    assert bool(traceback) == is_shown
    if is_shown:
        assert traceback[0].startswith("Traceback") and "ArtifactError: " in traceback[-1]


# Completion


def completed(program: str, words: str, shell: str = "bash", before: str = "") -> list[str]:
    """What a shell is told when the last of the words is to be completed."""
    count = len(words.split(" ")) - 1
    # fish passes the word itself, not its number.
    number = words.split(" ")[-1] if shell == "fish" else str(count)
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    ran = run(
        program, before=before, **{variable: f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": number}
    )
    assert (ran.code, ran.err) == (0, "")
    return ran.out.splitlines()


def test_bash_is_told_commands_flags_choices_and_files() -> None:
    assert completed("retrieval", "retrieval bui") == ["plain,build-index"]
    assert completed("retrieval", "retrieval query --us") == ["plain,--user"]
    assert completed("query", "query --exa") == ["plain,--exact"]
    assert completed("retrieval", "retrieval index re") == ["plain,remove"]
    assert completed("retrieval", "retrieval index add --ve") == ["plain,--vectors", "plain,--version"]
    assert {"plain,--progress", "plain,--preset"} <= set(completed("build-index", "build-index --p"))
    assert completed("build-index", "build-index --user-tower h") == ["plain,history"]
    assert completed("build-index", "build-index --ratings ra") == ["file,ra"]
    assert completed("query", "query --artifacts a") == ["dir,a"]
    assert completed("retrieval", "retrieval xyzzy --") == completed("retrieval", "retrieval --")


def test_names_of_data_sets_are_completed() -> None:
    assert "plain,ml-100k" in completed("retrieval", "retrieval datasets ml-")
    assert "plain,ml-100k" in completed("build-index", "build-index --dataset ml-")


def test_zsh_and_fish_are_told_too_and_what_a_command_is_for() -> None:
    kind, name, purpose = completed("retrieval", "retrieval bui", "zsh")
    assert (kind, name) == ("plain", "build-index") and purpose.startswith("Train on")
    assert "build-index" in "\n".join(completed("retrieval", "retrieval bu", "fish"))


def test_completion_is_fast_and_needs_nothing_heavy() -> None:
    blocked = f"import sys; sys.modules.update(dict.fromkeys({sorted(HEAVY)}))"
    for program, words in (
        ("retrieval", "retrieval "),
        ("build-index", "build-index --dataset "),
        ("query", "query --"),
    ):
        used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        assert completed(program, words, before=blocked)
        assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - used < 0.3


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_one_command_prints_the_scripts_of_all_programs(shell: str) -> None:
    ran = run("retrieval", "completion", shell)
    assert (ran.code, ran.err) == (0, "")
    assert COMPLETED.keys() == PROGRAMS.keys()
    for program in PROGRAMS:
        variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
        assert f"{variable}={shell}_complete" in ran.out
        assert run(program, **{variable: f"{shell}_source"}).out.strip() in ran.out


def test_bash_itself_completes_with_that_script(tmp_path: Path) -> None:
    for program, entry in PROGRAMS.items():
        path = tmp_path / program
        path.write_text(f"#!{sys.executable}\nfrom retrieval.cli import {entry}\n{entry}()\n")
        path.chmod(0o755)
    script = """
eval "$(retrieval completion bash)"
for words in "retrieval qu" "build-index --no-re" "query --his"; do
    COMP_WORDS=($words) COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
    function=$(complete -p "${COMP_WORDS[0]}" | sed 's/.*-F \\([^ ]*\\).*/\\1/')
    "$function" "${COMP_WORDS[0]}"
    echo "${COMPREPLY[@]}"
done
"""
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PATH": path},
    )
    assert (done.stdout, done.stderr) == ("query\n--no-refit\n--history\n", "")


def test_a_request_for_completion_that_is_none_is_refused() -> None:
    line = refusal(run("retrieval", _RETRIEVAL_COMPLETE="tcsh_source"))
    assert "_RETRIEVAL_COMPLETE=tcsh_source" in line and "retrieval completion --help" in line
    assert "did you mean bash?" in refusal(run("retrieval", "completion", "bsh"))
