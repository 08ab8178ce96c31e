"""Which ids and which bundle a recommender has, lists for several histories, and ids in any iterable."""

import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from retrieval import Recommender
from retrieval.bundles.current import CURRENT
from retrieval.bundles.registry import rollback
from retrieval.errors import ArtifactError, NotFoundError, UsageError
from retrieval.pipeline.build import Build
from tests.support.commands import run


@pytest.fixture(scope="module")
def recommender(artifacts: Path) -> Recommender:
    return Recommender.load(artifacts)


# Ids


def test_the_ids_are_those_of_the_table_ascending_and_cannot_be_written(
    recommender: Recommender, tiny_build: Build
) -> None:
    assert recommender.users.tolist() == list(range(1, 151))
    assert recommender.items.tolist() == sorted(tiny_build.served.items.ids.tolist())
    for ids in (recommender.users, recommender.items, Recommender(tiny_build.served).users):
        with pytest.raises(ValueError, match="read-only"):
            ids[0] = 5
    assert [each.user for each in recommender.recommend(recommender.users, 1)] == list(range(1, 151))


@pytest.mark.parametrize(
    "users",
    [
        range(1, 4),
        (1, 2, 3),
        np.array([1, 2, 3]),
        pd.Series([1, 2, 3]),
        pd.Series([1, 2, 3], dtype="Int64"),
        pd.Index([1, 2, 3]),
        pl.Series([1, 2, 3]),
        iter(["1", "2", "3"]),
        {1: "a", 2: "b", 3: "c"}.keys(),
        [np.int64(1), np.int32(2), 3],
    ],
    ids=lambda users: type(users).__name__,
)
def test_ids_come_in_any_iterable(recommender: Recommender, users: Any) -> None:
    assert [each.user for each in recommender.recommend(users, 2)] == [1, 2, 3]


def test_a_set_is_a_history(recommender: Recommender) -> None:
    assert recommender.recommend_for_history({61, 62}) == recommender.recommend_for_history([61, 62])


@pytest.mark.parametrize(
    ("users", "says"),
    [
        (pd.DataFrame({"user": [1]}), "not a DataFrame; give one column of it"),
        (pl.DataFrame({"user": [1]}), "not a DataFrame; give one column of it"),
        (np.array(5), r"expected a list of (user|item) ids, not array\(5\); put it in a list"),
        (5, "put it in a list"),
    ],
)
def test_what_is_no_list_of_ids_is_refused(recommender: Recommender, users: Any, says: str) -> None:
    for call in (recommender.recommend, recommender.recommend_for_history, recommender.similar_items):
        with pytest.raises(UsageError, match=says):
            call(users)


def test_an_unknown_uuid_gets_the_fallback_under_its_text(recommender: Recommender) -> None:
    someone = uuid.UUID(int=5)
    (answer,) = recommender.recommend([someone], 3, fallback="popular")
    assert (answer.user, answer.status) == (str(someone), "cold")
    with pytest.raises(NotFoundError, match="00000000-0000-0000-0000-000000000005"):
        recommender.recommend([someone])


# Several histories


def test_several_histories_get_the_lists_that_each_gets_alone(recommender: Recommender) -> None:
    histories = [[61, 62], [31], ["70", 99999], [1, 2, 3, 4, 5]]
    rules: dict[str, Any] = {"only": {"genre": ["Drama", "Comedy"]}, "exclude": [32]}
    for options in ({}, rules, {"exact": True, "rerank": False}):
        several = recommender.recommend_for_histories(histories, 5, **options)
        assert len(several) == 4
        for history, one in zip(histories, several, strict=True):
            alone = recommender.recommend_for_history(history, 5, **options)
            assert (one.status, one.notes, one.filters) == (alone.status, alone.notes, alone.filters)
            assert [item.item for item in one.items] == [item.item for item in alone.items]
            assert np.allclose([i.score for i in one.items], [i.score for i in alone.items], atol=1e-4)
    assert several[2].notes == ("unknown items were left out: 99999",)


def test_histories_come_in_any_iterable_and_may_be_none(recommender: Recommender) -> None:
    expected = recommender.recommend_for_histories([[61, 62], [31, 32]], 3)
    assert recommender.recommend_for_histories(np.array([[61, 62], [31, 32]]), 3) == expected
    assert recommender.recommend_for_histories(pd.Series([[61, 62], [31, 32]]), 3) == expected
    assert recommender.recommend_for_histories(iter([{61, 62}, (31, 32)]), 3) == expected
    assert len(recommender.recommend_for_histories([])) == 0


def test_an_unknown_history_gets_the_fallback_in_its_place(recommender: Recommender) -> None:
    lists = recommender.recommend_for_histories([[99999], [61], ["x"]], 3, fallback="popular")
    assert [each.status for each in lists] == ["cold", "history", "cold"]
    assert lists[1] == recommender.recommend_for_history([61], 3)
    assert all(
        each.status == "cold" for each in recommender.recommend_for_histories([[0]], fallback="popular")
    )
    with pytest.raises(NotFoundError, match=r"no item of history 1 \(counted from 0\) is known: 99999"):
        recommender.recommend_for_histories([[61], [99999]])


