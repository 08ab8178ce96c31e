import gzip
import io
import resource
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import fuzz_mutations
import polars as pl
import pytest
from fuzz_targets import READERS, Forge, read_table
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.bundles.layout import MANIFEST
from tests.support.checkout import ROOT

SAMPLE = ROOT / "data" / "sample"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed")


# Readers

IDS = (
    *("1", "2", "42", "007", "-0", "0", "-7", "9223372036854775807", "9223372036854775808", "1e5", "1.0"),
    *("a b", "é", "\u2028", "\x85", "千", "🎬", "nan", "", " "),
    *('"q"', '"x,y"', '"open', 'a"b', '""', '"a\nb"'),
)
RATINGS = (
    *("5", "4.5", "3,5", "0", "-1", "1e3", "1e39"),
    *("1e400", "nan", "NaN", "inf", "-Infinity", "", " ", "true"),
    *("False", "0x1f", "1_000", "５", "five", "+4", ".5", "5.", "NULL", '"4"'),
)
TIMES = (
    *("881250949", "881250949000", "881250949000000", "881250949.7"),
    *("0", "-1", "99999999999999999999", "1e18"),
    *("1e300", "nan", "inf", "", "20200101", "20201301", "2020-01-01", "2020-01-01T00:00:00Z", "2020-02-30"),
    *("1970-01-01T00:00:00+01:00", "9999-12-31 23:59:59.999", "2020-01-01 24:00", "0000-01-01", "yesterday"),
)
TEXTS = (
    "Heat (1995)",
    "Action|Drama",
    "",
    "(no genres listed)",
    "M",
    "56",
    "1995",
    "x" * 300,
    "a\tb",
    "\x00",
)
HEADERS = (
    *("userId,movieId,rating,timestamp", "user,item", "user_id:token\titem_id:token\trating:float"),
    *("movieId,title,genres", "item,name,year,description", "user,gender,age", "id", "user,user,item"),
    *("item_id:token\tmovie_title:token_seq", '"userId";"movieId";"rating"'),
    *("rating,timestamp", ",", "\x85,é"),
    "",
)
SEPARATORS = ("::", "\t", ",", ";", "|", " ", "", "\x01", ", ")
ENDS = ("\n", "\r\n", "\r", "\n\n", "\n \n", "", "\v")
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "cp037")


@st.composite
def text_tables(draw: st.DrawFn) -> bytes:
    """Tables as people write them: right but for one cell, or of cells that are right and wrong."""
    if draw(st.booleans()):
        rows = [[str(user), str(user + 1), "4", str(881250949 + user)] for user in range(1, 5)]
        column = draw(st.sampled_from((0, 1, 2, 2, 3, 3)))
        rows[draw(st.integers(0, 3))][column] = draw(st.sampled_from((IDS, IDS, RATINGS, TIMES)[column]))
        separator = draw(st.sampled_from(("::", "\t", ",")))
        return "\n".join(map(separator.join, rows)).encode()
    kinds = draw(st.lists(st.sampled_from((IDS, IDS, RATINGS, TIMES, TEXTS)), min_size=1, max_size=6))
    if draw(st.booleans()):
        kinds = [IDS, IDS, RATINGS, TIMES]
    separator = draw(st.sampled_from(SEPARATORS))
    lines = [draw(st.sampled_from(HEADERS))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(0, 5))):
        cells = [draw(st.sampled_from(kind)) for kind in kinds]
        if draw(st.integers(0, 9)) == 0:
            cells.append(draw(st.text(max_size=5)))
        lines.append(separator.join(cells))
    end = draw(st.sampled_from(ENDS))
    text = end.join(lines) + draw(st.sampled_from(("", end, "\n", "\x1a")))
    if draw(st.integers(0, 30)) == 0:
        text = text.replace("5", "y" * 140_000, 1)  # longer than csv takes
    return text.encode(draw(st.sampled_from(ENCODINGS)), "replace")


def packed(data: bytes, member: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(member, (2020, 1, 1, 0, 0, 0)), data)
    return buffer.getvalue()


def stored_rows() -> bytes:
    stored = io.BytesIO()
    pl.DataFrame({"user": [1, 2], "item": ["x", "y"]}).write_parquet(stored, compression="uncompressed")
    return stored.getvalue()


def real_files() -> list[bytes]:
    """What data sets have, a few lines of each."""
    ratings = b"".join((SAMPLE / "ratings.csv").read_bytes().splitlines(keepends=True)[:12])
    movies = b"".join((SAMPLE / "movies.csv").read_bytes().splitlines(keepends=True)[:12])
    rows = pl.read_csv(ratings).rows()
    return [
        *(ratings, movies),
        "".join(f"{u}::{i}::{r:g}::{t}\n" for u, i, r, t in rows).encode(),
        "".join(f"{u}\t{i}\t{r:g}\t{t}\n" for u, i, r, t in rows).encode(),
        b"user_id:token\titem_id:token\trating:float\n1\t2\t3\n2\t3\t4.5\n",
        b"1::Toy Story (1995)::Animation|Comedy\n2::\xc9t\xe9 (1996)::Drama\n",
        b"1|Toy Story (1995)|01-Jan-1995||http://x|0|0|1|1\n2|Heat|||http://y|0|1|0|0\n",
        b"1::F::1::10::48067\n2::M::56::16::70072\n",
        b"1|24|M|technician|85711\n2|53|F|other|94043\n",
        *(gzip.compress(ratings, mtime=0), packed(ratings, "ml/ratings.csv"), packed(movies, "movies.csv")),
        *(packed(ratings, "a\nb/ratings.csv"), packed(ratings, "x.xlsx"), packed(ratings, "xl/workbook.xml")),
    ]


