"""Faults 1 to 12: tables that must be refused, and odd ones that must be read."""

import gzip
import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.support.archives import zipped
from tests.support.commands import Bench, Ran, record
from tests.support.reports import without_times

Row = tuple[Any, ...]  # user, item, rating, timestamp
HEADER = "userId,movieId,rating,timestamp"
START = 978_300_760
QUICK = (*["--epochs", "1", "--threads", "1", "--dimension", "4", "--index", "IVF1,Flat", "--json"],)
RATINGS_NAMES = ("ratings.dat", "u.data", "ratings.csv", "*.inter")


def table(side: int = 12, first: int = 1) -> list[Row]:
    """Everybody meets everything once, in rounds, a row every 1,000 seconds."""
    pairs = [(user, (5 * user + 7 * turn) % side) for turn in range(side) for user in range(side)]
    return [
        (first + user, first + item, 1 + (user + item) % 5, START + 1000 * number)
        for number, (user, item) in enumerate(pairs)
    ]


def csv(rows: list[Row], header: str = HEADER, separator: str = ",", end: str = "\n") -> str:
    return end.join([*([header] if header else []), *(separator.join(map(str, row)) for row in rows)]) + end


def digest(rows: list[Row]) -> str:
    """Of the canonical table, whose form `Interactions.digest` describes."""
    ordered = sorted(rows, key=lambda row: (row[0], row[1], row[3], row[2]))
    lines = (f"{user}\t{item}\t{rating:g}\t{time}\n" for user, item, rating, time in ordered)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def manifest_of(built: Any) -> Any:
    return json.loads((Path(built["bundle"]) / "manifest.json").read_text(encoding="utf-8"))


def build(bench: Bench, ratings: str, fault: int, given: str) -> Ran:
    """A quick build into the folder `built`."""
    flags = ("--ratings", ratings, "--artifacts", bench.folder / "built", *QUICK)
    return record(fault, given, bench.run("build-index", *flags))


# What must be refused


@dataclass(frozen=True)
class Bad:
    """A file that cannot be used: what its error names, and the flags that go with it."""

    fault: int
    given: str
    content: str | bytes
    says: tuple[str, ...]
    name: str = "ratings.csv"
    flags: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.fault}-{self.given}"


def third_line(fault: int, given: str, line: str, *says: str, header: str = HEADER) -> Bad:
    """A good line, a bad one, another good one: the error names line 3 and shows what is wrong there."""
    content = f"{header}\n1,10,4,{START}\n{line}\n2,11,3,{START}\n"
    return Bad(fault, f"{given}: `{line}`", content, ("ratings.csv:3", *says))


