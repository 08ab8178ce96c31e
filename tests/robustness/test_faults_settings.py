"""Faults 14 to 17: flags, values, index strings and extras; in all three commands."""

import re
import tomllib

import click
import pytest

from index import check_factory
from retrieval.cli.build_index import build_index
from retrieval.cli.commands import retrieval as group
from retrieval.cli.query import query
from tests.support.archives import zipped
from tests.support.commands import ROOT, Bench

TINY = ("--dataset", "sample", "--epochs", "1", "--threads", "1", "--dimension", "8")
# Values that would be wrong for most flags and mean something for these.
MEANINGFUL = {
    ("--seed", "0"),
    ("--skip-bad", "0"),
    ("--positive-threshold", "0"),
    ("--positive-threshold", "-1"),
    ("--max-ndcg-loss", "0"),
    ("--max-regression", "0"),
}


def commands() -> dict[str, click.Command]:
    """Every command there is by the words that start it."""
    context = click.Context(group, info_name="retrieval")
    found: dict[str, click.Command] = {"retrieval": group, "build-index": build_index, "query": query}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found |= {f"retrieval {name}": command}
        if isinstance(command, click.Group):
            inner = click.Context(command, info_name=name, parent=context)
            for each in command.list_commands(inner):
                below = command.get_command(inner, each)
                assert below is not None
                found |= {f"retrieval {name} {each}": below}
    return found


COMMANDS = commands()
# Those that a script and the group share are the same object, and are tried once.
ONCE = {words: command for words, command in COMMANDS.items() if words.split()[-1] not in list(COMMANDS)[1:3]}
ONCE |= {words: COMMANDS[words] for words in ("build-index", "query")}


def options(command: click.Command) -> list[click.Option]:
    return [option for option in command.params if isinstance(option, click.Option)]


# 14: what there is no command, flag or choice for


@pytest.mark.parametrize("words", ONCE)
def test_a_misspelt_flag_or_choice_is_answered_with_the_right_one(bench: Bench, words: str) -> None:
    program, *start = words.split()
    for option in options(ONCE[words]):
        for flag in (*option.opts, *option.secondary_opts):
            listed = None if option is options(ONCE[words])[0] else ""  # one a command is enough
            line = bench.refused(14, program, *start, flag + flag[-1], code=2, given=listed)
            assert f"no option {flag}{flag[-1]}; did you mean {flag}?" in line
            assert line.endswith(f"see {words} --help")
        for choice in option.type.choices if isinstance(option.type, click.Choice) else ():
            line = bench.refused(14, program, *start, option.opts[0], f"{choice}{choice[-1]}", code=2)
            assert option.opts[0] in line and f"did you mean {choice}?" in line


@pytest.mark.parametrize("words", [words for words in COMMANDS if words.startswith("retrieval ")])
def test_a_misspelt_command_is_answered_with_the_right_one_and_all(bench: Bench, words: str) -> None:
    name = words.split()[1]
    line = bench.refused(14, "retrieval", name[1:], "--user", "42", code=2)
    assert f"no command '{name[1:]}' among build-index, query, evaluate" in line
    assert f"did you mean {name}?" in line


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("retrieval xyzzy", "no command 'xyzzy' among build-index, query, "),
        ("retrieval --nonsense", "no option --nonsense"),
        ("build-index evaluate", "unexpected extra argument (evaluate)"),
        ("query 42", "unexpected extra argument (42)"),
        ("query --user", "'--user' requires an argument"),
        ("query --json=1 --user 42", "'--json' does not take a value"),
        ("query -user 42", "no option -user; did you mean --user?"),
        ("build-index --lr 0.1", "no option --lr; did you mean --learning-rate?"),
        ("build-index --dataset sampel", "no data set 'sampel'; did you mean sample?"),
        ("retrieval datasets ml1m", "no data set 'ml1m'; did you mean ml-1m?"),
    ],
)
def test_words_that_mean_nothing_end_with_2(bench: Bench, given: str, says: str) -> None:
    assert says in bench.refused(14, *given.split(), code=2)


# 15: numbers out of their range, in every flag that takes one


def numeric_flags() -> list[tuple[str, str]]:
    kinds = (click.types.IntParamType, click.types.FloatParamType)
    return [
        (words, option.opts[0])
        for words, command in ONCE.items()
        for option in options(command)
        if isinstance(option.type, kinds)
    ]


def test_the_numeric_flags_are_found() -> None:
    found = {flag for _, flag in numeric_flags()}
    assert found >= {"--dimension", "--epochs", "--batch-size", "--candidates", "--k", "--learning-rate"}


