import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from retrieval import ColumnNames, Recommender
from retrieval.data.datasets import Dataset
from retrieval.data.interactions import Interactions
from retrieval.errors import ArtifactError, DataError, NotFoundError, UsageError
from retrieval.pipeline.build import Build, build
from retrieval.serving.fitted_system import FittedSystem
from retrieval.serving.recommendations import RecommendationLists, Recommendations
from retrieval.settings import BuildSettings, TowerSettings, id_towers
from tests.support.reports import with_alpha


@pytest.fixture(scope="module")
def recommender(artifacts: Path) -> Recommender:
    return Recommender.load(artifacts)


def ids(answer: Recommendations) -> list[int | str]:
    return [item.item for item in answer.items]


def rated_by(recommender: Recommender, user: int | str) -> set[int | str]:
    row = recommender.system.users.row(user)
    assert row is not None
    return set(recommender.system.items.ids[recommender.system.model.seen.of(row)].tolist())


def assert_whole(answer: Recommendations, k: int, run: int = 1000) -> None:
    """Laws of every answer: at most k different known items; scores in order, in each run of places."""
    assert len(answer.items) <= k
    assert len(set(ids(answer))) == len(answer.items)
    assert -1 not in ids(answer)
    scores = [item.score for item in answer.items]
    for start in range(0, len(scores), run):
        assert scores[start : start + run] == sorted(scores[start : start + run], reverse=True)
    assert all(np.isfinite(scores))
    assert all(item.retrieval_rank >= 1 for item in answer.items)


# Answers


def test_a_known_user_gets_k_new_titled_items_with_predicted_ratings(recommender: Recommender) -> None:
    answer = recommender.recommend([42], 10)[0]
    assert_whole(answer, 10)
    assert (answer.user, answer.status, answer.k, answer.notes) == (42, "warm", 10, ())
    assert len(answer.items) == 10
    assert not set(ids(answer)) & rated_by(recommender, 42)
    assert all(item.title and item.title.endswith(")") for item in answer.items)
    assert all(item.predicted_rating is not None and 1 <= item.predicted_rating <= 5 for item in answer.items)


def test_a_number_and_its_text_are_the_same_user(recommender: Recommender) -> None:
    numbers, texts = recommender.recommend([42, 7], 5), recommender.recommend(["42", "7"], 5)
    assert list(numbers) == list(texts)
    assert list(recommender.recommend(np.array([42, 7]), 5)) == list(numbers)
    assert list(recommender.recommend(pl.Series([42, 7]), 5)) == list(numbers)  # type: ignore[arg-type]


def test_a_pandas_series_is_taken_by_value_not_by_label(recommender: Recommender) -> None:
    users = pd.Series([42, 7], index=[7, 42])
    assert [answer.user for answer in recommender.recommend(users, 3)] == [42, 7]
    with pytest.raises(NotFoundError, match="user 9999"):
        recommender.recommend(pd.Series([42, 9999], index=[3, 4]))


def test_a_batch_keeps_the_order_of_the_users_and_answers_each_as_if_alone(recommender: Recommender) -> None:
    users = [42, 3, 150, 3, 1]
    batch = recommender.recommend(users, 10)
    assert [answer.user for answer in batch] == users
    for user, answer in zip(users, batch, strict=True):
        alone = recommender.recommend([user], 10)[0]
        assert ids(answer) == ids(alone)
        assert [item.score for item in answer.items] == pytest.approx([item.score for item in alone.items])


def test_no_users_give_no_lists(recommender: Recommender) -> None:
    empty = recommender.recommend([])
    assert len(empty) == 0
    assert empty.to_polars().columns == empty.to_pandas().columns.to_list()


def test_exact_lists_are_the_best_inner_products_of_unseen_items(recommender: Recommender) -> None:
    model, row = recommender.system.model, recommender.system.users.row(42)
    assert row is not None
    scores = model.vectors.items @ model.vectors.users[row]
    scores[model.seen.of(row)] = -np.inf
    best = np.argsort(-scores, kind="stable")[:10]
    answer = recommender.recommend([42], 10, exact=True, rerank=False)[0]
    assert ids(answer) == recommender.system.items.ids[best].tolist()
    assert [item.score for item in answer.items] == pytest.approx(scores[best].tolist())
    assert [item.retrieval_rank for item in answer.items] == list(range(1, 11))
    assert all(item.predicted_rating is None for item in answer.items)


