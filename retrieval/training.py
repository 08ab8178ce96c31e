"""The fit loops: epochs, averaged weights, early stopping on validation."""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from index import ItemLists
from retrieval.batches import TripletBatches
from retrieval.closed_form import TowerStart, closed_form_start
from retrieval.curves import EpochRecord, TrainingHistory
from retrieval.encoded import EncodedInteractions
from retrieval.errors import DataError, EnvironmentProblem
from retrieval.features import SideFeatures
from retrieval.histories import HistoryBatches
from retrieval.joining import join
from retrieval.neural_mf import NeuralMF, RatingScale
from retrieval.rating_model import RatingModel
from retrieval.settings import NeuralMFSettings, TowerSettings
from retrieval.towers import IdUserTower, TwoTowerBPR, to_numpy
from retrieval.uncertainty import standard_error
from retrieval.vectors import Matrix, TowerVectors, Weights

Model = TypeVar("Model", bound=torch.nn.Module)
Merits = NDArray[np.float64]
OnEpoch = Callable[[EpochRecord], None]


@dataclass(frozen=True)
class FittedTowers:
    """Trained towers.

    Attributes:
        vectors: exported, of all members joined.
        weights: of the towers that give those vectors, by name.
        members: how the training of each went.
        new_items: shape (c, d + 1), float32: vectors of items known by their features alone, in the
            order they were given; None without side features.
    """

    vectors: TowerVectors
    weights: Weights
    members: tuple[TrainingHistory, ...]
    new_items: Matrix | None

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs behind each member's kept weights."""
        return tuple(member.epochs for member in self.members)


@dataclass(frozen=True)
class TowerFeatures:
    """Side features for the towers, where there are any.

    Attributes:
        items, users: of the items and users of train.
        new_items: of items without interactions, with the same names as `items`.
    """

    items: SideFeatures | None = None
    users: SideFeatures | None = None
    new_items: SideFeatures | None = None


@contextmanager
def borrowed_torch(threads: int) -> Iterator[None]:
    """Let torch use this many threads inside the block.

    The number of threads and the state of torch's random numbers are the caller's again after it.
    """
    before, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_rng_state(state)


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
    catalogue: NDArray[np.int64] | None = None,
    features: TowerFeatures | None = None,
    start: TowerStart | None = None,
    validate: Callable[[TowerVectors], Merits] | None = None,
    epochs: tuple[int, ...] | None = None,
    on_epoch: Callable[[int, EpochRecord], None] = lambda member, record: None,
) -> FittedTowers:
    """Train TwoTowerBPR on positives: as many members as the settings say, joined into one.

    Args:
        positives: the interactions to rank high.
        catalogue: item rows, ascending, that have interactions; every item unless given. The others
            are nobody's negatives and known by their side features alone.
        features: of the items and users, for the history tower.
        start: as `start_of` gives it, for who knows it already.
        validate: maps exported vectors to figures of merit, shape (q,), one for each list of
            validation, larger is better; with it training stops early, see `_Loop`.
        epochs: exactly this many of each member instead, without validation: for the refit on all data.
        on_epoch: told the member, from 0, and its epoch.

    Raises:
        DataError: if there is nothing to train on, or the loss or a weight stops being a number.
    """
    if not len(positives):
        raise DataError("no positive interaction to train on; lower --positive-threshold or give more data")
    features, start = features or TowerFeatures(), start or start_of(positives, settings, seed)
    trained = [
        _fit_member(
            positives,
            settings,
            # Far apart, so that neighbouring seeds of two builds share no member.
            seed=(seed + 1_000_003 * member) % 2**31,
            device=device,
            catalogue=catalogue,
            features=features,
            start=start,
            validate=validate,
            epochs=None if epochs is None else epochs[member],
            on_epoch=partial(on_epoch, member),
        )
        for member in range(settings.members)
    ]
    histories, popularity = positives.item_lists(), popularity_of(positives)
    exported = [model.export(histories) for model, _ in trained]
    new_items = None
    if features.items is not None and features.new_items is not None:
        # Joined beside the others, so that they come into the same space; no history holds them yet.
        exported = [
            vectors.with_items(*model.encode_items(features.new_items))
            for vectors, (model, _) in zip(exported, trained, strict=True)
        ]
        popularity = np.append(popularity, np.zeros(len(features.new_items), dtype=np.float32))
    joined = join(exported, popularity + 1, settings.dimension)
    if features.items is not None and features.new_items is not None:
        joined, new_items = joined.first_items(positives.n_items), joined.items[positives.n_items :]
    return FittedTowers(joined, joined.weights(), tuple(history for _, history in trained), new_items)


