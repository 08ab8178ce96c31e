"""Tables written as JSON: an object a line, as review files are, or one array of objects."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import polars as pl

from retrieval.data.reading.delimiters import shorten
from retrieval.data.reading.raw_table import Malformed, Rows
from retrieval.errors import DataError

_SAMPLE = 1000  # objects whose keys name the columns
# Numbers stay as the file writes them, as in every other text.
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)


@dataclass(frozen=True)
class JsonTable:
    """A JSON text whose objects are rows.

    Attributes:
        label: the file, for messages.
        text: the file's content.
        names: the keys of the first objects, in the order in which they first occur.
        notes: how the reader interpreted the file.
    """

    label: str
    text: str = field(repr=False)
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def read(self, positions: Sequence[int], skip: int = 0) -> Rows:
        """Read the columns at `positions` as text, or as lists of text; a missing key is null.

        At most `skip` lines that are no JSON objects are left out.
        """
        wanted = [self.names[position] for position in positions]
        cells: list[list[Any]] = [[] for _ in wanted]
        places, malformed, before = list[str](), Malformed(), 0
        for place, row in _objects(self.text):
            malformed.of += 1
            if isinstance(row, str):
                malformed.add(partial(_no_object, f"{self.label}{place}", row))
                continue
            before += not malformed.bad
            places.append(place)
            for column, name in zip(cells, wanted, strict=True):
                column.append(row.get(name))
        kept = before if malformed.too_many(skip) else len(places)
        columns = {
            str(position): _series(values[:kept]) for position, values in zip(positions, cells, strict=True)
        }
        return malformed.among(pl.DataFrame(columns), lambda row: f"{self.label}{places[row]}", skip)


def is_json(text: bytes) -> bool:
    """Whether a text begins as JSON Lines or as an array of objects does."""
    head = text[:4096].lstrip()
    return (head[:1] == b"{" and head[1:].lstrip()[:1] in (b'"', b"}")) or (
        head[:1] == b"[" and head[1:].lstrip()[:1] == b"{"
    )


def json_table(data: bytes, label: str, what: str, notes: tuple[str, ...] = ()) -> JsonTable:
    """The table in a JSON text.

    Args:
        data: UTF-8.
        what: "ratings", "items" or "users", for messages.

    Raises:
        DataError: if the text begins with no object on a line of its own and is no array of objects.
    """
    text = data.decode("utf-8")
    names: dict[str, None] = {}
    for number, (_, row) in enumerate(_objects(text)):
        if isinstance(row, str) and not names:
            raise DataError(
                f"{label}: not a table of {what}: this looks like JSON, but not like an object a line or "
                "one array of objects",
                "write it as JSON Lines, for example with pandas: to_json(..., orient='records', lines=True)",
            )
        if number == _SAMPLE:
            break
        names |= dict.fromkeys(row if isinstance(row, dict) else ())
    return JsonTable(label, text, tuple(names), notes)


def _objects(text: str) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """The place and the object of each row; its text where it is none."""
    if text.lstrip()[:1] == "[":
        try:
            rows = _DECODER.decode(text.strip())
        except (ValueError, RecursionError):
            yield "", text[:400]
            return
        for number, row in enumerate(rows):
            yield f": row {number} (counted from 0)", row if isinstance(row, dict) else str(row)
        return
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            try:
                row = _DECODER.decode(content.strip())
            except (ValueError, RecursionError):
                row = None
            yield f":{line}", row if isinstance(row, dict) else content[:400]


def _no_object(place: str, text: str) -> DataError:
    return DataError(f"{place}: not a JSON object: {shorten(text)}")


def _series(values: list[Any]) -> pl.Series:
    """A column of texts; of lists of texts where a value is a list. What is an object itself is null."""
    if any(isinstance(value, list) for value in values):
        return pl.Series([_texts(value) for value in values], dtype=pl.List(pl.String))
    return pl.Series([_text(value) for value in values], dtype=pl.String)


def _texts(value: Any) -> list[str] | None:
    """The texts in a list, those of lists inside it too."""
    if value is None:
        return None
    flat: list[str] = []
    for each in value if isinstance(value, list) else [value]:
        found = _texts(each) if isinstance(each, list) else [_text(each)]
        flat += [text for text in found or () if text is not None]
    return flat


def _text(value: Any) -> str | None:
    if isinstance(value, dict):
        return _text(value.get("name"))
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if value is None or isinstance(value, str) else None
