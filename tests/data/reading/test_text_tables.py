import csv
from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.data.reading.delimiters import TextLayout
from retrieval.data.reading.text_tables import TextTable

NAMES = ("a", "b", "c")
CSV = TextLayout(",", NAMES, header=False, quoted=True)


def rows_of(text: str, layout: TextLayout, positions: Sequence[int] = (0, 1, 2)) -> tuple[list[object], str]:
    """What was read, an empty field as None, each row after its place; and the malformed row."""
    rows = TextTable("t", text.encode(), layout).read(positions)
    assert rows.frame.columns == [str(position) for position in positions]
    assert set(rows.frame.dtypes) <= {pl.String}
    found = [
        (rows.where(number), *(field or None for field in row))
        for number, row in enumerate(rows.frame.rows())
    ]
    return found, str(rows.problem or "")


def test_fields_are_text_and_blank_lines_left_out() -> None:
    text = '\na,b,c\n 1,"x,y",\n  \n"",2,"say ""hi"""\n\n'
    layout = TextLayout(",", NAMES, header=True, quoted=True)
    assert rows_of(text, layout) == ([("t:3", " 1", "x,y", None), ("t:5", None, "2", 'say "hi"')], "")
    assert rows_of(text, layout, (2,))[0] == [("t:3", None), ("t:5", 'say "hi"')]


def test_a_header_alone_or_nothing_is_no_row() -> None:
    assert rows_of("a,b,c", TextLayout(",", NAMES, header=True)) == ([], "")
    assert rows_of("\n\n", TextLayout(",", NAMES, header=True)) == ([], "")
    assert rows_of("", CSV) == ([], "")


def test_rows_end_before_the_first_malformed_line() -> None:
    found, problem = rows_of("1,2,3\n1,2\n1,2,3,4\n", CSV)
    assert found == [("t:1", "1", "2", "3")]
    said = (
        "t:2: expected 3 fields separated by ',', found 2: '1,2' (2 of 3 rows cannot be used); mend the rows"
    )
    assert problem.startswith(said)


@pytest.mark.parametrize("quote", ["", '5" disk'], ids=["by numpy", "line by line"])
def test_malformed_lines_are_left_out_up_to_the_number_allowed(quote: str) -> None:
    lines = [f"{row},{row}{quote},3" for row in range(1, 7)]
    lines[1], lines[3] = "1,2", f"4,4{quote},4,4"
    table = TextTable("t", "\n".join(lines).encode(), CSV)
    rows = table.read((0, 1), skip=2)
    assert rows.frame["0"].to_list() == ["1", "3", "5", "6"]
    assert [rows.where(row) for row in range(4)] == ["t:1", "t:3", "t:5", "t:6"]
    assert (rows.problem, rows.left_out, len(rows.told)) == (None, 2, 2)
    assert rows.told[0] == "t:2: expected 3 fields separated by ',', found 2: '1,2'"
    for skip in (0, 1):
        rows = table.read((0, 1), skip=skip)
        assert rows.frame["0"].to_list() == ["1"] and rows.left_out == 0
        assert "(2 of 6 rows cannot be used); mend the rows or remove them" in str(rows.problem)
        assert str(rows.problem).endswith("`skip_bad=2`")


def test_an_open_quote_is_never_left_out() -> None:
    rows = TextTable("t", b'1,2,3\n4,"5,6\n7,8,9\n', CSV).read((0,), skip=9)
    assert rows.frame["0"].to_list() == ["1"]
    assert "a double quote is opened and not closed" in str(rows.problem)


def test_a_double_colon_separates_and_may_stand_beside_any_other_byte() -> None:
    layout = TextLayout("::", NAMES, header=False)
    text = "a\tb::|;::\x1f\nx:::y::z\n"
    assert rows_of(text, layout)[0] == [("t:1", "a\tb", "|;", "\x1f"), ("t:2", "x", ":y", "z")]
    assert rows_of(text + "1::2\n", layout)[1].startswith(
        "t:3: expected 3 fields separated by '::', found 2: '1::2'; mend"
    )
    every = "".join(chr(code) for code in range(1, 32) if chr(code) not in "\r\n")
    rows, problem = rows_of(f"{every}::b::c\n1::2\n", layout)
    assert rows == [("t:1", every, "b", "c")]
    assert problem.startswith("t:2: expected 3 fields separated by '::', found 2: '1::2'; mend")