@pytest.mark.parametrize(
    ("words", "flag"), [pytest.param(*pair, id=" ".join(pair)) for pair in numeric_flags()]
)
def test_a_number_out_of_its_range_is_refused_before_any_work(bench: Bench, words: str, flag: str) -> None:
    program, *start = words.split()
    # There is neither such a table nor such a bundle: what looks for one ends otherwise than with 2.
    rest = {"build-index": ["--ratings", "nothing.csv"], "query": ["--user", "42"]}.get(program, [])
    for value in ("0", "-1", "nan", "inf", "many", ""):
        command = (program, *start, *rest, f"{flag}={value}")
        more = {"RETRIEVAL_ARTIFACTS": str(bench.folder / "nothing")}
        if (flag, value) in MEANINGFUL:
            assert "nothing" in bench.run(*command, **more).refusal(3)
        else:
            given = f"`{words} {flag} {value}`" if value in ("0", "nan") else ""
            line = bench.refused(15, *command, code=2, given=given, **more)
            assert flag in line


@pytest.mark.parametrize(
    "flag", ["--dimension 99999999999999999999", "--negatives 99999999999999999999", "--learning-rate 1e300"]
)
def test_a_number_that_no_machine_can_hold_is_refused_too(bench: Bench, flag: str) -> None:
    line = bench.refused(15, "build-index", *TINY, *flag.split(), code=2, given=f"`build-index {flag}`")
    assert flag.split()[0] in line


def test_a_k_that_no_machine_can_hold_is_above_the_catalogue_only(bench: Bench) -> None:
    k = 99999999999999999999
    assert bench.run("retrieval", "evaluate", "--k", k, "--json").json["k"] == k


# 16: index strings


FACTORIES = [
    ("Nonsense", ["'Nonsense' is unknown", "expected one of IVFn"], False),
    ("IVF999,Flat", ["999 lists for 112 items", "fewer"], False),
    ("PQ4", ["cuts 9 numbers into 4 parts", "divisor of 9, such as 3"], False),
    ("", ["'' is unknown"], True),
    ("IVF2;Flat", ["'IVF2;Flat' is unknown"], True),
    ("IVF0,Flat", ["out of range"], True),
    ("HNSW0", ["out of range"], True),
    ("IVF100000000,Flat", ["lists for 112 items"], True),
    ("PCA4,Flat", ["changes inner products"], True),
    ("OPQ2,IVF2,PQ2", ["cuts 9 numbers into 2 parts"], True),
]


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        pytest.param(factory, says, marks=[pytest.mark.slow] * slow, id=factory or "empty")
        for factory, says, slow in FACTORIES
    ],
)
def test_an_index_that_cannot_work_is_refused_with_one_that_does(
    bench: Bench, factory: str, says: list[str]
) -> None:
    given = f"`build-index --index '{factory}'`, 112 items of 9 numbers"
    line = bench.refused(16, "build-index", *TINY, "--index", factory, code=2, given=given)
    assert line.startswith("error: --index: ") and all(text in line for text in says), line
    suggested = re.search(r'"([^"]+)" works here', line)
    assert suggested is not None
    check_factory(suggested[1], 112, 9)


@pytest.mark.slow
def test_the_index_that_is_suggested_works(bench: Bench) -> None:
    built = bench.folder / "built"
    flags = ("--index", "IVF2,Flat", "--artifacts", built, "--json")
    assert bench.run("build-index", *TINY, *flags).json["ann"]["index"].startswith("IVF2,Flat ")


# 17: extras


def workbook() -> bytes:
    """As much of an Excel workbook as it takes to be known as one."""
    return zipped(
        dict.fromkeys(("[Content_Types].xml", "xl/workbook.xml", "xl/worksheets/sheet1.xml"), "<x/>")
    )


def test_an_extra_that_is_not_installed_ends_with_6_and_the_command_that_installs_it(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    without = tmp_path_factory.mktemp("without")
    # Python runs a module of this name first; None makes an import fail as if there were nothing.
    (without / "sitecustomize.py").write_text("import sys\nsys.modules['fastexcel'] = None\n")
    bench.write("ratings.xlsx", workbook())
    more = {"PYTHONPATH": f"{without}:{ROOT}"}
    given = "a workbook without fastexcel"
    line = bench.refused(17, "build-index", "--ratings", "ratings.xlsx", code=6, given=given, **more)
    install = re.search(r"pip install ([\w-]+);", line)
    assert install is not None and "ratings.xlsx" in line, line
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert any(need.startswith(install[1]) for need in project["optional-dependencies"]["excel"])
