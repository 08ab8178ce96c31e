"""The smallest inputs of what fuzzing found; each gave a traceback, several lines or another answer."""

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from fuzz_targets import Forge

from retrieval.bundles.layout import MANIFEST
from retrieval.data.interactions import read_interactions
from retrieval.data.items import find_items_beside, read_items
from retrieval.errors import DataError, RetrievalError
from retrieval.serving.feature_vectors import FeatureVectors
from retrieval.serving.fitted_model import recent_demand
from tests.data.reading.test_workbooks import workbook

ROWS = b"user,item\n1,2\n"


def zipped(member: str, data: bytes = ROWS) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(member, data)
    return buffer.getvalue()


def refused(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_interactions(path)
    assert len(str(caught.value).splitlines()) == 1 and str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_an_error_is_one_line_whatever_is_named_in_it(end: str) -> None:
    error = RetrievalError(f"a{end}b.csv: wrong\n")
    assert str(error).splitlines() == [f"a{end.encode('unicode_escape').decode()}b.csv: wrong"]


def test_a_member_and_a_column_of_two_lines_are_named_on_one(tmp_path: Path) -> None:
    assert r"a\nb.csv" in refused(tmp_path / "x.zip", zipped("a\nb.csv", b"user,x\n1,2\n"))
    assert r"a\x85b" in refused(tmp_path / "x.csv", "a\x85b,c\nd,e\n".encode())


def test_a_zip_whose_directory_points_before_its_start_is_refused(tmp_path: Path) -> None:
    whole = zipped("ratings.csv")
    assert "cannot be read" in refused(tmp_path / "x.zip", whole[:4] + whole[5:])


def test_a_damaged_zip_has_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"PK\x05\x06" + bytes(11) + b"\x01" + bytes(6))
    assert find_items_beside(path) is None


def test_a_number_of_a_genre_with_too_many_digits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "u.genre").write_text("Action|" + "1" * 5_000 + "\n")
    (tmp_path / "u.item").write_text("1|Heat|01-Jan-1995||x|1\n")
    with pytest.raises(DataError, match=r"u\.genre: expected lines"):
        read_items(tmp_path / "u.item")


# Which would take for ever, or more memory than there is.
@pytest.mark.parametrize("cell", ["D9999999", "AAAAAAA2", "dnan1"])
def test_a_sheet_with_a_cell_far_away_is_refused(tmp_path: Path, cell: str) -> None:
    pytest.importorskip("fastexcel")
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(workbook([["user", "item"], [1, 2]]))) as whole,
        zipfile.ZipFile(buffer, "w") as far,
    ):
        for name in whole.namelist():
            far.writestr(name, whole.read(name).replace(b'r="B2"', f'r="{cell}"'.encode()))
    assert f"too large a sheet, with a cell at {cell}" in refused(tmp_path / "x.xlsx", buffer.getvalue())


@pytest.fixture
def forge(artifacts: Path, tmp_path: Path) -> Forge:
    name = (artifacts / "current").read_text().split()[0]
    return Forge(Path(shutil.copytree(artifacts / "builds" / name, tmp_path / "bundle")))


DEEP = b'{"columns": ' + b"[" * 100_000


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("evaluated/index_choice.json", "chosen", "x"),  # AttributeError
        ("evaluated/choices.json", "baselines", 1),
        ("served/attributes.json", "columns", [["genre", float("inf")]]),  # OverflowError
        ("served/model.json", "candidates", float("inf")),
        ("served/model.json", "candidates", 0),
        ("served/model.json", "alpha", 1e308),  # lists by scores of infinity
        ("served/model.json", "alpha", -1),
        ("served/model.json", "trend_weight", float("nan")),
        (MANIFEST, "training", {"towers": [], "neural_mf": {}}),
    ],
)
def test_a_document_of_other_values_does_not_open(forge: Forge, name: str, key: str, value: Any) -> None:
    document = json.loads(forge.content(name)) | {key: value}
    assert not forge.open(name, json.dumps(document).encode())


def test_a_document_nested_too_deep_does_not_open(forge: Forge) -> None:
    assert not forge.open("served/attributes.json", DEEP)  # RecursionError


def test_a_setting_of_two_lines_is_refused_on_one(forge: Forge) -> None:
    model = json.loads(forge.content("served/model.json"))
    model["index"]["settings"]["ef_search"] = "\n"
    assert not forge.open("served/model.json", json.dumps(model).encode())


def test_an_array_with_a_header_that_is_no_python_does_not_open(forge: Forge) -> None:
    data = forge.content("served/user_vectors.npy").replace(b"}", b" ", 1)  # tokenize.TokenError
    assert not forge.open("served/user_vectors.npy", data)


@pytest.mark.parametrize("name", ["item_titles", "item_ids"])
def test_text_with_numbers_that_are_no_characters_does_not_open(forge: Forge, name: str) -> None:
    buffer = io.BytesIO()
    titles = np.load(io.BytesIO(forge.content("served/item_titles.npy")))
    titles.view(np.uint32)[0] = 0x110000
    np.save(buffer, titles)
    assert not forge.open(f"served/{name}.npy", buffer.getvalue())


def test_an_array_of_the_other_byte_order_does_not_open(forge: Forge) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.load(io.BytesIO(forge.content("served/popularity.npy"))).astype(">f4"))
    assert not forge.open("served/popularity.npy", buffer.getvalue())


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_popularity_that_is_no_number_of_people_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="popularity"):
        recent_demand(np.array([1, value], dtype=np.float32))


def test_names_of_features_are_texts() -> None:
    vectors = np.zeros((1, 2), dtype=np.float32)
    with pytest.raises(ValueError, match="texts"):
        FeatureVectors((None,), vectors, vectors[:, 1:])  # type: ignore[arg-type]


def test_a_panic_of_polars_is_one_error_and_leaves_nothing_on_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    buffer = io.BytesIO()
    pl.DataFrame({"user": [1, 2], "item": [3, 4]}).write_parquet(
        buffer, compression="uncompressed", statistics=False
    )
    data = buffer.getvalue().replace(b"\x15\x12\x15\x12", b"\x15\x12\x15\x00", 1)  # a page of no bytes
    assert "a damaged Parquet file" in refused(tmp_path / "x.parquet", data)
    assert capfd.readouterr().err == ""
