"""Tables written as JSON: reviews an object a line, arrays of objects, and what is neither."""

import gzip
import json
from pathlib import Path

import pytest

from retrieval.data.interactions import read_interactions
from retrieval.data.items import read_items
from retrieval.errors import DataError

AMAZON = [
    {"reviewerID": "A1", "asin": "0001", "overall": 5.0, "helpful": [1, 2], "unixReviewTime": 1400000000},
    {
        "reviewerID": "A2",
        "asin": "B00X",
        "overall": 3.0,
        "style": {"Size": "XL"},
        "unixReviewTime": 1400000001,
    },
]
YELP = [{"review_id": "x", "user_id": "u", "business_id": "b", "stars": 4, "date": "2014-05-13 16:53:20"}]
GOODREADS = [{"user_id": "u", "book_id": 7, "rating": 2, "date_added": "Thu Mar 22 20:09:38 -0700 2012"}]


def lines(rows: list[dict[str, object]]) -> str:
    return "\n".join(json.dumps(row) for row in rows) + "\n"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (AMAZON, [("A1", "0001", 5.0, 1400000000), ("A2", "B00X", 3.0, 1400000001)]),
        (YELP, [("u", "b", 4.0, 1400000000)]),
        (GOODREADS, [("u", 7, 2.0, 1332472178)]),
    ],
    ids=["Amazon", "Yelp", "Goodreads"],
)
def test_reviews_are_read_plain_and_packed_and_as_an_array(
    tmp_path: Path, rows: list[dict[str, object]], expected: list[tuple[object, ...]]
) -> None:
    text = lines(rows)
    (tmp_path / "plain.json").write_text(text)
    (tmp_path / "packed.json.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "array.json").write_text(json.dumps(rows, indent=1))
    for name in ("plain.json", "packed.json.gz", "array.json"):
        assert read_interactions(tmp_path / name).frame.rows() == expected, name


def test_a_bad_line_names_its_place_and_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    good = [json.dumps({"user": row, "item": row, "rating": 5}) for row in range(6)]
    path.write_text(
        "\n".join([*good[:2], "{broken", *good[2:4], "", "[1]", '{"user": 9, "item": null}', *good[4:]])
    )
    with pytest.raises(
        DataError, match=r"r.json:3: not a JSON object: '\{broken' \(2 of 9 rows cannot be used\)"
    ):
        read_interactions(path)
    found = read_interactions(path, skip_bad=3)
    assert found.frame["user"].to_list() == list(range(6))
    assert "r.json:8: item is empty" in found.notes[-1]
    with pytest.raises(DataError, match=r"array.json: row 1 \(counted from 0\): rating 'x' is not a number"):
        (tmp_path / "array.json").write_text(
            '[{"user": 1, "item": 2, "rating": 3}, {"user": 1, "item": 3, "rating": "x"}]'
        )
        read_interactions(tmp_path / "array.json")


@pytest.mark.parametrize(
    "text", ['{"user":\n1, "item": 2}\n', '[{"user": 1}', "[[1, 2], [3, 4]]", '{"a": [}\n']
)
def test_other_json_is_refused_with_advice(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(DataError, match=r"not a table of ratings: this looks like JSON.*JSON Lines"):
        read_interactions(tmp_path / "r.json")


def test_items_as_objects_keep_lists_and_names_of_objects(tmp_path: Path) -> None:
    rows = [
        {"asin": "a", "title": "Boot", "categories": [["Shoes", "Boots"]], "brand": {"name": "X"}},
        {"asin": "b", "title": "Hat", "categories": [["Hats"]], "brand": {"name": "X"}},
        {"asin": "c", "title": "Shoe", "categories": None, "price": 3},
    ]
    (tmp_path / "meta.json").write_text(lines(rows))
    columns = read_items(tmp_path / "meta.json").category_columns()
    assert columns["category"].to_list() == [["Shoes", "Boots"], ["Hats"], []]
    assert columns["brand"].to_list() == [["X"], ["X"], []]
