"""What imports what: nothing at import time, nothing undeclared, nothing against the arrows of the design."""

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checkout import ROOT

OURS = ("retrieval", "index")
HEAVY = {"torch", "polars", "pandas", "scipy", "faiss", "numpy", "rich", "safetensors", "pooch", "click"}


def modules_after(code: str, *arguments: str, cwd: Path | None = None) -> set[str]:
    """Top-level modules a fresh interpreter holds when it has run `code`."""
    report = "\nimport sys; print('MODULES', *sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code + report, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_importing_retrieval_loads_no_other_package() -> None:
    loaded = modules_after("import retrieval") - modules_after("")
    assert loaded - sys.stdlib_module_names == {"retrieval"}


def test_importing_the_recommender_loads_nothing_that_trains_or_reads_tables() -> None:
    loaded = modules_after("from retrieval import Recommender")
    assert "faiss" in loaded
    assert not loaded & {"torch", "polars", "pandas", "scipy"}


def test_importing_the_recommender_loads_nothing_that_measures_an_index() -> None:
    code = """
import sys
from retrieval import Recommender
print([name for name in sys.modules if name.startswith("index.choosing")])
import index
print(index.choose.__module__, index.EXACT, [name for name in index.__all__ if not hasattr(index, name)])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.splitlines() == ["[]", "index.choosing.choose exact []"]


EVERY_MODULE = """
import importlib, json, os, pkgutil, signal, sys, threading

happened = []
harmless = {"os.listdir", "os.scandir", "os.putenv", "os.unsetenv"}  # polars sets a variable of its allocator

def watch(event, arguments):
    if event == "open":
        if isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            happened.append(f"{event} {arguments}")
    elif event.startswith(("os.", "socket.", "subprocess.", "shutil.", "tempfile.")):
        happened.extend([f"{event} {arguments}"] * (event not in harmless))

