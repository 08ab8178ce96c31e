import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.data.ids import IdMap

INT64 = st.integers(min_value=-(2**63), max_value=2**63 - 1)


@given(st.lists(INT64, min_size=1))
def test_integer_rows_are_ranks_and_survive_the_round_trip(values: list[int]) -> None:
    ids = IdMap.from_values(values)
    assert ids.ids.tolist() == sorted(set(values))
    rows = ids.rows(values)
    assert ids.ids[rows].tolist() == values
    assert ids.rows([str(value) for value in values]).tolist() == rows.tolist()


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1), min_size=1
    )
)
def test_text_rows_are_ordered_by_code_point(values: list[str]) -> None:
    ids = IdMap.from_values(values)
    assert ids.ids.tolist() == sorted(set(values))
    assert [ids.row(value) for value in values] == [sorted(set(values)).index(value) for value in values]


def test_integers_are_ordered_as_numbers_and_text_as_text() -> None:
    assert IdMap.from_values([10, 9, -1]).ids.tolist() == [-1, 9, 10]
    assert IdMap.from_values(["10", "9", "a"]).ids.tolist() == ["10", "9", "a"]


def test_42_and_its_text_are_the_same_id() -> None:
    integers, texts = IdMap.from_values([7, 42]), IdMap.from_values(["42", "x"])
    assert integers.row(42) == integers.row("42") == 1
    assert texts.row(42) == texts.row("42") == 0


@pytest.mark.parametrize("value", ["042", "+42", "4_2", "42.0", "", "x", str(2**64 + 42), 2**64 + 42])
def test_what_only_looks_like_42_is_unknown(value: int | str) -> None:
    assert IdMap.from_values([42]).row(value) is None


def test_unknown_ids_are_minus_one() -> None:
    assert IdMap.from_values([5, 3]).rows([3, 4, 5, 6]).tolist() == [0, -1, 1, -1]
    assert IdMap.from_values(["b"]).rows(np.array(["a", "b", "c"])).tolist() == [-1, 0, -1]
    assert IdMap.from_values([5]).rows([]).tolist() == []


@pytest.mark.parametrize("values", [[2**63], [-1, 2**63], [2**70, 1], np.array([2**63], dtype=np.uint64)])
def test_integers_beyond_64_bits_become_text_instead_of_wrapping(values: list[int]) -> None:
    ids = IdMap.from_values(values)
    assert sorted(ids.ids.tolist()) == sorted(str(int(value)) for value in values)


def test_no_ids_at_all_are_an_empty_map() -> None:
    ids = IdMap.from_values([])
    assert len(ids) == 0
    assert ids.row(1) is None


@pytest.mark.parametrize("ids", [np.array([2, 1]), np.array([1, 1]), np.array([1.5]), np.array([[1]])])
def test_unsorted_repeated_or_untyped_ids_are_refused(ids: np.ndarray) -> None:
    with pytest.raises(ValueError, match="ids must be"):
        IdMap(ids)


def test_floats_are_no_ids() -> None:
    with pytest.raises(ValueError, match="integers or text"):
        IdMap.from_values([1.5, 2.5])  # type: ignore[list-item]


def test_nearest_gives_the_closest_numbers_or_the_most_similar_texts() -> None:
    assert IdMap.from_values([1, 10, 50, 943]).nearest(999999, count=2) == [50, 943]
    assert IdMap.from_values(["anna", "bob", "anne"]).nearest("ann", count=2) == ["anne", "anna"]
    assert IdMap.from_values([1, 10]).nearest("1x", count=1) == [1]


def test_zeros_in_front_and_case_are_the_nearest_of_all() -> None:
    assert IdMap.from_values(["7", "07x", "0007b", "9"]).nearest("007")[0] == "7"
    assert IdMap.from_values(["Zoe", "zo", "zoey"]).nearest("zoe", count=1) == ["Zoe"]


def test_nearest_ids_of_many_are_found_at_once() -> None:
    many = IdMap.from_values([f"user-{i:06d}@example.org" for i in range(100_000)])
    start = time.perf_counter()
    assert all(str(near).startswith("user-0") for near in many.nearest("user-05000@example.org"))
    assert time.perf_counter() - start < 5  # comparing all of them takes a minute
