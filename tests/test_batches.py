from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from retrieval.batches import OLDEST, SECONDS_A_DAY, TowerBatches, recency_weights
from retrieval.encoded import EncodedInteractions
from retrieval.settings import TowerSettings, UserSampling
from retrieval.towers import Batch

CPU = torch.device("cpu")
N_ITEMS = 12


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def positives() -> EncodedInteractions:
    """Six users: some, one, none, all items, many, two."""
    liked = [[0, 3, 5, 7], [11], [], list(range(N_ITEMS)), list(range(0, N_ITEMS - 1)), [2, 10]]
    users = np.array([user for user, items in enumerate(liked) for _ in items])
    items = np.array([item for each in liked for item in each])
    days = np.random.default_rng(0).integers(0, 400, len(users))
    ratings = np.full(len(users), 5, dtype=np.float32)
    return EncodedInteractions(users, items, ratings, days * 86_400, len(liked), N_ITEMS)


def batches(
    data: EncodedInteractions,
    *,
    seed: int = 0,
    batch_size: int = 4,
    negatives: int = 3,
    history_dropout: float = 0.5,
    targets_per_history: int = 3,
    user_sampling: UserSampling = "positives",
    recency_half_life_days: float | None = 30.0,
) -> TowerBatches:
    settings = TowerSettings(
        batch_size=batch_size,
        negatives=negatives,
        history_dropout=history_dropout,
        targets_per_history=targets_per_history,
        user_sampling=user_sampling,
        recency_half_life_days=recency_half_life_days,
    )
    return TowerBatches(data, settings, np.random.default_rng(seed), CPU)


def pairs(epoch: list[Batch]) -> list[tuple[int, int]]:
    """(user, target) in the order of the epoch."""
    return [
        (int(user), int(item))
        for batch in epoch
        for user, item in zip(batch.users[batch.user_of], batch.targets, strict=True)
    ]


def kept_items(batch: Batch, place: int) -> list[int]:
    start, size = int(batch.history_starts[place]), int(batch.history_sizes[place])
    return batch.history[start : start + size].tolist()


def trainable(data: EncodedInteractions) -> list[tuple[int, int]]:
    """All pairs but those of user 3, who likes everything and so has no negative."""
    every = zip(data.users.tolist(), data.items.tolist(), strict=True)
    return [(user, item) for user, item in every if user != 3]


@pytest.mark.parametrize("batch_size", [1, 4, 5, 1000])
@pytest.mark.parametrize("targets_per_history", [1, 3, 100])
def test_an_epoch_has_every_trainable_positive_once(batch_size: int, targets_per_history: int) -> None:
    data = positives()
    made = batches(data, batch_size=batch_size, targets_per_history=targets_per_history)
    for _ in range(2):
        epoch = list(made.epoch())
        assert sorted(pairs(epoch)) == trainable(data)
        assert [len(batch.targets) for batch in epoch[:-1]] == [batch_size] * (len(epoch) - 1)
    assert made.triplets == len(trainable(data)) * 3


def test_target_kept_says_whether_the_thinned_history_holds_the_target() -> None:
    data, seen = positives(), Counter[float]()
    lists = data.item_lists()
    made = batches(data, batch_size=7)
    for batch in (batch for _ in range(20) for batch in made.epoch()):
        users = batch.users.tolist()
        assert users == sorted(set(users))
        assert int(batch.history_sizes.sum()) == len(batch.history)
        for place, user in enumerate(users):
            kept = kept_items(batch, place)
            assert kept == sorted(set(kept))
            assert set(kept) <= set(lists.of(user).tolist())
        for row, target in enumerate(batch.targets.tolist()):
            place = int(batch.user_of[row])
            assert target in lists.of(users[place])
            assert float(batch.target_kept[row]) == float(target in kept_items(batch, place))
            seen[float(batch.target_kept[row])] += 1
    assert set(seen) == {0.0, 1.0}