LATIN = csv([(1, 2, 3, START)]).encode() + b"caf\xe9 \x8f,1,2,3\n"
BAD = [
    Bad(2, "an empty file", "", ("ratings.csv", "0 interactions")),
    Bad(2, "a header only", HEADER + "\n", ("ratings.csv", "0 interactions")),
    Bad(2, "an empty file, gzipped", gzip.compress(b""), ("r.gz", "0 interactions"), name="r.gz"),
    third_line(3, "a field short", "7,8,9", "expected 4", "found 3", "7,8,9"),
    third_line(3, "a field too many", "7,8,9,10,11", "expected 4", "found 5", "7,8,9,10,11"),
    Bad(
        3, "`::`, a field short", "1::2::3::4\n1::2::3\n", ("u.dat:2", "expected 4", "1::2::3"), name="u.dat"
    ),
    third_line(3, "a rating of text", "7,8,good,9", "rating", "good", "number"),
    Bad(
        3,
        "a bad line below a byte-order mark, CRLF and blank lines",
        "\ufeff" + f"\r\n{HEADER}\r\n\r\n1,2,3,4\r\n1,2,three,4\r\n",
        ("ratings.csv:5", "three"),
    ),
    Bad(
        3,
        "a bad line below a quoted field of two lines",
        f'{HEADER}\n"the\nuser",2,3,4\n1,2,three,4\n',
        ("ratings.csv:4", "three"),
    ),
    Bad(3, "a bad line in gzip", gzip.compress(b"1,2,3,4\n1,2,x,4\n"), ("r.gz:2", "'x'"), name="r.gz"),
    Bad(
        3,
        "a bad line in a zip",
        zipped({"ml/ratings.csv": f"{HEADER}\n1,2,x,4\n", "ml/README": "read me"}),
        ("r.zip/ml/ratings.csv:2", "'x'"),
        name="r.zip",
    ),
    Bad(
        4,
        "a byte that is neither UTF-8 nor latin-1",
        LATIN,
        ("ratings.csv", f"byte offset {LATIN.index(0xE9)}", "UTF-8"),
    ),
    Bad(4, "a zero byte", csv(table()).encode() + b"\0", ("byte offset", "ratings.csv")),
    third_line(5, "a rating of NaN", f"7,8,NaN,{START}", "rating", "NaN", "finite"),
    third_line(5, "an infinite rating", f"7,8,inf,{START}", "rating", "inf", "finite"),
    third_line(5, "an empty rating", f"7,8,,{START}", "rating", "empty"),
    third_line(5, "a rating of spaces", f"7,8,  ,{START}", "rating", "empty"),
    third_line(6, "a negative timestamp", "7,8,4,-5", "timestamp", "-5"),
    third_line(6, "an unparsable timestamp", "7,8,4,soon", "timestamp", "soon"),
    third_line(6, "an empty timestamp", "7,8,4,", "timestamp", "empty"),
    third_line(6, "milliseconds among seconds", f"7,8,4,{START}000", "timestamp", f"{START}000", "unit"),
    Bad(
        6,
        "a day that no calendar has",
        f"{HEADER}\n1,2,3,2001-01-31 10:00:00\n1,3,3,2001-02-30 10:00:00\n1,4,5,2001-02-03 10:00:00\n",
        ("ratings.csv:3", "timestamp", "2001-02-30"),
    ),
    Bad(
        6,
        "no timestamp column",
        csv([row[:3] for row in table()], "userId,movieId,rating"),
        ("ratings.csv", "timestamp", "userId, movieId, rating", "--time-column", "--split random"),
    ),
    third_line(8, "an empty user", f",8,4,{START}", "user", "empty"),
    Bad(9, "no user column", "who,item,rating,time\n1,2,3,4\n", ("who, item, rating, time", "--user-column")),
    Bad(9, "no item column", "user,what,rating,time\n1,2,3,4\n", ("user, what, rating", "--item-column")),
    *(
        Bad(
            9,
            f"`{flag} steem` and no such column",
            csv(table(), "user,item,steam,time"),
            ("ratings.csv", flag, "'steem'", "user, item, steam, time", "did you mean steam"),
            flags=(flag, "steem"),
        )
        for flag in ("--user-column", "--item-column", "--rating-column", "--time-column")
    ),
    Bad(12, "a gzip file cut off", gzip.compress(csv(table()).encode())[:-20], ("r.gz",), name="r.gz"),
    Bad(12, "a zip file cut off", zipped({"ratings.csv": csv(table())})[:-30], ("r.zip",), name="r.zip"),
]
MORE_BAD = [
    Bad(2, "blank lines only", "\n \r\n\n", ("ratings.csv", "0 interactions")),
    Bad(2, "a header only, no line end", "\ufeff" + HEADER, ("ratings.csv", "0 interactions")),
    Bad(3, "tabs, a field too many", "1\t2\t3\t4\n1\t2\t3\t4\t5\n", ("u.data:2", "found 5"), name="u.data"),
    third_line(3, "a rating with a unit", "7,8,4 stars,9", "rating", "4 stars"),
    third_line(5, "a rating of -nan", f"7,8,-nan,{START}", "rating"),
    third_line(5, "an infinite rating", f"7,8,-Infinity,{START}", "rating", "Infinity"),
    third_line(5, "a rating beyond all numbers", f"7,8,1e999,{START}", "rating", "1e999"),
    third_line(6, "a timestamp of NaN", "7,8,4,nan", "timestamp", "nan"),
    third_line(6, "a timestamp beyond all times", "7,8,4,1e300", "timestamp", "1e300"),
    third_line(8, "an empty item", f"7,,4,{START}", "item", "empty"),
    Bad(
        12,
        "a zip with two tables",
        zipped({"a/ratings.csv": "x", "b/ratings.csv": "x"}),
        ("r.zip", "a/ratings.csv, b/ratings.csv"),
        name="r.zip",
    ),
]