def start_of(positives: EncodedInteractions, settings: TowerSettings, seed: int) -> TowerStart | None:
    """What the tables begin with beside chance, the same for all of the same dimension; None: nothing."""
    if settings.user_tower == "id" or not settings.closed_form_start:
        return None
    return closed_form_start(positives, settings.dimension, seed)


def _fit_member(
    positives: EncodedInteractions,
    settings: TowerSettings,
    *,
    seed: int,
    device: torch.device,
    catalogue: NDArray[np.int64] | None,
    features: TowerFeatures,
    start: TowerStart | None,
    validate: Callable[[TowerVectors], Merits] | None,
    epochs: int | None,
    on_epoch: OnEpoch,
) -> tuple[TwoTowerBPR, TrainingHistory]:
    """One pair of towers."""
    catalogue = np.arange(positives.n_items) if catalogue is None else catalogue
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    histories = positives.item_lists()
    batches: TripletBatches | HistoryBatches
    if settings.user_tower == "id":
        batches = TripletBatches(positives, settings, rng, device)
    else:
        batches = HistoryBatches(
            positives,
            settings,
            rng,
            device,
            catalogue=catalogue,
            with_item_features=features.items is not None,
            with_user_features=features.users is not None,
        )
    if not batches.comparisons:
        raise DataError("every user likes every item, so there is nothing to rank lower")
    model = TwoTowerBPR(
        positives.n_users,
        positives.n_items,
        settings,
        popularity_of(positives),
        features.items,
        features.users,
        start,
    ).to(device)
    _silence_unreached(model, histories, catalogue)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)

    def run_epoch() -> float:
        return _mean_loss((optimizer, model.loss(batch), len(batch.targets)) for batch in batches.epoch())

    def merits(candidate: TwoTowerBPR) -> Merits:
        assert validate is not None
        return validate(candidate.export(histories))

    loop = _Loop(model, run_epoch, validate and merits, lambda ndcg: float(ndcg.mean()), settings, on_epoch)
    return loop.run(settings.max_epochs if epochs is None else epochs)


def popularity_of(positives: EncodedInteractions) -> NDArray[np.float32]:
    """How many positives each item has: shape (n_items,)."""
    return np.bincount(positives.items, minlength=positives.n_items).astype(np.float32)


def _silence_unreached(model: TwoTowerBPR, histories: ItemLists, catalogue: NDArray[np.int64]) -> None:
    """Set what training never reaches to 0, where chance would speak instead."""
    tower = model.user_tower
    if isinstance(tower, IdUserTower):
        tower.silence(np.flatnonzero(histories.lengths() == 0))
        return
    unreached = np.setdiff1d(np.arange(model.items.table.num_embeddings), catalogue)
    model.items.silence(unreached)
    tower.silence(unreached)


@dataclass(frozen=True)
class FittedNeuralMF:
    """A trained NeuralMF: its weights by name, its numpy twin and how training went.

    Weights, losses and validation figures are in the table's own scale of ratings.
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
) -> FittedNeuralMF:
    """Train NeuralMF on ratings with a squared loss.

    Args:
        ratings: all interactions of train, not only the positives.
        validation: ratings to stop early by, see `_Loop`.
        epochs: exactly this many instead, without validation: for the refit on all data.

    Raises:
        ValueError: if the interactions have no ratings.
        DataError: if there is nothing to train on, or the loss or a weight stops being a number.
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
            shown = users[rows].masked_fill(unknown, ratings.n_users)
            loss = (model(shown, items[rows]) - values[rows]).square().mean()
            yield optimizer, loss, len(rows)

    held_out = None if validation is None else tensors(validation)

    @torch.no_grad()
    def merits(candidate: NeuralMF) -> Merits:
        assert held_out is not None
        errors = to_numpy(candidate(held_out[0], held_out[1]) - held_out[2])
        return -np.square(errors.astype(np.float64) * scale.std)

    loop = _Loop(
        model,
        lambda: _mean_loss(steps()) * scale.std**2,
        None if held_out is None else merits,
        lambda negative_squares: float(np.sqrt(-negative_squares.mean())),
        settings,
        on_epoch,
    )
    kept, history = loop.run(settings.max_epochs if epochs is None else epochs)
    weights = scale.fold_into({name: to_numpy(tensor) for name, tensor in kept.state_dict().items()})
    _speak_for_unreached(weights, ratings, settings)
    return FittedNeuralMF(weights, RatingModel.from_weights(weights), history)


