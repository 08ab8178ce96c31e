"""What an evaluation found, as one value that goes to JSON and back to the reader's eye."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from retrieval.data.split_counts import SplitCounts
from retrieval.evaluation.choices import BlendChoice, IndexChoice, TuningResult
from retrieval.evaluation.comparisons import Comparison
from retrieval.evaluation.stages import served_stage, two_stage_name
from retrieval.evaluation.uncertainty import Estimate
from retrieval.serving.two_stage import SearchKind
from retrieval.settings import SplitKind
from retrieval.training.curves import TrainingCurves


@dataclass(frozen=True)
class GroupReport:
    """One group of test users and how good every stage's lists are for them.

    Attributes:
        name: "warm", "cold, first 3" or "brand new".
        history: how many of their first test interactions are known; None for warm users, whom train
            knows.
        users: with a relevant item among what they are judged by, over whom NDCG is a mean.
        ndcg: stage -> NDCG@k; without the stages that have nothing to say to such users.
        comparisons: of the served stage and of exact search with every baseline.
        reranks: whether what is served to them is re-ranked.
        search: which search finds the candidates of it.
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
        """The stage that such users are answered by; None where the towers know only their own users."""
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
    """One number of candidates.

    Attributes:
        candidates: how many are retrieved.
        ndcg: at k, of the served list made of them.
        p50_ms, p99_ms: of one user's search and re-ranking.
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
    """What became of all relevant test items of the judged users.

    Attributes:
        relevant: how many there are: positive test rows of the warm test users, also those whose item
            train does not know or whose pair it has.
        k: length of the lists.
        shares: what became of them, in the order of the way; they sum to 1. "listed": in the served
            list. "not in catalogue": train does not know the item. "filtered": the user has met it in
            train. "below depth": behind the candidates in exact order, and not found. "missed by index":
            among the exact candidates, but not found. "dropped by re-ranker": found, but not listed; it
            is "below top k" where nothing is re-ranked.
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
        rating, blend: None where there are no ratings: no NeuralMF, nothing re-ranked.
        baselines: settings of the baselines that were chosen on validation.
        seen_test_rows: test rows whose pair of user and item train has too; they are no relevant items.
        split_kind: "time", or "random", which is kinder than what comes true.
        training: the epochs of each model, by its name.
        funnel: what became of the relevant items; None where there is none, and under the
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
    blend: BlendChoice | None
    baselines: dict[str, float]
    split_kind: SplitKind = "time"
    seen_test_rows: int = 0
    training: TrainingCurves = field(default_factory=dict)
    funnel: Funnel | None = None
    depth: DepthCurve | None = None
    groups: "tuple[GroupReport, ...]" = ()
    tuning: TuningResult | None = None

    @property
    def served(self) -> str:
        """The stage that `query` answers by."""
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
