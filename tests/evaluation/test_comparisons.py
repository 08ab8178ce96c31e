import math
from dataclasses import replace

import numpy as np
import pytest

from retrieval.evaluation.comparisons import Comparison, compare, verdict
from retrieval.evaluation.uncertainty import Estimate

NAN = math.nan


@pytest.mark.parametrize(
    ("difference", "of_scores", "of_errors"),
    [
        (Estimate(0.02, 0.001, 0.05), "better", "worse"),
        (Estimate(-0.02, -0.05, -0.001), "worse", "better"),
        (Estimate(0.02, 0.0, 0.05), "no clear difference", "no clear difference"),
        (Estimate(-0.02, -0.05, 0.001), "no clear difference", "no clear difference"),
        (Estimate(0, 0, 0), "the same", "the same"),
        (Estimate(NAN, NAN, NAN), "not measured", "not measured"),
        (Estimate(0.02, NAN, 0.05), "not measured", "not measured"),
    ],
)
def test_the_verdict_is_clear_only_where_the_interval_excludes_0(
    difference: Estimate, of_scores: str, of_errors: str
) -> None:
    assert verdict(difference) == of_scores
    assert verdict(difference, lower_is_better=True) == of_errors
    comparison = Comparison("ann", "ease", difference, 0.5)
    assert comparison.verdict == of_scores
    assert "verdict" not in comparison.to_json(10)  # readers of the JSON have the interval


def test_only_pairs_of_stages_that_are_both_there_are_compared() -> None:
    ndcg = {"ann": np.array([0.5, 0.7, 0.6]), "ease": np.array([0.5, 0.4, 0.4])}
    pairs = [("ann", "ease"), ("ann", "item_knn"), ("exact", "ease")]
    (found,) = compare(ndcg, pairs)
    assert (found.stage, found.against) == ("ann", "ease")
    assert found.difference.value == pytest.approx(0.5 / 3)
    (swapped,) = compare(ndcg, [("ease", "ann")])
    assert swapped == replace(
        found,
        stage="ease",
        against="ann",
        difference=swapped.difference,
    )
    assert swapped.difference.value == -found.difference.value