@pytest.mark.parametrize("text", ["x::1::2\n", "xڀ::1::2\n", "x\x9c::1::2\n", "x^::1::2\nx^::3::4\n"])
def test_text_that_begins_like_a_compressed_stream_is_text(text: str) -> None:
    """polars takes `x` and \\x01, \\x9c or \\xda, which begins "ڀ", for zlib; `::` becomes \\x01."""
    expected = [(f"t:{line}", *row.split("::")) for line, row in enumerate(text.splitlines(), start=1)]
    assert rows_of(text, TextLayout("::", NAMES, header=False)) == (expected, "")
    assert rows_of(text.replace("::", ","), CSV) == (expected, "")
    assert rows_of("a,b,c\n" + text.replace("::", ","), TextLayout(",", NAMES, header=True))[0]


@pytest.mark.parametrize(
    ("text", "rows", "problem"),
    [
        ('5" disk,2,3\n4,"5\n6",7\n', [("t:1", '5" disk', "2", "3"), ("t:2", "4", "5\n6", "7")], ""),
        (
            'a"b,2,3\n1,2\n',
            [("t:1", 'a"b', "2", "3")],
            "t:2: expected 3 fields separated by ',', found 2: '1,2'",
        ),
        # Pythons's reader would take lines 2 to 4 for one record of three fields.
        (
            '1,2,3\n1,2,"3\n4,5,6\n7,8,"9"\n',
            [("t:1", "1", "2", "3")],
            "t:2: a double quote is opened and not closed: '1,2,\"3'",
        ),
        (
            'a"b,2,3\n1,2,"3\n4,5,6',
            [("t:1", 'a"b', "2", "3")],
            "t:2: a double quote is opened and not closed",
        ),
        ('a"b,2,3\n1,2,"3', [("t:1", 'a"b', "2", "3")], "t:2: a double quote is opened and not closed"),
        ('1,2,3\n1,2,"', [("t:1", "1", "2", "3")], "t:2: a double quote is opened and not closed: '1,2,\"'"),
    ],
)
def test_odd_quotes_are_read_as_python_does_but_swallow_no_lines(
    text: str, rows: list[object], problem: str
) -> None:
    found, told = rows_of(text, CSV)
    assert found == rows
    assert told.startswith(problem) and bool(told) == bool(problem)


def test_a_file_of_many_blocks_keeps_its_rows_and_lines() -> None:
    lines = [f"{i},{'x' * (i % 50)},3" for i in range(1, 100_001)]
    lines[50_000] = ""
    found = TextTable("t", "\n".join(lines).encode(), CSV).read([0, 1])
    numbers = [i for i in range(1, 100_001) if i != 50_001]
    assert found.frame["0"].to_list() == [str(i) for i in numbers]
    assert [found.where(row) for row in (0, 49_999, 50_000, 99_998)] == [
        "t:1",
        "t:50000",
        "t:50002",
        "t:100000",
    ]
    assert found.frame["1"].to_list() == ["x" * (i % 50) or None for i in numbers]


def slowly(text: str) -> tuple[list[object], str]:
    """The same by Python's csv module, line by line."""
    lines = text.split("\n")
    reader = csv.reader(line + "\n" for line in lines)
    rows: list[object] = []
    start = 0
    for fields in reader:
        raw = lines[start : reader.line_num]
        start, first = reader.line_num, start + 1
        if len(raw) == 1 and not raw[0].strip(" "):
            continue
        try:
            next(csv.reader(["\n".join(raw)], strict=True))
        except csv.Error:
            if len(raw) > 1 or start == len(lines):
                return rows, f"t:{first}: a double quote is opened and not closed"
        if len(fields) != 3:
            return rows, f"t:{first}: expected 3 fields separated by ',', found {len(fields)}"
        rows.append((f"t:{first}", *(field or None for field in fields)))
    return rows, ""


GOOD = st.sampled_from(["a", "é", " ", "", '""', '"a"', '"x,y"', '"x\ny"', '"say ""hi"""', 'b"'])
ANY = st.text(st.sampled_from('a ,\n"'), max_size=3)
GOOD_LINE = st.lists(GOOD, min_size=3, max_size=3).map(",".join)
ANY_LINE = st.lists(st.one_of(GOOD, ANY), max_size=4).map(",".join)


@given(st.lists(st.one_of(GOOD_LINE, GOOD_LINE, GOOD_LINE, ANY_LINE), min_size=1, max_size=10).map("\n".join))
def test_rows_places_and_the_first_problem_are_those_of_a_slow_reader(text: str) -> None:
    rows, problem = slowly(text)
    found, told = rows_of(text, CSV)
    assert found == rows
    assert told.startswith(problem) and bool(told) == bool(problem)