def test_exact_and_approximate_lists_differ_somewhere(recommender: Recommender) -> None:
    users = recommender.system.users.ids
    exact = recommender.recommend(users, 10, exact=True)
    assert [ids(answer) for answer in exact] != [ids(answer) for answer in recommender.recommend(users, 10)]


def test_reranking_reorders_the_candidates_by_the_blend(tiny_build: Build) -> None:
    recommender = Recommender(with_alpha(tiny_build.served, 1.0))
    answer = recommender.recommend([42], 20, exact=True)[0]
    plain = recommender.recommend([42], 20, exact=True, rerank=False)[0]
    assert set(ids(answer)) == set(ids(plain)) and ids(answer) != ids(plain)
    assert [item.retrieval_rank for item in answer.items] == [ids(plain).index(i) + 1 for i in ids(answer)]
    retrieval = np.array([item.retrieval_score for item in answer.items])
    ratings = np.array([item.predicted_rating for item in answer.items], dtype=float)
    blend = sum((values - values.mean()) / values.std() for values in (retrieval, ratings))
    assert [item.score for item in answer.items] == pytest.approx(blend, abs=1e-5)


@pytest.mark.parametrize("asked", ["user", "history"])
def test_a_rating_is_shown_within_the_scale_and_ordered_by_as_predicted(
    tiny_build: Build, asked: str
) -> None:
    """With bounds so narrow that most predictions lie beyond them, only what is shown differs."""
    system = with_alpha(tiny_build.served, 1.0)
    rating_model = system.model.rating_model
    assert rating_model is not None and rating_model.bounds == (1.0, 5.0)

    def answer(bounds: tuple[float, float]) -> Recommendations:
        model = replace(system.model, rating_model=replace(rating_model, bounds=bounds))
        bounded = Recommender(replace(system, model=model))
        return bounded.recommend([42], 30)[0] if asked == "user" else bounded.recommend_for_history([61], 30)

    plain = answer((-np.inf, np.inf))
    predicted = np.array([item.predicted_rating for item in plain.items], dtype=float)
    low, high = np.quantile(predicted, [0.3, 0.7]).tolist()
    clipped = answer((low, high))
    assert [(each.item, each.score) for each in clipped.items] == [
        (each.item, each.score) for each in plain.items
    ]
    shown = [item.predicted_rating for item in clipped.items]
    assert shown == np.clip(predicted, low, high).tolist()
    assert {low, high} <= set(shown)
    assert [each["predicted_rating"] for each in clipped.to_json()["items"]] == shown


def test_the_scale_of_the_ratings_is_that_of_each_fit_and_is_read_back(
    tiny_build: Build, artifacts: Path
) -> None:
    for part in ("served", "evaluated"):
        read = Recommender.load(artifacts, part=part).system.model.rating_model
        built: FittedSystem = getattr(tiny_build, part)
        assert read is not None and built.model.rating_model is not None
        assert read.bounds == built.model.rating_model.bounds == (1.0, 5.0)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("rerank", [True, False])
def test_more_than_the_catalogue_gives_all_there_are_and_says_so(
    recommender: Recommender, exact: bool, rerank: bool
) -> None:
    answer = recommender.recommend([42], 1000, exact=exact, rerank=rerank)[0]
    assert_whole(answer, 1000, run=recommender.system.model.n_candidates)
    everything = set(recommender.system.items.ids.tolist())
    assert set(ids(answer)) == everything - rated_by(recommender, 42)
    assert answer.notes == (
        f"only {len(answer.items)} of 1000: there are no other items this user has not seen",
    )


def test_json_has_the_keys_of_the_design_and_text_ids(recommender: Recommender) -> None:
    document = json.loads(json.dumps(recommender.recommend(["42"], np.int64(2))[0].to_json()))  # type: ignore[arg-type]
    assert {"user", "status", "k", "items"} <= document.keys()
    assert (document["user"], document["status"], document["k"]) == ("42", "warm", 2)
    assert all(
        item.keys() == {"item", "title", "score", "retrieval_rank", "retrieval_score", "predicted_rating"}
        and isinstance(item["item"], str)
        for item in document["items"]
    )


# Refusals


