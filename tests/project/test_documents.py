"""The documents are true: code, commands, flags, paths, links, rooms, exit codes."""

import contextlib
import doctest
import functools
import importlib
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from retrieval import Recommender, errors
from retrieval.cli.process import STOPPED_BY
from tests.support.checkout import ROOT

PAGES = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "data/README.md", *PAGES]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(name: str, heading: str) -> str:
    """The text below a heading of a document, up to the next one of its level or above."""
    level = re.match("#+", heading)
    assert level
    end = rf"(?=^#{{1,{len(level[0])}}} |\Z)"
    found = re.search(rf"^{re.escape(heading)}\n(.*?){end}", text_of(name), re.MULTILINE | re.DOTALL)
    assert found, f"{name} has no section {heading!r}"
    return found[1]


def rows_of(text: str) -> list[list[str]]:
    """The cells of the tables in a text, without their headers' rules."""
    rows = [re.split(r"(?<!\\)\|", row[1]) for row in ROW.finditer(text)]
    return [[cell.strip() for cell in row] for row in rows if not set("".join(row)) <= set("-: ")]


# the code


def python_in(name: str) -> list[re.Match[str]]:
    return [block for block in FENCED.finditer(text_of(name)) if block[1] in ("python", "pycon")]


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if python_in(name)])
def test_the_python_code_does_what_it_shows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks, whole = python_in(name), text_of(name)
    assert all(">>> " in block[2] for block in blocks)
    # Line numbers stay the document's; a fence below an output would be taken for a part of it.
    text = ["\n"] * whole.count("\n")
    for block in blocks:
        first = whole.count("\n", 0, block.start(2))
        text[first : first + block[2].count("\n")] = block[2].splitlines(keepends=True)
    for table in ("ratings.csv", "movies.csv"):
        for folder in (tmp_path, tmp_path / "data" / "sample"):  # README stands in the checkout's root
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "data" / "sample" / table, folder)
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest("".join(text), {}, name, str(ROOT / name), 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    runner.run(test, out=report.append)
    assert len(test.examples) >= 8
    assert runner.failures == 0, "".join(report)


def test_readme_and_the_page_about_python_have_code() -> None:
    assert python_in("README.md") and python_in("docs/python.md")


# commands


def commands(name: str) -> Iterator[list[str]]:
    """The command lines in a document's fenced blocks, without variables before and pipes behind."""
    for block in FENCED.finditer(text_of(name)):
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
                r"(\.venv(-\w+)?/bin/)?(retrieval|build-index|query|pip|pytest|python3?)", words[0]
            ):
                yield [words[0].rpartition("/")[2], *words[1:]]
            elif words and re.fullmatch(r"scripts/\w[\w.-]*", words[0]):
                yield words


def tree_of_commands() -> dict[str, click.Command]:
    """Every command by its path, such as `retrieval index add`; `build-index` and `query` by that name."""
    from retrieval.cli.commands import retrieval as group

    found: dict[str, click.Command] = {}

    def walk(parent: click.Group, path: str) -> None:
        context = click.Context(parent)
        for name in parent.list_commands(context):
            command = parent.get_command(context, name)
            assert command is not None
            below = name if name in ("build-index", "query") else f"{path} {name}"
            found[below] = command
            if isinstance(command, click.Group):
                walk(command, below)

    walk(group, "retrieval")
    return found


def flags_of(command: click.Command) -> set[str]:
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    return {flag for option in options for flag in (*option.opts, *option.secondary_opts)}


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
        check(words)


def check(words: list[str]) -> None:
    """Check a command line of ours, or of a script or tool."""
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
    if tool.startswith("python") and arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1]), arguments
    elif flags := long_flags(arguments):
        text = help_of(tool, arguments[0] if tool == "pip" else str(script))
        assert flags <= set(FLAG.findall(text)), (tool, arguments)


