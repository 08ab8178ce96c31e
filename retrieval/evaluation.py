"""How good the lists are: every stage on the same users, with intervals and paired differences."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index import measure_filtered_latency, recall_against_exact, search_filtered
from retrieval.alpha import AlphaChoice
from retrieval.baselines import BaselineSet, BiasModel
from retrieval.encoded import EncodedInteractions
from retrieval.judgements import Judgements, Rows, StageScores, score_lists
from retrieval.metrics import squared_errors
from retrieval.report import BASELINES, AnnReport, Comparison, RatingReport, Report, StageReport
from retrieval.split import SplitCounts
from retrieval.two_stage import TwoStageModel
from retrieval.uncertainty import Estimate, clustered_estimate, mean_estimate

# Each stage against the one it follows, then the two lists a user may get against the baselines.
NEIGHBOURS = (("ann", "exact"), ("exact+rerank", "exact"), ("ann+rerank", "ann"))
TIMED_QUERIES = 200


@dataclass(frozen=True)
class EvaluationData:
    """The slices a model was trained on and is judged by, in the model's rows.

    Attributes:
        dataset: name or path, for the report.
        train, validation, test: validation and test hold their warm rows only.
        counts: of the whole slices, cold rows included.
        positive_threshold: ratings from here on are positive and relevant.
    """

    dataset: str
    train: EncodedInteractions
    validation: EncodedInteractions
    test: EncodedInteractions
    counts: SplitCounts
    positive_threshold: float


@dataclass(frozen=True)
class Evaluated:
    """A fitted system with all it is judged by and beside.

    Attributes:
        model: fitted on `data.train` only.
        baselines: likewise.
        alpha: how the model's alpha was chosen, for the report.
    """

    model: TwoStageModel
    data: EvaluationData
    baselines: BaselineSet
    alpha: AlphaChoice


def evaluate(evaluated: Evaluated, k: int) -> Report:
    """Judge every stage on the warm test users, by the standard protocol.

    Relevant are test items rated at or above the threshold; items seen in train are never
    recommended; candidates are the whole train catalogue.

    Args:
        k: length of the lists.
    """
    model, data, baselines = evaluated.model, evaluated.data, evaluated.baselines
    judgements = Judgements.of(data.test, data.train, data.positive_threshold)
    found = two_stage_lists(model, judgements.users, k)
    lists = baselines.lists(judgements.users, k) | found.lists
    scores = {name: score_lists(rows, judgements, k) for name, rows in lists.items()}
    popularity_rank = np.empty(data.train.n_items)
    popularity_rank[np.argsort(-baselines.popularity, kind="stable")] = np.arange(1, data.train.n_items + 1)
    return Report(
        dataset=data.dataset,
        protocol="standard",
        k=k,
        positive_threshold=data.positive_threshold,
        split=data.counts,
        judged_users=int((judgements.n_relevant > 0).sum()),
        cold_test_rows=data.counts.test - data.counts.warm_test,
        stages={name: stage_report(stage, popularity_rank) for name, stage in scores.items()},
        comparisons=compare_stages(scores),
        ann=ann_report(model, judgements.users, k, found),
        rating=rating_report(model, data),
        alpha=evaluated.alpha,
        baselines=baselines.settings,
    )


@dataclass(frozen=True)
class TwoStageLists:
    """What the two-stage system gives a set of users, stage by stage.

    Attributes:
        lists: stage name -> (q, k) rows.
        candidate_recall: shape (q,): share of the exact candidates that the ANN index itself found.
        rescued: share of the users whose list the index could not fill, so that exact search did.
    """

    lists: dict[str, Rows]
    candidate_recall: NDArray[np.float64]
    rescued: float


def two_stage_lists(model: TwoStageModel, users: Rows, k: int) -> TwoStageLists:
    """Lists of exact and ANN search, each with and without re-ranking, from the same candidates."""
    exclude, queries = model.seen.take(users), model.vectors.users[users]
    depth = max(k, model.n_candidates)
    exact = model.candidates(queries, exclude, depth, "exact")
    served = search_filtered(model.ann, model.exact, queries, depth, exclude)
    ann = served.result
    # What exact search adds for lists the index cannot fill is no merit of the index.
    own = search_filtered(model.ann, model.exact, queries, depth, exclude, rescue=False).result
    lists = {
        "exact": exact.rows[:, :k],
        "ann": ann.rows[:, :k],
        "exact+rerank": model.rerank(users, exact).rows[:, :k],
        "ann+rerank": model.rerank(users, ann).rows[:, :k],
    }
    rescued = served.fallbacks / max(len(users), 1)
    return TwoStageLists(lists, recall_against_exact(own.rows, exact.rows), rescued)


def stage_report(stage: StageScores, popularity_rank: NDArray[np.float64]) -> StageReport:
    """Means with intervals, and what the lists look like.

    Args:
        popularity_rank: shape (n_items,), each item's place by popularity, from 1.
    """
    listed = stage.lists[stage.lists >= 0]
    return StageReport(
        precision=mean_estimate(stage.precision),
        recall=mean_estimate(stage.recall),
        ndcg=mean_estimate(stage.ndcg),
        coverage=len(np.unique(listed)) / len(popularity_rank),
        popularity_rank=float(popularity_rank[listed].mean()) if len(listed) else np.nan,
    )


def compare_stages(scores: dict[str, StageScores]) -> tuple[Comparison, ...]:
    """Paired differences of NDCG between neighbouring stages, and of the lists with every baseline."""
    lists = ("exact", "exact+rerank", "ann+rerank")
    pairs = [*NEIGHBOURS, *((stage, base) for stage in lists for base in BASELINES if base in scores)]
    return tuple(
        Comparison(stage, against, mean_estimate(scores[stage].ndcg - scores[against].ndcg))
        for stage, against in pairs
    )


def ann_report(model: TwoStageModel, users: Rows, k: int, found: TwoStageLists) -> AnnReport:
    """Recall of the candidates, and the latency of single searches for a sample of the users."""
    timed = users[np.unique(np.linspace(0, len(users) - 1, TIMED_QUERIES).astype(np.int64))]
    depth = max(k, model.n_candidates)
    queries, exclude = model.vectors.users[timed], model.seen.take(timed)
    seconds = {
        kind: measure_filtered_latency(index, model.exact, queries, depth, exclude, repeats=3)
        for kind, index in (("exact", model.exact), ("ann", model.ann))
    }
    milliseconds = {kind: np.percentile(times, (50, 99)) * 1e3 for kind, times in seconds.items()}
    return AnnReport(
        index=model.ann.name,
        candidates=min(depth, model.exact.size),
        recall=mean_estimate(found.candidate_recall),
        rescued=found.rescued,
        exact_p50_ms=float(milliseconds["exact"][0]),
        exact_p99_ms=float(milliseconds["exact"][1]),
        ann_p50_ms=float(milliseconds["ann"][0]),
        ann_p99_ms=float(milliseconds["ann"][1]),
    )


def rating_report(model: TwoStageModel, data: EvaluationData) -> RatingReport:
    """RMSE and MAE on the warm test rows: NeuralMF, and damped biases fitted on the same train."""
    test = data.test.without(data.train)
    biases = BiasModel.fit(data.train).predict_pairs(test.users, test.items)
    predicted = model.rating_model.predict_pairs(test.users, test.items)
    squares, bias_squares = (squared_errors(values, test.ratings) for values in (predicted, biases))

    def over_users(statistic: Callable[..., NDArray[np.float64]], *values: NDArray[np.float64]) -> Estimate:
        return clustered_estimate(statistic, values, test.users)

    return RatingReport(
        rows=len(test),
        rmse=over_users(np.sqrt, squares),
        mae=over_users(np.asarray, np.sqrt(squares)),
        bias_rmse=over_users(np.sqrt, bias_squares),
        bias_mae=over_users(np.asarray, np.sqrt(bias_squares)),
        rmse_difference=over_users(
            lambda ours, theirs: np.sqrt(ours) - np.sqrt(theirs), squares, bias_squares
        ),
    )
