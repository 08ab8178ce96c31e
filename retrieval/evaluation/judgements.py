"""What counts as a hit for whom, and the scores of a stage's lists against it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index import ItemLists, top_k
from retrieval.arrays import Rows, Scorer
from retrieval.data.encoded import EncodedInteractions
from retrieval.evaluation import metrics

SCORES_A_BLOCK = 16_000_000


@dataclass(frozen=True)
class Judgements:
    """The users of one slice and what counts as a hit for each of them.

    Attributes:
        users: shape (q,), int64, ascending rows of all users with a warm row in the slice.
        relevant: q lists: the items rated at or above the threshold that train has not seen with
            that user. A list may be empty: precision counts such a user, recall and NDCG do not.
    """

    users: Rows
    relevant: ItemLists

    @classmethod
    def of(cls, held_out: EncodedInteractions, train: EncodedInteractions, threshold: float) -> "Judgements":
        """Judge by a slice encoded with train's ids, so that only its warm rows are left."""
        users = np.unique(held_out.users)
        relevant = held_out.positives(threshold).without(train)
        return cls(users, relevant.item_lists().take(users))

    def only(self, items: ItemLists) -> "Judgements":
        """The same users, with only those hits that are in `items`, which has a list for each user row."""
        owners = self.relevant.flat_users()
        kept = items.take(self.users[owners]).hold(self.relevant.items[:, None].astype(np.int64))[:, 0]
        relevant = ItemLists.from_pairs(owners[kept], self.relevant.items[kept], len(self))
        return Judgements(self.users, relevant)

    def __len__(self) -> int:
        return len(self.users)

    @property
    def n_relevant(self) -> Rows:
        """Relevant items of each user: shape (q,), int64."""
        return self.relevant.lengths()

    def hits(self, lists: Rows) -> NDArray[np.bool_]:
        """Which places of the users' lists (q, k) hold a relevant item; padding (-1) never does."""
        return self.relevant.contains(np.arange(len(self)), lists)


@dataclass(frozen=True)
class StageScores:
    """One stage's lists and their metrics, a figure for each user, in the order of the judgements.

    Attributes:
        lists: shape (q, k), int64, padded with -1.
        precision: shape (q,), over all users.
        recall, ndcg: over the users with a relevant item, in the same order.
    """

    lists: Rows
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    ndcg: NDArray[np.float64]


def score_lists(lists: Rows, judgements: Judgements, k: int) -> StageScores:
    """Precision@k over all users; Recall@k and NDCG@k over those with a relevant item."""
    hits = judgements.hits(lists[:, :k])
    judged = judgements.n_relevant > 0
    n_relevant = judgements.n_relevant[judged]
    return StageScores(
        lists=lists[:, :k],
        precision=metrics.precision(hits, k),
        recall=metrics.recall(hits[judged], n_relevant, k),
        ndcg=metrics.ndcg(hits[judged], n_relevant, k),
    )


def rank_by_scores(scorer: Scorer, users: Rows, exclude: ItemLists, k: int, n_items: int) -> Rows:
    """Top k of scores over the whole catalogue but the excluded items, in blocks of users.

    Args:
        scorer: maps user rows (b,) to scores (b, n_items).
        exclude: q lists of item rows, one for each of the `users`.

    Returns:
        shape (q, min(k, n_items)), int64, padded with -1.
    """
    lists = np.full((len(users), min(k, n_items)), -1, dtype=np.int64)
    size = max(1, SCORES_A_BLOCK // n_items)
    for start in range(0, len(users), size):
        block = users[start : start + size]
        scores = np.array(scorer(block), dtype=np.float32)
        excluded = exclude.take(np.arange(start, start + len(block)))
        scores[excluded.flat_users(), excluded.items] = -np.inf
        lists[start : start + size] = top_k(scores, k)[1]
    return lists
