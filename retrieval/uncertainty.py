"""Means over users with 95 % intervals, by bootstrap."""

from collections.abc import Callable, Sequence
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


def clustered_estimate(
    statistic: Callable[..., NDArray[np.float64]],
    values: Sequence[NDArray[np.float64]],
    clusters: NDArray[np.int64],
    seed: int = 0,
) -> Estimate:
    """A function of means over rows, its interval by resampling clusters of rows, here users.

    A user's rows resemble each other, so resampling rows would promise too much.

    Args:
        statistic: maps means, one array for each of `values`, to the figure, element by element.
        values: each of shape (n,), one number a row.
        clusters: shape (n,), the row's cluster.
        seed: of the resampling.

    >>> rows = [np.array([1.0, 9.0, 16.0, 10.0])]
    >>> clustered_estimate(np.sqrt, rows, np.array([0, 0, 1, 1])).value
    3.0
    """
    from scipy.stats import bootstrap

    if not len(clusters):
        return Estimate(np.nan, np.nan, np.nan)
    found, cluster = np.unique(clusters, return_inverse=True)
    counts = np.bincount(cluster).astype(np.float64)
    sums = [np.bincount(cluster, each).astype(np.float64) for each in values]

    def figure(*columns: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        rows = columns[-1].sum(axis=axis)
        return statistic(*(column.sum(axis=axis) / rows for column in columns[:-1]))

    value = float(figure(*sums, counts))
    if len(found) == 1:
        return Estimate(value, value, value)
    interval = bootstrap(
        (*sums, counts),
        figure,
        paired=True,
        n_resamples=RESAMPLES,
        method="percentile",
        batch=200,
        rng=seed,
        vectorized=True,
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high))
