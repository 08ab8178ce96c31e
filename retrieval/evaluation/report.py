"""What an evaluation found, as one value that goes to JSON and back to the reader's eye."""

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from retrieval.data.split import SplitCounts
from retrieval.evaluation.candidate_depth import DepthCurve
from retrieval.evaluation.funnel import Attribution
from retrieval.evaluation.uncertainty import Estimate
from retrieval.pipeline.blend_weights import AlphaChoice
from retrieval.pipeline.index_choice import IndexChoice
from retrieval.pipeline.tuning_search import SearchResult
from retrieval.serving.two_stage import SearchKind
from retrieval.settings import SplitKind
from retrieval.training.curves import TrainingCurves

if TYPE_CHECKING:
    from retrieval.evaluation.user_groups import GroupReport

BASELINES = ("popularity", "recent_popularity", "ease", "item_knn")
STAGE_NAMES = {
    "recent_popularity": "recent popularity",
    "ease": "EASE",
    "item_knn": "item-kNN",
    "neural_mf": "NeuralMF alone",
}


def stage_name(stage: str) -> str:
    """As it is written for people.

    >>> stage_name("item_knn"), stage_name("ann+rerank")
    ('item-kNN', 'ann+rerank')
    """
    return STAGE_NAMES.get(stage, stage)


@dataclass(frozen=True)
class StageReport:
    """One stage on all warm test users.

    Attributes:
        precision, recall, ndcg: at k, with 95 % intervals.
        coverage: share of the catalogue that occurs in at least one list.
        popularity_rank: mean place in the popularity order of the items in the lists, from 1;
            larger is more novel.
    """

    precision: Estimate
    recall: Estimate
    ndcg: Estimate
    coverage: float
    popularity_rank: float


@dataclass(frozen=True)
class Comparison:
    """NDCG@k of one stage minus another's, user by user.

    Attributes:
        p_value: of the mean difference, by `uncertainty.sign_flip_p_value`.
    """

    stage: str
    against: str
    difference: Estimate
    p_value: float

    def to_json(self, k: int) -> dict[str, Any]:
        """A document of plain JSON types."""
        return {
            "stage": self.stage,
            "against": self.against,
            f"ndcg@{k}": asdict(self.difference),
            "p_value": self.p_value,
        }


@dataclass(frozen=True)
class AnnReport:
    """What the approximate index loses and saves against exact search over the same vectors.

    Attributes:
        index: FAISS factory string and search parameters.
        candidates: how many items each search returns.
        recall: share of the exact candidates the index itself finds, mean over the test users.
        rescued: share of the test users whose list the index could not fill, so that exact search
            answered in its place.
        exact_p50_ms, exact_p99_ms, ann_p50_ms, ann_p99_ms: of single filtered searches.
        serves: "ann", or "exact" where the index is no faster.
        choice: how the index was chosen; None where it was not.
    """

    index: str
    candidates: int
    recall: Estimate
    rescued: float
    exact_p50_ms: float
    exact_p99_ms: float
    ann_p50_ms: float
    ann_p99_ms: float
    serves: SearchKind = "ann"
    choice: IndexChoice | None = None

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types."""
        return {
            "index": self.index,
            "candidates": self.candidates,
            "recall@candidates": self.recall.value,
            "recall@candidates_interval": [self.recall.low, self.recall.high],
            "rescued_by_exact": self.rescued,
            "exact_p50_ms": self.exact_p50_ms,
            "exact_p99_ms": self.exact_p99_ms,
            "ann_p50_ms": self.ann_p50_ms,
            "ann_p99_ms": self.ann_p99_ms,
            "serves": self.serves,
            "choice": self.choice and self.choice.to_json(),
        }


@dataclass(frozen=True)
class RatingReport:
    """Errors of predicted ratings on the warm test rows, beside damped user and item biases.

    Intervals are over users, whose rows are resampled together; `rmse_difference` is NeuralMF's RMSE
    minus the biases', on the same rows.
    """

    rows: int
    rmse: Estimate
    mae: Estimate
    bias_rmse: Estimate
    bias_mae: Estimate
    rmse_difference: Estimate

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types."""
        return {
            "rows": self.rows,
            "rmse": self.rmse.value,
            "mae": self.mae.value,
            "rmse_interval": [self.rmse.low, self.rmse.high],
            "mae_interval": [self.mae.low, self.mae.high],
            "bias_rmse": self.bias_rmse.value,
            "bias_mae": self.bias_mae.value,
            "rmse_minus_bias_rmse": asdict(self.rmse_difference),
        }


