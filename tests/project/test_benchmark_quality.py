"""The comparison with other libraries: what peers are given, and that the whole of it runs."""

import json
import subprocess
import sys

import numpy as np
import pytest

from retrieval.data.encoded import EncodedInteractions
from retrieval.evaluation.judgements import rank_by_scores
from retrieval.evaluation.stages import BASELINES
from scripts.peers import PEERS, Peer, popularity_where_silent, settings_to_try
from tests.support.checkout import ROOT

SCRIPT = ROOT / "scripts" / "benchmark_quality.py"


def test_the_defaults_are_tried_first_then_others_each_once() -> None:
    space = {"factors": (1, 2, 3), "rate": (0.1, 0.2)}
    tried = settings_to_try(space, 4)
    assert tried[0] == {}
    assert len(tried) == 4 == len({tuple(setting.items()) for setting in tried})
    assert all(setting["factors"] in (1, 2, 3) and setting["rate"] in (0.1, 0.2) for setting in tried[1:])
    assert tried == settings_to_try(space, 4)


def test_a_small_space_is_tried_whole() -> None:
    assert sorted(str(setting) for setting in settings_to_try({"n": (1, 2)}, 20)) == [
        "{'n': 1}",
        "{'n': 2}",
        "{}",
    ]


def test_popularity_speaks_where_a_peer_is_silent() -> None:
    # Items 0-3 have 0, 1, 2 and 1 positives; user 2 has none.
    positives = EncodedInteractions(
        users=np.array([0, 0, 1, 1]),
        items=np.array([1, 2, 2, 3]),
        ratings=None,
        timestamps=None,
        n_users=3,
        n_items=4,
    )
    scores = np.array([[np.nan, np.nan, np.nan, -7.0], [5.0, 1.0, np.nan, 2.0], [9.0, 8.0, 7.0, 6.0]])
    scorer = popularity_where_silent(lambda users: scores[users], positives)
    nothing = EncodedInteractions(np.array([], int), np.array([], int), None, None, 3, 4).item_lists()
    lists = rank_by_scores(scorer, np.arange(3), nothing, 4, 4)
    assert lists.tolist() == [[3, 2, 1, 0], [0, 3, 1, 2], [2, 1, 3, 0]]


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_learns_who_likes_what(peer: Peer) -> None:
    pytest.importorskip(peer.package)
    # Two circles of taste: users and items of one parity like and are liked by each other, nine times in ten.
    users, items = np.nonzero(np.add.outer(np.arange(60), np.arange(40)) % 2 == 0)
    kept = np.random.default_rng(0).random(len(users)) < 0.9
    positives = EncodedInteractions(users[kept], items[kept], None, None, 60, 40)
    scorer = peer.scorer(positives, {}, 1, 1)
    lists = rank_by_scores(scorer, np.arange(60), positives.item_lists(), 1, 40)
    held_out = [user for user in range(60) if (~kept & (users == user)).any()]
    assert len(held_out) > 40
    assert np.mean((lists[held_out, 0] - held_out) % 2 == 0) > 0.7  # by chance about 0.1


@pytest.mark.slow
def test_the_comparison_runs_on_the_sample() -> None:
    command = [
        sys.executable,
        SCRIPT,
        "--dataset",
        "sample",
        "--budget",
        "1",
        "--seeds",
        "42",
        "--threads",
        "1",
    ]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    models = found["models"]
    assert set(models) == {
        *(f"{ours}, {stage}" for ours in ("ours", "ours softmax") for stage in ("exact", "exact+rerank")),
        *BASELINES,
        *(peer.name for peer in PEERS if peer.installed),
    }
    assert found["left_out"] == [peer.name for peer in PEERS if not peer.installed]
    assert len(found["comparisons"]) == 4 * (len(models) - 4)
    assert all(0 < model["test"]["ndcg@10"]["value"] <= 1 for model in models.values())
    for name, model in models.items():
        if model["tried"]:  # the search and the final fit are of the same model
            assert model["tried"][0]["ndcg"] == pytest.approx(model["validation"]["ndcg@10"], abs=0.02), name
    searched = [line for line in done.stderr.splitlines() if line.startswith("ours: validation")]
    assert len(searched) == 1
    assert f"{models['ours, exact']['validation']['ndcg@10']:.4f}" in searched[0]
