"""Faults 32 to 39: models that break, equal scores, and questions that have no plain answer."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index import AnnIndex, ExactIndex, ItemLists, SearchSettings, search_filtered, top_k
from retrieval.bundles.fitted_system_files import write_system
from retrieval.bundles.writer import new_bundle
from retrieval.data.ids import IdMap
from retrieval.pipeline.build import Build
from retrieval.serving.fitted_system import FittedSystem
from retrieval.serving.tower_vectors import TowerVectors
from tests.support.commands import Bench, record
from tests.support.manifests import DESCRIPTION

LEFT = [118, 7, 31, 110, 2, 56, 90, 19, 4, 77, 101, 65]  # items that somebody has not seen, by row


def published(system: FittedSystem, folder: Path) -> Path:
    with new_bundle(folder) as writer:
        write_system(writer, "served", system)
        writer.publish(DESCRIPTION)
    return folder


@pytest.fixture(scope="module")
def sated(tiny_build: Build, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A bundle whose user 1 has seen everything, user 2 all but `LEFT`; its index looks at little."""
    system, folder = tiny_build.served, tmp_path_factory.mktemp("sated")
    seen, size = system.model.seen, len(system.items)
    left = np.setdiff1d(np.arange(size), LEFT)
    lists = [np.arange(size), left, *(seen.of(row) for row in range(2, len(seen)))]
    users = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
    model = replace(
        system.model,
        seen=ItemLists.from_pairs(users, np.concatenate(lists), len(lists)),
        ann=system.model.ann.with_nprobe(1),
        n_candidates=5,
    )
    assert system.users.ids[:2].tolist() == [1, 2]
    return Bench(folder, published(replace(system, model=model), folder / "artifacts"))


@pytest.fixture(scope="module", params=["numbers", "text"])
def tied(
    request: pytest.FixtureRequest, tiny_build: Build, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Bench, list[str]]:
    """A bundle in which every item has the same score for everybody, and its ids in their order."""
    system, folder = tiny_build.served, tmp_path_factory.mktemp("tied")
    model, size = system.model, len(system.items)
    vectors = replace(model.vectors, items=np.tile(model.vectors.items[:1], (size, 1)))
    model = replace(
        model,
        vectors=vectors,
        ann=AnnIndex.build(vectors.items, "IVF2,Flat", seed=1, threads=1, settings=SearchSettings(nprobe=2)),
        rating_model=None,
        seen=ItemLists.empty(len(system.users)),
    )
    ids = [number if request.param == "numbers" else str(number) for number in range(size)]
    items = IdMap.from_values(ids)
    popularity = np.ones(size, dtype=np.float32)
    system = replace(system, model=model, items=items, popularity=popularity, neural_mf_weights=None)
    return Bench(folder, published(system, folder / "artifacts")), [str(number) for number in sorted(ids)]


def items_of(answer: Any) -> list[str]:
    return [entry["item"] for entry in answer["items"]]


# 32: training that breaks down


def test_training_that_breaks_down_ends_with_3_and_the_old_bundle_serves(bench: Bench) -> None:
    flags = [
        "--dataset",
        "sample",
        "--epochs",
        "1",
        "--threads",
        "1",
        "--dimension",
        "4",
        "--index",
        "IVF1,Flat",
    ]
    line = bench.refused(32, "build-index", *flags, "--learning-rate", "1e30", code=3)
    assert "epoch 1" in line and "lower the learning rate" in line
    assert len(list((bench.artifacts / "builds").iterdir())) == 1
    for value in ("nan", "inf", "-1", "0"):
        line = bench.refused(32, "build-index", *flags, "--learning-rate", value, code=2)
        assert "--learning-rate" in line and "positive" in line


# 33: equal scores


def test_equal_scores_are_ordered_by_id_the_same_every_time(tied: tuple[Bench, list[str]]) -> None:
    bench, ids = tied
    questions = (["--user", "42"], ["--user", "nobody", "--fallback", "popular"])
    for question in questions:
        for flags in ([], ["--exact"], []):
            answer = bench.run("query", *question, "--k", "12", "--json", *flags).json
            assert items_of(answer) == ids[:12]
    ran = bench.run("query", "--user", "42", "--k", "12")
    record(33, f"all scores equal; the items come as {', '.join(ids[:5])}, ...", ran)


