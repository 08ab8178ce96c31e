import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.data.reading.decoding import to_utf8
from retrieval.errors import DataError

TEXT = "naïve,日本,𝄞\nb\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        TEXT.replace("\n", "\r\n").encode("utf-16"),
    ],
)
def test_marks_and_line_ends_do_not_matter(data: bytes) -> None:
    assert to_utf8(data, "x") == (TEXT.encode(), ())


def test_latin_1_is_said() -> None:
    assert to_utf8("é\r\n".encode("latin-1"), "x") == ("é\n".encode(), ("not UTF-8: read as latin-1",))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"ab\x92",
            "x: byte 0x92 at byte offset 2 is not UTF-8, nor is the file latin-1 (byte 0x92 at 2); save",
        ),
        (
            "À".encode() + b"\xff",
            "byte 0xff at byte offset 2 is not UTF-8, nor is the file latin-1 (byte 0x80 at 1)",
        ),
        (b"a" * (1 << 20) + b"\xe2\x82", f"byte 0xe2 at byte offset {1 << 20} is not UTF-8"),
        (b"a" * ((1 << 20) - 1) + b"\xe2\x82a", f"byte 0xe2 at byte offset {(1 << 20) - 1} is not UTF-8"),
        (b"ab\0c", "x: a zero byte at byte offset 2: not a text file"),
        ("a\0".encode("utf-16"), "x: a zero character in the text"),
        (
            "ab".encode("utf-16")[:-1],
            "x: begins as UTF-16 and breaks at byte offset 4; save the file as UTF-8",
        ),
        (codecs.BOM_UTF16_LE + b"\x00\xd8", "x: begins as UTF-16 and breaks"),
    ],
)
def test_what_cannot_be_decoded_is_named_by_its_offset(data: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        to_utf8(data, "x")
    assert message in str(caught.value)


@given(st.binary(max_size=40))
def test_bytes_are_read_as_utf_8_where_they_are(data: bytes) -> None:
    try:
        expected = data.decode()
    except UnicodeDecodeError:
        return
    if "\0" not in expected:
        plain = expected.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        assert to_utf8(data, "x") == (plain.encode(), ())
