"""Candidates of exact and approximate search, found once for all figures of an evaluation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index import ItemLists, SearchResult, recall_against_exact, search_filtered
from retrieval.serving.two_stage import TwoStageModel


@dataclass(frozen=True, eq=False)
class Candidates:
    """Candidates of q users by exact and by approximate search.

    Attributes:
        exact: shape (q, c), by exact search, against which recall is measured.
        ann: shape (q, c), by the index as served: exact search answers where the index leaves a list short,
            and finds what a long list needs beyond `n_candidates`.
        own: shape (q, `n_candidates`), by the index alone, its short lists left short.
        fallbacks: number of lists that exact search answered.
    """

    exact: SearchResult
    ann: SearchResult
    own: SearchResult
    fallbacks: int

    @property
    def recalls(self) -> NDArray[np.float64]:
        """Share of the exact candidates that the index alone finds: shape (q,)."""
        return recall_against_exact(self.own.rows, self.exact.rows[:, : self.own.rows.shape[1]])

    @property
    def rescued(self) -> float:
        """Share of the lists that exact search answered in the index's place."""
        return self.fallbacks / max(len(self.own.rows), 1)


def find_candidates(model: TwoStageModel, users: NDArray[np.int64], exclude: ItemLists, k: int) -> Candidates:
    """Find the candidates that the users' lists are made of, see `TwoStageModel.candidates_for`.

    Args:
        users: shape (q,), rows.
        exclude: q lists of items that are no candidates.
        k: length of the lists.
    """
    queries, depth = model.vectors.users[users], model.n_candidates
    exact = model.candidates_for(queries, exclude, k, "exact")
    found = search_filtered(model.ann, model.exact, queries, depth, exclude, rescue=False)
    own = found.result
    short = np.flatnonzero((own.rows >= 0).sum(axis=1) < (exact.rows[:, :depth] >= 0).sum(axis=1))
    ann, fallbacks = fill_short(model, users, exclude, own, np.union1d(short, found.tied))
    return Candidates(exact, model.deepened(ann, queries, exclude, k), own, fallbacks)


def fill_short(
    model: TwoStageModel,
    users: NDArray[np.int64],
    exclude: ItemLists,
    own: SearchResult,
    short: NDArray[np.int64],
) -> tuple[SearchResult, int]:
    """Search again for those users whose list the index left short or tied, as serving does.

    Args:
        users: shape (q,), rows.
        exclude: q lists.
        own: shape (q, c), the index's own result.
        short: places in `users` of those to search again for.

    Returns:
        the completed result, and the number of lists that exact search answered.
    """
    if not len(short):
        return own, 0
    queries, depth = model.vectors.users[users[short]], own.rows.shape[1]
    again = search_filtered(model.ann, model.exact, queries, depth, exclude.take(short))
    scores, rows = own.scores.copy(), own.rows.copy()
    scores[short], rows[short] = again.result.scores, again.result.rows
    return SearchResult(scores, rows), again.fallbacks
