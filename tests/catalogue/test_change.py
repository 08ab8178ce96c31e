"""A fitted system with other items: what is known of each stays with its id, nothing is trained again."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from index import AnnIndex, ItemLists
from retrieval.catalogue.change import NewItems, compacted, interactions_of, with_items, without_items
from retrieval.catalogue.new_items import items_of_table, known_columns
from retrieval.data.datasets import Dataset
from retrieval.data.ids import IdMap
from retrieval.data.items import ItemTable, read_items
from retrieval.errors import DataError, NotFoundError, UsageError
from retrieval.pipeline.build import Build, build
from retrieval.recommender import Recommender
from retrieval.serving.fitted_model import recent_demand
from retrieval.serving.fitted_system import FittedSystem
from retrieval.serving.rating_model import RatingModel
from retrieval.serving.rerank import BlendWeights
from retrieval.serving.tower_vectors import TowerVectors, pool_histories, with_one
from retrieval.serving.two_stage import TwoStageModel
from retrieval.settings import BuildSettings, id_towers

WIDTH = 3  # of the small system's vectors, bias included


def small_system(ids: list[Any] = [10, 20, 30, 40]) -> FittedSystem:  # noqa: B006
    """Four items and two users; user 1 has seen 10 and 30, user 2 has seen 20; nobody 40."""
    items = np.float32([[1, 0, 0], [0, 1, 0], [2, 0, 0], [0, 3, 0]])
    table = np.float32([[1, 1], [2, 2], [3, 3], [4, 4]])
    seen, prior = ItemLists.from_pairs([0, 0, 1], [0, 2, 1], 2), np.zeros(2, np.float32)
    vectors = TowerVectors(items, np.float32([[1, 0, 1], [0, 1, 1]]), table, prior)
    rng = np.random.default_rng(0)
    shapes = {
        "users.weight": (3, 2), "items.weight": (4, 2), "first.weight": (3, 4), "first.bias": (3,),
        "second.weight": (2, 3), "second.bias": (2,), "output.weight": (1, 2), "output.bias": (1,),
    }  # fmt: skip
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    popularity = np.float32([3, 1, 2, 0])
    ann = AnnIndex.build(items, "Flat", seed=1, threads=1)
    model = TwoStageModel(
        vectors,
        RatingModel.from_weights(weights),
        seen,
        4,
        recent_demand(popularity),
        BlendWeights(alpha=0.5, trend_weight=0.5),
        ann=ann,
    )
    titles = np.array(["ten", "twenty", "thirty", "forty"])
    users = IdMap.from_values([1, 2])
    return FittedSystem(model, users, IdMap.from_values(ids), titles, popularity, vectors.weights(), weights)


def new_items(ids: list[Any], vectors: Any, titles: list[str] | None = None) -> NewItems:
    """Items whose rows in the table of histories are all nines."""
    order = np.argsort(ids)
    texts = np.array(titles or [f"new {each}" for each in ids])[order]
    histories = np.full((len(ids), WIDTH - 1), 9, np.float32)
    return NewItems(IdMap(np.array(ids)[order]), texts, np.float32(vectors)[order], histories)


def seen_ids(system: FittedSystem) -> list[list[Any]]:
    return [system.items.ids[system.model.seen.of(row)].tolist() for row in range(len(system.users))]


def listed(system: FittedSystem, user: int, **how: Any) -> list[Any]:
    answer = Recommender(system).recommend([user], 10, **how)[0]
    return [item.item for item in answer.items]


# Known answers


def test_a_new_item_stands_where_its_id_belongs_and_is_recommended_by_its_vector() -> None:
    before = small_system()
    after = with_items(before, new_items([25], [[5, 0, 0]]))
    assert after.items.ids.tolist() == [10, 20, 25, 30, 40]
    assert after.titles.tolist() == ["ten", "twenty", "new 25", "thirty", "forty"]
    assert after.model.vectors.items[:, 0].tolist() == [1, 0, 5, 2, 0]
    assert after.model.vectors.history_items[:, 0].tolist() == [1, 2, 9, 3, 4]
    assert after.popularity.tolist() == [3, 1, 0, 2, 0]
    assert after.model.trend.tolist() == np.log1p(np.float32([3, 1, 0, 2, 0])).tolist()
    assert seen_ids(after) == [[10, 30], [20]]
    assert listed(before, 1, rerank=False) == [20, 40]
    assert listed(after, 1, rerank=False) == [25, 20, 40]
    assert listed(after, 1, rerank=False, exact=True) == [25, 20, 40]
    assert (after.model.ann.size, after.model.ann.tombstones) == (5, 0)
    assert after.tower_weights["items.weight"] is after.model.vectors.items


def test_seen_items_stay_left_out_when_their_rows_shift() -> None:
    after = with_items(small_system(), new_items([5, 15, 35, 99], np.ones((4, WIDTH))))
    assert seen_ids(after) == [[10, 30], [20]]
    assert set(listed(after, 1)) == {5, 15, 20, 35, 40, 99}
    assert set(listed(after, 2)) == {5, 10, 15, 30, 35, 40, 99}


def test_of_a_new_item_neural_mf_knows_the_mean_of_what_people_have_met() -> None:
    before = small_system()
    after = with_items(before, new_items([25], [[5, 0, 0]]))
    table, weights = before.neural_mf_weights["items.weight"], after.neural_mf_weights["items.weight"]
    np.testing.assert_array_equal(weights[[0, 1, 3, 4]], table)
    np.testing.assert_allclose(weights[2], table[:3].mean(axis=0), rtol=1e-6)  # nobody has met 40
    users, items = np.array([0, 1]), np.array([[0, 1, 2, 3]] * 2)
    old = before.model.rating_model.predict(users, items)
    new = after.model.rating_model.predict(users, np.array([[0, 1, 3, 4]] * 2))
    np.testing.assert_allclose(new, old, rtol=1e-5)


def test_a_changed_catalogue_keeps_the_scale_of_the_ratings() -> None:
    before = small_system()
    rating_model = replace(before.model.rating_model, bounds=(1.0, 5.0))
    before = replace(before, model=replace(before.model, rating_model=rating_model))
    for after in (with_items(before, new_items([25], [[5, 0, 0]])), without_items(before, [20]), before):
        assert compacted(after, seed=0, threads=1).model.rating_model.bounds == (1.0, 5.0)


def test_a_replaced_item_gets_vector_and_title_and_keeps_what_people_did() -> None:
    before = small_system()
    after = with_items(before, new_items([30, 40], [[0, 7, 0], [0, 3, 0]], ["a longer title", "forty"]))
    assert after.items.ids.tolist() == [10, 20, 30, 40]
    assert after.titles.tolist() == ["ten", "twenty", "a longer title", "forty"]
    assert after.model.vectors.items[2].tolist() == [0, 7, 0]
    assert after.model.vectors.history_items[2].tolist() == [9, 9]
    assert seen_ids(after) == [[10, 30], [20]]
    assert after.popularity.tolist() == before.popularity.tolist()
    np.testing.assert_array_equal(
        after.neural_mf_weights["items.weight"], before.neural_mf_weights["items.weight"]
    )
    assert listed(after, 2, rerank=False) == [30, 40, 10]
    assert after.model.ann.tombstones == 1  # 40 has the vector it had


def test_a_removed_item_is_gone_from_everywhere() -> None:
    before = small_system()
    after = without_items(before, ["30", 20, 20])
    assert after.items.ids.tolist() == [10, 40]
    assert after.titles.tolist() == ["ten", "forty"]
    assert seen_ids(after) == [[10], []]
    assert listed(after, 1, rerank=False) == [40] and listed(after, 2, rerank=False) == [40, 10]
    np.testing.assert_array_equal(after.model.vectors.users, before.model.vectors.users)
    assert after.model.ann.tombstones == 2
    assert len(before.items) == 4 and listed(before, 1, rerank=False) == [20, 40]


def test_a_removed_item_that_comes_back_is_a_new_one() -> None:
    after = with_items(without_items(small_system(), [30]), new_items([30], [[2, 0, 0]]))
    assert seen_ids(after) == [[10], [20]]
    assert listed(after, 1, rerank=False) == [30, 20, 40]
    assert (after.model.ann.size, after.model.ann.tombstones) == (4, 1)


def test_a_new_item_in_a_history_counts_and_is_left_out() -> None:
    after = with_items(small_system(), new_items([25], [[5, 0, 0]]))
    answer = Recommender(after).recommend_for_history([25], 10, rerank=False)
    assert [item.item for item in answer.items] == [40, 30, 10, 20]
    assert answer.items[0].retrieval_score == pytest.approx(9 / 2**0.5 * 3)


def test_compacting_drops_tombstones_and_changes_no_answer() -> None:
    changed = without_items(with_items(small_system(), new_items([25], [[5, 0, 0]])), [10])
    compact = compacted(changed, seed=1, threads=1)
    assert (changed.model.ann.tombstones, compact.model.ann.tombstones) == (1, 0)
    assert compact.model.ann.name == changed.model.ann.name == "Flat"
    for user in (1, 2):
        assert listed(compact, user) == listed(changed, user)


def test_an_index_that_so_few_items_do_not_allow_becomes_the_default_one() -> None:
    rng = np.random.default_rng(0)
    system = with_items(small_system(), new_items(list(range(100, 140)), rng.normal(size=(40, WIDTH))))
    ann = AnnIndex.build(system.model.vectors.items, "IVF20,Flat", seed=1, threads=1)
    system = replace(system, model=replace(system.model, ann=ann.with_nprobe(20)))
    assert compacted(system, seed=1, threads=1).model.ann.name == "IVF20,Flat nprobe=20"
    few = without_items(system, list(range(100, 140)))
    assert compacted(few, seed=1, threads=1).model.ann.name == "IVF1,Flat nprobe=1"


@pytest.mark.parametrize(("ids", "new"), [(["a", "b", "c", "d"], ["bb"]), (["a", "b", "c", "d"], ["é"])])
def test_ids_of_text_are_sorted_as_text(ids: list[str], new: list[str]) -> None:
    after = with_items(small_system(ids), new_items(new, [[5, 0, 0]]))
    assert after.items.ids.tolist() == sorted([*ids, *new])
    assert seen_ids(after) == [["a", "c"], ["b"]]
    assert listed(after, 1, rerank=False)[0] == new[0]


# Refusals


def test_an_unknown_item_cannot_be_removed_and_the_nearest_are_named() -> None:
    with pytest.raises(NotFoundError, match=r"item 31 is not among the 4 .* nearest ids are 20, 30, 40"):
        without_items(small_system(), [30, 31])
    with pytest.raises(NotFoundError, match="item 31 and 1 others are not"):
        without_items(small_system(), [31, 32])


def test_one_item_must_be_left() -> None:
    with pytest.raises(UsageError, match="all 4 items"):
        without_items(small_system(), [10, 20, 30, 40])


def test_ids_of_the_other_type_are_refused() -> None:
    with pytest.raises(ValueError, match="not both integers or both text"):
        with_items(small_system(), new_items(["x"], [[5, 0, 0]]))


def test_parts_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 ids for 2, 1, 2 rows"):
        NewItems(
            IdMap.from_values([1, 2]),
            np.array(["", ""]),
            np.ones((1, 3), np.float32),
            np.ones((2, 2), np.float32),
        )


# What a table says


@pytest.fixture(scope="module")
def late_table(sample_set: Dataset) -> ItemTable:
    """The sample's items and three that nobody has met: two with categories, one with none."""
    frame = sample_set.items.frame
    late = pl.DataFrame(
        {
            "item": [0, 5000, 5001],
            "title": ["Zero (1991)", "Late (1999)", "Blank"],
            "genres": [["Action"], ["Comedy", "Drama"], []],
        },
        schema_overrides={"genres": pl.List(pl.String)},
    )
    years = pl.DataFrame({"year": [["1991"], ["1999"], []]}, schema={"year": pl.List(pl.String)})
    return ItemTable(pl.concat([frame, late]), pl.concat([sample_set.items.categories, years]))


