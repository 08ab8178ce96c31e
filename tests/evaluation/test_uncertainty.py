import numpy as np
import pytest
from scipy.stats import permutation_test

from index import standard_error
from retrieval.evaluation import uncertainty
from retrieval.evaluation.uncertainty import (
    Estimate,
    clustered_estimate,
    difference_of_means,
    mean_estimate,
    sign_flip_p_value,
)


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uncertainty, "RESAMPLES", 400)


def test_the_interval_holds_the_mean_and_shrinks_with_the_root_of_the_users() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for size in (50, 800):
        values = rng.exponential(size=size)
        estimate = mean_estimate(values)
        assert estimate.value == pytest.approx(values.mean())
        assert estimate.low < estimate.value < estimate.high
        widths.append(estimate.high - estimate.low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.35)


def test_about_95_of_100_intervals_hold_the_true_mean(few_resamples: None) -> None:
    rng = np.random.default_rng(1)
    samples = rng.normal(3.0, 2.0, size=(400, 60))
    estimates = [mean_estimate(sample, seed) for seed, sample in enumerate(samples)]
    held = np.mean([each.low <= 3.0 <= each.high for each in estimates])
    assert 0.92 <= held <= 0.975
    below = np.mean([each.high < 3.0 for each in estimates])
    above = np.mean([each.low > 3.0 for each in estimates])
    assert below < 0.055
    assert above < 0.055


def test_the_width_is_that_of_the_normal_interval_for_many_users() -> None:
    values = np.random.default_rng(2).normal(size=1000)
    estimate = mean_estimate(values)
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(1000), rel=0.08)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(3).normal(size=40)
    assert mean_estimate(values) == mean_estimate(values)
    assert mean_estimate(values, seed=1) != mean_estimate(values, seed=2)


def test_the_difference_of_two_samples_has_the_width_of_two_samples() -> None:
    rng = np.random.default_rng(4)
    one, other = rng.normal(0.0, 1.0, size=300), rng.normal(0.5, 2.0, size=700)
    found = difference_of_means(one, other)
    assert found.value == pytest.approx(other.mean() - one.mean())
    width = 2 * 1.96 * np.sqrt(one.var() / 300 + other.var() / 700)
    assert found.high - found.low == pytest.approx(width, rel=0.1)
    # Where each user is as good in both, only pairing would show it.
    shifted = difference_of_means(one, one + 0.01)
    assert shifted.low < 0 < shifted.high
    assert mean_estimate((one + 0.01) - one).low > 0


def test_swapping_two_samples_swaps_the_signs(few_resamples: None) -> None:
    rng = np.random.default_rng(5)
    for sizes in ((40, 40), (30, 50), (1, 9), (1, 1)):
        one, other = (rng.exponential(size=size) for size in sizes)
        there, back = difference_of_means(one, other), difference_of_means(other, one)
        assert (back.value, back.low, back.high) == (-there.value, -there.high, -there.low)


def test_about_95_of_100_intervals_hold_the_true_difference(few_resamples: None) -> None:
    rng = np.random.default_rng(6)
    held = 0
    for seed in range(300):
        found = difference_of_means(rng.normal(1.0, 1.0, 40), rng.normal(3.0, 2.0, 80), seed)
        held += found.low <= 2.0 <= found.high
    assert 0.915 <= held / 300 <= 0.975


def test_a_difference_from_nobody_is_not_measured() -> None:
    for one, other in ((np.empty(0), np.ones(3)), (np.ones(3), np.empty(0)), (np.empty(0), np.empty(0))):
        assert np.isnan(difference_of_means(one, other).value)
    assert difference_of_means(np.ones(3), np.zeros(5)) == Estimate(-1, -1, -1)


def test_one_user_or_equal_users_have_no_spread() -> None:
    assert mean_estimate(np.array([0.3])) == Estimate(0.3, 0.3, 0.3)
    assert mean_estimate(np.zeros(7)) == Estimate(0, 0, 0)
    assert mean_estimate(np.full(4, 0.25)) == Estimate(0.25, 0.25, 0.25)


def test_no_users_give_nan_and_no_verdict() -> None:
    estimate = mean_estimate(np.array([]))
    assert np.isnan([estimate.value, estimate.low, estimate.high]).all()
    assert not estimate.excludes_zero


@pytest.mark.parametrize(
    ("low", "high", "excluded"),
    [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.1, False), (0.0, 0.2, False), (-0.2, 0.0, False)],
)
def test_an_interval_excludes_zero_only_wholly(low: float, high: float, excluded: bool) -> None:
    assert Estimate((low + high) / 2, low, high).excludes_zero is excluded


def rmse(means: np.ndarray) -> np.ndarray:
    return np.sqrt(means)


