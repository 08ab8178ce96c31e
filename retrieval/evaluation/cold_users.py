"""Users that training never saw, known by the first few things they did."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import polars as pl

from index import ItemLists
from retrieval.data.encoded import EncodedInteractions
from retrieval.data.ids import IdMap
from retrieval.data.reading.columns import TIMESTAMP, USER
from retrieval.evaluation.judgements import Judgements

# The groups of a report, by how many interactions of each person are known.
HISTORIES = (1, 3, 5, 10, 0)


@dataclass(frozen=True)
class Newcomers:
    """q cold users, each with the first n of his interactions as history and judged by the rest.

    Attributes:
        n: interactions that are history; 0: nothing is known of them.
        history: the first interactions, users in rows 0 to q - 1.
        judgements: what counts as a hit among the rest; every user has something.
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
        """The users of a slice whom no earlier slice knows.

        Items that are not in the catalogue are neither history nor judged. Users with no more than n
        interactions, or with nothing relevant among the rest, are left out. Interactions at the same time
        are in the order of their items; without timestamps all are.

        Args:
            frame: the slice, with columns user, item and what else the table has.
            known: users of the earlier slices.
            items: the catalogue.
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
        place = np.empty(len(data), dtype=np.int64)
        place[order] = np.arange(len(data)) - starts[data.users]
        first, rest = place < n, data.where(place >= n)
        relevant = rest.positives(threshold).item_lists()
        judged = np.flatnonzero(relevant.lengths() > 0)
        history = data.where(first).of_users(judged)
        return cls(n, history, Judgements(np.arange(len(judged)), relevant.take(judged)), threshold)

    @classmethod
    def _none(cls, items: IdMap, threshold: float, n: int, timed: bool) -> "Newcomers":
        nothing = np.empty(0, dtype=np.int64)
        times = nothing if timed else None
        history = EncodedInteractions(nothing, nothing, None, times, 0, len(items))
        return cls(n, history, Judgements(nothing, ItemLists.empty(0)), threshold)

    def __len__(self) -> int:
        return len(self.judgements)

    @property
    def liked(self) -> ItemLists:
        """The positives among each user's history: q lists."""
        return self.history.positives(self.threshold).item_lists()

    @property
    def seen(self) -> ItemLists:
        """Everything in each user's history, never recommended to him: q lists."""
        return self.history.item_lists()


def newcomers_of_test(
    test: pl.DataFrame, validation: pl.DataFrame, users: IdMap, items: IdMap, threshold: float
) -> tuple[Newcomers, ...]:
    """The users of the test slice whom neither train nor validation knows, for each of `HISTORIES`.

    Lengths of history for which nobody is left are left out.

    Args:
        test, validation: the whole slices, cold rows included.
        users, items: of train.
    """
    known = (users, IdMap.from_values(validation[USER].to_numpy()))
    groups = (Newcomers.of(test, known, items, threshold, n) for n in HISTORIES)
    return tuple(group for group in groups if len(group))
