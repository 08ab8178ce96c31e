"""The input of `evaluate`: a fitted model, its baselines and the slices to measure them on."""

from dataclasses import dataclass, field

from retrieval.data.encoded import EncodedInteractions
from retrieval.data.ids import IdMap
from retrieval.data.split import Split
from retrieval.data.split_counts import SliceDates, SplitCounts
from retrieval.evaluation.baselines import BaselineSet
from retrieval.evaluation.choices import BlendChoice, IndexChoice, TuningResult
from retrieval.evaluation.cold_users import Newcomers, newcomers_of_test
from retrieval.evaluation.funnel import outside_catalogue
from retrieval.serving.two_stage import TwoStageModel
from retrieval.settings import SplitKind
from retrieval.training.curves import TrainingCurves


@dataclass(frozen=True)
class EvaluationData:
    """The slices of the interactions, encoded with the rows of a fitted system.

    Attributes:
        dataset: name or path, for the report.
        train, validation, test: the slices; validation and test hold their warm rows only.
        counts: rows of the whole slices, cold rows included.
        positive_threshold: ratings from here on are positive and relevant.
        split_kind: how the slices were cut.
        outside_catalogue: number of positive test rows of warm test users whose item train does not know.
        dates: of train and test; None without timestamps.
        newcomers: the test users that neither train nor validation knows, by the length of their history.
    """

    dataset: str
    train: EncodedInteractions
    validation: EncodedInteractions
    test: EncodedInteractions
    counts: SplitCounts
    positive_threshold: float
    split_kind: SplitKind = "time"
    outside_catalogue: int = 0
    newcomers: tuple[Newcomers, ...] = ()
    dates: SliceDates | None = None

    @classmethod
    def of(cls, dataset: str, split: Split, users: IdMap, items: IdMap, threshold: float) -> "EvaluationData":
        """Encode the slices of a split in the rows of a model.

        Args:
            users, items: that the model knows, which are those of train; rows of others are left out.
            threshold: ratings from here on are positive.
        """
        train, validation, test = (
            EncodedInteractions.from_frame(frame, users, items)
            for frame in (split.train, split.validation, split.test)
        )
        return cls(
            dataset=dataset,
            train=train,
            validation=validation,
            test=test,
            counts=split.counts,
            positive_threshold=threshold,
            split_kind=split.kind,
            outside_catalogue=outside_catalogue(split.test, users, items, threshold),
            newcomers=newcomers_of_test(split.test, split.validation, users, items, threshold),
            dates=split.dates,
        )


@dataclass(frozen=True)
class Evaluated:
    """A fitted model with its baselines, the data that measures both, and the choices behind them.

    Attributes:
        model: fitted on `data.train` only.
        baselines: fitted on the same slice.
        blend: how the weights of the blend were chosen; None without ratings.
        training: the models' epochs.
        tuning: how the towers' settings were searched; None where they were not.
        index: how the index was chosen; None where it was not.
        notes: what the user should know about the tables, a sentence each.
    """

    model: TwoStageModel
    data: EvaluationData
    baselines: BaselineSet
    blend: BlendChoice | None
    training: TrainingCurves = field(default_factory=dict)
    tuning: TuningResult | None = None
    index: IndexChoice | None = None
    notes: tuple[str, ...] = ()
