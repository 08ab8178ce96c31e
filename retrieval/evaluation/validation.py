"""The validation lists that choose models and settings: warm users and newcomers."""

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

# Length of the lists that choose everything on validation, whatever k the report has.
CHOICE_K = 10
# Lengths of the newcomers' histories: one interaction, a few, and as many as say something of a taste.
NEWCOMER_HISTORIES = (1, 3, 10)
# Shorter histories do not validate towers: they give nearly the same lists with any towers.
LEAST_HISTORY = 3
# Validation is cut into so many stretches of time, with equal rows, where a gain has to last.
STRETCHES = 3


@dataclass(frozen=True)
class ValidationLists:
    """The users who get a list on validation, and their relevant items.

    Attributes:
        warm: the q users of validation that train knows.
        stretches: the same users with the relevant items of one stretch of time each.
        seen: q lists: the items of their train rows.
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
        """Read users and relevant items off the validation slice.

        Args:
            validation: its warm rows.
            frame: all of its rows.
            users, items: of train.
            threshold: ratings from here on are relevant.
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
        """NDCG@10 of every user's list by exact search, scaled so that each group of users counts alike.

        Newcomers are left out where the towers have no vectors for histories.

        Returns:
            shape (r,), one figure for each user with a relevant item; the mean over all is the mean of the
            groups' means, see `alike`.
        """
        index = ExactIndex(vectors.items)

        def of_group(
            queries: NDArray[np.float32], seen: ItemLists, judgements: Judgements
        ) -> NDArray[np.float64]:
            return score_lists(index.search(queries, CHOICE_K, seen).rows, judgements, CHOICE_K).ndcg

        groups = [of_group(vectors.users[self.warm.users], self.seen, self.warm)]
        if vectors.history_items is not None:
            groups += [
                of_group(vectors.for_histories(each.liked), each.seen, each.judgements)
                for each in self.newcomers
                if each.n >= LEAST_HISTORY
            ]
        return alike(groups)

    def served_ndcg(self, model: TwoStageModel) -> NDArray[np.float64]:
        """NDCG@10 of the lists that a model serves to the r warm users with a relevant item: shape (r,)."""
        return score_lists(model.for_users(self.warm.users, CHOICE_K).rows, self.warm, CHOICE_K).ndcg


def _stretches(interactions: EncodedInteractions) -> list[ItemLists]:
    """Each user's items in each stretch of time, first to last; one stretch without timestamps."""
    times = interactions.timestamps
    if times is None or not len(times):
        return [interactions.item_lists()]
    cuts = np.quantile(times, np.arange(1, STRETCHES) / STRETCHES)
    stretch = np.searchsorted(cuts, times)
    return [interactions.where(stretch == number).item_lists() for number in range(STRETCHES)]


def alike(groups: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Concatenate the groups' figures, scaled so that their mean is the mean of the groups' means.

    >>> float(alike([np.array([1.0]), np.array([3.0, 3.0, 3.0])]).mean())
    2.0
    """
    filled = [group for group in groups if len(group)]
    total = sum(len(group) for group in filled)
    return np.concatenate([group * (total / (len(group) * len(filled))) for group in filled])
