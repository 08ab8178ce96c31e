"""Filters: the rules of a request, and the rows of the items that pass all of them."""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.data.ids import Id, IdMap, known_instead, shown
from retrieval.errors import NotFoundError, UsageError
from retrieval.serving.item_attributes import ItemAttributes

# A rule is {"genre": "Comedy"}, {"genre": ["Comedy", "Drama"], "decade": "1990s"}, or a list of item ids.
Rule = Mapping[str, Any] | Iterable[Hashable]
Rules = Rule | Iterable[Rule]
_LISTED = 10  # unknown ids that a note names
_VERBS = {"only": "choose from", "exclude": "leave out"}


@dataclass(frozen=True)
class Condition:
    """One condition on the items.

    Attributes:
        by: name of the column; "item" for a list of ids.
        values: the values asked for; empty for ids, of which there may be very many.
        items: how many items of the catalogue meet it.
        unknown: ids that the bundle does not know.
    """

    by: str
    values: tuple[str, ...]
    items: int
    unknown: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types."""
        more = {"unknown": list(self.unknown)} if self.unknown else {}
        return {"by": self.by, "values": list(self.values), "items": self.items} | more


@dataclass(frozen=True)
class AppliedFilters:
    """The filters that a list was made with.

    Attributes:
        only: every item meets all of these.
        exclude: no item meets any of these.
        leaves: how many items of the catalogue pass.
    """

    only: tuple[Condition, ...]
    exclude: tuple[Condition, ...]
    leaves: int

    @property
    def notes(self) -> list[str]:
        """Notes on the unknown ids, which were ignored."""
        found = []
        for name, conditions in (("only", self.only), ("exclude", self.exclude)):
            for unknown in (condition.unknown for condition in conditions if condition.unknown):
                more = f" and {len(unknown) - _LISTED:,} more" if len(unknown) > _LISTED else ""
                ids = ", ".join(unknown[:_LISTED]) + more
                found.append(f"of the items to {_VERBS[name]}, unknown ones were passed over: {ids}")
        return found

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types."""
        return {
            "only": [condition.to_json() for condition in self.only],
            "exclude": [condition.to_json() for condition in self.exclude],
            "leaves": self.leaves,
        }


@dataclass(frozen=True, eq=False)
class ItemFilter:
    """The items that lists may hold.

    Attributes:
        rows: shape (m,), int64, ascending.
        applied: what was asked.
    """

    rows: NDArray[np.int64]
    applied: AppliedFilters

    @classmethod
    def of(
        cls, only: Rules | None, exclude: Rules | None, items: IdMap, attributes: ItemAttributes
    ) -> "ItemFilter | None":
        """The filter that `only` and `exclude` ask for; None where neither is given.

        Args:
            only: a mapping of columns to a value or several, every column to be met by any of its values;
                or ids of items; or a list of such rules, all to be met.
            exclude: likewise; an item that meets any column, or is among the ids, of any rule is left out.

        Raises:
            UsageError: if a rule is none, or there is no such column.
            NotFoundError: if no item has a value, or all ids of a rule are unknown.
        """
        if only is None and exclude is None:
            return None
        left = np.ones(len(items), dtype=np.bool_)
        asked: dict[str, list[Condition]] = {"only": [], "exclude": []}
        for name, rules in (("only", only), ("exclude", exclude)):
            for condition, rows in _conditions(rules, name, items, attributes):
                meets = np.zeros(len(items), dtype=np.bool_)
                meets[rows] = True
                left &= meets if name == "only" else ~meets
                asked[name].append(condition)
        found = np.flatnonzero(left)
        return cls(found, AppliedFilters(tuple(asked["only"]), tuple(asked["exclude"]), len(found)))


def _conditions(
    rules: Rules | None, name: str, items: IdMap, attributes: ItemAttributes
) -> Iterator[tuple[Condition, NDArray[np.int64]]]:
    """The conditions of all rules, each with the rows of the items that meet it."""
    for rule in _single(rules, name):
        if not isinstance(rule, Mapping):
            yield _among(_listed(rule), name, items)
            continue
        if not rule:
            raise UsageError(f'{name} names no column; give one, such as {{"genre": "Comedy"}}')
        for column, given in rule.items():
            values = _listed(given) if _holds_several(given) else [given]
            rows = attributes.rows(str(column), values)
            if not values:
                raise UsageError(f"{name} names no value of {column}; give one or more")
            texts = tuple(str(value).strip() for value in values)
            yield Condition(str(column).strip().casefold(), texts, len(rows)), rows


def _single(rules: Rules | None, name: str) -> list[Any]:
    """The rules as a list. A list of ids is one rule; a list of mappings or of lists is several."""
    if rules is None:
        return []
    if isinstance(rules, Mapping):
        return [rules]
    if not _holds_several(rules):
        raise UsageError(
            f'{name} is {rules!r}; expected a mapping such as {{"genre": "Comedy"}}, or a list of item ids'
        )
    listed = _listed(rules)
    are_rules = {_holds_several(each) for each in listed}
    if are_rules == {True, False}:
        raise UsageError(f"{name} mixes rules and ids; put the ids in a list of their own")
    return listed if are_rules == {True} else [listed]


def _among(ids: list[Id], name: str, items: IdMap) -> tuple[Condition, NDArray[np.int64]]:
    rows = items.rows(ids)
    unknown = tuple(str(each) for each, row in zip(ids, rows.tolist(), strict=True) if row < 0)
    if ids and len(unknown) == len(ids):
        raise NotFoundError(
            f"no item to {_VERBS[name]} is known: {', '.join(map(shown, unknown[:5]))}; "
            f"{known_instead(ids[0], items)}"
        )
    known = np.unique(rows[rows >= 0])
    return Condition("item", (), len(known), unknown), known


def _holds_several(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes))


def _listed(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) and values.ndim else list(values)
