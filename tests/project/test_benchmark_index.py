"""The comparison of indexes: its vectors, its choice of settings, growth, its table."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_measuring import Trial, choose, growth, in_turns, recalls, walk
from index_peers import PEERS, Peer, ours, rising
from index_tables import front, joined, text, with_growth
from index_vectors import CLUSTERS, DIMENSION, synthetic, towers

from index import ExactIndex, SearchSettings, recall_against_exact
from retrieval.errors import DataError
from tests.support.checkout import ROOT

SCRIPT = ROOT / "scripts" / "benchmark_index.py"


def some_towers() -> tuple[np.ndarray, np.ndarray]:
    """Vectors whose means and spreads differ from dimension to dimension; the users' last is the bias."""
    rng = np.random.default_rng(7)
    items = rng.normal(np.arange(5), np.arange(1, 6) / 4, (40, 5)).astype(np.float32)
    users = rng.standard_normal((30, 5)).astype(np.float32)
    users[:, -1] = 1
    return items, users


def test_synthetic_vectors_repeat_with_the_seed_and_ask_the_same_at_every_size() -> None:
    first, again, other = synthetic(500, 20, 1), synthetic(500, 20, 1), synthetic(500, 20, 2)
    larger = synthetic(700, 20, 1)
    assert first.items.shape == (500, DIMENSION)
    assert first.choosing.shape == first.held_out.shape == (20, DIMENSION)
    assert {each.dtype for each in (first.items, first.choosing, first.held_out)} == {np.dtype(np.float32)}
    for name in ("items", "choosing", "held_out"):
        assert (getattr(first, name) == getattr(again, name)).all()
        assert (getattr(first, name) != getattr(other, name)).any()
    assert (first.choosing == larger.choosing).all()
    assert not (first.choosing == first.held_out).any()


def test_synthetic_norms_are_spread_and_the_spectrum_decays() -> None:
    items = synthetic(20 * CLUSTERS, 10, 3).items
    norms = np.linalg.norm(items, axis=1)
    assert np.log(norms).std() > 0.3
    variances = items.var(axis=0)
    assert variances[0] > 4 * variances[15] > 8 * variances[63]
    assert np.abs(items.mean(axis=0)).max() < 0.1 * items.std(axis=0).max()  # centred, as no tower is


def test_jitter_leaves_the_mean_and_adds_its_share_of_the_spread() -> None:
    items, users = some_towers()
    found = towers(items, users, 40_000, 10, 1).items
    assert found.shape == (40_000, 5)
    assert found.dtype == np.float32
    # 0.3 sd of noise in 40,000 rows: the mean's standard error is 0.0015 sd, the new sd sqrt(1.09) sd
    np.testing.assert_allclose(found.mean(axis=0), items.mean(axis=0), atol=0.008 * items.std(axis=0).max())
    np.testing.assert_allclose(found.std(axis=0), np.sqrt(1.09) * items.std(axis=0), rtol=0.02)


def test_towers_ask_real_users_each_once() -> None:
    items, users = some_towers()
    found, again = (towers(items, users, 100, 8, 1) for _ in range(2))
    assert (found.items == again.items).all()
    asked = np.concatenate((found.choosing, found.held_out))
    assert len(asked) == 16
    assert len({tuple(row) for row in asked.tolist()} & {tuple(row) for row in users.tolist()}) == 16
    everybody = towers(items, users, 100, 1000, 1)
    assert len(everybody.choosing) == len(everybody.held_out) == 15


def test_recall_counts_what_a_short_answer_lacks() -> None:
    truth = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    found = [np.array([4, 1], dtype=np.uint32), np.array([8, 7, 6, 5, 1], dtype=np.uint64)]
    assert recalls(found, truth).tolist() == [0.5, 1.0]


def test_the_fastest_setting_that_meets_the_target_is_chosen() -> None:
    trials = [
        Trial({"ef": 100}, 0.90, 0.10),
        Trial({"ef": 200}, 0.95, 0.25),
        Trial({"ef": 210}, 0.96, 0.20),
        Trial({"ef": 400}, 0.99, 0.40),
    ]
    assert choose(trials, 0.95) == (trials[2], True)
    assert choose(trials, 0.99) == (trials[3], True)
    assert choose(trials, 0.995) == (trials[3], False)  # the best there is, and that it missed


def attempt(setting: dict[str, float]) -> Trial:
    """Recall n / 100 in n ms."""
    return Trial(setting, setting["n"] / 100, setting["n"])


