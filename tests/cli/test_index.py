"""`retrieval index add | remove | compact`: the next bundle, what it answers, and what is refused."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from retrieval.bundles.bundle import open_bundle
from retrieval.cli.index import MANY_TOMBSTONES
from retrieval.recommender import Recommender
from tests.support.commands import Bench, Ran, files_of

NEW = """movieId,title,genres
0,Zero (1991),Action
5000,Late (1999),Comedy|Drama
7,Another title,Drama
8,Action 08 (1993),Action
"""


@pytest.fixture
def own(own_artifacts: Path, tmp_path: Path) -> Bench:
    """A folder with new.csv, and artifacts that may change."""
    bench = Bench(tmp_path, own_artifacts)
    bench.write("new.csv", NEW)
    return bench


def index(bench: Bench, *arguments: object) -> Ran:
    return bench.run("retrieval", "index", *arguments)


def bundles(bench: Bench) -> list[str]:
    return sorted(path.name for path in (bench.artifacts / "builds").iterdir())


def items_of(bench: Bench, *arguments: object) -> list[Any]:
    return [int(item["item"]) for item in bench.run("query", *arguments, "--json").json["items"]]


def test_add_says_what_became_of_each_and_the_next_query_has_it(own: Bench) -> None:
    assert 5000 not in items_of(own, "--user", "1", "--k", "200")
    ran = index(own, "add", "--items", "new.csv")
    first, note = ran.out.splitlines()
    assert ran.notes == []
    assert first.startswith("2 added, 1 updated, 1 unchanged: 122 items, 0 tombstones; published ")
    assert note == "note: 2 items that people have met: known already, vectors kept"
    assert Path(first.rpartition("published ")[2]).name == open_bundle(own.artifacts).folder.name
    answer = own.run("query", "--user", "1", "--k", "200", "--json").json["items"]
    titles = {int(item["item"]): item["title"] for item in answer}
    assert titles[0] == "Zero (1991)" and titles[5000] == "Late (1999)"
    assert len(items_of(own, "--history", "5000", "--k", "3")) == 3


def test_what_a_user_has_seen_stays_left_out_whatever_comes_before_it(own: Bench) -> None:
    before = Recommender.load(own.artifacts).system
    rows = [before.model.seen.of(user) for user in range(len(before.users))]
    seen = {
        user: set(before.items.ids[row].tolist())
        for user, row in zip(before.users.ids.tolist(), rows, strict=True)
    }
    lines = "".join(f"-{number},Before {number},Comedy\n" for number in range(1, 40))
    own.write("before.csv", f"movieId,title,genres\n{lines}")
    index(own, "add", "--items", "before.csv")
    answers = Recommender.load(own.artifacts).recommend(list(seen), 500)
    for user, answer in zip(seen, answers, strict=True):
        got = {item.item for item in answer.items}
        assert not got & seen[user]
        assert len(got) == 120 + 39 - len(seen[user])


def test_remove_takes_ids_from_a_flag_or_a_file(own: Bench) -> None:
    best = items_of(own, "--user", "1")
    ran = index(own, "remove", "--item", f"{best[0]}, {best[2]}")
    assert ran.out.startswith("2 removed: 118 items, 2 tombstones; published ")
    assert not {best[0], best[2]} & set(items_of(own, "--user", "1", "--k", "200"))
    own.write("gone.txt", f"\ufeff{best[1]}\r\n\r\n {best[3]}\r\n")
    document = index(own, "remove", "--items", "gone.txt", "--json").json
    assert (document["removed"], document["items"], document["tombstones"]) == (2, 116, 4)
    assert not set(best[:4]) & set(items_of(own, "--user", "1", "--k", "200"))
    assert document["bundle"] == str(open_bundle(own.artifacts).folder)


def test_many_tombstones_are_said_and_compact_drops_them(own: Bench) -> None:
    ids = Recommender.load(own.artifacts).system.items.ids.tolist()
    assert "notes" not in index(own, "remove", "--item", ids[0]).out
    gone = ids[1 : 1 + int(MANY_TOMBSTONES * 120)]
    ran = index(own, "remove", "--item", ",".join(map(str, gone)))
    assert (
        ran.out.splitlines()[1] == "note: 21% of the index are tombstones: retrieval index compact drops them"
    )
    before = {user: own.run("query", "--user", user, "--exact", "--json").json for user in ("1", "42")}
    ran = index(own, "compact")
    assert (
        ran.out.startswith("built again, 25 tombstones dropped: 95 items, 0 tombstones; published ")
        and ran.out.count("\n") == 1
    )
    after = {user: own.run("query", "--user", user, "--exact", "--json").json for user in ("1", "42")}
    assert after == before
    system = Recommender.load(own.artifacts).system
    assert system.model.ann.factory == "IVF8,Flat" and system.model.ann.row_map is None


def test_the_manifest_tells_the_changes_and_what_was_evaluated_is_the_same(own: Bench) -> None:
    before, old = open_bundle(own.artifacts), files_of(own.artifacts / "builds")
    index(own, "add", "--items", "new.csv")
    index(own, "remove", "--item", "5000")
    index(own, "compact")
    after = open_bundle(own.artifacts)
    changes = after.manifest.changes
    assert [change.what for change in changes] == ["add", "remove", "compact"]
    counts = [change.document for change in changes]
    assert (counts[0]["added"], counts[1]["removed"], counts[2]["dropped"]) == (2, 1, 1)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", change.at) for change in changes)
    for key in ("data", "split", "settings", "training", "libraries"):
        assert after.manifest.document[key] == before.manifest.document[key]
    same = [name for name in before.manifest.files if not name.startswith(("served/", "items."))]
    assert {"report.json", "evaluated/index.faiss", "users.parquet"} <= set(same)
    assert all(after.manifest.files[name] == before.manifest.files[name] for name in same)
    now = files_of(own.artifacts / "builds")
    assert {name: now[name] for name in old} == old  # the bundles before are as they were
    assert len(bundles(own)) == 4
    assert own.run("retrieval", "evaluate", "--json").json["k"] == 10


def test_the_table_of_items_for_people_goes_along(own: Bench) -> None:
    index(own, "add", "--items", "new.csv")
    folder = open_bundle(own.artifacts).folder
    frame, old = (
        pl.read_parquet(folder / "items.parquet"),
        pl.read_parquet(next(path for path in folder.parent.iterdir() if path != folder) / "items.parquet"),
    )
    assert frame.schema == old.schema and frame.height == old.height + 2
    late = frame.row(by_predicate=pl.col("item") == 5000, named=True)
    assert late == {"item": 5000, "title": "Late (1999)", "genres": ["Comedy", "Drama"], "interactions": 0}
    untouched = ~pl.col("item").is_in([0, 7, 8, 5000])
    assert frame.filter(untouched).equals(old.filter(untouched))


def test_vectors_come_from_a_file_where_one_is_given(own: Bench) -> None:
    vectors = np.zeros((4, 9))
    vectors[1, 8] = 50  # 5000 is everybody's favourite
    np.save(own.folder / "new.npy", vectors)
    document = index(own, "add", "--items", "new.csv", "--vectors", "new.npy", "--json").json
    assert (document["added"], document["replaced"], document["tombstones"]) == (2, 2, 2)
    assert items_of(own, "--user", "1", "--exact", "--no-rerank")[0] == 5000


def test_nothing_to_do_is_said_and_nothing_is_published(own: Bench) -> None:
    index(own, "add", "--items", "new.csv")
    assert index(own, "compact").out.startswith("built again, 0 tombstones dropped: 122 items, ")
    there, files = bundles(own), files_of(own.artifacts)
    own.write("none.txt", "\n")
    for arguments in (["add", "--items", "new.csv"], ["remove", "--items", "none.txt"], ["compact"]):
        text = index(own, *arguments).out
        assert text.splitlines()[0] == "nothing to do: 122 items, 0 tombstones; nothing was published"
    document = index(own, "compact", "--json").json
    assert (document["what"], document["bundle"], document["items"]) == ("compact", None, 122)
    assert bundles(own) == there and files_of(own.artifacts) == files


def test_a_build_after_a_change_starts_from_the_data(own: Bench, artifacts: Path) -> None:
    """A change is of the bundle; the next build knows nothing of it."""
    index(own, "add", "--items", "new.csv")
    shutil.copy(artifacts / "current", own.artifacts / "current")
    assert "changes" not in open_bundle(own.artifacts).manifest.document
    assert 5000 not in items_of(own, "--user", "1", "--k", "200")


# Refusals: one line, and nothing changed


@pytest.fixture
def new(bench: Bench) -> Bench:
    bench.write("new.csv", NEW)
    return bench


def refused(bench: Bench, *arguments: object, code: int) -> str:
    return bench.refused(0, "retrieval", "index", *arguments, code=code, given="")


def test_an_item_that_is_unknown_is_answered_with_the_nearest(new: Bench) -> None:
    line = refused(new, "remove", "--item", "7,121", code=5)
    assert "item 121 is not among the 120 items of this bundle; the nearest ids are 118, 119, 120" in line
    new.write("gone.txt", "7\n121\n122\n")
    assert "item 121 and 1 others are not among" in refused(new, "remove", "--items", "gone.txt", code=5)


def test_all_items_cannot_be_removed(new: Bench) -> None:
    new.write("all.txt", "\n".join(map(str, range(1, 121))))
    assert "these are all 120 items" in refused(new, "remove", "--items", "all.txt", code=2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["remove"], "neither was given"),
        (["remove", "--item", "1", "--items", "x"], "both were given"),
        (["remove", "--item", ","], "--item names no item"),
        (["add"], "--items"),
    ],
)
def test_flags_that_do_not_say_what(new: Bench, arguments: list[str], says: str) -> None:
    assert says in refused(new, *arguments, code=2)


def test_files_that_are_missing_or_something_else(new: Bench) -> None:
    assert "gone.txt: cannot be read (No such file" in refused(new, "remove", "--items", "gone.txt", code=3)
    new.write("gone.txt", b"7\n\x81\x8d\n")
    assert "gone.txt: byte 0x81" in refused(new, "remove", "--items", "gone.txt", code=3)
    assert "Is a directory" in refused(new, "remove", "--items", new.folder, code=3)
    refused(new, "add", "--items", "missing.csv", code=3)
    new.write("bad.csv", "movieId,title,genres\nseven,Other,Drama\n")
    assert "item 'seven': the ids of this bundle are integers" in refused(
        new, "add", "--items", "bad.csv", code=3
    )


def test_vectors_that_are_none_or_do_not_fit(new: Bench) -> None:
    add = ("add", "--items", "new.csv", "--vectors")
    assert "new.npy: No such file" in refused(new, *add, "new.npy", code=3)
    assert "not a plain .npy file" in refused(new, *add, "new.csv", code=3)
    np.save(new.folder / "wrong.npy", np.ones((4, 8)))
    assert "expected (4, 9)" in refused(new, *add, "wrong.npy", code=3)
    np.save(new.folder / "words.npy", np.array([["a"]]))
    assert "expected floating-point numbers" in refused(new, *add, "words.npy", code=3)
    np.save(new.folder / "pickled.npy", np.array([[{}]]), allow_pickle=True)
    assert "not a plain .npy file" in refused(new, *add, "pickled.npy", code=3)


def test_without_a_bundle_nothing_is_made(new: Bench) -> None:
    line = refused(new, "add", "--items", "new.csv", "--artifacts", "nowhere", code=4)
    assert "no bundle here; run build-index first" in line
    assert not (new.folder / "nowhere").exists()


def test_a_damaged_bundle_is_not_built_on(own: Bench) -> None:
    """Neither where the damage is in what changes, nor in what is only copied."""
    folder = open_bundle(own.artifacts).folder
    for name in ("served/item_vectors.npy", "evaluated/item_vectors.npy", "report.html"):
        data = bytearray((folder / name).read_bytes())
        data[-1] ^= 1
        (folder / name).write_bytes(data)
        line = refused(own, "add", "--items", "new.csv", code=4)
        assert str(folder / name) in line
        data[-1] ^= 1
        (folder / name).write_bytes(data)
    assert index(own, "add", "--items", "new.csv").code == 0


def test_a_build_that_is_running_is_waited_for(own: Bench) -> None:
    from retrieval.bundles.lock import build_lock

    with build_lock(own.artifacts):
        line = refused(own, "remove", "--item", "7", code=6)
    assert f"another build is writing here (process {os.getpid()})" in line
