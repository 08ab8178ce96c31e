"""Thirty-odd tables as people have them, each through the real command: what it gave, and what it said.

Slow: `pytest -m slow tests/data/test_tables_people_hold.py`.
With INPUTS_TABLE=path the outcome is written there as Markdown.
"""

import gzip
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from retrieval.data.datasets import sample_folder
from tests.support.commands import run

pytestmark = pytest.mark.slow

QUICK = ["--epochs", "1", "--threads", "1", "--dimension", "8", "--index", "IVF1,Flat"]
MILLION = 1_000_000


def sample() -> pl.DataFrame:
    """The sample with short names: user, item, rating, time."""
    frame = pl.read_csv(sample_folder() / "ratings.csv")
    return frame.rename(dict(zip(frame.columns, ("user", "item", "rating", "time"), strict=True)))


def titles() -> pl.DataFrame:
    return pl.read_csv(sample_folder() / "movies.csv")


def renamed(*names: str) -> pl.DataFrame:
    frame = sample()
    return frame.rename(dict(zip(frame.columns, names, strict=False)))


def lines(frame: pl.DataFrame, separator: str, header: bool = False) -> str:
    rows = [separator.join(map(str, row)) for row in frame.rows()]
    return "\n".join(([separator.join(frame.columns)] if header else []) + rows) + "\n"


def when(frame: pl.DataFrame, form: str) -> pl.DataFrame:
    return frame.with_columns(pl.from_epoch("time", time_unit="s").dt.strftime(form).alias("time"))


def write(name: str, text: str, encoding: str = "utf-8") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(text.encode(encoding))
        return folder / name

    return make


def csv(name: str, frame: pl.DataFrame, separator: str = ",") -> Callable[[Path], Path]:
    return write(name, lines(frame, separator, header=True))


def million(folder: Path, bad: bool = False) -> Path:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "userId": rng.integers(1, 8_000, MILLION),
            "movieId": (rng.pareto(1.0, MILLION) * 20).astype(np.int64) % 4_000,
            "rating": rng.integers(1, 6, MILLION),
            "timestamp": np.sort(rng.integers(1_600_000_000, 1_700_000_000, MILLION)),
        }
    )
    path = folder / "ratings.csv"
    frame.write_csv(path)
    if bad:
        rows = path.read_bytes().split(b"\n")
        rows[900_000] = rows[900_000].replace(b",", b",x", 2)
        path.write_bytes(b"\n".join(rows))
    return path


def parquet_folder(folder: Path) -> Path:
    (folder / "ratings").mkdir()
    for part, frame in enumerate(sample().iter_slices(1_500)):
        frame.write_parquet(folder / "ratings" / f"part-0000{part}.parquet")
    (folder / "ratings" / "_SUCCESS").touch()
    return folder / "ratings"


def with_titles(folder: Path) -> Path:
    (folder / "ratings.dat").write_text(lines(sample(), "::"))
    rows = titles().select(
        pl.col("movieId"), pl.lit("Café Amélie (2001)").alias("t"), pl.lit("Drama").alias("g")
    )
    (folder / "movies.dat").write_bytes(lines(rows, "::").encode("latin-1"))
    return folder


def archive(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "ml-latest-small.zip", "w") as file:
        file.write(sample_folder() / "ratings.csv", "ml-latest-small/ratings.csv")
        file.write(sample_folder() / "movies.csv", "ml-latest-small/movies.csv")
        file.writestr("ml-latest-small/README.txt", "read me")
    return folder / "ml-latest-small.zip"


def inter(folder: Path) -> Path:
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    (folder / "shop.inter").write_text(header + lines(sample(), "\t"))
    names = titles().select("movieId", "title")
    (folder / "shop.item").write_text("item_id:token\tmovie_title:token_seq\n" + lines(names, "\t"))
    return folder / "shop.inter"


def parquet(frame: pl.DataFrame) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        frame.write_parquet(folder / "ratings.parquet")
        return folder / "ratings.parquet"

    return make


def zipped(folder: Path) -> Path:
    (folder / "ratings.csv.gz").write_bytes(gzip.compress((sample_folder() / "ratings.csv").read_bytes()))
    return folder / "ratings.csv.gz"


def workbook(folder: Path) -> Path:
    pytest.importorskip("xlsxwriter")
    sample().write_excel(folder / "ratings.xlsx")
    return folder / "ratings.xlsx"


def text(column: str, form: str) -> pl.Expr:
    return pl.format(form, pl.col(column)).alias(column)


