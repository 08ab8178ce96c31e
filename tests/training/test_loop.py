import math
import os
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from index import ItemLists
from retrieval.arrays import Weights
from retrieval.data.encoded import EncodedInteractions
from retrieval.data.side_features import SideFeatures
from retrieval.errors import DataError, EnvironmentProblem
from retrieval.serving.tower_vectors import HISTORY_TABLE, PRIOR, TowerVectors, pool_histories, with_one
from retrieval.settings import LossKind, NeuralMFSettings, TowerSettings, UserTowerKind, id_towers
from retrieval.training.curves import EpochRecord, TrainingHistory
from retrieval.training.device import borrowed_torch, choose_device
from retrieval.training.fit_neural_mf import FittedNeuralMF, fit_neural_mf
from retrieval.training.fit_towers import FittedTowers, TowerFeatures, TowerJob, fit_towers
from retrieval.training.join_towers import join
from retrieval.training.neural_mf import NeuralMF
from retrieval.training.towers import TwoTowerBPR

CPU = torch.device("cpu")
BOTH: list[UserTowerKind] = ["history", "id"]
N_USERS, N_ITEMS = 60, 40


pytestmark = pytest.mark.usefixtures("one_thread")


def encoded(users: Any, items: Any, ratings: Any, n_users: int, n_items: int) -> EncodedInteractions:
    order = np.lexsort((items, users))
    return EncodedInteractions(
        np.asarray(users, dtype=np.int64)[order],
        np.asarray(items, dtype=np.int64)[order],
        np.asarray(ratings, dtype=np.float32)[order],
        np.arange(len(order), dtype=np.int64)[order] * 60,
        n_users,
        n_items,
    )


def checkerboard() -> tuple[EncodedInteractions, EncodedInteractions]:
    """Users like the items of their own parity: a random half of them to train on, the other held out."""
    users, items = np.divmod(np.arange(N_USERS * N_ITEMS), N_ITEMS)
    liked = (users - items) % 2 == 0
    users, items = users[liked], items[liked]
    held_out = np.random.default_rng(7).random(len(users)) < 0.5
    ratings = np.full(len(users), 5.0)
    train, rest = (
        encoded(users[part], items[part], ratings[part], N_USERS, N_ITEMS) for part in (~held_out, held_out)
    )
    return train, rest


def checkerboard_ratings() -> tuple[EncodedInteractions, EncodedInteractions]:
    """About 4.5 for the own parity and 1.5 for the other; 70 % to train on."""
    rng = np.random.default_rng(3)
    users, items = np.divmod(np.arange(N_USERS * N_ITEMS), N_ITEMS)
    ratings = np.where((users - items) % 2 == 0, 4.5, 1.5) + rng.normal(0, 0.2, len(users))
    train = rng.random(len(users)) < 0.7
    first, second = (
        encoded(users[part], items[part], ratings[part], N_USERS, N_ITEMS) for part in (train, ~train)
    )
    return first, second


def noise() -> tuple[EncodedInteractions, EncodedInteractions]:
    """Few ratings by chance, to train on and to validate by: the error on validation soon rises."""
    rng = np.random.default_rng(0)
    pairs = rng.choice(N_USERS * N_ITEMS, 400, replace=False)
    users, items = np.divmod(pairs, N_ITEMS)
    ratings = rng.integers(1, 6, 400).astype(np.float32)
    train = encoded(users[:200], items[:200], ratings[:200], N_USERS, N_ITEMS)
    held_out = encoded(users[200:], items[200:], ratings[200:], N_USERS, N_ITEMS)
    # Warm rows, as validation has them: what train never saw is spoken for only after training.
    return train, held_out.where(np.isin(held_out.users, train.users) & np.isin(held_out.items, train.items))


def tower_settings(kind: UserTowerKind = "history", **changes: Any) -> TowerSettings:
    given: dict[str, Any] = {
        "dimension": 8,
        "negatives": 4,
        "learning_rate": 0.03,
        "batch_size": 64,
        "max_epochs": 12,
        "patience": 3,
        "averaging_decay": 0.5,
        "l2": 1e-3,
        "recency_half_life_days": 30.0,
    }
    if kind == "id":
        return id_towers(**(given | changes))
    return TowerSettings(**(given | {"members": 1, "batch_size": 8} | changes))


def mf_settings(**changes: Any) -> NeuralMFSettings:
    given: dict[str, Any] = {
        "dimension": 8,
        "hidden": (16, 8),
        "dropout": 0.1,
        "learning_rate": 0.01,
        "weight_decay": 0.01,
        "batch_size": 128,
        "max_epochs": 25,
        "patience": 3,
        "averaging_decay": 0.5,
    }
    return NeuralMFSettings(**(given | changes))


def towers(
    kind: UserTowerKind, seed: int = 1, members: int = 1, validate: Any = None, **kwargs: Any
) -> FittedTowers:
    kwargs = {"epochs": (3,) * members} | kwargs
    settings = tower_settings(kind, members=members)
    job = TowerJob(checkerboard()[0], settings, seed=seed, device=CPU, validate=validate)
    return fit_towers(job, **kwargs)


