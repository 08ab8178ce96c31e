import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.data.reading.record_lines import Records, StrayQuoteError, find_records


def found(
    data: bytes, quoted: bool, block: int = 1 << 20, separator: bytes = b","
) -> list[tuple[object, ...]]:
    """Line, text, number of fields and blankness of every record."""
    rows = []
    for records in find_records(data, b",", quoted, block=block):
        for start, end, line, fields, blank in zip(
            records.starts, records.ends, records.lines, records.fields, records.blank, strict=True
        ):
            rows.append((int(line), data[start:end], int(fields), bool(blank)))
    return rows


def test_lines_fields_and_blanks_of_a_plain_text_are_counted() -> None:
    assert found(b"a,b\n\n  \nc,d,e\n,", quoted=False) == [
        (1, b"a,b", 2, False),
        (2, b"", 1, True),
        (3, b"  ", 1, True),
        (4, b"c,d,e", 3, False),
        (5, b",", 2, False),
    ]


def test_quotes_hold_separators_line_ends_and_doubled_quotes() -> None:
    assert found(b'"a,\n""b",c\n"",""\n', quoted=True) == [
        (1, b'"a,\n""b",c', 2, False),
        (3, b'"",""', 2, False),
    ]
    assert [row[2] for row in found(b'"a,\n""b",c\n"",""\n', quoted=False)] == [2, 2, 2]


def test_a_quote_that_is_never_closed_makes_a_record_of_no_fields() -> None:
    assert found(b'a,b\nc,"d\ne,f\n', quoted=True)[1:] == [(2, b'c,"d\ne,f\n', 0, False)]
    assert found(b'a,b\nc,"', quoted=True)[1:] == [(2, b'c,"', 0, False)]


@pytest.mark.parametrize("data", [b'a"b,c\n', b'"a"b,c\n', b'"a" ,c\n', b'a, "b"\n', b'a,b""\n'])
@pytest.mark.parametrize("block", [3, 1 << 20])
def test_a_quote_in_an_odd_place_is_left_to_others(data: bytes, block: int) -> None:
    with pytest.raises(StrayQuoteError):
        found(b"x,y\n" + data, quoted=True, block=block)
    assert len(found(data, quoted=False)) == 1


def test_an_empty_text_has_no_records_and_one_may_begin_anywhere() -> None:
    assert found(b"", quoted=False) == []
    (records,) = find_records(b"skip\na,b\nc,d", b",", quoted=False, start=5, line=2)
    assert isinstance(records, Records)
    np.testing.assert_array_equal(records.starts, [5, 9])
    np.testing.assert_array_equal(records.lines, [2, 3])


PLAIN = st.lists(st.sampled_from(["a", " ", ",", "\n", "é", '"', ""]), max_size=30).map("".join)
CELL = st.text(st.sampled_from('ab ,\n"é'), max_size=5)
QUOTED = st.lists(st.lists(st.tuples(CELL, st.booleans()), min_size=1, max_size=4), min_size=1, max_size=6)


def cell(text: str, quote: bool) -> str:
    return '"' + text.replace('"', '""') + '"' if quote or set(text) & set(',\n"') else text


@given(text=PLAIN, block=st.integers(1, 12))
def test_plain_lines_are_those_of_python_whatever_the_block(text: str, block: int) -> None:
    lines = text.removesuffix("\n").split("\n") if text else []
    expected = [
        (number, line.encode(), line.count(",") + 1, not line.strip(" "))
        for number, line in enumerate(lines, start=1)
    ]
    assert found(text.encode(), quoted=False, block=block) == expected


@given(rows=QUOTED, block=st.integers(1, 40), end=st.sampled_from(["\n", ""]))
def test_quoted_records_are_those_of_the_csv_module_whatever_the_block(
    rows: list[list[tuple[str, bool]]], block: int, end: str
) -> None:
    text = "\n".join(",".join(cell(*pair) for pair in row) for row in rows) + end
    reader = csv.reader(line + "\n" for line in text.split("\n"))
    expected, start = [], 1
    for fields in reader:
        expected.append((start, max(len(fields), 1)))
        start = reader.line_num + 1
    if text.endswith("\n") or not text:
        expected.pop()  # what split finds after the last line end
    assert [(line, fields) for line, _, fields, _ in found(text.encode(), True, block)] == expected
