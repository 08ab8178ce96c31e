"""Several values in a cell: what separates them, and what only looks like it."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.data.cells.several_values import separator_of, split_cells


@pytest.mark.parametrize(
    ("cells", "separator"),
    [
        (["a|b", "c"], "|"),  # "|" separates even where nothing returns
        (["a, b", "a", "b, c", "c"], ","),
        (["a, b", "b, a", "a, c", "c, b"], ","),  # always two, but in any order
        (["a;b", "a", "b;c"], ";"),
        (["a, b; c", "a, b", "c"], ";"),
        (["Smith, John", "Smith, Anna", "Miller, John", "Miller, Anna"], None),
        (["New York, NY", "Albany, NY", "Austin, TX"], None),
        (["A love story, and a war", "One day, two nights, three", "Nothing"], None),
        (["red", "blue", "red"], None),
        (["", None, " "], None),
        ([], None),
        (["['a']", "[]", '["b", "c"]'], "["),
        (["[1995] a", "b", "c"], None),
    ],
)
def test_the_separator_is_told_by_the_whole_column(cells: list[str | None], separator: str | None) -> None:
    assert separator_of(pl.Series(cells, dtype=pl.String)) == separator


def test_lists_are_read_as_json_or_python_writes_them_and_never_run() -> None:
    cells = [
        '[{"id": 18, "name": "Drama"}, {"id": 35}]',
        "[{'name': 'War'}]",
        "[1, None, 'x']",
        "[a, b]",
        "plain",
        "[]",
    ]
    expected = [["Drama"], ["War"], ["1", "x"], ["a", "b"], ["plain"], []]
    assert split_cells(pl.Series(cells), "[").to_list() == expected
    assert split_cells(pl.Series(["[__import__('os')]"]), "[").to_list() == [["__import__('os')"]]


@given(
    st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True), min_size=1, max_size=20)
)
def test_what_was_joined_is_split_again(lists: list[list[str]]) -> None:
    for separator in ("|", ",", ";"):
        cells = pl.Series([separator.join(each) for each in lists])
        assert split_cells(cells, separator).to_list() == lists
        if any(len(each) > 1 for each in lists) and separator == "|":
            assert separator_of(cells) == "|"
