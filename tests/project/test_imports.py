"""Imports: nothing happens at import time, everything is declared, and the rooms keep to their arrows."""

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from import_graph import Import, imports_of, loaded_by, modules_of

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


def test_dir_shows_what_is_public_and_nothing_else() -> None:
    import retrieval

    shown = {name for name in dir(retrieval) if not name.startswith("__")}
    assert shown == {*retrieval.__all__, "errors", "settings"}
    assert retrieval.errors.__name__ == "retrieval.errors"
    assert retrieval.settings.BuildSettings is retrieval.BuildSettings


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
    scripts = {each.imported.split(".")[0] for each in imports_of(modules_of(ROOT, "scripts"))}
    assert names_of(of_scripts) <= scripts
    # What was asked for where its absence is caught may be imported plainly behind that.
    assert names_of(list(needed - optional)) == names_of(project["dependencies"])
    assert optional == set().union(*map(names_of, extras.values()))


# Rooms

# Each room, or module outside any room, may import what stands on the floors below its own, and nothing that
# stands on its own floor or above. Imports inside functions and for types count as well.
FLOORS = (
    "cli web scripts",
    "retrieval",  # the front door: from retrieval import Recommender
    "recommender batch",
    "pipeline catalogue",
    "reporting",
    "evaluation",
    "bundles training",
    "serving",
    "data",
    "settings disk",
    "setting_types progress",
    "machine arrays errors json_document",
    "index",
)
# What is never loaded when a room or a module is, by whatever it imports.
NEVER_LOADS = {
    "retrieval.serving": {"torch", "polars", "pandas"},
    "retrieval.data": {"torch", "polars", "pandas"},  # the package itself, not the modules in it
    "retrieval.training.curves": {"torch"},
    "retrieval.training.linear_models": {"torch"},
    "retrieval.training.recency": {"torch"},
    "index": {"torch", "polars", "pandas", "scipy", "retrieval"},
}
WHOLE_ROOMS = ("retrieval.serving", "index")  # of which this holds for every module
MAX_FILES = 20


def room_of(module: str) -> str:
    """The room of a module of ours: "serving" of retrieval.serving.rerank, "errors" of retrieval.errors."""
    package, _, rest = module.partition(".")
    if package != "retrieval":
        return package
    return {"": package, "__main__": "cli"}.get(rest, rest.split(".")[0])


def floor_of(module: str) -> int:
    """The number of its floor from the top, beginning at 0."""
    room = room_of(module)
    assert any(room in rooms.split() for rooms in FLOORS), f"{room} is new: give it a floor in FLOORS"
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms.split())


def arrows_up(imports: list[Import]) -> list[str]:
    """The imports that lead out of a room, but not down."""
    between = [each for each in imports if room_of(each.importer) != room_of(each.imported)]
    return [
        f"{each.importer}:{each.line} imports {each.imported}, which does not stand below it"
        for each in between
        if floor_of(each.imported) <= floor_of(each.importer)
    ]


def circles(imports: list[Import]) -> list[str]:
    """A circle of modules that import one another, if there is one."""
    graph: dict[str, set[str]] = {}
    for each in imports:
        if each.imported != each.importer:
            graph.setdefault(each.importer, set()).add(each.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" <- ".join(error.args[1])]
    return []


def forbidden_loads(imports: list[Import]) -> list[str]:
    """What a room loads that it may not, and the module that imports it."""
    modules = sorted({each.importer for each in imports})
    wrong = set()
    for place, never in NEVER_LOADS.items():
        inside = [name for name in modules if place in WHOLE_ROOMS and name.startswith(f"{place}.")]
        for module in (place, *inside):
            loaded = loaded_by(module, imports)
            for name in [name for name in loaded if name.split(".")[0] in never]:
                wrong.add(f"{module} loads {name}: {loaded[name]} imports it")
    return sorted(wrong)


def full_rooms(modules: Iterable[Path]) -> list[str]:
    """The folders with more files than one looks through at a glance."""
    files = Counter(path.parent for path in modules if path.name != "__init__.py")
    return [f"{folder} has {number} files" for folder, number in files.items() if number > MAX_FILES]


def faults_of(root: Path) -> list[str]:
    """Everything about the imports of a checkout that is against the rules above, in words."""
    modules = modules_of(root, *OURS, "scripts")
    imports = imports_of(modules)
    ours = [each for each in imports if each.imported in modules]
    return [*arrows_up(ours), *circles(ours), *forbidden_loads(imports), *full_rooms(modules.values())]


def test_every_arrow_runs_down_no_circle_is_closed_and_no_room_loads_what_it_must_not() -> None:
    assert faults_of(ROOT) == []


