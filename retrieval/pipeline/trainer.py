"""Fits the towers and NeuralMF: on train with early stopping, then again on all interactions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from retrieval.arrays import MetricValues, Scores
from retrieval.data.encoded import EncodedInteractions, ids_of
from retrieval.data.ids import IdMap
from retrieval.data.interactions import Interactions
from retrieval.data.side_features import SideFeatures, cold_item_ids
from retrieval.data.split import latest_of_each_pair
from retrieval.evaluation.baselines import popular_now
from retrieval.pipeline.epoch_progress import OnMemberEpoch, tell_epochs, tell_member_epochs
from retrieval.pipeline.prepare import TrainingData
from retrieval.pipeline.tuning_search import TowerTrial
from retrieval.progress import Progress
from retrieval.serving.fitted_model import FittedModel, recent_demand
from retrieval.serving.fitted_system import FittedParts, title_array
from retrieval.serving.item_attributes import ItemAttributes
from retrieval.serving.tower_vectors import TowerVectors
from retrieval.settings import BuildSettings, TowerSettings
from retrieval.training.checkpoints import NOWHERE, Checkpoint, Checkpoints
from retrieval.training.curves import NEURAL_MF, TOWERS, TrainingHistory
from retrieval.training.ease_start import TowerStart
from retrieval.training.fit_neural_mf import FittedNeuralMF, fit_neural_mf
from retrieval.training.fit_towers import FittedTowers, TowerFeatures, TowerJob, fit_towers

if TYPE_CHECKING:
    from retrieval.data.items import ItemTable
    from retrieval.data.users import UserTable


@dataclass(frozen=True)
class KeptEpochs:
    """The number of epochs behind the weights that were kept.

    Attributes:
        towers: of each member.
        neural_mf: None where there is no NeuralMF.
    """

    towers: tuple[int, ...]
    neural_mf: int | None


@dataclass(frozen=True)
class FittedModels:
    """One fit of both models.

    Attributes:
        parts: of a system whose blend has no weights yet and which has no index.
        towers: training history of each member.
        neural_mf: training history; None where there are no ratings to train on.
    """

    parts: FittedParts
    towers: tuple[TrainingHistory, ...]
    neural_mf: TrainingHistory | None

    @property
    def epochs(self) -> KeptEpochs:
        """The epochs behind the kept weights."""
        neural_mf = None if self.neural_mf is None else self.neural_mf.epochs
        return KeptEpochs(tuple(member.epochs for member in self.towers), neural_mf)


@dataclass(frozen=True)
class _Rows:
    """Interactions to fit on, with the ids of their rows."""

    interactions: EncodedInteractions
    users: IdMap
    items: IdMap


@dataclass(frozen=True)
class _Schedule:
    """When training stops: early on validation, or after the epochs that were kept before.

    Attributes:
        verb: names the fit in phases and checkpoints.
        validation: None in a refit.
        epochs: None with validation.
    """

    verb: str
    validation: TrainingData | None = None
    epochs: KeptEpochs | None = None

    @property
    def validate(self) -> Callable[[TowerVectors], MetricValues] | None:
        return None if self.validation is None else self.validation.lists.ndcg

    @property
    def rated(self) -> EncodedInteractions | None:
        return None if self.validation is None else self.validation.validation

    def checkpoint_title(self, model: str) -> str:
        return model if self.epochs is None else f"refit of {model}"


@dataclass(frozen=True)
class Trainer:
    """Fits both models, with all that stays the same from one fit of a build to the next.

    Attributes:
        items: titles and categories of the items, where there are any.
        users: what is known of the users, where anything is.
        checkpoints: every fit goes on from its checkpoint and keeps its state there.
    """

    settings: BuildSettings
    items: "ItemTable | None"
    users: "UserTable | None"
    device: torch.device
    progress: Progress
    checkpoints: Checkpoints = NOWHERE

    def with_towers(self, towers: TowerSettings) -> "Trainer":
        """The same trainer with other settings of the towers."""
        return replace(self, settings=replace(self.settings, towers=towers))

    def on_train(self, training: TrainingData, window: float | None) -> FittedModels:
        """Fit on train with early stopping on validation: towers by NDCG@10, NeuralMF by squared error.

        Without ratings there is no NeuralMF.

        Args:
            window: share of the positives that counts as recent, as chosen on validation.
        """
        rows = _Rows(training.train, training.users, training.items)
        return self._fit(rows, _Schedule("Training", validation=training), window)

    def on_everything(
        self, interactions: Interactions, epochs: KeptEpochs, window: float | None
    ) -> FittedModels:
        """Fit on all interactions, for as many epochs as were kept on train.

        Args:
            window: share of the positives that counts as recent, as chosen on validation.
        """
        frame = latest_of_each_pair(interactions.frame)
        users, items = ids_of(frame)
        # Items that only the item table knows are served too: the towers know them by their features.
        cold = self._cold_item_ids(items).tolist()
        if cold:
            self.progress.detail(
                f"{len(cold):,} items of the table of items have no interaction: lists hold them by their "
                "categories alone"
            )
        items = IdMap.from_values([*items.ids.tolist(), *cold])
        rows = _Rows(EncodedInteractions.from_frame(frame, users, items), users, items)
        return self._fit(rows, _Schedule("Refitting", epochs=epochs), window)

    def tower_trial(self, training: TrainingData) -> TowerTrial:
        """A function that trains towers as `on_train` does, with other settings, and validates them."""
        job = self._tower_job(_Rows(training.train, training.users, training.items), training.lists.ndcg)
        starts: dict[int, TowerStart | None] = {}  # by dimension; each takes seconds, or a minute

        def trial(towers: TowerSettings, on_epoch: OnMemberEpoch) -> MetricValues:
            tried = replace(job, settings=self._started(towers))
            if towers.dimension not in starts:
                starts[towers.dimension] = tried.closed_form_start()
            fitted = fit_towers(replace(tried, start=starts[towers.dimension]), on_epoch=on_epoch)
            return training.lists.ndcg(fitted.vectors)

        return trial

    def tower_features(self, users: IdMap, items: IdMap) -> TowerFeatures:
        """Side features of the rows; none for the id tower."""
        if self.settings.towers.user_tower == "id":
            return TowerFeatures()
        found = SideFeatures.of(self.items, items), SideFeatures.of(self.users, users)
        return TowerFeatures(*(each if each.names else None for each in found))

    def _fit(self, rows: _Rows, schedule: _Schedule, window: float | None) -> FittedModels:
        towers = self._fit_towers(rows, schedule)
        neural_mf = None if rows.interactions.ratings is None else self._fit_neural_mf(rows, schedule)
        popularity = popular_now(rows.interactions.positives(self.settings.positive_threshold), window)
        parts = self._parts(rows, popularity, towers, neural_mf)
        return FittedModels(parts, towers.members, None if neural_mf is None else neural_mf.history)

    def _fit_towers(self, rows: _Rows, schedule: _Schedule) -> FittedTowers:
        job = self._tower_job(rows, schedule.validate)
        checkpoints = [self._member_checkpoint(schedule, member) for member in range(job.settings.members)]
        self._phase(schedule, TOWERS, f"on {len(job.positives):,} positives", checkpoints)
        epochs = None if schedule.epochs is None else schedule.epochs.towers
        return fit_towers(
            job,
            epochs=epochs,
            on_epoch=tell_member_epochs(self.progress, job.settings, epochs),
            checkpoint=checkpoints.__getitem__,
        )

    def _tower_job(self, rows: _Rows, validate: Callable[[TowerVectors], MetricValues] | None) -> TowerJob:
        return TowerJob(
            rows.interactions.positives(self.settings.positive_threshold),
            self._started(self.settings.towers),
            seed=self.settings.seed,
            device=self.device,
            catalogue=np.unique(rows.interactions.items),
            features=self.tower_features(rows.users, rows.items),
            validate=validate,
        )

    def _started(self, towers: TowerSettings) -> TowerSettings:
        """The settings of the towers, without the start from EASE where EASE is left out."""
        return towers if self.settings.ease else replace(towers, closed_form_start=False)

    def _fit_neural_mf(self, rows: _Rows, schedule: _Schedule) -> FittedNeuralMF:
        settings = self.settings.neural_mf
        checkpoint = self.checkpoints.of(schedule.checkpoint_title(NEURAL_MF))
        self._phase(schedule, NEURAL_MF, f"on {len(rows.interactions):,} ratings", [checkpoint])
        epochs = None if schedule.epochs is None else schedule.epochs.neural_mf
        return fit_neural_mf(
            rows.interactions,
            settings,
            seed=self.settings.seed,
            device=self.device,
            validation=schedule.rated,
            epochs=epochs,
            on_epoch=tell_epochs(self.progress, epochs or settings.max_epochs, "RMSE"),
            checkpoint=checkpoint,
        )

    def _parts(
        self, rows: _Rows, popularity: Scores, towers: FittedTowers, neural_mf: FittedNeuralMF | None
    ) -> FittedParts:
        model = FittedModel(
            towers.vectors,
            None if neural_mf is None else neural_mf.model,
            rows.interactions.item_lists(),
            self.settings.candidates,
            recent_demand(popularity),
        )
        titles: list[str | None] = [None] * len(rows.items)
        if self.items is not None:
            titles = self.items.titles_for(rows.items.ids)
        return FittedParts(
            model=model,
            users=rows.users,
            items=rows.items,
            titles=title_array(titles),
            popularity=popularity,
            tower_weights=towers.weights,
            neural_mf_weights=None if neural_mf is None else neural_mf.weights,
            attributes=ItemAttributes.of(self.items, rows.items),
        )

    def _cold_item_ids(self, items: IdMap) -> NDArray[Any]:
        """Ids of items that only the item table has; none if the towers take no features."""
        takes_features = self.settings.towers.user_tower == "history"
        return cold_item_ids(self.items if takes_features else None, items)

    def _member_checkpoint(self, schedule: _Schedule, member: int) -> Checkpoint:
        many = self.settings.towers.members > 1
        name = f"{TOWERS} member {member + 1}" if many else TOWERS
        return self.checkpoints.of(schedule.checkpoint_title(name))

    def _phase(self, schedule: _Schedule, model: str, data: str, checkpoints: Sequence[Checkpoint]) -> None:
        """Tell which model is trained on what, or read from its finished checkpoints."""
        if all(each.is_finished for each in checkpoints):
            self.progress.phase(f"Reading {model} from its checkpoint")
        else:
            self.progress.phase(f"{schedule.verb} {model} {data}")
