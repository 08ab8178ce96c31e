"""Compares two stages on the same users: the paired difference of their NDCG and its verdict."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.uncertainty import Estimate, mean_estimate, sign_flip_p_value

DECIMALS = 4  # of a difference in a report
LEVEL = 0.05

Verdict = Literal["better", "worse", "the same", "no clear difference", "not measured"]


@dataclass(frozen=True)
class Comparison:
    """NDCG@k of one stage minus that of another, paired by user.

    Attributes:
        stage, against: the two stages; a positive difference means that `stage` is better.
        difference: the mean over users with its 95 % interval.
        p_value: of the mean difference, by `uncertainty.sign_flip_p_value`.
    """

    stage: str
    against: str
    difference: Estimate
    p_value: float

    @property
    def verdict(self) -> Verdict:
        """Whether `stage` is better than `against`."""
        return verdict(self.difference, p_value=self.p_value)

    def to_json(self, k: int) -> dict[str, Any]:
        """A document of plain JSON types."""
        return {
            "stage": self.stage,
            "against": self.against,
            f"ndcg@{k}": asdict(self.difference),
            "p_value": self.p_value,
        }


def verdict(difference: Estimate, lower_is_better: bool = False, *, p_value: float | None = None) -> Verdict:
    """Read the verdict off the 95 % interval of a difference and its p-value, which must agree.

    It is clear only where the interval, to the four decimals that reports print, excludes 0 and p is below
    .05. Of few users the percentile interval alone is too narrow.

    Args:
        difference: one figure minus the other.
        lower_is_better: whether the figures are errors.
        p_value: of the difference; None: there is none.

    >>> verdict(Estimate(0.2, 0.1, 0.3)), verdict(Estimate(0.2, -0.1, 0.3))
    ('better', 'no clear difference')
    >>> verdict(Estimate(0.2, 0.1, 0.3), p_value=0.07), verdict(Estimate(-0.0001, -0.0002, -3.5e-07))
    ('no clear difference', 'no clear difference')
    """
    if not all(map(math.isfinite, (difference.value, difference.low, difference.high))):
        return "not measured"
    if difference.low == difference.high == 0:
        return "the same"
    above, below = round(difference.low, DECIMALS) > 0, round(difference.high, DECIMALS) < 0
    if not (above or below) or (p_value is not None and not p_value < LEVEL):
        return "no clear difference"
    return "better" if above != lower_is_better else "worse"


def compare(
    ndcg: Mapping[str, NDArray[np.float64]], pairs: Iterable[tuple[str, str]]
) -> tuple[Comparison, ...]:
    """Compare the stages of each pair; pairs with a stage that is missing from `ndcg` are skipped.

    Args:
        ndcg: stage -> shape (q,), one figure per user, the users in the same order for every stage.
        pairs: (stage, the stage it is compared against).
    """
    comparisons = []
    for stage, against in pairs:
        if stage in ndcg and against in ndcg:
            differences = ndcg[stage] - ndcg[against]
            p_value = sign_flip_p_value(differences)
            comparisons.append(Comparison(stage, against, mean_estimate(differences), p_value))
    return tuple(comparisons)
