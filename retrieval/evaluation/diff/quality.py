"""Quality of two bundles' lists, each measured on its own test slice.

A difference is paired by user only where both test slices have the same users and the same relevant items.
Elsewhere it is a difference of means over different slices, which mixes that of the systems with that of the
slices.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from index import ItemLists
from retrieval.arrays import Rows
from retrieval.data.ids import IdMap
from retrieval.evaluation.candidates import find_candidates
from retrieval.evaluation.comparisons import compare
from retrieval.evaluation.diff.lists import item_codes, shared_rows
from retrieval.evaluation.evaluate import two_stage_lists
from retrieval.evaluation.evaluated import EvaluationData
from retrieval.evaluation.judgements import Judgements, StageScores, score_lists
from retrieval.evaluation.stages import served_stage
from retrieval.evaluation.uncertainty import Estimate, difference_of_means, mean_estimate
from retrieval.serving.fitted_system import FittedSystem

Metric = Literal["precision", "recall", "ndcg"]
METRICS: tuple[Metric, ...] = ("precision", "recall", "ndcg")
Unpaired = Literal["other users", "other relevant items"]


@dataclass(frozen=True)
class MetricDiff:
    """One metric of one stage in both bundles, with 95 % intervals.

    Attributes:
        metric: its name.
        users_one, users_other: number of users over whom each figure is a mean.
        one, other: the metric, as in the report of each bundle.
        difference: `other` minus `one`; above 0 `other` is better.
        p_value: of the paired difference, by `uncertainty.sign_flip_p_value`; None if it is not paired.
    """

    metric: Metric
    users_one: int
    users_other: int
    one: Estimate
    other: Estimate
    difference: Estimate
    p_value: float | None


@dataclass(frozen=True)
class StageDiff:
    """The metrics of one kind of lists in both bundles.

    Attributes:
        kind: "served", the lists that each serves, or "exact", exact search without re-ranking.
        one, other: the stage that made the lists in each bundle.
        metrics: precision, recall, NDCG.
    """

    kind: Literal["served", "exact"]
    one: str
    other: str
    metrics: tuple[MetricDiff, ...]


@dataclass(frozen=True)
class QualityDiff:
    """The quality of two bundles' lists, side by side.

    Attributes:
        k: length of the lists.
        unpaired: why differences are not paired by user; None where they are.
        users_one, users_other: number of test users of each.
        shared_users: how many of them both have. An unpaired difference treats them as different people,
            which as a rule makes its interval too wide.
        stages: the served lists, then those of exact search.
    """

    k: int
    unpaired: Unpaired | None
    users_one: int
    users_other: int
    shared_users: int
    stages: tuple[StageDiff, ...]

    @property
    def paired(self) -> bool:
        """Whether differences are paired by user."""
        return self.unpaired is None

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types, but for NaN."""
        stages = {}
        for stage in self.stages:
            metrics = {}
            for each in stage.metrics:
                figures = asdict(each)
                metrics[f"{figures.pop('metric')}@{self.k}"] = figures
            stages[stage.kind] = {"one": stage.one, "other": stage.other, **metrics}
        document = {name: value for name, value in vars(self).items() if name != "stages"}
        return {**document, "paired": self.paired, "stages": stages}


@dataclass(frozen=True, eq=False)
class ScoredSystem:
    """The scores of a bundle's evaluated lists, user by user; made by `score_system`.

    Attributes:
        users, items: ids of the evaluated system.
        judgements: its test users and their relevant items.
        scores: stage -> its scores.
        served: the stage that is served.
    """

    users: IdMap
    items: IdMap
    judgements: Judgements
    scores: dict[str, StageScores]
    served: str

    @property
    def test_users(self) -> IdMap:
        """Ids of the test users, in the order of the judgements."""
        return IdMap(self.users.ids[self.judgements.users])

    def figures(self, stage: str, metric: Metric) -> NDArray[np.float64]:
        """One figure per test user: shape (q,), NaN where the metric is not defined for them."""
        found: NDArray[np.float64] = getattr(self.scores[stage], metric)
        if metric == "precision":
            return found
        figures = np.full(len(self.judgements), np.nan)
        figures[self.judgements.n_relevant > 0] = found
        return figures


