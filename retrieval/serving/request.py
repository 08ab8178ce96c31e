"""Checked requests: from ids and options as they are given to item and user rows, before any search."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index import ItemLists
from retrieval.data.ids import IdMap, known_instead, shown
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
    users: list[Any]
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
        users: Iterable[Hashable],
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
        items: Iterable[Hashable],
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
        ids = id_list("item", items, "; for several histories call `recommend_for_histories`")
        _check_history("the history", ids, system)
        chosen = ItemFilter.of(only, exclude, system.items, system.attributes)
        return cls._of_ids("the history", ids, system, options, chosen)

    @classmethod
    def several(
        cls,
        system: FittedSystem,
        histories: Iterable[Iterable[Hashable]],
        options: ListOptions,
        only: Rules | None = None,
        exclude: Rules | None = None,
    ) -> "list[HistoryRequest]":
        """As `of`, for a list of histories, with the same filters.

        Raises:
            NotFoundError: as `of` does, naming the history by its place.
            UsageError: likewise, or if this is one history and no list of them.
        """
        given = [
            (f"history {place} (counted from 0)", id_list("item", items))
            for place, items in enumerate(_checked_histories(histories))
        ]
        for name, ids in given:
            _check_history(name, ids, system)
        chosen = ItemFilter.of(only, exclude, system.items, system.attributes)
        return [cls._of_ids(name, ids, system, options, chosen) for name, ids in given]

    @classmethod
    def _of_ids(
        cls, name: str, ids: list[Any], system: FittedSystem, options: ListOptions, chosen: ItemFilter | None
    ) -> "HistoryRequest":
        rows = system.items.rows(ids)
        unknown = [str(item) for item, row in zip(ids, rows, strict=True) if row < 0]
        if len(unknown) == len(ids):
            if options.fallback is None:
                raise NotFoundError(
                    f"no item of {name} is known: {', '.join(map(shown, unknown[:5]))}; "
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


def id_list(kind: str, ids: Iterable[Hashable], if_nested: str = "") -> list[Any]:
    """The ids as a list: of any iterable, such as a range, a set, an array or a column of a frame.

    Args:
        kind: "user" or "item", for the message.
        if_nested: ends the message about a list in the list.

    Raises:
        UsageError: for a single id: the letters of a text would be taken for ids; for a whole frame; for a
            list in the list.
    """
    if hasattr(ids, "columns"):  # it would be a list of their names
        raise UsageError(f"expected a list of {kind} ids, not a {type(ids).__name__}; give one column of it")
    if isinstance(ids, (str, bytes)) or not _is_iterable(ids):
        raise UsageError(f"expected a list of {kind} ids, not {ids!r}; put it in a list: [{ids!r}]")
    listed: list[Any] = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    nested = next((each for each in listed if isinstance(each, (list, tuple, set, dict, np.ndarray))), None)
    if nested is not None:
        raise UsageError(f"expected a flat list of {kind} ids, but it holds {nested!r}{if_nested}")
    return listed


def _is_iterable(value: Any) -> bool:
    """An array without an axis has `__iter__` too, and raises there."""
    return hasattr(value, "__iter__") and getattr(value, "ndim", 1) > 0


def _checked_histories(histories: Iterable[Iterable[Hashable]]) -> list[Any]:
    """The histories as a list; each is checked by `id_list`."""
    expected = "expected a list of histories, each a list of item ids"
    if isinstance(histories, (str, bytes, Mapping)) or hasattr(histories, "columns"):
        raise UsageError(f"{expected}, not a {type(histories).__name__}")
    if not _is_iterable(histories):
        raise UsageError(f"{expected}, not {histories!r}")
    listed = list(histories)
    single = next((each for each in listed if isinstance(each, (str, bytes)) or not _is_iterable(each)), None)
    if single is not None:
        raise UsageError(f"{expected}, but it holds {single!r}; for one history call `recommend_for_history`")
    return listed


def _check_history(name: str, ids: list[Any], system: FittedSystem) -> None:
    if not ids:
        raise UsageError(f"{name} is empty; name at least one item")
    if system.model.vectors.history_items is None:
        raise UsageError(
            "this bundle's user tower is a table of its users and cannot take a history",
            "build one with `towers.user_tower=history`",
        )


def known_rows(kind: str, ids: Iterable[Hashable], known: IdMap) -> NDArray[np.int64]:
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
    kind: str, ids: Sequence[Any], rows: NDArray[np.int64], known: IdMap, advice: str = ""
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


def joined_histories(requests: Iterable[HistoryRequest]) -> ItemLists:
    """The known histories, one after the other; requests for which the fallback answers have none."""
    known = [request.history.items for request in requests if request.history is not None]
    ends = np.cumsum([0, *map(len, known)], dtype=np.int64)
    return ItemLists(ends, np.concatenate([np.empty(0, dtype=np.int64), *known]).astype(np.int64))