def test_without_dropout_histories_are_whole() -> None:
    data = positives()
    lists = data.item_lists()
    for batch in batches(data, history_dropout=0.0).epoch():
        for place, user in enumerate(batch.users.tolist()):
            assert kept_items(batch, place) == lists.of(user).tolist()
        assert (batch.target_kept == 1).all()


@pytest.mark.parametrize("dropout", [0.2, 0.8])
def test_each_item_of_a_history_is_dropped_at_the_given_rate(dropout: float) -> None:
    users = np.repeat(np.arange(40), 50)
    items = np.tile(np.arange(50), 40)
    data = EncodedInteractions(users, items, np.ones(2000, np.float32), np.zeros(2000, np.int64), 40, 60)
    (batch,) = batches(data, batch_size=10_000, history_dropout=dropout).epoch()
    # 2,000 coins: three standard deviations are 0.027.
    assert len(batch.history) / 2000 == pytest.approx(1 - dropout, abs=0.03)
    assert float(batch.target_kept.mean()) == pytest.approx(1 - dropout, abs=0.03)
    assert len(set(batch.history_sizes.tolist())) > 3


def test_negatives_are_never_the_users_positives() -> None:
    data = positives()
    lists = data.item_lists()
    for batch in batches(data, negatives=20).epoch():
        assert batch.negatives.shape == (len(batch.targets), 20)
        for row, user in enumerate(batch.users[batch.user_of].tolist()):
            assert not set(batch.negatives[row].tolist()) & set(lists.of(user).tolist())