LATE = [0, 5000, 5001]


def only(table: ItemTable, ids: list[int]) -> ItemTable:
    chosen = table.frame["item"].is_in(ids)
    return ItemTable(table.frame.filter(chosen), table.categories.filter(chosen))


@pytest.fixture(scope="module", params=[1, 3], ids=["one member", "three joined"])
def late_build(
    request: pytest.FixtureRequest, sample_set: Dataset, late_table: ItemTable, tiny_settings: BuildSettings
) -> FittedSystem:
    """Served after a build whose table has the three."""
    towers = replace(tiny_settings.towers, members=request.param)
    return build(
        sample_set.interactions, items=late_table, settings=replace(tiny_settings, towers=towers)
    ).served


def test_an_item_added_later_gets_the_vector_that_a_build_gives_it(
    late_build: FittedSystem, late_table: ItemTable
) -> None:
    without = without_items(late_build, LATE)
    update = items_of_table(without, only(late_table, LATE))
    assert (update.added, update.replaced, update.unchanged, update.undescribed) == (3, 0, 0, 1)
    after, mine = with_items(without, update.items), late_build.model
    assert np.abs(mine.vectors.items[late_build.items.rows([0, 5000])]).max() > 1e-3
    theirs = after.model
    for one, other in (
        (mine.vectors.items, theirs.vectors.items),
        (mine.vectors.history_items, theirs.vectors.history_items),
        (mine.rating_model.items, theirs.rating_model.items),
    ):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-7)
    assert after.titles.tolist() == late_build.titles.tolist()
    assert known_of(after) == known_of(late_build) and known_of(without) != known_of(late_build)
    np.testing.assert_array_equal(after.popularity, late_build.popularity)
    assert seen_ids(after) == seen_ids(late_build)