@pytest.mark.parametrize(
    "bad", [*BAD, *(pytest.param(bad, marks=pytest.mark.slow) for bad in MORE_BAD)], ids=str
)
def test_a_file_that_cannot_be_used_ends_with_3_and_says_where(bench: Bench, bad: Bad) -> None:
    bench.write(bad.name, bad.content)
    flags = ("--ratings", bad.name, *bad.flags)
    line = bench.refused(bad.fault, "build-index", *flags, code=3, given=bad.given)
    assert all(text in line for text in bad.says), line


@pytest.mark.parametrize("what", ["nothing.csv", "empty", "other"])
def test_a_path_without_ratings_is_named_with_what_was_looked_for(bench: Bench, what: str) -> None:
    (bench.folder / "empty").mkdir()
    bench.write("other/README", "nothing here")
    line = bench.refused(1, "build-index", "--ratings", what, code=3)
    assert what in line and all(name in line for name in RATINGS_NAMES), line


def test_undecodable_titles_are_an_error_only_where_they_were_asked_for(bench: Bench) -> None:
    titles = b"movieId,title,genres\n1,\xff\x81 (1999),Drama\n"
    bench.write("titles/movies.csv", titles)
    bench.write("ratings.csv", csv(table()))
    flags = ("--ratings", "ratings.csv", "--items", "titles/movies.csv")
    line = bench.refused(4, "build-index", *flags, code=3, given="bytes 0xff 0x81 in `--items`")
    assert "titles/movies.csv" in line and f"byte offset {titles.index(0xFF)}" in line


SHARED_TIMES = [(user, item, 3 + user % 3, START) for user in range(9) for item in range(9)]
NOBODY_TWICE = [(number, 100 + number, 3 + number % 3, START + number) for number in range(50)]
SPLITS = [
    ("one time for all rows", SHARED_TIMES, (), ("train 81, validation 0, test 0", "--split random")),
    (
        "only new users after the cut",
        NOBODY_TWICE,
        (),
        ("train 35, validation 5, test 10", "warm 0 and 0", "--test-fraction"),
    ),
    ("two rows", NOBODY_TWICE[:2], (), ("train 1, validation 0, test 1",)),
    (
        "only new users, at random",
        NOBODY_TWICE,
        ("--split", "random"),
        ("train 35, validation 5, test 10", "warm 0 and 0"),
    ),
    (
        "fractions below a row",
        table(),
        ("--test-fraction", "0.001", "--validation-fraction", "0.001"),
        ("train 143, validation 0, test 1", "--test-fraction"),
    ),
]


@pytest.mark.parametrize(
    ("given", "rows", "flags", "says"),
    [pytest.param(*case, id=case[0], marks=[pytest.mark.slow] * (n > 1)) for n, case in enumerate(SPLITS)],
)
def test_a_split_that_leaves_nothing_is_refused_with_its_counts(
    bench: Bench, given: str, rows: list[Row], flags: tuple[str, ...], says: tuple[str, ...]
) -> None:
    bench.write("ratings.csv", csv(rows))
    line = bench.refused(10, "build-index", "--ratings", "ratings.csv", *flags, code=3, given=given)
    assert "ratings.csv" in line and all(text in line for text in says), line


# What must be read: each build takes several facts at once


def named(rows: list[Row], user: str, item: str) -> list[Row]:
    return [(user.format(row[0]), item.format(row[1]), *row[2:]) for row in rows]


def iso(time: int, zone_hours: int = 0) -> str:
    zone = timezone(timedelta(hours=zone_hours))
    return datetime.fromtimestamp(time, UTC).astimezone(zone).isoformat()


def asked(bench: Bench, user: object, k: int = 12) -> list[str]:
    """The items a user gets from the bundle in `built`."""
    answer = bench.run("query", "--user", user, "--k", k, "--json", "--artifacts", "built").json
    assert answer["user"] == str(user)
    return [entry["item"] for entry in answer["items"]]


def test_mark_crlf_no_last_newline_gzip_text_ids_and_iso_times_are_read_at_once(bench: Bench) -> None:
    rows = named([row for row in table() if row[:2] != (1, 1)], "Åsa Öberg {}", "fika & kaffe, 大 {}")
    written = [(user, f'"{item}"', rating, iso(time, 2)) for user, item, rating, time in rows]
    text = "\ufeff" + csv(written, "USER_ID,Item-Id,Stars,Date", end="\r\n").removesuffix("\r\n")
    bench.write("events", gzip.compress(text.encode()))
    ran = build(bench, "events", 12, "byte-order mark, CRLF, no last newline, gzip; ISO 8601; text ids")
    assert manifest_of(ran.json)["data"] == {"name": "events", "sha256": digest(rows), "rows": 143}
    assert [note for note in ran.notes if "events: " in note and "ISO 8601" in note], ran.notes
    assert asked(bench, "Åsa Öberg 1") == ["fika & kaffe, 大 1"]
    assert asked(bench, "Åsa Öberg 12") == []
    history = bench.run("query", "--history", "fika & kaffe", "--artifacts", "built")
    assert "'fika & kaffe'" in history.refusal(5)  # the comma is in the id, and --history splits at it