def _speak_for_unreached(weights: Weights, ratings: EncodedInteractions, settings: NeuralMFSettings) -> None:
    """Give what training never reached the mean of the others, where chance would speak instead."""
    users = np.r_[np.bincount(ratings.users, minlength=ratings.n_users), settings.unknown_users > 0]
    items = np.bincount(ratings.items, minlength=ratings.n_items)
    for name, reached in (("users.weight", users > 0), ("items.weight", items > 0)):
        weights[name][~reached] = weights[name][reached].mean(axis=0)


def _rated(interactions: EncodedInteractions) -> NDArray[np.float32]:
    if interactions.ratings is None:
        raise ValueError("NeuralMF learns ratings, and these interactions have none")
    return interactions.ratings


@dataclass(frozen=True)
class _Loop(Generic[Model]):
    """The loop both models share.

    Validated and kept is a moving average of the weights after each epoch: one epoch's are noisy,
    their mean is less so (Polyak and Juditsky, SIAM J. Control Optim. 1992). Kept is the last epoch
    that is no more than one standard error behind the best so far: on few validation users the best
    is best by chance. Without `early_stopping` the last epoch is kept, whatever validation says.

    Attributes:
        model: what `run_epoch` trains.
        run_epoch: one pass over the data; returns the mean loss.
        merits: of a model, one figure for each validation user or rating, larger is better.
        summary: the figure of those merits that people read.
    """

    model: Model
    run_epoch: Callable[[], float]
    merits: Callable[[Model], Merits] | None
    summary: Callable[[Merits], float]
    settings: TowerSettings | NeuralMFSettings
    on_epoch: OnEpoch

    def run(self, epochs: int) -> tuple[Model, TrainingHistory]:
        """The kept model and how it came about.

        Raises:
            DataError: if the loss or a weight stops being a number.
        """
        moving_average = get_ema_multi_avg_fn(self.settings.averaging_decay)  # type: ignore[no-untyped-call]
        averaging = AveragedModel(self.model, multi_avg_fn=moving_average)
        averaged = cast(Model, averaging.module.eval())
        best: Merits | None = None
        kept, kept_epoch, curve = averaged, epochs, list[EpochRecord]()
        for epoch in range(1, epochs + 1):
            self.model.train()
            loss = self.run_epoch()
            self._check(loss, epoch)
            averaging.update_parameters(self.model)
            merits = None if self.merits is None else self.merits(averaged)
            if merits is not None and not (np.isfinite(merits).all() and len(merits)):
                raise DataError(f"nothing to validate by in epoch {epoch}: {len(merits)} figures, or NaN")
            curve.append(EpochRecord(epoch, loss, None if merits is None else self.summary(merits)))
            self.on_epoch(curve[-1])
            if merits is None or not self.settings.early_stopping:
                continue
            if best is None or merits.mean() > best.mean():
                best = merits
            if (best - merits).mean() <= standard_error(best - merits):
                kept, kept_epoch = copy.deepcopy(averaged), epoch
            elif epoch - kept_epoch >= self.settings.patience:
                break
        return kept, TrainingHistory(kept_epoch, tuple(curve))

    def _check(self, loss: float, epoch: int) -> None:
        # The last step can break the weights after the last loss was taken.
        whole = all(bool(weight.isfinite().all()) for weight in self.model.parameters())
        if not (np.isfinite(loss) and whole):
            raise DataError(f"training broke down in epoch {epoch} (loss {loss}); lower the learning rate")


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