sys.addaudithook(watch)
import index, retrieval
names = ["index", "retrieval"]
for package in (index, retrieval):
    names += [module.name for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
names = [name for name in names if not name.endswith("__main__")]
for name in names:
    for loaded in [loaded for loaded in sys.modules if loaded.split(".")[0] in ("index", "retrieval")]:
        del sys.modules[loaded]  # so that each is imported first, by itself
    importlib.import_module(name)
    happened += [f"{name} left {thread}" for thread in threading.enumerate()[1:]]
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        happened.append(f"{name} took SIGINT")
print(json.dumps([names, happened]))
"""


def test_importing_any_module_prints_writes_starts_and_fetches_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-c", EVERY_MODULE],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
    )
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    names, happened = json.loads(done.stdout)
    assert happened == []
    assert not any(tmp_path.iterdir())
    assert set(names) == {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in OURS
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__main__.py"
    }


def test_every_public_name_can_be_imported_and_others_cannot() -> None:
    import retrieval

    for name in retrieval.__all__:
        assert getattr(retrieval, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = retrieval.Nonsense


def test_index_imports_numpy_and_faiss_only() -> None:
    loaded = modules_after("import index")
    assert {"numpy", "faiss"} <= loaded
    assert not loaded & {"retrieval", "torch", "polars", "pandas", "scipy", "click"}


QUERY = """
import sys
from retrieval.cli import query_main
try:
    query_main()
except SystemExit as end:
    assert not end.code, end.code
"""


@pytest.mark.parametrize(
    "arguments",
    [["--user", "42"], ["--user", "42", "--exact", "--json"], ["--history", "1,2,777"]],
    ids=lambda arguments: arguments[0] + "/" + arguments[-1],
)
def test_a_query_imports_no_torch_polars_scipy_or_pandas(artifacts: Path, arguments: list[str]) -> None:
    loaded = modules_after(QUERY, *arguments, "--artifacts", str(artifacts))
    assert "faiss" in loaded
    heavy = {"torch", "polars", "scipy", "pandas", "rich", "pooch", "sklearn", "matplotlib", "jinja2"}
    assert not loaded & heavy


def test_flags_are_checked_before_anything_heavy_is_imported() -> None:
    code = """
import click, pytest
from retrieval.cli.build_index import build_index
from retrieval.errors import UsageError
try:
    build_index.main(["--learning-rate", "nan"], standalone_mode=False)
except UsageError:
    pass
"""
    assert not modules_after(code.replace(", pytest", "")) & (HEAVY - {"click"})


# names


def test_no_file_of_ours_has_the_name_of_another_module() -> None:
    scripts = [path.stem for folder in ("scripts", "data") for path in (ROOT / folder).glob("*.py")]
    inside = [path.stem for name in OURS for path in (ROOT / name).rglob("[!_]*.py")]
    assert not {*OURS, *scripts, *inside} & sys.stdlib_module_names
    # Only these two, and what lies beside a script that is run, are ever on the path by these names.
    owners = importlib.metadata.packages_distributions()
    others = {name for name, dists in owners.items() if set(dists) != {"two-stage-retrieval"}}
    assert len(others) > 20
    assert not {*OURS, *scripts} & others


# dependencies


def guarded_and_bare_imports(tree: ast.AST, guarded: bool = False) -> Iterator[tuple[str, bool]]:
    """Top-level names of imported modules, and whether an ImportError around them is caught."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], guarded) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0], guarded
        handlers = node.handlers if isinstance(node, ast.Try) else []
        catches = any(each.type and "ImportError" in ast.dump(each.type) for each in handlers)
        yield from guarded_and_bare_imports(node, guarded or catches)


def names_of(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w.-]+", each)[0].lower().replace("_", "-") for each in requirements}  # type: ignore[index]


def test_every_import_is_declared_and_everything_declared_is_imported() -> None:
    distributions = importlib.metadata.packages_distributions()
    needed: set[str] = set()
    optional: set[str] = set()
    for path in (path for name in OURS for path in (ROOT / name).rglob("*.py")):
        for name, guarded in guarded_and_bare_imports(ast.parse(path.read_text())):
            if name not in {*OURS, *sys.stdlib_module_names}:
                (optional if guarded else needed).update(distributions[name])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = dict(project["optional-dependencies"])
    # Of the three that are for this checkout only, two are what its scripts compare and search with.
    of_scripts, _ = [*extras.pop("benchmark"), *extras.pop("fuzz")], extras.pop("dev")
    scripts = set().union(*(imports_of(path) for path in (ROOT / "scripts").glob("*.py")))
    assert names_of(of_scripts) <= {name.split(".")[0] for name in scripts}
    # What was asked for where its absence is caught may be imported plainly behind that.
    assert names_of(list(needed - optional)) == names_of(project["dependencies"])
    assert optional == set().union(*map(names_of, extras.values()))


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports anywhere, for types or inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


def test_nothing_but_the_commands_imports_the_commands() -> None:
    for path in (ROOT / "retrieval").rglob("*.py"):
        if "cli" in path.parts or path.name == "__main__.py":
            continue
        wrong = {name for name in imports_of(path) if name.startswith(("retrieval.cli", "scripts", "tests"))}
        assert not wrong, path


def test_index_knows_nothing_of_recommending() -> None:
    paths = list((ROOT / "index").rglob("*.py"))
    assert len(paths) >= 5
    for path in paths:
        wrong = {name.split(".")[0] for name in imports_of(path)} & {"retrieval", "torch", "polars", "pandas"}
        assert not wrong, path


@pytest.mark.parametrize("room", ["reading", "downloads"])
def test_the_rooms_below_know_nothing_of_what_is_above(room: str) -> None:
    paths = list((ROOT / "retrieval" / room).rglob("*.py"))
    assert len(paths) >= 3
    for path in paths:
        ours = {name for name in imports_of(path) if name.split(".")[0] in OURS}
        assert all(name == "retrieval.errors" or name.startswith(f"retrieval.{room}") for name in ours), path


def test_what_the_query_path_relies_on_survives_python_o() -> None:
    for name in ("bundle", "storage", "fitted", "recommender", "two_stage", "vectors", "rating_model", "ids"):
        tree = ast.parse((ROOT / "retrieval" / f"{name}.py").read_text())
        assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)], name
