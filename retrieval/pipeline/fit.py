"""One fit: both models; on train with early stopping, or on all interactions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from index import ExactIndex
from retrieval.arrays import Merits, Scores
from retrieval.data.encoded import EncodedInteractions, ids_of
from retrieval.data.ids import IdMap
from retrieval.data.interactions import Interactions
from retrieval.data.side_features import SideFeatures, cold_item_ids
from retrieval.data.split import latest_of_each_pair
from retrieval.evaluation.baselines import popular_now
from retrieval.evaluation.evaluated import EvaluationData
from retrieval.evaluation.validation import ValidationLists
from retrieval.pipeline.tuning_search import Judge
from retrieval.progress import Progress
from retrieval.serving.fitted_system import FittedSystem, title_array
from retrieval.serving.item_attributes import ItemAttributes
from retrieval.serving.tower_vectors import TowerVectors
from retrieval.serving.two_stage import TwoStageModel, recent_demand
from retrieval.settings import BuildSettings, TowerSettings
from retrieval.training.checkpoints import NOWHERE, Checkpoint, Checkpoints
from retrieval.training.curves import NEURAL_MF, TOWERS, EpochRecord, TrainingHistory
from retrieval.training.ease_start import TowerStart
from retrieval.training.fit_neural_mf import FittedNeuralMF, fit_neural_mf
from retrieval.training.fit_towers import FittedTowers, TowerFeatures, fit_towers, start_of
from retrieval.training.loop import OnEpoch

if TYPE_CHECKING:
    from retrieval.data.items import ItemTable
    from retrieval.data.users import UserTable

TRAINING, REFITTING = "Training", "Refitting"


@dataclass(frozen=True)
class Fitted:
    """One fit: the system (alpha still 0, exact search for an index), and how its parts came about.

    Attributes:
        neural_mf: None where there are no ratings to train it on.
    """

    system: FittedSystem
    towers: tuple[TrainingHistory, ...]
    neural_mf: TrainingHistory | None


@dataclass(frozen=True)
class Fitting:
    """Fits both models, first on train with early stopping, then on everything.

    Attributes:
        checkpoints: what both go on from, and where their state is kept.
    """

    settings: BuildSettings
    items: "ItemTable | None"
    progress: Progress
    device: torch.device
    users: "UserTable | None" = None
    checkpoints: Checkpoints = NOWHERE

    def on_train(
        self,
        data: EvaluationData,
        users: IdMap,
        items: IdMap,
        validation: ValidationLists,
        window: float | None,
    ) -> Fitted:
        """With early stopping on validation: the towers by NDCG@10, NeuralMF by its squared error.

        NeuralMF is left out where there are no ratings.

        Args:
            window: share of the positives that counts as recent, as chosen on validation.
        """
        return self._fit(
            TRAINING,
            data.train,
            users,
            items,
            validate=validation.ndcg,
            validation=data.validation,
            window=window,
        )

    def judge(
        self, train: EncodedInteractions, users: IdMap, items: IdMap, validation: ValidationLists
    ) -> Judge:
        """Trains the towers as `on_train` would with other settings, and judges them on validation."""
        positives, catalogue = train.positives(self.settings.positive_threshold), np.unique(train.items)
        features = self.tower_features(users, items)
        starts: dict[int, TowerStart | None] = {}  # each takes seconds, on large catalogues a minute

        def judge(towers: TowerSettings, on_epoch: Callable[[int, EpochRecord], None]) -> Merits:
            if towers.dimension not in starts:
                starts[towers.dimension] = start_of(positives, towers, self.settings.seed)
            fitted = fit_towers(
                positives,
                towers,
                seed=self.settings.seed,
                device=self.device,
                catalogue=catalogue,
                features=features,
                start=starts[towers.dimension],
                validate=validation.ndcg,
                on_epoch=on_epoch,
            )
            return validation.ndcg(fitted.vectors)

        return judge

    def on_everything(
        self, interactions: Interactions, epochs: tuple[tuple[int, ...], int | None], window: float | None
    ) -> Fitted:
        """The same settings on all interactions.

        Args:
            epochs: of the towers' members and of NeuralMF, as many as were kept on train.
            window: share of the positives that counts as recent, as chosen on validation.
        """
        frame = latest_of_each_pair(interactions.frame)
        users, items = ids_of(frame)
        # What the table of items alone knows is served too, by its side features.
        items = IdMap.from_values([*items.ids.tolist(), *self._cold_item_ids(items).tolist()])
        everything = EncodedInteractions.from_frame(frame, users, items)
        return self._fit(REFITTING, everything, users, items, epochs=epochs, window=window)

    def _fit(
        self,
        word: str,
        interactions: EncodedInteractions,
        users: IdMap,
        items: IdMap,
        *,
        validate: Callable[[TowerVectors], Merits] | None = None,
        validation: EncodedInteractions | None = None,
        epochs: tuple[tuple[int, ...] | None, int | None] = (None, None),
        window: float | None = None,
    ) -> Fitted:
        """Both models, stopped by validation or after so many epochs, and what belongs to them."""
        settings = self.settings
        positives = interactions.positives(settings.positive_threshold)
        members = [self._member(word, member) for member in range(settings.towers.members)]
        self._phase(word, TOWERS, f"on {len(positives):,} positives", members)
        towers = fit_towers(
            positives,
            settings.towers,
            seed=settings.seed,
            device=self.device,
            catalogue=np.unique(interactions.items),
            features=self.tower_features(users, items),
            validate=validate,
            epochs=epochs[0],
            on_epoch=self._shown_of_members(epochs[0]),
            checkpoint=members.__getitem__,
        )
        neural_mf = None
        if interactions.ratings is not None:
            checkpoint = self._checkpoint(word, NEURAL_MF)
            self._phase(word, NEURAL_MF, f"on {len(interactions):,} ratings", [checkpoint])
            neural_mf = fit_neural_mf(
                interactions,
                settings.neural_mf,
                seed=settings.seed,
                device=self.device,
                validation=validation,
                epochs=epochs[1],
                on_epoch=self._shown(epochs[1] or settings.neural_mf.max_epochs, "RMSE"),
                checkpoint=checkpoint,
            )
        popularity = popular_now(positives, window)
        return self._assemble(interactions, users, items, popularity, towers, neural_mf)

    def _assemble(
        self,
        interactions: EncodedInteractions,
        users: IdMap,
        items: IdMap,
        popularity: Scores,
        towers: FittedTowers,
        neural_mf: FittedNeuralMF | None,
    ) -> Fitted:
        seen = interactions.item_lists()
        rating_model = None if neural_mf is None else neural_mf.model
        trend, depth = recent_demand(popularity), self.settings.candidates
        exact = ExactIndex(towers.vectors.items)
        model = TwoStageModel(towers.vectors, exact, rating_model, seen, depth, trend)
        titles: list[str | None] = [None] * len(items)
        if self.items is not None:
            titles = self.items.titles_for(items.ids)
        system = FittedSystem(
            model=model,
            users=users,
            items=items,
            titles=title_array(titles),
            popularity=popularity,
            tower_weights=towers.weights,
            neural_mf_weights=None if neural_mf is None else neural_mf.weights,
            attributes=ItemAttributes.of(self.items, items),
        )
        return Fitted(system, towers.members, None if neural_mf is None else neural_mf.history)

    def tower_features(self, users: IdMap, items: IdMap) -> TowerFeatures:
        """Side features of the rows; none for the id tower."""
        if self.settings.towers.user_tower == "id":
            return TowerFeatures()
        found = SideFeatures.of(self.items, items), SideFeatures.of(self.users, users)
        return TowerFeatures(*(each if each.names else None for each in found))

    def _cold_item_ids(self, items: IdMap) -> NDArray[Any]:
        """Ids of the items that only the table of items knows, if the towers can take such."""
        takes_features = self.settings.towers.user_tower == "history"
        return cold_item_ids(self.items if takes_features else None, items)

    def _checkpoint(self, word: str, model: str) -> Checkpoint:
        return self.checkpoints.of(f"refit of {model}" if word == REFITTING else model)

    def _member(self, word: str, member: int) -> Checkpoint:
        many = self.settings.towers.members > 1
        return self._checkpoint(word, f"{TOWERS} member {member + 1}" if many else TOWERS)

    def _phase(self, word: str, model: str, data: str, checkpoints: Sequence[Checkpoint]) -> None:
        """Tell what begins; what was trained before is not trained again."""
        if all(each.is_finished for each in checkpoints):
            self.progress.phase(f"Reading {model} from its checkpoint")
        else:
            self.progress.phase(f"{word} {model} {data}")

    def _shown_of_members(self, epochs: tuple[int, ...] | None) -> Callable[[int, EpochRecord], None]:
        """As `_shown`, for towers of several members."""
        towers = self.settings.towers

        def show(member: int, record: EpochRecord) -> None:
            of = towers.max_epochs if epochs is None else epochs[member]
            name = f"member {member + 1}/{towers.members}, " if towers.members > 1 else ""
            self._shown(of, "NDCG@10", name)(record)

        return show

    def _shown(self, of: int, figure: str, name: str = "") -> OnEpoch:
        """Tells the progress about every epoch; `figure` is what was validated."""

        def show(record: EpochRecord) -> None:
            validated = "" if record.validation is None else f", {figure} {record.validation:.4f}"
            self.progress.epoch(record.epoch, of, f"{name}loss {record.loss:.4f}{validated}")

        return show