@pytest.mark.parametrize(
    ("user", "instead"),
    [
        (9999, "148, 149, 150"),
        ("43.5", "from 1 to 150"),
        ("bob", "from 1 to 150"),
        ("", "from 1 to 150"),
        (-3, "1, 2, 3"),
        (None, "from 1 to 150"),
        (float("nan"), "from 1 to 150"),
    ],
)
def test_an_unknown_user_is_answered_with_what_is_known(
    recommender: Recommender, user: int | str, instead: str
) -> None:
    with pytest.raises(
        NotFoundError, match=f"{instead}.*`recommend_for_history`.*`fallback=popular`"
    ) as caught:
        recommender.recommend([42, user])
    shown = repr(user) if user in ("", "43.5") else str(user)
    assert f"user {shown} is not among the 150 users" in str(caught.value)


@pytest.mark.parametrize("k", [0, -1, 2.5, "10", None, True])
def test_k_must_be_a_whole_number_from_one_on(recommender: Recommender, k: int) -> None:
    for call in (recommender.recommend, recommender.recommend_for_history, recommender.similar_items):
        with pytest.raises(UsageError, match="k must be"):
            call([42], k)


@pytest.mark.parametrize("single", ["42", 42, b"42"])
def test_one_id_in_place_of_a_list_is_refused(recommender: Recommender, single: str) -> None:
    # The text "42" would otherwise be taken for the users 4 and 2.
    for call in (recommender.recommend, recommender.recommend_for_history, recommender.similar_items):
        with pytest.raises(UsageError, match=r"expected a list of .* ids"):
            call(single, 5)


@pytest.mark.parametrize("nested", [[[42], [7]], [(42, 7)], np.array([[42], [7]]), [{"user": 42}]])
def test_a_list_inside_the_list_of_ids_is_refused(recommender: Recommender, nested: Any) -> None:
    for call in (recommender.recommend, recommender.recommend_for_history, recommender.similar_items):
        with pytest.raises(UsageError, match=r"expected a flat list of (user|item) ids"):
            call(nested, 5)


# What `fit`, `load` and `save` refuse

