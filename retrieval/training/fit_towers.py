"""Training the towers: every member with early stopping, then all of them joined into one pair."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from index import ItemLists
from retrieval.arrays import Merits, Weights
from retrieval.data.encoded import EncodedInteractions
from retrieval.data.matrices import popularity
from retrieval.data.side_features import SideFeatures
from retrieval.errors import DataError
from retrieval.serving.tower_vectors import TowerVectors
from retrieval.settings import TowerSettings
from retrieval.training.checkpoints import NOWHERE, Checkpoint
from retrieval.training.curves import EpochRecord, TrainingHistory
from retrieval.training.ease_start import TowerStart, closed_form_start
from retrieval.training.history_batches import HistoryBatches
from retrieval.training.id_batches import TripletBatches
from retrieval.training.join_towers import join
from retrieval.training.loop import Loop, OnEpoch, mean_loss
from retrieval.training.towers import IdUserTower, TwoTowerBPR


@dataclass(frozen=True)
class FittedTowers:
    """Trained towers.

    Attributes:
        vectors: exported, of all members joined.
        weights: of the towers that give those vectors, by name.
        members: how the training of each went.
    """

    vectors: TowerVectors
    weights: Weights
    members: tuple[TrainingHistory, ...]

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs behind each member's kept weights."""
        return tuple(member.epochs for member in self.members)


@dataclass(frozen=True)
class TowerFeatures:
    """Side features of the items and of the users, where there are any."""

    items: SideFeatures | None = None
    users: SideFeatures | None = None


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
    checkpoint: Callable[[int], Checkpoint] = lambda member: NOWHERE.of(f"member {member + 1}"),
) -> FittedTowers:
    """Train TwoTowerBPR on positives: as many members as the settings say, joined into one.

    Args:
        positives: the interactions to rank high.
        catalogue: item rows, ascending, that have interactions; every item unless given. The others
            are nobody's negatives and known by their side features alone.
        features: of the items and users, for the history tower.
        start: as `start_of` gives it, for who knows it already.
        validate: maps exported vectors to figures of merit, shape (q,), one for each list of
            validation, larger is better; with it training stops early, see `training.Loop`.
        epochs: exactly this many of each member instead, without validation: for the refit on all data.
        on_epoch: told the member, from 0, and its epoch.
        checkpoint: of each member, from 0: what it goes on from, and where its state is kept.

    Raises:
        DataError: if there is nothing to train on, or the loss or a weight stops being a number.
        ArtifactError: if a checkpoint is damaged.
        EnvironmentProblem: if a checkpoint cannot be written.
    """
    if not len(positives):
        raise DataError("no positive interaction to train on", "lower `positive_threshold` or give more data")
    features, checkpoints = features or TowerFeatures(), list(map(checkpoint, range(settings.members)))
    if start is None and not all(each.exists for each in checkpoints):  # else nobody begins at the start
        start = start_of(positives, settings, seed)
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
            checkpoint=checkpoints[member],
        )
        for member in range(settings.members)
    ]
    histories = positives.item_lists()
    exported = [model.export(histories) for model, _ in trained]
    joined = join(exported, popularity(positives) + 1, settings.dimension)
    return FittedTowers(joined, joined.weights(), tuple(history for _, history in trained))


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
    checkpoint: Checkpoint,
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
        popularity(positives),
        features.items,
        features.users,
        start,
    ).to(device)
    _silence_unreached(model, histories, catalogue)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)

    def run_epoch() -> float:
        return mean_loss((optimizer, model.loss(batch), len(batch.targets)) for batch in batches.epoch())

    def merits(candidate: TwoTowerBPR) -> Merits:
        assert validate is not None
        return validate(candidate.export(histories))

    loop = Loop(
        model,
        optimizer,
        rng,
        run_epoch,
        validate and merits,
        lambda ndcg: float(ndcg.mean()),
        settings,
        on_epoch,
        checkpoint,
    )
    return loop.run(settings.max_epochs if epochs is None else epochs)


def _silence_unreached(model: TwoTowerBPR, histories: ItemLists, catalogue: NDArray[np.int64]) -> None:
    """Set what training never reaches to 0, where chance would speak instead."""
    tower = model.user_tower
    if isinstance(tower, IdUserTower):
        tower.silence(np.flatnonzero(histories.lengths() == 0))
        return
    unreached = np.setdiff1d(np.arange(model.items.table.num_embeddings), catalogue)
    model.items.silence(unreached)
    tower.silence(unreached)