def test_a_users_targets_come_in_groups() -> None:
    """User 4's eleven positives make ceil(11 / 3) groups of neighbours, elsewhere in each epoch."""
    data = positives()
    made = batches(data, batch_size=1000, targets_per_history=3)
    orders = [pairs(list(made.epoch())) for _ in range(5)]
    sizes = Counter(user for user, _ in trainable(data))
    groups = sum(-(-size // 3) for size in sizes.values())
    for order in orders:
        users = [user for user, _ in order]
        runs = 1 + sum(left != right for left, right in pairwise(users))
        assert runs <= groups
    assert len({tuple(order) for order in orders}) == 5
    assert len({tuple(user for user, _ in order) for order in orders}) > 1


def test_who_shares_a_group_changes_with_every_epoch() -> None:
    """One group a user: what is left to change is the order inside it."""
    made = batches(positives(), batch_size=1000, targets_per_history=1000)
    orders = [pairs(list(made.epoch())) for _ in range(5)]
    assert len({tuple(item for user, item in order if user == 4) for order in orders}) == 5


def test_weights_belong_to_their_positives() -> None:
    data = positives()
    assert data.timestamps is not None
    weights = recency_weights(data.timestamps, 30.0)
    keys = zip(data.users.tolist(), data.items.tolist(), strict=True)
    expected = dict(zip(keys, weights.tolist(), strict=True))
    epoch = list(batches(data).epoch())
    given = torch.cat([batch.weights for batch in epoch]).tolist()
    assert given == [expected[pair] for pair in pairs(epoch)]
    assert len(set(given)) > 5


def test_without_timestamps_or_half_life_all_positives_weigh_the_same() -> None:
    data = positives()
    timeless = replace(data, timestamps=None)
    for made in (batches(timeless), batches(data, recency_half_life_days=None)):
        epoch = list(made.epoch())
        assert sorted(pairs(epoch)) == trainable(data)
        assert all((batch.weights == 1).all() for batch in epoch)


def test_users_are_drawn_uniformly_and_their_positives_uniformly() -> None:
    """User 4's eleven positives together are drawn as often as user 1's only one; user 3 has no negative."""
    data = positives()
    made = batches(data, user_sampling="users", negatives=1)
    drawn = [list(made.epoch()) for _ in range(300)]
    rows = len(trainable(data))
    assert made.triplets == rows
    assert {sum(len(batch.targets) for batch in epoch) for epoch in drawn} == {rows}
    assert {len(batch.targets) for epoch in drawn for batch in epoch[:-1]} == {4}
    counts = Counter(pair for epoch in drawn for pair in pairs(epoch))
    assert sorted(counts) == trainable(data)
    for user, liked in Counter(user for user, _ in trainable(data)).items():
        own = np.array([count for (drawn_user, _), count in counts.items() if drawn_user == user])
        # 5,400 draws over four users; four standard deviations are 127.
        assert own.sum() == pytest.approx(300 * rows / 4, abs=127), user
        assert liked == 1 or chisquare(own).pvalue > 1e-4, user


def test_users_drawn_uniformly_keep_their_histories() -> None:
    """Draws repeat, so a target's place in its history is worth another look."""
    data = positives()
    lists = data.item_lists()
    for batch in batches(data, user_sampling="users", batch_size=50).epoch():
        assert len(set(zip(batch.user_of.tolist(), batch.targets.tolist(), strict=True))) < len(batch.targets)
        for row, target in enumerate(batch.targets.tolist()):
            place = int(batch.user_of[row])
            own = lists.of(int(batch.users[place])).tolist()
            assert target in own
            assert float(batch.target_kept[row]) == float(target in kept_items(batch, place))
            assert not set(batch.negatives[row].tolist()) & set(own)


@pytest.mark.parametrize("user_sampling", ["positives", "users"])
def test_the_seed_decides(user_sampling: UserSampling) -> None:
    def drawn(seed: int) -> list[torch.Tensor]:
        epoch = list(batches(positives(), seed=seed, user_sampling=user_sampling).epoch())
        return [tensor for batch in epoch for tensor in vars(batch).values()]

    assert all(torch.equal(left, right) for left, right in zip(drawn(1), drawn(1), strict=True))
    assert not torch.equal(drawn(1)[2], drawn(2)[2])


def test_tensors_have_the_types_the_model_takes() -> None:
    batch = next(batches(positives()).epoch())
    whole = {"users", "user_of", "targets", "negatives", "history", "history_starts"}
    for name, tensor in vars(batch).items():
        assert tensor.dtype == (torch.int64 if name in whole else torch.float32), name


@pytest.mark.parametrize("user_sampling", ["positives", "users"])
def test_users_who_like_everything_leave_nothing_to_train(user_sampling: UserSampling) -> None:
    data = positives()
    made = batches(data.where(data.users == 3), user_sampling=user_sampling)
    assert made.triplets == 0
    assert list(made.epoch()) == []


def test_weights_halve_with_every_half_life_down_to_a_floor() -> None:
    days = np.array([100] * 300 + [90, 80, 70, 0])
    weights = recency_weights(days * int(SECONDS_A_DAY), half_life_days=10.0)
    share = weights / weights[0]  # the newest weighs 1
    expected = [OLDEST + (1 - OLDEST) * part for part in (1, 0.5, 0.25, 0.125, 2**-10)]
    assert share[299:] == pytest.approx(expected, rel=1e-4)
    assert weights.mean() == pytest.approx(1.0)
    assert weights.dtype == np.float32


def test_one_row_from_the_future_does_not_make_everything_else_old() -> None:
    days = np.arange(1000) % 60
    clean = recency_weights(days * int(SECONDS_A_DAY), half_life_days=30.0)
    days[500] += 40 * 365
    dirty = recency_weights(days * int(SECONDS_A_DAY), half_life_days=30.0)
    others = np.delete(np.arange(1000), 500)
    assert dirty[others] == pytest.approx(clean[others], rel=0.01)
    assert dirty[500] <= clean.max() * 1.01


def test_weights_of_one_moment_are_one() -> None:
    assert recency_weights(np.full(5, 978_300_760), half_life_days=30.0).tolist() == [1.0] * 5


def test_very_old_positives_keep_the_floor_and_break_nothing() -> None:
    weights = recency_weights(np.array([0] + [2**40] * 999), half_life_days=0.01)
    assert weights[0] / weights[1] == pytest.approx(OLDEST)
    assert np.isfinite(weights).all()
