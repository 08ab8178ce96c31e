"""RMSE and MAE of predicted ratings, beside damped user and item biases as a baseline."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.data.encoded import EncodedInteractions
from retrieval.evaluation.evaluated import EvaluationData
from retrieval.evaluation.metrics import squared_errors
from retrieval.evaluation.report import RatingReport
from retrieval.evaluation.uncertainty import Estimate, clustered_estimate
from retrieval.serving.two_stage import TwoStageModel


@dataclass(frozen=True)
class BiasModel:
    """rating = mean + user bias + item bias, each bias damped towards 0 (Koren et al., IEEE Computer 2009).

    Attributes:
        mean: mean of all ratings.
        users, items: shapes (n_users,) and (n_items,), float64.
    """

    mean: float
    users: NDArray[np.float64]
    items: NDArray[np.float64]

    @classmethod
    def fit(cls, ratings: EncodedInteractions, damping: float = 10.0, rounds: int = 10) -> "BiasModel":
        """Fit by alternating least squares, `rounds` times items, then users.

        Args:
            damping: acts like so many further ratings without bias, of every user and of every item.

        Raises:
            ValueError: if there are no ratings.
        """
        if ratings.ratings is None:
            raise ValueError("biases are of ratings, and there are none")
        mean = float(ratings.ratings.mean())
        users, items = np.zeros(ratings.n_users), np.zeros(ratings.n_items)
        centred = ratings.ratings.astype(np.float64) - mean

        def damped_mean(
            rows: NDArray[np.int64], residuals: NDArray[np.float64], size: int
        ) -> NDArray[np.float64]:
            counts = np.bincount(rows, minlength=size)
            return np.asarray(np.bincount(rows, residuals, minlength=size) / (counts + damping))

        for _ in range(rounds):
            items = damped_mean(ratings.items, centred - users[ratings.users], ratings.n_items)
            users = damped_mean(ratings.users, centred - items[ratings.items], ratings.n_users)
        return cls(mean, users, items)

    def predict_pairs(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float64]:
        """Predicted ratings of n pairs of rows: two arrays of shape (n,) -> shape (n,), float64."""
        return np.asarray(self.mean + self.users[users] + self.items[items])


def rating_report(model: TwoStageModel, data: EvaluationData) -> RatingReport | None:
    """RMSE and MAE on the warm test rows, of NeuralMF and of damped biases fitted on the same train slice.

    RMSE = sqrt(mean((predicted - actual) ** 2)), MAE = mean(|predicted - actual|), both over all rows.
    Intervals resample users, see `clustered_estimate`. None where there are no ratings.
    """
    test = data.test.without(data.train)
    if model.rating_model is None or test.ratings is None:
        return None
    biases = BiasModel.fit(data.train).predict_pairs(test.users, test.items)
    predicted = model.rating_model.predict_pairs(test.users, test.items)
    squares, bias_squares = (squared_errors(values, test.ratings) for values in (predicted, biases))

    def over_users(statistic: Callable[..., NDArray[np.float64]], *values: NDArray[np.float64]) -> Estimate:
        return clustered_estimate(statistic, values, test.users)

    return RatingReport(
        rows=len(test),
        rmse=over_users(np.sqrt, squares),
        mae=over_users(np.asarray, np.sqrt(squares)),
        bias_rmse=over_users(np.sqrt, bias_squares),
        bias_mae=over_users(np.asarray, np.sqrt(bias_squares)),
        rmse_difference=over_users(
            lambda ours, theirs: np.sqrt(ours) - np.sqrt(theirs), squares, bias_squares
        ),
    )