FILES = real_files()
# Only cut off or followed by something: a bit flipped in a page can make polars 2.1 ask for more memory than
# there is, and then it ends the process (https://github.com/pola-rs/polars/issues/15342).
PARQUET = stored_rows()
PIECES = (
    *(piece.encode() for piece in (*IDS, *RATINGS, *TIMES, *ENDS, *SEPARATORS, "\x00", "\ufeff")),
    *(b"\xff", b"\x80", b"\xff\xfe", b"\xc3", b"PAR1", b"PK\x03\x04", b"\x1f\x8b\x08"),
)


@st.composite
def mutated_files(draw: st.DrawFn) -> bytes:
    """A real file with a few bytes cut out, put in, replaced or doubled."""
    data = draw(st.sampled_from(FILES))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from((0, 0, 1, 2, 5, 20, 10_000))))
        middle = draw(st.sampled_from(PIECES) | st.binary(max_size=4) | st.just(data[start:end] * 2))
        data = data[:start] + middle + data[end:]
    return data


HEADS = (
    *(b"\x1f\x8b", b"\x1f\x8b\x08\0\0\0\0\0\0\x03", b"PK\x03\x04"),
    *(b"PK\x05\x06", b"PAR1", b"PAR1\0", b"PARE\0"),
    *(b"\xff\xfe", b"\xff\xfe\0\0", b"\0\0\xfe\xff", b"\xef\xbb\xbf"),
    *(b"BZh91AY&SY", b"\x80\x04", b"", b"x\x9c"),
)
garbage = st.tuples(st.sampled_from(HEADS), st.binary(max_size=200)).map(b"".join) | st.builds(
    lambda end, tail: PARQUET[:end] + tail,
    st.integers(0, len(PARQUET)),
    st.sampled_from((b"", b"PAR1", b"\0")),
)
packings: tuple[Callable[[bytes], bytes], ...] = (
    *(bytes, bytes, bytes, bytes),
    *(gzip.compress, lambda data: packed(data, "ratings.csv"), lambda data: packed(data, "ratings.csv")[:-9]),
)


@pytest.mark.parametrize("kind", ["tables", "mutated files", "garbage"])
@settings(max_examples=2 * settings().max_examples)
@given(choice=st.data())
def test_a_file_of_any_bytes_is_read_or_refused_in_one_line(
    folder: Path, kind: str, choice: st.DataObject
) -> None:
    kinds = {"tables": text_tables(), "mutated files": mutated_files(), "garbage": garbage}
    case = choice.draw(st.integers(0, len(READERS) - 1), "reader")
    data = choice.draw(kinds[kind], "data")
    read_table(case, choice.draw(st.sampled_from(packings), "packing")(data), folder)


# Bundles whose digests are right


@pytest.fixture(scope="module")
def forge(artifacts: Path, folder: Path) -> Forge:
    name = (artifacts / "current").read_text().split()[0]
    return Forge(Path(shutil.copytree(artifacts / "builds" / name, folder / "bundle")))


def test_a_bundle_with_the_files_it_has_opens(forge: Forge) -> None:
    assert len(forge.names) > 20 and all(forge.open(name, forge.content(name)) for name in forge.names)


@given(number=st.integers(0, 99), seed=st.integers(0, 2**32))
def test_a_bundle_with_any_document_opens_or_is_refused(forge: Forge, number: int, seed: int) -> None:
    names = [name for name in forge.names if name.endswith(".json")]
    name = names[number % len(names)]
    forge.open(name, fuzz_mutations.mutated_json(forge.content(name), seed))


@given(number=st.integers(0, 99), seed=st.integers(0, 2**32))
def test_a_bundle_with_any_array_opens_or_is_refused(forge: Forge, number: int, seed: int) -> None:
    names = [name for name in forge.names if name.endswith(".npy")]
    name = names[number % len(names)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    forge.open(name, fuzz_mutations.mutated_array(forge.content(name), seed))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # kibibytes, as Linux counts


@given(seed=st.integers(0, 2**32))
def test_a_bundle_with_any_manifest_gives_the_same_answer_or_none(forge: Forge, seed: int) -> None:
    forge.open(MANIFEST, fuzz_mutations.mutated_json(forge.content(MANIFEST), seed))


@given(data=st.binary(max_size=64) | st.sampled_from((b"[" * 100_000, b"{}", b"[]", b"null", b'""', b"\xff")))
@pytest.mark.parametrize("name", [MANIFEST, "served/model.json", "evaluated/choices.json"])
def test_a_bundle_with_any_bytes_for_a_document_is_refused(forge: Forge, name: str, data: bytes) -> None:
    assert not forge.open(name, data)
