"""Filters as people ask for them: what each answer may hold, in Python and on the command line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from retrieval import Recommender
from retrieval.errors import NotFoundError, UsageError
from retrieval.pipeline.build import Build
from retrieval.serving.recommendations import Recommendations
from tests.support.commands import Bench, run
from tests.support.manifests import DESCRIPTION

# data/sample: 30 items of each of four genres, in the order of the ids.
GENRES = {"Action": range(1, 31), "Comedy": range(31, 61), "Drama": range(61, 91), "Sci-Fi": range(91, 121)}
BY_ID = {item: genre for genre, items in GENRES.items() for item in items}


@pytest.fixture(scope="module")
def recommender(artifacts: Path) -> Recommender:
    return Recommender.load(artifacts)


def ids(answer: Recommendations) -> list[Any]:
    return [item.item for item in answer.items]


def leaves(answer: Recommendations) -> int:
    assert answer.filters is not None
    return answer.filters.leaves


def unseen(recommender: Recommender, user: int) -> set[int]:
    system = recommender.system
    row = system.users.row(user)
    assert row is not None
    return set(system.items.ids.tolist()) - set(system.items.ids[system.model.seen.of(row)].tolist())


# what lists hold

Ask = Callable[..., Recommendations]
KINDS = ("user", "history", "popular")


def asker(recommender: Recommender, kind: str) -> Ask:
    """Asks for a list of a known user, a history or the popular items."""
    if kind == "history":
        return lambda **how: recommender.recommend_for_history([61, 62], **how)
    user = 42 if kind == "user" else "nobody"
    return lambda **how: recommender.recommend([user], fallback="popular", **how)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", [{}, {"exact": True}, {"rerank": False}], ids=str)
@pytest.mark.parametrize(
    ("only", "exclude", "holds"),
    [
        ({"genre": "Comedy"}, None, lambda item: BY_ID[item] == "Comedy"),
        ({"genre": ["comedy", "SCI-FI"]}, None, lambda item: BY_ID[item] in ("Comedy", "Sci-Fi")),
        (None, {"genre": "Drama"}, lambda item: BY_ID[item] != "Drama"),
        (list(range(20, 70)), {"genre": "Comedy"}, lambda item: 20 <= item <= 30 or 61 <= item < 70),
        ([{"genre": "Drama"}, [65, 66, 100]], None, lambda item: item in (65, 66)),
        ([{"genre": "Drama"}, {"genre": "Comedy"}], None, lambda item: False),
        ({"genre": "Action"}, [[1, 2], {"genre": "Comedy"}, ["3"]], lambda item: 4 <= item <= 30),
    ],
)
def test_lists_hold_all_that_pass_and_nothing_else(
    recommender: Recommender, kind: str, how: dict[str, Any], only: Any, exclude: Any, holds: Any
) -> None:
    answer = asker(recommender, kind)(k=120, only=only, exclude=exclude, **how)
    passing = {item for item in BY_ID if holds(item)}
    assert leaves(answer) == len(passing)
    known = {"user": unseen(recommender, 42), "history": set(BY_ID) - {61, 62}, "popular": set(BY_ID)}[kind]
    assert len(ids(answer)) == len(set(ids(answer)))
    assert set(ids(answer)) == passing & known
    assert answer.notes[-1].startswith(f"only {len(passing & known)} of 120: ")


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_is_that_of_the_list_without_a_filter(recommender: Recommender, kind: str) -> None:
    ask = asker(recommender, kind)
    whole = ask(k=120, exact=True, rerank=False)
    comedies = ask(k=5, exact=True, rerank=False, only={"genre": "Comedy"})
    assert ids(comedies) == [item for item in ids(whole) if BY_ID[item] == "Comedy"][:5]
    assert [item.retrieval_rank for item in comedies.items] == [1, 2, 3, 4, 5]


def test_a_filter_that_everything_passes_changes_no_list(recommender: Recommender) -> None:
    plain = recommender.recommend([42, 7], 10)
    filtered = recommender.recommend([42, 7], 10, only=list(BY_ID), exclude=[])
    assert [ids(answer) for answer in plain] == [ids(answer) for answer in filtered]
    assert [leaves(answer) for answer in filtered] == [120, 120]


def test_a_column_beside_another_must_be_met_too_and_excluding_either_is_enough(
    recommender: Recommender,
) -> None:
    both = recommender.recommend([42], 120, only={"genre": "Action", "decade": "1980s"})[0]
    assert set(ids(both)) and {BY_ID[item] for item in ids(both)} == {"Action"}
    assert all("(198" in str(item.title) for item in both.items)
    neither = recommender.recommend([42], 120, exclude={"genre": "Action", "decade": "1980s"})[0]
    assert not any(BY_ID[item.item] == "Action" or "(198" in str(item.title) for item in neither.items)  # type: ignore[index]
    assert leaves(neither) < 90


@pytest.mark.parametrize(
    "given",
    [[5, 6], ["5", "6"], np.array([5, 6]), pd.Series([5, 6]), (5, 6), {5, 6}],
    ids=repr,
)
def test_ids_come_in_any_collection(recommender: Recommender, given: Any) -> None:
    answer = asker(recommender, "popular")(only=given)
    assert sorted(ids(answer)) == [5, 6]


# notes and errors


def test_a_filter_that_leaves_nothing_gives_an_empty_list_and_says_so(recommender: Recommender) -> None:
    for answer in (ask(only={"genre": "Drama"}, exclude={"genre": "drama"}) for ask in asks(recommender)):
        assert (answer.items, leaves(answer)) == ((), 0)
        assert answer.notes[-1] == "only 0 of 10: no item passes the filter"
    assert recommender.recommend([42], only=[])[0].items == ()


def asks(recommender: Recommender) -> list[Ask]:
    return [asker(recommender, kind) for kind in KINDS]


def test_a_short_list_says_whether_the_user_has_seen_the_rest(recommender: Recommender) -> None:
    user, history, popular = (ask(k=31, only={"genre": "Drama"}) for ask in asks(recommender))
    assert user.notes == (
        f"only {len(user.items)} of 31: the filter leaves no others this user has not seen",
    )
    assert history.notes == ("only 28 of 31: the filter leaves no others",)
    assert popular.notes == (
        "user nobody is unknown: these are the most popular items that pass the filter",
        "only 30 of 31: the filter leaves no others",
    )
    assert asker(recommender, "user")(k=5, only={"genre": "Drama"}).notes == ()


def test_unknown_ids_are_passed_over_and_said_but_not_all_of_them(recommender: Recommender) -> None:
    answer = recommender.recommend([42], 1, only=[777, 31, "x"], exclude=[*range(1000, 1013), 32])[0]
    assert ids(answer) in ([31], [])
    assert answer.notes[:2] == (
        "of the items to choose from, unknown ones were passed over: 777, x",
        "of the items to leave out, unknown ones were passed over: "
        "1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009 and 3 more",
    )
    with pytest.raises(NotFoundError, match="to choose from is known: 777, 778; the nearest ids are 118"):
        recommender.recommend([42], only=[777, 778])
    with pytest.raises(NotFoundError, match="to leave out is known: abc; ids here are numbers from 1"):
        recommender.recommend_for_history([61], exclude=["abc"])


@pytest.mark.parametrize(
    ("only", "error", "message"),
    [
        ({"gener": "Drama"}, UsageError, "no column 'gener' to filter by; there are genre, year, decade"),
        ({"genre": "Dramma"}, NotFoundError, "no item has genre=Dramma; there are Action, Comedy, Drama"),
        ({"genre": []}, UsageError, "only names no value of genre"),
        ({}, UsageError, "only names no column"),
        ("Drama", UsageError, "only is 'Drama'; expected a mapping"),
        (5, UsageError, "only is 5; expected a mapping"),
        ([{"genre": "Drama"}, 5], UsageError, "only mixes rules and ids"),
    ],
    ids=str,
)
def test_what_is_no_filter_is_refused(
    recommender: Recommender, only: Any, error: type[Exception], message: str
) -> None:
    for ask in asks(recommender):
        with pytest.raises(error, match=message):
            ask(only=only)


def test_values_are_not_parted_in_python(recommender: Recommender) -> None:
    with pytest.raises(NotFoundError, match="genre=Drama,Comedy"):
        recommender.recommend([42], only={"genre": "Drama,Comedy"})


def test_the_document_says_what_was_applied(recommender: Recommender) -> None:
    answer = recommender.recommend([42], 3, only=[{"genre": "drama"}, [61, 62, 777]], exclude=["61"])[0]
    document = json.loads(json.dumps(answer.to_json()))
    assert document["filters"] == {
        "only": [
            {"by": "genre", "values": ["drama"], "items": 30},
            {"by": "item", "values": [], "items": 2, "unknown": ["777"]},
        ],
        "exclude": [{"by": "item", "values": [], "items": 1}],
        "leaves": 1,
    }
    assert "filters" not in recommender.recommend([42], 3)[0].to_json()
    again = recommender.recommend([42], 3, only=[{"genre": "drama"}, [61, 62, 777]], exclude=["61"])[0]
    assert again == answer


# the command line


def query(artifacts: Path, *arguments: object) -> Any:
    return run("query", "--user", "42", "--json", "--artifacts", artifacts, *arguments).json


def test_the_flags_are_read_together(artifacts: Path, tmp_path: Path) -> None:
    flags = (
        "--only",
        "genre=drama,Comedy",
        "--only",
        "40,41,65,100",
        "--exclude",
        "genre=comedy",
        "--k",
        120,
    )
    answer = query(artifacts, *flags)
    assert answer["filters"]["leaves"] == 1
    assert {entry["item"] for entry in answer["items"]} <= {"65"}
    listed = tmp_path / "ids.txt"
    listed.write_bytes(b"\xef\xbb\xbf31\r\n\r\n 32 \r\n9999")
    answer = query(artifacts, "--only", f"@{listed}", "--k", 3)
    assert answer["filters"]["only"] == [{"by": "item", "values": [], "items": 2, "unknown": ["9999"]}]
    listed.write_text("\n")
    assert query(artifacts, "--exclude", f"@{listed}")["filters"]["leaves"] == 120
    empty = query(artifacts, "--only", f"@{listed}")
    assert (empty["items"], empty["notes"]) == ([], ["only 0 of 10: no item passes the filter"])


def test_a_history_and_the_popular_items_are_filtered_too(artifacts: Path) -> None:
    asked = ("--only", "genre=Sci-Fi", "--k", "4", "--json", "--artifacts", artifacts)
    for who in (("--history", "61,62"), ("--user", "nobody", "--fallback", "popular")):
        items = [int(entry["item"]) for entry in run("query", *who, *asked).json["items"]]
        assert len(items) == 4 and set(items) <= set(GENRES["Sci-Fi"])


@pytest.mark.parametrize(
    ("rule", "code", "message"),
    [
        ("gener=Drama", 2, "no column 'gener' to filter by; there are genre, year, decade"),
        ("genre=", 2, "'genre=' names no value of genre; expected COLUMN=VALUE"),
        ("", 2, "'' says nothing; expected COLUMN=VALUE"),
        (" , ", 2, "says nothing"),
        ("genre", 2, "genre names a column and no value of it; as in --"),
        ("Genres", 2, "names a column and no value of it"),
        ("@", 2, "@ names no file"),
        ("genre=Dramma", 5, "no item has genre=Dramma; there are Action, Comedy, Drama, Sci-Fi"),
        ("777,778", 5, "is known: 777, 778; the nearest ids are 118, 119, 120"),
        ("@nowhere.txt", 3, "nowhere.txt: cannot be read (No such file or directory); give a text file"),
        ("@.", 3, "cannot be read (Is a directory)"),
        ("@bad.txt", 3, "bad.txt: a zero byte at byte offset 1"),
        ("@worse.txt", 3, "worse.txt: byte 0x81 at byte offset 1 is not UTF-8"),
    ],
)
@pytest.mark.parametrize("flag", ["--only", "--exclude"])
def test_a_wrong_rule_is_one_line(bench: Bench, flag: str, rule: str, code: int, message: str) -> None:
    bench.write("bad.txt", b"6\x001")
    bench.write("worse.txt", b"6\x811")
    line = bench.refused(0, "query", "--user", "42", flag, rule, code=code, given="")
    assert message in line


def test_without_a_table_of_items_a_column_cannot_be_asked_for(tiny_build: Build, tmp_path: Path) -> None:
    from dataclasses import replace

    from retrieval.bundles.fitted_system_files import write_system
    from retrieval.bundles.writer import new_bundle
    from retrieval.serving.item_attributes import ItemAttributes

    bare = replace(tiny_build.served, attributes=ItemAttributes())
    with new_bundle(tmp_path) as writer:
        write_system(writer, "served", bare)
        writer.publish(DESCRIPTION)
    asked = ("query", "--user", "42", "--artifacts", tmp_path, "--k", "2", "--json", "--only")
    line = run(*asked, "genre=Drama").refusal(2)
    assert "no 'genre' to filter by; build it with a table of them: build-index --items FILE" in line
    assert run(*asked, "61,62,63,64,65").json["filters"]["leaves"] == 5


def test_what_a_bundle_knows_is_that_of_the_served_items(artifacts: Path, tmp_path: Path) -> None:
    copy = Recommender.load(artifacts).save(tmp_path / "copy")
    shutil.rmtree(copy / "evaluated")
    assert sorted(Recommender.load(tmp_path / "copy").system.attributes.columns) == [
        "decade",
        "genre",
        "year",
    ]
