"""The candidates of both searches, found once and used by every figure of an evaluation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index import ItemLists, SearchResult, recall_against_exact, search_filtered
from retrieval.serving.two_stage import TwoStageModel


@dataclass(frozen=True, eq=False)
class Candidates:
    """What exact and approximate search find for q users, each result of shape (q, c).

    Attributes:
        exact: the oracle's.
        ann: the index's, as served: exact search fills the lists the index leaves short.
        own: what the index finds by itself, short lists left short.
        fallbacks: number of lists that exact search filled.
    """

    exact: SearchResult
    ann: SearchResult
    own: SearchResult
    fallbacks: int

    @property
    def recalls(self) -> NDArray[np.float64]:
        """Share of the exact candidates that the index itself finds: shape (q,)."""
        return recall_against_exact(self.own.rows, self.exact.rows)

    @property
    def rescued(self) -> float:
        """Share of the lists that exact search filled."""
        return self.fallbacks / max(len(self.own.rows), 1)


def find_candidates(
    model: TwoStageModel, users: NDArray[np.int64], exclude: ItemLists, depth: int
) -> Candidates:
    """Search `depth` deep for users (rows), each without the items of its list in `exclude`."""
    queries = model.vectors.users[users]
    exact = model.candidates(queries, exclude, depth, "exact")
    found = search_filtered(model.ann, model.exact, queries, depth, exclude, rescue=False)
    own = found.result
    short = np.flatnonzero((own.rows >= 0).sum(axis=1) < (exact.rows >= 0).sum(axis=1))
    ann, fallbacks = fill_short(model, users, exclude, own, np.union1d(short, found.tied))
    return Candidates(exact, ann, own, fallbacks)


def fill_short(
    model: TwoStageModel,
    users: NDArray[np.int64],
    exclude: ItemLists,
    own: SearchResult,
    short: NDArray[np.int64],
) -> tuple[SearchResult, int]:
    """The index's own results with those lines searched again that it left short or tied, as serving does.

    Returns:
        the result, and how many lines exact search had to answer.
    """
    if not len(short):
        return own, 0
    queries, depth = model.vectors.users[users[short]], own.rows.shape[1]
    again = search_filtered(model.ann, model.exact, queries, depth, exclude.take(short))
    scores, rows = own.scores.copy(), own.rows.copy()
    scores[short], rows[short] = again.result.scores, again.result.rows
    return SearchResult(scores, rows), again.fallbacks