NO_TABLE = (
    "expected a table (pandas or polars DataFrame, LazyFrame, Arrow table, mapping of columns, list of "
    "dicts),"
)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"items": "movies.csv"}, f"{NO_TABLE} not str; read a file first"),
        ({"users": Path("users.csv")}, f"{NO_TABLE} not PosixPath; read a file first"),
        ({"items": [1, 2]}, f"{NO_TABLE} not list"),
        ({"settings": {"seed": 1}}, "settings must be BuildSettings(name=value, ...), not {'seed': 1}"),
        ({"settings": TowerSettings()}, "settings must be BuildSettings("),
        ({"columns": {"user": "who"}}, "columns must be ColumnNames(name=value, ...), not {'user': 'who'}"),
    ],
)
def test_fit_refuses_what_is_of_another_type(sample_set: Dataset, given: Any, says: str) -> None:
    with pytest.raises((UsageError, DataError)) as caught:
        Recommender.fit(sample_set.interactions, **given)
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"artifacts": 5}, "`artifacts` must be the path of a folder, not 5"),
        ({"artifacts": None}, "`artifacts` must be the path of a folder, not None"),
        ({"part": "best"}, "a bundle has the parts served and evaluated, not 'best'"),
        ({"verify": "no"}, "verify must be full or fast, not 'no'"),
        ({"memory_limit": "2G"}, "`memory_limit` must be a number of bytes, not '2G'"),
        ({"memory_limit": 0}, "`memory_limit` must be a number of bytes, not 0"),
    ],
)
def test_load_refuses_what_is_of_another_type(given: Any, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        Recommender.load(**given)
    assert str(caught.value) == says


def test_save_refuses_what_is_no_path(tiny_build: Build) -> None:
    with pytest.raises(UsageError, match=r"^`artifacts` must be the path of a folder, not 5$"):
        Recommender(tiny_build.served, tiny_build).save(5)  # type: ignore[arg-type]


def test_fit_takes_the_names_of_unusual_columns(sample_set: Dataset, tiny_settings: BuildSettings) -> None:
    plain = sample_set.interactions.frame
    named = plain.rename({"user": "who", "item": "what"})
    with pytest.raises(DataError, match=r"no user column: .*; name it with `columns\.user`"):
        Recommender.fit(named, settings=tiny_settings)
    fitted = Recommender.fit(named, columns=ColumnNames("who", "what"), settings=tiny_settings)
    assert fitted.recommend([42]) == Recommender.fit(plain, settings=tiny_settings).recommend([42])


# Histories


def test_a_history_gets_other_items_in_retrieval_order(recommender: Recommender) -> None:
    answer = recommender.recommend_for_history([1, 2, 3], 10)
    assert_whole(answer, 10)
    assert (answer.user, answer.status, len(answer.items)) == (None, "history", 10)
    assert not {1, 2, 3} & set(ids(answer))
    plain = recommender.recommend_for_history([1, 2, 3], 10, rerank=False)
    assert all(item.predicted_rating is None for item in plain.items)
    assert [item.retrieval_rank for item in plain.items] == list(range(1, 11))
    assert recommender.system.model.weights.newcomer_alpha == 0  # no weight was found for what NeuralMF says
    assert all(item.predicted_rating > 1 for item in answer.items)


def test_the_history_of_a_users_positives_is_scored_like_the_user(
    recommender: Recommender, sample_set: Dataset
) -> None:
    frame = sample_set.interactions.frame
    liked = frame.filter((pl.col("user") == 42) & (pl.col("rating") >= 4))["item"].to_list()
    model, row = recommender.system.model, recommender.system.users.row(42)
    for item in recommender.recommend_for_history(liked, 10, exact=True).items:
        expected = model.vectors.users[row] @ model.vectors.items[recommender.system.items.row(item.item)]
        assert item.retrieval_score == pytest.approx(float(expected), abs=1e-6)


def test_order_repetitions_and_type_of_a_history_do_not_matter(recommender: Recommender) -> None:
    plain = recommender.recommend_for_history([1, 2, 3], 5)
    assert recommender.recommend_for_history(["3", "1", "2", "3"], 5) == plain
    assert recommender.recommend_for_history(np.array([2, 3, 1]), 5) == plain


def test_unknown_items_of_a_history_are_left_out_and_named(recommender: Recommender) -> None:
    answer = recommender.recommend_for_history([1, 777, "nonsense"], 5)
    assert ids(answer) == ids(recommender.recommend_for_history([1], 5))
    assert answer.notes[0] == "unknown items were left out: 777, nonsense"


def test_a_history_of_unknown_items_only_is_not_found(recommender: Recommender) -> None:
    with pytest.raises(NotFoundError, match=r"777, 888; the nearest ids are 118, 119, 120"):
        recommender.recommend_for_history([777, 888])
    with pytest.raises(NotFoundError, match="numbers from 1 to 120"):
        recommender.recommend_for_history(["nonsense"])


def test_an_empty_history_is_refused(recommender: Recommender) -> None:
    with pytest.raises(UsageError, match="history is empty"):
        recommender.recommend_for_history([])


def test_a_history_of_everything_gets_an_empty_list(recommender: Recommender) -> None:
    answer = recommender.recommend_for_history(recommender.system.items.ids, 10)
    assert answer.items == ()
    assert any(note.startswith("only 0 of 10") for note in answer.notes)


def test_the_id_tower_answers_its_users_and_refuses_histories(
    sample_set: Dataset, tiny_settings: BuildSettings, tmp_path: Path
) -> None:
    towers = id_towers(dimension=8, max_epochs=2)
    fitted = Recommender.fit(sample_set.interactions, settings=replace(tiny_settings, towers=towers))
    fitted.save(tmp_path)
    for recommender in (fitted, Recommender.load(tmp_path)):
        assert len(recommender.recommend([42], 10)[0].items) == 10
        with pytest.raises(UsageError, match=r"`towers\.user_tower=history`"):
            recommender.recommend_for_history([1, 2])
        with pytest.raises(NotFoundError, match="serves only the users it was built on"):
            recommender.recommend([9999])
    # Without a table of titles there are none.
    assert {item.title for item in fitted.recommend([42])[0].items} == {None}


# Similar items


def test_similar_items_are_the_nearest_by_cosine_without_the_item_itself(recommender: Recommender) -> None:
    answer = recommender.similar_items(["53"], 5)[0]
    vectors = recommender.system.model.vectors.items[:, :-1]
    row = recommender.system.items.row(53)
    cosines = vectors @ vectors[row] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vectors[row])
    cosines[row] = -np.inf
    best = np.argsort(-cosines, kind="stable")[:5]
    assert (answer.user, answer.similar_to, answer.status) == (None, 53, "similar")
    assert (answer.to_json()["user"], answer.to_json()["similar_to"]) == (None, "53")
    assert recommender.similar_items([53], 2).to_pandas()["similar_to"].tolist() == [53, 53]
    assert ids(answer) == recommender.system.items.ids[best].tolist()
    assert [item.score for item in answer.items] == pytest.approx(cosines[best].tolist(), abs=1e-6)


