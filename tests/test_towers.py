import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from index import ItemLists
from retrieval.batches import TowerBatches
from retrieval.encoded import EncodedInteractions
from retrieval.settings import TowerSettings, UserTowerKind
from retrieval.towers import Batch, HistoryUserTower, TwoTowerBPR, spread
from retrieval.vectors import TowerVectors

N_USERS, N_ITEMS, DIMENSION = 7, 15, 4
BOTH: list[UserTowerKind] = ["history", "id"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def positives() -> EncodedInteractions:
    """User 0 likes one item, user 1 nothing, the others some."""
    rng = np.random.default_rng(5)
    liked = [[4], [], *(sorted(rng.choice(N_ITEMS, size, replace=False)) for size in (2, 3, 5, 8, 10))]
    users = np.array([user for user, items in enumerate(liked) for _ in items])
    items = np.array([item for each in liked for item in each])
    timestamps = rng.integers(0, 100, len(users)) * 86_400
    return EncodedInteractions(users, items, np.ones(len(users), np.float32), timestamps, N_USERS, N_ITEMS)


def model_of(
    kind: UserTowerKind, l2: float = 0.0, history_dropout: float = 0.0, item_bias: bool = True
) -> TwoTowerBPR:
    """Weights as after training: no table and no bias near zero."""
    settings = TowerSettings(
        user_tower=kind,
        dimension=DIMENSION,
        item_bias=item_bias,
        negatives=3,
        batch_size=9,
        l2=l2,
        history_dropout=history_dropout,
        targets_per_history=2,
    )
    model = TwoTowerBPR(N_USERS, N_ITEMS, settings)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.7, generator=generator)
    return model


def epoch_of(model: TwoTowerBPR, seed: int = 0) -> list[Batch]:
    made = TowerBatches(positives(), model.settings, np.random.default_rng(seed), torch.device("cpu"))
    return list(made.epoch())


def naive_user_vector(model: TwoTowerBPR, user: int, history: list[int]) -> Tensor:
    """One user, one item after the other."""
    table = model.user_tower.table.weight
    if model.settings.user_tower == "id":
        return table[user]
    total = torch.zeros(DIMENSION, dtype=table.dtype)
    for item in history:
        total = total + table[item]
    return total / math.sqrt(max(1, len(history)))


def naive_score(model: TwoTowerBPR, user: Tensor, item: int) -> Tensor:
    products = [user[column] * model.items.weight[item, column] for column in range(DIMENSION)]
    return sum(products, start=model.item_bias.weight[item, 0])


def history_without_target(batch: Batch, row: int) -> list[int]:
    """The kept history of a positive's user, less the target itself."""
    place = int(batch.user_of[row])
    start, size = int(batch.history_starts[place]), int(batch.history_sizes[place])
    kept = batch.history[start : start + size].tolist()
    return [item for item in kept if item != int(batch.targets[row])]


def naive_loss(model: TwoTowerBPR, batch: Batch) -> Tensor:
    """-ln sigmoid(positive - negative) a triplet at a time, in the precision of the model."""
    total = lengths_user = lengths_target = lengths_negative = torch.zeros(())
    rows, width = batch.negatives.shape
    for row in range(rows):
        user_row, target = int(batch.users[batch.user_of[row]]), int(batch.targets[row])
        user = naive_user_vector(model, user_row, history_without_target(batch, row))
        positive = naive_score(model, user, target)
        lengths_user = lengths_user + user.dot(user) / rows
        lengths_target = lengths_target + model.items.weight[target].square().sum() / rows
        for item in batch.negatives[row].tolist():
            negative = naive_score(model, user, item)
            pairwise = -torch.log(1 / (1 + torch.exp(-(positive - negative))))
            total = total + batch.weights[row] * pairwise / (rows * width)
            lengths_negative = lengths_negative + model.items.weight[item].square().sum() / (rows * width)
    return total + model.settings.l2 * (lengths_user + lengths_target + lengths_negative)


@pytest.mark.parametrize("kind", BOTH)
def test_the_inner_product_of_exported_vectors_is_the_score(kind: UserTowerKind) -> None:
    model, data = model_of(kind), positives()
    lists = data.item_lists()
    vectors = model.export(lists)
    exported = vectors.users @ vectors.items.T
    assert exported.shape == (N_USERS, N_ITEMS)
    with torch.no_grad():
        for user in range(N_USERS):
            naive = naive_user_vector(model, user, lists.of(user).tolist())
            for item in range(N_ITEMS):
                assert exported[user, item] == pytest.approx(float(naive_score(model, naive, item)), abs=1e-5)