def test_a_column_the_features_come_from_is_read_whatever_few_rows_make_of_it(
    tmp_path: Path, sample_set: Dataset, late_build: FittedSystem
) -> None:
    """Sixty studios of sixty items look like free text, but five of them are known."""
    features = late_build.model.vectors.features
    assert known_columns(late_build) == {"genre", "decade", "years", "year"}
    names = (*features.names[:-1], "studio=S1")
    vectors = replace(late_build.model.vectors, features=replace(features, names=names))
    system = replace(late_build, model=replace(late_build.model, vectors=vectors))
    path = tmp_path / "new.csv"
    lines = [f"{9000 + number},Item {number},S{number}" for number in range(60)]
    path.write_text("\n".join(["movieId,title,studio", *lines]))
    assert items_of_table(system, read_items(path)).undescribed == 60
    update = items_of_table(system, read_items(path, known_columns(system)))
    assert update.undescribed == 59
    np.testing.assert_allclose(update.items.vectors[1], features.items[-1], rtol=1e-6)


def known_of(system: FittedSystem) -> set[tuple[str, str, Any]]:
    """All that filters know: column, value, item."""
    return {
        (name, str(column.values.ids[place]), system.items.ids[row].item())
        for name, column in system.attributes.columns.items()
        for place, row in zip(column.rows.flat_users(), column.rows.items, strict=True)
    }