def test_zip_milliseconds_large_and_negative_ids_and_latin_1_titles_are_read_at_once(bench: Bench) -> None:
    users = {1: 0, 2: -7, 3: 2**31 + 5, 4: 2**53 + 1}
    items = {1: -(2**40), 2: 0, 3: 2**62 + 1}
    kept = [row for row in table() if row[:2] not in ((3, 1), (4, 3), (1, 2))]
    rows = [(users.get(user, user), items.get(item, item), rating, time) for user, item, rating, time in kept]
    text = csv([(u, i, r, time * 1000 + 999) for u, i, r, time in rows], "", "::")
    bench.write("ml.zip", zipped({"ml/ratings.dat": text, "ml/README": "read me"}))
    titles = f"{-(2**40)}::Amélie (2001)::Comedy\n{2**62 + 1}::Ça ira (1999)::Drama\n"
    bench.write("movies.dat", titles.encode("latin-1"))
    given = "ids 0, -7, -2^40, 2^31+5, 2^53+1, 2^62+1; zip, milliseconds, latin-1 titles"
    ran = build(bench, "ml.zip", 8, given)
    assert manifest_of(ran.json)["data"]["sha256"] == digest(rows)
    assert [note for note in ran.notes if "ml.zip" in note and "milliseconds" in note], ran.notes
    assert asked(bench, 0) == ["0"]
    assert asked(bench, -7) == []
    answer = bench.run("query", "--user", 2**31 + 5, "--json", "--artifacts", "built").json
    assert [(each["item"], each["title"]) for each in answer["items"]] == [(str(-(2**40)), "Amélie (2001)")]
    answer = bench.run("query", "--user", 2**53 + 1, "--json", "--artifacts", "built").json
    assert [(each["item"], each["title"]) for each in answer["items"]] == [(str(2**62 + 1), "Ça ira (1999)")]


def latest(rows: list[Row]) -> set[Row]:
    """Each pair once: the latest row, in the same second the higher rating."""
    kept: dict[tuple[int, int], Row] = {}
    for row in sorted(rows, key=lambda row: (row[3], row[2])):
        kept[row[:2]] = row
    return set(kept.values())


def cut(rows: list[Row], share: float) -> float:
    """Quantile of the times, between two of them linearly."""
    times = sorted(row[3] for row in rows)
    place = (len(times) - 1) * share
    below = int(place + 1e-9)
    return float(times[below] + (place - below) * (times[min(below + 1, len(times) - 1)] - times[below]))


def slices(rows: list[Row]) -> list[list[Row]]:
    """Train, validation and test, in plain Python."""
    first, second = cut(rows, 0.7), cut(rows, 0.8)
    return [
        [row for row in rows if row[3] <= first + 1e-3],
        [row for row in rows if first + 1e-3 < row[3] <= second + 1e-3],
        [row for row in rows if row[3] > second + 1e-3],
    ]