def test_all_similar_items_are_all_but_the_item(recommender: Recommender) -> None:
    answer = recommender.similar_items([53], 1000)[0]
    assert_whole(answer, 1000)
    assert set(ids(answer)) == set(range(1, 121)) - {53}
    assert answer.notes == ("only 119 of 1000: there are no other items",)


def test_an_unknown_item_is_not_found(recommender: Recommender) -> None:
    with pytest.raises(NotFoundError, match=r"item 999 is not among the 120 items.*118, 119, 120"):
        recommender.similar_items([53, 999])


# Frames


def test_lists_become_frames_with_a_row_a_place(recommender: Recommender) -> None:
    lists = recommender.recommend([42, 7], 3)
    frame = lists.to_polars()
    assert frame["user"].to_list() == [42] * 3 + [7] * 3
    assert frame["rank"].to_list() == [1, 2, 3] * 2
    assert frame["item"].to_list() == ids(lists[0]) + ids(lists[1])
    pandas = lists.to_pandas()
    assert pandas.columns.to_list() == frame.columns
    assert pandas["score"].to_list() == frame["score"].to_list()
    part = lists[1:]
    assert isinstance(part, RecommendationLists) and part.to_polars()["user"].to_list() == [7] * 3


def test_lists_without_ratings_become_frames_too(recommender: Recommender) -> None:
    lists = recommender.recommend([42], 3, rerank=False)
    assert lists.to_polars()["predicted_rating"].null_count() == 3
    assert lists.to_pandas()["predicted_rating"].isna().all()


# Fit, save, load


def everything_asked(recommender: Recommender) -> list[Recommendations]:
    users, items = recommender.system.users.ids, recommender.system.items.ids
    return [
        *recommender.recommend(users, 10),
        *recommender.recommend(users, 10, exact=True),
        *recommender.recommend(users, 10, rerank=False),
        *recommender.similar_items(items, 10),
        *(recommender.recommend_for_history(items[start : start + 4], 10) for start in range(0, 100, 9)),
    ]


def test_saved_and_loaded_gives_equal_answers_and_the_same_report(tiny_build: Build, tmp_path: Path) -> None:
    fitted = Recommender(tiny_build.served, tiny_build)
    assert fitted.save(tmp_path / "a").parent == tmp_path / "a" / "builds"
    loaded = Recommender.load(tmp_path / "a")
    assert everything_asked(loaded) == everything_asked(fitted)
    assert loaded.report == fitted.report
    loaded.save(str(tmp_path / "b"))
    copied = Recommender.load(str(tmp_path / "b"))
    assert everything_asked(copied) == everything_asked(fitted)
    assert copied.report == fitted.report
    copied.save(tmp_path / "b")  # beside itself
    assert len(list((tmp_path / "b" / "builds").iterdir())) == 2
    assert everything_asked(Recommender.load(tmp_path / "b")) == everything_asked(fitted)


def test_the_evaluated_part_can_be_loaded_too(tiny_build: Build, artifacts: Path) -> None:
    loaded = Recommender.load(artifacts, part="evaluated")
    assert everything_asked(loaded) == everything_asked(Recommender(tiny_build.evaluated))
    with pytest.raises(NotFoundError, match="139 users"):
        loaded.recommend(range(1, 151))  # whoever came after train is unknown to it
    with pytest.raises(UsageError, match="not 'test'"):
        Recommender.load(artifacts, part="test")


def test_nothing_to_load_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="run build-index first"):
        Recommender.load(tmp_path)


def test_a_recommender_put_together_by_hand_has_no_report_and_cannot_be_saved(
    tiny_build: Build, tmp_path: Path
) -> None:
    by_hand = Recommender(tiny_build.served)
    with pytest.raises(ValueError, match="fit or load"):
        by_hand.save(tmp_path)
    with pytest.raises(ValueError, match="fit or load"):
        _ = by_hand.report
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_fit_takes_frames_and_leaves_them_as_they_are(
    sample_set: Dataset, tiny_settings: BuildSettings, tiny_build: Build, library: str
) -> None:
    names = {"user": "userId", "item": "movieId", "timestamp": "ts"}
    frame = sample_set.interactions.frame.rename(names).reverse()
    # Through a dict: polars' to_pandas would need pyarrow.
    given = frame if library == "polars" else pd.DataFrame(frame.to_dict(as_series=False))
    before = given.clone() if library == "polars" else given.copy(deep=True)  # type: ignore[union-attr]
    fitted = Recommender.fit(given, items=sample_set.items, settings=tiny_settings)
    assert given.equals(before)
    # The order of the rows and the library make no difference.
    assert everything_asked(fitted) == everything_asked(Recommender(tiny_build.served))