def test_filters_know_what_the_table_says_of_items_new_and_known(tiny_build: Build) -> None:
    system = tiny_build.served
    frame = pl.DataFrame(
        {"item": [7, 8, 900], "title": ["", "", "New (2031)"], "genres": ["Drama|Noir", "", "Noir"]}
    )
    assert known_of(system) >= {("genre", "Action", 7), ("genre", "Action", 8), ("year", "1986", 7)}
    update = items_of_table(system, ItemTable.from_frame(frame))
    assert (update.added, update.replaced, update.updated) == (1, 0, 2)
    after = with_items(system, update.items)
    gone = {("genre", "Action", 7), ("genre", "Action", 8)} | {
        each for each in known_of(system) if each[0] in ("year", "decade") and each[2] in (7, 8)
    }
    new = {("genre", "Drama", 7), ("genre", "Noir", 7), ("genre", "Noir", 900)}
    new |= {("year", "2031", 900), ("decade", "2030s", 900)}
    assert known_of(after) == (known_of(system) - gone) | new
    answer = Recommender(after).recommend_for_history([50], 10, only={"genre": "Noir"})
    assert {item.item for item in answer.items} == {7, 900}
    assert ("genre", "Noir", 900) not in known_of(without_items(after, [900]))
    with pytest.raises(NotFoundError, match="genre=Noir"):
        Recommender(system).recommend([1], 10, only={"genre": "Noir"})


def test_what_a_build_knows_already_is_nothing_to_add(
    late_build: FittedSystem, late_table: ItemTable
) -> None:
    update = items_of_table(late_build, late_table)
    assert (len(update.items), update.unchanged, update.kept) == (0, 123, 120)


def test_items_that_people_have_met_keep_their_vectors_and_take_a_title(tiny_build: Build) -> None:
    system = tiny_build.served
    table = ItemTable.from_frame(
        pl.DataFrame({"item": [7, 8, 9], "title": ["Other", "", "Third"], "genres": ["Action"] * 3})
    )
    update = items_of_table(system, table)
    assert (update.added, update.replaced, update.updated, update.unchanged, update.kept) == (0, 0, 2, 1, 3)
    after = with_items(system, update.items)
    np.testing.assert_array_equal(after.model.vectors.items, system.model.vectors.items)
    np.testing.assert_array_equal(after.model.vectors.history_items, system.model.vectors.history_items)
    assert after.titles[after.items.rows([7, 9])].tolist() == ["Other", "Third"]
    assert after.titles[after.items.row(8)] == system.titles[system.items.row(8)]
    assert after.model.ann.tombstones == 0


