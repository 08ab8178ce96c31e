"""A fitted system with the data that judges it: the input of `evaluate`."""

from dataclasses import dataclass, field

from retrieval.data.encoded import EncodedInteractions
from retrieval.data.split_counts import SplitCounts
from retrieval.evaluation.baselines import BaselineSet
from retrieval.evaluation.choices import BlendChoice, IndexChoice, TuningResult
from retrieval.evaluation.cold_users import Newcomers
from retrieval.serving.two_stage import TwoStageModel
from retrieval.settings import SplitKind
from retrieval.training.curves import TrainingCurves


@dataclass(frozen=True)
class EvaluationData:
    """The slices a model was trained on and is judged by, in the model's rows.

    Attributes:
        dataset: name or path, for the report.
        train, validation, test: validation and test hold their warm rows only.
        counts: of the whole slices, cold rows included.
        split_kind: how they were cut.
        positive_threshold: ratings from here on are positive and relevant.
        outside_catalogue: positive test rows of the warm test users whose item train does not know.
        newcomers: the test users whom neither train nor validation knows, by what is known of them.
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


@dataclass(frozen=True)
class Evaluated:
    """A fitted system with all it is judged by and beside.

    Attributes:
        model: fitted on `data.train` only.
        baselines: likewise.
        blend: how the weights of the blend were chosen, for the report; None where nothing is re-ranked.
        training: how the models' training went, for the report.
        tuning: how the towers' settings were searched, for the report; None where they were not.
        index: how the index was chosen, for the report; None where none has been.
    """

    model: TwoStageModel
    data: EvaluationData
    baselines: BaselineSet
    blend: BlendChoice | None
    training: TrainingCurves = field(default_factory=dict)
    tuning: TuningResult | None = None
    index: IndexChoice | None = None
