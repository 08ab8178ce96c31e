"""The fit loops: epochs, early stopping on validation, and the best weights at the end."""

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from retrieval.batches import TowerBatches
from retrieval.encoded import EncodedInteractions
from retrieval.errors import DataError, EnvironmentProblem
from retrieval.neural_mf import NeuralMF
from retrieval.rating_model import RatingModel
from retrieval.settings import NeuralMFSettings, TowerSettings
from retrieval.towers import TwoTowerBPR, to_numpy
from retrieval.vectors import TowerVectors, Weights

OnEpoch = Callable[["EpochRecord"], None]


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of one model: the mean training loss and, where validated, the validation figure."""

    epoch: int
    loss: float
    validation: float | None


@dataclass(frozen=True)
class FittedTowers:
    """Trained towers: their weights by name, their exported vectors and how training went.

    `epochs` is the number of epochs behind the kept weights, not the number that ran.
    """

    weights: Weights
    vectors: TowerVectors
    epochs: int
    curve: tuple[EpochRecord, ...]


def choose_device(name: str) -> torch.device:
    """The torch device for auto, cpu or cuda.

    Raises:
        EnvironmentProblem: if cuda is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise EnvironmentProblem(
            "--device cuda: this torch build or machine has no usable CUDA device; use --device cpu or auto"
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def fit_towers(
    positives: EncodedInteractions,
    settings: TowerSettings,
    *,
    seed: int,
    device: torch.device,
    validate: Callable[[TowerVectors], float] | None = None,
    epochs: int | None = None,
    on_epoch: OnEpoch = lambda record: None,
) -> FittedTowers:
    """Train TwoTowerBPR on positives.

    Args:
        positives: the interactions to rank high.
        validate: maps exported vectors to a figure of merit, larger is better; with it training
            stops early and the best epoch's weights are kept.
        epochs: exactly this many instead, without validation: for the refit on all data.

    Raises:
        DataError: if there is nothing to train on, or the loss stops being a number.
    """
    if not len(positives):
        raise DataError("no positive interaction to train on; lower --positive-threshold or give more data")
    torch.manual_seed(seed)
    batches = TowerBatches(positives, settings, np.random.default_rng(seed), device)
    if not batches.triplets:
        raise DataError("every user likes every item, so there is nothing to rank lower")
    histories = positives.item_lists()
    model = TwoTowerBPR(positives.n_users, positives.n_items, settings).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)

    def run_epoch() -> float:
        return _mean_loss((optimizer, model.loss(batch), len(batch.targets)) for batch in batches.epoch())

    score = None if validate is None else lambda: validate(model.export(histories))
    kept, curve = _fit(model, run_epoch, score, epochs or settings.max_epochs, settings.patience, on_epoch)
    weights = {name: to_numpy(tensor) for name, tensor in model.state_dict().items()}
    return FittedTowers(weights, model.export(histories), kept, curve)


@dataclass(frozen=True)
class FittedNeuralMF:
    """A trained NeuralMF: its weights by name, its numpy twin and how training went."""

    weights: Weights
    model: RatingModel
    epochs: int
    curve: tuple[EpochRecord, ...]


def fit_neural_mf(
    ratings: EncodedInteractions,
    settings: NeuralMFSettings,
    *,
    seed: int,
    device: torch.device,
    validation: EncodedInteractions | None = None,
    epochs: int | None = None,
    on_epoch: OnEpoch = lambda record: None,
) -> FittedNeuralMF:
    """Train NeuralMF on ratings with a squared loss.

    Args:
        ratings: all interactions of train, not only the positives.
        validation: with it training stops early and the weights of the lowest RMSE are kept.
        epochs: exactly this many instead, without validation: for the refit on all data.

    Raises:
        DataError: if there is nothing to train on, or the loss stops being a number.
    """
    if not len(ratings):
        raise DataError("no rating to train NeuralMF on; give more data")
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = NeuralMF(ratings.n_users, ratings.n_items, float(ratings.ratings.mean()), settings).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )

    def tensors(data: EncodedInteractions) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        arrays = (data.users, data.items, data.ratings)
        users, items, values = (torch.from_numpy(array).to(device) for array in arrays)
        return users, items, values

    users, items, values = tensors(ratings)

    def steps() -> Iterator[tuple[torch.optim.Optimizer, torch.Tensor, int]]:
        order = torch.from_numpy(rng.permutation(len(ratings))).to(device)
        for rows in torch.split(order, settings.batch_size):
            loss = (model(users[rows], items[rows]) - values[rows]).square().mean()
            yield optimizer, loss, len(rows)

    held_out = None if validation is None else tensors(validation)

    @torch.no_grad()
    def negative_rmse() -> float:
        assert held_out is not None
        return -float((model(held_out[0], held_out[1]) - held_out[2]).square().mean().sqrt())

    score = None if held_out is None else negative_rmse
    run_epoch = lambda: _mean_loss(steps())  # noqa: E731
    kept, curve = _fit(model, run_epoch, score, epochs or settings.max_epochs, settings.patience, on_epoch)
    weights = {name: to_numpy(tensor) for name, tensor in model.state_dict().items()}
    return FittedNeuralMF(weights, RatingModel.from_weights(weights), kept, curve)


def _fit(
    model: torch.nn.Module,
    run_epoch: Callable[[], float],
    score: Callable[[], float] | None,
    epochs: int,
    patience: int,
    on_epoch: OnEpoch,
) -> tuple[int, tuple[EpochRecord, ...]]:
    """Run epochs; with a `score` (larger is better) stop early and put the best weights back."""
    best_score, best_epoch, best_state = -np.inf, epochs, None
    curve: list[EpochRecord] = []
    for epoch in range(1, epochs + 1):
        model.train()
        loss = run_epoch()
        if not np.isfinite(loss):
            raise DataError(f"the training loss became {loss} in epoch {epoch}; lower the learning rate")
        model.eval()
        record = EpochRecord(epoch, loss, None if score is None else score())
        curve.append(record)
        on_epoch(record)
        if record.validation is None:
            continue
        if record.validation > best_score:
            best_score, best_epoch = record.validation, epoch
            best_state = copy.deepcopy(model.state_dict())
        elif epoch - best_epoch >= patience:
            break
    if best_state is not None:
        model.load_state_dict(best_state)
    return best_epoch, tuple(curve)


def _mean_loss(steps: Iterable[tuple[torch.optim.Optimizer, torch.Tensor, int]]) -> float:
    """Take every step and return the mean loss over rows."""
    total, rows = 0.0, 0
    for optimizer, loss, size in steps:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += float(loss.detach()) * size
        rows += size
    return total / rows