def test_vectors_given_are_those_of_the_tables_rows_whatever_their_order(tiny_build: Build) -> None:
    system = tiny_build.served
    given = np.arange(3 * 9, dtype=np.float64).reshape(3, 9)
    table = ItemTable.from_frame(pl.DataFrame({"item": [900, 7, 500], "title": ["a", "b", "c"]}))
    update = items_of_table(system, table, given)
    assert (update.added, update.replaced) == (2, 1)
    after = with_items(system, update.items)
    for item, row in zip([900, 7, 500], given, strict=True):
        place = after.items.row(item)
        assert after.model.vectors.items[place].tolist() == row.tolist()
        assert after.titles[place] == {900: "a", 7: "b", 500: "c"}[item]
    assert after.model.ann.tombstones == 1
    row = system.items.row(7)  # what it says of who liked it was learned, and stays
    np.testing.assert_array_equal(
        after.model.vectors.history_items[after.items.row(7)], system.model.vectors.history_items[row]
    )


@pytest.fixture(scope="module")
def featureless(sample_set: Dataset, tiny_settings: BuildSettings) -> dict[str, FittedSystem]:
    """Without a table of items, and with the id tower."""
    quick = replace(tiny_settings, refit=False)
    by_id = replace(quick, towers=id_towers(dimension=8, max_epochs=1))
    return {
        "table": build(sample_set.interactions, settings=quick).served,
        "id tower": build(sample_set.interactions, items=sample_set.items, settings=by_id).served,
    }