# 34: unknown users


@pytest.mark.parametrize(
    ("user", "says"),
    [
        ("99999", ["user 99999", "148, 149, 150"]),
        ("0", ["user 0", "1, 2, 3"]),
        ("-7", ["user -7", "1, 2, 3"]),
        ("042", ["user 042", " 42"]),
        ("9223372036854775808", ["user 9223372036854775808", "148, 149, 150"]),
        ("bob", ["user bob", "numbers from 1 to 150"]),
        ("", ["user ''", "numbers from 1 to 150"]),
        ("4 2", ["user '4 2'", "numbers from 1 to 150"]),
    ],
)
def test_an_unknown_user_gets_the_nearest_ids_and_how_to_ask(
    bench: Bench, user: str, says: list[str]
) -> None:
    line = bench.refused(34, "query", "--user", user, code=5, given=f"`query --user '{user}'`")
    assert all(text in line for text in (*says, "--history ITEM,ITEM")), line


def test_popular_items_come_only_when_asked_for_and_are_called_so(bench: Bench, tiny_build: Build) -> None:
    ran = bench.run("query", "--user", "nobody", "--fallback", "popular", "--k", "8", "--json")
    answer = record(34, "`query --user nobody --fallback popular`", ran).json
    system = tiny_build.served
    order = np.lexsort((system.items.ids, -system.popularity))[:8]
    assert items_of(answer) == [str(item) for item in system.items.ids[order]]
    assert (answer["user"], answer["status"]) == ("nobody", "cold")
    assert {entry["predicted_rating"] for entry in answer["items"]} == {None}
    assert answer["notes"] == ["user nobody is unknown: these are the most popular items"]
    shown = bench.run("query", "--user", "nobody", "--fallback", "popular").out.splitlines()
    assert shown[-1] == "note: user nobody is unknown: these are the most popular items"
    known = [
        bench.run("query", "--user", "42", "--json", *flags).json for flags in ((), ("--fallback", "popular"))
    ]
    assert known[0] == known[1] and known[0]["status"] == "warm"


# 35 to 37: fewer items than asked for


@pytest.mark.parametrize("flags", [(), ("--exact",), ("--no-rerank",)], ids=" ".join)
def test_more_than_the_catalogue_gives_all_there_is_once_and_says_so(
    bench: Bench, tiny_build: Build, flags: tuple[str, ...]
) -> None:
    system = tiny_build.served
    row = system.users.row(42)
    assert row is not None
    unseen = set(system.items.ids.tolist()) - set(system.items.ids[system.model.seen.of(row)].tolist())
    ran = bench.run("query", "--user", "42", "--k", "1000000", "--json", *flags)
    answer = ran.json
    assert sorted(items_of(answer)) == sorted(map(str, unseen))
    note = f"only {len(unseen)} of 1000000: there are no other items this user has not seen"
    assert answer["notes"] == [note]
    assert np.isfinite([[each["score"], each["retrieval_score"]] for each in answer["items"]]).all()
    if not flags:
        record(35, "`query --user 42 --k 1000000`", ran)
        assert f"note: {note}" in bench.run("query", "--user", "42", "--k", "1000000").out
        history = bench.run("query", "--history", "1,2", "--k", "1000000", "--json").json
        assert sorted(items_of(history)) == sorted(map(str, set(system.items.ids.tolist()) - {1, 2}))
        assert "only 118 of 1000000: there are no other items" in history["notes"]


def test_whoever_has_seen_everything_gets_an_empty_list_and_no_error(sated: Bench) -> None:
    for flags in ((), ("--exact",), ("--no-rerank",)):
        answer = sated.run("query", "--user", "1", "--json", *flags).json
        assert answer["items"] == []
        assert answer["notes"] == ["only 0 of 10: there are no other items this user has not seen"]
    ran = record(36, "a user who has seen every item", sated.run("query", "--user", "1"))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[0] == "0 recommendations for user 1"
    everything = ",".join(map(str, range(1, 121)))
    answer = sated.run("query", "--history", everything, "--json").json
    assert answer["items"] == [] and "only 0 of 10: there are no other items" in answer["notes"]


