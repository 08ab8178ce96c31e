from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from index import ItemLists
from retrieval.data.encoded import EncodedInteractions
from retrieval.settings import TowerSettings
from retrieval.training.history_batches import HistoryBatch, HistoryBatches, places_in
from retrieval.training.recency import training_weights

CPU = torch.device("cpu")
N_ITEMS = 24
# Some, one, none, the whole catalogue, many, two, many at two moments.
LIKED = [
    [0, 3, 5, 7],
    [11],
    [],
    list(range(N_ITEMS)),
    list(range(0, N_ITEMS, 2)),
    [2, 10],
    list(range(3, 21)),
]
TRAINABLE = {0, 1, 4, 5, 6}


pytestmark = pytest.mark.usefixtures("one_thread")


def encoded(liked: list[list[int]], n_items: int = N_ITEMS) -> EncodedInteractions:
    users = np.array([user for user, items in enumerate(liked) for _ in items])
    items = np.array([item for each in liked for item in each])
    days = np.random.default_rng(0).permutation(len(users))
    days[users == 6] = days[users == 6] % 2  # many ties
    return EncodedInteractions(users, items, None, days * 86_400, len(liked), n_items)


def positives() -> EncodedInteractions:
    return encoded(LIKED)


def batches(data: EncodedInteractions, seed: int = 0, **changes: Any) -> HistoryBatches:
    more = {name: changes.pop(name) for name in list(changes) if name.startswith("with_")}
    catalogue = changes.pop("catalogue", None)
    settings = TowerSettings(**({"batch_size": 3, "negatives": 5} | changes))
    return HistoryBatches(data, settings, np.random.default_rng(seed), CPU, catalogue=catalogue, **more)


def epochs(made: HistoryBatches, count: int) -> Iterator[HistoryBatch]:
    for _ in range(count):
        yield from made.epoch()


def parted(batch: HistoryBatch) -> Iterator[tuple[int, list[int], list[int]]]:
    """Each user of a batch with history and targets."""
    ends = [*batch.history_starts.tolist(), len(batch.history)]
    for place, user in enumerate(batch.users.tolist()):
        yield (
            user,
            batch.history[ends[place] : ends[place + 1]].tolist(),
            batch.targets[batch.user_of == place].tolist(),
        )


