"""What unknown people get when they are asked for with a fallback: the popular items, and a word on it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from retrieval import Recommender
from retrieval.cli.query import query as query_command
from retrieval.data.datasets import Dataset
from retrieval.data.split import latest_of_each_pair
from retrieval.errors import NotFoundError, UsageError
from retrieval.pipeline.build import Build
from retrieval.serving.recommendations import Recommendations

UNKNOWN = "user 9999 is unknown: these are the most popular items"


@pytest.fixture(scope="module")
def recommender(artifacts: Path) -> Recommender:
    return Recommender.load(artifacts)


@pytest.fixture(scope="module")
def query(artifacts: Path) -> Callable[..., Any]:
    """The command `query` on the session's bundle, in this process."""
    return lambda *flags: CliRunner().invoke(query_command, ["--artifacts", str(artifacts), *flags])


def ids(answer: Recommendations) -> list[int | str]:
    return [item.item for item in answer.items]


def most_popular(frame: pl.DataFrame, window: float) -> list[int]:
    """All items: by liked rows among the last share of them, then by liked rows of all times, then by id."""
    liked = [
        (item, time)
        for item, rating, time in frame.select("item", "rating", "timestamp").rows()
        if rating >= 4
    ]
    start = np.quantile([time for _, time in liked], 1 - window)
    recent = [item for item, time in liked if time >= start]
    overall = [item for item, _ in liked]
    items = frame["item"].unique().to_list()
    return sorted(items, key=lambda item: (-recent.count(item), -overall.count(item), item))


def test_an_unknown_user_gets_what_is_popular_now(
    recommender: Recommender, sample_set: Dataset, tiny_build: Build
) -> None:
    window = recommender.report["baselines"]["recent_window"]
    expected = most_popular(sample_set.interactions.frame, window)
    answer = recommender.recommend([9999], 120, fallback="popular")[0]
    assert ids(answer) == expected
    assert (answer.user, answer.status, answer.k, answer.notes) == (9999, "cold", 120, (UNKNOWN,))
    # Of the report's window, not of all times; and there are ties to be broken.
    assert expected != most_popular(sample_set.interactions.frame, 1.0)
    scores = [item.score for item in answer.items]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) < len(scores)
    for rank, item in enumerate(answer.items, start=1):
        assert item.predicted_rating is None
        assert (item.retrieval_rank, item.retrieval_score) == (rank, item.score)
        assert item.title and item.title.endswith(")")
    assert ids(recommender.recommend([9999], 7, fallback="popular")[0]) == expected[:7]


def test_the_evaluated_part_knows_what_was_popular_in_train(
    artifacts: Path, tiny_build: Build, sample_set: Dataset
) -> None:
    evaluated = Recommender.load(artifacts, part="evaluated")
    answer = evaluated.recommend(["nobody"], 1000, fallback="popular")[0]
    window = evaluated.report["baselines"]["recent_window"]
    assert ids(answer) == most_popular(tiny_build.split.train, window)
    served = most_popular(latest_of_each_pair(sample_set.interactions.frame), window)
    assert [item for item in served if item in ids(answer)] != ids(answer)


def test_ties_of_popularity_are_broken_by_id(tiny_build: Build) -> None:
    system = tiny_build.served
    popularity = np.zeros(len(system.items), dtype=np.float32)
    popularity[[5, 70, 99]] = 2
    flat = Recommender(replace(system, popularity=popularity))
    answer = flat.recommend(["x"], 6, fallback="popular")[0]
    rows = [5, 70, 99, 0, 1, 2]
    assert ids(answer) == system.items.ids[rows].tolist()


def test_a_mixed_batch_keeps_its_order_and_answers_each_as_if_alone(recommender: Recommender) -> None:
    users = [9999, 42, "nobody", 3, "42", 9999]
    batch = recommender.recommend(users, 5, fallback="popular")
    assert [answer.user for answer in batch] == [9999, 42, "nobody", 3, 42, 9999]
    assert [answer.status for answer in batch] == ["cold", "warm", "cold", "warm", "warm", "cold"]
    for user, answer in zip(users, batch, strict=True):
        assert answer == recommender.recommend([user], 5, fallback="popular")[0]
    assert ids(batch[0]) == ids(batch[2])
    assert batch[2].notes == ("user nobody is unknown: these are the most popular items",)


@pytest.mark.parametrize("flags", [{}, {"exact": True}, {"rerank": False}])
def test_known_users_get_what_they_get_without_a_fallback(
    recommender: Recommender, flags: dict[str, bool]
) -> None:
    users = [42, 3, 150]
    plain = recommender.recommend(users, 10, **flags)
    assert list(recommender.recommend(users, 10, **flags, fallback="popular")) == list(plain)
    assert {answer.status for answer in plain} == {"warm"}


@pytest.mark.parametrize("users", [[9999], [42, 9999], [9999, 42]])
def test_without_a_fallback_an_unknown_user_stays_an_error(
    recommender: Recommender, users: list[int]
) -> None:
    with pytest.raises(NotFoundError, match="user 9999 is not among the 150 users of this bundle"):
        recommender.recommend(users)