# Unusual users and ids

QUIET, GREEDY = "nichts gefällt", "sah alles"


@pytest.fixture(scope="module")
def text_ids(sample_set: Dataset, tiny_settings: BuildSettings) -> Iterator[Recommender]:
    """The sample with text ids, a user who likes nothing and one who has rated everything."""
    frame = sample_set.interactions.frame
    user = (
        pl.when(pl.col("user") % 2 == 0)
        .then(pl.format("anna {}", pl.col("user")))
        .otherwise(pl.format("üser-{}", pl.col("user")))
    )
    frame = frame.with_columns(user=user, item=pl.format("film/{}", pl.col("item")))
    first, items = frame["timestamp"].min(), frame["item"].unique().sort()
    extra = [
        pl.DataFrame({"user": [name] * len(rated), "item": rated}).with_columns(
            rating=pl.lit(rating, pl.Float32), timestamp=pl.lit(first, pl.Int64)
        )
        for name, rated, rating in ((QUIET, items[:3], 1.0), (GREEDY, items, 4.0))
    ]
    interactions = Interactions.from_frame(pl.concat([frame, *extra]))
    yield Recommender.fit(interactions, settings=tiny_settings)


def test_text_ids_work_from_fit_to_frame(text_ids: Recommender, tmp_path: Path) -> None:
    text_ids.save(tmp_path)
    loaded = Recommender.load(tmp_path)
    assert everything_asked(loaded) == everything_asked(text_ids)
    answers = loaded.recommend(["anna 42", "üser-7"], 5)
    assert [answer.user for answer in answers] == ["anna 42", "üser-7"]
    assert all(str(item).startswith("film/") for answer in answers for item in ids(answer))
    assert answers.to_polars()["user"].to_list() == ["anna 42"] * 5 + ["üser-7"] * 5
    assert loaded.recommend_for_history(["film/1", "film/2"], 5).items
    assert answers[1].to_json()["user"] == "üser-7"


def test_an_unknown_text_id_is_answered_with_the_most_similar(text_ids: Recommender) -> None:
    with pytest.raises(NotFoundError, match=r"anna42 is not.*'anna 42'"):
        text_ids.recommend(["anna42"])
    with pytest.raises(NotFoundError, match="user 42 is not among"):
        text_ids.recommend([42])


def test_a_user_who_likes_nothing_gets_a_list_all_the_same(text_ids: Recommender) -> None:
    answer = text_ids.recommend([QUIET], 10)[0]
    assert_whole(answer, 10)
    assert len(answer.items) == 10
    assert not set(ids(answer)) & rated_by(text_ids, QUIET)


@pytest.mark.parametrize("exact", [True, False])
def test_a_user_who_has_seen_everything_gets_an_empty_list(text_ids: Recommender, exact: bool) -> None:
    alone = text_ids.recommend([GREEDY], 10, exact=exact)[0]
    assert alone.items == ()
    assert alone.notes == ("only 0 of 10: there are no other items this user has not seen",)
    between = text_ids.recommend(["anna 42", GREEDY, "üser-7"], 10, exact=exact)
    assert [len(answer.items) for answer in between] == [10, 0, 10]


def test_a_pair_rated_twice_counts_once(sample_set: Dataset, tiny_settings: BuildSettings) -> None:
    frame = sample_set.interactions.frame
    doubled = build(Interactions.from_frame(pl.concat([frame, frame])), settings=tiny_settings)
    assert doubled.split.counts.duplicates == len(frame)
    assert len(doubled.served.model.seen.items) == len(frame)


def test_a_path_is_no_table() -> None:
    with pytest.raises(
        DataError, match=r"expected a table \(pandas or polars DataFrame, .*\), not str; read a file first"
    ):
        Recommender.fit("ratings.csv")  # type: ignore[arg-type]


def test_a_recommender_says_what_it_knows(recommender: Recommender) -> None:
    assert repr(recommender) == "<Recommender: 150 users, 120 items>"
