"""Categories as numbered features, and items that nobody has rated yet."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index import ItemLists
from retrieval.data.ids import IdMap
from retrieval.data.items import ItemTable
from retrieval.data.side_features import SideFeatures, cold_item_ids
from retrieval.data.users import UserTable

FILMS = ItemTable.from_frame(
    pl.DataFrame(
        {
            "item": [30, 10, 20, 40],
            "title": ["Heat (1995)", "Alien (1979)", "Clue (1985)", "?"],
            "genres": ["Crime|Drama", "Horror", "Crime|Comedy", None],
            "language": ["en", "en", "", "fr"],
        }
    )
)


def named(features: SideFeatures) -> list[list[str]]:
    return [[features.names[number] for number in features.lists.of(row)] for row in range(len(features))]


def users_of(ages: list[object]) -> UserTable:
    return UserTable.from_frame(pl.DataFrame({"user": range(len(ages)), "age": ages}))


def test_each_row_has_the_features_of_its_id() -> None:
    found = SideFeatures.of(FILMS, IdMap.from_values([10, 30, 40, 99]), at_least=1)
    assert named(found) == [
        ["decade=1970s", "genre=Horror", "language=en", "years=1975-1979"],
        ["decade=1990s", "genre=Crime", "genre=Drama", "language=en", "years=1995-1999"],
        ["language=fr"],
        [],
    ]
    assert list(found.names) == sorted(found.names)


def test_a_feature_of_too_few_of_the_given_rows_is_left_out() -> None:
    everyone = IdMap.from_values([10, 20, 30, 40])
    assert SideFeatures.of(FILMS, everyone, at_least=2).names == ("genre=Crime", "language=en")
    assert SideFeatures.of(FILMS, everyone, at_least=3).names == ()
    # Heat is not among the rows, so Crime has one only.
    assert SideFeatures.of(FILMS, IdMap.from_values([10, 20]), at_least=2).names == ()


def test_later_rows_are_told_in_the_same_numbers() -> None:
    train = SideFeatures.of(FILMS, IdMap.from_values([10, 30]), at_least=1)
    later = SideFeatures.with_names(train.names, FILMS, IdMap.from_values([20, 40]))
    assert later.names == train.names
    assert named(later) == [["genre=Crime"], []]  # Comedy, the eighties and French are new


def test_without_a_table_there_are_rows_without_features() -> None:
    ids = IdMap.from_values(["a", "b"])
    assert (len(SideFeatures.of(None, ids)), SideFeatures.of(None, ids).names) == (2, ())
    kept = SideFeatures.with_names(("genre=Crime",), None, ids)
    assert (kept.lists.lengths().tolist(), kept.names) == ([0, 0], ("genre=Crime",))
    bare = ItemTable(FILMS.frame.with_columns(genres=pl.Series([[]] * 4, dtype=pl.List(pl.String))))
    assert named(SideFeatures.of(bare, IdMap.from_values([10]), at_least=1)) == [[]]


def test_text_ids_and_integer_ids_mean_the_same_rows() -> None:
    texts = ItemTable.from_frame(pl.DataFrame({"item": ["10", "x"], "title": ["a", "b"], "kind": ["k", "l"]}))
    assert named(SideFeatures.of(texts, IdMap.from_values([10, 11]), at_least=1)) == [["kind=k"], []]
    assert named(SideFeatures.of(FILMS, IdMap.from_values(["40", "x"]), at_least=1)) == [["language=fr"], []]


def test_many_ages_go_into_bands_and_few_stay() -> None:
    few = users_of([1, 18, 25, None])
    assert named(SideFeatures.of(few, IdMap.from_values(range(4)), at_least=1)) == [
        ["age=1"],
        ["age=18"],
        ["age=25"],
        [],
    ]
    many = users_of([7, *range(18, 40), 105, -1])
    found = SideFeatures.of(many, IdMap.from_values(range(25)), at_least=1)
    assert found.names == ("age=-1", "age=0-9", "age=10-19", "age=100-109", "age=20-29", "age=30-39")
    assert named(found)[:3] == [["age=0-9"], ["age=10-19"], ["age=10-19"]]
    written = users_of(["18-24", "25-34"])
    assert named(SideFeatures.of(written, IdMap.from_values([1]), at_least=1)) == [["age=25-34"]]


def test_the_vocabulary_decides_whether_later_ages_are_in_bands() -> None:
    later, ids = users_of([25]), IdMap.from_values([0])
    assert named(SideFeatures.with_names(("age=18", "age=25"), later, ids)) == [["age=25"]]
    assert named(SideFeatures.with_names(("age=10-19", "age=20-29"), later, ids)) == [["age=20-29"]]


def test_numbers_without_a_name_are_refused() -> None:
    lists = ItemLists.from_pairs(np.array([0]), np.array([2]), 1)
    with pytest.raises(ValueError, match="a feature has number 2; expected up to 1"):
        SideFeatures(lists, ("a", "b"))
    with pytest.raises(ValueError, match="the name of a feature occurs twice"):
        SideFeatures(lists, ("a", "b", "a"))


TABLES = st.dictionaries(
    st.integers(0, 30), st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=4), min_size=1, max_size=20
)


@given(TABLES, st.sets(st.integers(0, 30), min_size=1), st.integers(1, 5), st.randoms())
def test_features_are_those_counted_by_hand_in_whatever_order_the_table_is(
    table: dict[int, list[str]], ids: set[int], at_least: int, random: "np.random.RandomState"
) -> None:
    pairs = list(table.items())
    random.shuffle(pairs)
    kinds = pl.Series("kind", [kinds for _, kinds in pairs], dtype=pl.List(pl.String))
    frame = pl.DataFrame({"item": [item for item, _ in pairs], "title": [""] * len(pairs), "kind": kinds})
    rows = sorted(ids)
    has = [set(table.get(item, [])) for item in rows]
    kept = [kind for kind in "abcd" if sum(kind in row for row in has) >= at_least]
    found = SideFeatures.of(ItemTable.from_frame(frame), IdMap.from_values(rows), at_least=at_least)
    assert found.names == tuple(f"kind={kind}" for kind in kept)
    assert named(found) == [[f"kind={kind}" for kind in kept if kind in row] for row in has]


def test_cold_items_are_those_of_the_table_alone() -> None:
    assert cold_item_ids(FILMS, IdMap.from_values([10, 99])).tolist() == [20, 30, 40]
    assert cold_item_ids(FILMS, IdMap.from_values([10, 20, 30, 40])).tolist() == []
    assert cold_item_ids(None, IdMap.from_values([10])).tolist() == []


def test_cold_items_have_the_type_and_order_of_the_known_ones() -> None:
    table = ItemTable.from_frame(pl.DataFrame({"item": [9, 100, 20], "title": ["a", "b", "c"]}))
    numbers, texts = IdMap.from_values([20]), IdMap.from_values(["20", "x"])
    assert cold_item_ids(table, numbers).tolist() == [9, 100]
    assert cold_item_ids(table, texts).tolist() == ["100", "9"]
    mixed = ItemTable.from_frame(pl.DataFrame({"item": ["7", "x9", "007", "20"], "title": list("abcd")}))
    assert cold_item_ids(mixed, numbers).tolist() == [7]
    for known in (numbers, texts):
        cold = cold_item_ids(table, known)
        assert cold.dtype.kind == known.ids.dtype.kind
        together = IdMap.from_values(np.concatenate([known.ids, cold]))
        assert len(together) == len(known) + len(cold)
