import bz2
import gzip
import io
import lzma
import pickle
import sqlite3
import tarfile
from pathlib import Path

import polars as pl
import pytest

from retrieval.data.reading.files import load, locate, parquet_parts
from retrieval.errors import DataError
from tests.support.archives import zipped

NAMES = ("ratings.csv", "*.inter")


def write(path: Path, content: bytes = b"user,item\n1,2\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def parquet(**columns: list[int]) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer)
    return buffer.getvalue()


def refusal(path: Path, content: bytes) -> str:
    with pytest.raises(DataError) as caught:
        load(write(path, content), NAMES, "ratings")
    text = str(caught.value)
    assert text.startswith(str(path)) and "\n" not in text
    return text.removeprefix(str(path))


def archive(kind: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=kind) as opened:
        opened.addfile(tarfile.TarInfo("ratings.csv"))
    return buffer.getvalue()


@pytest.fixture
def database(tmp_path: Path) -> bytes:
    connection = sqlite3.connect(tmp_path / "db")
    connection.execute("create table ratings (user)")
    connection.commit()
    connection.close()
    return (tmp_path / "db").read_bytes()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"[[1, 2]]", "JSON, but no objects; write it as JSON Lines"),
        (b"<!DOCTYPE html>\n<html>", "a web page (HTML); download the file itself"),
        (b"<?xml version='1.0'?>", "XML"),
        (b"%PDF-1.7", "a PDF document"),
        (pickle.dumps([1]), "a Python pickle, which is never loaded; export it as CSV or Parquet"),
        (b"\x93NUMPY\x01", "a NumPy array"),
        (b"\xd0\xcf\x11\xe0\xa1", "an old Office file (.xls, .doc); save the table as .xlsx or CSV"),
        (bz2.compress(b"1,2"), "compressed with bzip2; unpack it first"),
        (lzma.compress(b"1,2"), "compressed with xz; unpack it first"),
        (archive("w"), "a tar archive; unpack it first"),
        (archive("w:gz"), "a tar archive; unpack it first"),
        (zipped({"word/document.xml": b""}), "a Word document; export it as CSV or Parquet"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a Git LFS pointer, not the file itself; run `git lfs",
        ),
    ],
)
def test_what_is_no_table_is_named_with_a_way_out(tmp_path: Path, content: bytes, what: str) -> None:
    assert f"not a table of ratings: this looks like {what}" in refusal(tmp_path / "r.csv", content)


def test_a_database_is_named(tmp_path: Path, database: bytes) -> None:
    assert "an SQLite database; export the table as CSV" in refusal(tmp_path / "r", database)


@pytest.mark.parametrize(
    "content", [b"{A-1},2,5\n", b"[x],2,5\n", b"PAR1,2,5\n", b"ORC,2\n", b"BZhx,2\n", b"<b>,2\n", b"%PDF,2\n"]
)
def test_text_that_only_begins_so_is_text(tmp_path: Path, content: bytes) -> None:
    assert load(write(tmp_path / "r", content), NAMES, "ratings")[0] == content


def test_gzip_and_a_zips_member_are_unzipped(tmp_path: Path) -> None:
    assert load(write(tmp_path / "a", gzip.compress(b"1,2")), NAMES, "ratings") == (b"1,2", f"{tmp_path}/a")
    content = zipped({"README": b"", "x/ratings.csv": b"1,2", "__MACOSX/ratings.csv": b"junk"})
    assert load(write(tmp_path / "b", content), NAMES, "ratings") == (b"1,2", f"{tmp_path}/b/x/ratings.csv")


@pytest.mark.parametrize(
    "members", [{"events.csv": b"1,2", "README": b"", "x.md": b""}, {"anything": b"1,2"}]
)
def test_the_only_table_of_a_zip_is_taken_whatever_its_name(
    tmp_path: Path, members: dict[str, bytes]
) -> None:
    assert load(write(tmp_path / "z", zipped(members)), NAMES, "ratings")[0] == b"1,2"


def test_a_zip_that_leaves_a_choice_is_listed(tmp_path: Path) -> None:
    content = zipped({f"t{i}.csv": b"" for i in range(8)})
    assert refusal(tmp_path / "z", content) == (
        ": no single ratings file in this zip; looked for ratings.csv, *.inter; "
        "it holds t0.csv, t1.csv, t2.csv, t3.csv, t4.csv, t5.csv and 2 more; "
        "name the one to read, as in archive.zip/t0.csv"
    )
    assert refusal(tmp_path / "y", zipped({})).endswith("ratings.csv, *.inter; it is empty")


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(gzip.compress(b"1,2")),
        zipped({"ratings.csv": gzip.compress(b"1,2")}),
        zipped({"ratings.csv": zipped({"a": b"1"})}),
        gzip.compress(zipped({"a": b"1"})),
    ],
)
def test_what_is_packed_twice_is_refused(tmp_path: Path, content: bytes) -> None:
    assert refusal(tmp_path / "r", content).endswith(
        "packed twice; unpack it and give the ratings file itself"
    )


@pytest.mark.parametrize(
    "content",
    [
        b"\x1f\x8bnot really",
        gzip.compress(b"1,2" * 99)[:-9],
        b"PK\x03\x04not really",
        zipped({"a": b"1"})[:-9],
    ],
)
def test_a_damaged_archive_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    assert refusal(tmp_path / "r", content).startswith(": cannot be read: ")


def test_a_path_that_is_nothing_readable_is_refused(tmp_path: Path) -> None:
    for path, message in (
        (
            tmp_path / "nowhere",
            "no such file or folder; give a ratings file, or a folder with one of ratings.csv",
        ),
        (tmp_path / ("x" * 300), "cannot be read: File name too long"),
        (Path("/dev/null"), "neither a file nor a folder"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            locate(path, NAMES, "ratings")
        assert str(caught.value).startswith(f"{path}: ")


def test_a_folder_gives_the_first_name_there_is(tmp_path: Path) -> None:
    for name in ("part-0.parquet", "a.inter", "ratings.csv.gz", "ratings.csv"):
        assert locate(write(tmp_path / name).parent, NAMES, "ratings") == tmp_path / name


def test_a_folder_without_a_table_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"looked for ratings.csv, \*.inter and Parquet files; it is empty"):
        locate(tmp_path, NAMES, "ratings")
    write(tmp_path / "events.csv")
    with pytest.raises(DataError, match=r"it holds events.csv; give the file itself$"):
        locate(tmp_path, NAMES, "ratings")


def test_parquet_parts_are_found_as_spark_and_hive_leave_them(tmp_path: Path) -> None:
    part = parquet(user=[1])
    wanted = [
        write(tmp_path / "day=1" / "hour=2" / "data.pq", part),
        write(tmp_path / "day=2" / "x.parquet", part),
        write(tmp_path / "part-00000-abc", part),
        write(tmp_path / "part-00001.parquet", b"damaged"),
    ]
    for other in ("_SUCCESS", "_metadata", ".part-00000.crc", "README", "part-text", "other/x.parquet"):
        write(tmp_path / other, part if other in ("_metadata", "other/x.parquet") else b"x")
    assert parquet_parts(tmp_path) == wanted
    assert locate(tmp_path, NAMES, "ratings") == tmp_path


def test_one_parquet_file_in_a_folder_is_the_table_and_a_folder_of_that_name_too(tmp_path: Path) -> None:
    one = write(tmp_path / "one" / "x.parquet", parquet(user=[1]))
    assert locate(tmp_path / "one", NAMES, "ratings") == one
    write(tmp_path / "two" / "ratings.parquet" / "part-0.parquet", parquet(user=[1]))
    write(tmp_path / "two" / "movies.parquet" / "part-0.parquet", parquet(item=[1]))
    names = ("ratings.csv", "ratings.parquet")
    assert locate(tmp_path / "two", names, "ratings") == tmp_path / "two" / "ratings.parquet"