def scaled(low: float, high: float) -> pl.DataFrame:
    return sample().with_columns(((pl.col("rating") - 1) / 4 * (high - low) + low).round(1).alias("rating"))


def everything_cold() -> str:
    rows = [f"u{n},i{n},{n % 5 + 1},{1_600_000_000 + n}" for n in range(300)]
    return "\n".join(["user,item,rating,timestamp", *rows]) + "\n"


@dataclass(frozen=True)
class Input:
    """One table, the flags it needs, and what must come of it."""

    name: str
    make: Callable[[Path], Path]
    flags: tuple[str, ...] = ()
    code: int = 0
    says: str = ""
    ask: str = "42"


S = sample()
CROSSING = '"User-ID";"ISBN";"Book-Rating"\n' + "".join(f'"{u}";"{i}";"{r * 2}"\n' for u, i, r, _ in S.rows())
STEAM = "user,game,rating,time\n" + "".join(f'{u},"Game {i}, The",{r},{t}\n' for u, i, r, t in S.rows())
REVIEWS = {"user": "reviewerID", "item": "asin", "rating": "overall", "time": "unixReviewTime"}
PLAYS = S.select(
    pl.col("user").alias("userID"), pl.col("item").alias("artistID"), (pl.col("rating") * 137).alias("weight")
)
EPOCH = S.select("user", "item", "rating", pl.from_epoch("time", time_unit="s").alias("time"))
AMAZON = S.with_columns(
    text("user", "A3SGXH7AUHU8G{}"), text("item", "000{}X"), pl.col("rating").cast(pl.Float64)
)
SHOP = S.select("time", "user", pl.lit("view").alias("event"), "item").with_columns(pl.col("time") * 1000)
COMMA = S.with_columns(
    (pl.col("rating").cast(pl.Float64) - 0.5).cast(pl.String).str.replace(".", ",", literal=True)
)

