"""The second stage: candidates in retrieval order -> the final order, by a blend of two scores."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
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

    Attributes:
        rows: shape (q, c), int64, item rows, best first.
        scores: shape (q, c), float32, what the order is by.
        retrieval_ranks: shape (q, c), int64, place of the item among the candidates, from 1; 0 in padding.
        retrieval_scores: shape (q, c), float32, inner products as the index gives them.
        predicted_ratings: shape (q, c), float32; NaN throughout where nothing was predicted.
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
    """The candidates as they came: the score is the inner product, no rating is predicted."""
    rows, scores = candidates.rows, candidates.scores
    ranks = np.where(rows >= 0, np.arange(1, rows.shape[1] + 1), 0)
    return RankedItems(rows, scores, ranks, scores, np.full_like(scores, np.nan))


def blend(
    candidates: SearchResult,
    predicted: Scores,
    alpha: float,
    trend: Scores | None = None,
    trend_weight: float | NDArray[np.float64] = 0.0,
) -> RankedItems:
    """Order candidates by z(retrieval score) + alpha * z(predicted rating) + trend_weight * z(trend).

    The z-scores, over each user's candidates, make the three comparable whatever their scales; weights
    of 0 leave the retrieval order. Equal blends are ordered by item row.

    Args:
        candidates: (q, c), padded at the end.
        predicted: shape (q, c), predicted ratings of the candidates; ignored in padding.
        alpha: 0 or more.
        trend: shape (q, c): how much the candidates are in demand of late; ignored in padding.
        trend_weight: 0 or more, for everybody or, shape (q,), for each user.
    """
    real = candidates.rows >= 0
    ratings = np.where(real, predicted, np.nan).astype(np.float32)
    blended = standardise(candidates.scores, real) + alpha * standardise(predicted, real)
    if trend is not None:
        blended += np.reshape(trend_weight, (-1, 1)) * standardise(trend, real)
    scores = np.where(real, blended, -np.inf)
    weighted = alpha or np.any(trend_weight)
    # At weights of 0 candidates may not change places even where their z-scores round to the same number.
    order = np.lexsort((candidates.rows, -scores), axis=1) if weighted else np.indices(scores.shape)[1]
    ranks = np.where(real, np.arange(1, real.shape[1] + 1), 0)

    def ordered(values: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.take_along_axis(values, order, axis=1)

    columns = (candidates.rows, scores.astype(np.float32), ranks, candidates.scores, ratings)
    return RankedItems(*map(ordered, columns))  # type: ignore[arg-type]


def standardise(values: Scores, real: NDArray[np.bool_]) -> NDArray[np.float64]:
    """z-scores of each line over its real entries: zero mean, unit deviation; 0 where all are equal.

    In float64, because taking the mean off makes close float32 scores equal.

    >>> standardise(np.array([[1.0, 3.0, 9.0]], np.float32), np.array([[True, True, False]])).tolist()
    [[-1.0, 1.0, 0.0]]
    """
    count = np.maximum(real.sum(axis=1, keepdims=True), 1)
    filled = np.where(real, values, 0).astype(np.float64)
    centred = np.where(real, filled - filled.sum(axis=1, keepdims=True) / count, 0)
    deviation = np.sqrt(np.square(centred).sum(axis=1, keepdims=True) / count)
    safe = np.where(deviation > 1e-12, deviation, 1)
    return np.asarray(np.where(deviation > 1e-12, centred / safe, 0))


def fading(weight: float, liked: NDArray[np.int64]) -> NDArray[np.float64]:
    """The trend's weight for each newcomer: the less is known of someone, the more recent demand says.

    >>> fading(0.6, np.array([0, 1, 5])).round(2).tolist()
    [0.6, 0.3, 0.1]
    """
    return np.asarray(weight / (liked + 1.0))
