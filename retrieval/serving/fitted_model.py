"""The fitted models before an index is chosen: the towers' vectors, NeuralMF, and each user's seen items."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index import ExactIndex, ItemLists, SearchResult, search_filtered
from retrieval.arrays import Matrix
from retrieval.serving.rating_model import RatingModel
from retrieval.serving.rerank import NO_RERANKING, BlendScales, BlendWeights, RankedItems, blend, fading
from retrieval.serving.tower_vectors import TowerVectors


@dataclass(frozen=True)
class FittedModel:
    """Both models, fitted on one set of interactions; everything in row numbers.

    It searches exactly and re-ranks, which is all that a build needs to choose the weights of the blend and
    then the index. `TwoStageModel.of` completes it.

    Attributes:
        vectors: the exported towers.
        rating_model: predicts ratings for the users and items of `vectors`; None where there were no
            ratings to learn from, so that nothing is re-ranked.
        seen: the items of each user, which are never recommended to that user again.
        n_candidates: how many candidates are retrieved for re-ranking, and how many places of a list are
            ordered together.
        trend: shape (n_items,), float32: log(1 + recent positive interactions) of each item, see
            `recent_demand`; None leaves the trend out of the blend.
        weights: weights of the predicted rating and of the trend in the blend.

    Raises:
        ValueError: if the parts are of different sizes, or there are fewer than 1 candidates.
    """

    vectors: TowerVectors
    rating_model: RatingModel | None
    seen: ItemLists
    n_candidates: int
    trend: Matrix | None = None
    weights: BlendWeights = NO_RERANKING

    def __post_init__(self) -> None:
        users, items = len(self.vectors.users), len(self.vectors.items)
        rated = self.rating_model
        if rated is not None and (rated.unknown_user, len(rated.items)) != (users, items):
            raise ValueError(
                f"the towers know {users} users and {items} items, NeuralMF {rated.unknown_user} "
                f"and {len(rated.items)}; they are of different builds"
            )
        if len(self.seen) != users:
            raise ValueError(f"there are seen items for {len(self.seen)} users, but {users} users")
        if len(self.seen.items) and int(self.seen.items.max()) >= items:
            raise ValueError(f"item row {self.seen.items.max()} was seen, but there are {items} items")
        if self.trend is not None and self.trend.shape != (items,):
            raise ValueError(f"there is a trend of {self.trend.shape} items, but {items} items")
        if self.n_candidates < 1:
            raise ValueError(f"{self.n_candidates} candidates; expected 1 or more")

    @property
    def exact(self) -> ExactIndex:
        """Exact search over `vectors.items`."""
        return self.vectors.exact

    @property
    def reranks(self) -> bool:
        """Whether re-ranking can change the order of a known user's candidates."""
        return self.rating_model is not None and self.weights.rerank

    @property
    def reranks_newcomers(self) -> bool:
        """Whether re-ranking can change the order of a newcomer's candidates."""
        return self.rating_model is not None and self.weights.rerank_newcomers

    def trend_of(self, rows: NDArray[np.int64]) -> Matrix | None:
        """The trend of items: (q, c) -> (q, c); meaningless for padding of -1, None without a trend."""
        return None if self.trend is None else self.trend[rows]

    def exact_candidates(self, queries: Matrix, exclude: ItemLists, depth: int) -> SearchResult:
        """The best `depth` items of each query vector that are not in its exclude list, by exact search.

        Args:
            queries: shape (q, d + 1).
            exclude: q lists of item rows.
        """
        return search_filtered(self.exact, self.exact, queries, depth, exclude).result

    def depth_for(self, k: int) -> int:
        """How many candidates a list of k places is made of: whole runs of `n_candidates`, at most all items.

        A longer list is ordered run by run, so that it continues a shorter one.
        """
        return min(-(-k // self.n_candidates) * self.n_candidates, self.exact.size)

    def deepened(
        self,
        found: SearchResult,
        queries: Matrix,
        exclude: ItemLists,
        k: int,
        allowed: NDArray[np.int64] | None = None,
    ) -> SearchResult:
        """The first candidates, and behind them those that a list of k places needs: (q, `depth_for(k)`).

        The further ones are found by exact search, whatever found the first: an approximate index, asked for
        more, may find others at the start too.

        Args:
            found: the first `n_candidates` of each query vector.
            queries: shape (q, d + 1).
            exclude: q lists of item rows.
            allowed: the item rows to choose from, ascending; None: all.
        """
        more = self.depth_for(k) - found.rows.shape[1]
        if more <= 0:
            return found
        lines, places = np.nonzero(found.rows >= 0)
        left_out = ItemLists.from_pairs(
            np.concatenate((exclude.flat_users(), lines)),
            np.concatenate((exclude.items, found.rows[lines, places])),
            len(queries),
        )
        rest = self.exact.search(queries, more, left_out, allowed)
        return SearchResult(np.hstack((found.scores, rest.scores)), np.hstack((found.rows, rest.rows)))

    def rerank(
        self, users: NDArray[np.int64], found: SearchResult, unfiltered: SearchResult | None = None
    ) -> RankedItems:
        """Blend the candidates of known users with NeuralMF's predictions and the trend.

        Args:
            users: shape (q,), user rows.
            found: their candidates, (q, c).
            unfiltered: where `found` passed a filter, their first `n_candidates` without it: the z-scores go
                by these, so that a score is the same with every filter.

        Raises:
            ValueError: if there is no NeuralMF.
        """
        rating_model = self._required_rating_model()

        def predict(rows: NDArray[np.int64]) -> Matrix:
            return rating_model.predict(users, rows)

        return self._blended(found, unfiltered, predict, self.weights.alpha, self.weights.trend_weight)

    def rerank_for_newcomers(
        self, found: SearchResult, liked: NDArray[np.int64], unfiltered: SearchResult | None = None
    ) -> RankedItems:
        """As `rerank`, for people known only by a history.

        Args:
            found: their candidates, (q, c).
            liked: shape (q,): how many items each is known to like; the trend fades with it.
        """
        alpha, trend_weight = self.weights.newcomer_alpha, fading(self.weights.newcomer_trend_weight, liked)
        return self._blended(found, unfiltered, self.predict_for_newcomers, alpha, trend_weight)

    def _blended(
        self,
        found: SearchResult,
        unfiltered: SearchResult | None,
        predict: Callable[[NDArray[np.int64]], Matrix],
        alpha: float,
        trend_weight: float | NDArray[np.float64],
    ) -> RankedItems:
        run, scales = self.n_candidates, None
        if unfiltered is not None:
            rows = unfiltered.rows
            scales = BlendScales.of(unfiltered, predict(rows), self.trend_of(rows))
        # Run by run: a product of other shapes rounds otherwise, and could swap items of nearly equal scores.
        starts = range(0, max(found.rows.shape[1], 1), run)
        predicted = np.hstack([predict(found.rows[:, start : start + run]) for start in starts])
        trend = self.trend_of(found.rows)
        return blend(found, predicted, alpha, trend, trend_weight, run=run, scales=scales)

    def predict_for_newcomers(self, rows: NDArray[np.int64]) -> Matrix:
        """Ratings of the items (q, c) as NeuralMF predicts them for an unknown user: (q, c), float32.

        Raises:
            ValueError: if there is no NeuralMF.
        """
        rating_model = self._required_rating_model()
        return rating_model.predict(np.full(len(rows), rating_model.unknown_user), rows)

    def _required_rating_model(self) -> RatingModel:
        if self.rating_model is None:
            raise ValueError("there is no NeuralMF to re-rank by: it was built without ratings")
        return self.rating_model


def recent_demand(popularity: Matrix) -> Matrix:
    """The trend of items: log(1 + popularity), shape (n_items,), float32.

    Args:
        popularity: shape (n_items,), float32: recent positive interactions of each item.

    Raises:
        ValueError: if a number is negative, NaN or infinite.
    """
    if popularity.dtype != np.float32 or not np.isfinite(popularity).all() or (popularity < 0).any():
        raise ValueError("popularity must be finite float32 numbers from 0 on")
    return np.log1p(popularity)
