"""The main job: split, train both models, index, choose alpha, evaluate, refit on everything."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch

from index import (
    AnnIndex,
    ExactIndex,
    ItemLists,
    OperatingPoint,
    choose_nprobe,
    default_factory,
    faiss_threads,
)
from retrieval.alpha import choose_alpha
from retrieval.baselines import BaselineSet
from retrieval.encoded import EncodedInteractions
from retrieval.errors import DataError, UsageError
from retrieval.evaluation import Evaluated, EvaluationData, evaluate
from retrieval.fitted import FittedSystem, title_array
from retrieval.ids import IdMap
from retrieval.interactions import Interactions
from retrieval.judgements import Judgements, score_lists
from retrieval.progress import Progress, Silent
from retrieval.report import Report
from retrieval.settings import BuildSettings
from retrieval.split import TemporalSplit, latest_of_each_pair, split_by_time
from retrieval.training import (
    EpochRecord,
    FittedNeuralMF,
    FittedTowers,
    OnEpoch,
    choose_device,
    fit_neural_mf,
    fit_towers,
)
from retrieval.two_stage import TwoStageModel
from retrieval.vectors import TowerVectors

if TYPE_CHECKING:
    from retrieval.items import ItemTable

# The lists everything is chosen by on validation, whatever k is asked for later.
CHOICE_K = 10
TUNING_QUERIES = 256


@dataclass(frozen=True)
class TrainingHistory:
    """How a model's training on train went: its curve, and the epochs behind the kept weights."""

    epochs: int
    curve: tuple[EpochRecord, ...]


@dataclass(frozen=True)
class Build:
    """What a build leaves behind, in memory.

    Attributes:
        name: of the data set.
        digest: of the interactions, see `Interactions.digest`.
        evaluated: fitted on train; every figure of the report is its.
        served: fitted on all interactions, or `evaluated` itself without a refit.
        operating_points: recall and latency of the settings the index was tuned over.
    """

    name: str
    digest: str
    settings: BuildSettings
    split: TemporalSplit
    items: "ItemTable | None"
    evaluated: FittedSystem
    served: FittedSystem
    report: Report
    towers: TrainingHistory
    neural_mf: TrainingHistory
    operating_points: tuple[OperatingPoint, ...]

    def user_table(self) -> pl.DataFrame:
        """The served users, for people: user, interactions."""
        counts = self.served.model.seen.lengths()
        return pl.DataFrame({"user": self.served.users.ids, "interactions": counts})

    def item_table(self) -> pl.DataFrame:
        """The served items, for people: item, title, genres, interactions."""
        items, seen = self.served.items, self.served.model.seen
        genres = [[] for _ in items.ids] if self.items is None else self.items.genres_for(items.ids)
        return pl.DataFrame(
            {
                "item": items.ids,
                "title": self.served.titles,
                "genres": pl.Series(genres, dtype=pl.List(pl.String)),
                "interactions": np.bincount(seen.items, minlength=len(items)),
            }
        )


def build(
    interactions: Interactions,
    *,
    items: "ItemTable | None" = None,
    settings: BuildSettings | None = None,
    progress: Progress | None = None,
    name: str | None = None,
) -> Build:
    """Run the main job.

    Args:
        items: titles, where there are any.
        name: of the data set, for the report; the interactions' source unless given.

    Raises:
        DataError: if the data cannot be split or trained on.
        UsageError: if the index string cannot work on this data.
        EnvironmentProblem: if the device is not there.
    """
    settings, progress = settings or BuildSettings(), progress or Silent()
    fitting = Fitting(settings, items, progress, choose_device(settings.device))
    threshold = settings.positive_threshold
    torch.set_num_threads(settings.resolved_threads)
    with faiss_threads(settings.resolved_threads):
        progress.phase("Splitting by time")
        split = split_by_time(interactions, settings.split)
        data = encode_split(split, name or interactions.source, threshold)
        validation = Judgements.of(data.validation, data.train, threshold)
        if not (validation.n_relevant > 0).any():
            raise DataError(
                f"{interactions.source}: no warm validation row is rated {threshold:g} or more, so nothing "
                "can be chosen; lower --positive-threshold or raise --validation-fraction"
            )
        users, items_of_train = ids_of(split.train)
        fitted = fitting.on_train(data.train, users, items_of_train, validation, data.validation)
        progress.phase("Weighing the re-ranker on validation")
        alpha = choose_alpha(fitted.system.model, validation, CHOICE_K)
        evaluated = with_alpha(fitted.system, alpha.alpha)
        progress.phase("Fitting the baselines")
        baselines = BaselineSet.choose(data.train, validation, threshold, CHOICE_K)
        progress.phase("Evaluating on the test slice")
        report = evaluate(Evaluated(evaluated.model, data, baselines, alpha), CHOICE_K)
        served = evaluated
        if settings.refit:
            refitted = fitting.on_everything(interactions, fitted.towers.epochs, fitted.neural_mf.epochs)
            served = with_alpha(refitted.system, alpha.alpha)
    return Build(
        name=data.dataset,
        digest=interactions.digest(),
        settings=settings,
        split=split,
        items=items,
        evaluated=evaluated,
        served=served,
        report=report,
        towers=fitted.towers,
        neural_mf=fitted.neural_mf,
        operating_points=fitted.operating_points,
    )


def ids_of(frame: pl.DataFrame) -> tuple[IdMap, IdMap]:
    """The users and items of a frame of interactions."""
    return IdMap.from_values(frame["user"].to_numpy()), IdMap.from_values(frame["item"].to_numpy())


