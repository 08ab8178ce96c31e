import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from index import ItemLists
from retrieval.data.encoded import EncodedInteractions
from retrieval.data.side_features import SideFeatures
from retrieval.serving.tower_vectors import TowerVectors
from retrieval.settings import LossKind, TowerSettings, UserTowerKind, id_towers
from retrieval.training.history_batches import HistoryBatch, HistoryBatches
from retrieval.training.id_batches import TripletBatch, TripletBatches
from retrieval.training.towers import FeatureEmbeddings, HistoryUserTower, IdUserTower, TwoTowerBPR, spread

N_USERS, N_ITEMS, DIMENSION = 7, 15, 4
BOTH: list[UserTowerKind] = ["history", "id"]
LOSSES: list[LossKind] = ["bpr", "softmax"]
Batch = TripletBatch | HistoryBatch


pytestmark = pytest.mark.usefixtures("one_thread")


def positives() -> EncodedInteractions:
    """User 0 likes one item, user 1 nothing, the others some."""
    rng = np.random.default_rng(5)
    liked = [[4], [], *(sorted(rng.choice(N_ITEMS, size, replace=False)) for size in (2, 3, 5, 8, 10))]
    users = np.array([user for user, items in enumerate(liked) for _ in items])
    items = np.array([item for each in liked for item in each])
    timestamps = rng.integers(0, 100, len(users)) * 86_400
    return EncodedInteractions(users, items, np.ones(len(users), np.float32), timestamps, N_USERS, N_ITEMS)


def features_of(lists: list[list[int]], names: int = 4) -> SideFeatures:
    users = np.array([user for user, numbers in enumerate(lists) for _ in numbers], dtype=np.int64)
    numbers = np.array([number for each in lists for number in each], dtype=np.int64)
    pairs = ItemLists.from_pairs(users, numbers, len(lists))
    return SideFeatures(pairs, tuple(f"feature {n}" for n in range(names)))


# Every third item has none, the others one to three.
ITEM_FEATURES = features_of([[[], [row % 4], [0, row % 3 + 1]][row % 3] for row in range(N_ITEMS)])
USER_FEATURES = features_of([[0], [1], [], [0, 1], [2], [1, 2], [3]])


def settings_of(kind: UserTowerKind, **changes: Any) -> TowerSettings:
    given = {"dimension": DIMENSION, "negatives": 3, "batch_size": 4, "l2": 0.0} | changes
    return id_towers(**given) if kind == "id" else TowerSettings(user_dropout=0.0, members=1, **given)


def model_of(kind: UserTowerKind, with_features: bool = False, **changes: Any) -> TwoTowerBPR:
    """Weights as after training: no table and no bias near zero."""
    given = {"item_features": ITEM_FEATURES, "user_features": USER_FEATURES} if with_features else {}
    model = TwoTowerBPR(N_USERS, N_ITEMS, settings_of(kind, **changes), **given)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.7, generator=generator)
        for module in model.modules():
            if isinstance(module, FeatureEmbeddings):
                module.table.weight[-1] = 0  # the padding
    return model


def epoch_of(model: TwoTowerBPR, seed: int = 0) -> list[Any]:
    rng, device = np.random.default_rng(seed), torch.device("cpu")
    if model.settings.user_tower == "id":
        return list(TripletBatches(positives(), model.settings, rng, device).epoch())
    featured = model.items.features is not None
    batches = HistoryBatches(
        positives(),
        model.settings,
        rng,
        device,
        with_item_features=featured,
        with_user_features=featured,
    )
    return list(batches.epoch())


# The model again, one number after the other


def naive_mean(embeddings: FeatureEmbeddings | None, features: SideFeatures, row: int) -> Any:
    own = features.lists.of(row).tolist()
    if embeddings is None or not own:
        return 0
    return torch.stack([embeddings.table.weight[number] for number in own]).mean(dim=0)


def naive_item(model: TwoTowerBPR, item: int, known: float = 1.0) -> Tensor:
    """Vector and bias."""
    own = torch.cat([model.items.table.weight[item], model.items.bias.weight[item]])
    return own * known + naive_mean(model.items.features, ITEM_FEATURES, item)


