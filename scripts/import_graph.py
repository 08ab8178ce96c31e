"""Reads which module imports which, from the text of the files: nothing is imported."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """One import statement's way from a module to another.

    Attributes:
        importer: the dotted name of the module that has the statement, such as "retrieval.serving.rerank".
        imported: the dotted name of the module it names; of another package's, as far as it is written.
        line: the line of the statement.
        at: "start" if loading the importer runs it; "call" inside a function; "types" under TYPE_CHECKING.
    """

    importer: str
    imported: str
    line: int
    at: str


def module_name(path: Path, root: Path) -> str:
    """The dotted name of a file below the root: "index" for index/__init__.py."""
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def modules_of(root: Path, *folders: str) -> dict[str, Path]:
    """The Python files below some folders of the root, by their dotted names."""
    paths = [path for folder in folders for path in sorted((root / folder).rglob("*.py"))]
    return {module_name(path, root): path for path in paths}


def imports_of(modules: dict[str, Path]) -> list[Import]:
    """Every import in the modules. `from package import module` counts as an import of that module."""
    found = []
    for name, path in modules.items():
        for package, member, line, at in _statements(path.read_text(encoding="utf-8")):
            whole = f"{package}.{member}"
            found.append(Import(name, whole if member and whole in modules else package, line, at))
    return found


@cache
def _statements(text: str) -> tuple[tuple[str, str, int, str], ...]:
    """Package, member ("" for a plain import), line and time of each import in a file."""
    return tuple(_walk(ast.parse(text), "start"))


def _walk(node: ast.AST, at: str) -> Iterator[tuple[str, str, int, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, "", child.lineno, at) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            if child.level:
                raise ValueError(f"line {child.lineno}: a relative import; write the whole name")
            yield from ((child.module or "", alias.name, child.lineno, at) for alias in child.names)
        elif isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING":
            for statement in child.body:
                yield from _walk(ast.Module([statement], []), "types")
            for statement in child.orelse:
                yield from _walk(ast.Module([statement], []), at)
        else:
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _walk(child, "call" if is_function and at == "start" else at)


def loaded_by(module: str, imports: list[Import]) -> dict[str, str]:
    """Everything that loading a module loads, its packages too; each with the module that imports it."""
    at_start: dict[str, list[str]] = {}
    for each in imports:
        if each.at == "start":
            at_start.setdefault(each.importer, []).append(each.imported)
    loaded, waiting = {module: module}, [module]
    while waiting:
        importer = waiting.pop()
        parts = importer.split(".")
        packages = [".".join(parts[:end]) for end in range(1, len(parts))]
        for name in (*packages, *at_start.get(importer, ())):
            if name not in loaded:
                loaded[name] = importer
                waiting.append(name)
    return loaded
