import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkout import ROOT

SPLIT = {
    "train": 70_001,
    "validation": 10_002,
    "test": 19_997,
    "warm_validation": 1_693,
    "warm_test": 2_286,
    "users": 674,
    "items": 1_573,
    "test_users": 95,
}
BASELINES = ["popularity", "recent_popularity", "ease", "item_knn"]
STAGES = [*BASELINES, "exact", "ann", "exact+rerank", "ann+rerank"]


def run(*arguments: str) -> Any:
    command = [sys.executable, "-m", "retrieval", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_the_main_job_on_movielens_100k(tmp_path: Path) -> None:
    """Fetches the data unless data/ has it; takes a minute."""
    artifacts = ("--artifacts", str(tmp_path))
    built = run("build-index", "--dataset", "ml-100k", *artifacts)
    report = run("evaluate", *artifacts)
    assert report["split"].items() >= SPLIT.items()
    assert list(report["stages"]) == STAGES
    assert report["stages"] == built["stages"]
    ndcg = {stage: figures["ndcg@10"]["value"] for stage, figures in report["stages"].items()}
    assert ndcg["exact"] > ndcg["popularity"] + 0.01
    assert report["ann"]["recall@candidates"] > 0.9
    assert report["rating"]["rmse"] < report["rating"]["bias_rmse"]
    answer = run("query", "--user", "42", *artifacts)
    assert len({item["item"] for item in answer["items"]}) == 10
    assert all(item["title"] for item in answer["items"])
