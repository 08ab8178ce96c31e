"""Which columns are categorical, and what their cells say."""

import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.data.reading.categories import (
    candidates,
    category_frame,
    check_categories,
    is_categorical,
    texts_of,
    years_from,
)


def values(cells: list[Any], **options: Any) -> list[list[str]] | None:
    found = texts_of(pl.Series(cells, **options))
    return None if found is None else found.to_list()


def is_kept(name: str, cells: list[Any]) -> bool:
    found = texts_of(pl.Series(cells))
    return found is not None and is_categorical(name, found)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["a|b", " c ", None, ""], [["a", "b"], ["c"], [], []]),
        (["a|a", "|b|"], [["a"], ["b"]]),
        (["NaN", "null", "N/A", "none"], [[], [], [], ["none"]]),
        ([1, None, 3], [["1"], [], ["3"]]),
        ([1.0, None, 2.5, float("nan")], [["1"], [], ["2.5"], []]),
        ([True, False, None], [["true"], ["false"], []]),
        ([["x", None, "y"], None, []], [["x", "y"], [], []]),
        ([[1, 2], [3], []], [["1", "2"], ["3"], []]),
        (["12.0", "1.50"], [["12"], ["1.50"]]),
    ],
)
def test_cells_become_lists_of_texts(cells: list[Any], expected: list[list[str]]) -> None:
    assert values(cells) == expected


@pytest.mark.parametrize(
    "cells",
    [[[0.5, 0.1]], [{"a": 1}], [b"bytes"], [datetime.date(2020, 1, 1)], [datetime.datetime(2020, 1, 1)]],
)
def test_types_that_are_no_categories_have_no_values(cells: list[Any]) -> None:
    assert values(cells) is None


def test_spaces_separate_the_tokens_of_recbole() -> None:
    found = texts_of(pl.Series(["a b", "c"]), " ")
    assert found is not None and found.to_list() == [["a", "b"], ["c"]]


def test_free_text_is_left_out_and_half_as_many_values_as_rows_are_not() -> None:
    assert not is_kept("url", [f"http://{row}" for row in range(51)])
    assert is_kept("url", [f"http://{row}" for row in range(50)])  # too few to judge
    assert is_kept("maker", [f"m{row % 50}" for row in range(100)])
    assert not is_kept("maker", [f"m{row % 51}" for row in range(100)])


def test_lists_are_judged_by_their_values_not_by_their_combinations() -> None:
    assert is_kept("cast", [[f"a{row % 7}", f"b{row % 11}"] for row in range(77)])  # every pair only once
    assert not is_kept("cast", [[f"a{row}", f"b{row}"] for row in range(77)])


def test_missing_cells_do_not_count() -> None:
    assert is_kept("award", ["yes"] * 3 + [""] * 200)
    assert not is_kept("award", ["", None])


def test_small_integers_are_kept_and_measurements_are_not() -> None:
    assert is_kept("stars", [row % 50 for row in range(500)])
    assert not is_kept("minutes", [row % 51 for row in range(500)])
    assert not is_kept("price", [f"{row % 3}.5" for row in range(500)])
    assert not is_kept("price", [0.5, 1.5] * 100)
    assert is_kept("stars", [1.0, 2.0, None] * 100)  # what pandas makes of integers with a gap
    assert is_kept("brand_id", [row % 51 for row in range(500)])
    assert is_kept("age", [row % 90 for row in range(500)])


def test_dates_are_left_out() -> None:
    assert not is_kept("added", ["2020-01-01", "2020-01-02"] * 100)
    assert not is_kept("added", ["01-Jan-1995", "24/12/1995"] * 100)
    assert is_kept("line", ["1-2-x"] * 100)


def test_candidates_are_the_other_columns_under_plain_names() -> None:
    found = candidates(["id", "Gender ", "gender", "a=b", "", "year"], [0], reserved=["year"])
    assert [(each.name, each.position) for each in found] == [("gender", 1), ("a_b", 3)]
    typed = candidates(["u", "x", "y", "z"], [0], ["token", "float", "token_seq", "token"])
    assert [(each.name, each.separator) for each in typed] == [("y", " "), ("z", None)]


def test_the_frame_has_the_categorical_ones_only() -> None:
    frame = pl.DataFrame({"id": [1, 2], "m": [["x"], None], "w": [0.5, 1.5], "e": [None, None]})
    found = category_frame(frame.to_series, candidates(frame.columns, [0]))
    assert found.to_dict(as_series=False) == {"m": [["x"], []]}


def test_a_year_comes_from_the_first_source_that_has_one() -> None:
    first, second = pl.Series(["1995", "V", None]), pl.Series(["A (1960)", "B (1970)", "C"])
    found = years_from([(first, r"^(\d{4})$"), (second, r"\((\d{4})\)$")], 3)
    assert found["year"].to_list() == [["1995"], ["1970"], []]
    assert years_from([(pl.Series(["x"]), r"^(\d{4})$")], 1) == {}


def test_a_frame_that_does_not_fit_its_table_is_refused() -> None:
    with pytest.raises(ValueError, match="categories of 1 rows for a table of 2"):
        check_categories(pl.DataFrame({"a": [["x"]]}), 2)
    with pytest.raises(ValueError, match="categories are lists of text"):
        check_categories(pl.DataFrame({"a": ["x"]}), 1)
    check_categories(pl.DataFrame(), 2)


@given(st.lists(st.one_of(st.none(), st.text("ab| \0", max_size=6)), max_size=20))
def test_values_are_trimmed_and_each_occurs_once_in_a_row(cells: list[str | None]) -> None:
    found = texts_of(pl.Series(cells, dtype=pl.String))
    assert found is not None and len(found) == len(cells)
    for row in found.to_list():
        assert len(set(row)) == len(row)
        assert all(value and value == value.strip(" ") and "|" not in value for value in row)
