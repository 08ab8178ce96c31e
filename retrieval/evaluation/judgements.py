"""Relevance judgements of a slice's users, and the metrics of ranked lists against them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index import ItemLists, top_k
from retrieval.arrays import Rows, Scorer
from retrieval.data.encoded import EncodedInteractions
from retrieval.evaluation import metrics

# 64 MB of float32 scores at a time.
SCORES_A_BLOCK = 16_000_000


@dataclass(frozen=True)
class Judgements:
    """The users of one slice and the relevant items of each.

    Attributes:
        users: shape (q,), int64, ascending: the rows of all users with a warm row in the slice.
        relevant: q lists: the items that the user rated at or above the threshold in the slice, without
            those they have in train. A list may be empty: precision counts such a user as 0, recall and
            NDCG leave them out.
    """

    users: Rows
    relevant: ItemLists

    @classmethod
    def of(cls, held_out: EncodedInteractions, train: EncodedInteractions, threshold: float) -> "Judgements":
        """Read the judgements off a slice.

        Args:
            held_out: the warm rows of the slice, encoded with the ids of `train`.
            threshold: ratings from here on are relevant; without ratings every row is.
        """
        users = np.unique(held_out.users)
        relevant = held_out.positives(threshold).without(train)
        return cls(users, relevant.item_lists().take(users))

    def only(self, items: ItemLists) -> "Judgements":
        """The same users, each with only those relevant items that are in their list of `items`.

        Args:
            items: one list for each user row of train, not only for the users here.
        """
        owners = self.relevant.flat_users()
        kept = items.take(self.users[owners]).hold(self.relevant.items[:, None].astype(np.int64))[:, 0]
        relevant = ItemLists.from_pairs(owners[kept], self.relevant.items[kept], len(self))
        return Judgements(self.users, relevant)

    def __len__(self) -> int:
        return len(self.users)

    @property
    def n_relevant(self) -> Rows:
        """Number of relevant items of each user: shape (q,), int64."""
        return self.relevant.lengths()

    def hits(self, lists: Rows) -> NDArray[np.bool_]:
        """Whether each place of the users' lists holds a relevant item: shape (q, k) -> (q, k).

        Padding (-1) never does.
        """
        return self.relevant.contains(np.arange(len(self)), lists)


@dataclass(frozen=True)
class StageScores:
    """The lists of one stage and their metrics, one figure per user, in the order of the judgements.

    Attributes:
        lists: shape (q, k), int64, padded with -1.
        precision: shape (q,), of all users.
        recall, ndcg: shape (r,), of the r users with a relevant item.
    """

    lists: Rows
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    ndcg: NDArray[np.float64]


def score_lists(lists: Rows, judgements: Judgements, k: int) -> StageScores:
    """Precision@k of all users; Recall@k and NDCG@k of those with a relevant item.

    Args:
        lists: shape (q, at least k), int64, padded with -1; longer ones are cut.
        judgements: of the same q users.
    """
    hits = judgements.hits(lists[:, :k])
    has_relevant = judgements.n_relevant > 0
    n_relevant = judgements.n_relevant[has_relevant]
    return StageScores(
        lists=lists[:, :k],
        precision=metrics.precision(hits, k),
        recall=metrics.recall(hits[has_relevant], n_relevant, k),
        ndcg=metrics.ndcg(hits[has_relevant], n_relevant, k),
    )


def rank_by_scores(scorer: Scorer, users: Rows, exclude: ItemLists, k: int, n_items: int) -> Rows:
    """The k items with the highest scores, of the whole catalogue but the excluded items.

    Users are scored in blocks of `SCORES_A_BLOCK` scores.

    Args:
        scorer: maps user rows (b,) to scores (b, n_items).
        users: shape (q,), int64.
        exclude: q lists of item rows that are not listed.

    Returns:
        shape (q, min(k, n_items)), int64, padded with -1.
    """
    lists = np.full((len(users), min(k, n_items)), -1, dtype=np.int64)
    size = max(1, SCORES_A_BLOCK // n_items)
    for start in range(0, len(users), size):
        block = users[start : start + size]
        scores = np.array(scorer(block), dtype=np.float32)  # a copy (b, n_items): it is written to
        excluded = exclude.take(np.arange(start, start + len(block)))
        scores[excluded.flat_users(), excluded.items] = -np.inf
        lists[start : start + size] = top_k(scores, k)[1]
    return lists
