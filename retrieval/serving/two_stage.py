"""The fitted system in row numbers: user vectors -> candidates from an index -> re-ranked lists.

`Recommender` puts ids and titles around this; evaluation measures exactly this.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from index import AnnIndex, ExactIndex, ItemLists, SearchResult, search_filtered
from retrieval.arrays import Matrix
from retrieval.serving.rating_model import RatingModel
from retrieval.serving.rerank import (
    NO_RERANKING,
    BlendWeights,
    RankedItems,
    blend,
    fading,
    in_retrieval_order,
)
from retrieval.serving.tower_vectors import TowerVectors

SearchKind = Literal["exact", "ann"]


@dataclass(frozen=True)
class TwoStageModel:
    """Everything that answers, fitted on one set of interactions.

    Attributes:
        vectors: exported towers.
        ann: the approximate index over `vectors.items`; before one is chosen, exact search stands there.
        rating_model: predicts ratings for the users and items of `vectors`; None where there were no
            ratings to learn from: nothing is re-ranked.
        seen: each user's items, never recommended to that user again.
        n_candidates: how many candidates are retrieved for re-ranking.
        trend: shape (n_items,), float32: the logarithm of how many liked each item of late; None: of no
            weight.
        weights: of the predicted rating and of the trend in the blend.
        serves: what answers unless asked otherwise: "exact" where the index is no faster.

    Raises:
        ValueError: if the parts are of different sizes, or the number of candidates is below 1.
    """

    vectors: TowerVectors
    ann: AnnIndex | ExactIndex
    rating_model: RatingModel | None
    seen: ItemLists
    n_candidates: int
    trend: Matrix | None = None
    weights: BlendWeights = NO_RERANKING
    serves: SearchKind = "ann"

    def __post_init__(self) -> None:
        users, items = len(self.vectors.users), len(self.vectors.items)
        rated = self.rating_model
        if rated is not None and (rated.unknown_user, len(rated.items)) != (users, items):
            raise ValueError(
                f"the towers know {users} users and {items} items, NeuralMF {rated.unknown_user} "
                f"and {len(rated.items)}; they are of different builds"
            )
        if (self.ann.size, self.ann.dimension) != self.vectors.items.shape:
            raise ValueError(
                f"the index holds {self.ann.size} vectors of {self.ann.dimension} numbers, the item tower "
                f"{items} of {self.vectors.dimension}; they are of different builds"
            )
        if len(self.seen) != users:
            raise ValueError(f"there are seen items for {len(self.seen)} users, but {users} users")
        if len(self.seen.items) and int(self.seen.items.max()) >= items:
            raise ValueError(f"item row {self.seen.items.max()} was seen, but there are {items} items")
        if self.trend is not None and self.trend.shape != (items,):
            raise ValueError(f"there is a trend of {self.trend.shape} items, but {items} items")
        if self.n_candidates < 1:
            raise ValueError(f"{self.n_candidates} candidates; expected 1 or more")
        object.__setattr__(self, "_exact", ExactIndex(self.vectors.items))

    @property
    def exact(self) -> ExactIndex:
        """Exact search over the same item vectors."""
        return self._exact  # type: ignore[attr-defined, no-any-return]

    @property
    def index(self) -> AnnIndex:
        """The approximate index.

        Raises:
            ValueError: if none was chosen yet.
        """
        if not isinstance(self.ann, AnnIndex):
            raise ValueError("there is no index yet, only exact search; choose one first")
        return self.ann

    @property
    def reranks(self) -> bool:
        """Whether known users get another order than retrieval's."""
        return self.rating_model is not None and self.weights.rerank

    @property
    def reranks_newcomers(self) -> bool:
        """Whether people known only by a history do."""
        return self.rating_model is not None and self.weights.rerank_newcomers

    def trend_of(self, rows: NDArray[np.int64]) -> Matrix | None:
        """The trend of items (q, c), meaningless for padding of -1; None where there is none."""
        return None if self.trend is None else self.trend[rows]

    def candidates(
        self,
        queries: Matrix,
        exclude: ItemLists,
        depth: int,
        search: SearchKind,
        allowed: NDArray[np.int64] | None = None,
    ) -> SearchResult:
        """The best `depth` items of each query vector that are not in its exclude list.

        Args:
            queries: shape (q, d + 1).
            exclude: q lists of item rows.
            allowed: the item rows to choose from, ascending; None: all.
        """
        index = self.exact if search == "exact" else self.ann
        return search_filtered(index, self.exact, queries, depth, exclude, allowed=allowed).result

    def for_users(
        self,
        users: NDArray[np.int64],
        k: int,
        search: SearchKind | None = None,
        rerank: bool = True,
        allowed: NDArray[np.int64] | None = None,
    ) -> RankedItems:
        """Final lists of known users, given by row: (q, min(k, items)) places, seen items left out.

        Args:
            allowed: the item rows to choose from, ascending; None: all.
        """
        queries, seen = self.vectors.users[users], self.seen.take(users)
        found = self._found(queries, seen, k, search, self.reranks, allowed)
        if not rerank or self.rating_model is None:
            return in_retrieval_order(found).top(k)
        return self.rerank(users, found).top(k)

    def for_histories(
        self,
        histories: ItemLists,
        k: int,
        search: SearchKind | None = None,
        rerank: bool = True,
        allowed: NDArray[np.int64] | None = None,
    ) -> RankedItems:
        """Lists of people known only by what they liked: q lists of item rows, which are left out.

        Args:
            allowed: the item rows to choose from, ascending; None: all.
        """
        queries = self.vectors.for_histories(histories)
        found = self._found(queries, histories, k, search, self.reranks_newcomers, allowed)
        if not rerank or self.rating_model is None:
            return in_retrieval_order(found).top(k)
        return self.rerank_for_newcomers(found, histories.lengths()).top(k)

    def _found(
        self,
        queries: Matrix,
        exclude: ItemLists,
        k: int,
        search: SearchKind | None,
        reranks: bool,
        allowed: NDArray[np.int64] | None,
    ) -> SearchResult:
        """The candidates; only the first k where nothing would change their order.

        Always searched as deep, so that what is served is what was evaluated also where the approximate
        index finds less than it was asked for.
        """
        found = self.candidates(queries, exclude, max(k, self.n_candidates), search or self.serves, allowed)
        return found if reranks else found.top(k)

    def rerank(self, users: NDArray[np.int64], found: SearchResult) -> RankedItems:
        """Blend candidates of users (rows) with NeuralMF's predictions.

        Raises:
            ValueError: if there is no NeuralMF.
        """
        predicted = self._required_rating_model().predict(users, found.rows)
        return blend(
            found, predicted, self.weights.alpha, self.trend_of(found.rows), self.weights.trend_weight
        )

    def rerank_for_newcomers(self, found: SearchResult, liked: NDArray[np.int64]) -> RankedItems:
        """As `rerank`, for people the models have never met.

        Args:
            liked: shape (q,): how many items each is known to like.
        """
        predicted, trend = self.predict_for_newcomers(found.rows), self.trend_of(found.rows)
        weights = fading(self.weights.newcomer_trend_weight, liked)
        return blend(found, predicted, self.weights.newcomer_alpha, trend, weights)

    def predict_for_newcomers(self, rows: NDArray[np.int64]) -> Matrix:
        """What NeuralMF expects anybody to rate the items (q, c): shape (q, c), float32.

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
    """The trend of items, from how many liked each of late: shape (n_items,), float32.

    Raises:
        ValueError: if one is negative, NaN or infinite.
    """
    if popularity.dtype != np.float32 or not np.isfinite(popularity).all() or (popularity < 0).any():
        raise ValueError("popularity must be finite float32 numbers from 0 on")
    return np.log1p(popularity)
