"""The second stage: orders the candidates by a blend of retrieval score, predicted rating and trend."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index import SearchResult

Scores = NDArray[np.float32]
# The largest weight of a z-score in the blend: far above any that was ever chosen, far from overflowing.
MOST_WEIGHT = 1e6


@dataclass(frozen=True)
class BlendWeights:
    """The weights of the blend; the retrieval score has weight 1, see `blend`.

    Attributes:
        alpha: weight of the predicted rating for known users; 0 leaves it out.
        trend_weight: weight of the trend for known users.
        newcomer_alpha: weight of the predicted rating for people known only by a history, for whom
            NeuralMF uses the row of the unknown user.
        newcomer_trend_weight: weight of the trend for them, before `fading`.

    Raises:
        ValueError: if a weight is not a number from 0 to `MOST_WEIGHT`.
    """

    alpha: float = 0.0
    trend_weight: float = 0.0
    newcomer_alpha: float = 0.0
    newcomer_trend_weight: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or not 0 <= value <= MOST_WEIGHT:
                raise ValueError(f"{name} is {value!r:.60}; expected a number from 0 to {MOST_WEIGHT:g}")

    @property
    def rerank(self) -> bool:
        """Whether the blend can change the order of a known user's candidates."""
        return self.alpha > 0 or self.trend_weight > 0

    @property
    def rerank_newcomers(self) -> bool:
        """Whether the blend can change the order of a newcomer's candidates."""
        return self.newcomer_alpha > 0 or self.newcomer_trend_weight > 0

    def to_json(self) -> dict[str, float]:
        """The weights by their names, as a bundle's model.json has them."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "BlendWeights":
        """Read back what `to_json` gave; other keys of the document are ignored.

        Raises:
            KeyError: if a weight is missing.
            ValueError: if a weight is not a number from 0 to `MOST_WEIGHT`.
        """
        found = cls(*(document[name] for name in cls.__dataclass_fields__))
        return cls(*map(float, vars(found).values()))


NO_RERANKING = BlendWeights()  # every weight 0: candidates stay in retrieval order


@dataclass(frozen=True)
class RankedItems:
    """Final lists of q users, c places each; padding at the end: row -1, score -inf, NaN elsewhere.

    A score belongs to a user and an item, whatever the length of the list and whatever filter it passed.

    Attributes:
        rows: shape (q, c), int64, item rows, best first.
        scores: shape (q, c), float32, by which each run of as many places as there are candidates is ordered.
        retrieval_ranks: shape (q, c), int64, place of each item among the candidates, from 1; 0 in padding.
        retrieval_scores: shape (q, c), float32, inner products as the index gives them.
        predicted_ratings: shape (q, c), float32; all NaN where the lists were not re-ranked.
    """

    rows: NDArray[np.int64]
    scores: Scores
    retrieval_ranks: NDArray[np.int64]
    retrieval_scores: Scores
    predicted_ratings: Scores

    def top(self, k: int) -> "RankedItems":
        """The first k places."""
        return RankedItems(
            self.rows[:, :k],
            self.scores[:, :k],
            self.retrieval_ranks[:, :k],
            self.retrieval_scores[:, :k],
            self.predicted_ratings[:, :k],
        )


def in_retrieval_order(candidates: SearchResult) -> RankedItems:
    """Lists in the order of retrieval: the score is the inner product, and no rating is predicted."""
    rows, scores = candidates.rows, candidates.scores
    ranks = np.where(rows >= 0, np.arange(1, rows.shape[1] + 1), 0)
    return RankedItems(rows, scores, ranks, scores, np.full_like(scores, np.nan))


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of each of q users' candidates: shapes (q, 1), float64."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, values: Scores, real: NDArray[np.bool_]) -> "Scale":
        """Over the real entries of each line, (q, c); 0 and 0 where there are none.

        In float64: in float32, subtracting the mean makes close scores equal.
        """
        count = np.maximum(real.sum(axis=1, keepdims=True), 1)
        filled = np.where(real, values, 0).astype(np.float64)
        mean = filled.sum(axis=1, keepdims=True) / count
        centred = np.where(real, filled - mean, 0)
        return cls(mean, np.sqrt(np.square(centred).sum(axis=1, keepdims=True) / count))

    def standardise(self, values: Scores, real: NDArray[np.bool_]) -> NDArray[np.float64]:
        """z-scores (q, c): how many deviations from the mean; 0 in padding and where the deviation is 0."""
        centred = np.where(real, np.where(real, values, 0).astype(np.float64) - self.mean, 0)
        safe = np.where(self.deviation > 1e-12, self.deviation, 1)
        return np.asarray(np.where(self.deviation > 1e-12, centred / safe, 0))


@dataclass(frozen=True)
class BlendScales:
    """The scales by which `blend` standardises: those of each user's first candidates without a filter."""

    retrieval: Scale
    rating: Scale
    trend: Scale | None

    @classmethod
    def of(cls, candidates: SearchResult, predicted: Scores, trend: Scores | None) -> "BlendScales":
        """The scales of candidates (q, c), of their predicted ratings and of their trend, both (q, c)."""
        real = candidates.rows >= 0
        of_trend = None if trend is None else Scale.of(trend, real)
        return cls(Scale.of(candidates.scores, real), Scale.of(predicted, real), of_trend)