def naive_user(model: TwoTowerBPR, user: int, history: list[int], described: float = 1.0) -> Tensor:
    """One user, one item after the other."""
    tower = model.user_tower
    if isinstance(tower, IdUserTower):
        return tower.table.weight[user]
    total = torch.zeros(DIMENSION, dtype=tower.table.weight.dtype)
    for item in history:
        total = total + tower.table.weight[item] + naive_mean(tower.item_features, ITEM_FEATURES, item)
    side = naive_mean(tower.user_features, USER_FEATURES, user)
    return total / math.sqrt(len(history) + 1) + tower.prior + side * described


def naive_score(user: Tensor, item: Tensor) -> Tensor:
    products = [user[column] * item[column] for column in range(DIMENSION)]
    return sum(products, start=item[DIMENSION])


def history_of(batch: HistoryBatch, place: int) -> list[int]:
    ends = [*batch.history_starts.tolist(), len(batch.history)]
    return batch.history[ends[place] : ends[place + 1]].tolist()


def naive_triplet_loss(model: TwoTowerBPR, batch: TripletBatch) -> Tensor:
    """-ln sigmoid(positive - negative) a triplet at a time, in the precision of the model."""
    total = lengths_user = lengths_target = lengths_negative = torch.zeros(())
    rows, width = batch.negatives.shape
    for row in range(rows):
        user, target = naive_user(model, int(batch.users[row]), []), int(batch.targets[row])
        positive = naive_score(user, naive_item(model, target))
        lengths_user = lengths_user + user.dot(user) / rows
        lengths_target = lengths_target + model.items.table.weight[target].square().sum() / rows
        for item in batch.negatives[row].tolist():
            negative = naive_score(user, naive_item(model, item))
            pairwise = -torch.log(1 / (1 + torch.exp(-(positive - negative))))
            total = total + batch.weights[row] * pairwise / (rows * width)
            lengths_negative = lengths_negative + model.items.table.weight[item].square().sum() / (
                rows * width
            )
    return total + model.settings.l2 * (lengths_user + lengths_target + lengths_negative)


def naive_history_loss(model: TwoTowerBPR, batch: HistoryBatch) -> Tensor:
    """A target at a time, its negatives from the user's catalogue without all of his positives."""
    assert isinstance(model.user_tower, HistoryUserTower)
    lists, settings = positives().item_lists(), model.settings
    known = torch.ones(N_ITEMS) if batch.known is None else batch.known
    described = torch.ones(len(batch.users)) if batch.described is None else batch.described
    users = [
        naive_user(model, int(user), history_of(batch, place), float(described[place]))
        for place, user in enumerate(batch.users)
    ]
    items = {item: naive_item(model, item, float(known[item])) for item in range(N_ITEMS)}
    total = torch.zeros(())
    for row, target in enumerate(batch.targets.tolist()):
        place = int(batch.user_of[row])
        user, own = users[place], set(lists.of(int(batch.users[place])).tolist())
        positive = naive_score(user, items[target])
        others = [naive_score(user, items[item]) for item in batch.catalogue.tolist() if item not in own]
        exponentials = torch.stack(others).exp()
        if settings.loss == "softmax":
            every = positive.exp() + batch.items_each * exponentials.sum()
            each = -torch.log(positive.exp() / every)
        else:
            below = (exponentials / exponentials.sum()).detach().cumsum(0)
            drawn = [others[int((below <= draw).sum())] for draw in batch.draws[place].double()]
            each = -torch.stack([torch.sigmoid(positive - negative).log() for negative in drawn]).mean()
        total = total + each * batch.weights[row] / len(batch.targets)
    catalogue = [items[item][:DIMENSION] for item in batch.catalogue.tolist()]
    squares = [
        torch.stack([vector.dot(vector) for vector in vectors]).mean()
        for vectors in (users, catalogue, list(model.user_tower.table.weight))
    ]
    return total + settings.l2 * sum(squares)


def naive_loss(model: TwoTowerBPR, batch: Batch) -> Tensor:
    triplets = isinstance(batch, TripletBatch)
    return naive_triplet_loss(model, batch) if triplets else naive_history_loss(model, batch)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("with_features", [False, True])
