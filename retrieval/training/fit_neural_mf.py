"""Trains NeuralMF on ratings, with early stopping by squared error on validation."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from retrieval.arrays import MetricValues, Weights
from retrieval.data.encoded import EncodedInteractions
from retrieval.errors import DataError
from retrieval.serving.rating_model import RatingModel
from retrieval.settings import NeuralMFSettings
from retrieval.training.checkpoints import NOWHERE, Checkpoint
from retrieval.training.curves import NEURAL_MF, TrainingHistory
from retrieval.training.loop import Loop, OnEpoch, mean_loss
from retrieval.training.neural_mf import NeuralMF, RatingScale
from retrieval.training.towers import to_numpy


@dataclass(frozen=True)
class FittedNeuralMF:
    """A trained NeuralMF. Weights, losses and validation figures are in the table's own scale of ratings.

    Attributes:
        weights: by name.
        model: the same network in numpy, for serving.
        history: of the training.
    """

    weights: Weights
    model: RatingModel
    history: TrainingHistory


def fit_neural_mf(
    ratings: EncodedInteractions,
    settings: NeuralMFSettings,
    *,
    seed: int,
    device: torch.device,
    validation: EncodedInteractions | None = None,
    epochs: int | None = None,
    on_epoch: OnEpoch = lambda record: None,
    checkpoint: Checkpoint | None = None,
) -> FittedNeuralMF:
    """Train NeuralMF on ratings with a squared loss.

    Args:
        ratings: all interactions of train, positive or not.
        validation: ratings to stop early by, see `Loop`; None trains without.
        epochs: train for exactly this many; None: up to `max_epochs`.
        checkpoint: training goes on from it and keeps its state there; None keeps nothing.

    Raises:
        ValueError: if the interactions have no ratings.
        DataError: if there is nothing to train on, or the loss or a weight stops being a number.
        ArtifactError: if the checkpoint is damaged.
        EnvironmentProblem: if the checkpoint cannot be written.
    """
    if not len(ratings):
        raise DataError("no rating to train NeuralMF on; give more data")
    scale = RatingScale.of(_rated(ratings)) if settings.standardise else RatingScale()
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = NeuralMF(ratings.n_users, ratings.n_items, settings).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )

    def tensors(data: EncodedInteractions) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        arrays = (data.users, data.items, scale.standardised(_rated(data)))
        users, items, values = (torch.from_numpy(array).to(device) for array in arrays)
        return users, items, values

    users, items, values = tensors(ratings)

    def steps() -> Iterator[tuple[torch.optim.Optimizer, torch.Tensor, int]]:
        order = torch.from_numpy(rng.permutation(len(ratings))).to(device)
        for rows in torch.split(order, settings.batch_size):
            unknown = torch.from_numpy(rng.random(len(rows)) < settings.unknown_users).to(device)
            shown = users[rows].masked_fill(unknown, ratings.n_users)  # the row of the unknown user
            loss = (model(shown, items[rows]) - values[rows]).square().mean()
            yield optimizer, loss, len(rows)

    held_out = None if validation is None else tensors(validation)

    @torch.no_grad()
    def validate(candidate: NeuralMF) -> MetricValues:
        assert held_out is not None
        errors = to_numpy(candidate(held_out[0], held_out[1]) - held_out[2])
        return -np.square(errors.astype(np.float64) * scale.std)

    loop = Loop(
        model=model,
        optimizer=optimizer,
        rng=rng,
        run_epoch=lambda: mean_loss(steps()) * scale.std**2,
        validate=None if held_out is None else validate,
        summary=lambda negative_squares: float(np.sqrt(-negative_squares.mean())),
        settings=settings,
        on_epoch=on_epoch,
        checkpoint=checkpoint or NOWHERE.of(NEURAL_MF),
    )
    kept, history = loop.run(settings.max_epochs if epochs is None else epochs)
    weights = scale.fold_into({name: to_numpy(tensor) for name, tensor in kept.state_dict().items()})
    _speak_for_unreached(weights, ratings, settings)
    bounds = float(_rated(ratings).min()), float(_rated(ratings).max())
    return FittedNeuralMF(weights, RatingModel.from_weights(weights, bounds), history)


def _speak_for_unreached(weights: Weights, ratings: EncodedInteractions, settings: NeuralMFSettings) -> None:
    """Give embeddings that training never reached the mean of the others; they are random otherwise."""
    users = np.r_[np.bincount(ratings.users, minlength=ratings.n_users), settings.unknown_users > 0]
    items = np.bincount(ratings.items, minlength=ratings.n_items)
    for name, reached in (("users.weight", users > 0), ("items.weight", items > 0)):
        weights[name][~reached] = weights[name][reached].mean(axis=0)


def _rated(interactions: EncodedInteractions) -> NDArray[np.float32]:
    if interactions.ratings is None:
        raise ValueError("NeuralMF learns ratings, and these interactions have none")
    return interactions.ratings
