"""README and its neighbours say what is so: code, commands, flags, paths, the tree, exit codes."""

import contextlib
import doctest
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from retrieval import errors
from retrieval.cli.process import STOPPED_BY
from tests.support.checkout import ROOT

README = (ROOT / "README.md").read_text()
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "data/README.md"]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def section(heading: str) -> str:
    """The text below a heading, up to the next one of its level."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, f"README has no section {heading!r}"
    return found[1]


# the code


def test_the_python_code_does_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [block for block in FENCED.finditer(README) if block[1] in ("python", "pycon")]
    assert blocks and all(">>> " in block[2] for block in blocks)
    # Line numbers stay README's; a fence below an output would be taken for a part of it.
    text = ["\n"] * README.count("\n")
    for block in blocks:
        first = README.count("\n", 0, block.start(2))
        text[first : first + block[2].count("\n")] = block[2].splitlines(keepends=True)
    for name in ("ratings.csv", "movies.csv"):
        shutil.copy(ROOT / "data" / "sample" / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest("".join(text), {}, "README.md", str(ROOT / "README.md"), 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    runner.run(test, out=report.append)
    assert len(test.examples) >= 8
    assert runner.failures == 0, "".join(report)


# commands


def commands(name: str) -> Iterator[list[str]]:
    """The command lines in a document's fenced blocks, without variables before and pipes behind."""
    for block in FENCED.finditer((ROOT / name).read_text()):
        for line in block[2].replace("\\\n", " ").splitlines():
            try:
                words = shlex.split(line.removeprefix("$ "), comments=True)
            except ValueError:  # an apostrophe in what a command printed
                continue
            while words and re.match(r"\w+=", words[0]):
                del words[0]
            end = next(
                (at for at, word in enumerate(words) if re.fullmatch(r"[|;&]+|\d*[<>]+.*", word)), None
            )
            words = words[:end]
            if words and re.fullmatch(
                r"(\.venv/bin/)?(retrieval|build-index|query|pip|pytest|python3?)", words[0]
            ):
                yield [words[0].removeprefix(".venv/bin/"), *words[1:]]
            elif words and re.fullmatch(r"scripts/\w[\w.-]*", words[0]):
                yield words


def parse(words: list[str]) -> None:
    """Parse a command line of ours without running it; UsageError where it is wrong."""
    from retrieval.cli.commands import retrieval as group

    context = click.Context(group, info_name="retrieval")
    arguments = words[1:] if words[0] == "retrieval" else words
    if not arguments or arguments[0] in ("--help", "-h", "--version"):
        return
    _, command, rest = group.resolve_command(context, arguments)
    assert command is not None
    if isinstance(command, click.Group) and rest:
        _, command, rest = command.resolve_command(context, rest)
        assert command is not None
    with contextlib.suppress(click.exceptions.Exit):  # --help
        command.make_context(arguments[0], rest, parent=context)


