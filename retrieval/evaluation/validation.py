"""What models are chosen by: the lists of validation, of warm users and of newcomers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from index import ExactIndex, ItemLists
from retrieval.data.encoded import EncodedInteractions
from retrieval.data.ids import IdMap
from retrieval.evaluation.cold_users import Newcomers
from retrieval.evaluation.judgements import Judgements, score_lists
from retrieval.serving.tower_vectors import TowerVectors
from retrieval.serving.two_stage import TwoStageModel

# The lists everything is chosen by on validation, whatever k is asked for later.
CHOICE_K = 10
# Newcomers are judged with so many interactions known: one, few, and as many as make a history.
NEWCOMER_HISTORIES = (1, 3, 10)
# Towers are not validated by newcomers of fewer: all towers are alike to them.
LEAST_HISTORY = 3
# Into how many stretches of time, of as many rows, validation is cut where a gain has to last.
STRETCHES = 3


@dataclass(frozen=True)
class ValidationLists:
    """Who is asked for a list on validation, and what counts as a hit.

    Attributes:
        warm: the users of validation that train knows.
        stretches: the same users, judged by one stretch of validation's time after the other.
        seen: q lists: what they have had in train.
        newcomers: the users of validation that train does not know, by the length of their history.
    """

    warm: Judgements
    stretches: tuple[Judgements, ...]
    seen: ItemLists
    newcomers: tuple[Newcomers, ...]

    @classmethod
    def of(
        cls,
        train: EncodedInteractions,
        validation: EncodedInteractions,
        frame: pl.DataFrame,
        users: IdMap,
        items: IdMap,
        threshold: float,
    ) -> "ValidationLists":
        """From the validation slice.

        Args:
            validation: its warm rows.
            frame: all of its rows.
            users, items: of train.
        """
        warm = Judgements.of(validation, train, threshold)
        newcomers = (Newcomers.of(frame, [users], items, threshold, n) for n in NEWCOMER_HISTORIES)
        return cls(
            warm,
            tuple(warm.only(part) for part in _stretches(validation)),
            train.item_lists().take(warm.users),
            tuple(each for each in newcomers if len(each)),
        )

    def ndcg(self, vectors: TowerVectors) -> NDArray[np.float64]:
        """NDCG of every list by exact search, scaled so that each group of users counts alike.

        The mean over all is the mean of the groups' means. Newcomers are left out where the towers have
        no vector for them.
        """
        index = ExactIndex(vectors.items)

        def of_group(
            queries: NDArray[np.float32], seen: ItemLists, judged: Judgements
        ) -> NDArray[np.float64]:
            return score_lists(index.search(queries, CHOICE_K, seen).rows, judged, CHOICE_K).ndcg

        groups = [of_group(vectors.users[self.warm.users], self.seen, self.warm)]
        if vectors.history_items is not None:
            groups += [
                of_group(vectors.for_histories(each.liked), each.seen, each.judgements)
                for each in self.newcomers
                if each.n >= LEAST_HISTORY
            ]
        return alike(groups)

    def served_ndcg(self, model: TwoStageModel) -> NDArray[np.float64]:
        """NDCG of what a model lists for the warm users, one figure for each who has a relevant item."""
        return score_lists(model.for_users(self.warm.users, CHOICE_K).rows, self.warm, CHOICE_K).ndcg


def _stretches(interactions: EncodedInteractions) -> list[ItemLists]:
    """Each user's items, by one stretch of time after the other; all at once without timestamps."""
    times = interactions.timestamps
    if times is None or not len(times):
        return [interactions.item_lists()]
    cuts = np.quantile(times, np.arange(1, STRETCHES) / STRETCHES)
    stretch = np.searchsorted(cuts, times)
    return [interactions.where(stretch == number).item_lists() for number in range(STRETCHES)]


def alike(groups: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The groups' figures in one array, scaled so that its mean is the mean of the groups' means.

    >>> float(alike([np.array([1.0]), np.array([3.0, 3.0, 3.0])]).mean())
    2.0
    """
    filled = [group for group in groups if len(group)]
    total = sum(len(group) for group in filled)
    return np.concatenate([group * (total / (len(group) * len(filled))) for group in filled])