@functools.cache
def help_of(tool: str, script: str) -> str:
    """What `--help` of a tool prints; of scripts/test also pytest's, which gets its other arguments."""
    python = {"pip": ["-m", "pip", script], "pytest": ["-m", "pytest"]}.get(tool, [script])
    start = [str(ROOT / tool)] if tool == "scripts/test" else [sys.executable, *python]
    done = subprocess.run([*start, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout + (help_of("pytest", "") if tool == "scripts/test" else "")


def test_the_commands_of_readme_are_seen() -> None:
    tools = {words[0] for words in commands("README.md")}
    assert tools >= {"scripts/quickstart", "build-index", "query"}
    assert "scripts/test" in {words[0] for words in commands("CONTRIBUTING.md")}


@pytest.mark.parametrize("name", ["README.md", *PAGES])
def test_every_flag_in_the_prose_is_one_of_ours(name: str) -> None:
    known = {"--help", "--version"}.union(*map(flags_of, tree_of_commands().values()))
    prose = FENCED.sub("", text_of(name))
    for span in re.findall(r"`(scripts/[^`]+ [^`]+)`", prose):
        check(span.split())
        prose = prose.replace(span, "")
    assert not set(FLAG.findall(prose)) - known
    # A flag beside a command, as in `query --exact`, is one of that command.
    for span in re.findall(r"(?<!`)`([^`]+)`", prose):
        words = re.sub(r"^retrieval (?=build-index|query)", "", span).split()
        path = max(
            (each for each in tree_of_commands() if words[: len(each.split())] == each.split()),
            key=len,
            default=None,
        )
        if path is not None:
            assert set(FLAG.findall(span)) <= flags_of(tree_of_commands()[path]), span
        else:
            assert words[0] != "retrieval" or len(words) == 1 or words[1].startswith("-"), span


def test_enough_flags_are_seen() -> None:
    assert len(set(FLAG.findall(FENCED.sub("", text_of("README.md"))))) > 5


# the page of commands

COMMANDS = "docs/commands.md"


def headings(name: str) -> list[tuple[int, str]]:
    found = re.findall(r"^(#+) (.+)$", FENCED.sub("", text_of(name)), re.MULTILINE)
    return [(len(hashes), title.strip()) for hashes, title in found]


def own_section(path: str) -> str:
    """A command's section, without those of the commands below it."""
    level = next(level for level, title in headings(COMMANDS) if title == path)
    return re.split(r"^#", section(COMMANDS, f"{'#' * level} {path}"), flags=re.MULTILINE)[0]


def test_every_command_has_a_section_and_no_other_section_is_one() -> None:
    titles = [title for _, title in headings(COMMANDS)]
    assert len(set(titles)) == len(titles)
    paths = set(tree_of_commands())
    assert {title for title in titles if title in paths or title.startswith("retrieval ")} == paths


@pytest.mark.parametrize("name", ["README.md", COMMANDS])
def test_the_tables_of_commands_list_every_command(name: str) -> None:
    start = section(name, "## Commands") if name == "README.md" else text_of(name).split("\n## ")[0]
    listed = [re.findall(r"`([^`]+)`", row[0])[0] for row in rows_of(start)[1:]]
    assert listed == [path for path in tree_of_commands() if len(path.split()) < 3]


@pytest.mark.parametrize("path", tree_of_commands())
def test_a_command_is_documented_with_all_its_flags_and_no_others(path: str) -> None:
    command = tree_of_commands()[path]
    text = own_section(path)
    if isinstance(command, click.Group):
        return
    assert any(path in block[2] for block in FENCED.finditer(text)), "no example"
    listed = set(FLAG.findall(" ".join(row[0] for row in rows_of(text))))
    also = re.findall(r"(?:Also:|also take)\s([^.]*)\.", text)
    if path.count(" ") == 2:  # said once for all commands of a group
        also += re.findall(r"also take\s([^.]*)\.", own_section(path.rpartition(" ")[0]))
    common = set(FLAG.findall(" ".join(also)))
    assert not listed & common
    assert listed | common == flags_of(command)
    shared = set(FLAG.findall(" ".join(row[0] for row in rows_of(section(COMMANDS, "## In common")))))
    assert common <= shared


@pytest.mark.parametrize("path", tree_of_commands())
def test_the_defaults_are_those_of_the_commands(path: str) -> None:
    command = tree_of_commands()[path]
    context = click.Context(command, **command.context_settings)
    tables = rows_of(own_section(path)) + rows_of(section(COMMANDS, "## In common"))
    documented = {flag: row[1].replace("`", "") for row in tables for flag in FLAG.findall(row[0])}
    for option in command.params:
        if not isinstance(option, click.Option) or option.is_flag:
            continue
        extra = option.get_help_extra(context)
        said = re.search(r"\[default: (.+)\]", option.help or "")
        default = extra.get("default") or (said and said[1]) or extra.get("required") or ""
        shown = documented[option.opts[0]]
        with contextlib.suppress(ValueError):  # 4 for 4.0
            shown, default = str(float(shown)), str(float(default))
        assert shown == default, option.opts


def test_the_json_of_a_query_has_the_documented_keys(artifacts: Path) -> None:
    (block,) = (block[2] for block in FENCED.finditer(section(COMMANDS, "### The JSON document")))
    shown = json.loads(block)
    (answer,) = Recommender.load(artifacts).recommend([42], k=1, only={"genre": "Drama"})
    given = answer.to_json()
    assert list(shown) == list(given)
    assert list(shown["items"][0]) == list(given["items"][0])
    assert list(shown["filters"]) == list(given["filters"])
    assert list(shown["filters"]["only"][0]) == list(given["filters"]["only"][0])


# paths, links and packages


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_exists(name: str) -> None:
    text = text_of(name)
    folders = r"(?:retrieval|index|scripts|tests|docs|\.ci|data(?!/ml-))"
    roots = [ROOT]
    if name == "docs/architecture.md":  # its diagrams name rooms without `retrieval/`
        folders = r"(?:\.ci|\w+)"
        roots += [ROOT / "retrieval", ROOT / "scripts"]
    named = set(re.findall(rf"(?<![\w./-]){folders}/[\w./-]*\w", text))
    named |= set(re.findall(r"\b[A-Z]+\.md\b", text))
    if name == "docs/architecture.md":
        named |= set(re.findall(r"(?<![\w./-])\w+\.(?:py|sh|txt)\b", text))
        roots += [path for path in (ROOT / "retrieval").iterdir() if path.is_dir()]
    missing = {each for each in named if not any((root / each).exists() for root in roots)}
    # The sample lies in a folder of another name inside an installed package.
    assert not missing - {"retrieval/sample_data"}
    assert named or name in PAGES


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_name_of_the_code_is_in_the_code(name: str) -> None:
    spans = re.findall(r"(?<!`)`([^`\n]+)`", FENCED.sub("", text_of(name)))
    named = {span for span in spans if re.fullmatch(r"_?[A-Z]\w*[a-z]\w*|\w+_\w+|_?[A-Z][A-Z_]+", span)}
    folders = ("retrieval", "index", "scripts", "tests")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py") if path != Path(__file__)]
    words = set(re.findall(r"\w+", "\n".join(path.read_text(encoding="utf-8") for path in paths)))
    assert named <= words
    assert named or name != "CONTRIBUTING.md"


def anchors(name: str) -> set[str]:
    """What headings can be linked to, as GitHub names them."""
    slugs = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for _, title in headings(name)]
    return {slug if not before else f"{slug}-{before}" for slug, before in _counted(slugs)}


def _counted(slugs: list[str]) -> Iterator[tuple[str, int]]:
    seen: Counter[str] = Counter()
    for slug in slugs:
        yield slug, seen[slug]
        seen[slug] += 1


@pytest.mark.parametrize("name", [*DOCUMENTS, "CHANGELOG.md"])
def test_every_link_leads_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", text_of(name))):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        linked = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        assert linked.exists(), target
        assert not anchor or anchor in anchors(str(linked.relative_to(ROOT))), target


@pytest.mark.parametrize("name", ["README.md", "docs/README.md"])
def test_every_page_is_linked_from_the_lists_of_pages(name: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(name))
    linked = {((ROOT / name).parent / link).resolve() for link in links if "://" not in link}
    assert {ROOT / page for page in PAGES} - {ROOT / name} <= linked


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_extra_exists(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(re.findall(r"(?:two-stage-retrieval|\.)\[(\w+)\]", text_of(name)))
    extras |= set(re.findall(r"\bextra `(\w+)`", text_of(name)))
    assert extras <= set(project["optional-dependencies"])


def test_readme_is_short() -> None:
    assert 150 <= text_of("README.md").count("\n") <= 200


# the rooms


def rooms() -> set[str]:
    """All packages, as folders from the root."""
    found = {path.parent for top in ("retrieval", "index") for path in (ROOT / top).rglob("__init__.py")}
    return {f"{path.relative_to(ROOT).as_posix()}/" for path in found} - {"retrieval/"}


@pytest.mark.parametrize("name", ["README.md", "docs/architecture.md"])
def test_the_table_of_rooms_lists_every_room_once(name: str) -> None:
    table = rows_of(section(name, "## The rooms"))[1:]
    listed = [row[0].strip("`") for row in table if row[0].endswith("/`")]
    assert len(set(listed)) == len(listed)
    if name == "README.md":
        assert set(listed) == {room for room in rooms() if re.fullmatch(r"index/|retrieval/\w+/", room)}
    else:
        assert set(listed) == rooms()


def test_the_architecture_names_every_file_that_is_in_no_room() -> None:
    text = section("docs/architecture.md", "## The rooms")
    loose = {path.name for path in (ROOT / "retrieval").glob("[!_]*.py")}
    assert set(re.findall(r"(?<![\w/])\w+\.py\b", text)) >= loose


def test_the_architecture_names_every_script() -> None:
    listed = set(re.findall(r"`([\w.-]+)`", section("docs/architecture.md", "## The rooms")))
    assert {path.name for path in (ROOT / "scripts").iterdir() if path.is_file()} <= listed


REUSED = {"retrieval.bundles", "retrieval.evaluation", "retrieval.training"}  # rooms have these names now


def moved_modules() -> list[tuple[str, str]]:
    """Every module of the table of moves: its old import path, and its new one."""
    moves = []
    for old, new, modules in rows_of(section("CHANGELOG.md", "### Moved"))[1:]:
        for name in re.findall(r"`([^`]+)`", modules):
            before, _, after = name.partition(" → ")
            moves.append((f"{old}.{before}".replace("`", ""), f"{new}.{after or before}".replace("`", "")))
    return moves


def test_the_table_of_moved_modules_is_true() -> None:
    moves = moved_modules()
    assert len(moves) > 100
    assert len({old for old, _ in moves}) == len(moves)
    for old, new in moves:
        assert _is_module(new), new
        assert not _is_module(old) or old in REUSED, old


def _is_module(name: str) -> bool:
    """Whether a module or package of that import path exists."""
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


# exit codes and errors


def test_the_exit_codes_are_those_of_the_errors() -> None:
    rows = re.findall(r"^\| *([\d, ]+?) *\|", section(COMMANDS, "## Exit codes"), re.MULTILINE)
    listed = [int(code) for row in rows for code in row.split(",")]
    assert len(set(listed)) == len(listed)
    kinds = {each.exit_code for each in errors.RetrievalError.__subclasses__()}
    stopped = {code for _, code in STOPPED_BY.values()}
    # A bug of ours ends with 1, as Python does; 141 is a pipe whose reader went away.
    assert set(listed) - {1, 141} == {0} | kinds | stopped


def test_the_page_about_python_lists_every_error_with_its_exit_code() -> None:
    table = rows_of(section("docs/python.md", "## Errors"))[1:]
    listed = {name: int(row[2]) for row in table for name in re.findall(r"`(\w+)`", row[0])}
    kinds = {
        name: kind.exit_code
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.RetrievalError)
    }
    del kinds["RetrievalError"]
    assert listed == kinds


def test_the_messages_of_troubleshooting_are_in_the_code() -> None:
    quoted = re.findall(r'\*\*"([^"]+)"', text_of("docs/troubleshooting.md"))
    assert len(quoted) >= 3
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "retrieval").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # a message over several lines is one
    for message in quoted:
        assert message in source, message


# bundles


def test_the_page_about_bundles_names_every_file_of_one(artifacts: Path) -> None:
    (block,) = (block[2] for block in FENCED.finditer(section("docs/bundles.md", "## What is inside")))
    (bundle,) = (artifacts / "builds").iterdir()
    names = {path.name for path in bundle.rglob("*") if path.is_file()}
    named = set(re.findall(r"\b\w+\.(?:json|npy|parquet|html|faiss|safetensors)\b", block))
    assert names <= named
    assert named - names <= {"index_rows.npy"}  # of a bundle whose catalogue was changed