def long_flags(words: list[str]) -> set[str]:
    return {word.split("=")[0] for word in words if word.startswith("--") and word != "--"}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_line_has_only_flags_that_exist(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRIEVAL_DEBUG", "")  # --debug sets it
    for words in commands(name):
        tool, *arguments = words
        if tool in ("retrieval", "build-index", "query"):
            parse(words)
        elif tool == "scripts/quickstart":
            parse(["build-index", *arguments])
        else:
            check_other_tool(tool, arguments)


def check_other_tool(tool: str, arguments: list[str]) -> None:
    """A script that exists; flags that the tool's own help knows."""
    script = next((word for word in (tool, *arguments[:1]) if re.match(r"(scripts|data)/", word)), None)
    assert script is None or (ROOT / script).is_file(), script
    if flags := long_flags(arguments):
        start = {
            "pip": ["-m", "pip", arguments[0]],
            "pytest": ["-m", "pytest"],
            "scripts/test": ["-m", "pytest"],
        }
        command = [sys.executable, *start.get(tool, [str(script)]), "--help"]
        text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert flags <= set(re.findall(r"--[\w-]+", text)), (tool, arguments)


def test_the_commands_of_readme_are_seen() -> None:
    tools = {words[0] for words in commands("README.md")}
    assert tools >= {"scripts/quickstart", "scripts/test", "build-index", "query"}


def test_every_flag_in_the_prose_is_one_of_ours() -> None:
    from retrieval.cli.commands import retrieval as group

    known = {"--help", "--version"}
    context = click.Context(group)
    below = [group.get_command(context, name) for name in group.list_commands(context)]
    for command in below:
        assert command is not None
        if isinstance(command, click.Group):
            below += [command.get_command(context, name) for name in command.list_commands(context)]
        for parameter in command.params:
            known.update(parameter.opts, parameter.secondary_opts)
    prose = [line for line in FENCED.sub("", README).splitlines() if not re.search(r"\bpip\b|\bgit\b", line)]
    mentioned = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", "\n".join(prose)))
    assert len(mentioned) > 5
    assert not mentioned - known


# paths and packages


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_exists(name: str) -> None:
    text = (ROOT / name).read_text()
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    linked = {(ROOT / name).parent / link for link in links if "://" not in link and "mailto:" not in link}
    folders = r"(?:retrieval|index|scripts|tests|docs|\.ci|data(?!/ml-))"
    named = set(re.findall(rf"(?<![\w./-]){folders}/[\w./-]*\w", text)) | set(
        re.findall(r"\b[A-Z]+\.md\b", text)
    )
    assert named
    missing = {str(path) for path in linked | {ROOT / each for each in named} if not path.exists()}
    # The sample lies in a folder of another name inside an installed package.
    assert not missing - {str(ROOT / "retrieval" / "sample_data")}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_extra_exists(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(re.findall(r"(?:two-stage-retrieval|\.)\[(\w+)\]", (ROOT / name).read_text()))
    assert extras <= set(project["optional-dependencies"])


# the tree


def tree() -> dict[str, list[str]]:
    """Top folder -> what stands below it, as paths from that folder; the folder's own line comes first."""
    (block,) = (block[2] for block in FENCED.finditer(section("The tree")))
    folders: dict[str, list[str]] = {}
    inside: list[str] = []
    for line in block.splitlines():
        indent, entry = len(line) - len(line.lstrip()), line.split()[0]
        if indent == 0 and entry.endswith("/"):
            inside, folders[entry] = [], [line]
        elif indent <= 6 and re.fullmatch(r"[\w-]+(\.py|/)", entry):
            inside = [*inside[: indent // 2 - 1], entry]
            folders[list(folders)[-1]].append("".join(inside))
        else:
            folders[list(folders)[-1]].append(line)  # a description goes on
    return folders


@pytest.mark.parametrize("package", ["retrieval", "index"])
def test_the_tree_lists_every_module(package: str) -> None:
    listed = tree()[f"{package}/"][1:]
    assert len(set(listed)) == len(listed)
    opened = {each.rpartition("/")[0] + "/" for each in listed if each.endswith(".py")} - {"/"}
    whole = tuple(each for each in listed if each.endswith("/") and each not in opened)
    modules = {path.relative_to(ROOT / package).as_posix() for path in (ROOT / package).rglob("[!_]*.py")}
    assert {each for each in listed if each.endswith(".py")} == {
        module for module in modules if not module.startswith(whole)
    }
    assert {f"{module.rpartition('/')[0]}/" for module in modules} - {"/"} == opened | set(whole)


def test_the_tree_lists_every_script() -> None:
    listed = set(re.findall(r"[\w-]+(?:\.\w+)?", "\n".join(tree()["scripts/"])))
    assert {path.name for path in (ROOT / "scripts").iterdir() if path.is_file()} <= listed


# exit codes


def test_the_exit_codes_are_those_of_the_errors() -> None:
    rows = re.findall(r"^\| *([\d, ]+?) *\|", section("Exit codes"), re.MULTILINE)
    listed = [int(code) for row in rows for code in row.split(",")]
    assert len(set(listed)) == len(listed)
    kinds = {each.exit_code for each in errors.RetrievalError.__subclasses__()}
    stopped = {code for _, code in STOPPED_BY.values()}
    # A bug of ours ends with 1, as Python does; 141 is a pipe whose reader went away.
    assert set(listed) - {1, 141} == {0} | kinds | stopped