def test_few_candidates_are_searched_deeper_then_exactly_until_k_are_left(
    sated: Bench, tiny_build: Build
) -> None:
    ids = {str(tiny_build.served.items.ids[row]) for row in LEFT}
    by_score = items_of(
        sated.run("query", "--user", "2", "--k", "12", "--exact", "--no-rerank", "--json").json
    )
    assert set(by_score) == ids
    for flags in ((), ("--no-rerank",)):
        for k in (12, 13):
            answer = sated.run("query", "--user", "2", "--k", k, "--json", *flags).json
            assert set(items_of(answer)) == ids and len(answer["items"]) == 12
            short = ["only 12 of 13: there are no other items this user has not seen"]
            assert answer["notes"] == (short if k == 13 else [])
        if flags:
            assert items_of(answer) == by_score
    record(37, "12 unseen items, `--k 13`, nprobe 1", sated.run("query", "--user", "2", "--k", "13"))


# 38: what is not a number, through the API


def matrix(value: float) -> Any:
    wrong = np.ones((4, 3), dtype=np.float32)
    wrong[2, 1] = value
    return wrong


GOOD = np.eye(4, 3, dtype=np.float32)
EDGES: dict[str, Callable[[Any], object]] = {
    "ExactIndex": ExactIndex,
    "ExactIndex.search": lambda wrong: ExactIndex(GOOD).search(wrong, 2),
    "AnnIndex.build": lambda wrong: AnnIndex.build(wrong, "Flat", seed=1, threads=1),
    "AnnIndex.search": lambda wrong: AnnIndex.build(GOOD, "Flat", seed=1, threads=1).search(wrong, 2),
    "search_filtered": lambda wrong: search_filtered(
        ExactIndex(GOOD), ExactIndex(GOOD), wrong, 2, ItemLists.empty(4)
    ),
    "TowerVectors.items": lambda wrong: TowerVectors(wrong, GOOD, None, None),
    "TowerVectors.users": lambda wrong: TowerVectors(GOOD, wrong, None, None),
    "TowerVectors.history_items": lambda wrong: TowerVectors(
        np.ones((4, 4), np.float32), np.ones((1, 4), np.float32), wrong, np.ones(3, np.float32)
    ),
    "TowerVectors.prior": lambda wrong: TowerVectors(
        np.ones((4, 4), np.float32), np.ones((1, 4), np.float32), GOOD, wrong[2]
    ),
}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("edge", EDGES)
def test_vectors_that_are_no_numbers_are_a_value_error_at_the_edge(edge: str, value: float) -> None:
    with pytest.raises(ValueError, match=r"NaN or infinity|finite float32"):
        EDGES[edge](matrix(value))


def test_scores_of_nan_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="NaN"):
        top_k(matrix(np.nan), 2)


# 39: histories


def test_unknown_items_of_a_history_are_left_out_and_named(bench: Bench) -> None:
    ran = bench.run("query", "--history", "777, 1,none,2", "--json")
    answer = record(39, "`query --history '777, 1,none,2'`", ran).json
    assert "unknown items were left out: 777, none" in answer["notes"]
    assert items_of(answer) == items_of(bench.run("query", "--history", "1,2", "--json").json)
    shown = bench.run("query", "--history", "777, 1,none,2").out
    assert "note: unknown items were left out: 777, none" in shown.splitlines()


def test_a_history_of_unknown_items_only_ends_with_5_or_gets_what_is_popular(bench: Bench) -> None:
    line = bench.refused(39, "query", "--history", "777,888", code=5)
    assert "777, 888" in line and "118, 119, 120" in line
    line = bench.refused(39, "query", "--history", "alien", code=5)
    assert "alien" in line and "numbers from 1 to 120" in line
    answer = bench.run("query", "--history", "777,888", "--fallback", "popular", "--json").json
    assert answer["status"] == "cold" and "no item of the history is known" in answer["notes"][0]
    assert json.loads(json.dumps(answer))["user"] is None