@pytest.mark.parametrize("parted_by_time", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_history_and_targets_are_disjoint_and_together_all_a_user_liked(
    parted_by_time: float, batch_size: int
) -> None:
    made = batches(positives(), parted_by_time=parted_by_time, batch_size=batch_size)
    seen = set()
    for batch in epochs(made, 20):
        assert batch.users.tolist() == sorted(set(batch.users.tolist()))
        assert len(batch.users) <= batch_size
        for user, history, targets in parted(batch):
            assert sorted(history + targets) == LIKED[user]
            assert not set(history) & set(targets)
            seen.add(user)
    assert seen == TRAINABLE


def test_every_user_with_a_negative_comes_once_an_epoch_in_another_order() -> None:
    data = encoded([[user, 50] for user in range(20)] + [[], list(range(60))], 60)
    made = batches(data, batch_size=7)
    orders = [[batch.users.tolist() for batch in made.epoch()] for _ in range(9)]
    for order in orders:
        assert sorted(user for users in order for user in users) == list(range(20))
        assert [len(users) for users in order] == [7, 7, 6]
    assert len({str(order) for order in orders}) == 9


def test_parted_by_time_no_history_is_later_than_a_target() -> None:
    data = positives()
    assert data.timestamps is not None
    keys = zip(data.users.tolist(), data.items.tolist(), strict=True)
    time = dict(zip(keys, data.timestamps.tolist(), strict=True))

    def share_in_order(parted_by_time: float) -> float:
        in_order = [
            max(time[user, item] for item in history) <= min(time[user, item] for item in targets)
            for batch in epochs(batches(data, parted_by_time=parted_by_time, batch_size=100), 60)
            for user, history, targets in parted(batch)
            if history and targets and user != 5
        ]
        assert len(in_order) > 100
        return float(np.mean(in_order))

    assert share_in_order(1.0) == 1
    assert share_in_order(0.0) < 0.5
    assert 0.6 < share_in_order(0.7) < 0.95


def test_what_was_liked_at_the_same_time_is_parted_in_any_order() -> None:
    """Which of user 6's first moment become history is chance, and another one from seed to seed."""
    data = positives()
    assert data.timestamps is not None
    times = data.timestamps[data.users == 6]
    first = set(data.items[data.users == 6][times == times.min()].tolist())
    early: list[set[int]] = []
    for seed in range(150):
        made = batches(data, seed, parted_by_time=1.0, short_histories=1.0, batch_size=100)
        early += [set(history) for user, history, _ in parted(next(made.epoch())) if user == 6]
    assert all(history <= first for history in early if len(history) <= len(first))
    assert len(first) > 3
    assert set().union(*(history for history in early if len(history) == 1)) == first


def test_without_times_positives_are_parted_at_random() -> None:
    timeless = replace(positives(), timestamps=None)
    chosen: Counter[int] = Counter()
    for seed in range(30):
        for batch in batches(timeless, seed, parted_by_time=1.0, batch_size=100).epoch():
            for user, history, targets in parted(batch):
                assert sorted(history + targets) == LIKED[user]
                chosen.update(history if user == 4 else [])
            assert (batch.weights == 1).all()
    assert set(chosen) == set(LIKED[4])


@pytest.mark.parametrize("by_time", [0.0, 1.0])
def test_histories_are_of_any_length_and_short_ones_are_frequent(by_time: float) -> None:
    """A hundred people like the same 30 things. Uniform lengths, or log-uniform ones."""
    data = encoded([list(range(30))] * 100, 60)

    def lengths(short_histories: float) -> list[int]:
        made = batches(data, batch_size=100, short_histories=short_histories, parted_by_time=by_time)
        return [len(history) for batch in epochs(made, 20) for _, history, _ in parted(batch)]

    even, short, mixed = (Counter(lengths(share)) for share in (0.0, 1.0, 0.3))
    assert set(even) == set(range(31))
    if by_time:  # of n in order, a share of s leaves round(n s): the ends have half the room
        expected = np.r_[0.5, np.ones(29), 0.5] / 30 * 2000
        assert chisquare([even[n] for n in range(31)], expected).pvalue > 1e-3
        # (31^u - 1) / 31 * 30 below 1.5 up to u = ln(2.55) / ln(31)
        assert sum(short[n] for n in (0, 1)) / 2000 == pytest.approx(np.log(2.55) / np.log(31), abs=0.05)
    for few in (1, 3, 5):
        at_most = [sum(found[n] for n in range(few + 1)) for found in (even, mixed, short)]
        assert at_most[2] > 2 * at_most[0]
        assert at_most[0] < at_most[1] < at_most[2]
    assert max(short) > 20


def test_weights_belong_to_their_targets() -> None:
    data = positives()
    weights = training_weights(data, TowerSettings())
    keys = zip(data.users.tolist(), data.items.tolist(), strict=True)
    expected = dict(zip(keys, weights.tolist(), strict=True))
    assert len(set(weights.tolist())) > 5
    for batch in epochs(batches(data), 10):
        users = batch.users[batch.user_of].tolist()
        pairs = zip(users, batch.targets.tolist(), strict=True)
        assert batch.weights.tolist() == [expected[pair] for pair in pairs]


@pytest.mark.parametrize("catalogue", [None, np.arange(0, N_ITEMS, 2), np.array([1, 4, 13, 20, 22])])
@pytest.mark.parametrize("sample", [4, 11, 4096])
def test_own_positives_and_what_is_outside_the_catalogue_are_no_negatives(
    catalogue: np.ndarray | None, sample: int
) -> None:
    """What is left as negative is the catalogue of the step without history and targets, for every user."""
    data = positives()
    whole = np.arange(N_ITEMS) if catalogue is None else catalogue
    drawn = set()
    for batch in epochs(batches(data, catalogue=catalogue, catalogue_sample=sample), 10):
        rows = batch.catalogue.tolist()
        assert rows == sorted(set(rows)) and set(rows) <= set(whole.tolist())
        assert len(rows) == min(sample, len(whole))
        assert batch.items_each == pytest.approx(len(whole) / len(rows))
        drawn.add(tuple(rows))
        own = torch.zeros(len(batch.users), len(rows), dtype=torch.bool)
        own[batch.own_users, batch.own_items] = True
        for place, user in enumerate(batch.users.tolist()):
            assert own[place].tolist() == [item in LIKED[user] for item in rows]
    assert (len(drawn) > 3) == (sample < len(whole))


def test_every_item_of_a_large_catalogue_is_sampled_as_often() -> None:
    made = batches(encoded([[0, 1]] * 40, 100), batch_size=1, catalogue_sample=10)
    steps = [batch.catalogue.numpy() for batch in epochs(made, 40)]
    counts = np.bincount(np.concatenate(steps), minlength=100)
    assert len(steps) > 1000
    assert chisquare(counts).pvalue > 1e-3


def test_users_who_like_the_whole_catalogue_are_left_out() -> None:
    data = positives()
    everything = batches(data.where(data.users == 3))
    assert everything.comparisons == 0
    assert list(everything.epoch()) == []
    # So are those who like all that can be a negative.
    few = batches(data.where(data.users == 4), catalogue=np.array(LIKED[4]))
    assert few.comparisons == 0 and list(few.epoch()) == []


def test_comparisons_are_counted_about() -> None:
    """Half of what a user liked is a target, on average, and meets each of the user's negatives."""
    made = batches(positives(), negatives=6, short_histories=0.0)
    counted = [sum(len(batch.targets) * batch.draws.shape[1] for batch in made.epoch()) for _ in range(300)]
    liked = sum(len(LIKED[user]) for user in TRAINABLE)
    assert made.comparisons == liked * 6 / 2
    assert np.mean(counted) == pytest.approx(made.comparisons, rel=0.1)
    assert batches(encoded([[0]]), negatives=1).comparisons == 1


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_no_batch_is_without_targets_and_no_epoch_without_a_batch(batch_size: int) -> None:
    made = batches(encoded([[0], [5], [7]]), batch_size=batch_size)
    for _ in range(50):
        sizes = [len(batch.targets) for batch in made.epoch()]
        assert sizes and min(sizes) > 0


def test_features_are_now_and_then_all_that_is_known() -> None:
    both = {"with_item_features": True, "with_user_features": True}
    data = encoded([[0, 1]] * 200, 500)
    made = batches(data, batch_size=50, feature_share=0.3, **both)
    hidden = {"known": [], "described": []}
    for batch in epochs(made, 5):
        assert batch.known is not None and batch.known.shape == (500,)
        assert batch.described is not None and batch.described.shape == (len(batch.users),)
        for name, found in hidden.items():
            values = getattr(batch, name)
            assert set(values.tolist()) <= {0.0, 1.0}
            found.append(1 - values.numpy())
    for name, found in hidden.items():
        # 10,000 and 1,000 coins: four standard deviations are 0.018 and 0.058.
        assert np.concatenate(found).mean() == pytest.approx(0.3, abs=0.02 if name == "known" else 0.06)
    for shown, other in (("item", "described"), ("user", "known")):
        batch = next(batches(positives(), **{f"with_{shown}_features": True}).epoch())
        assert getattr(batch, other) is None
    always = next(batches(positives(), feature_share=0.0, **both).epoch())
    assert always.known is not None and always.known.all()


def test_the_seed_decides() -> None:
    def drawn(seed: int) -> list[dict[str, Any]]:
        features = {"with_item_features": True, "with_user_features": True}
        made = batches(positives(), seed, catalogue_sample=10, **features)
        return [vars(batch) for batch in epochs(made, 3)]

    one, again, other = drawn(1), drawn(1), drawn(2)
    assert len(one) == len(again)
    for mine, theirs in zip(one, again, strict=True):
        for name, value in mine.items():
            same = torch.equal(value, theirs[name]) if torch.is_tensor(value) else value == theirs[name]
            assert same, name
    assert not torch.equal(one[0]["draws"], other[0]["draws"])


def test_tensors_have_the_types_the_model_takes() -> None:
    floats = {"weights", "draws", "known", "described"}
    batch = next(batches(positives(), with_item_features=True, with_user_features=True).epoch())
    for name, value in vars(batch).items():
        if name != "items_each":
            assert value.dtype == (torch.float32 if name in floats else torch.int64), name
    assert batch.draws.shape == (len(batch.users), 5)
    assert float(batch.draws.min()) >= 0 and float(batch.draws.max()) < 1


def test_places_of_lists_in_a_catalogue_by_hand() -> None:
    lists = ItemLists.from_pairs(np.array([0, 0, 0, 2, 2]), np.array([1, 4, 9, 5, 99]), 3)
    lines, columns = places_in(np.array([1, 5, 9]), lists)
    assert list(zip(lines.tolist(), columns.tolist(), strict=True)) == [(0, 0), (0, 2), (2, 1)]
    lines, columns = places_in(np.array([7]), lists)
    assert len(lines) == len(columns) == 0
