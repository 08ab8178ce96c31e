"""The wheel and the sdist: what is in them, and that the wheel alone does the main job."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.support.checkout import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NAME = f"two_stage_retrieval-{PYPROJECT['project']['version']}"
PACKAGES = ("retrieval", "index")
LYING_AROUND = (
    ".hypothesis/examples/1",
    ".mypy_cache/3.11/cache.db",
    ".venv/pyvenv.cfg",
    "artifacts/builds/1/manifest.json",
    "build/lib/retrieval/__init__.py",
    "data/ml-100k/u.data",
    "dist/old.whl",
    "index/__pycache__/base.cpython-311.pyc",
    "retrieval/cli/__pycache__/app.cpython-311.pyc",
    "scratch/notes.txt",
    "tests/__pycache__/conftest.cpython-311.pyc",
)
USER_PROGRAM = """
from retrieval import BuildSettings, Interactions, Recommender

def best(recommender: Recommender, users: list[int]) -> list[str | None]:
    return [item.title for each in recommender.recommend(users, k=3) for item in each.items]

def build(ratings: Interactions, folder: str) -> list[str | None]:
    recommender = Recommender.fit(ratings, settings=BuildSettings(threads=1))
    recommender.save(folder)
    return best(Recommender.load(folder), [42])
"""


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tracked files, among what work leaves lying around."""
    folder = tmp_path_factory.mktemp("checkout")
    included = PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    for name in (".gitignore", "pyproject.toml", *(name.removeprefix("/") for name in included)):
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy2(source, target)
    for name in LYING_AROUND:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("left behind")
    return folder


def build(source: Path, target: Path) -> Path:
    """Both archives of a source folder; needs no network."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(target)]
    done = subprocess.run(command, cwd=source, env=clean(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def dist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(checkout, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    return dist / f"{NAME}-py3-none-any.whl"


@pytest.fixture(scope="module")
def unpacked(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist's folder, unpacked."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(dist / f"{NAME}.tar.gz") as archive:
        archive.extractall(folder)  # our own; its `filter` came with Python 3.11.4
    assert [path.name for path in folder.iterdir()] == [NAME]
    return folder / NAME


# what is inside


def checksums(wheel: Path) -> dict[str, int]:
    with zipfile.ZipFile(wheel) as archive:
        assert len(set(archive.namelist())) == len(archive.namelist())
        return {entry.filename: entry.CRC for entry in archive.infolist()}


def test_the_wheel_holds_both_packages_the_sample_and_nothing_else(checkout: Path, wheel: Path) -> None:
    code = {name for name in files_below(checkout) if name.endswith(".py") and name.startswith(PACKAGES)}
    metadata = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    assert len(code) > 40
    assert set(checksums(wheel)) == (
        code
        | {"retrieval/py.typed", "index/py.typed", "retrieval/reporting/page/report.html.j2"}
        | {"retrieval/sample_data/movies.csv", "retrieval/sample_data/ratings.csv"}
        | {f"{NAME}.dist-info/{name}" for name in metadata}
    )


def test_the_wheel_declares_its_commands_its_licence_and_its_extras(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        commands = configparser.ConfigParser()
        commands.read_string(archive.read(f"{NAME}.dist-info/entry_points.txt").decode())
        metadata = archive.read(f"{NAME}.dist-info/METADATA").decode()
        licence = archive.read(f"{NAME}.dist-info/licenses/LICENSE")
    assert commands.sections() == ["console_scripts"]
    assert set(commands["console_scripts"]) == {"retrieval", "build-index", "query"}
    assert licence == (ROOT / "LICENSE").read_bytes()
    lines = metadata.splitlines()
    assert {"License-Expression: MIT", "Requires-Python: >=3.11", "Provides-Extra: excel"} <= set(lines)
    assert "# Two-stage retrieval" in lines  # README is the long description


def test_the_sdist_holds_everything_tracked_and_nothing_left_behind(checkout: Path, unpacked: Path) -> None:
    found = files_below(unpacked)
    assert found == files_below(checkout) - set(LYING_AROUND) | {"PKG-INFO"}
    assert {"tests/conftest.py", "scripts/test", ".ci/run", "data/sample/ratings.csv", "LICENSE"} <= found
    assert os.access(unpacked / "scripts" / "test", os.X_OK)


def test_the_wheel_made_from_the_sdist_is_the_wheel_made_from_the_checkout(
    unpacked: Path, wheel: Path, tmp_path: Path
) -> None:
    assert checksums(build(unpacked, tmp_path) / wheel.name) == checksums(wheel)


# the wheel installed, away from the checkout


def clean() -> dict[str, str]:
    """Our environment without what could lead a Python back to the checkout."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "RETRIEVAL_"))}