@pytest.mark.parametrize("what", ["table", "id tower"])
def test_without_vectors_of_features_they_must_be_given(
    featureless: dict[str, FittedSystem], what: str
) -> None:
    system = featureless[what]
    table = ItemTable.from_frame(pl.DataFrame({"item": [999], "title": ["new"], "genres": ["Drama"]}))
    with pytest.raises(UsageError, match=rf"{what}.*`vectors=FILE.npy`, a row of 9 numbers"):
        items_of_table(system, table)
    update = items_of_table(system, table, np.eye(1, 9, 8) * 50)  # everybody's favourite, by its bias
    after = with_items(system, update.items)
    assert after.model.ann.size == len(system.items) + 1
    assert listed(after, 1, exact=True, rerank=False)[0] == 999


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (np.ones((2, 9)), r"shape \(2, 9\); expected \(1, 9\): a row for each of the 1 items, of 8 numbers"),
        (np.ones((1, 8)), r"expected \(1, 9\)"),
        (np.full((1, 9), np.nan), "NaN or infinity in 1 rows, the first is row 0"),
        (np.full((1, 9), 1e300), "NaN or infinity"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(tiny_build: Build, given: np.ndarray, complaint: str) -> None:
    table = ItemTable.from_frame(pl.DataFrame({"item": [999], "title": ["new"]}))
    with pytest.raises(DataError, match=complaint):
        items_of_table(tiny_build.served, table, given)


def test_ids_of_text_are_none_for_a_catalogue_of_numbers(tiny_build: Build) -> None:
    table = ItemTable.from_frame(pl.DataFrame({"item": ["12", "x7"], "title": ["a", "b"]}))
    with pytest.raises(DataError, match="item 'x7': the ids of this bundle are integers"):
        items_of_table(tiny_build.served, table)


# Laws


def test_every_part_of_a_system_is_one_that_changes_know() -> None:
    """Whoever adds a part that goes by items moves it in `changing` too, and then names it here."""
    known = {
        FittedSystem: "model users items titles popularity tower_weights neural_mf_weights attributes",
        TwoStageModel: "vectors rating_model seen n_candidates trend weights ann serves",
        TowerVectors: "items users history_items prior features",
    }
    for kind, names in known.items():
        assert [field.name for field in fields(kind)] == names.split()


class Catalogue(RuleBasedStateMachine):
    """Any changes in any order, against a dict of what is known of each id."""

    @initialize(kind=st.sampled_from(["Flat", "IVF2,Flat", "HNSW8"]), text=st.booleans())
    def start(self, kind: str, text: bool) -> None:
        self.text = text
        rng = np.random.default_rng(5)
        ids = [self.id_of(number) for number in range(0, 80, 4)]
        order = np.argsort(np.array(ids))
        self.ids = np.array(ids)[order]
        items = rng.normal(size=(20, WIDTH)).astype(np.float32)
        table = rng.normal(size=(20, WIDTH - 1)).astype(np.float32)
        pairs = np.argwhere(rng.random((4, 20)) < 0.3)
        seen = ItemLists.from_pairs(pairs[:, 0], pairs[:, 1], 4)
        users = with_one(pool_histories(table, seen))
        vectors = TowerVectors(items, users, table, np.zeros(WIDTH - 1, np.float32))
        popularity = rng.integers(1, 9, 20).astype(np.float32)
        ann = AnnIndex.build(items, kind, seed=1, threads=1).exhaustive()
        model = TwoStageModel(vectors, None, seen, 5, recent_demand(popularity), ann=ann)
        titles = np.array([f"title of {each}" for each in self.ids])
        self.system = FittedSystem(
            model, IdMap.from_values(range(4)), IdMap(self.ids), titles, popularity, vectors.weights(), None
        )
        self.known = {
            each: (titles[row], items[row], popularity[row], set(pairs[pairs[:, 1] == row, 0].tolist()))
            for row, each in enumerate(self.ids.tolist())
        }

    def id_of(self, number: int) -> Any:
        return f"i{number}" if self.text else number

    @rule(numbers=st.sets(st.integers(0, 99), min_size=1, max_size=6), seed=st.integers(0, 2**31))
    def add_or_replace(self, numbers: set[int], seed: int) -> None:
        ids = [self.id_of(number) for number in numbers]
        vectors = np.random.default_rng(seed).normal(size=(len(ids), WIDTH)).astype(np.float32)
        titles = [f"{each} again {seed}" for each in ids]
        self.system = with_items(self.system, new_items(ids, vectors, titles))
        for each, title, vector in zip(ids, titles, vectors, strict=True):
            _, _, popularity, users = self.known.get(each, (None, None, 0, set()))
            self.known[each] = (title, vector, popularity, users)

    @precondition(lambda self: len(self.known) > 1)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        ids = data.draw(
            st.sets(st.sampled_from(sorted(self.known)), min_size=1, max_size=min(9, len(self.known) - 1))
        )
        self.system = without_items(self.system, sorted(ids))
        self.known = {each: what for each, what in self.known.items() if each not in ids}

    @rule()
    def compact(self) -> None:
        self.system = compacted(self.system, seed=1, threads=1)
        ann = self.system.model.ann.exhaustive()
        self.system = replace(self.system, model=replace(self.system.model, ann=ann))

    @invariant()
    def everything_is_with_its_id(self) -> None:
        if not hasattr(self, "system"):
            return
        system, known = self.system, self.known
        assert system.items.ids.tolist() == sorted(known)
        for row, each in enumerate(system.items.ids.tolist()):
            title, vector, popularity, _ = known[each]
            assert (system.titles[row], system.popularity[row]) == (title, popularity)
            assert system.model.vectors.items[row].tolist() == vector.tolist()
        for user, ids in enumerate(seen_ids(system)):
            assert ids == sorted(each for each, what in known.items() if user in what[3])
        assert interactions_of(system).sum() == sum(len(what[3]) for what in known.values())

    @invariant()
    def lists_are_the_best_of_what_is_left(self) -> None:
        if not hasattr(self, "system"):
            return
        for user in range(4):
            vector = self.system.model.vectors.users[user]
            fresh = {
                each: float(vector @ what[1]) for each, what in self.known.items() if user not in what[3]
            }
            answer = Recommender(self.system).recommend([user], 8, rerank=False)[0]
            best = sorted(fresh.values(), reverse=True)[:8]
            np.testing.assert_allclose([item.score for item in answer.items], best, rtol=1e-4, atol=1e-5)
            for item in answer.items:
                assert item.score == pytest.approx(fresh[item.item], rel=1e-4, abs=1e-5)
                assert item.title == self.known[item.item][0]


Catalogue.TestCase.settings = settings(max_examples=40, stateful_step_count=10)
TestCatalogue = Catalogue.TestCase
