import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
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


def test_importing_retrieval_does_no_work() -> None:
    assert not modules_after("import retrieval") & (HEAVY | {"index"})


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
    assert not loaded & {"torch", "polars", "scipy", "pandas", "rich", "pooch", "sklearn", "matplotlib"}


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


def test_what_the_query_path_relies_on_survives_python_o() -> None:
    for name in ("bundle", "storage", "fitted", "recommender", "two_stage", "vectors", "rating_model", "ids"):
        tree = ast.parse((ROOT / "retrieval" / f"{name}.py").read_text())
        assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)], name
