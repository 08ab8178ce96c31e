"""Means over users with 95 % intervals, by bootstrap."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval; NaN throughout where there was nothing to average."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies wholly above or wholly below 0."""
        return self.low > 0 or self.high < 0


def standard_error(values: NDArray[np.float64]) -> float:
    """Standard error of the mean of independent values, shape (q,); 0 for fewer than two.

    >>> standard_error(np.array([1.0, 3.0]))
    1.0
    """
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def mean_estimate(per_user: NDArray[np.float64], seed: int = 0) -> Estimate:
    """Mean with the percentile bootstrap interval over users (Efron and Tibshirani, 1993, ch. 13).

    Args:
        per_user: shape (q,); for a paired difference pass the differences.
        seed: of the resampling.
    """
    from scipy.stats import bootstrap

    if not len(per_user):
        return Estimate(np.nan, np.nan, np.nan)
    mean = float(per_user.mean())
    if len(per_user) == 1 or np.ptp(per_user) == 0:
        return Estimate(mean, mean, mean)
    interval = bootstrap(
        (per_user,), np.mean, n_resamples=RESAMPLES, method="percentile", batch=200, rng=seed
    ).confidence_interval
    return Estimate(mean, float(interval.low), float(interval.high))


def root_mean_estimate(squares: NDArray[np.float64], seed: int = 0) -> Estimate:
    """Root of the mean, as for an RMSE; the interval is the mean's, its ends under the root."""
    mean = mean_estimate(squares, seed)
    return Estimate(*(float(np.sqrt(number)) for number in (mean.value, mean.low, mean.high)))
