"""Two ways to judge lists: which users count, what is a hit, and among which items.

`standard` is the headline. `notebook` is the protocol of a notebook whose figures for MovieLens 1M are
known; it counts differently from metric to metric, so its figures compare with each other only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from index import ItemLists
from retrieval.arrays import Rows
from retrieval.data.encoded import EncodedInteractions
from retrieval.evaluation import metrics
from retrieval.evaluation.judgements import Judgements, StageScores, score_lists

ProtocolName = Literal["standard", "notebook"]

# From users and the items each may not be given (q lists) to every stage's lists (q, k).
ListsOf = Callable[[Rows, ItemLists], dict[str, Rows]]

EXCLUDED_A_BLOCK = 4_000_000


@dataclass(frozen=True)
class ProtocolScores:
    """Scores of every stage, and by whom.

    Attributes:
        users: shape (q,), the warm test users.
        judged_users: how many of them NDCG is a mean over.
        scores: stage -> its scores.
    """

    users: Rows
    judged_users: int
    scores: dict[str, StageScores]


def score_by_standard(
    test: EncodedInteractions,
    train: EncodedInteractions,
    threshold: float,
    k: int,
    lists: dict[str, Rows],
    lists_of: ListsOf,
) -> ProtocolScores:
    """Relevant is what was rated at or above the threshold; candidates are all items but those of train.

    Precision@k is over all warm test users, Recall@k and NDCG@k over those with a relevant item.

    Args:
        lists: every stage's lists of all warm test users, ascending, without the items of train.
        lists_of: not needed here.
    """
    judgements = Judgements.of(test, train, threshold)
    scores = {name: score_lists(rows, judgements, k) for name, rows in lists.items()}
    return ProtocolScores(judgements.users, int((judgements.n_relevant > 0).sum()), scores)


def score_as_notebook(
    test: EncodedInteractions,
    train: EncodedInteractions,
    threshold: float,
    k: int,
    lists: dict[str, Rows],
    lists_of: ListsOf,
) -> ProtocolScores:
    """The reference notebook's definitions.

    Precision@k: relevant as in `score_by_standard`, candidates only items that occur in the warm test rows.
    Recall@k: the same relevant items, over users with one, candidates the whole catalogue.
    NDCG@k: every item the user rated in the test slice is a hit, whatever the rating; candidates the
    whole catalogue. Items seen in train are never given.

    Args:
        lists: every stage's lists of all warm test users, ascending, without the items of train.
        lists_of: gives lists from among fewer items.
    """
    relevant = Judgements.of(test, train, threshold)
    rated = Judgements(relevant.users, test.without(train).item_lists().take(relevant.users))
    seen = train.item_lists().take(relevant.users)
    in_test = np.zeros(train.n_items, dtype=np.bool_)
    in_test[test.items] = True
    restricted = _lists_among(in_test, relevant.users, seen, lists_of)
    scores = {}
    for name, rows in lists.items():
        usual, with_any = score_lists(rows, relevant, k), score_lists(rows, rated, k)
        hits = relevant.hits(restricted[name][:, :k])
        scores[name] = StageScores(rows[:, :k], metrics.precision(hits, k), usual.recall, with_any.ndcg)
    return ProtocolScores(relevant.users, int((rated.n_relevant > 0).sum()), scores)


PROTOCOLS = {"standard": score_by_standard, "notebook": score_as_notebook}


def _lists_among(
    allowed: NDArray[np.bool_], users: Rows, seen: ItemLists, lists_of: ListsOf
) -> dict[str, Rows]:
    """Lists of allowed items only, in blocks: what is excluded is most of the catalogue for every user."""
    size = max(1, EXCLUDED_A_BLOCK // len(allowed))
    blocks = []
    for start in range(0, len(users), size):
        places = np.arange(start, min(start + size, len(users)))
        of_block = seen.take(places)
        excluded = np.tile(~allowed, (len(places), 1))
        excluded[of_block.flat_users(), of_block.items] = True
        lines, items = np.nonzero(excluded)
        blocks.append(lists_of(users[places], ItemLists.from_pairs(lines, items, len(places))))
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
