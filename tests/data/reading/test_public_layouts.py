"""Layouts of public data sets whose lines are no rows; folders of text parts; a file named inside a zip."""

import json
from pathlib import Path

import polars as pl
import pytest

from retrieval.data.interactions import read_interactions
from retrieval.data.items import read_items
from retrieval.errors import DataError
from tests.support.archives import zipped

LIGHTGCN = "0 10 11 12 13 14\n1 10\n2 11 12 13\n"
NETFLIX = "1:\n7,3,2005-09-06\n8,5,2005-05-13\n2:\n7,4,2004-01-01\n"
MIND = "1\tU1\t11/11/2019 9:05:58 AM\tN9 N8\tN1-0 N2-1 N3-1\n2\tU2\t11/13/2019 6:11:50 PM\t\tN1-1 N4-0\n"


@pytest.mark.parametrize(
    ("text", "rows", "name"),
    [
        (LIGHTGCN, [(0, item) for item in range(10, 15)] + [(1, 10), (2, 11), (2, 12), (2, 13)], "LightGCN"),
        (NETFLIX, [(7, 1, 3.0, 1125964800), (8, 1, 5.0, 1115942400), (7, 2, 4.0, 1072915200)], "Netflix"),
        (MIND, [("U1", "N2", 1573463158), ("U1", "N3", 1573463158), ("U2", "N1", 1573668710)], "MIND"),
    ],
)
def test_a_layout_of_a_public_set_is_known_by_its_lines(
    tmp_path: Path, text: str, rows: list[tuple[object, ...]], name: str
) -> None:
    (tmp_path / "train.txt").write_text(text)
    found = read_interactions(tmp_path / "train.txt")
    assert found.frame.rows() == rows
    assert any(note.startswith(f"the file was read in the layout of {name}") for note in found.notes)


def test_a_wrong_line_of_such_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text(NETFLIX + "9,4\n")
    with pytest.raises(DataError, match=r"r.txt:6: item is empty"):
        read_interactions(tmp_path / "r.txt")


def test_rows_of_numbers_of_one_length_are_a_plain_table(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text("1 2 5 900000000\n2 3 4 900000001\n")
    assert read_interactions(tmp_path / "r.txt").frame.rows() == [
        (1, 2, 5.0, 900000000),
        (2, 3, 4.0, 900000001),
    ]


FRAME = pl.DataFrame({"user": [1, 2, 3, 4], "item": [5, 6, 7, 8], "rating": [1.0, 2.0, 3.0, 4.0]})


def parts(folder: Path, ending: str) -> None:
    folder.mkdir()
    (folder / "_SUCCESS").touch()
    (folder / ".part-00000.crc").write_bytes(b"x")
    for number, half in enumerate((FRAME[:2], FRAME[2:])):
        path = folder / f"part-0000{number}-abc{ending}"
        if ending == ".json":
            path.write_text("".join(json.dumps(row) + "\n" for row in half.to_dicts()))
        else:
            half.write_csv(path)
    (folder / "part-00002-abc.csv").touch()  # Spark writes empty parts too


@pytest.mark.parametrize("ending", [".csv", ".json"])
def test_parts_of_text_are_one_table(tmp_path: Path, ending: str) -> None:
    parts(tmp_path / "t", ending)
    found = read_interactions(tmp_path / "t")
    assert found.frame.equals(FRAME.cast({"rating": pl.Float32}))
    assert "2 files were read as one table" in found.notes
    bad = tmp_path / "t" / f"part-00001-abc{ending}"
    bad.write_text(bad.read_text().replace("3.0", '"x"'))
    with pytest.raises(DataError, match=rf"part-00001-abc{ending}:\d: rating 'x' is not a number"):
        read_interactions(tmp_path / "t")


def test_parts_with_other_columns_are_refused(tmp_path: Path) -> None:
    parts(tmp_path / "t", ".csv")
    (tmp_path / "t" / "part-00003-abc.csv").write_text("user,item\n1,2\n")
    with pytest.raises(DataError, match=r"part-00003-abc.csv: no column 'rating', which .*part-00000"):
        read_interactions(tmp_path / "t")


def test_a_file_inside_a_zip_can_be_named(tmp_path: Path) -> None:
    tables = {
        "x/views.csv": "user,item\n1,2\n",
        "x/sales.csv": "user,item\n3,4\n",
        "x/goods.csv": "item,title\n3,A\n",
    }
    (tmp_path / "shop.zip").write_bytes(zipped(tables))
    with pytest.raises(DataError, match=r"name the one to read, as in archive.zip/x/views.csv"):
        read_interactions(tmp_path / "shop.zip")
    found = read_interactions(tmp_path / "shop.zip" / "x" / "sales.csv")
    assert found.frame.rows() == [(3, 4)] and found.source == f"{tmp_path}/shop.zip/x/sales.csv"
    assert read_items(tmp_path / "shop.zip" / "x" / "goods.csv").titles_for([3]) == ["A"]
    with pytest.raises(DataError, match=r"shop.zip: no file 'y.csv' in this zip; it holds x/views.csv"):
        read_interactions(tmp_path / "shop.zip" / "y.csv")