def test_a_walk_closes_in_on_the_target_and_ends_soon_after_it() -> None:
    trials = walk(attempt, "n", (10, 20, 40, 80, 100, 120), {"fixed": 1}, 0.5, np.inf)
    # 0.95 is nine tenths of the way from 0.5 to 1; (40, 80) is halved to 60, 50 and, between 40 and 50, 45
    assert [trial.setting["n"] for trial in trials] == [10, 20, 40, 45, 50, 60, 80, 100]
    assert all(trial.setting["fixed"] == 1 for trial in trials)
    assert choose(trials, 0.5)[0].setting["n"] == 50


def test_a_walk_gives_up_where_it_is_too_slow() -> None:
    trials = walk(attempt, "n", (10, 20, 40, 80), {}, 0.9, 15.0)
    assert [trial.setting["n"] for trial in trials] == [10, 20]


def test_growth_is_the_exponent_of_the_size() -> None:
    sizes = [1000, 10_000, 40_000]
    assert growth(sizes, [3 * size**0.5 for size in sizes]) == pytest.approx(0.5)
    assert growth(sizes, [7.0] * 3) == pytest.approx(0)
    assert growth([1000], [1]) is None
    assert growth(sizes, [1, 2, 0]) is None


def test_indexes_are_asked_in_turns() -> None:
    asked: list[str] = []
    queries = np.zeros((3, 2), np.float32)
    seconds = in_turns({name: lambda query, name=name: asked.append(name) for name in "ab"}, queries, 2)
    assert {name: each.shape for name, each in seconds.items()} == {"a": (3,), "b": (3,)}
    turns = [name for place, name in enumerate(asked) if asked[place - 1 : place] != [name]]
    assert turns == ["a", "b", "a", "b"]


def test_rising_values_reach_both_ends() -> None:
    for first, last in ((1, 1), (1, 2), (4, 3), (4, 4000), (1, 1788)):
        values = rising(first, last)
        assert values[-1] == last
        assert values[0] == min(first, last)
        assert list(values) == sorted(set(values))


@pytest.mark.parametrize("factory", ["exact", "Flat", "IVF8,Flat", "HNSW8", "RR16,IVF4,PQ16x4fsr,RFlat"])
def test_an_index_of_ours_is_tried_harder_and_less_hard(factory: str) -> None:
    items = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)
    built, around = ours(items, factory, SearchSettings(), 5, 1)
    found = []
    for setting in around:
        ask = built.asking(setting)
        found.append(np.stack([built.rows(ask(query)) for query in items[:50]]))
    truth = ExactIndex(items).search(items[:50], 5).rows
    shares = [float(recall_against_exact(each, truth).mean()) for each in found]
    assert shares[-1] >= shares[0]
    assert shares[-1] > 0.9
    assert built.n_bytes >= items.nbytes


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_finds_what_exact_search_does(peer: Peer) -> None:
    pytest.importorskip(peer.package)
    vectors = synthetic(5000, 20, 5)
    built = peer.build(vectors.items, 100, 1)
    settings = [{**sweep.fixed, sweep.knob: sweep.values[-1]} for sweep in built.sweeps] or [{}]
    ask = built.asking(settings[-1])
    found = [built.rows(ask(query)) for query in vectors.choosing]
    truth = ExactIndex(vectors.items).search(vectors.choosing, 100).rows
    assert recalls(found, truth).mean() > 0.97
    assert 4 * DIMENSION < built.n_bytes / 5000 < 4 * 4 * DIMENSION


def entry(library: str, p50_ms: float, recall: float = 0.96, met: bool = True, **more: Any) -> dict[str, Any]:
    return {
        "library": library,
        "setting": f"of {library}",
        "met": met,
        "recall": recall,
        "recall_error": 0.001,
        "p50_ms": p50_ms,
        "p99_ms": 2 * p50_ms,
        "build_seconds": 10 * p50_ms,
        "bytes_per_item": 300.0,
        "trials": [{"setting": {}, "recall": recall, "p50_ms": p50_ms}],
        **more,
    }


def document(kind: str, *sizes: int, core: str = "EPYC") -> dict[str, Any]:
    """Ours grows with the root of the size; hnswlib misses the target at the last one."""
    runs = [
        {
            "kind": kind,
            "size": size,
            "dimension": 64,
            "choosing": 10,
            "held_out": 10,
            "timed": 10,
            "rounds": 1,
            "entries": [
                entry("ours", 0.01 * size**0.5, tuning_seconds=12.3),
                entry("ours, exact", 0.3),
                entry("FAISS Flat", 0.6),
                entry("hnswlib", 0.02 * size**0.5, 0.93, size != sizes[-1]),
            ],
            "failed": {"usearch": "failed with ValueError: no"},
        }
        for size in sizes
    ]
    machine = {"cpu": core, "system": "Linux", "versions": {"python": "3.11", "faiss-cpu": "1.15.1"}}
    same = {"machine": machine, "recall_target": 0.95, "k": 100, "seed": 42}
    return {**same, "left_out": ["ScaNN"], "runs": runs}


