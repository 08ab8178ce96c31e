"""Evaluation protocols: which users count, which items are relevant, and among which items lists are made.

Reports use `standard`. `notebook` is the protocol of the reference notebook, whose figures for MovieLens 1M
are known. Its definitions change from metric to metric, so its figures compare only with each other.
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

# (user rows, q lists of excluded items) -> stage -> lists (q, k).
ListsOf = Callable[[Rows, ItemLists], dict[str, Rows]]

EXCLUDED_A_BLOCK = 4_000_000


@dataclass(frozen=True)
class ProtocolScores:
    """The scores of every stage and the users they are of.

    Attributes:
        users: shape (q,), the warm test users.
        judged_users: number of users over whom NDCG is a mean.
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
    """The standard protocol: items rated at or above the threshold are relevant.

    Candidates are all items but the user's own of train. Precision@k is a mean over all warm test users,
    Recall@k and NDCG@k over those with a relevant item.

    Args:
        test, train: the slices; `test` holds its warm rows.
        threshold: ratings from here on are relevant.
        lists: stage -> lists (q, at least k) of all warm test users, ascending, without items of train.
        lists_of: unused; `score_as_notebook` needs it.
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
    """The protocol of the reference notebook, whose metrics have definitions of their own.

    Precision@k: relevant items as in `score_by_standard`; candidates are only the items that occur in the
    warm test rows; mean over all warm test users.
    Recall@k: the same relevant items; candidates are the whole catalogue; mean over users with one.
    NDCG@k: every item that the user rated in the test slice is relevant, whatever the rating; candidates are
    the whole catalogue; mean over users with one.
    No list holds items of the user's train rows.

    Args:
        test, train, threshold, lists: as for `score_by_standard`.
        lists_of: makes lists with other excluded items, for precision.
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
    """Lists of allowed items only.

    The users come in blocks, because each excludes most of the catalogue.

    Args:
        allowed: shape (n_items,).
        seen: q lists of items that are excluded besides.
    """
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
