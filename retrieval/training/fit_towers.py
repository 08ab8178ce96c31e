"""Trains the towers: each member with early stopping, then all members joined into one pair."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from index import ItemLists
from retrieval.arrays import MetricValues, Rows, Weights
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
class TowerFeatures:
    """Side features of the items and of the users, where there are any."""

    items: SideFeatures | None = None
    users: SideFeatures | None = None


@dataclass(frozen=True)
class TowerJob:
    """A training of towers, in everything that is the same for all members.

    Attributes:
        positives: the interactions to rank high.
        seed: of the whole job; every member derives its own.
        catalogue: item rows with interactions, ascending; None: every item. The other items are never
            drawn as negatives and are known by their side features alone.
        features: of items and users, for the history tower.
        start: as `closed_form_start` returns it, for callers that have computed it already.
        validate: maps exported vectors to one metric value for each list of validation, shape (q,),
            larger is better. With it training stops early, see `Loop`.
    """

    positives: EncodedInteractions
    settings: TowerSettings
    seed: int
    device: torch.device
    catalogue: Rows | None = None
    features: TowerFeatures = TowerFeatures()
    start: TowerStart | None = None
    validate: Callable[[TowerVectors], MetricValues] | None = None

    @property
    def reached(self) -> Rows:
        """Item rows that training can reach, ascending."""
        return np.arange(self.positives.n_items) if self.catalogue is None else self.catalogue

    def closed_form_start(self) -> TowerStart | None:
        """EASE's weights as two tables of items, the same for all members; None: start at chance."""
        if self.settings.user_tower == "id" or not self.settings.closed_form_start:
            return None
        return closed_form_start(self.positives, self.settings.dimension, self.seed)

    def seed_of(self, member: int) -> int:
        """Seeds far apart, so that builds with neighbouring seeds share no member."""
        return (self.seed + 1_000_003 * member) % 2**31


@dataclass(frozen=True)
class FittedTowers:
    """Trained towers.

    Attributes:
        vectors: exported from all members, joined.
        weights: of the towers that give those vectors, by name.
        members: training history of each member.
    """

    vectors: TowerVectors
    weights: Weights
    members: tuple[TrainingHistory, ...]

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs behind each member's kept weights."""
        return tuple(member.epochs for member in self.members)


def fit_towers(
    job: TowerJob,
    *,
    epochs: tuple[int, ...] | None = None,
    on_epoch: Callable[[int, EpochRecord], None] = lambda member, record: None,
    checkpoint: Callable[[int], Checkpoint] = lambda member: NOWHERE.of(f"member {member + 1}"),
) -> FittedTowers:
    """Train TwoTowerBPR on positives: as many members as the settings say, joined into one.

    Args:
        epochs: train each member for exactly this many epochs; None: up to `max_epochs`.
        on_epoch: gets the member, from 0, and its epoch.
        checkpoint: of each member, from 0; training goes on from it and keeps its state there.

    Raises:
        DataError: if there is nothing to train on, or the loss or a weight stops being a number.
        ArtifactError: if a checkpoint is damaged.
        EnvironmentProblem: if a checkpoint cannot be written.
    """
    if not len(job.positives):
        raise DataError("no positive interaction to train on", "lower `positive_threshold` or give more data")
    checkpoints = [checkpoint(member) for member in range(job.settings.members)]
    if job.start is None and not all(each.exists for each in checkpoints):  # a checkpoint needs no start
        job = replace(job, start=job.closed_form_start())
    trained = [
        _fit_member(
            job,
            job.seed_of(member),
            None if epochs is None else epochs[member],
            partial(on_epoch, member),
            checkpoints[member],
        )
        for member in range(job.settings.members)
    ]
    histories = job.positives.item_lists()
    exported = [model.export(histories) for model, _ in trained]
    joined = join(exported, popularity(job.positives) + 1, job.settings.dimension)
    return FittedTowers(joined, joined.weights(), tuple(history for _, history in trained))


def _fit_member(
    job: TowerJob, seed: int, epochs: int | None, on_epoch: OnEpoch, checkpoint: Checkpoint
) -> tuple[TwoTowerBPR, TrainingHistory]:
    """Train one pair of towers."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    batches = _batches(job, rng)
    if not batches.comparisons:
        raise DataError("every user likes every item, so there is nothing to rank lower")
    histories = job.positives.item_lists()
    model = _untrained(job, histories)
    optimizer = torch.optim.Adam(model.parameters(), lr=job.settings.learning_rate)

    def steps() -> Iterator[tuple[torch.optim.Optimizer, torch.Tensor, int]]:
        return ((optimizer, model.loss(batch), len(batch.targets)) for batch in batches.epoch())

    def validate(candidate: TwoTowerBPR) -> MetricValues:
        assert job.validate is not None
        return job.validate(candidate.export(histories))

    loop = Loop(
        model=model,
        optimizer=optimizer,
        rng=rng,
        run_epoch=lambda: mean_loss(steps()),
        validate=job.validate and validate,
        summary=lambda ndcg: float(ndcg.mean()),
        settings=job.settings,
        on_epoch=on_epoch,
        checkpoint=checkpoint,
    )
    return loop.run(job.settings.max_epochs if epochs is None else epochs)


def _batches(job: TowerJob, rng: np.random.Generator) -> TripletBatches | HistoryBatches:
    if job.settings.user_tower == "id":
        return TripletBatches(job.positives, job.settings, rng, job.device)
    return HistoryBatches(
        job.positives,
        job.settings,
        rng,
        job.device,
        catalogue=job.reached,
        with_item_features=job.features.items is not None,
        with_user_features=job.features.users is not None,
    )


def _untrained(job: TowerJob, histories: ItemLists) -> TwoTowerBPR:
    """Towers before training; rows that training never reaches are 0, where they would be chance."""
    model = TwoTowerBPR(
        job.positives.n_users,
        job.positives.n_items,
        job.settings,
        popularity(job.positives),
        job.features.items,
        job.features.users,
        job.start,
    ).to(job.device)
    tower = model.user_tower
    if isinstance(tower, IdUserTower):
        tower.silence(np.flatnonzero(histories.lengths() == 0))
    else:
        unreached = np.setdiff1d(np.arange(job.positives.n_items), job.reached)
        model.items.silence(unreached)
        tower.silence(unreached)
    return model