@dataclass(frozen=True)
class Report:
    """Everything `evaluate` prints; see the attributes' own classes.

    Attributes:
        positive_threshold: ratings from here on are relevant; None where there are no ratings and every
            row is.
        judged_users: test users with a relevant item, over whom NDCG is a mean.
        cold_test_rows: test rows whose user or item train does not know; nothing can be said of
            them here.
        rating, alpha: None where there are no ratings: no NeuralMF, nothing re-ranked.
        baselines: settings of the baselines that were chosen on validation.
        seen_test_rows: test rows whose pair of user and item train has too; they are no relevant items.
        split_kind: "time", or "random", which is kinder than what comes true.
        training: the epochs of each model, by its name.
        attribution: what became of the relevant items; None where there is none, and under the
            notebook's protocol, to which other items are relevant.
        depth: what more or fewer candidates would gain and cost; None in the same cases.
        groups: how good the lists are for warm users, for cold ones by what is known of them, and for
            strangers; groups without users are left out, all of them under the notebook's protocol.
        tuning: how the towers' settings were searched on validation; None where they were not.
    """

    dataset: str
    protocol: str
    k: int
    positive_threshold: float | None
    split: SplitCounts
    judged_users: int
    cold_test_rows: int
    stages: dict[str, StageReport]
    comparisons: tuple[Comparison, ...]
    ann: AnnReport
    rating: RatingReport | None
    alpha: AlphaChoice | None
    baselines: dict[str, float]
    split_kind: SplitKind = "time"
    seen_test_rows: int = 0
    training: TrainingCurves = field(default_factory=dict)
    attribution: Attribution | None = None
    depth: DepthCurve | None = None
    groups: "tuple[GroupReport, ...]" = ()
    tuning: SearchResult | None = None

    @property
    def served(self) -> str:
        """The stage that `query` answers by."""
        search = self.ann.serves
        return f"{search}+rerank" if self.alpha is not None and self.alpha.reranks else search

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types; a figure that does not exist is null."""
        k = self.k
        document = {
            "dataset": self.dataset,
            "protocol": self.protocol,
            "k": k,
            "served": self.served,
            "positive_threshold": self.positive_threshold,
            "split": {"kind": self.split_kind, **asdict(self.split)},
            "judged_users": self.judged_users,
            "cold_test_rows": self.cold_test_rows,
            "seen_test_rows": self.seen_test_rows,
            "stages": {
                name: {
                    f"precision@{k}": asdict(stage.precision),
                    f"recall@{k}": asdict(stage.recall),
                    f"ndcg@{k}": asdict(stage.ndcg),
                    f"coverage@{k}": stage.coverage,
                    f"popularity_rank@{k}": stage.popularity_rank,
                }
                for name, stage in self.stages.items()
            },
            "comparisons": [each.to_json(k) for each in self.comparisons],
            "ann": self.ann.to_json(),
            "rating": None if self.rating is None else self.rating.to_json(),
            "rerank": None if self.alpha is None else self.alpha.to_json(),
            "baselines": self.baselines,
            "attribution": self.attribution and self.attribution.to_json(),
            "depth": self.depth and self.depth.to_json(),
            "groups": [group.to_json(k) for group in self.groups],
            "tuning": self.tuning and self.tuning.to_json(),
            "training": {name: [asdict(each) for each in curve] for name, curve in self.training.items()},
        }
        return finite(document)


def finite(document: dict[str, Any]) -> dict[str, Any]:
    """The same document with null in place of NaN and infinities, which JSON does not know."""
    return {key: _finite(value) for key, value in document.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return finite(value)
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
