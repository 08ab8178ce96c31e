"""Flags: only the command line names them, and it has one for every setting that a message names."""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest

from retrieval.cli.app import run
from retrieval.cli.commands import retrieval
from retrieval.cli.flags import FLAGS, METHODS, NAMED, SWITCHES, with_flags
from retrieval.cli.progress import TerminalProgress
from retrieval.data.reading.columns import ColumnNames
from retrieval.errors import DataError
from retrieval.recommender import Recommender
from retrieval.settings import BuildSettings, NeuralMFSettings, SplitSettings, TowerSettings, TuneSettings
from tests.support.checkout import ROOT

FLAG = re.compile(r"(?<![\w-])--(?:[a-z]|$)")
# Strings with two hyphens that are no flags of ours, or that only a terminal shows.
EXEMPT = {
    "retrieval/reporting/page/svg.py": "variables of CSS",
    "retrieval/reporting/page/plots.py": "matplotlib's dashed line",
    "retrieval/reporting/figure/benchmark_figure.py": "matplotlib's dashed line",
    "retrieval/reporting/figure/filter_panels.py": "matplotlib's dashed line",
    "retrieval/data/downloads/archives.py": "flags of pip, which fetches a wheel",
    "retrieval/reporting/text/report.py": "text of the terminal",
    "retrieval/reporting/text/index_benchmark.py": "text of the terminal",
    "retrieval/reporting/text/diff.py": "text of the terminal",
    "retrieval/reporting/text/notebook.py": "text of the terminal",
    "retrieval/reporting/text/tuning.py": "text of the terminal",
}
CHECKS = ("_check_choice", "_check_positive", "_check_rate", "_check_weight")
SETTINGS = {
    "split": SplitSettings,
    "towers": TowerSettings,
    "neural_mf": NeuralMFSettings,
    "tune": TuneSettings,
    "columns": ColumnNames,
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    """The modules outside of `retrieval.cli`, by their path."""
    for path in sorted([*(ROOT / "retrieval").rglob("*.py"), *(ROOT / "index").rglob("*.py")]):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith("retrieval/cli/"):
            yield name, ast.parse(path.read_text())


def strings(tree: ast.Module) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node


def docstrings(tree: ast.Module) -> set[ast.AST]:
    return {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }


def names_in(source: ast.Module) -> set[str]:
    """The settings and arguments that the messages of a module name; a part that is put in later is `*`.

    The checks in `retrieval.settings` get the name of one setting as their first argument.
    """
    prose, found = docstrings(source), set()
    for node in ast.walk(source):
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in prose:
            parts = [node.value]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CHECKS:
            parts = [f"`{ast.literal_eval(node.args[0])}`"]
        else:
            continue
        found |= set(re.findall(r"`([a-z0-9_.*]+)(?:=[^`\s]+)?`", "".join(parts)))
    return found


def flags_in(tree: ast.Module) -> list[str]:
    return [node.value for node in strings(tree) if isinstance(node.value, str) and FLAG.search(node.value)]


def test_no_string_outside_of_the_command_line_holds_a_flag() -> None:
    found = {name: flags for name, tree in sources() if (flags := flags_in(tree))}
    assert {name: flags for name, flags in found.items() if name not in EXEMPT} == {}
    assert set(found) == set(EXEMPT), "an exemption that is not needed any more"


@pytest.mark.parametrize(
    ("line", "is_flag"),
    [
        ('raise UsageError("--seed must be 0 or more")', True),
        ('raise UsageError(f"give --{name}-fraction")', True),
        ('"""What --dataset takes."""', True),
        ('raise UsageError("`seed` must be 0 or more -- or none")', False),
        ("x = 1  # as --seed says", False),
    ],
)
def test_a_planted_flag_is_found(line: str, is_flag: bool) -> None:
    assert bool(flags_in(ast.parse(line))) is is_flag


def is_setting(name: str) -> bool:
    """Whether it is the path of a setting in `BuildSettings`, or a field of `ColumnNames`."""
    group, _, field = name.rpartition(".")
    kind = SETTINGS.get(group) if group else BuildSettings
    return kind is not None and (field == "*" or field in {each.name for each in fields(kind)})


def arguments() -> set[str]:
    """The names of all parameters of functions outside of the command line."""
    return {
        argument.arg
        for _, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.arguments)
        for argument in (*node.args, *node.kwonlyargs)
    }


