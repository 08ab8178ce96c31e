from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from index import ItemLists
from retrieval.negatives import UniformNegatives

N_ITEMS = 8


def lists(positives: list[set[int]]) -> ItemLists:
    users = [user for user, items in enumerate(positives) for _ in items]
    items = [item for each in positives for item in sorted(each)]
    return ItemLists.from_pairs(np.array(users), np.array(items), n_users=len(positives))


class EveryRank:
    """Stands in for a generator: the uniform numbers that hit each of `available` ranks once, in order."""

    def __init__(self, available: int) -> None:
        self._available = available

    def random(self, shape: tuple[int, int]) -> np.ndarray[Any, Any]:
        users, count = shape
        assert count == self._available
        return np.tile((np.arange(count) + 0.5) / count, (users, 1))


@given(st.lists(st.sets(st.integers(0, N_ITEMS - 1), max_size=N_ITEMS - 1), min_size=1, max_size=6))
def test_every_rank_gives_another_item_outside_the_list(positives: list[set[int]]) -> None:
    """All ranks of a user together are the complement of its list: never a positive, each item once."""
    negatives = UniformNegatives(lists(positives), N_ITEMS)
    for user, own in enumerate(positives):
        available = N_ITEMS - len(own)
        drawn = negatives.sample(np.array([user]), available, EveryRank(available))  # type: ignore[arg-type]
        assert drawn[0].tolist() == sorted(set(range(N_ITEMS)) - own)


@given(
    st.lists(st.sets(st.integers(0, N_ITEMS - 1), max_size=N_ITEMS - 1), min_size=1, max_size=6),
    st.integers(0, 2**32),
)
def test_a_batch_of_mixed_users_never_draws_a_positive(positives: list[set[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    users = rng.integers(0, len(positives), size=20)
    drawn = UniformNegatives(lists(positives), N_ITEMS).sample(users, 5, rng)
    assert drawn.shape == (20, 5)
    assert drawn.dtype == np.int64
    assert drawn.min() >= 0 and drawn.max() < N_ITEMS
    assert not any(set(row.tolist()) & positives[user] for user, row in zip(users, drawn, strict=True))


def test_draws_are_uniform_over_what_is_left() -> None:
    positives = [{0, 1, 4, 9}, set(), {3}, {0, 1, 2, 3, 4, 5, 6, 7}]
    negatives = UniformNegatives(lists(positives), 10)
    drawn = negatives.sample(np.repeat(np.arange(4), 500), 40, np.random.default_rng(1))
    for user, own in enumerate(positives):
        counts = np.bincount(drawn[user * 500 : (user + 1) * 500].ravel(), minlength=10)
        left = sorted(set(range(10)) - own)
        assert counts.sum() == counts[left].sum() == 20_000
        assert chisquare(counts[left]).pvalue > 1e-4, (user, counts)


def test_users_who_like_everything_have_no_negative() -> None:
    negatives = UniformNegatives(lists([{0, 1, 2}, {1}, set()]), 3)
    assert negatives.can_sample(np.array([0, 1, 2, 0])).tolist() == [False, True, True, False]
    with pytest.raises(ValueError, match="whole catalogue"):
        negatives.sample(np.array([1, 0]), 2, np.random.default_rng(0))
    assert set(negatives.sample(np.array([1, 2]), 50, np.random.default_rng(0))[0].tolist()) == {0, 2}


def test_the_only_item_left_is_always_drawn() -> None:
    negatives = UniformNegatives(lists([{0, 1, 3}, {1, 2, 3}]), 4)
    drawn = negatives.sample(np.array([0, 1]), 100, np.random.default_rng(3))
    assert (drawn[0] == 2).all() and (drawn[1] == 0).all()


def test_the_seed_decides() -> None:
    negatives = UniformNegatives(lists([{0}, {5}]), 100)
    users = np.array([0, 1] * 10)
    first, again, other = (negatives.sample(users, 9, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert (first == again).all()
    assert (first != other).any()


def test_no_user_or_no_draw_gives_an_empty_matrix() -> None:
    negatives = UniformNegatives(lists([{0}]), 3)
    assert negatives.sample(np.empty(0, dtype=np.int64), 4, np.random.default_rng(0)).shape == (0, 4)
    assert negatives.sample(np.array([0]), 0, np.random.default_rng(0)).shape == (1, 0)


def test_a_large_catalogue_is_drawn_from_in_full() -> None:
    """The last item and the first must come up; rows beyond 32 bits of keys must not wrap."""
    n_items, n_users = 1_000_000, 5_000
    users = np.arange(n_users)
    positives = ItemLists.from_pairs(users, np.full(n_users, 500_000), n_users)
    drawn = UniformNegatives(positives, n_items).sample(users, 20, np.random.default_rng(0))
    assert drawn.min() < 200 and drawn.max() >= n_items - 200 and drawn.max() < n_items
    assert not (drawn == 500_000).any()