def environment(folder: Path, wheel: Path, *, third_party: bool = True) -> Path:
    """A virtual environment with the wheel, made offline; returns its bin folder.

    With `third_party` it sees the packages of the Python that runs the tests, through a .pth file.
    The .pth files over there, with the editable install among them, are not followed.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], env=clean(), check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-index", "--no-deps", wheel], env=clean(), check=True)
    if third_party:
        (packages,) = (folder / "lib").glob("python*/site-packages")
        paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (packages / "third_party.pth").write_text("\n".join(paths))
    return folder / "bin"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("installed"), wheel)


def ran(command: list[object], cwd: Path, code: int = 0) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=clean(), capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def main_job(scripts: Path, cwd: Path, *flags: str) -> None:
    """build-index, query and evaluate, installed in `scripts`, with flags for their Python."""
    python = [scripts / "python", *flags]
    where = "import index, retrieval; print(index.__file__, retrieval.__file__)"
    for path in ran([*python, "-P", "-c", where], cwd).stdout.split():
        assert Path(path).is_relative_to(scripts.parent / "lib")

    settings = ["--dataset", "sample", "--epochs", "2", "--threads", "1"]
    if flags:  # the choice of an index is tried without
        settings += ["--index", "IVF8,Flat", "--candidates", "20"]
    built = ran([*python, scripts / "build-index", *settings], cwd).stdout
    assert "Ship it?" in built and f"Published {Path('artifacts', 'builds')}" in built
    answer = ran([*python, scripts / "query", "--user", "42", "--k", "10"], cwd).stdout.splitlines()
    assert answer[0] == "10 recommendations for user 42"
    assert [line.split()[0] for line in answer[2:12]] == [str(rank) for rank in range(1, 11)]
    (page,) = (cwd / "artifacts" / "builds").glob("*/report.html")
    assert page.read_text().count("<svg") >= 4
    report = json.loads(ran([*python, scripts / "retrieval", "evaluate", "--json"], cwd).stdout)
    assert report["dataset"] == "sample"
    assert {"popularity", "exact", "ann", "exact+rerank", "ann+rerank"} <= set(report["stages"])


@pytest.fixture
def own_files(tmp_path: Path) -> Path:
    """A folder whose owner named files as we, and the standard library, name ours."""
    for name in ("index.py", "types.py", "retrieval/__init__.py", "tests/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"raise SystemExit('the user has a {name} too')")
    return tmp_path


def test_the_installed_wheel_does_the_main_job_among_a_users_own_files(
    installed: Path, own_files: Path
) -> None:
    before = files_below(own_files)
    main_job(installed, own_files)
    assert {name.split("/")[0] for name in files_below(own_files) - before} == {"artifacts"}


@pytest.mark.slow
def test_the_installed_wheel_does_the_main_job_under_python_o(installed: Path, tmp_path: Path) -> None:
    main_job(installed, tmp_path, "-O")
    assert [path.name for path in tmp_path.iterdir()] == ["artifacts"]


def test_python_m_takes_a_users_own_files_first_unless_told_otherwise(
    installed: Path, own_files: Path, artifacts: Path
) -> None:
    (own_files / "types.py").unlink()  # no Python started here survives it
    python, query = installed / "python", ["query", "--user", "42", "--artifacts", artifacts]
    assert "user 42" in ran([python, "-P", "-m", "retrieval", *query], own_files).stdout
    assert "a retrieval/__init__.py too" in ran([python, "-m", "retrieval", *query], own_files, 1).stderr
    (own_files / "retrieval" / "__init__.py").unlink()  # a mere folder gives way to a package
    assert "a index.py too" in ran([python, "-m", "retrieval", *query], own_files, 1).stderr


def mypy(scripts: Path, program: str, folder: Path) -> str:
    """What a user's `mypy --strict` says of a program that uses the installed wheel."""
    (folder / "program.py").write_text(program)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", os.devnull]
    done = subprocess.run(
        [*command, "--python-executable", str(scripts / "python"), "program.py"],
        cwd=folder,
        env=clean(),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_a_users_program_is_type_checked_against_the_wheel(wheel: Path, tmp_path: Path) -> None:
    # Alone: mypy would read all of polars and pandas, half a minute, and say the same.
    scripts = environment(tmp_path / "installed", wheel, third_party=False)
    assert mypy(scripts, USER_PROGRAM, tmp_path).startswith("Success")
    wrong = mypy(scripts, USER_PROGRAM + "best(42, [42])\n", tmp_path)
    assert 'expected "Recommender"  [arg-type]' in wrong and "Found 1 error" in wrong


@pytest.mark.slow
def test_the_wheel_with_its_declared_dependencies_does_the_main_job(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "fresh"], env=clean(), check=True)
    scripts, away = tmp_path / "fresh" / "bin", tmp_path / "away"
    away.mkdir()
    ran([scripts / "pip", "install", "-c", ROOT / "scripts" / "constraints.txt", wheel], away)
    ran([scripts / "pip", "check"], away)
    main_job(scripts, away)
    assert mypy(scripts, USER_PROGRAM, away).startswith("Success")


# before a commit


def test_the_hooks_run_the_tools_that_scripts_test_runs() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"repo: (.*)", hooks) == ["local"]  # nothing is fetched
    entries = re.findall(r"entry: \.venv/bin/(.*)", hooks)
    assert entries == ["ruff check --force-exclude", "ruff format --check --force-exclude", "mypy"]
    checks = re.findall(
        r'^check (?:"[^"]*"|\S+) (.*?)(?: \.)?$', (ROOT / "scripts" / "test").read_text(), re.M
    )
    assert checks == [entry.removesuffix(" --force-exclude") for entry in entries]