@pytest.mark.parametrize("kind", BOTH)
def test_the_score_in_training_is_the_inner_product_for_items_outside_the_history(
    kind: UserTowerKind,
) -> None:
    """Dropout 0, whole histories, targets nobody has in the history: training's own forward pass."""
    model, data = model_of(kind), positives()
    lists = data.item_lists()
    vectors = model.export(lists)
    pairs = [(u, i) for u in range(N_USERS) for i in range(N_ITEMS) if i not in lists.of(u)]
    users, targets = torch.tensor(pairs).T
    batch = Batch(
        users=torch.arange(N_USERS),
        user_of=users,
        targets=targets,
        negatives=targets[:, None],
        weights=torch.ones(len(pairs)),
        history=torch.from_numpy(lists.items.astype(np.int64)),
        history_starts=torch.from_numpy(lists.indptr[:-1]),
        history_sizes=torch.from_numpy(lists.lengths().astype(np.float32)),
        target_kept=torch.zeros(len(pairs)),
    )
    with torch.no_grad():
        scores = model.score(model.user_tower(batch), targets[:, None])[:, 0]
    assert scores.numpy() == pytest.approx((vectors.users @ vectors.items.T)[users, targets], abs=1e-5)


def test_the_bias_is_folded_into_the_last_column() -> None:
    model = model_of("history")
    vectors = model.export(positives().item_lists())
    assert vectors.items.shape == (N_ITEMS, DIMENSION + 1)
    assert vectors.items[:, -1].tolist() == model.item_bias.weight[:, 0].tolist()
    assert (vectors.users[:, -1] == 1).all()
    # User 1 has no history: biases alone rank for such a user.
    assert (vectors.users[1] @ vectors.items.T).tolist() == pytest.approx(
        model.item_bias.weight[:, 0].tolist()
    )


def test_anyone_with_the_history_of_a_user_gets_that_users_vector() -> None:
    lists = positives().item_lists()
    history, by_id = (model_of(kind).export(lists) for kind in BOTH)
    assert np.array_equal(history.for_histories(lists), history.users)
    assert by_id.history_items is None


def test_exported_vectors_are_copies() -> None:
    model = model_of("history")
    vectors: TowerVectors = model.export(positives().item_lists())
    before = vectors.items.copy(), vectors.users.copy(), vectors.history_items
    assert before[2] is not None
    table = before[2].copy()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert np.array_equal(vectors.items, before[0]) and np.array_equal(vectors.users, before[1])
    assert np.array_equal(vectors.history_items, table)  # type: ignore[arg-type]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_in_training_the_target_is_left_out_of_its_own_history(dropout: float) -> None:
    model = model_of("history", history_dropout=dropout)
    kept = []
    with torch.no_grad():
        for seed in range(5):
            for batch in epoch_of(model, seed):
                vectors = model.user_tower(batch)
                assert vectors.shape == (len(batch.targets), DIMENSION)
                for row in range(len(batch.targets)):
                    user = int(batch.users[batch.user_of[row]])
                    expected = naive_user_vector(model, user, history_without_target(batch, row))
                    assert vectors[row].numpy() == pytest.approx(expected.numpy(), abs=1e-5)
                    kept.append(float(batch.target_kept[row]))
    assert set(kept) == ({0.0, 1.0} if dropout else {1.0})


def test_a_history_of_the_target_alone_pools_to_zero() -> None:
    model = model_of("history")
    assert isinstance(model.user_tower, HistoryUserTower)
    batch = Batch(
        users=torch.tensor([0]),
        user_of=torch.tensor([0]),
        targets=torch.tensor([4]),
        negatives=torch.tensor([[1]]),
        weights=torch.ones(1),
        history=torch.tensor([4]),
        history_starts=torch.tensor([0]),
        history_sizes=torch.ones(1),
        target_kept=torch.ones(1),
    )
    vector = model.user_tower(batch)
    assert vector.tolist() == [[0.0] * DIMENSION]
    vector.sum().backward()
    assert not model.user_tower.table.weight.grad.any()  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_the_loss_and_its_gradients_are_those_of_a_loop_over_triplets(kind: UserTowerKind, l2: float) -> None:
    model, naive = model_of(kind, l2, 0.5), model_of(kind, l2, 0.5).double()
    for batch in epoch_of(model):
        model.zero_grad()
        naive.zero_grad()
        loss, expected = model.loss(batch), naive_loss(naive, batch)
        assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
        loss.backward()  # type: ignore[no-untyped-call]
        expected.backward()  # type: ignore[no-untyped-call]
        for (name, mine), theirs in zip(model.named_parameters(), naive.parameters(), strict=True):
            assert mine.grad is not None and theirs.grad is not None
            assert mine.grad.numpy() == pytest.approx(theirs.grad.numpy(), abs=1e-5), name


