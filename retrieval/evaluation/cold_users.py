"""Cold users of a slice: train does not know them, their first interactions are their history."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import polars as pl

from index import ItemLists
from retrieval.data.encoded import EncodedInteractions
from retrieval.data.ids import IdMap
from retrieval.data.reading.columns import TIMESTAMP, USER
from retrieval.evaluation.judgements import Judgements

# The report has a group of users for each number of known interactions.
HISTORIES = (1, 3, 5, 10, 0)


@dataclass(frozen=True)
class Newcomers:
    """q cold users: the first n interactions of each are their history, the rest judges their lists.

    Attributes:
        n: length of the history; with 0 nothing is known of the users.
        history: the first n interactions of each; the users are rows 0 to q - 1.
        judgements: the relevant items among the rest; every user has at least one.
        threshold: ratings from here on are positive.
    """

    n: int
    history: EncodedInteractions
    judgements: Judgements
    threshold: float

    @classmethod
    def of(
        cls, frame: pl.DataFrame, known: Collection[IdMap], items: IdMap, threshold: float, n: int
    ) -> "Newcomers":
        """Take the users of a slice that no earlier slice knows.

        Interactions with items outside the catalogue are dropped first. Users with at most n interactions,
        or without a relevant item among the rest, are left out. A user's interactions are ordered by time,
        then by item; without timestamps by item.

        Args:
            frame: the slice, with columns user, item and, where the table has them, rating and timestamp.
            known: users of the earlier slices.
            items: the catalogue.
            threshold: ratings from here on are positive.
            n: length of the history.
        """
        values = frame[USER].to_numpy()
        cold = np.ones(len(values), dtype=np.bool_)
        for users in known:
            cold &= users.rows(values) < 0
        rows = frame.filter(pl.Series(cold, dtype=pl.Boolean))
        people = IdMap.from_values(rows[USER].to_numpy()) if rows.height else None
        data = EncodedInteractions.from_frame(rows, people, items) if people is not None else None
        if data is None or not len(data):
            return cls._none(items, threshold, n, TIMESTAMP in frame.columns)
        order = np.arange(len(data))
        if data.timestamps is not None:
            order = np.lexsort((data.items, data.timestamps, data.users))
        starts = np.searchsorted(data.users, np.arange(data.n_users))
        place = np.empty(len(data), dtype=np.int64)  # of each row in its user's order, from 0
        place[order] = np.arange(len(data)) - starts[data.users]
        first, rest = place < n, data.where(place >= n)
        relevant = rest.positives(threshold).item_lists()
        kept = np.flatnonzero(relevant.lengths() > 0)
        history = data.where(first).of_users(kept)
        return cls(n, history, Judgements(np.arange(len(kept)), relevant.take(kept)), threshold)

    @classmethod
    def _none(cls, items: IdMap, threshold: float, n: int, timed: bool) -> "Newcomers":
        nothing = np.empty(0, dtype=np.int64)
        times = nothing if timed else None
        history = EncodedInteractions(
            users=nothing, items=nothing, ratings=None, timestamps=times, n_users=0, n_items=len(items)
        )
        return cls(n, history, Judgements(nothing, ItemLists.empty(0)), threshold)

    def __len__(self) -> int:
        return len(self.judgements)

    @property
    def liked(self) -> ItemLists:
        """The positive items of each user's history: q lists."""
        return self.history.positives(self.threshold).item_lists()

    @property
    def seen(self) -> ItemLists:
        """All items of each user's history, which are never recommended to them: q lists."""
        return self.history.item_lists()


def newcomers_of_test(
    test: pl.DataFrame, validation: pl.DataFrame, users: IdMap, items: IdMap, threshold: float
) -> tuple[Newcomers, ...]:
    """The test users that neither train nor validation knows, once for each length in `HISTORIES`.

    Lengths for which no user is left are skipped.

    Args:
        test, validation: the whole slices, cold rows included.
        users, items: of train.
    """
    known = (users, IdMap.from_values(validation[USER].to_numpy()))
    groups = (Newcomers.of(test, known, items, threshold, n) for n in HISTORIES)
    return tuple(group for group in groups if len(group))
