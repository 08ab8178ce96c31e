"""Reads a JSON document field by field; a field of another type is a `ValueError` that names it."""

import math
from collections.abc import Callable, Mapping, Set
from typing import Any, TypeVar

Read = TypeVar("Read")
Choice = TypeVar("Choice", bound=str)
INT64 = range(-(2**63), 2**63)


class JsonObject:
    """An object of a JSON document, with a typed accessor for each kind of field.

    The code that reads a file states the type of every field. Another value is then refused where it is
    read, and not deep inside the code that uses it.

    Args:
        value: the parsed JSON.
        where: the path to it from the top, for error messages.

    Raises:
        ValueError: if `value` is not an object.

    >>> JsonObject({"data": {"rows": "many"}}).object("data").integer("rows")
    Traceback (most recent call last):
    ValueError: data.rows is 'many'; expected an integer
    """

    def __init__(self, value: Any, where: str = "") -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{where or 'the document'} is {_shown(value)}; expected an object")
        self.document: Mapping[str, Any] = value
        self._where = where

    def text(self, name: str) -> str:
        """A text."""
        value = self.any(name)
        if not isinstance(value, str):
            raise self._wrong(name, "a text")
        return value

    def choice(self, name: str, choices: tuple[Choice, ...]) -> Choice:
        """One of these texts."""
        value = self.any(name)
        for each in choices:
            if value == each:
                return each
        raise self._wrong(name, " or ".join(f'"{each}"' for each in choices))

    def truth(self, name: str) -> bool:
        """True or false."""
        value = self.any(name)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def integer(self, name: str, least: int | None = None) -> int:
        """An integer of 64 bits, not below `least`."""
        value = self.any(name)
        is_integer = isinstance(value, int) and not isinstance(value, bool) and value in INT64
        if not is_integer or (least is not None and value < least):
            raise self._wrong(name, "an integer" if least is None else f"an integer of at least {least}")
        return int(value)

    def figure(self, name: str) -> float:
        """A measured number, which may be NaN or infinite."""
        value = self.any(name)
        if not _is_float(value):
            raise self._wrong(name, "a number")
        return value  # type: ignore[no-any-return]

    def number(self, name: str, least: float | None = None) -> float:
        """A finite number, not below `least`."""
        value = self.any(name)
        if not _is_float(value) or not math.isfinite(value) or (least is not None and value < least):
            raise self._wrong(name, "a finite number" + ("" if least is None else f" of at least {least:g}"))
        return value  # type: ignore[no-any-return]

    def object(self, name: str) -> "JsonObject":
        """An object."""
        return JsonObject(self.any(name), self._path(name))

    def objects(self, name: str) -> "tuple[JsonObject, ...]":
        """A list of objects."""
        return tuple(JsonObject(each, f"{self._path(name)}[{i}]") for i, each in enumerate(self.list(name)))

    def list(self, name: str) -> tuple[Any, ...]:
        """A list of anything."""
        value = self.any(name)
        if not isinstance(value, list):
            raise self._wrong(name, "a list")
        return tuple(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        found = self.list(name)
        if not all(isinstance(each, str) for each in found):
            raise self._wrong(name, "a list of texts")
        return found

    def optional(self, name: str, read: "Callable[[JsonObject, str], Read]") -> Read | None:
        """As `read`, one of the accessors; None where the field is null or missing.

        >>> JsonObject({"limit": None}).optional("limit", JsonObject.integer) is None
        True
        """
        return None if self.document.get(name) is None else read(self, name)

    def check_names(self, known: Set[str]) -> None:
        """Refuse fields of other names."""
        unknown = sorted(self.document.keys() - known)
        if unknown:
            raise ValueError(f"{self._path(unknown[0])} is unknown; expected {', '.join(sorted(known))}")

    def any(self, name: str) -> Any:
        """A value of any type; the field must be there."""
        if name not in self.document:
            raise ValueError(f"{self._path(name)} is missing")
        return self.document[name]

    def _path(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name

    def _wrong(self, name: str, expected: str) -> ValueError:
        return ValueError(f"{self._path(name)} is {_shown(self.document[name])}; expected {expected}")


def _is_float(value: Any) -> bool:
    """Whether a value is a number that a float can hold; JSON has integers of any length."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and not (isinstance(value, int) and abs(value) > 10**300)


def _shown(value: Any) -> str:
    """A value in a message: short, and on one line."""
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else f"{value!r:.60}"
