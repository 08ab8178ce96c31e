import pytest

from retrieval.data.reading.columns import ColumnNames
from retrieval.data.reading.delimiters import TextLayout, first_lines, header_layout, shorten, split_fields
from retrieval.data.reading.ratings_header import headerless_note, ratings_layout
from retrieval.errors import DataError


def layout(*lines: str, columns: ColumnNames | None = None) -> TextLayout:
    return ratings_layout(lines, columns or ColumnNames(), "r")


def test_the_first_lines_are_those_that_are_not_blank_and_whole() -> None:
    assert first_lines(b"\n  \na,b\n\nc\n") == ["a,b", "c"]
    assert first_lines(b"") == first_lines(b" \n\n") == []
    assert first_lines("é\n".encode() * 100) == ["é"] * 20
    assert first_lines(b"x" * 40_000 + b"\n" + b"y" * 40_000 + b"\n") == ["x" * 40_000]
    assert len(first_lines(b"x" * 100_000)[0]) == 65_536


def test_recbole_names_lose_their_type() -> None:
    assert header_layout("a_id:token\tb:float_seq", lambda names: False) == TextLayout(
        "\t", ("a_id", "b"), header=True
    )


@pytest.mark.parametrize("separator", [",", "\t", ";", "|", "::"])
def test_a_header_tells_the_separator(separator: str) -> None:
    found = layout(separator.join(["user", "item", "x"]), separator.join(["1", "2", "3"]))
    assert found == TextLayout(separator, ("user", "item", "x"), header=True, quoted=separator != "::")


def test_quotes_and_spaces_around_names_are_removed() -> None:
    assert split_fields('"user id" , "a,b"', ",") == ["user id", "a,b"]
    assert split_fields("a :: b", "::") == ["a", "b"]
    assert layout('"userId", "movieId"').names == ("userId", "movieId")


def test_given_names_make_a_header_even_of_numbers() -> None:
    columns = ColumnNames(user="2019", item="2020")
    assert layout("2019,2020,5", columns=columns).header
    assert not layout("2019,2020,5").header


def test_a_known_name_makes_a_header_even_beside_numbers() -> None:
    assert layout("userId,2019,2020").header
    assert not layout("time,2019,2020").header


def test_names_nobody_knows_are_a_header_with_the_separator_of_most_fields() -> None:
    assert layout("who;what, really;when") == TextLayout(
        ";", ("who", "what, really", "when"), header=True, quoted=True
    )


@pytest.mark.parametrize("line", ["hello", "hello world", "1", ""])
def test_one_field_is_no_table(line: str) -> None:
    with pytest.raises(DataError, match="r: not a ratings file: begins with"):
        layout(line)


def test_the_known_formats_without_a_header_need_no_note() -> None:
    for line in ("1::2::5::978300760", "1\t2\t5\t978300760"):
        assert headerless_note(layout(line)) == ()
    for line, names in (("1,2,5,97", "user, item, rating, timestamp"), ("1\t2", "user, item")):
        assert headerless_note(layout(line)) == (f"no header: columns taken as {names}",)
    assert headerless_note(layout("user,item")) == ()


def test_what_is_shortened_is_on_one_line() -> None:
    assert shorten("a\nb") == r"'a\nb'"
    assert shorten("x" * 81) == repr("x" * 80 + "...")