def encode_split(split: TemporalSplit, name: str, threshold: float) -> EvaluationData:
    """The three slices in train's rows; what train does not know is left out."""
    users, items = ids_of(split.train)
    train, validation, test = (
        EncodedInteractions.from_frame(frame, users, items)
        for frame in (split.train, split.validation, split.test)
    )
    return EvaluationData(name, train, validation, test, split.counts, threshold)


def with_alpha(system: FittedSystem, alpha: float) -> FittedSystem:
    """The same system with another weight of the predicted rating."""
    return replace(system, model=replace(system.model, alpha=alpha))


@dataclass(frozen=True)
class Fitted:
    """One fit: the system (alpha still 0), and how its parts came about."""

    system: FittedSystem
    towers: TrainingHistory
    neural_mf: TrainingHistory
    operating_points: tuple[OperatingPoint, ...]


@dataclass(frozen=True)
class Fitting:
    """Fits both models and the index, first on train with early stopping, then on everything."""

    settings: BuildSettings
    items: "ItemTable | None"
    progress: Progress
    device: torch.device

    def on_train(
        self,
        train: EncodedInteractions,
        users: IdMap,
        items: IdMap,
        validation: Judgements,
        validation_ratings: EncodedInteractions,
    ) -> Fitted:
        """Each model keeps the weights that were best on validation: NDCG@10 and RMSE."""
        settings = self.settings
        seen = train.item_lists().take(validation.users)

        def ndcg(vectors: TowerVectors) -> float:
            queries = vectors.users[validation.users]
            lists = ExactIndex(vectors.items).search(queries, CHOICE_K, seen).rows
            return float(score_lists(lists, validation, CHOICE_K).ndcg.mean())

        self.progress.phase(f"Training TwoTowerBPR on {len(train):,} interactions")
        towers = fit_towers(
            train.positives(settings.positive_threshold),
            settings.towers,
            seed=settings.seed,
            device=self.device,
            validate=ndcg,
            on_epoch=self._shown(settings.towers.max_epochs, "NDCG@10", 1),
        )
        self.progress.phase(f"Training NeuralMF on {len(train):,} ratings")
        neural_mf = fit_neural_mf(
            train,
            settings.neural_mf,
            seed=settings.seed,
            device=self.device,
            validation=validation_ratings,
            on_epoch=self._shown(settings.neural_mf.max_epochs, "RMSE", -1),
        )
        return self._assemble(train, users, items, towers, neural_mf)

    def on_everything(self, interactions: Interactions, tower_epochs: int, neural_mf_epochs: int) -> Fitted:
        """The same settings on all interactions, for as many epochs as were best on train."""
        settings = self.settings
        frame = latest_of_each_pair(interactions.frame)
        users, items = ids_of(frame)
        everything = EncodedInteractions.from_frame(frame, users, items)
        self.progress.phase(f"Refitting TwoTowerBPR on all {len(everything):,} interactions")
        towers = fit_towers(
            everything.positives(settings.positive_threshold),
            settings.towers,
            seed=settings.seed,
            device=self.device,
            epochs=tower_epochs,
            on_epoch=self._shown(tower_epochs),
        )
        self.progress.phase(f"Refitting NeuralMF on all {len(everything):,} ratings")
        neural_mf = fit_neural_mf(
            everything,
            settings.neural_mf,
            seed=settings.seed,
            device=self.device,
            epochs=neural_mf_epochs,
            on_epoch=self._shown(neural_mf_epochs),
        )
        return self._assemble(everything, users, items, towers, neural_mf)

    def _assemble(
        self,
        interactions: EncodedInteractions,
        users: IdMap,
        items: IdMap,
        towers: FittedTowers,
        neural_mf: FittedNeuralMF,
    ) -> Fitted:
        self.progress.phase("Building and tuning the index")
        seen = interactions.item_lists()
        ann, points = build_index(towers.vectors, seen, self.settings)
        model = TwoStageModel(towers.vectors, ann, neural_mf.model, seen, 0.0, self.settings.candidates)
        titles: list[str | None] = [None] * len(items)
        if self.items is not None:
            titles = self.items.titles_for(items.ids)
        system = FittedSystem(model, users, items, title_array(titles), towers.weights, neural_mf.weights)
        return Fitted(
            system,
            TrainingHistory(towers.epochs, towers.curve),
            TrainingHistory(neural_mf.epochs, neural_mf.curve),
            points,
        )

    def _shown(self, of: int, figure: str = "", sign: int = 1) -> OnEpoch:
        """Tells the progress about every epoch; `sign` turns a figure of merit into what people read."""

        def show(record: EpochRecord) -> None:
            validated = "" if record.validation is None else f", {figure} {sign * record.validation:.4f}"
            self.progress.epoch(record.epoch, of, f"loss {record.loss:.4f}{validated}")

        return show


def build_index(
    vectors: TowerVectors, seen: ItemLists, settings: BuildSettings
) -> tuple[AnnIndex, tuple[OperatingPoint, ...]]:
    """The approximate index, its nprobe the smallest that reaches the recall target on real users.

    Raises:
        UsageError: if the factory string cannot work on these vectors.
    """
    factory = default_factory(len(vectors.items)) if settings.index == "auto" else settings.index
    try:
        ann = AnnIndex.build(vectors.items, factory, seed=settings.seed, threads=settings.resolved_threads)
    except ValueError as error:
        raise UsageError(f"--index: {error}") from error
    if ann.nlist is None:
        return ann, ()
    rng = np.random.default_rng(settings.seed)
    size = min(TUNING_QUERIES, len(vectors.users))
    sample = np.sort(rng.choice(len(vectors.users), size=size, replace=False))
    points, chosen = choose_nprobe(
        ann,
        ExactIndex(vectors.items),
        vectors.users[sample],
        settings.candidates,
        seen.take(sample),
        settings.recall_target,
    )
    return ann.with_nprobe(chosen.nprobe), tuple(points)
