"""What is known of the items: columns, values in any case and with commas, to a bundle and back."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index import ItemLists
from retrieval.data.ids import IdMap
from retrieval.data.items import ItemTable
from retrieval.errors import NotFoundError, UsageError
from retrieval.serving.item_attributes import ItemAttributes, ItemColumn


def table_of(**columns: list[object]) -> ItemTable:
    return ItemTable.from_frame(pl.DataFrame(columns))


@pytest.fixture(scope="module")
def films() -> ItemAttributes:
    """Rows 0 to 3 are the items 10, 20, 30 and 40; the table knows 40 not, and 99 besides."""
    table = table_of(
        item=[30, 10, 99, 20],
        title=["Heat (1995)", "Alien (1979)", "Brazil (1985)", "untitled"],
        genres=["Crime|Drama", "Horror|Sci-Fi", "Sci-Fi", "drama"],
        studio=["Regency, New", "Fox", "Fox", "Fox"],
    )
    return ItemAttributes.of(table, IdMap.from_values([10, 20, 30, 40]))


def test_every_category_column_is_known_by_value_and_the_year_gives_a_decade(films: ItemAttributes) -> None:
    known = {
        name: {value: column.rows.of(i).tolist() for i, value in enumerate(column.values.ids.tolist())}
        for name, column in films.columns.items()
    }
    assert known == {
        "genre": {"Crime": [2], "Drama": [2], "Horror": [0], "Sci-Fi": [0], "drama": [1]},
        "studio": {"Fox": [0, 1], "Regency, New": [2]},
        "year": {"1979": [0], "1995": [2]},
        "decade": {"1970s": [0], "1990s": [2]},
    }


def test_values_and_columns_match_in_any_case_and_several_values_are_either(films: ItemAttributes) -> None:
    assert films.rows("genre", ["DRAMA"]).tolist() == [1, 2]
    assert films.rows(" Genre ", [" horror", "crime"]).tolist() == [0, 2]
    assert films.rows("year", [1979, 1995]).tolist() == [0, 2]
    assert films.rows("year", []).tolist() == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fox", ["Fox"]),
        ("fox,regency, new", ["fox", "regency, new"]),
        ("Regency, New,Fox", ["Regency, New", "Fox"]),
        ("Regency,Fox", ["Regency", "Fox"]),  # the first is no value, which `rows` will say
        (" , Fox,,", ["Fox"]),
        ("", []),
    ],
)
def test_commas_part_values_but_for_those_that_have_one(
    films: ItemAttributes, text: str, expected: list[str]
) -> None:
    assert films.column("studio").parted(text) == expected


def test_an_unknown_column_lists_those_there_are(films: ItemAttributes) -> None:
    with pytest.raises(UsageError, match=r"no column 'gener' .*; there are genre, studio, year, decade$"):
        films.rows("gener", ["Drama"])
    with pytest.raises(UsageError, match=r"nothing is known of the items .*build-index `items=FILE`"):
        ItemAttributes().rows("genre", ["Drama"])


def test_an_unknown_value_lists_all_there_are_or_the_nearest(films: ItemAttributes) -> None:
    with pytest.raises(NotFoundError, match="no item has genre=Dramma; there are Crime, Drama, Horror"):
        films.rows("genre", ["Crime", "Dramma"])
    years = [f"A ({year})" for year in range(1960, 1990)]
    many = ItemAttributes.of(table_of(item=list(range(30)), title=years), IdMap.from_values(list(range(30))))
    with pytest.raises(NotFoundError, match=r"no item has year=1993; the nearest are 1987, 1988, 1989$"):
        many.rows("year", [1993])


def test_without_a_table_or_with_one_of_other_items_nothing_is_known() -> None:
    table = table_of(item=["a", "b"], title=["x", "y"], genres=["", "Drama"])
    assert ItemAttributes.of(None, IdMap.from_values([1])).columns == {}
    assert ItemAttributes.of(table, IdMap.from_values(["c"])).columns == {}
    assert list(ItemAttributes.of(table, IdMap.from_values(["a"])).columns) == []  # nothing of this one


def test_a_decade_of_the_table_is_left_as_it_is() -> None:
    table = table_of(item=[1, 2], title=["A (1995)", "B (1996)"], decade=["early", "early"])
    known = ItemAttributes.of(table, IdMap.from_values([1, 2]))
    assert known.rows("decade", ["early"]).tolist() == [0, 1]


SETS = st.dictionaries(
    st.sampled_from(["genre", "year", "a b"]),
    st.dictionaries(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=4),
        st.sets(st.integers(0, 9), min_size=1),
        min_size=1,
        max_size=5,
    ),
)


def attributes_of(sets: dict[str, dict[str, set[int]]]) -> ItemAttributes:
    columns = {}
    for name, values in sets.items():
        ids = IdMap.from_values(list(values))
        pairs = [(int(ids.row(value) or 0), row) for value, rows in values.items() for row in rows]
        places, rows = np.array(pairs).T
        columns[name] = ItemColumn(ids, ItemLists.from_pairs(places, rows, len(ids)))
    return ItemAttributes(columns)


def sets_of(attributes: ItemAttributes) -> dict[str, dict[str, set[int]]]:
    return {
        name: {value: set(column.rows.of(i).tolist()) for i, value in enumerate(column.values.ids.tolist())}
        for name, column in attributes.columns.items()
    }


@given(SETS)
def test_what_a_bundle_keeps_is_read_back_as_it_was(sets: dict[str, dict[str, set[int]]]) -> None:
    document, arrays = attributes_of(sets).to_arrays()
    again = ItemAttributes.from_arrays(json.loads(json.dumps(document)), arrays)
    assert sets_of(again) == sets
    assert list(again.columns) == list(sets)


@given(SETS, SETS, st.permutations(range(10)), st.sets(st.integers(0, 9)))
def test_rows_can_move_and_more_be_added_as_with_python_sets(
    sets: dict[str, dict[str, set[int]]],
    more: dict[str, dict[str, set[int]]],
    order: list[int],
    gone: set[int],
) -> None:
    rows = np.array([-1 if row in gone else new for row, new in enumerate(order)])
    moved = {
        name: kept
        for name, values in sets.items()
        if (
            kept := {
                value: found for value, old in values.items() if (found := {order[r] for r in old - gone})
            }
        )
    }
    assert sets_of(attributes_of(sets).moved(rows)) == moved
    both = {
        name: {
            value: sets.get(name, {}).get(value, set()) | more.get(name, {}).get(value, set())
            for value in sets.get(name, {}) | more.get(name, {})
        }
        for name in sets | more
    }
    assert sets_of(attributes_of(sets).with_more(attributes_of(more))) == both


def test_parts_that_do_not_fit_are_refused(films: ItemAttributes) -> None:
    document, arrays = films.to_arrays()
    with pytest.raises(ValueError, match="do not fit"):
        ItemAttributes.from_arrays({"columns": document["columns"][:-1]}, arrays)
    for name in arrays:
        with pytest.raises(ValueError, match=r"do not fit|run from"):
            ItemAttributes.from_arrays(document, arrays | {name: arrays[name][:-1]})
    with pytest.raises(ValueError, match="an item with a genre has row 2, but there are 2 items"):
        films.check(2)
    films.check(3)
