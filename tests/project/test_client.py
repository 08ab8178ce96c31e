"""A program against the public names passes the type checkers, and mistakes in one are seen."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import ROOT

CLIENT = ROOT / "tests" / "project" / "client.py"
WRONG = """
from retrieval import Recommender

def mistakes(recommender: Recommender) -> None:
    recommender.recommend(42)
    recommender.recommend_for_history([[61], [62]])
    recommender.recommend_for_histories([61, 62])
    recommender.recommend([42], fallback="random")
    recommender.recommend([42])[0].notes[0].score
    Recommender.load("shop", bundle=5)
"""


def checked(command: list[str], folder: Path) -> tuple[int, str]:
    """What a type checker says of a copy of the client, away from the checkout as a user's program lies."""
    shutil.copy(CLIENT, folder)
    (folder / "wrong.py").write_text(WRONG)
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"MYPY_FORCE_COLOR": "0"},
    )
    return done.returncode, done.stdout + done.stderr


def test_mypy_accepts_the_client_and_sees_each_mistake(tmp_path: Path) -> None:
    cache = ROOT / ".mypy_cache" / "client"  # without it mypy reads all of polars every time
    strict = [sys.executable, "-m", "mypy", "--strict", "--ignore-missing-imports", f"--cache-dir={cache}"]
    code, said = checked([*strict, "client.py", "wrong.py"], tmp_path)
    lines = [int(line) for line in re.findall(r"^wrong\.py:(\d+): error", said, re.MULTILINE)]
    assert set(lines) == set(range(5, 11)), said
    assert code == 1 and "client.py" not in said and "retrieval/" not in said, said


def test_pyright_accepts_the_client(tmp_path: Path) -> None:
    pyright = shutil.which("pyright") or shutil.which("basedpyright")
    if pyright is None:
        pytest.skip("pyright is not installed")
    settings = {"typeCheckingMode": "strict", "include": ["client.py"], "reportMissingTypeStubs": False}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    code, said = checked([pyright, "--pythonpath", sys.executable, "-p", "."], tmp_path)
    assert code == 0, said
