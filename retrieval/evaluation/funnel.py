"""The funnel: at which stage of retrieval and re-ranking the relevant items are lost."""

from typing import TYPE_CHECKING

import numpy as np

from index import ItemLists
from retrieval.arrays import Rows
from retrieval.data.ids import IdMap
from retrieval.data.reading.columns import ITEM, RATING, USER
from retrieval.evaluation.report import Funnel

if TYPE_CHECKING:
    import polars as pl

LISTED, NOT_IN_CATALOGUE, FILTERED = "listed", "not in catalogue", "filtered"
BELOW_DEPTH, MISSED, DROPPED, BELOW_TOP = (
    "below depth",
    "missed by index",
    "dropped by re-ranker",
    "below top k",
)


def trace_relevant(
    relevant: ItemLists,
    exact: Rows,
    found: Rows,
    lists: Rows,
    *,
    k: int,
    outside: int,
    filtered: int,
    reranked: bool,
) -> Funnel | None:
    """Follow every relevant item through the stages and count where they end; None where there is none.

    Args:
        relevant: q lists of relevant items that are in train's catalogue and not in the user's train rows.
        exact: shape (q, c), candidates of exact search, padded with -1.
        found: shape (q, c), the served candidates. An item that the index finds although exact search
            ranks it below the depth counts as found.
        lists: shape (q, k), the served lists, made of `found`.
        k: length of the lists.
        outside: number of further relevant items that train does not know.
        filtered: number of further relevant items that the user has in train.
        reranked: whether a re-ranker ordered the lists.
    """
    total = len(relevant.items) + outside + filtered
    if not total:
        return None
    lines, places = np.nonzero(relevant.hold(found))
    reached = ItemLists.from_pairs(lines, found[lines, places], len(relevant))
    listed = int(np.count_nonzero(relevant.hold(lists)))
    missed = int(np.count_nonzero(relevant.hold(exact) & ~reached.hold(exact)))
    counts: dict[str, int] = {
        LISTED: listed,
        NOT_IN_CATALOGUE: outside,
        FILTERED: filtered,
        BELOW_DEPTH: len(relevant.items) - len(reached.items) - missed,
        MISSED: missed,
        DROPPED if reranked else BELOW_TOP: len(reached.items) - listed,
    }
    return Funnel(total, k, {name: count / total for name, count in counts.items()})


def outside_catalogue(test: "pl.DataFrame", users: IdMap, items: IdMap, threshold: float) -> int:
    """Number of positive test rows of warm test users whose item is not in train's catalogue.

    Args:
        test: the whole test slice, each pair once.
        users, items: those of train. A user is warm if train knows them and the item of one of their rows.
        threshold: ratings from here on are positive; without ratings every row is.
    """
    user_rows, item_rows = users.rows(test[USER].to_numpy()), items.rows(test[ITEM].to_numpy())
    warm = np.isin(user_rows, user_rows[(user_rows >= 0) & (item_rows >= 0)])
    outside = warm & (item_rows < 0)
    if RATING in test.columns:
        outside &= test[RATING].to_numpy() >= threshold
    return int(np.count_nonzero(outside))
