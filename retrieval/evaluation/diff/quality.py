"""Which of two bundles gives the better lists, each judged on its own test slice.

A difference is paired, user by user, only where both were judged by the same users and the same relevant
items. Elsewhere the two figures answer two questions: their difference is of the means alone, and tells the
systems apart no better than it tells the slices apart.
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
        metric: what it is.
        users_one, users_other: over how many users each is a mean.
        one, other: as the report of each has it.
        difference: the other minus the one, so that above 0 the other is better.
        p_value: of the paired difference, by `uncertainty.sign_flip_p_value`; None where it is not paired.
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
    """Lists of one kind in both bundles.

    Attributes:
        kind: "served", what each answers by, or "exact", its exact search without re-ranking.
        one, other: the stages these are.
        metrics: precision, recall, NDCG.
    """

    kind: Literal["served", "exact"]
    one: str
    other: str
    metrics: tuple[MetricDiff, ...]


@dataclass(frozen=True)
class QualityDiff:
    """What is better in which bundle.

    Attributes:
        k: length of the lists.
        unpaired: why differences are not paired by user; None where they are.
        users_one, users_other: test users of each.
        shared_users: how many are of both. Where those are some but not all, the interval of a difference
            takes them for other people all the same, which as a rule makes it too wide.
        stages: what is served, and exact search.
    """

    k: int
    unpaired: Unpaired | None
    users_one: int
    users_other: int
    shared_users: int
    stages: tuple[StageDiff, ...]

    @property
    def paired(self) -> bool:
        """Whether differences are user by user."""
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
    """A bundle's evaluated lists, judged user by user; make one with `score_system`.

    Attributes:
        users, items: ids of the evaluated system.
        judgements: its test users and their relevant items.
        scores: stage -> a figure for each user.
        served: the stage that answers.
    """

    users: IdMap
    items: IdMap
    judgements: Judgements
    scores: dict[str, StageScores]
    served: str

    @property
    def test_users(self) -> IdMap:
        """Ids of the users of the judgements, in their order."""
        return IdMap(self.users.ids[self.judgements.users])

    def figures(self, stage: str, metric: Metric) -> NDArray[np.float64]:
        """A figure for each user of the judgements: shape (q,), NaN for whom the metric does not count."""
        found: NDArray[np.float64] = getattr(self.scores[stage], metric)
        if metric == "precision":
            return found
        figures = np.full(len(self.judgements), np.nan)
        figures[self.judgements.n_relevant > 0] = found
        return figures


def score_system(system: FittedSystem, data: EvaluationData, k: int) -> ScoredSystem:
    """Find and score the lists of the warm test users, as `evaluate` does by its standard protocol.

    Args:
        system: the evaluated one of a bundle.
        data: what it is judged by.
    """
    model = system.model
    judgements = Judgements.of(data.test, data.train, data.positive_threshold)
    users = judgements.users
    seen = data.train.item_lists().take(users)
    candidates = find_candidates(model, users, seen, max(k, model.n_candidates))
    lists = two_stage_lists(model, users, k, candidates)
    scores = {name: score_lists(rows, judgements, k) for name, rows in lists.items()}
    served = served_stage(None, scores, model.reranks, model.serves)
    if served is None:  # there is always one: what finds candidates finds lists
        raise ValueError(f"{model.serves} serves, but is not among {', '.join(scores)}")
    return ScoredSystem(
        users=system.users, items=system.items, judgements=judgements, scores=scores, served=served
    )


def compare_quality(one: ScoredSystem, other: ScoredSystem, k: int) -> QualityDiff:
    """The other minus the one in what is served and in exact search, paired where that is honest.

    Args:
        one, other: judged at the same k.
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
    """Why the figures of two judged systems cannot be paired user by user; None where they can.

    It goes by ids: what data, split and threshold made the slices does not matter where they ask the same.
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
    """Each pair of a list and an item as one number, ascending."""
    return np.sort(lists.flat_users() * n_codes + codes[lists.items])
