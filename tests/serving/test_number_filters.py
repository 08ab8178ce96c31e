"""Filters that compare numbers: years, prices and other columns of the table of items."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import Recommender
from retrieval.cli.filter_rules import parse_rules
from retrieval.data.ids import IdMap
from retrieval.data.items import ItemTable
from retrieval.errors import NotFoundError, UsageError
from retrieval.serving.item_attributes import Comparison, ItemAttributes

ITEMS = IdMap.from_values(np.arange(1, 101))
PRICES = [0.5 * number for number in range(100)]
TABLE = ItemTable.from_frame(
    pl.DataFrame(
        {
            "item": range(1, 101),
            "title": [f"Thing {number} ({1950 + number % 60})" for number in range(100)],
            "price": [f"${price:,.2f}" if number % 10 else "-" for number, price in enumerate(PRICES)],
            "weight": PRICES,
            "age_group": ["<18" if number % 2 else "18+" for number in range(100)],
        }
    )
)
KNOWN = ItemAttributes.of(TABLE, ITEMS)


def test_columns_of_numbers_are_kept_for_filters_and_are_no_features() -> None:
    assert TABLE.numbers.columns == ["price", "weight"]
    assert TABLE.numbers["price"].null_count() == 10
    assert set(TABLE.category_columns()) == {"genre", "year", "age_group"}
    assert list(KNOWN.columns) == ["age_group", "year", "decade", "price", "weight"]


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("weight", "<2", [1, 2, 3, 4]),
        ("weight", "<= 2", [1, 2, 3, 4, 5]),
        ("weight", ">=49", [99, 100]),
        ("Weight", ">49", [100]),
        ("weight", 49.5, [100]),
        ("price", "<2", [2, 3, 4]),  # the first has no price
        ("year", ">=2009", [60]),
        ("age_group", "<18", list(range(2, 101, 2))),  # a value as it stands goes before a comparison
    ],
)
def test_a_comparison_finds_the_items_whose_number_stands_in_it(
    column: str, value: object, expected: list[int]
) -> None:
    assert (KNOWN.rows(column, [value]) + 1).tolist() == expected


@given(st.sampled_from(["<", "<=", ">", ">="]), st.floats(-10, 60))
def test_comparisons_are_those_of_numbers(relation: str, bound: float) -> None:
    holds = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}[relation]
    expected = np.flatnonzero(holds(np.array(PRICES), bound))
    if len(expected):
        assert KNOWN.rows("weight", [f"{relation}{bound!r}"]).tolist() == expected.tolist()
    else:
        with pytest.raises(NotFoundError, match=r"its numbers go from 0 to 49\.5"):
            KNOWN.rows("weight", [f"{relation}{bound!r}"])


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("price<20", {"price": ["<20"]}),
        (" year >= 1990 ", {"year": [">= 1990"]}),
        ("age_group=<18", {"age_group": ["<18"]}),
    ],
)
def test_the_command_reads_comparisons(text: str, rule: dict[str, list[str]]) -> None:
    assert parse_rules("--only", [text], KNOWN) == [rule]


@pytest.mark.parametrize(
    ("text", "says"),
    [("price<cheap", "compares with no number; as in --only 'price>=20'"), ("prize<20", "no column 'prize'")],
)
def test_wrong_comparisons_are_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_rules("--only", [text], KNOWN)
    with pytest.raises(NotFoundError, match="no item has age_group>3; its values are no numbers"):
        KNOWN.rows("age_group", [">3"])
    assert Comparison.of("<nan") is None and Comparison.of("20") is None


def test_lists_and_similar_items_keep_to_it(artifacts: Path) -> None:
    recommender = Recommender.load(artifacts)
    years = {item: title[-5:-1] for item, title in _titles(recommender).items()}
    for found in (
        recommender.recommend([42], k=10, only={"year": ">=1990"})[0],
        recommender.similar_items([61], k=10, only={"year": ">=1990"})[0],
    ):
        assert len(found.items) == 10
        assert all(years[item.item] >= "1990" for item in found.items)
    none = recommender.similar_items([61], k=10, exclude={"year": ">=1990"})[0]
    assert all(years[item.item] < "1990" for item in none.items)


def _titles(recommender: Recommender) -> dict[object, str]:
    everything = recommender.recommend_for_history([1], k=1000).items
    return {item.item: item.title or "" for item in everything}
