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
    comparison = Comparison("ann", "ease", difference, 0.01)
    assert comparison.verdict == of_scores
    assert "verdict" not in comparison.to_json(10)  # readers of the JSON have the interval


@pytest.mark.parametrize(
    ("difference", "p_value", "says"),
    [
        # Rows of real reports whose verdict contradicted their p-value or the interval as printed.
        (Estimate(-0.0001, -0.0002, -3.5e-07), 0.099, "no clear difference"),
        (Estimate(-0.0001, -0.0002, -3.5e-07), 0.04, "no clear difference"),
        (Estimate(0.03, 0.001, 0.06), 0.069, "no clear difference"),
        (Estimate(-0.1335, -0.1335, -0.1335), 1.0, "no clear difference"),  # one user
        (Estimate(0.03, 0.001, 0.06), 0.049, "better"),
        (Estimate(0.03, 0.001, 0.06), NAN, "no clear difference"),
    ],
)
def test_a_clear_verdict_agrees_with_the_p_value_and_with_what_is_printed(
    difference: Estimate, p_value: float, says: str
) -> None:
    assert Comparison("ann", "ease", difference, p_value).verdict == says


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
