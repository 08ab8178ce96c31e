"""Prints the test files for what has changed, for `scripts/test --changed`.

For a module in a room: the tests of that room that import it or have its name; or else the two that name it
most often, as a command; or else all of the room's. With them the examples in its docstrings. For any other
file that tests import: those tests, if they are few, else the one of its name. Always: the test of the rooms'
arrows. The rest is for the whole of scripts/test.

    python scripts/changed_tests.py [BASE]     against HEAD, or against a branch or commit
"""

import subprocess
import sys
from collections import Counter
from pathlib import Path

from import_graph import Import, imports_of, module_name, modules_of

ROOT = Path(__file__).resolve().parents[1]
FEW = 6
ARROWS = (
    "tests/project/test_imports.py::"
    "test_every_arrow_runs_down_no_circle_is_closed_and_no_room_loads_what_it_must_not"
)


def changed_files(base: str) -> list[Path]:
    """Python files that differ from the base, or are new, and exist."""
    listed = [
        ["git", "diff", "--name-only", "--no-renames", base, "--"],
        ["git", "ls-files", "--others", "--exclude-standard"],
    ]
    names: set[str] = set()
    for words in listed:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
        names |= set(done.stdout.splitlines())
    return [ROOT / name for name in sorted(names) if name.endswith(".py") and (ROOT / name).exists()]


def tests_of(path: Path, imports: list[Import]) -> set[Path]:
    """The test files for one changed file."""
    parts, name = path.relative_to(ROOT).parts, module_name(path, ROOT)
    importers = {ROOT.joinpath(*each.importer.split(".")) for each in imports if each.imported == name}
    tests = {each.with_suffix(".py") for each in importers if each.name.startswith("test_")}
    if parts[0] == "tests" and path.name.startswith("test_"):
        return {path}
    room = ROOT.joinpath("tests", *parts[parts[0] == "retrieval" : -1])
    own = room / f"test_{path.stem}.py"
    named = {own} if own.exists() else set()
    if parts[0] not in ("retrieval", "index") or room.name == "tests":
        return tests if len(tests) <= FEW else named
    near = {each for each in tests if room in each.parents} | named
    if near:
        return near
    command = f'"{path.stem.replace("_", "-")}"'
    mentions = Counter(
        {each: each.read_text(encoding="utf-8").count(command) for each in room.glob("test_*.py")}
    )
    return {each for each, number in mentions.most_common(2) if number} or set(mentions)


def chosen(base: str) -> list[str]:
    """What to give to pytest."""
    modules = modules_of(ROOT, "retrieval", "index", "tests", "scripts")
    imports = imports_of(modules)
    changed = changed_files(base)
    tests = {test for path in changed for test in tests_of(path, imports)}
    examples = {path for path in changed if path.relative_to(ROOT).parts[0] in ("retrieval", "index")}
    return [ARROWS, *(str(path.relative_to(ROOT)) for path in sorted(tests | examples))]


if __name__ == "__main__":
    base = sys.argv[1] if len(sys.argv) > 1 else "HEAD"
    try:
        print("\n".join(chosen(base)))
    except subprocess.CalledProcessError:
        sys.exit(
            f"error: git finds no differences from {base!r}; name a branch or a commit of this repository"
        )
