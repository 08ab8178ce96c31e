"""Paired differences of NDCG between lists that the same users got."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.uncertainty import Estimate, mean_estimate, sign_flip_p_value


@dataclass(frozen=True)
class Comparison:
    """NDCG@k of one stage minus another's, user by user.

    Attributes:
        p_value: of the mean difference, by `uncertainty.sign_flip_p_value`.
    """

    stage: str
    against: str
    difference: Estimate
    p_value: float

    def to_json(self, k: int) -> dict[str, Any]:
        """A document of plain JSON types."""
        return {
            "stage": self.stage,
            "against": self.against,
            f"ndcg@{k}": asdict(self.difference),
            "p_value": self.p_value,
        }


def compare(
    ndcg: Mapping[str, NDArray[np.float64]], pairs: Iterable[tuple[str, str]]
) -> tuple[Comparison, ...]:
    """One stage minus another, for those of the pairs whose stages are both there.

    Args:
        ndcg: stage -> shape (q,), a figure for each of the same users.
        pairs: a stage and the one it is compared against.
    """
    comparisons = []
    for stage, against in pairs:
        if stage in ndcg and against in ndcg:
            differences = ndcg[stage] - ndcg[against]
            p_value = sign_flip_p_value(differences)
            comparisons.append(Comparison(stage, against, mean_estimate(differences), p_value))
    return tuple(comparisons)