def score_system(system: FittedSystem, data: EvaluationData, k: int) -> ScoredSystem:
    """Find and score the lists of the warm test users, as the standard protocol of `evaluate` does.

    Args:
        system: the evaluated system of a bundle.
        data: the slices of that bundle.
        k: length of the lists.
    """
    model = system.model
    judgements = Judgements.of(data.test, data.train, data.positive_threshold)
    users = judgements.users
    seen = data.train.item_lists().take(users)
    candidates = find_candidates(model, users, seen, max(k, model.n_candidates))
    lists = two_stage_lists(model, users, k, candidates)
    scores = {name: score_lists(rows, judgements, k) for name, rows in lists.items()}
    served = served_stage(None, scores, model.reranks, model.serves)
    if served is None:  # cannot happen: both searches always have lists
        raise ValueError(f"{model.serves} serves, but is not among {', '.join(scores)}")
    return ScoredSystem(
        users=system.users, items=system.items, judgements=judgements, scores=scores, served=served
    )


def compare_quality(one: ScoredSystem, other: ScoredSystem, k: int) -> QualityDiff:
    """`other` minus `one`, of the served lists and of exact search; paired by user where `unpaired` allows.

    Args:
        one, other: scored at the same k.
    """
    of_one, of_other = shared_rows(one.test_users, other.test_users)
    why = unpaired(one, other)

    def difference(metric: Metric, mine: str, theirs: str) -> MetricDiff:
        figures, others = one.figures(mine, metric), other.figures(theirs, metric)
        if why is None:
            figures, others = figures[of_one], others[of_other]
        figures, others = (each[~np.isnan(each)] for each in (figures, others))
        if why is None:
            paired = compare({"other": others, "one": figures}, [("other", "one")])[0]
            change, p_value = paired.difference, paired.p_value
        else:
            change, p_value = difference_of_means(figures, others), None
        return MetricDiff(
            metric=metric,
            users_one=len(figures),
            users_other=len(others),
            one=mean_estimate(figures),
            other=mean_estimate(others),
            difference=change,
            p_value=p_value,
        )

    kinds: tuple[tuple[Literal["served", "exact"], str, str], ...] = (
        ("served", one.served, other.served),
        ("exact", "exact", "exact"),
    )
    return QualityDiff(
        k=k,
        unpaired=why,
        users_one=len(one.judgements),
        users_other=len(other.judgements),
        shared_users=len(of_one),
        stages=tuple(
            StageDiff(kind, mine, theirs, tuple(difference(metric, mine, theirs) for metric in METRICS))
            for kind, mine, theirs in kinds
        ),
    )


def unpaired(one: ScoredSystem, other: ScoredSystem) -> Unpaired | None:
    """Why the figures of two systems cannot be paired by user; None where they can.

    Users and relevant items are compared by id; the data, split and threshold behind them do not matter.
    """
    of_one, of_other = shared_rows(one.test_users, other.test_users)
    if not len(of_one) == len(one.judgements) == len(other.judgements):
        return "other users"
    n_codes = len(one.items) + len(other.items)
    codes = item_codes(one.items, other.items)
    mine = _pairs(one.judgements.relevant.take(of_one), np.arange(len(one.items)), n_codes)
    theirs = _pairs(other.judgements.relevant.take(of_other), codes, n_codes)
    return None if np.array_equal(mine, theirs) else "other relevant items"


def _pairs(lists: ItemLists, codes: Rows, n_codes: int) -> Rows:
    """Each (list, item) pair as one number, ascending."""
    return np.sort(lists.flat_users() * n_codes + codes[lists.items])