def test_the_inner_product_of_exported_vectors_is_the_score(kind: UserTowerKind, with_features: bool) -> None:
    model, data = model_of(kind, with_features), positives()
    lists = data.item_lists()
    vectors = model.export(lists)
    exported = vectors.users @ vectors.items.T
    assert exported.shape == (N_USERS, N_ITEMS)
    with torch.no_grad():
        for user in range(N_USERS):
            naive = naive_user(model, user, lists.of(user).tolist())
            for item in range(N_ITEMS):
                score = float(naive_score(naive, naive_item(model, item)))
                assert exported[user, item] == pytest.approx(score, abs=1e-5)


def test_a_user_vector_in_training_is_the_one_of_its_history() -> None:
    """Whole histories and short ones, empty ones at both ends and between: training's own forward pass."""
    model = model_of("history")
    vectors = model.export(positives().item_lists())
    (batch, *_) = epoch_of(model)
    for lengths in ([0, 2, 0, 0, 3, 0], [1, 4], [0, 0], [0]):
        starts = np.cumsum([0, *lengths])[:-1]
        rows = np.random.default_rng(1).permutation(N_ITEMS)[: sum(lengths)]
        histories = [np.sort(rows[start : start + size]) for start, size in zip(starts, lengths, strict=True)]
        given = replace(
            batch,
            users=torch.zeros(len(lengths), dtype=torch.int64),
            history=torch.from_numpy(np.concatenate(histories)),
            history_starts=torch.from_numpy(starts),
        )
        lists = ItemLists(np.cumsum([0, *lengths]), np.concatenate(histories))
        with torch.no_grad():
            assert model.user_tower(given).numpy() == pytest.approx(
                vectors.for_histories(lists)[:, :-1], abs=1e-5
            )


@pytest.mark.parametrize("with_features", [False, True])
def test_users_in_an_epoch_are_those_of_their_histories(with_features: bool) -> None:
    model = model_of("history", with_features)
    seen = set()
    with torch.no_grad():
        for batch in epoch_of(model):
            users = model.user_tower(batch)
            for place, user in enumerate(batch.users.tolist()):
                described = 1.0 if batch.described is None else float(batch.described[place])
                expected = naive_user(model, user, history_of(batch, place), described)
                assert users[place].numpy() == pytest.approx(expected.numpy(), abs=1e-5)
                seen.add(user)
    assert seen <= {0, 2, 3, 4, 5, 6} and len(seen) > 3


def test_the_bias_is_folded_into_the_last_column() -> None:
    model = model_of("history")
    assert isinstance(model.user_tower, HistoryUserTower)
    vectors = model.export(positives().item_lists())
    assert vectors.items.shape == (N_ITEMS, DIMENSION + 1)
    assert vectors.items[:, -1].tolist() == model.items.bias.weight[:, 0].tolist()
    assert (vectors.users[:, -1] == 1).all()
    # User 1 has no history: the prior and the biases rank for such a user.
    assert vectors.users[1, :-1].tolist() == model.user_tower.prior.tolist()


@pytest.mark.parametrize("with_features", [False, True])
def test_anyone_with_the_history_of_a_user_gets_that_users_vector(with_features: bool) -> None:
    """Users' own features aside, which nobody else has."""
    lists = positives().item_lists()
    history, by_id = (model_of(kind, with_features).export(lists) for kind in BOTH)
    undescribed = [2] if with_features else range(N_USERS)
    assert np.array_equal(history.for_histories(lists)[undescribed], history.users[undescribed])
    assert by_id.history_items is None and by_id.prior is None


def test_exported_vectors_are_copies() -> None:
    model = model_of("history")
    vectors: TowerVectors = model.export(positives().item_lists())
    names = ("items", "users", "history_items", "prior")
    before = {name: getattr(vectors, name).copy() for name in names}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert all(np.array_equal(getattr(vectors, name), before[name]) for name in names)


