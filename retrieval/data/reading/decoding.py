"""Decodes the bytes of a text file to UTF-8 with plain line ends."""

import codecs
import re

from retrieval.errors import DataError

# UTF-32 comes first: its little-endian mark begins with the mark of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_C1_CONTROL = re.compile(rb"[\x80-\x9f]")
_BLOCK = 1 << 20


def to_utf8(data: bytes, label: str) -> tuple[bytes, tuple[str, ...]]:
    r"""The text as UTF-8 with ``\n`` line ends and no byte-order mark, and notes on how it was decoded.

    It decodes UTF-8, UTF-16 and UTF-32 with their marks, and latin-1.

    Raises:
        DataError: with the byte offset, if the bytes are none of these or one of them is zero.
    """
    notes: tuple[str, ...] = ()
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    if marked:
        try:
            data = data.decode(marked).encode("utf-8")
        except UnicodeError as error:
            offset = f" at byte offset {error.start}" if isinstance(error, UnicodeDecodeError) else ""
            raise DataError(
                f"{label}: begins as {marked.upper()} and breaks{offset}", "save the file as UTF-8"
            ) from None
    zero = data.find(b"\0")
    if zero >= 0:
        raise DataError(
            f"{label}: a zero byte at byte offset {zero}: not a text file, or UTF-16 without its mark; "
            "expected text in UTF-8"
            if not marked
            else f"{label}: a zero character in the text; expected none"
        )
    wrong = _first_not_utf8(data)
    if wrong is not None:
        # Bytes 0x80-0x9f are control characters in latin-1, so text that holds them is in another encoding.
        control = _C1_CONTROL.search(data)
        if control:
            raise DataError(
                f"{label}: byte 0x{data[wrong]:02x} at byte offset {wrong} is not UTF-8, nor is the file "
                f"latin-1 (byte 0x{control[0][0]:02x} at {control.start()})",
                "save it as UTF-8",
            )
        data = data.decode("latin-1").encode("utf-8")
        notes = ("not UTF-8: read as latin-1",)
    data = data.removeprefix(codecs.BOM_UTF8)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data, notes


def _first_not_utf8(data: bytes) -> int | None:
    """Offset of the first byte that is not UTF-8. Decodes in blocks: text can take four times the memory."""
    if data.isascii():
        return None
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(data), _BLOCK):
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(data[start : start + _BLOCK], final=start + _BLOCK >= len(data))
        except UnicodeDecodeError as error:
            return start - pending + error.start
    return None