def blend(
    candidates: SearchResult,
    predicted: Scores,
    alpha: float,
    trend: Scores | None = None,
    trend_weight: float | NDArray[np.float64] = 0.0,
    *,
    run: int | None = None,
    scales: BlendScales | None = None,
) -> RankedItems:
    """Order candidates by z(retrieval score) + alpha * z(predicted rating) + trend_weight * z(trend).

    z-scores by each user's own candidates make the three comparable, whatever their scales. Weights of 0
    leave the retrieval order and its scores. Equal blends are ordered by item row.

    Args:
        candidates: (q, c), padded at the end.
        predicted: shape (q, c), predicted ratings of the candidates; ignored in padding.
        alpha: weight of the predicted rating, 0 or more.
        trend: shape (q, c): the trend of the candidates; ignored in padding.
        trend_weight: weight of the trend, 0 or more: one for all users or, shape (q,), one for each.
        run: the first `run` candidates are ordered among themselves, then the next, so that a longer list
            continues a shorter one; None: all of them together.
        scales: for the z-scores; None: those of the first run, which then no filter has touched.
    """
    real = candidates.rows >= 0  # (q, c), False in padding
    ratings = np.where(real, predicted, np.nan).astype(np.float32)
    if not alpha and (trend is None or not np.any(trend_weight)):
        return replace(in_retrieval_order(candidates), predicted_ratings=ratings)
    if scales is None:
        first = slice(run)
        first_trend = None if trend is None else trend[:, first]
        scales = BlendScales.of(candidates.top(run or real.shape[1]), predicted[:, first], first_trend)
    blended = scales.retrieval.standardise(candidates.scores, real)
    blended += alpha * scales.rating.standardise(predicted, real)
    if trend is not None and scales.trend is not None:
        blended += np.reshape(trend_weight, (-1, 1)) * scales.trend.standardise(trend, real)
    scores = np.where(real, blended, -np.inf)
    runs = np.broadcast_to(np.arange(real.shape[1]) // (run or max(real.shape[1], 1)), real.shape)
    order = np.lexsort((candidates.rows, -scores, runs), axis=1)
    ranks = np.where(real, np.arange(1, real.shape[1] + 1), 0)

    def ordered(values: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.take_along_axis(values, order, axis=1)

    columns = (candidates.rows, scores.astype(np.float32), ranks, candidates.scores, ratings)
    return RankedItems(*map(ordered, columns))  # type: ignore[arg-type]


def standardise(values: Scores, real: NDArray[np.bool_]) -> NDArray[np.float64]:
    """z-scores of each line over its real entries: mean 0, deviation 1; all 0 where the entries are equal.

    >>> standardise(np.array([[1.0, 3.0, 9.0]], np.float32), np.array([[True, True, False]])).tolist()
    [[-1.0, 1.0, 0.0]]
    """
    return Scale.of(values, real).standardise(values, real)


def fading(weight: float, liked: NDArray[np.int64]) -> NDArray[np.float64]:
    """The trend's weight for each newcomer, weight / (liked + 1): it fades as their history grows.

    >>> fading(0.6, np.array([0, 1, 5])).round(2).tolist()
    [0.6, 0.3, 0.1]
    """
    return np.asarray(weight / (liked + 1.0))