@pytest.mark.parametrize(
    ("kind", "loss", "with_features"),
    [("id", "bpr", False), *(("history", loss, features) for loss in LOSSES for features in (False, True))],
)
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_the_loss_and_its_gradients_are_those_of_a_loop(
    kind: UserTowerKind, loss: LossKind, with_features: bool, l2: float
) -> None:
    # Where items are sampled, every user still has something that is no positive.
    settings: dict[str, Any] = {"loss": loss, "l2": l2}
    if kind == "history":
        settings |= {"catalogue_sample": 12, "feature_share": 0.5}
    model, naive = model_of(kind, with_features, **settings), model_of(kind, with_features, **settings)
    naive = naive.double()
    for batch in epoch_of(model):
        model.zero_grad()
        naive.zero_grad()
        value, expected = model.loss(batch), naive_loss(naive, batch)
        assert float(value.detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
        value.backward()  # type: ignore[no-untyped-call]
        expected.backward()  # type: ignore[no-untyped-call]
        for (name, mine), theirs in zip(model.named_parameters(), naive.parameters(), strict=True):
            reached = mine.grad is not None and theirs.grad is not None
            assert reached or (mine.grad is None or not mine.grad.any()), name
            if reached:
                assert mine.grad.numpy() == pytest.approx(theirs.grad.numpy(), abs=1e-5), name  # type: ignore[union-attr]


def test_weights_scale_each_positive() -> None:
    model = model_of("id")
    (batch, *_) = epoch_of(model)
    ones = replace(batch, weights=torch.ones(len(batch.targets)))
    only_first = torch.zeros(len(batch.targets))
    only_first[0] = len(batch.targets)
    first = replace(batch, weights=only_first)
    alone = TripletBatch(batch.users[:1], batch.targets[:1], batch.negatives[:1], torch.ones(1))
    with torch.no_grad():
        assert float(model.loss(first)) == pytest.approx(float(model.loss(alone)), abs=1e-5)
        assert float(model.loss(first)) != pytest.approx(float(model.loss(ones)), abs=1e-3)


def touched(weight: Tensor) -> set[int]:
    """Rows with a gradient."""
    assert weight.grad is not None
    return set(torch.nonzero(weight.grad.abs().sum(dim=1))[:, 0].tolist())


def test_gradients_of_triplets_reach_the_rows_in_use_and_no_other() -> None:
    model = model_of("id")
    (batch, *_) = epoch_of(model)
    model.loss(batch).backward()  # type: ignore[no-untyped-call]
    candidates = set(batch.targets.tolist()) | set(batch.negatives.flatten().tolist())
    assert touched(model.items.bias.weight) == touched(model.items.table.weight) == candidates
    assert touched(model.user_tower.table.weight) == set(batch.users.tolist())


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_of_histories_reach_the_rows_in_use_and_no_other(loss: LossKind) -> None:
    model = model_of("history", loss=loss, catalogue_sample=11, batch_size=2)
    lists = positives().item_lists()
    for batch in epoch_of(model):
        model.zero_grad()
        model.loss(batch).backward()  # type: ignore[no-untyped-call]
        with_targets = sorted(set(batch.user_of.tolist()))
        used = {item for place in with_targets for item in history_of(batch, place)}
        assert touched(model.user_tower.table.weight) == used
        own = [set(lists.of(int(batch.users[place])).tolist()) for place in with_targets]
        others = {item for each in own for item in set(batch.catalogue.tolist()) - each}
        reached, targets = touched(model.items.bias.weight), set(batch.targets.tolist())
        assert targets <= reached <= others | targets
        if loss == "softmax":
            assert reached == others | targets


def test_a_drawn_negative_that_is_ranked_high_teaches_and_one_ranked_low_does_not() -> None:
    """Of one user's negatives the one far above all others is drawn every time."""
    model = model_of("history")
    batch = next(each for each in epoch_of(model) if 2 in each.users.tolist())
    lists = positives().item_lists()
    of_nobody = next(
        i for i in range(N_ITEMS) if not any(i in lists.of(user) for user in batch.users.tolist())
    )
    with torch.no_grad():
        model.items.bias.weight[of_nobody] = 50.0
    model.loss(batch).backward()  # type: ignore[no-untyped-call]
    assert touched(model.items.bias.weight) == {of_nobody} | set(batch.targets.tolist())


@pytest.mark.parametrize("loss", LOSSES)
def test_where_a_sample_is_all_a_user_likes_nothing_is_ranked(loss: LossKind) -> None:
    """Of a large catalogue the step's sample may hold no negative: then an own item is none either."""
    model = model_of("history", loss=loss)
    batch = next(each for each in epoch_of(model) if 6 in each.users.tolist())
    own = torch.from_numpy(positives().item_lists().of(6)[:4])
    batch = replace(
        batch,
        users=torch.tensor([6]),
        history=own[:2],
        history_starts=torch.tensor([0]),
        targets=own[2:],
        user_of=torch.tensor([0, 0]),
        weights=torch.ones(2),
        catalogue=own,
        own_users=torch.zeros(4, dtype=torch.int64),
        own_items=torch.arange(4),
        draws=torch.tensor([[0.0, 0.5, 0.99]]),
    )
    value = model.loss(batch)
    value.backward()  # type: ignore[no-untyped-call]
    assert float(value.detach()) == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


@pytest.mark.parametrize(("kind", "loss"), [("id", "bpr"), ("history", "bpr"), ("history", "softmax")])
def test_wide_score_differences_do_not_overflow(kind: UserTowerKind, loss: LossKind) -> None:
    model = model_of(kind, loss=loss)
    with torch.no_grad():
        model.items.bias.weight.copy_(torch.linspace(-500, 500, N_ITEMS)[:, None])
    for batch in epoch_of(model):
        model.zero_grad()
        value = model.loss(batch)
        value.backward()  # type: ignore[no-untyped-call]
        assert bool(torch.isfinite(value))
        assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_user_vectors_are_dropped_out_in_training_only() -> None:
    model = model_of("history")
    model.settings = replace(model.settings, user_dropout=0.5)
    (batch, *_) = epoch_of(model)
    with torch.no_grad():
        still = {float(model.eval().loss(batch)) for _ in range(3)}
        moving = {float(model.train().loss(batch)) for _ in range(3)}
        expected = float(naive_loss(model, batch))
    assert len(still) == 1 and len(moving) == 3
    assert still.pop() == pytest.approx(expected, abs=1e-5)


def test_towers_start_at_the_bestsellers_and_with_small_vectors() -> None:
    torch.manual_seed(0)
    popularity = np.arange(60, dtype=np.float32) ** 2
    model = TwoTowerBPR(50, 60, TowerSettings(dimension=8), popularity)
    assert isinstance(model.user_tower, HistoryUserTower)
    bias = model.items.bias.weight[:, 0].detach().numpy()
    assert bias.mean() == pytest.approx(0, abs=1e-5)
    assert np.diff(bias) == pytest.approx(np.diff(np.log1p(popularity)), abs=1e-5)
    assert not model.user_tower.prior.any()
    assert 0 < float(model.items.table.weight.detach().abs().max()) < 1
    assert model.user_tower.table.weight.shape == (60, 8)
    assert not TwoTowerBPR(50, 60, TowerSettings(dimension=8)).items.bias.weight.any()


def test_the_id_tower_starts_without_bias_whatever_is_popular() -> None:
    model = TwoTowerBPR(50, 60, id_towers(dimension=8), np.arange(60, dtype=np.float32))
    assert not model.items.bias.weight.any()
    assert model.user_tower.table.weight.shape == (50, 8)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("std", [0.01, 0.5])
def test_vectors_start_as_spread_as_asked(kind: UserTowerKind, std: float) -> None:
    torch.manual_seed(0)
    model = TwoTowerBPR(300, 300, settings_of(kind, dimension=32, initial_std=std))
    for table in (model.items.table, model.user_tower.table):
        assert float(table.weight.detach().std()) == pytest.approx(std, rel=0.05)
        assert float(table.weight.detach().mean()) == pytest.approx(0, abs=std / 10)


@pytest.mark.parametrize("kind", BOTH)
def test_without_item_bias_the_column_is_there_and_stays_0(kind: UserTowerKind) -> None:
    model, biased = model_of(kind, item_bias=False), model_of(kind)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    before = model.items.table.weight.detach().clone()
    for batch in epoch_of(model):
        optimizer.zero_grad()
        model.loss(batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    vectors = model.export(positives().item_lists())
    assert not vectors.items[:, -1].any()
    assert (vectors.users[:, -1] == 1).all()
    assert not torch.equal(model.items.table.weight, before)
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
    model = model_of("history")
    assert isinstance(model.user_tower, HistoryUserTower)
    vectors = model.export(ItemLists.empty(N_USERS))
    assert vectors.users.tolist() == [[*model.user_tower.prior.tolist(), 1.0]] * N_USERS


# Side features


def test_features_say_nothing_at_first() -> None:
    torch.manual_seed(3)
    model = TwoTowerBPR(
        N_USERS,
        N_ITEMS,
        settings_of("history"),
        item_features=ITEM_FEATURES,
        user_features=USER_FEATURES,
    )
    tower, lists = model.user_tower, positives().item_lists()
    assert isinstance(tower, HistoryUserTower)
    featured = model.export(lists)
    for vectors in by_features_alone(model):
        assert not vectors.any()
    model.items.features = tower.item_features = tower.user_features = None
    plain = model.export(lists)
    for name in ("items", "users", "history_items", "prior"):
        assert np.array_equal(getattr(featured, name), getattr(plain, name)), name


def test_features_learn_from_the_first_step_on() -> None:
    model = TwoTowerBPR(
        N_USERS, N_ITEMS, settings_of("history"), item_features=ITEM_FEATURES, user_features=USER_FEATURES
    )
    for batch in (batch for seed in range(5) for batch in epoch_of(model, seed)):
        model.loss(batch).backward()  # type: ignore[no-untyped-call]
    embeddings = [module for module in model.modules() if isinstance(module, FeatureEmbeddings)]
    assert len(embeddings) == 3
    for each in embeddings:
        assert touched(each.table.weight) == {0, 1, 2, 3}  # and not the padding


def by_features_alone(model: TwoTowerBPR) -> tuple[np.ndarray, np.ndarray]:
    """What the items' features add to both of their tables, from the embeddings."""
    tower, lists = model.user_tower, ITEM_FEATURES.lists
    assert isinstance(tower, HistoryUserTower)
    assert model.items.features is not None and tower.item_features is not None
    tables = (each.table.weight.detach().numpy() for each in (model.items.features, tower.item_features))
    vectors, rows = (
        np.array([table[lists.of(row)].sum(axis=0) / max(len(lists.of(row)), 1) for row in range(N_ITEMS)])
        for table in tables
    )
    return vectors, rows


def test_an_item_known_by_its_features_alone_gets_their_mean() -> None:
    model = model_of("history", with_features=True)
    # What an item of train is while its own vector is hidden.
    rows = torch.arange(N_ITEMS)
    with torch.no_grad():
        hidden = model.items(rows, torch.zeros(N_ITEMS)).numpy()
        half = model.items(rows, torch.from_numpy((np.arange(N_ITEMS) % 2).astype(np.float32))).numpy()
        whole = model.items(rows).numpy()
    assert hidden == pytest.approx(by_features_alone(model)[0], abs=1e-6)
    assert np.array_equal(half[::2], hidden[::2]) and np.array_equal(half[1::2], whole[1::2])


def test_silenced_items_are_their_features_and_nothing_else() -> None:
    silent = np.array([0, 4, 7])
    others = np.setdiff1d(np.arange(N_ITEMS), silent)
    for with_features in (False, True):
        model = model_of("history", with_features)
        assert isinstance(model.user_tower, HistoryUserTower)
        before = model.export(positives().item_lists())
        model.items.silence(silent)
        model.user_tower.silence(silent)
        after = model.export(positives().item_lists())
        expected = by_features_alone(model) if with_features else (np.zeros(1), np.zeros(1))
        for name, alone in zip(("items", "history_items"), expected, strict=True):
            mine, theirs = getattr(after, name), getattr(before, name)
            assert np.array_equal(mine[others], theirs[others])
            assert mine[silent] == pytest.approx(alone[silent] if with_features else 0 * mine[silent])


def test_silenced_users_leave_the_answer_to_the_biases() -> None:
    model = model_of("id")
    assert isinstance(model.user_tower, IdUserTower)
    before = model.export(positives().item_lists()).users
    model.user_tower.silence(np.array([1, 6]))
    after = model.export(positives().item_lists()).users
    assert after[[1, 6]].tolist() == [[0.0] * DIMENSION + [1.0]] * 2
    assert np.array_equal(np.delete(after, [1, 6], axis=0), np.delete(before, [1, 6], axis=0))