def crowded() -> list[Row]:
    """Ten rows a moment, so that some share the cut's; pairs again in the same and in a later slice."""
    rows = [
        (user, item, min(rating, 3) if user == 3 else rating, START + (time - START) // 10_000)
        for user, item, rating, time in table()
    ]
    rows += [(1, 1, 2, START + 1), (1, 1, 5, START + 1), (1, 1, 3, START)]  # the 5 counts
    rows += [(2, 2, 1, START), (2, 2, 4, START + 1), (2, 2, 4, START + 1)]  # the last, once
    # All that 3 ever likes is what 3 has seen.
    rows += [(3, row[1], 5, START + 13) for row in rows if row[0] == 3 and row[3] < START + 5]
    return rows


def test_repeats_and_equal_times_give_the_same_bundle_whatever_the_row_order(bench: Bench) -> None:
    rows = crowded()
    train, validation, test = slices(rows)
    reports = []
    for number, order in enumerate((rows, random.Random(1).sample(rows, len(rows)))):
        bench.write(f"{number}/ratings.csv", csv(order))
        given = "repeated pairs and shared times" + (", the rows shuffled" if number else "")
        reports.append(build(bench, f"{number}/ratings.csv", 11 if number else 7, given).json)

    report, counts = reports[0], reports[0]["split"]
    kept = [latest(part) for part in (train, validation, test)]
    assert [counts["train"], counts["validation"], counts["test"]] == [len(train), len(validation), len(test)]
    assert counts["duplicates"] == len(rows) - sum(map(len, kept)) > 5
    seen = {row[:2] for row in kept[0]}
    liked = {row[:2] for row in kept[2] if row[2] >= 4}
    assert report["judged_users"] == len(dict(liked - seen)) < len(dict(liked))
    assert report["seen_test_rows"] == sum(row[:2] in seen for row in kept[2]) > 3
    stored = pl.read_parquet(Path(report["bundle"]) / "evaluated" / "interactions.parquet")
    for name, part in zip(("train", "validation", "test"), kept, strict=True):
        columns = ["user", "item", "rating", "timestamp"]
        assert set(stored.filter(pl.col("slice") == name).select(columns).rows()) == part

    one, other = map(manifest_of, reports)
    assert [one[key] for key in ("data", "split", "training")] == [
        other[key] for key in ("data", "split", "training")
    ]
    same = [name for name, entry in one["files"].items() if other["files"][name] == entry]
    timed = {f"evaluated/{name}" for name in ("index_choice.json", "index_milliseconds.npy")}
    assert set(one["files"]) - set(same) <= {"report.json", "report.html"} | timed
    assert without_times({**reports[0], "bundle": 0}) == without_times({**reports[1], "bundle": 0})


def test_fractions_are_floored_and_ids_beyond_64_bits_become_text(bench: Bench) -> None:
    rows = [(user + 2**64, item, rating, time) for user, item, rating, time in table()]
    rows[5] = ("007", *rows[5][1:])
    text = csv([(u, i, r, time + 0.75) for u, i, r, time in rows])
    bench.write("ratings.csv", text)
    ran = build(bench, "ratings.csv", 6, "times with fractions; ids of 2^64 and more, and `007`")
    assert manifest_of(ran.json)["data"]["sha256"] == digest([(str(u), i, r, t) for u, i, r, t in rows])
    assert [note for note in ran.notes if "floored" in note], ran.notes
    assert set(asked(bench, "007")) == {str(item) for item in range(1, 13)} - {str(rows[5][1])}
    assert "user 7 is not" in bench.run("query", "--user", "7", "--artifacts", "built").refusal(5)


def retimed(write: Callable[[int], object]) -> bytes:
    return csv([(user, item, rating, write(time)) for user, item, rating, time in table()]).encode()


FORMS = {
    "CRLF": csv(table(), end="\r\n").encode(),
    "no last newline": csv(table()).encode().rstrip(),
    "byte-order mark": b"\xef\xbb\xbf" + csv(table()).encode(),
    "gz": gzip.compress(csv(table()).encode()),
    "zip": zipped({"ratings.csv": csv(table())}),
}
# And what must be said of them.
TIMES = {
    "milliseconds": (retimed(lambda time: time * 1000), "milliseconds"),
    "fractions": (retimed(lambda time: time + 0.5), "floored"),
    "ISO 8601 with Z": (retimed(lambda time: iso(time)[:19] + "Z"), "ISO 8601"),
    "ISO 8601 with an offset": (retimed(lambda time: iso(time, -5)), "ISO 8601"),
    "ISO 8601, a space, no zone": (retimed(lambda time: iso(time)[:19].replace("T", " ")), "ISO 8601"),
}


@pytest.mark.slow
@pytest.mark.parametrize("form", [*FORMS, *TIMES])
def test_one_table_in_many_forms_is_the_same_table(bench: Bench, form: str) -> None:
    content, said = TIMES[form] if form in TIMES else (FORMS[form], "")
    bench.write("ratings", content)
    ran = build(bench, "ratings", 6 if form in TIMES else 12, form)
    assert manifest_of(ran.json)["data"] == {"name": "ratings", "sha256": digest(table()), "rows": 144}
    assert any(said in note for note in ran.notes) if said else not ran.notes