def test_weights_scale_each_positive() -> None:
    model = model_of("id")
    (batch, *_) = epoch_of(model)
    ones = Batch(**(vars(batch) | {"weights": torch.ones(len(batch.targets))}))
    only_first = torch.zeros(len(batch.targets))
    only_first[0] = len(batch.targets)
    first = Batch(**(vars(batch) | {"weights": only_first}))
    alone = Batch(
        **(
            vars(batch)
            | {
                "user_of": batch.user_of[:1],
                "targets": batch.targets[:1],
                "negatives": batch.negatives[:1],
                "weights": torch.ones(1),
                "target_kept": batch.target_kept[:1],
            }
        )
    )
    with torch.no_grad():
        assert float(model.loss(first)) == pytest.approx(float(model.loss(alone)), abs=1e-5)
        assert float(model.loss(first)) != pytest.approx(float(model.loss(ones)), abs=1e-3)


@pytest.mark.parametrize("kind", BOTH)
def test_gradients_reach_the_rows_in_use_and_no_other(kind: UserTowerKind) -> None:
    model = model_of(kind, history_dropout=0.5)
    (batch, *_) = epoch_of(model)
    model.loss(batch).backward()  # type: ignore[no-untyped-call]

    def touched(weight: Tensor) -> set[int]:
        assert weight.grad is not None
        return set(torch.nonzero(weight.grad.abs().sum(dim=1))[:, 0].tolist())

    candidates = set(batch.targets.tolist()) | set(batch.negatives.flatten().tolist())
    assert touched(model.item_bias.weight) == candidates
    rows = range(len(batch.targets))
    histories = [history_without_target(batch, row) for row in rows]
    used = {item for history in histories for item in history}
    in_use = used if kind == "history" else set(batch.users.tolist())
    assert touched(model.user_tower.table.weight) == in_use
    # An item of nobody with a vector gets no gradient: a user vector of zero passes none on.
    assert touched(model.items.weight) <= candidates
    assert touched(model.items.weight) >= {int(batch.targets[row]) for row in rows if histories[row]}


def test_wide_score_differences_do_not_overflow() -> None:
    model = model_of("id")
    with torch.no_grad():
        model.item_bias.weight.copy_(torch.linspace(-500, 500, N_ITEMS)[:, None])
    assert all(bool(torch.isfinite(model.loss(batch))) for batch in epoch_of(model))


def test_towers_start_with_no_bias_and_small_vectors() -> None:
    torch.manual_seed(0)
    model = TwoTowerBPR(50, 60, TowerSettings(dimension=8))
    assert not model.item_bias.weight.any()
    assert 0 < float(model.items.weight.detach().abs().max()) < 1
    assert model.user_tower.table.weight.shape == (60, 8)
    assert TwoTowerBPR(50, 60, TowerSettings(dimension=8, user_tower="id")).user_tower.table.weight.shape == (
        50,
        8,
    )


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("std", [0.01, 0.5])
def test_vectors_start_as_spread_as_asked(kind: UserTowerKind, std: float) -> None:
    torch.manual_seed(0)
    model = TwoTowerBPR(300, 300, TowerSettings(user_tower=kind, dimension=32, initial_std=std))
    for table in (model.items, model.user_tower.table):
        assert float(table.weight.detach().std()) == pytest.approx(std, rel=0.05)
        assert float(table.weight.detach().mean()) == pytest.approx(0, abs=std / 10)


@pytest.mark.parametrize("kind", BOTH)
def test_without_item_bias_the_column_is_there_and_stays_0(kind: UserTowerKind) -> None:
    model, biased = model_of(kind, item_bias=False), model_of(kind)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    before = model.items.weight.detach().clone()
    for batch in epoch_of(model):
        optimizer.zero_grad()
        model.loss(batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    vectors = model.export(positives().item_lists())
    assert not vectors.items[:, -1].any()
    assert (vectors.users[:, -1] == 1).all()
    assert not torch.equal(model.items.weight, before)
    shapes = [{name: tensor.shape for name, tensor in each.state_dict().items()} for each in (model, biased)]
    assert shapes[0] == shapes[1]


def test_spreading_is_indexing() -> None:
    vectors = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    rows = torch.tensor([3, 0, 3, 1, 3])
    assert torch.equal(spread(vectors, rows), vectors[rows])
    upstream = torch.arange(15.0).reshape(5, 3)
    (gradient,) = torch.autograd.grad(spread(vectors, rows), vectors, upstream)
    assert gradient.tolist() == [[3, 4, 5], [9, 10, 11], [0, 0, 0], [0 + 6 + 12, 1 + 7 + 13, 2 + 8 + 14]]


def test_users_without_any_positive_are_exported_too() -> None:
    vectors = model_of("history").export(ItemLists.empty(N_USERS))
    assert vectors.users.tolist() == [[0.0] * DIMENSION + [1.0]] * N_USERS
