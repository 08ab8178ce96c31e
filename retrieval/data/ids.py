"""Ids of users and items to row numbers and back; every conversion goes through `IdMap`."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Id = int | str

COMPARED = 2_000  # texts whose letters are compared to find the nearest ids


@dataclass(frozen=True)
class IdMap:
    """Sorted unique ids; the row of an id is its position.

    Integers are ordered as numbers and all other ids as text, so the order of ids is the order of rows.
    Lookups take ``42`` and ``"42"`` alike.

    Attributes:
        ids: shape (n,), dtype int64 or fixed-width unicode, strictly increasing.

    Raises:
        ValueError: if the ids are not strictly increasing or of another dtype.

    >>> users = IdMap.from_values([42, 7, 42])
    >>> users.ids.tolist(), users.row("42"), users.row("x")
    ([7, 42], 1, None)
    """

    ids: NDArray[Any]

    def __post_init__(self) -> None:
        if self.ids.ndim != 1 or self.ids.dtype.kind not in "iU":
            raise ValueError(
                f"ids must be one axis of integers or text, not {self.ids.dtype} of shape {self.ids.shape}"
            )
        if len(self.ids) > 1 and not bool((self.ids[1:] > self.ids[:-1]).all()):
            raise ValueError("ids must be sorted and unique")

    @classmethod
    def from_values(cls, values: Iterable[Id]) -> "IdMap":
        """Build from values in any order, with repetitions; all integers, or all text.

        Integers beyond 64 bits make all ids text: nothing is ever wrapped.
        """
        values = values if isinstance(values, (np.ndarray, list)) else list(values)
        array = np.asarray(values)
        if not array.size:
            return cls(array.astype(np.int64) if array.dtype.kind != "U" else array)
        # numpy makes uint64 of 2**63, and floats of it beside a negative number.
        is_rounded = array.dtype.kind == "f" and all(isinstance(value, int) for value in values)
        if is_rounded or (array.dtype.kind == "u" and int(array.max()) >= 2**63):
            array = np.array([str(value) for value in values])
        if array.dtype.kind == "O":
            array = array.astype(np.str_)
        if array.dtype.kind in "iu":
            array = array.astype(np.int64)
        return cls(np.unique(array))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def are_integers(self) -> bool:
        """Whether the ids are numbers, ordered as numbers."""
        return self.ids.dtype.kind == "i"

    def rows(self, values: Sequence[Id] | NDArray[Any]) -> NDArray[np.int64]:
        """Rows of many ids: shape (len(values),), int64, -1 where an id is unknown."""
        array = np.asarray(values)
        if not len(array) or not len(self.ids):
            return np.full(len(array), -1, dtype=np.int64)
        if array.dtype.kind != self.ids.dtype.kind:
            keys = [self._key(value) for value in array.tolist()]
            known = np.array([key is not None for key in keys])
            array = np.array([self.ids[0].item() if key is None else key for key in keys])
        else:
            known = np.ones(len(array), dtype=bool)
        positions = np.minimum(np.searchsorted(self.ids, array), len(self.ids) - 1)
        return np.where(known & (self.ids[positions] == array), positions, -1).astype(np.int64)

    def row(self, value: Id) -> int | None:
        """Row of one id, None where it is unknown."""
        row = int(self.rows([value])[0])
        return None if row < 0 else row

    def nearest(self, value: Id, count: int = 3) -> list[Id]:
        """Known ids that look most like `value`: the closest numbers, or the most similar texts.

        Texts that differ only by case or leading zeros come first. Among many ids only the neighbours in
        sorted order are compared letter by letter, since comparing all takes seconds.

        >>> IdMap.from_values(["u10", "U2", "w9"]).nearest("u2", count=2)
        ['U2', 'u10']
        """
        if self.are_integers and _is_integer(value):
            wanted = int(value)  # an integer beyond 64 bits has nearest ids too
            place = int(np.searchsorted(self.ids, min(max(wanted, -(2**63)), 2**63 - 1)))
            around = self.ids[max(0, place - count) : place + count].tolist()
            return sorted(sorted(around, key=lambda known: abs(known - wanted))[:count])
        texts, text = self.ids.astype(np.str_), str(value)
        alike = np.char.lower(np.char.lstrip(texts, "0")) == text.lstrip("0").lower()
        place = int(np.searchsorted(texts, text)) if not self.are_integers else 0
        near = texts[max(0, place - COMPARED // 2) : place + COMPARED // 2]
        close = difflib.get_close_matches(text, near.tolist(), n=count, cutoff=0.0)
        found = list(dict.fromkeys([*texts[alike][:count].tolist(), *close]))[:count]
        return [int(text) if self.are_integers else text for text in found]

    def _key(self, value: Any) -> Id | None:
        """`value` in the type of the stored ids; None where it cannot be one of them."""
        if not self.are_integers:
            return str(value)
        if isinstance(value, (float, np.floating)) and not float(value).is_integer():
            return None
        text = str(int(value)) if isinstance(value, (float, np.floating)) else str(value).strip()
        try:
            number = int(text)
        except ValueError:
            return None
        # "007" is not 7, and no id is larger than 64 bits.
        return number if str(number) == text and -(2**63) <= number < 2**63 else None


def _is_integer(value: Id) -> bool:
    try:
        return abs(int(value)) < 10**300
    except (ValueError, OverflowError, TypeError):
        return False


def known_instead(wrong: Id, known: IdMap) -> str:
    """The ids that the user may have meant; where ids are numbers and `wrong` is a word, their range."""
    if known.are_integers and not _is_integer(wrong):
        return f"ids here are numbers from {known.ids[0]} to {known.ids[-1]}"
    return f"the nearest ids are {', '.join(map(shown, known.nearest(wrong)))}"


def shown(value: Id) -> str:
    """An id for a message, in quotes where it would not stand out."""
    text = str(value)
    return text if text and text.replace("-", "").isalnum() else repr(text)


def other_spelling(ids: NDArray[Any], others: NDArray[Any]) -> str:
    """For a note on two tables whose ids hardly match: an example of either, and what would make them match.

    >>> other_spelling(np.array([444778, 7]), np.array(["0444778", "0007", "x"]))
    "; ids are like 444778 here and '0444778' there; without leading zeros and spaces 2 would match"
    """
    if not len(ids) or not len(others):
        return ""
    own, theirs = ({_plain(each): each for each in side.tolist()} for side in (ids, others))
    both = own.keys() & theirs.keys()
    spelled = sorted(each for each in both if str(own[each]) != str(theirs[each]))
    here = own[spelled[0]] if spelled else next((own[each] for each in own if each not in both), None)
    there = (
        theirs[spelled[0]] if spelled else next((theirs[each] for each in theirs if each not in both), None)
    )
    if here is None or there is None:
        return ""
    told = f"; ids are like {_quoted(here)} here and {_quoted(there)} there"
    if not spelled:
        return told
    return f"{told}; without leading zeros and spaces {len(both):,} would match"


def _plain(value: Id) -> str:
    """An id without what tables write differently: spaces around it, leading zeros, ".0" at the end."""
    text = str(value).strip()
    return (text.removesuffix(".0").lstrip("0") or "0") if text.replace(".", "", 1).isdigit() else text


def _quoted(value: Id) -> str:
    return repr(value) if isinstance(value, str) else str(value)
