"""Means over users with 95 % bootstrap intervals, and a sign-flip test of paired differences."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000  # of each bootstrap
SIGN_FLIPS = 9999  # so that the smallest p-value is 1 / 10,000
SIGNS_A_BLOCK = 500_000


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval; all three are NaN where there was nothing to average."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


def mean_estimate(per_user: NDArray[np.float64], seed: int = 0) -> Estimate:
    """Mean with the percentile bootstrap interval over users (Efron and Tibshirani, 1993, ch. 13).

    Args:
        per_user: shape (q,); for a paired difference, the differences.
        seed: of the resampling.

    Returns:
        NaN throughout without users; an interval of width 0 where all figures are equal.
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


def difference_of_means(one: NDArray[np.float64], other: NDArray[np.float64], seed: int = 0) -> Estimate:
    """Mean of `other` minus mean of `one`, whose users are different people: an unpaired difference.

    The interval is the percentile bootstrap's; each side is resampled by itself (Efron and Tibshirani, 1993,
    ch. 8 and 13). Swapping the sides swaps the signs and nothing else.

    Args:
        one, other: shapes (q,) and (r,), one figure per user.
        seed: of the resampling.

    Returns:
        NaN throughout where one side has no users.

    >>> difference_of_means(np.array([1.0, 1.0]), np.array([3.0])).value
    2.0
    """
    from scipy.stats import bootstrap

    if not len(one) or not len(other):
        return Estimate(np.nan, np.nan, np.nan)
    if one.tobytes() > other.tobytes():  # a fixed order, so that swapped sides draw alike
        swapped = difference_of_means(other, one, seed)
        return Estimate(-swapped.value, -swapped.high, -swapped.low)
    value = float(other.mean() - one.mean())
    if np.ptp(one) == 0 and np.ptp(other) == 0:
        return Estimate(value, value, value)

    def difference(
        one: NDArray[np.float64], other: NDArray[np.float64], axis: int = -1
    ) -> NDArray[np.float64]:
        return np.asarray(other.mean(axis=axis) - one.mean(axis=axis))

    # scipy refuses samples of one observation; repeating it changes neither its mean nor its spread.
    samples = tuple(np.repeat(each, 2) if len(each) == 1 else each for each in (one, other))
    interval = bootstrap(
        samples, difference, n_resamples=RESAMPLES, method="percentile", batch=200, rng=seed, vectorized=True
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high))


def sign_flip_p_value(differences: NDArray[np.float64], seed: int = 0) -> float:
    """Two-sided p-value of a mean paired difference, by flipping signs (Fisher, 1935, section 21).

    If neither stage were better, each user's difference could as well have the other sign. The p-value is the
    share of sign patterns whose mean is at least as far from 0 as the observed one. The test takes all
    patterns where there are at most `SIGN_FLIPS`, else that many random ones and the observed one.

    Args:
        differences: shape (q,), one per user.
        seed: of the random patterns.

    Returns:
        above 0, at most 1; NaN without users.

    >>> sign_flip_p_value(np.array([1.0, 2.0, 3.0]))
    0.25
    """
    # scipy.stats.permutation_test gives the same p-values in fifty times the time.
    if not len(differences):
        return float("nan")
    total = abs(float(differences.sum()))
    least = total - 1e-9 * float(np.abs(differences).sum())  # rounding must not make an equal sum smaller
    n_patterns = 2 ** len(differences) if len(differences) < 64 else SIGN_FLIPS + 1
    if n_patterns <= SIGN_FLIPS:
        patterns = np.arange(n_patterns)[:, np.newaxis] >> np.arange(len(differences)) & 1
        return _as_extreme(patterns, differences, least) / n_patterns
    rng, extreme = np.random.default_rng(seed), 0
    block = max(1, SIGNS_A_BLOCK // len(differences))
    for start in range(0, SIGN_FLIPS, block):
        size = (min(block, SIGN_FLIPS - start), (len(differences) + 7) // 8)
        bits = rng.integers(0, 256, size=size, dtype=np.uint8)
        extreme += _as_extreme(np.unpackbits(bits, axis=1, count=len(differences)), differences, least)
    return (extreme + 1) / (SIGN_FLIPS + 1)


def _as_extreme(patterns: NDArray[np.integer], differences: NDArray[np.float64], least: float) -> int:
    """Number of sign patterns (p, q), 1 for a flip, whose sum is at least `least` away from 0."""
    sums = differences.sum() - 2 * (patterns @ differences)
    return int(np.count_nonzero(np.abs(sums) >= least))


def clustered_estimate(
    statistic: Callable[..., NDArray[np.float64]],
    values: Sequence[NDArray[np.float64]],
    clusters: NDArray[np.int64],
    seed: int = 0,
) -> Estimate:
    """A function of means over rows; its interval resamples clusters of rows, here users.

    The rows of one user resemble each other, so an interval from resampling rows would be too narrow.

    Args:
        statistic: maps the means, one array for each of `values`, to the figure, element by element.
        values: each of shape (n,), one number per row.
        clusters: shape (n,), the cluster of each row.
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