def test_an_error_over_rows_is_that_of_all_rows() -> None:
    rng = np.random.default_rng(4)
    squares, users = rng.normal(size=300) ** 2, rng.integers(0, 40, 300)
    estimate = clustered_estimate(rmse, [squares], users)
    assert estimate.value == pytest.approx(np.sqrt(squares.mean()))
    assert estimate.low < estimate.value < estimate.high
    assert clustered_estimate(rmse, [np.full(3, 4.0)], np.array([0, 1, 1])) == Estimate(2, 2, 2)
    assert clustered_estimate(rmse, [np.full(2, 4.0)], np.zeros(2, int)) == Estimate(2, 2, 2)
    assert np.isnan(clustered_estimate(rmse, [np.array([])], np.array([], int)).value)


def test_rows_of_one_user_count_as_one_piece_of_evidence() -> None:
    """Ten copies of every row: over rows the interval would shrink by the root of ten, over users not."""
    values = np.random.default_rng(5).normal(size=50)
    once = mean_estimate(values)
    copied = clustered_estimate(np.asarray, [np.repeat(values, 10)], np.repeat(np.arange(50), 10))
    assert copied.value == pytest.approx(once.value)
    assert copied.high - copied.low == pytest.approx(once.high - once.low, rel=0.1)


def test_a_difference_is_taken_within_the_same_resample() -> None:
    """Two errors that differ by a constant factor: each is uncertain, their ratio is not."""
    squares, users = np.random.default_rng(6).normal(size=200) ** 2, np.arange(200) // 4
    ratio = clustered_estimate(lambda ours, theirs: ours / theirs, [2 * squares, squares], users)
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((2, 2, 2))


def test_the_standard_error_worked_by_hand() -> None:
    # Deviation of 1, 2, 3, 4 with n - 1: sqrt(5 / 3); over the root of four.
    assert standard_error(np.array([1.0, 2.0, 3.0, 4.0])) == pytest.approx(np.sqrt(5 / 3) / 2)
    assert standard_error(np.array([7.0])) == standard_error(np.array([])) == 0


def test_a_p_value_worked_by_hand() -> None:
    # The eight patterns of 1, 2, -4 sum to 7, 5, 3, 1 with both signs: all as far from 0 as the observed -1.
    # Of those of 1, 2, 2, -.5 the observed 4.5 and 5.5 with both signs are; of equal ones the two extremes.
    assert sign_flip_p_value(np.array([1.0, 2.0, -4.0])) == 1
    assert sign_flip_p_value(np.array([1.0, 2.0, 4.0])) == 2 / 8
    assert sign_flip_p_value(np.array([1.0, 2.0, 2.0, -0.5])) == 4 / 16
    assert sign_flip_p_value(np.ones(4)) == 2 / 16
    assert sign_flip_p_value(-np.ones(4)) == 2 / 16
    assert sign_flip_p_value(np.zeros(5)) == sign_flip_p_value(np.zeros(500)) == 1
    assert np.isnan(sign_flip_p_value(np.array([])))


def test_rounding_hides_no_pattern_that_is_as_far_from_zero() -> None:
    assert sign_flip_p_value(np.full(10, 0.1)) == 2 / 2**10
    assert sign_flip_p_value(np.array([0.1, 0.2, -0.3])) == 1  # sums to 5e-17


@pytest.mark.parametrize("size", [9, 40])
def test_the_p_value_is_scipys(size: int) -> None:
    differences = np.random.default_rng(7).normal(0.3, 1.0, size)
    oracle = permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=9999, rng=1
    ).pvalue
    # Exact for few users; by chance for more, each within four standard errors.
    error = 0 if size == 9 else 4 * np.sqrt(2 * oracle * (1 - oracle) / 9999)
    assert sign_flip_p_value(differences) == pytest.approx(oracle, abs=error + 1e-12)


def test_without_a_difference_p_values_are_evenly_spread() -> None:
    samples = np.random.default_rng(8).normal(size=(400, 30))
    found = np.array([sign_flip_p_value(sample, seed) for seed, sample in enumerate(samples)])
    for level in (0.05, 0.5):
        assert np.mean(found <= level) == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 400))


@pytest.mark.parametrize("size", [15, 63, 64, 300])
def test_many_patterns_are_drawn_by_the_seed_whatever_the_number_of_users(size: int) -> None:
    differences = np.random.default_rng(9).normal(0.1, 1.0, size)
    assert sign_flip_p_value(differences) == sign_flip_p_value(differences)
    assert sign_flip_p_value(differences) != sign_flip_p_value(differences, seed=1)
    assert sign_flip_p_value(np.ones(size)) == pytest.approx(1e-4, abs=3e-4)


def test_blocks_of_patterns_change_only_which_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(10).normal(0.2, 1.0, 50)
    whole = sign_flip_p_value(differences)
    monkeypatch.setattr(uncertainty, "SIGNS_A_BLOCK", 1000)
    assert sign_flip_p_value(differences) == pytest.approx(whole, abs=0.02)
    assert sign_flip_p_value(np.full(50, 1.0)) == 1e-4
