from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from retrieval.data.encoded import EncodedInteractions
from retrieval.settings import UserSampling, id_towers
from retrieval.training.id_batches import TripletBatch, TripletBatches
from retrieval.training.recency import OLDEST, SECONDS_A_DAY, recency_weights

CPU = torch.device("cpu")
N_ITEMS = 12


pytestmark = pytest.mark.usefixtures("one_thread")


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
    user_sampling: UserSampling = "positives",
    recency_half_life_days: float | None = 30.0,
) -> TripletBatches:
    settings = id_towers(
        batch_size=batch_size,
        negatives=negatives,
        user_sampling=user_sampling,
        recency_half_life_days=recency_half_life_days,
    )
    return TripletBatches(data, settings, np.random.default_rng(seed), CPU)


def pairs(epoch: list[TripletBatch]) -> list[tuple[int, int]]:
    """(user, target) in the order of the epoch."""
    return [
        (int(user), int(item))
        for batch in epoch
        for user, item in zip(batch.users, batch.targets, strict=True)
    ]


def trainable(data: EncodedInteractions) -> list[tuple[int, int]]:
    """All pairs but those of user 3, who likes everything and so has no negative."""
    every = zip(data.users.tolist(), data.items.tolist(), strict=True)
    return [(user, item) for user, item in every if user != 3]


@pytest.mark.parametrize("batch_size", [1, 4, 5, 1000])
def test_an_epoch_has_every_trainable_positive_once(batch_size: int) -> None:
    data = positives()
    made = batches(data, batch_size=batch_size)
    for _ in range(2):
        epoch = list(made.epoch())
        assert sorted(pairs(epoch)) == trainable(data)
        assert [len(batch.targets) for batch in epoch[:-1]] == [batch_size] * (len(epoch) - 1)
    assert made.comparisons == len(trainable(data)) * 3


def test_the_order_is_another_in_every_epoch() -> None:
    made = batches(positives(), batch_size=1000)
    orders = [pairs(list(made.epoch())) for _ in range(5)]
    assert len({tuple(order) for order in orders}) == 5
    # Users come in another order too, and so does what is theirs.
    assert len({tuple(user for user, _ in order) for order in orders}) == 5
    assert len({tuple(item for user, item in order if user == 4) for order in orders}) == 5


def test_negatives_are_never_the_users_positives() -> None:
    data = positives()
    lists = data.item_lists()
    for batch in batches(data, negatives=20).epoch():
        assert batch.negatives.shape == (len(batch.targets), 20)
        for row, user in enumerate(batch.users.tolist()):
            assert not set(batch.negatives[row].tolist()) & set(lists.of(user).tolist())


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
    assert made.comparisons == rows
    assert {sum(len(batch.targets) for batch in epoch) for epoch in drawn} == {rows}
    assert {len(batch.targets) for epoch in drawn for batch in epoch[:-1]} == {4}
    counts = Counter(pair for epoch in drawn for pair in pairs(epoch))
    assert sorted(counts) == trainable(data)
    for user, liked in Counter(user for user, _ in trainable(data)).items():
        own = np.array([count for (drawn_user, _), count in counts.items() if drawn_user == user])
        # 5,400 draws over four users; four standard deviations are 127.
        assert own.sum() == pytest.approx(300 * rows / 4, abs=127), user
        assert liked == 1 or chisquare(own).pvalue > 1e-4, user


def test_users_drawn_uniformly_get_positives_and_negatives_of_their_own() -> None:
    data = positives()
    lists = data.item_lists()
    for batch in batches(data, user_sampling="users", batch_size=50).epoch():
        drawn = pairs([batch])
        assert len(set(drawn)) < len(drawn)  # with replacement
        for row, (user, target) in enumerate(drawn):
            own = lists.of(user).tolist()
            assert target in own
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
    for name, tensor in vars(batch).items():
        assert tensor.dtype == (torch.float32 if name == "weights" else torch.int64), name


@pytest.mark.parametrize("user_sampling", ["positives", "users"])
def test_users_who_like_everything_leave_nothing_to_train(user_sampling: UserSampling) -> None:
    data = positives()
    made = batches(data.where(data.users == 3), user_sampling=user_sampling)
    assert made.comparisons == 0
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