def test_the_table_names_what_missed_what_failed_and_what_is_left_out() -> None:
    shown = text(with_growth(document("towers", 10_000, 40_000, 90_000)))
    assert max(map(len, shown.splitlines())) <= 110
    lines = [line.split() for line in shown.splitlines()]
    assert ["ours", "0.960", "1.000", "2.000", "1.00", "10.0", "300"] in lines
    assert ["hnswlib", "0.930", "2.000", "4.000", "0.50", "20.0", "300"] in lines
    assert ["hnswlib", "0.930", "missed", "6.000", "12.000", "0.50", "60.0", "300"] in lines
    assert "left out: ScaNN" in shown
    assert "usearch: failed with ValueError: no" in shown
    assert "exact, single query: ours takes 0.50 of FAISS Flat's time" in shown
    assert "ours: of ours; tuned in 12 s besides" in shown
    # p50 at the three sizes; latency's exponent without what misses, that of bytes and of build
    assert ["ours", "1.000", "2.000", "3.000", "0.50", "1.00", "0.50"] in lines
    assert ["hnswlib", "2.000", "4.000", "6.000*", "0.50", "1.00", "0.50"] in lines


def test_latency_grows_by_what_meets_the_target_alone() -> None:
    found = document("towers", 10_000, 40_000, 90_000)
    found["runs"][-1]["entries"][-1]["p50_ms"] = 1000.0  # hnswlib, where it misses
    assert with_growth(found)["growth"]["towers"]["hnswlib"]["latency"] == pytest.approx(0.5)


def test_runs_of_one_machine_are_joined_by_kind_and_size() -> None:
    found = joined([document("towers", 40_000, 10_000), document("synthetic", 10_000)])
    assert [(run["kind"], run["size"]) for run in found["runs"]] == [
        ("synthetic", 10_000),
        ("towers", 10_000),
        ("towers", 40_000),
    ]


def test_runs_of_two_machines_or_twice_the_same_are_not_joined() -> None:
    with pytest.raises(DataError, match="machine"):
        joined([document("towers", 10_000), document("synthetic", 10_000, core="Xeon")])
    with pytest.raises(DataError, match="towers at 10,000 is in two files"):
        joined([document("towers", 10_000), document("towers", 10_000)])


def test_a_curve_is_of_what_nothing_beats_in_both() -> None:
    points = [(0.9, 1.0), (0.95, 3.0), (0.94, 3.5), (0.99, 2.0), (0.0, 0.0)]
    trials = [{"setting": {}, "recall": recall, "p50_ms": ms} for recall, ms in points]
    assert front(trials) == [(0.9, 1.0), (0.99, 2.0)]


def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_comparison_runs_and_its_files_are_joined(tmp_path: Path) -> None:
    few = ["--queries", "20", "--timed", "10", "--rounds", "1", "--only", "FAISS Flat", "--only", "FAISS IVF"]
    done = run("--kinds", "synthetic", "--sizes", "1000,2000", *few, "--json", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [each["size"] for each in found["runs"]] == [1000, 2000]
    flat, ivf = found["runs"][0]["entries"]
    assert (flat["library"], flat["recall"], flat["met"]) == ("FAISS Flat", 1.0, True)
    assert any(trial["recall"] >= 0.95 for trial in ivf["trials"]) == ivf["met"]
    merged = run("--merge", tmp_path / "index-synthetic.json", "--output", tmp_path / "both")
    assert merged.returncode == 0, merged.stderr
    assert "synthetic, growth" in merged.stdout
    assert (tmp_path / "both" / "index.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--kinds", "images"], 2, "--kinds"),
        (["--sizes", "many"], 2, "--sizes"),
        (["--only", "FAISS Flut"], 2, "FAISS Flut"),
        (["--kinds", "towers"], 2, "--artifacts"),
        (["--kinds", "towers", "--artifacts", "nowhere"], 4, "no bundle here"),
        (["--merge", "nowhere.json"], 3, "nowhere.json"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments: list[str], code: int, words: str) -> None:
    done = run(*arguments)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert (done.returncode, len(errors)) == (code, 1)
    assert words in errors[0]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_ours_is_tuned_and_timed_beside_the_others() -> None:
    only = [
        word
        for name in ("ours", "ours, half memory", "ours, exact", "FAISS Flat")
        for word in ("--only", name)
    ]
    done = run("--kinds", "synthetic", "--sizes", "3000", "--queries", "100", *only, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["runs"][0]
    by_name = {each["library"]: each for each in found["entries"]}
    assert by_name["ours"]["recall"] > 0.93
    assert by_name["ours, half memory"]["bytes_per_item"] <= 2 * DIMENSION
    assert by_name["ours, exact"]["recall"] == 1