@pytest.mark.parametrize(
    ("histories", "says"),
    [
        ([61, 62], r"a list of histories, .* but it holds 61; for one history call `recommend_for_history`"),
        (["61"], "holds '61'; for one history call `recommend_for_history`"),
        ("61", "expected a list of histories, each a list of item ids, not a str"),
        (5, "expected a list of histories, each a list of item ids, not 5"),
        ({"ann": [61]}, "not a dict"),
        (pd.DataFrame({"a": [1]}), "not a DataFrame"),
        ([[61], []], r"history 1 \(counted from 0\) is empty; name at least one item"),
        ([[61], [[62]]], r"expected a flat list of item ids, but it holds \[62\]$"),
    ],
)
def test_what_is_no_list_of_histories_is_refused(recommender: Recommender, histories: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        recommender.recommend_for_histories(histories)


def test_a_nested_history_is_told_of_the_method_for_several(recommender: Recommender) -> None:
    with pytest.raises(UsageError, match=r"holds \[61\]; for several .* `recommend_for_histories`$"):
        recommender.recommend_for_history([[61], [62]])  # type: ignore[list-item]


# Bundles


def test_a_recommender_knows_its_bundle_and_whether_it_is_current(
    own_artifacts: Path, tmp_path: Path
) -> None:
    first = Recommender.load(own_artifacts)
    assert first.is_current and first.bundle == (own_artifacts / CURRENT).read_text().strip()
    copy = Recommender.load(own_artifacts)
    second = Recommender.load(copy.save(own_artifacts))  # the folder that `save` returned
    assert copy.bundle == first.bundle != second.bundle
    assert (first.is_current, second.is_current) == (False, True)
    assert first.recommend([42], 5) == second.recommend([42], 5)
    assert Recommender.load(own_artifacts).bundle == second.bundle
    rollback(own_artifacts)
    assert (first.is_current, second.is_current) == (True, False)
    shutil.rmtree(own_artifacts)
    assert not first.is_current


def test_a_fit_has_a_bundle_once_it_is_saved(tiny_build: Build, tmp_path: Path) -> None:
    fitted = Recommender(tiny_build.served, tiny_build)
    assert fitted.bundle is None and not fitted.is_current
    folder = fitted.save(tmp_path)
    assert fitted.bundle == folder.name and fitted.is_current


def test_a_bundle_is_loaded_by_its_name_or_its_own_folder(own_artifacts: Path) -> None:
    old = Recommender.load(own_artifacts).bundle
    assert old is not None
    folder = Recommender.load(own_artifacts).save(own_artifacts)
    assert Recommender.load(own_artifacts).bundle == folder.name
    assert Recommender.load(own_artifacts, bundle=old).bundle == old
    assert Recommender.load(own_artifacts, bundle=old[-8:]).bundle == old
    assert Recommender.load(str(folder)).bundle == folder.name
    assert run("query", "--user", "42", "--bundle", old, "--artifacts", own_artifacts).code == 0
    with pytest.raises(NotFoundError, match="'nope' is in the name of no bundle"):
        Recommender.load(own_artifacts, bundle="nope")
    with pytest.raises(UsageError, match="the folder of one bundle already; leave out `bundle`"):
        Recommender.load(folder, bundle=old)
    with pytest.raises(UsageError, match="`bundle` must be the name of a bundle, not 5"):
        Recommender.load(own_artifacts, bundle=5)  # type: ignore[arg-type]


def test_a_bundle_copied_alone_is_loaded_and_never_current(own_artifacts: Path, tmp_path: Path) -> None:
    name = Recommender.load(own_artifacts).bundle
    copied = shutil.copytree(own_artifacts / "builds" / str(name), tmp_path / "shipped")
    loaded = Recommender.load(copied)
    assert (loaded.bundle, loaded.is_current) == ("shipped", False)
    assert loaded.recommend([42], 3) == Recommender.load(own_artifacts).recommend([42], 3)


def test_bundles_without_a_current_one_are_told_of_promote(own_artifacts: Path) -> None:
    name = Recommender.load(own_artifacts).bundle
    (own_artifacts / CURRENT).unlink()
    says = f"no bundle is current here; `retrieval bundles promote {name}` makes the latest so"
    with pytest.raises(ArtifactError, match=says):
        Recommender.load(own_artifacts)
    for command in (
        ["query", "--user", "42"],
        ["retrieval", "evaluate"],
        ["retrieval", "bundles", "rollback"],
    ):
        assert says in run(*command, "--artifacts", own_artifacts).refusal(4)
    assert run("retrieval", "bundles", "promote", name, "--artifacts", own_artifacts).code == 0
    assert run("query", "--user", "42", "--artifacts", own_artifacts).code == 0


def test_other_commands_say_where_the_folder_of_one_bundle_lies(own_artifacts: Path) -> None:
    folder = own_artifacts / "builds" / str(Recommender.load(own_artifacts).bundle)
    assert run("query", "--user", "42", "--artifacts", folder).code == 0
    told = run("retrieval", "evaluate", "--artifacts", folder).refusal(4)
    assert told == (
        f"error: {folder}: the folder of one bundle; give the one it lies in as --artifacts, {own_artifacts}"
    )