def neural_mf(seed: int = 1, **kwargs: Any) -> FittedNeuralMF:
    kwargs = {"epochs": 3} | kwargs
    return fit_neural_mf(checkerboard_ratings()[0], mf_settings(), seed=seed, device=CPU, **kwargs)


def same(left: Weights, right: Weights) -> bool:
    assert left.keys() == right.keys()
    return all(np.array_equal(left[name], right[name]) for name in left)


def history_of(fitted: FittedTowers | FittedNeuralMF) -> TrainingHistory:
    """How training went, of the only member."""
    if isinstance(fitted, FittedNeuralMF):
        return fitted.history
    (member,) = fitted.members
    return member


MODELS: dict[str, Callable[[int], FittedTowers | FittedNeuralMF]] = {
    "history tower": lambda seed: towers("history", seed),
    "two members": lambda seed: towers("history", seed, members=2),
    "id tower": lambda seed: towers("id", seed),
    "NeuralMF": neural_mf,
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_seed_and_threads_repeat_bit_for_bit(name: str, threads: int) -> None:
    torch.set_num_threads(threads)
    runs = []
    for stray_seed in (10, 20):
        torch.manual_seed(stray_seed)  # chance from elsewhere must not reach the fit
        np.random.seed(stray_seed)  # noqa: NPY002
        runs.append(MODELS[name](1))
    assert same(runs[0].weights, runs[1].weights)
    assert len({str(getattr(run, "members", None) or run.history) for run in runs}) == 1


@pytest.mark.parametrize("kind", BOTH)
def test_steps_large_enough_for_several_threads_repeat_bit_for_bit(kind: UserTowerKind) -> None:
    """Torch adds up the gradients of plain indexing in any order, from 32,768 numbers on."""
    rng = np.random.default_rng(0)
    pairs = rng.choice(100 * 300, 4500, replace=False)
    users, items = np.divmod(pairs, 300)
    data = encoded(users, items, np.full(4500, 5.0), 100, 300)
    settings = tower_settings(kind, dimension=64, negatives=1, batch_size=1500)
    torch.set_num_threads(2)
    runs = [fit_towers(TowerJob(data, settings, seed=1, device=CPU), epochs=(2,)) for _ in range(2)]
    assert same(runs[0].weights, runs[1].weights)


@pytest.mark.parametrize("name", MODELS)
def test_another_seed_gives_another_model(name: str) -> None:
    first, second = MODELS[name](1), MODELS[name](2)
    assert not any(np.array_equal(first.weights[key], second.weights[key]) for key in first.weights)


@pytest.mark.parametrize("kind", BOTH)
def test_the_exported_vectors_are_those_of_the_kept_weights(kind: UserTowerKind) -> None:
    for members in (1, 2) if kind == "history" else (1,):
        fitted = towers(kind, members=members)
        vectors, weights = fitted.vectors, fitted.weights
        assert np.array_equal(vectors.items, weights["items.weight"])
        if kind == "id":
            users = weights["users.weight"]
        else:
            histories = checkerboard()[0].item_lists()
            users = with_one(pool_histories(weights[HISTORY_TABLE], histories) + weights[PRIOR])
        assert vectors.users == pytest.approx(users, abs=1e-6)


@pytest.mark.parametrize("epochs", [1, 4])
def test_epochs_trains_exactly_so_many(epochs: int) -> None:
    """More than `patience` too: without validation nothing stops early."""
    for fitted in (towers("history", epochs=(epochs,)), neural_mf(epochs=epochs)):
        history = history_of(fitted)
        assert history.epochs == epochs
        assert [record.epoch for record in history.curve] == list(range(1, epochs + 1))
        assert all(record.validation is None for record in history.curve)


def test_without_epochs_or_validation_max_epochs_run() -> None:
    train, _ = checkerboard()
    fitted = fit_towers(TowerJob(train, tower_settings(max_epochs=5), seed=0, device=CPU))
    assert len(history_of(fitted).curve) == 5
    ratings, _ = checkerboard_ratings()
    assert len(fit_neural_mf(ratings, mf_settings(max_epochs=6), seed=0, device=CPU).history.curve) == 6


@pytest.mark.parametrize(
    ("figures", "kept", "ran"),
    [
        ([0.1, 0.5, 0.3, 0.4, 0.2, 0.9], 2, 5),  # patience 3: 0.9 is never seen
        ([0.1, 0.5, 0.3, 0.4, 0.6, 0.1, 0.1, 0.1, 0.9], 5, 8),
        ([0.5, 0.5, 0.4, 0.4, 0.4, 0.9], 2, 5),  # as good is good enough
        ([-3.0, -2.0, -1.0] + [-1.5] * 9, 3, 6),  # figures below zero
        ([n / 20 for n in range(12)], 12, 12),  # max_epochs
    ],
)
def test_training_stops_early_and_keeps_the_best_epoch(figures: list[float], kept: int, ran: int) -> None:
    """Users who all agree: their figures have no spread, so being behind the best is no chance."""
    seen: list[TowerVectors] = []
    records: list[EpochRecord] = []

    def scripted(vectors: TowerVectors) -> NDArray[np.float64]:
        seen.append(vectors)
        return np.full(5, figures[len(seen) - 1])

    def on_epoch(member: int, record: EpochRecord) -> None:
        assert member == 0
        records.append(record)

    fitted = towers("history", epochs=None, validate=scripted, on_epoch=on_epoch)
    history = history_of(fitted)
    assert (history.epochs, len(history.curve), len(seen)) == (kept, ran, ran)
    assert fitted.epochs == (kept,)
    assert [record.epoch for record in records] == list(range(1, ran + 1))
    assert [record.validation for record in records] == pytest.approx(figures[:ran])
    assert list(history.curve) == records
    assert np.array_equal(fitted.vectors.items, seen[kept - 1].items)
    assert np.array_equal(fitted.vectors.users, seen[kept - 1].users)
    assert not any(np.array_equal(fitted.vectors.items, each.items) for each in seen[kept:])
    # Refitting for that many epochs without validation is the same training.
    assert same(fitted.weights, towers("history", epochs=(kept,)).weights)


def test_an_epoch_within_a_standard_error_of_the_best_is_as_good() -> None:
    """Each epoch's distance to the best, the first, and its standard error, worked by hand.

    2: (1, -1, 0.5, 0), mean 0.125 and error 0.427, kept. 3: (1, 0, 1, 0), 0.5 and 0.289, not kept.
    4: (1, 0, 0.5, 0), 0.375 and 0.239, not kept, although it is within an error of the second epoch.
    """
    merits = iter([[1, 0, 1, 0], [0, 1, 0.5, 0], [0, 0, 0, 0], [0, 0, 0.5, 0], [0, 0, 0, 0], [9, 9, 9, 9]])
    fitted = towers("id", epochs=None, validate=lambda vectors: np.array(next(merits), dtype=np.float64))
    assert history_of(fitted).epochs == 2
    assert [record.validation for record in history_of(fitted).curve] == [0.5, 0.375, 0.0, 0.125, 0.0]


def test_without_early_stopping_the_last_of_max_epochs_is_kept_and_validation_recorded() -> None:
    train, _ = checkerboard()
    figures = iter([0.9, 0.1, 0.1, 0.1, 0.1, 0.2, 0.1])
    settings = tower_settings(max_epochs=7, patience=1, early_stopping=False)
    fitted = fit_towers(
        TowerJob(train, settings, seed=1, device=CPU, validate=lambda v: np.full(5, next(figures)))
    )
    history = history_of(fitted)
    assert history.epochs == 7
    assert [record.validation for record in history.curve] == [0.9, 0.1, 0.1, 0.1, 0.1, 0.2, 0.1]
    assert same(
        fitted.weights, fit_towers(TowerJob(train, settings, seed=1, device=CPU), epochs=(7,)).weights
    )
    assert same(fitted.weights, fit_towers(TowerJob(train, settings, seed=1, device=CPU)).weights)

    train, held_out = noise()
    settings_mf = mf_settings(weight_decay=0.0, batch_size=16, max_epochs=15, patience=1)
    stopped = fit_neural_mf(train, settings_mf, seed=0, device=CPU, validation=held_out)
    assert len(stopped.history.curve) < 15
    settings_mf = replace(settings_mf, early_stopping=False)
    rated = fit_neural_mf(train, settings_mf, seed=0, device=CPU, validation=held_out)
    assert rated.history.epochs == len(rated.history.curve) == 15
    assert rated.history.curve[: len(stopped.history.curve)] == stopped.history.curve
    assert same(rated.weights, fit_neural_mf(train, settings_mf, seed=0, device=CPU, epochs=15).weights)


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("figures", [[], [0.1, math.nan]])
def test_nothing_to_validate_by_is_refused(early_stopping: bool, figures: list[float]) -> None:
    settings = tower_settings(early_stopping=early_stopping)
    with pytest.raises(DataError, match="nothing to validate by in epoch 1"):
        fit_towers(
            TowerJob(checkerboard()[0], settings, seed=1, device=CPU, validate=lambda v: np.array(figures))
        )


def test_averaging_nothing_keeps_exactly_the_last_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[torch.nn.Module] = []

    class Spy(torch.optim.swa_utils.AveragedModel):
        def update_parameters(self, model: torch.nn.Module) -> None:
            super().update_parameters(model)
            trained.append(model)

    monkeypatch.setattr("retrieval.training.loop_state.AveragedModel", Spy)
    train, ratings = checkerboard()[0], checkerboard_ratings()[0]
    by_towers = fit_towers(
        TowerJob(train, tower_settings(averaging_decay=0.0), seed=1, device=CPU), epochs=(3,)
    )
    raw = mf_settings(averaging_decay=0.0, standardise=False)
    by_ratings = fit_neural_mf(ratings, raw, seed=1, device=CPU, epochs=3)
    last_towers = trained[2]
    assert isinstance(last_towers, TwoTowerBPR)
    assert same(by_towers.weights, last_towers.export(train.item_lists()).weights())
    last = {name: tensor.numpy() for name, tensor in trained[5].state_dict().items()}
    assert same(by_ratings.weights, last)


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_kept_weights_are_a_moving_average_over_epochs(decay: float) -> None:
    def weights(decay: float, epochs: int) -> tuple[Weights, Weights]:
        train, ratings = checkerboard()[0], checkerboard_ratings()[0]
        first = tower_settings(averaging_decay=decay)
        second = mf_settings(averaging_decay=decay)
        return (
            fit_towers(TowerJob(train, first, seed=1, device=CPU), epochs=(epochs,)).weights,
            fit_neural_mf(ratings, second, seed=1, device=CPU, epochs=epochs).weights,
        )

    plain = [weights(0.0, epochs) for epochs in (1, 2, 3)]
    for model, averaged in enumerate(weights(decay, 3)):
        for name, array in averaged.items():
            first, second, third = (each[model][name] for each in plain)
            expected = decay * (decay * first + (1 - decay) * second) + (1 - decay) * third
            assert array == pytest.approx(expected, abs=1e-6), name
            assert not np.allclose(array, third, atol=1e-4), name


def test_neural_mf_keeps_the_last_epoch_that_is_no_worse_than_chance_explains() -> None:
    """The rule again, over a fit for each epoch."""
    train, validation = noise()
    settings = mf_settings(dropout=0.3, weight_decay=0.0, batch_size=16, max_epochs=20, unknown_users=0.0)
    fitted = fit_neural_mf(train, settings, seed=0, device=CPU, validation=validation)

    fits = [
        fit_neural_mf(train, settings, seed=0, device=CPU, epochs=1 + epoch)
        for epoch in range(len(fitted.history.curve))
    ]
    squares = [
        (each.model.predict_pairs(validation.users, validation.items) - validation.ratings) ** 2
        for each in fits
    ]
    assert [record.validation for record in fitted.history.curve] == pytest.approx(
        [float(np.sqrt(each.mean())) for each in squares], abs=1e-4
    )
    good = []
    for epoch in range(len(squares)):
        best = min(squares[: epoch + 1], key=lambda each: float(each.mean()))
        worse = squares[epoch] - best
        if worse.mean() <= worse.std(ddof=1) / np.sqrt(len(worse)):
            good.append(epoch + 1)
    assert fitted.history.epochs == good[-1]
    assert len(fitted.history.curve) == good[-1] + settings.patience < settings.max_epochs
    assert same(fits[fitted.history.epochs - 1].weights, fitted.weights)


def test_the_loss_of_an_epoch_is_the_mean_over_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 2, 2 and 1 with losses 1, 2 and 6: (2 * 1 + 2 * 2 + 6) / 5 = 2.4."""
    losses = iter([1.0, 2.0, 6.0])

    def scripted(model: TwoTowerBPR, batch: Any) -> torch.Tensor:
        return model.items.table.weight.sum() * 0 + next(losses)

    monkeypatch.setattr(TwoTowerBPR, "loss", scripted)
    data = encoded([0, 0, 1, 1, 2], [0, 1, 1, 2, 0], [5] * 5, 3, 4)
    fitted = fit_towers(TowerJob(data, tower_settings("id", batch_size=2), seed=0, device=CPU), epochs=(1,))
    assert history_of(fitted).curve[0].loss == pytest.approx(2.4)


def test_the_loss_falls() -> None:
    """Negatives drawn by their score stay hard, and what is held out is one: without both, it does."""
    users, items = np.divmod(np.arange(N_USERS * N_ITEMS), N_ITEMS)
    liked = (users - items) % 2 == 0
    whole = encoded(users[liked], items[liked], np.full(liked.sum(), 5.0), N_USERS, N_ITEMS)
    by_history = fit_towers(TowerJob(whole, tower_settings(loss="softmax"), seed=1, device=CPU), epochs=(8,))
    for fitted in (by_history, towers("id", epochs=(8,)), neural_mf(epochs=8)):
        curve = history_of(fitted).curve
        assert curve[-1].loss < 0.6 * curve[0].loss


def share_of_users_in_order(scores: NDArray[np.float32], held_out: EncodedInteractions) -> float:
    """Share of users whose held-out items all score above every item of the other parity."""
    lists, in_order = held_out.item_lists(), []
    for user, own in enumerate(scores):
        other = own[np.arange(N_ITEMS) % 2 != user % 2]
        in_order.append(own[lists.of(user)].min() > other.max())
    return float(np.mean(in_order))


@pytest.mark.parametrize(("kind", "loss"), [("id", "bpr"), ("history", "bpr"), ("history", "softmax")])
def test_towers_rank_held_out_items_of_the_own_group_first(kind: UserTowerKind, loss: LossKind) -> None:
    train, held_out = checkerboard()
    settings = tower_settings(kind, loss=loss, l2=0.03)
    fitted = fit_towers(TowerJob(train, settings, seed=1, device=CPU), epochs=(12,))
    scores = fitted.vectors.users @ fitted.vectors.items.T
    assert share_of_users_in_order(scores, held_out) > 0.9


def test_the_history_tower_serves_people_it_never_saw() -> None:
    fitted = towers("history", epochs=(12,))
    strangers = ItemLists.from_pairs(np.array([0, 0, 1, 1]), np.array([0, 6, 3, 9]), n_users=2)
    scores = fitted.vectors.for_histories(strangers) @ fitted.vectors.items.T
    even = np.arange(N_ITEMS) % 2 == 0
    assert scores[0, even].min() > scores[0, ~even].max()
    assert scores[1, ~even].min() > scores[1, even].max()


# Several members


def test_members_are_trained_one_by_one_and_joined() -> None:
    """Each is what it would be alone at its own seed; their validation and epochs are their own."""
    told: list[tuple[int, int]] = []
    figures = iter([0.1, 0.5, 0.2, 0.1, 0.9, 0.5, 0.4, 0.1, 0.1])
    # From chance: the closed-form start takes its own from the first seed.
    settings = tower_settings(members=2, patience=2, closed_form_start=False)
    train, _ = checkerboard()
    fitted = fit_towers(
        TowerJob(train, settings, seed=7, device=CPU, validate=lambda vectors: np.full(3, next(figures))),
        on_epoch=lambda member, record: told.append((member, record.epoch)),
    )
    assert told == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (1, 2), (1, 3)]
    assert fitted.epochs == (2, 1)
    assert [len(member.curve) for member in fitted.members] == [4, 3]
    assert same(
        fitted.weights, fit_towers(TowerJob(train, settings, seed=7, device=CPU), epochs=(2, 1)).weights
    )

    one = tower_settings(members=1, closed_form_start=False)
    alone = [
        fit_towers(TowerJob(train, one, seed=seed, device=CPU), epochs=epochs)
        for seed, epochs in ((7, (2,)), (7 + 1_000_003, (1,)))
    ]
    counts = np.bincount(train.items, minlength=N_ITEMS).astype(np.float32)
    joined = join([each.vectors for each in alone], counts + 1, settings.dimension)
    assert same(fitted.weights, joined.weights())
    assert not np.allclose(alone[0].vectors.items, alone[1].vectors.items, atol=1e-2)


def test_members_of_the_largest_seed_are_trained() -> None:
    fitted = towers("history", seed=2**31 - 1, members=2, epochs=(1, 1))
    assert len(fitted.members) == 2


def test_joined_members_rank_held_out_items_of_the_own_group_first() -> None:
    train, held_out = checkerboard()
    fitted = fit_towers(
        TowerJob(train, tower_settings(members=3, l2=0.03), seed=1, device=CPU), epochs=(8,) * 3
    )
    scores = fitted.vectors.users @ fitted.vectors.items.T
    assert fitted.vectors.items.shape == (N_ITEMS, 9)
    assert share_of_users_in_order(scores, held_out) > 0.9


# Side features


PARITY = ("colour=even", "colour=odd", "of=nobody")


def colours(rows: NDArray[np.int64]) -> SideFeatures:
    return SideFeatures(ItemLists.from_pairs(np.arange(len(rows)), rows % 2, len(rows)), PARITY)


def cold_checkerboard() -> tuple[EncodedInteractions, NDArray[np.int64], NDArray[np.int64]]:
    """The checkerboard without the positives of the last eight items; those items, and the others."""
    train, _ = checkerboard()
    cold = np.arange(N_ITEMS - 8, N_ITEMS)
    return train.where(train.items < cold[0]), np.arange(cold[0]), cold


@pytest.mark.parametrize(("loss", "members"), [("bpr", 2), ("softmax", 1)])
def test_items_without_interactions_are_found_by_their_features(loss: LossKind, members: int) -> None:
    """Cold items, whose own vectors are silent."""
    train, catalogue, cold = cold_checkerboard()
    fitted = fit_towers(
        TowerJob(
            train,
            tower_settings(loss=loss, members=members, l2=0.01),
            seed=1,
            device=CPU,
            catalogue=catalogue,
            features=TowerFeatures(items=colours(np.arange(N_ITEMS))),
        ),
        epochs=(10,) * members,
    )
    assert fitted.vectors.items.shape == (N_ITEMS, 9)
    scores = fitted.vectors.users @ fitted.vectors.items[cold].T
    own = (np.arange(N_USERS)[:, None] - cold) % 2 == 0
    in_order = [mine[like].min() > mine[~like].max() for mine, like in zip(scores, own, strict=True)]
    assert np.mean(in_order) > 0.9
    # What nobody liked says something in a history too, and strangers are found by it.
    history = ItemLists.from_pairs(np.array([0, 0, 1]), np.array([cold[0], cold[2], cold[1]]), 2)
    strangers = fitted.vectors.for_histories(history) @ fitted.vectors.items.T
    for line, parity in zip(strangers, (cold[0] % 2, cold[1] % 2), strict=True):
        like = np.arange(N_ITEMS) % 2 == parity
        assert line[like].mean() > line[~like].mean()


def test_without_features_what_training_never_reaches_is_silent() -> None:
    train, catalogue, cold = cold_checkerboard()
    fitted = fit_towers(
        TowerJob(train, tower_settings(), seed=1, device=CPU, catalogue=catalogue), epochs=(2,)
    )
    assert fitted.vectors.history_items is not None
    assert not fitted.vectors.items[cold].any() and not fitted.vectors.history_items[cold].any()
    assert fitted.vectors.items[catalogue].all() and fitted.vectors.history_items[catalogue].all()


def test_user_features_tell_users_without_positives_apart() -> None:
    """Two more users, of whom only the parity is known."""
    train, _ = checkerboard()
    more = replace(train, n_users=N_USERS + 2)
    features = TowerFeatures(users=colours(np.arange(N_USERS + 2)))
    settings = tower_settings(l2=0.01)
    fitted = fit_towers(TowerJob(more, settings, seed=1, device=CPU, features=features), epochs=(12,))
    scores = fitted.vectors.users[N_USERS:] @ fitted.vectors.items.T
    even = np.arange(N_ITEMS) % 2 == 0
    assert scores[0, even].mean() > scores[0, ~even].mean()
    assert scores[1, ~even].mean() > scores[1, even].mean()


@pytest.mark.parametrize("members", [1, 2])
def test_features_repeat_bit_for_bit(members: int) -> None:
    train, catalogue, _ = cold_checkerboard()
    features = TowerFeatures(colours(np.arange(N_ITEMS)), colours(np.arange(N_USERS)))
    settings = tower_settings(members=members)
    runs = [
        fit_towers(
            TowerJob(train, settings, seed=1, device=CPU, catalogue=catalogue, features=features),
            epochs=(2,) * members,
        )
        for _ in range(2)
    ]
    assert same(runs[0].weights, runs[1].weights)
    assert np.array_equal(runs[0].vectors.users, runs[1].vectors.users)


# What is trained on


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("negatives", [1, 4])
def test_a_single_positive_is_enough_to_train_on(kind: UserTowerKind, negatives: int) -> None:
    """Half of the time it would be history, and nothing would be left to rank."""
    data = encoded([0], [1], [5], 1, 3)
    for seed in range(4):
        settings = tower_settings(kind, negatives=negatives)
        fitted = fit_towers(TowerJob(data, settings, seed=seed, device=CPU), epochs=(3,))
        assert len(history_of(fitted).curve) == 3
        scores = fitted.vectors.users @ fitted.vectors.items.T
        assert scores[0].argmax() == 1


def test_old_positives_count_less() -> None:
    """Everybody liked item 0 long ago and likes item 1 now; with a short half-life 1 outscores 0."""
    users = np.repeat(np.arange(50), 2)
    items = np.tile([0, 1], 50)
    times = np.where(items == 0, 0, 100 * 86_400)
    data = EncodedInteractions(users, items, np.full(100, 5, np.float32), times, 50, 6)
    settings = tower_settings("id", recency_half_life_days=5.0)
    fitted = fit_towers(TowerJob(data, settings, seed=0, device=CPU), epochs=(15,))
    scores = fitted.vectors.users @ fitted.vectors.items.T
    assert (scores[:, 1] > scores[:, 0]).all()


def test_neural_mf_beats_the_mean_rating_on_held_out_pairs() -> None:
    train, held_out = checkerboard_ratings()
    fitted = fit_neural_mf(train, mf_settings(), seed=0, device=CPU, epochs=25)
    predicted = fitted.model.predict_pairs(held_out.users, held_out.items)
    rmse = np.sqrt(np.mean((predicted - held_out.ratings) ** 2))
    of_the_mean = np.sqrt(np.mean((train.ratings.mean() - held_out.ratings) ** 2))
    assert of_the_mean > 1.4
    assert rmse < 0.4 * of_the_mean


def by_item(data: EncodedInteractions) -> NDArray[np.float32]:
    """About 4.5 for even items and 1.5 for odd ones: learnt in an epoch or two."""
    noise = np.random.default_rng(1).normal(0, 0.2, len(data))
    return (np.where(data.items % 2 == 0, 4.5, 1.5) + noise).astype(np.float32)


def on_scale(data: EncodedInteractions, factor: float, offset: float) -> EncodedInteractions:
    assert data.ratings is not None
    return replace(data, ratings=(factor * data.ratings + offset).astype(np.float32))


@pytest.mark.parametrize(("factor", "offset"), [(4.0, 0.0), (25.0, -25.0), (0.01, 7.0)])
def test_ratings_on_another_scale_give_the_same_predictions_on_that_scale(
    factor: float, offset: float
) -> None:
    """Ratings a * r + b give predictions a * p + b, losses a * a * loss and validation a * RMSE."""
    train, held_out = (replace(data, ratings=by_item(data)) for data in checkerboard_ratings())
    one = fit_neural_mf(train, mf_settings(max_epochs=4), seed=0, device=CPU, validation=held_out)
    moved, moved_held_out = (on_scale(data, factor, offset) for data in (train, held_out))
    other = fit_neural_mf(moved, mf_settings(max_epochs=4), seed=0, device=CPU, validation=moved_held_out)
    predicted = one.model.predict_pairs(held_out.users, held_out.items)
    assert predicted.std() > 0.5
    expected = factor * predicted + offset
    assert other.model.predict_pairs(held_out.users, held_out.items) == pytest.approx(
        expected, abs=2e-3 * factor
    )
    assert other.history.epochs == one.history.epochs
    for mine, theirs in zip(other.history.curve, one.history.curve, strict=True):
        assert theirs.validation is not None
        assert mine.loss == pytest.approx(factor**2 * theirs.loss, rel=1e-3)
        assert mine.validation == pytest.approx(factor * theirs.validation, rel=1e-3)


@pytest.mark.parametrize("standardise", [True, False])
def test_losses_and_validation_are_those_of_the_exported_model(standardise: bool) -> None:
    train, held_out = (on_scale(data, 20.0, 0.0) for data in checkerboard_ratings())
    settings = mf_settings(standardise=standardise, averaging_decay=0.0, dropout=0.0, batch_size=10_000)
    settings = replace(settings, early_stopping=False, max_epochs=3, unknown_users=0.0)
    fitted = fit_neural_mf(train, settings, seed=0, device=CPU, validation=held_out)
    before = fit_neural_mf(train, settings, seed=0, device=CPU, epochs=2).model
    assert train.ratings is not None and held_out.ratings is not None
    errors = fitted.model.predict_pairs(held_out.users, held_out.items) - held_out.ratings
    assert fitted.history.curve[-1].validation == pytest.approx(float(np.sqrt(np.mean(errors**2))), rel=1e-4)
    # One step an epoch: its loss is that of the weights before it.
    errors = before.predict_pairs(train.users, train.items) - train.ratings
    assert fitted.history.curve[-1].loss == pytest.approx(float(np.mean(errors**2)), rel=1e-4)


def test_a_scale_of_0_to_100_is_learnt_as_well_as_one_of_1_to_5() -> None:
    train, held_out = (on_scale(data, 25.0, -25.0) for data in checkerboard_ratings())
    assert train.ratings is not None and held_out.ratings is not None
    of_the_mean = float(np.std(held_out.ratings))
    rmse = {}
    for standardise in (True, False):
        settings = mf_settings(standardise=standardise, learning_rate=3e-3)
        model = fit_neural_mf(train, settings, seed=0, device=CPU, epochs=25).model
        errors = model.predict_pairs(held_out.users, held_out.items) - held_out.ratings
        rmse[standardise] = float(np.sqrt(np.mean(errors**2)))
    assert rmse[True] < 0.4 * of_the_mean < 0.8 * of_the_mean < rmse[False]


def test_equal_ratings_are_predicted_as_such() -> None:
    train, _ = checkerboard()
    fitted = fit_neural_mf(on_scale(train, 0.0, 3.3), mf_settings(), seed=0, device=CPU, epochs=10)
    predicted = fitted.model.predict_pairs(train.users, train.items)
    assert predicted == pytest.approx(np.full(len(train), 3.3), abs=0.1)


def test_a_weight_decay_of_0_is_plain_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    ratings, _ = checkerboard_ratings()
    decoupled = fit_neural_mf(ratings, mf_settings(weight_decay=0.0), seed=0, device=CPU, epochs=3)
    monkeypatch.setattr(torch.optim, "AdamW", torch.optim.Adam)
    plain = fit_neural_mf(ratings, mf_settings(weight_decay=0.0), seed=0, device=CPU, epochs=3)
    assert same(decoupled.weights, plain.weights)


def test_neural_mf_needs_ratings() -> None:
    train, held_out = checkerboard_ratings()
    for standardise in (True, False):
        settings = mf_settings(standardise=standardise)
        with pytest.raises(ValueError, match="have none"):
            fit_neural_mf(replace(train, ratings=None), settings, seed=0, device=CPU)
        with pytest.raises(ValueError, match="have none"):
            fit_neural_mf(train, settings, seed=0, device=CPU, validation=replace(held_out, ratings=None))


@pytest.mark.parametrize("kind", BOTH)
def test_towers_train_without_ratings_and_timestamps(kind: UserTowerKind) -> None:
    clicks = replace(checkerboard()[0], ratings=None, timestamps=None)
    fitted = fit_towers(TowerJob(clicks, tower_settings(kind, l2=0.03), seed=1, device=CPU), epochs=(12,))
    scores = fitted.vectors.users @ fitted.vectors.items.T
    assert share_of_users_in_order(scores, checkerboard()[1]) > 0.9


def test_the_numpy_twin_is_the_trained_network() -> None:
    train, _ = checkerboard_ratings()
    fitted = neural_mf()
    model = NeuralMF(N_USERS, N_ITEMS, mf_settings()).eval()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in fitted.weights.items()})
    with torch.no_grad():
        expected = model(torch.from_numpy(train.users), torch.from_numpy(train.items)).numpy()
    assert fitted.model.predict_pairs(train.users, train.items) == pytest.approx(expected, abs=1e-5)


def test_nothing_to_train_on_is_refused() -> None:
    nothing = encoded([], [], [], 3, 3)
    with pytest.raises(DataError, match="no positive interaction"):
        fit_towers(TowerJob(nothing, tower_settings(), seed=0, device=CPU))
    with pytest.raises(DataError, match="no rating"):
        fit_neural_mf(nothing, mf_settings(), seed=0, device=CPU)
    everything = encoded([0, 0, 1, 1], [0, 1, 0, 1], [5] * 4, 2, 2)
    with pytest.raises(DataError, match="every user likes every item"):
        fit_towers(TowerJob(everything, tower_settings(), seed=0, device=CPU))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    losses = iter([1.0] * 5 + [value] + [1.0] * 100)

    def scripted(model: TwoTowerBPR, batch: Any) -> torch.Tensor:
        return model.items.table.weight.sum() * 0 + next(losses)

    monkeypatch.setattr(TwoTowerBPR, "loss", scripted)
    data = encoded([0, 0, 1, 1], [0, 1, 1, 2], [5] * 4, 2, 4)
    with pytest.raises(DataError, match=rf"epoch 3 \(loss {value}\); lower the learning rate"):
        fit_towers(TowerJob(data, tower_settings("id", batch_size=2), seed=0, device=CPU), epochs=(9,))


def test_weights_that_break_in_the_last_step_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss, taken before the step, is a number still: the gradient of a root at 0 is none."""

    def rootlike(model: TwoTowerBPR, batch: Any) -> torch.Tensor:
        return (model.items.table.weight * 0).sqrt().sum()

    monkeypatch.setattr(TwoTowerBPR, "loss", rootlike)
    data = encoded([0, 0, 1, 1], [0, 1, 1, 2], [5] * 4, 2, 4)
    with pytest.raises(DataError, match="epoch 1"):
        fit_towers(TowerJob(data, tower_settings("id"), seed=0, device=CPU), epochs=(1,))


@pytest.mark.parametrize("kind", BOTH)
def test_a_monstrous_learning_rate_is_refused(kind: UserTowerKind) -> None:
    train, _ = checkerboard()
    with pytest.raises(DataError, match="lower the learning rate"):
        fit_towers(TowerJob(train, tower_settings(kind, learning_rate=1e30), seed=0, device=CPU), epochs=(3,))
    ratings, _ = checkerboard_ratings()
    with pytest.raises(DataError, match="lower the learning rate"):
        fit_neural_mf(ratings, mf_settings(learning_rate=1e30), seed=0, device=CPU, epochs=3)


@pytest.fixture
def two_gigabytes_more() -> Iterator[None]:
    """Address space may grow by 2 GiB; tracemalloc cannot see what torch allocates."""
    resource = pytest.importorskip("resource")
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs /proc to know how much is mapped already")
    mapped = int(statm.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 2 * 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.usefixtures("two_gigabytes_more")
@pytest.mark.parametrize("kind", BOTH)
def test_nothing_of_the_size_users_times_items_is_allocated(kind: UserTowerKind) -> None:
    """200,000 users and 200,000 items: a matrix of them would take 40 GB at one byte a cell."""
    n = 200_000
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(n), 2)
    items = (users * 7 + np.tile([0, 1], n) * rng.integers(1, n, 2 * n)) % n
    data = encoded(users, items, np.full(2 * n, 4.0), n, n)
    per_step = {"batch_size": 100_000} if kind == "id" else {"batch_size": 20_000, "catalogue_sample": 50}
    settings = tower_settings(kind, dimension=2, negatives=1, **per_step)
    tracemalloc.start()
    try:
        fitted = fit_towers(
            TowerJob(data, settings, seed=0, device=CPU, validate=lambda v: np.zeros(9)), epochs=(1,)
        )
        if kind == "id":
            small = mf_settings(dimension=2, hidden=(4, 2), batch_size=100_000)
            fit_neural_mf(data, small, seed=0, device=CPU, validation=data, epochs=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert fitted.vectors.users.shape == fitted.vectors.items.shape == (n, 3)
    assert peak < 300e6


def test_the_callers_threads_and_random_numbers_are_put_back() -> None:
    state = torch.get_rng_state()
    with pytest.raises(KeyError), borrowed_torch(2):
        assert torch.get_num_threads() == 2
        torch.manual_seed(1)
        raise KeyError
    assert torch.get_num_threads() == 1
    assert torch.equal(torch.get_rng_state(), state)


def test_an_id_nobody_trained_leaves_the_answer_to_the_biases() -> None:
    train, _ = checkerboard()
    stranger = EncodedInteractions(
        train.users, train.items, train.ratings, train.timestamps, N_USERS + 1, N_ITEMS
    )
    vectors = fit_towers(TowerJob(stranger, tower_settings("id"), seed=1, device=CPU), epochs=(2,)).vectors
    assert not vectors.users[N_USERS, :-1].any()
    assert vectors.users[:N_USERS, :-1].any(axis=1).all()


def test_devices() -> None:
    assert choose_device("cpu") == CPU
    if torch.cuda.is_available():
        assert choose_device("cuda").type == choose_device("auto").type == "cuda"
    else:
        assert choose_device("auto") == CPU
        with pytest.raises(EnvironmentProblem, match=r"`device=cuda`: .*use `device=cpu` or auto"):
            choose_device("cuda")
