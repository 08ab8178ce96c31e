"""The result of an evaluation as values, and its JSON document."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from retrieval.data.split_counts import SliceDates, SplitCounts
from retrieval.evaluation.choices import BlendChoice, IndexChoice, TuningResult
from retrieval.evaluation.comparisons import Comparison
from retrieval.evaluation.stages import served_stage, two_stage_name
from retrieval.evaluation.uncertainty import Estimate
from retrieval.serving.two_stage import SearchKind
from retrieval.settings import SplitKind
from retrieval.training.curves import TrainingCurves


@dataclass(frozen=True)
class GroupReport:
    """One group of test users and the NDCG of every stage for them.

    Attributes:
        name: "warm", "cold, first 3" or "brand new".
        history: how many of their first test interactions are known; None for warm users, who are in train.
        users: number of users with a relevant item, over whom NDCG is a mean.
        ndcg: stage -> NDCG@k; stages that have no list for such users are missing.
        comparisons: the served stage and exact search, each with every baseline.
        reranks: whether the list served to them is re-ranked.
        search: which search finds its candidates.
    """

    name: str
    history: int | None
    users: int
    ndcg: dict[str, Estimate]
    comparisons: tuple[Comparison, ...]
    reranks: bool = True
    search: SearchKind = "ann"

    @property
    def served(self) -> str | None:
        """The stage served to these users; None where the towers know only users of train."""
        return served_stage(self.history, self.ndcg, self.reranks, self.search)

    def to_json(self, k: int) -> dict[str, Any]:
        """A document of plain JSON types."""
        return {
            "name": self.name,
            "history": self.history,
            "users": self.users,
            "served": self.served,
            "ndcg": {stage: asdict(estimate) for stage, estimate in self.ndcg.items()},
            "comparisons": [each.to_json(k) for each in self.comparisons],
        }


@dataclass(frozen=True)
class DepthPoint:
    """NDCG and latency at one number of candidates.

    Attributes:
        candidates: the number of candidates retrieved.
        ndcg: NDCG@k of the list served from them.
        p50_ms, p99_ms: median and 99th percentile of one user's search and re-ranking.
    """

    candidates: int
    ndcg: Estimate
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class DepthCurve:
    """NDCG and latency against the number of candidates.

    Attributes:
        k: cut-off of the NDCG.
        points: by ascending number of candidates.
        knee: the smallest number whose NDCG is within one standard error (of the paired difference)
            of the best one's.
    """

    k: int
    points: tuple[DepthPoint, ...]
    knee: int

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types."""
        points = [
            {
                "candidates": point.candidates,
                f"ndcg@{self.k}": asdict(point.ndcg),
                "p50_ms": point.p50_ms,
                "p99_ms": point.p99_ms,
            }
            for point in self.points
        ]
        return {"k": self.k, "knee": self.knee, "points": points}


@dataclass(frozen=True)
class Funnel:
    """The funnel: the share of relevant test items that each stage loses.

    Attributes:
        relevant: number of relevant items: positive test rows of the warm test users, those included whose
            item is not in train or whose pair is.
        k: length of the lists.
        shares: outcome -> share of the relevant items; they sum to 1. "listed": in the served list. "not in
            catalogue": train does not know the item. "filtered": the user has the item in train. "below
            depth": not found, and exact search ranks it behind the candidates. "missed by index": not found,
            but among the exact candidates. "dropped by re-ranker": found, but not listed; named "below top
            k" where nothing is re-ranked.
    """

    relevant: int
    k: int
    shares: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class StageReport:
    """One stage on all warm test users.

    Attributes:
        precision, recall, ndcg: at k, means over users with 95 % intervals, see `metrics`.
        coverage: share of the catalogue that is in at least one list.
        popularity_rank: mean place of the listed items in the popularity order, from 1; larger is more
            novel. NaN where no item is listed.
    """

    precision: Estimate
    recall: Estimate
    ndcg: Estimate
    coverage: float
    popularity_rank: float


@dataclass(frozen=True)
class AnnReport:
    """Recall and latency of the approximate index beside exact search over the same vectors.

    Attributes:
        index: FAISS factory string and search parameters.
        candidates: number of items that a search returns.
        recall: share of the exact candidates that the index alone finds, mean over the test users.
        rescued: share of the test users whose list the index could not fill, so that exact search answered.
        exact_p50_ms, exact_p99_ms, ann_p50_ms, ann_p99_ms: milliseconds of single filtered searches.
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

    Intervals resample users with all their rows.

    Attributes:
        rows: number of test rows.
        rmse, mae: of NeuralMF.
        bias_rmse, bias_mae: of the biases.
        rmse_difference: RMSE of NeuralMF minus that of the biases, on the same rows; below 0 is better.
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
    """Everything that `evaluate` measures; the classes of the parts document them.

    Attributes:
        positive_threshold: ratings from here on are relevant; None without ratings, where every row is.
        judged_users: number of test users with a relevant item, over whom NDCG is a mean.
        cold_test_rows: number of test rows whose user or item train does not know; they are not measured.
        stages: stage -> its metrics on all warm test users.
        comparisons: paired differences between stages.
        rating, blend: None without ratings, where there is no NeuralMF and nothing is re-ranked.
        baselines: the baselines' settings, chosen on validation.
        seen_test_rows: number of test rows whose pair of user and item is also in train; their items are not
            relevant.
        split_kind: "time", or "random", whose figures are too high for the future.
        training: model -> its epochs.
        funnel: the stages at which relevant items are lost; None where no item is relevant, and under the
            notebook's protocol, where other items are.
        depth: NDCG and latency by the number of candidates; None in the same cases.
        groups: NDCG for warm users, for cold users by the length of their history, and for brand new users;
            groups without users are left out, and all of them under the notebook's protocol.
        tuning: result of the search over the towers' settings; None where there was none.
        dates: of train and test; None without timestamps.
        notes: what the user should know about the tables, a sentence each.
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
    blend: BlendChoice | None
    baselines: dict[str, float]
    split_kind: SplitKind = "time"
    seen_test_rows: int = 0
    training: TrainingCurves = field(default_factory=dict)
    funnel: Funnel | None = None
    depth: DepthCurve | None = None
    groups: tuple[GroupReport, ...] = ()
    tuning: TuningResult | None = None
    dates: SliceDates | None = None
    notes: tuple[str, ...] = ()

    @property
    def served(self) -> str:
        """The stage that `query` serves to users of train."""
        return two_stage_name(self.ann.serves, self.blend is not None and self.blend.reranks)

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
            "dates": None if self.dates is None else asdict(self.dates),
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
            "rerank": None if self.blend is None else self.blend.to_json(),
            "baselines": self.baselines,
            "attribution": self.funnel and self.funnel.to_json(),
            "depth": self.depth and self.depth.to_json(),
            "groups": [group.to_json(k) for group in self.groups],
            "tuning": self.tuning and self.tuning.to_json(),
            "training": {name: [asdict(each) for each in curve] for name, curve in self.training.items()},
            "notes": list(self.notes),
        }
        return finite(document)


def finite(document: dict[str, Any]) -> dict[str, Any]:
    """The same document with None in place of NaN and infinities, which JSON does not have."""
    return {key: _finite(value) for key, value in document.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return finite(value)
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