def test_every_setting_that_a_message_names_exists_and_has_a_flag_where_it_can_be_given() -> None:
    named = {name for _, tree in sources() for name in names_in(tree)}
    assert {"positive_threshold", "split.kind", "columns.*", "artifacts"} <= named
    switched = {name.partition("=")[0] for name in SWITCHES}
    without = {name for name in named - set(FLAGS) - set(METHODS) - switched if "*" not in name}
    assert all(is_setting(name) for name in without), "no flag, and no setting either"
    # What build-index cannot be told, so that no message about it reaches a terminal.
    assert without == {
        "towers.initial_std",
        "towers.l2",
        "towers.user_sampling",
        "neural_mf.hidden",
        "neural_mf.learning_rate",
        "neural_mf.initial_std",
        "neural_mf.weight_decay",
    }


def test_a_name_without_a_flag_is_found() -> None:
    tree = ast.parse('raise UsageError(f"`plainness={x}` is wrong", "leave out `seed`")')
    assert names_in(tree) == {"plainness", "seed"}
    assert names_in(ast.parse('"""A docstring may name `anything`."""')) == set()


def test_every_flag_of_the_table_exists_and_so_does_what_it_stands_for() -> None:
    known = arguments()
    for name in FLAGS:
        assert is_setting(name) or name in known, name
    assert all(is_setting(name.partition("=")[0]) for name in SWITCHES)
    assert {*FLAGS.values(), *SWITCHES.values()} <= flags_of(retrieval)
    assert {shown.split()[0] for shown in METHODS.values()} <= flags_of(retrieval)
    assert all(callable(getattr(Recommender, name)) for name in METHODS)


def flags_of(command: click.Command) -> set[str]:
    found = {flag for parameter in command.params for flag in parameter.opts}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            found |= flags_of(inner)
    return found


@pytest.mark.parametrize("name", FLAGS)
def test_a_name_becomes_its_flag_and_a_value_follows_it(name: str) -> None:
    assert with_flags(f"a: `{name}` must be 1") == f"a: {FLAGS[name]} must be 1"
    assert with_flags(f"give `{name}=1,2.5`") == f"give {FLAGS[name]} 1,2.5"
    assert NAMED.fullmatch(f"`{name}`")


@pytest.mark.parametrize("name", SWITCHES)
def test_a_name_and_its_value_become_the_flag_for_both(name: str) -> None:
    assert with_flags(f"give `{name}` to do without") == f"give {SWITCHES[name]} to do without"


@pytest.mark.parametrize("name", METHODS)
def test_a_method_becomes_the_flag_that_calls_it(name: str) -> None:
    assert with_flags(f"ask with `{name}`, please") == f"ask with {METHODS[name]}, please"


@pytest.mark.parametrize(
    "text",
    [
        "`retrieval bundles rollback` goes back",
        "a `b",
        "`Seed`",
        "`towers.initial_std` must be 1",
        "`nothing`",
        "``",
    ],
)
def test_other_text_in_backticks_stays(text: str) -> None:
    assert with_flags(text) == text


def test_errors_and_notes_are_shown_with_flags(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command()
    def wrong() -> None:
        raise DataError("shop.csv: no positive row", "lower `positive_threshold` or give `split.kind=random`")

    monkeypatch.setattr("sys.argv", ["wrong"])
    monkeypatch.setattr("retrieval.cli.app.ignore_signals", lambda: None)
    assert run(wrong, "wrong") == 3
    shown = "lower --positive-threshold or give --split random\n"
    assert capsys.readouterr().err == f"error: shop.csv: no positive row; {shown}"
    with TerminalProgress() as progress:
        progress.note("should `positive_threshold` be higher?")
    assert capsys.readouterr().err == "should --positive-threshold be higher?\n"


def test_the_module_of_flags_is_quick_to_load() -> None:
    imports = [
        node
        for node in ast.walk(ast.parse(Path(inspect.getfile(with_flags)).read_text()))
        if isinstance(node, ast.Import)
    ]
    assert [each.name for node in imports for each in node.names] == ["re"]
