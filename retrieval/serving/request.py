"""Checked requests: from ids and options as they are given to item and user rows, before any search."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index import ItemLists
from retrieval.data.ids import Id, IdMap, known_instead, shown
from retrieval.errors import NotFoundError, UsageError
from retrieval.serving.fitted_system import FittedSystem
from retrieval.serving.item_filters import ItemFilter, Rules
from retrieval.serving.recommendations import Fallback
from retrieval.serving.two_stage import SearchKind


@dataclass(frozen=True)
class ListOptions:
    """The options of a request for lists.

    Attributes:
        k: length of a list.
        search: "exact" searches all items; None uses the search that the model serves.
        rerank: False leaves the candidates in retrieval order.
        fallback: "popular" gives unknown users the most popular items; None refuses them.

    Raises:
        UsageError: if k is no integer from 1 on, or there is no such fallback.
    """

    k: int
    search: SearchKind | None = None
    rerank: bool = True
    fallback: Fallback | None = None

    def __post_init__(self) -> None:
        checked_k(self.k)
        if self.fallback not in (None, "popular"):
            raise UsageError(f"fallback must be popular or left out, not {self.fallback!r}")

    @classmethod
    def of(cls, k: int, exact: bool, rerank: bool, fallback: Fallback | None) -> "ListOptions":
        """From the arguments of `Recommender.recommend`."""
        return cls(checked_k(k), "exact" if exact else None, rerank, fallback)


# Named tuples, as the parts of bundles/manifest.py are: every `query` makes these classes when it starts.


class UserRequest(NamedTuple):
    """A request for the lists of some users.

    Attributes:
        users: ids, as they were given.
        rows: shape (len(users),): their rows; -1 for an unknown user, who gets the fallback.
        chosen: the items that pass the filters; None: all.
    """

    options: ListOptions
    users: list[Id]
    rows: NDArray[np.int64]
    chosen: ItemFilter | None

    @property
    def allowed(self) -> NDArray[np.int64] | None:
        """Rows of the items to choose from, ascending; None: all."""
        return None if self.chosen is None else self.chosen.rows

    @classmethod
    def of(
        cls,
        system: FittedSystem,
        users: Sequence[Id] | NDArray[Any],
        options: ListOptions,
        only: Rules | None = None,
        exclude: Rules | None = None,
    ) -> "UserRequest":
        """Check the users and the filters, and look up their rows.

        Raises:
            NotFoundError: if a user is unknown and there is no fallback, or as `ItemFilter.of` does.
            UsageError: if `users` is one id instead of a list of them, or as `ItemFilter.of` does.
        """
        ids = id_list("user", users)
        chosen = ItemFilter.of(only, exclude, system.items, system.attributes)
        rows = system.users.rows(ids)
        if options.fallback is None:
            advice = (
                "; ask for someone new by items they liked, with `recommend_for_history`, "
                "or give `fallback=popular`"
            )
            if system.model.vectors.history_items is None:
                advice = "; with `towers.user_tower=id` a bundle serves only the users it was built on"
            refuse_unknown("user", ids, rows, system.users, advice)
        return cls(options, ids, rows, chosen)


class HistoryRequest(NamedTuple):
    """A request for the list of someone who is known only by the items they liked.

    Attributes:
        history: one list: the rows of the known items, ascending; None where none is known, so that the
            fallback answers.
        notes: on the unknown items.
        chosen: the items that pass the filters; None: all.
    """

    options: ListOptions
    history: ItemLists | None
    notes: tuple[str, ...]
    chosen: ItemFilter | None

    @property
    def allowed(self) -> NDArray[np.int64] | None:
        """Rows of the items to choose from, ascending; None: all."""
        return None if self.chosen is None else self.chosen.rows

    @classmethod
    def of(
        cls,
        system: FittedSystem,
        items: Sequence[Id] | NDArray[Any],
        options: ListOptions,
        only: Rules | None = None,
        exclude: Rules | None = None,
    ) -> "HistoryRequest":
        """Check the history and the filters, and look up the rows of the items.

        Raises:
            NotFoundError: if no item of the history is known and there is no fallback, or as
                `ItemFilter.of` does.
            UsageError: if the history is empty or one id instead of a list, the towers know only their
                users, or as `ItemFilter.of` does.
        """
        ids = id_list("item", items)
        if not ids:
            raise UsageError("the history is empty; name at least one item")
        if system.model.vectors.history_items is None:
            raise UsageError(
                "this bundle's user tower is a table of its users and cannot take a history",
                "build one with `towers.user_tower=history`",
            )
        chosen = ItemFilter.of(only, exclude, system.items, system.attributes)
        rows = system.items.rows(ids)
        unknown = [str(item) for item, row in zip(ids, rows, strict=True) if row < 0]
        if len(unknown) == len(ids):
            if options.fallback is None:
                raise NotFoundError(
                    f"no item of the history is known: {', '.join(map(shown, unknown[:5]))}; "
                    f"{known_instead(ids[0], system.items)}"
                )
            return cls(options, None, (), chosen)
        notes = (f"unknown items were left out: {', '.join(unknown)}",) if unknown else ()
        return cls(options, _one_list(np.unique(rows[rows >= 0])), notes, chosen)


def checked_k(k: int) -> int:
    """`k` as a plain integer.

    Raises:
        UsageError: unless it is an integer from 1 on.
    """
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or k < 1:
        raise UsageError(f"k must be an integer from 1 on, not {k!r}")
    return int(k)


def id_list(kind: str, ids: Sequence[Id] | NDArray[Any]) -> list[Id]:
    """The ids as a list.

    Args:
        kind: "user" or "item", for the message.

    Raises:
        UsageError: for a single id: the letters of a text would be taken for ids.
    """
    if isinstance(ids, (str, bytes)) or not hasattr(ids, "__iter__"):
        raise UsageError(f"expected a list of {kind} ids, not {ids!r}; put it in a list: [{ids!r}]")
    listed: list[Id] = ids.tolist() if isinstance(ids, np.ndarray) and ids.ndim else list(ids)
    nested = next((each for each in listed if isinstance(each, (list, tuple, set, dict, np.ndarray))), None)
    if nested is not None:
        raise UsageError(f"expected a flat list of {kind} ids, but it holds {nested!r}")
    return listed


def known_rows(kind: str, ids: Sequence[Id] | NDArray[Any], known: IdMap) -> NDArray[np.int64]:
    """Rows of ids that must all be known: shape (len(ids),).

    Raises:
        NotFoundError: if an id is unknown.
        UsageError: for a single id in place of a list.
    """
    listed = id_list(kind, ids)
    rows = known.rows(listed)
    refuse_unknown(kind, listed, rows, known)
    return rows


def refuse_unknown(
    kind: str, ids: Sequence[Id], rows: NDArray[np.int64], known: IdMap, advice: str = ""
) -> None:
    """Refuse ids whose row is -1.

    Args:
        advice: ends the message.

    Raises:
        NotFoundError: that names the first unknown id and the nearest known ones.
    """
    unknown = np.flatnonzero(rows < 0)
    if not len(unknown):
        return
    wrong = ids[unknown[0]]
    raise NotFoundError(
        f"{kind} {shown(wrong)} is not among the {len(known)} {kind}s of this bundle; "
        f"{known_instead(wrong, known)}{advice}"
    )


def _one_list(rows: NDArray[np.int64]) -> ItemLists:
    return ItemLists(np.array([0, len(rows)], dtype=np.int64), rows)