PLANTED = {
    "an arrow up": (
        "retrieval/serving/rerank.py",
        "def late():\n    from retrieval.pipeline.build import build",
        "retrieval.serving.rerank:{line} imports retrieval.pipeline.build, which does not stand below it",
    ),
    "an arrow up, for types": (
        "retrieval/data/ids.py",
        "if TYPE_CHECKING:\n    from retrieval.bundles import writer",
        "retrieval.data.ids:{line} imports retrieval.bundles.writer, which does not stand below it",
    ),
    "an arrow to a room beside": (
        "retrieval/catalogue/change.py",
        "\nimport retrieval.pipeline.build",
        "retrieval.catalogue.change:{line} imports retrieval.pipeline.build, which does not stand below it",
    ),
    "the commands imported": (
        "retrieval/recommender.py",
        "\nfrom retrieval.cli.app import run",
        "retrieval.recommender:{line} imports retrieval.cli.app, which does not stand below it",
    ),
    "a circle of two": (
        "retrieval/machine.py",
        "def late():\n    from retrieval.settings import BuildSettings",
        "retrieval.settings <- retrieval.machine <- retrieval.settings",
    ),
    "a circle inside a room": (
        "retrieval/evaluation/metrics.py",
        "def late():\n    from retrieval.evaluation import evaluate",
        "retrieval.evaluation.metrics",
    ),
    "torch in serving": (
        "retrieval/serving/two_stage.py",
        "\nimport torch",
        "retrieval.serving.two_stage loads torch: retrieval.serving.two_stage imports it",
    ),
    "polars in what serving loads": (
        "retrieval/data/ids.py",
        "\nimport polars as pl",
        "retrieval.serving.fitted_system loads polars: retrieval.data.ids imports it",
    ),
    "torch in a model that has none": (
        "retrieval/training/linear_models.py",
        "\nfrom torch import nn",
        "retrieval.training.linear_models loads torch: retrieval.training.linear_models imports it",
    ),
    "a table in the index": (
        "index/topk.py",
        "\nimport pandas",
        "index loads pandas: index.topk imports it",
    ),
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code, to plant faults in."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in (*OURS, "scripts"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_named(checkout: Path, fault: str) -> None:
    name, statement, message = PLANTED[fault]
    path = checkout / name
    whole = path.read_text()
    path.write_text(f"{whole}\n{statement}\n")
    line = whole.count("\n") + 3  # an empty line, then the statement on its second line
    try:
        assert any(message.format(line=line) in found for found in faults_of(checkout)), faults_of(checkout)
    finally:
        path.write_text(whole)


def test_a_room_with_too_many_files_is_named(checkout: Path) -> None:
    for number in range(MAX_FILES):
        (checkout / "retrieval" / "catalogue" / f"more_{number}.py").touch()
    assert len(full_rooms(modules_of(checkout, *OURS).values())) == 1


@pytest.mark.parametrize("place", NEVER_LOADS)
def test_a_fresh_interpreter_loads_none_of_it_either(place: str) -> None:
    modules = modules_of(ROOT, *OURS)
    inside = [name for name in modules if place in WHOLE_ROOMS and name.startswith(f"{place}.")]
    loaded = modules_after(f"import {', '.join([place, *inside])}")
    never = NEVER_LOADS[place] - ({"retrieval"} if place.startswith("retrieval") else set())
    assert place.split(".")[0] in loaded and not loaded & never


def test_index_names_no_package_but_numpy_and_faiss() -> None:
    modules = modules_of(ROOT, "index")
    assert len(modules) >= 15
    named = {each.imported.split(".")[0] for each in imports_of(modules)}
    assert named - set(sys.stdlib_module_names) == {"index", "numpy", "faiss"}


def test_reading_files_and_fetching_them_know_neither_each_other_nor_what_is_above() -> None:
    readers = ("retrieval.data.reading", "retrieval.data.cells")
    rooms = {"reading": readers, "cells": readers, "downloads": ("retrieval.data.downloads",)}
    for room, own in rooms.items():
        modules = modules_of(ROOT, f"retrieval/data/{room}")
        assert len(modules) >= 5
        for each in imports_of(modules):
            ours = each.imported.split(".")[0] in OURS
            allowed = ("retrieval.errors", *own)
            assert not ours or each.imported.startswith(allowed), each


# Loaded when a query is answered: each file's checks must not be assert statements, which `python -O` skips.
QUERY_PATH = (
    *("bundles/bundle", "bundles/fitted_system_files", "bundles/manifest", "data/ids", "recommender"),
    *("serving/fitted_system", "serving/two_stage", "serving/tower_vectors", "serving/rating_model"),
)


def test_what_the_query_path_relies_on_survives_python_o() -> None:
    for name in QUERY_PATH:
        tree = ast.parse((ROOT / "retrieval" / f"{name}.py").read_text())
        assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)], name
