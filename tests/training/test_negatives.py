from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from index import ItemLists
from retrieval.training.negatives import UniformNegatives, draw_by_score

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


# Draws by score


def drawn(scores: Tensor, count: int, seed: int = 0) -> Tensor:
    draws = torch.rand(len(scores), count, generator=torch.Generator().manual_seed(seed))
    return draw_by_score(scores, draws)


def test_items_are_drawn_in_proportion_to_the_exponential_of_their_score() -> None:
    scores = torch.tensor([[0.0, 1.0, -1.0, 2.0, 0.5], [100.0, 100.0, 101.0, 99.0, 98.0]])
    counts = [np.bincount(line, minlength=5) for line in drawn(scores, 20_000).numpy()]
    for line, found in zip(scores.double(), counts, strict=True):
        expected = torch.softmax(line, dim=0).numpy() * 20_000
        assert chisquare(found, expected).pvalue > 1e-3, (found, expected)


def test_of_many_columns_each_is_drawn_as_often_as_it_should_be() -> None:
    scores = torch.randn(1, 3000, generator=torch.Generator().manual_seed(1)) * 2
    found = np.bincount(drawn(scores, 60_000)[0].numpy(), minlength=3000)
    share = torch.softmax(scores[0].double(), dim=0).numpy()
    # In twenty groups of like probability: most single columns are expected less than once.
    groups = np.array_split(np.argsort(share), 20)
    expected = np.array([share[group].sum() for group in groups]) * 60_000
    assert chisquare([found[group].sum() for group in groups], expected).pvalue > 1e-3


@pytest.mark.parametrize("columns", [[0], [0, 1, 2], [6], [5, 6], [0, 3, 6], [0, 1, 2, 3, 4, 5], []])
def test_what_is_minus_infinite_is_never_drawn_at_either_end(columns: list[int]) -> None:
    scores = torch.randn(1, 7, generator=torch.Generator().manual_seed(2))
    scores[0, columns] = -torch.inf
    edges = [0.0, 1e-45, 1e-30, 2**-24, 0.5, 1 - 2**-23, float(np.nextafter(np.float32(1), np.float32(0)))]
    draws = torch.cat([torch.tensor(edges), torch.rand(2000, generator=torch.Generator().manual_seed(3))])
    found = set(draw_by_score(scores, draws[None]).flatten().tolist())
    assert found == set(range(7)) - set(columns)


@pytest.mark.parametrize("size", [2, 3, 100, 4096, 5000])
def test_the_largest_draw_stays_in_the_columns_whatever_the_rounding(size: int) -> None:
    """The running sum of float32 shares ends above or below 1; the last column is not to be left."""
    largest = float(np.nextafter(np.float32(1), np.float32(0)))
    for seed in range(5):
        scores = torch.randn(20, size, generator=torch.Generator().manual_seed(seed)) * 3
        scores[:, -1] = -torch.inf
        found = draw_by_score(scores, torch.full((20, 2), largest))
        assert int(found.max()) < size - 1
        assert int(draw_by_score(scores, torch.zeros(20, 2)).max()) == 0


def test_the_last_column_is_drawn_too() -> None:
    assert (drawn(torch.tensor([[-torch.inf, -torch.inf, 0.0]]), 50) == 2).all()
    assert (drawn(torch.zeros(1, 4), 500) == 3).any()
    assert (drawn(torch.tensor([[-80.0, 0.0, 80.0]]), 500) == 2).all()


def test_where_nothing_can_be_drawn_the_others_are_not_disturbed() -> None:
    scores = torch.tensor([[-torch.inf] * 3, [0.0, -torch.inf, -torch.inf]])
    found = drawn(scores, 9)
    assert found.shape == (2, 9) and found.dtype == torch.int64
    assert int(found.min()) >= 0 and int(found.max()) < 3
    assert not found[1].any()


def test_the_draws_decide() -> None:
    scores = torch.randn(4, 30, generator=torch.Generator().manual_seed(5))
    assert torch.equal(drawn(scores, 9, seed=1), drawn(scores, 9, seed=1))
    assert not torch.equal(drawn(scores, 9, seed=1), drawn(scores, 9, seed=2))