INPUTS = [
    Input("u.data: tabs, no header", write("u.data", lines(S, "\t"))),
    Input("folder: ratings.dat, movies.dat in latin-1", with_titles),
    Input("MovieLens ratings.csv", lambda folder: sample_folder()),
    Input("ratings.csv.gz", zipped),
    Input("zip of a folder: ratings.csv, movies.csv, README", archive),
    Input("RecBole .inter and .item", inter),
    Input(
        "Amazon ratings: no header, text ids",
        write("Books.csv", lines(AMAZON, ",")),
        says="no header",
        ask="A3SGXH7AUHU8G42",
    ),
    Input(
        "Amazon reviews: reviewerID, asin, overall, unixReviewTime",
        csv("reviews.csv", AMAZON.rename(REVIEWS)),
        ask="A3SGXH7AUHU8G42",
    ),
    Input(
        "Book-Crossing: ';', quotes, 0-10, no time",
        write("BX-Book-Ratings.csv", CROSSING),
        code=3,
        says="--split random",
    ),
    Input(
        "the same, --split random --positive-threshold 7",
        write("BX-Book-Ratings.csv", CROSSING),
        ("--split", "random", "--positive-threshold", "7"),
    ),
    Input(
        "Last.fm: userID, artistID, weight, no time",
        csv("user_artists.dat", PLAYS, "\t"),
        ("--split", "random"),
        says="no rating column among userID, artistID, weight",
    ),
    Input(
        "shop events: visitorid, itemid, milliseconds",
        csv("events.csv", SHOP.rename({"time": "timestamp", "user": "visitorid", "item": "itemid"})),
        says="milliseconds",
    ),
    Input(
        "spreadsheet CSV: ';', BOM, CRLF, decimal commas",
        write("export.csv", "\ufeff" + lines(COMMA, ";", True).replace("\n", "\r\n")),
        says="comma",
    ),
    Input("spreadsheet 'Unicode text': UTF-16, tabs", write("export.txt", lines(S, "\t", True), "utf-16")),
    Input("Excel workbook", workbook),
    Input("Parquet, datetime64", parquet(EPOCH)),
    Input("Parquet folder as Spark leaves it", parquet_folder),
    Input(
        "ISO 8601 with Z, UUIDs",
        csv("log.csv", when(S, "%Y-%m-%dT%H:%M:%SZ").with_columns(text("user", "0b0e-4c3a-{}"))),
        says="ISO 8601",
        ask="0b0e-4c3a-42",
    ),
    Input(
        "ISO 8601 with offsets, e-mail addresses",
        csv("log.csv", when(S, "%Y-%m-%d %H:%M:%S+02:00").with_columns(text("user", "user{}@example.org"))),
        says="ISO 8601",
        ask="user42@example.org",
    ),
    Input("dates only", csv("log.csv", when(S, "%Y-%m-%d")), says="ISO 8601"),
    Input("timestamps with fractions", csv("log.csv", S.with_columns(pl.col("time") + 0.25)), says="floored"),
    Input(
        "ids with spaces and accents",
        csv("log.csv", S.with_columns(text("user", "José {}"), text("item", "café {}"))),
        ask="José 42",
    ),
    Input(
        "ids negative and beyond 32 bits",
        csv("log.csv", S.with_columns(pl.col("user") - 100, pl.col("item") + 2**40)),
        ask="-58",
    ),
    Input(
        "0-100 scale, --positive-threshold 70", csv("log.csv", scaled(0, 100)), ("--positive-threshold", "70")
    ),
    Input(
        "0-100 scale, threshold left at 4",
        csv("log.csv", scaled(0, 100).filter(pl.col("rating") > 0)),
        says="positive",
    ),
    Input(
        "0-1 scale, threshold left at 4", csv("log.csv", scaled(0, 1)), code=3, says="--positive-threshold"
    ),
    Input("quoted names with commas inside", write("steam.csv", STEAM)),
    Input(
        "columns of other names",
        csv("log.csv", renamed("who", "what", "how", "since")),
        code=3,
        says="--user-column",
    ),
    Input(
        "the same, mapped",
        csv("log.csv", renamed("who", "what", "how", "since")),
        ("--user-column", "who", "--item-column", "what", "--rating-column", "how", "--time-column", "since"),
    ),
    Input(
        "clicks: user, item, time", csv("clicks.csv", S.drop("rating")), says="every row counts as a positive"
    ),
    Input(
        "every rating 1",
        csv("likes.csv", S.with_columns(pl.lit(1).alias("rating"))),
        says="every rating is 1",
    ),
    Input("every row twice", csv("log.csv", pl.concat([S, S]))),
    Input("one user", csv("log.csv", S.with_columns(pl.lit(7).alias("user"))), code=3, says="one user"),
    Input("one item", csv("log.csv", S.with_columns(pl.lit(7).alias("item"))), code=3, says="one item"),
    Input("everything cold", write("log.csv", everything_cold()), code=3, says="occur in train"),
    Input(
        "titles given as ratings", lambda folder: sample_folder() / "movies.csv", code=3, says="--user-column"
    ),
    Input("JSON lines", write("reviews.json", '{"user": 1, "item": 2}\n' * 9), code=3, says="JSON"),
    Input("a million rows, CSV", million, ("--candidates", "20", "--no-refit"), ask="7"),
    Input(
        "a million rows, line 900,001 broken",
        lambda folder: million(folder, bad=True),
        code=3,
        says="ratings.csv:900001",
    ),
]


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    rows: list[str] = []
    yield rows
    if path := os.environ.get("INPUTS_TABLE"):
        head = "| input | exit | what it said or gave |\n|---|---|---|\n"
        Path(path).write_text(head + "\n".join(rows) + "\n", encoding="utf-8")


@pytest.mark.parametrize("case", INPUTS, ids=lambda case: case.name)
def test_what_people_have_is_read_or_refused_with_a_way_out(
    case: Input, tmp_path: Path, table: list[str]
) -> None:
    artifacts = tmp_path / "artifacts"
    source = case.make(tmp_path)
    built = run("build-index", "--ratings", source, "--artifacts", artifacts, "--json", *QUICK, *case.flags)
    said = built.err.strip().replace(str(tmp_path) + "/", "").replace(str(sample_folder()) + "/", "")
    assert built.code == case.code, said
    assert case.says in said
    if case.code:
        assert len(said.splitlines()) == 1 and built.out == ""
        table.append(f"| {case.name} | {case.code} | {said} |")
        return
    split = json.loads(built.out)["split"]
    rows = split["train"] + split["validation"] + split["test"]
    answer = run("query", "--user", case.ask, "--k", "3", "--json", "--artifacts", artifacts)
    assert answer.code == 0, answer.err
    listed = json.loads(answer.out)
    assert listed["user"] == case.ask
    given = ", ".join(entry["title"] or entry["item"] for entry in listed["items"])
    notes = f"{'; '.join(said.splitlines())}; " if said else ""
    table.append(
        f"| {case.name} | 0 | {notes}{rows:,} rows, split by {split['kind']}; user {case.ask}: {given} |"
    )
