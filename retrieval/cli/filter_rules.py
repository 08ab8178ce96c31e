"""Parses the values of `--only` and `--exclude` into rules of `serving.item_filters`."""

import re
from collections.abc import Sequence
from pathlib import Path

from retrieval.data.reading.decoding import to_utf8
from retrieval.errors import DataError, UsageError
from retrieval.serving.item_attributes import Comparison, ItemAttributes
from retrieval.serving.item_filters import Rule

_COMPARED = re.compile(r"([^<>=@]+)([<>]=?.*)")
_FORMS = "expected COLUMN=VALUE, COLUMN<NUMBER, item ids with commas between them, or @FILE with an id a line"


def parse_rules(flag: str, texts: Sequence[str], attributes: ItemAttributes) -> list[Rule] | None:
    """A rule for each value of the flag; None where the flag was not given.

    Raises:
        UsageError: if a text is no rule, or the items have no such column.
        DataError: if a file of ids cannot be read.
    """
    return [_rule(flag, text, attributes) for text in texts] or None


def _rule(flag: str, text: str, attributes: ItemAttributes) -> Rule:
    if text.startswith("@"):
        if not text[1:]:
            raise UsageError(f"{flag} @ names no file; give its path, as in {flag} @ids.txt")
        return read_ids(Path(text[1:]))
    compared = _COMPARED.fullmatch(text)
    if compared:
        name, comparison = compared[1].strip(), compared[2].strip()
        if Comparison.of(comparison) is None:
            raise UsageError(f"{flag} {text!r} compares with no number; as in {flag} '{name}>=20'")
        attributes.column(name)
        return {name: [comparison]}
    name, is_column, values = text.partition("=")
    if not is_column:
        ids = [part.strip() for part in text.split(",") if part.strip()]
        if not ids:
            raise UsageError(f"{flag} {text!r} says nothing; {_FORMS}")
        if len(ids) == 1 and attributes.has(ids[0]):
            raise UsageError(f"{flag} {text} names a column and no value of it; as in {flag} {text}=VALUE")
        return ids
    parted = attributes.column(name).parted(values)
    if not parted:
        raise UsageError(f"{flag} {text!r} names no value of {name.strip()}; {_FORMS}")
    return {name.strip(): parted}


def read_ids(path: Path) -> list[str]:
    """The ids in a file, one a line, without blank lines and surrounding spaces.

    Raises:
        DataError: if the file is missing, cannot be read or is no text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error})", "give a text file of item ids, one a line"
        ) from None
    text, _ = to_utf8(data, str(path))
    return [line.strip() for line in text.decode().split("\n") if line.strip()]
