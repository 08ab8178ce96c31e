"""The types of settings: each value of a settings class is of the type its field declares."""

import numbers
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from retrieval.errors import UsageError


def check_types(group: str, settings: object) -> None:
    """Check every field of a frozen dataclass against its annotation; for its `__post_init__`.

    Whole numbers and numbers of NumPy become Python's, and lists become tuples, as the manifest stores them.
    Fields that are a choice of texts are not looked at: their classes name the choices.

    Args:
        group: where the class stands in `BuildSettings`, such as "towers"; "" for `BuildSettings`.

    Raises:
        UsageError: for the first field whose value is of another type.
    """
    for field in fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, field.name)
        checked = _checked(f"{group}.{field.name}" if group else field.name, value, field.type)
        if checked is not value:
            object.__setattr__(settings, field.name, checked)


def _checked(name: str, value: Any, declared: Any) -> Any:
    types = get_args(declared) if get_origin(declared) in (Union, UnionType) else (declared,)
    if any(get_origin(each) is Literal for each in types):
        return value
    if value is None and NoneType in types:
        return None
    (wanted,) = (each for each in types if each is not NoneType)
    if get_origin(wanted) is tuple and isinstance(value, (tuple, list)):
        return tuple(_checked(name, each, get_args(wanted)[0]) for each in value)
    is_bool = isinstance(value, bool)
    if wanted is int and isinstance(value, numbers.Integral) and not is_bool:
        return int(value)
    if wanted is float and isinstance(value, numbers.Real) and not is_bool:
        return value if isinstance(value, int) else float(value)
    if isinstance(wanted, type) and wanted not in (int, float) and isinstance(value, wanted):
        return value
    or_none = " or None" if NoneType in types else ""
    raise UsageError(f"`{name}` must be {_in_words(wanted)}{or_none}, not {value!r}", _advice(wanted))


def _in_words(wanted: Any) -> str:
    if get_origin(wanted) is tuple:
        return "a tuple"
    named = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}
    return named.get(wanted, f"a {wanted.__name__}")


def _advice(wanted: Any) -> str | None:
    return (
        f"write {wanted.__name__}(name=value, ...)"
        if isinstance(wanted, type) and is_dataclass(wanted)
        else None
    )
