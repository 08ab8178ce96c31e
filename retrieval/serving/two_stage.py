"""The complete model in row numbers: user vectors -> candidates from an index -> re-ranked lists.

`Recommender` adds ids and titles; evaluation measures exactly this model.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from index import AnnIndex, ItemLists, SearchResult, search_filtered
from retrieval.arrays import Matrix
from retrieval.serving.fitted_model import FittedModel
from retrieval.serving.rerank import RankedItems, in_retrieval_order

SearchKind = Literal["exact", "ann"]


@dataclass(frozen=True)
class TwoStageModel(FittedModel):
    """A fitted model with its approximate index: retrieval, then re-ranking.

    Attributes:
        ann: the approximate index over `vectors.items`.
        serves: the search that answers unless a request names one: "exact" where the index is no faster.

    Raises:
        ValueError: if the index is of other vectors, or as `FittedModel` does.
    """

    ann: AnnIndex = field(kw_only=True)
    serves: SearchKind = field(default="ann", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.ann.size, self.ann.dimension) != self.vectors.items.shape:
            raise ValueError(
                f"the index holds {self.ann.size} vectors of {self.ann.dimension} numbers, the item tower "
                f"{len(self.vectors.items)} of {self.vectors.dimension}; they are of different builds"
            )

    @classmethod
    def of(cls, fitted: FittedModel, ann: AnnIndex, serves: SearchKind) -> "TwoStageModel":
        """The fitted model, completed with its index.

        Raises:
            ValueError: if the index is of other vectors.
        """
        return cls(
            fitted.vectors,
            fitted.rating_model,
            fitted.seen,
            fitted.n_candidates,
            fitted.trend,
            fitted.weights,
            ann=ann,
            serves=serves,
        )

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

    def candidates_for(
        self,
        queries: Matrix,
        exclude: ItemLists,
        k: int,
        search: SearchKind,
        allowed: NDArray[np.int64] | None = None,
    ) -> SearchResult:
        """The candidates that lists of k places are made of: `n_candidates`, and more where k is larger.

        The first are the same for every k, whatever the index, see `FittedModel.deepened`.
        """
        first = self.candidates(queries, exclude, self.n_candidates, search, allowed)
        return self.deepened(first, queries, exclude, k, allowed)

    def for_users(
        self,
        users: NDArray[np.int64],
        k: int,
        search: SearchKind | None = None,
        rerank: bool = True,
        allowed: NDArray[np.int64] | None = None,
    ) -> RankedItems:
        """Final lists of known users, given by row, without their seen items: (q, min(k, items)) places.

        Args:
            search: None: the search that `serves`.
            rerank: False leaves the candidates in retrieval order.
            allowed: the item rows to choose from, ascending; None: all.
        """
        queries, seen = self.vectors.users[users], self.seen.take(users)
        reranks = rerank and self.reranks
        found, unfiltered = self._found(queries, seen, k, search, reranks, allowed)
        if not rerank or self.rating_model is None:
            return in_retrieval_order(found).top(k)
        return self.rerank(users, found, unfiltered).top(k)

    def for_histories(
        self,
        histories: ItemLists,
        k: int,
        search: SearchKind | None = None,
        rerank: bool = True,
        allowed: NDArray[np.int64] | None = None,
    ) -> RankedItems:
        """Final lists of people known only by a history, q lists of item rows, which are left out.

        Args:
            search, rerank, allowed: as in `for_users`.

        Raises:
            ValueError: if the towers were trained with the id user tower.
        """
        queries = self.vectors.for_histories(histories)
        reranks = rerank and self.reranks_newcomers
        found, unfiltered = self._found(queries, histories, k, search, reranks, allowed)
        if not rerank or self.rating_model is None:
            return in_retrieval_order(found).top(k)
        return self.rerank_for_newcomers(found, histories.lengths(), unfiltered).top(k)

    def _found(
        self,
        queries: Matrix,
        exclude: ItemLists,
        k: int,
        search: SearchKind | None,
        reranks: bool,
        allowed: NDArray[np.int64] | None,
    ) -> tuple[SearchResult, SearchResult | None]:
        """The candidates; and, where there is a filter and they are re-ranked, the first without it.

        Only the first k candidates come back where re-ranking does not change their order. The search is
        equally deep in both cases. An approximate index may find less than it is asked for, so a shallower
        search could serve other lists than those that were evaluated.
        """
        kind = search or self.serves
        found = self.candidates_for(queries, exclude, k, kind, allowed)
        if not reranks:
            return found.top(k), None
        if allowed is None:
            return found, None
        return found, self.candidates(queries, exclude, self.n_candidates, kind)