def test_frames_take_cold_and_warm_lists_together(recommender: Recommender) -> None:
    for users in ([9999, 42], ["nobody", 42], [42, "nobody"]):
        lists = recommender.recommend(users, 2, fallback="popular")
        frame = lists.to_polars()
        assert frame["item"].to_list() == [item for answer in lists for item in ids(answer)]
        assert [str(user) for user in frame["user"]] == [str(user) for user in users for _ in range(2)]
        rated = frame["predicted_rating"].is_not_null().to_list()
        assert rated == [user == 42 for user in users for _ in range(2)]
        assert lists.to_pandas()["user"].astype(str).tolist() == [str(user) for user in frame["user"]]


@pytest.mark.parametrize("users", [np.array([9999, 42]), pl.Series([9999, 42])], ids=["numpy", "polars"])
def test_ids_come_back_as_plain_values(recommender: Recommender, users: Any) -> None:
    answers = recommender.recommend(users, 2, fallback="popular")
    assert [type(answer.user) for answer in answers] == [int, int]


def test_more_than_the_catalogue_gives_all_of_it_and_says_so(recommender: Recommender) -> None:
    answer = recommender.recommend([9999], 1000, fallback="popular")[0]
    assert sorted(ids(answer)) == recommender.system.items.ids.tolist()
    assert answer.notes == (UNKNOWN, "only 120 of 1000: there are no other items")


def test_a_history_without_a_known_item_falls_back_only_when_asked(recommender: Recommender) -> None:
    with pytest.raises(NotFoundError, match="no item of the history is known: 777, nothing"):
        recommender.recommend_for_history([777, "nothing"])
    answer = recommender.recommend_for_history([777, "nothing"], 5, fallback="popular")
    assert (answer.user, answer.status, answer.k) == (None, "cold", 5)
    assert answer.notes == ("no item of the history is known: these are the most popular items",)
    assert ids(answer) == ids(recommender.recommend([9999], 5, fallback="popular")[0])


def test_a_history_with_a_known_item_needs_no_fallback(recommender: Recommender) -> None:
    plain = recommender.recommend_for_history([3, "nothing"], 5)
    assert recommender.recommend_for_history([3, "nothing"], 5, fallback="popular") == plain
    assert plain.status == "history"


@pytest.mark.parametrize("k", [0, -1, 2.5])
def test_a_bad_k_is_refused_before_any_fallback(recommender: Recommender, k: Any) -> None:
    with pytest.raises(UsageError, match="k must be an integer"):
        recommender.recommend([9999], k, fallback="popular")
    with pytest.raises(UsageError, match="k must be an integer"):
        recommender.recommend_for_history([777], k, fallback="popular")


def test_a_bundle_that_knows_only_its_users_has_the_fallback_too(tiny_build: Build) -> None:
    system = tiny_build.served
    vectors = replace(system.model.vectors, history_items=None, prior=None, features=None)
    known_only = Recommender(replace(system, model=replace(system.model, vectors=vectors)))
    answer = known_only.recommend([9999], 5, fallback="popular")[0]
    assert (answer.status, len(answer.items)) == ("cold", 5)
    with pytest.raises(NotFoundError, match="serves only the users it was built on"):
        known_only.recommend([9999])
    # It cannot take any history: that is no history of unknown items.
    with pytest.raises(UsageError, match="cannot take a history"):
        known_only.recommend_for_history([3], fallback="popular")


# The command


def test_the_json_of_a_cold_answer_has_the_keys_of_every_answer(query: Callable[..., Any]) -> None:
    cold = json.loads(query("--user", "9999", "--k", "3", "--fallback", "popular", "--json").stdout)
    warm = json.loads(query("--user", "42", "--k", "3", "--fallback", "popular", "--json").stdout)
    assert cold.keys() == warm.keys()
    assert (cold["user"], cold["status"], cold["k"], cold["notes"]) == ("9999", "cold", 3, [UNKNOWN])
    assert (warm["status"], warm["notes"]) == ("warm", [])
    assert [item.keys() for item in cold["items"]] == [item.keys() for item in warm["items"]]
    for item in cold["items"]:
        assert isinstance(item["item"], str) and item["predicted_rating"] is None
    history = json.loads(query("--history", "777", "--k", "3", "--fallback", "popular", "--json").stdout)
    assert (history["user"], history["status"]) == (None, "cold")
    assert history["items"] == cold["items"]


def test_the_text_of_a_cold_answer_says_what_it_is(query: Callable[..., Any]) -> None:
    lines = query("--user", "nobody", "--k", "3", "--fallback", "popular").stdout.splitlines()
    assert lines[0] == "3 recommendations for user nobody"
    assert lines[1].split() == ["item", "title", "score", "retrieved"]
    assert lines[5:] == ["note: user nobody is unknown: these are the most popular items"]
    text = query("--history", "777,778", "--k", "3", "--fallback", "popular").stdout
    assert text.startswith("3 recommendations for someone with this history\n")
    assert text.endswith("\nnote: no item of the history is known: these are the most popular items\n")


@pytest.mark.parametrize("flags", [["--user", "9999"], ["--history", "777"]])
def test_the_command_without_a_fallback_ends_with_not_found(
    query: Callable[..., Any], flags: list[str]
) -> None:
    ran = query(*flags)
    assert isinstance(ran.exception, NotFoundError) and ran.exception.exit_code == 5
    assert ran.stdout == ""


def test_the_command_knows_one_fallback(query: Callable[..., Any]) -> None:
    ran = query("--user", "9999", "--fallback", "random")
    assert ran.exit_code == 2
    assert "popular" in ran.stderr
