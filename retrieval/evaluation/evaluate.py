"""How good the lists are: every stage on the same users, with intervals and paired differences."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from index import ItemLists, evenly_spread, measure_filtered_latency
from retrieval.arrays import Rows
from retrieval.data.encoded import EncodedInteractions
from retrieval.data.split import SplitCounts
from retrieval.evaluation.baselines import BaselineSet, BiasModel
from retrieval.evaluation.candidate_depth import depth_curve
from retrieval.evaluation.candidates import Candidates, find_candidates
from retrieval.evaluation.choices import BlendChoice, IndexChoice, TuningResult
from retrieval.evaluation.cold_users import Newcomers
from retrieval.evaluation.comparisons import Comparison, compare
from retrieval.evaluation.funnel import trace_relevant
from retrieval.evaluation.judgements import Judgements, StageScores, rank_by_scores
from retrieval.evaluation.metrics import squared_errors
from retrieval.evaluation.protocols import PROTOCOLS, ProtocolName
from retrieval.evaluation.report import AnnReport, Funnel, RatingReport, Report, StageReport
from retrieval.evaluation.stages import BASELINES
from retrieval.evaluation.uncertainty import Estimate, clustered_estimate, mean_estimate
from retrieval.evaluation.user_groups import evaluate_groups, warm_group
from retrieval.serving.two_stage import TwoStageModel
from retrieval.settings import SplitKind
from retrieval.training.curves import TrainingCurves

# Each stage against the one it follows, then the two lists a user may get against the baselines.
NEIGHBOURS = (
    ("ann", "exact"),
    ("exact+rerank", "exact"),
    ("ann+rerank", "ann"),
    ("ann+rerank", "exact+rerank"),
)
TIMED_QUERIES = 200


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


def evaluate(evaluated: Evaluated, k: int, protocol: ProtocolName = "standard") -> Report:
    """Judge every stage on the warm test users; see `protocols` for what counts.

    Items seen in train are never recommended; candidates are the whole train catalogue, but for the
    notebook's precision.

    Args:
        k: length of the lists.
    """
    model, data, baselines = evaluated.model, evaluated.data, evaluated.baselines
    depth = max(k, model.n_candidates)

    def lists_of(users: Rows, exclude: ItemLists, candidates: Candidates) -> dict[str, Rows]:
        lists = baselines.lists(users, k, exclude)
        if protocol == "notebook":
            lists |= neural_mf_lists(model, users, k, exclude)
        return lists | two_stage_lists(model, users, k, candidates)

    def lists_among(users: Rows, exclude: ItemLists) -> dict[str, Rows]:
        return lists_of(users, exclude, find_candidates(model, users, exclude, depth))

    users = np.unique(data.test.users)
    seen = data.train.item_lists().take(users)
    candidates = find_candidates(model, users, seen, depth)
    lists = lists_of(users, seen, candidates)
    judged = PROTOCOLS[protocol](data.test, data.train, data.positive_threshold, k, lists, lists_among)
    popularity_rank = np.empty(data.train.n_items)
    popularity_rank[np.argsort(-baselines.popularity, kind="stable")] = np.arange(1, data.train.n_items + 1)
    report = Report(
        dataset=data.dataset,
        protocol=protocol,
        k=k,
        positive_threshold=None if data.train.ratings is None else data.positive_threshold,
        split=data.counts,
        split_kind=data.split_kind,
        judged_users=judged.judged_users,
        cold_test_rows=data.counts.test - data.counts.warm_test,
        seen_test_rows=len(data.test) - len(data.test.without(data.train)),
        stages={name: stage_report(stage, popularity_rank) for name, stage in judged.scores.items()},
        comparisons=compare_stages(judged.scores),
        ann=ann_report(model, users, candidates, evaluated.index),
        rating=rating_report(model, data),
        blend=evaluated.blend,
        baselines=baselines.settings,
        training=evaluated.training,
        tuning=evaluated.tuning,
    )
    if protocol != "standard":
        return report
    judgements = Judgements.of(data.test, data.train, data.positive_threshold)
    warm = warm_group(report.judged_users, report.stages, report.comparisons, model.reranks, model.serves)
    return replace(
        report,
        funnel=funnel_report(model, data, judgements, candidates, lists[report.served], k),
        depth=depth_curve(model, judgements, k),
        groups=evaluate_groups(model, baselines, data.newcomers, k, warm),
    )


def two_stage_lists(model: TwoStageModel, users: Rows, k: int, candidates: Candidates) -> dict[str, Rows]:
    """Lists of exact and ANN search, each with and without re-ranking, from the same candidates."""
    exact, ann = candidates.exact, candidates.ann
    lists = {"exact": exact.rows[:, :k], "ann": ann.rows[:, :k]}
    if model.rating_model is not None:
        lists["exact+rerank"] = model.rerank(users, exact).rows[:, :k]
        lists["ann+rerank"] = model.rerank(users, ann).rows[:, :k]
    return lists


def neural_mf_lists(model: TwoStageModel, users: Rows, k: int, exclude: ItemLists) -> dict[str, Rows]:
    """Lists of the whole catalogue by predicted rating alone; none where there is no NeuralMF."""
    rating_model, n_items = model.rating_model, model.exact.size
    if rating_model is None:
        return {}

    def scorer(block: Rows) -> NDArray[np.float32]:
        return rating_model.predict(block, np.broadcast_to(np.arange(n_items), (len(block), n_items)))

    return {"neural_mf": rank_by_scores(scorer, users, exclude, k, n_items)}


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
    lists = ("exact", "ann", "exact+rerank", "ann+rerank")
    pairs = [*NEIGHBOURS, *((stage, base) for stage in lists for base in BASELINES)]
    return compare({name: stage.ndcg for name, stage in scores.items()}, pairs)


def ann_report(
    model: TwoStageModel, users: Rows, candidates: Candidates, choice: IndexChoice | None
) -> AnnReport:
    """Recall of the candidates, and the latency of single searches for a sample of the users."""
    timed = users[evenly_spread(len(users), TIMED_QUERIES)]
    depth = candidates.exact.rows.shape[1]
    queries, exclude = model.vectors.users[timed], model.seen.take(timed)
    seconds = {
        kind: measure_filtered_latency(index, model.exact, queries, depth, exclude, repeats=3)
        for kind, index in (("exact", model.exact), ("ann", model.ann))
    }
    milliseconds = {kind: np.percentile(times, (50, 99)) * 1e3 for kind, times in seconds.items()}
    return AnnReport(
        index=model.ann.name,
        candidates=depth,
        recall=mean_estimate(candidates.recalls),
        rescued=candidates.rescued,
        exact_p50_ms=float(milliseconds["exact"][0]),
        exact_p99_ms=float(milliseconds["exact"][1]),
        ann_p50_ms=float(milliseconds["ann"][0]),
        ann_p99_ms=float(milliseconds["ann"][1]),
        serves=model.serves,
        choice=choice,
    )


def funnel_report(
    model: TwoStageModel,
    data: EvaluationData,
    judgements: Judgements,
    candidates: Candidates,
    lists: Rows,
    k: int,
) -> Funnel | None:
    """What became of the relevant items of the warm test users; see `attribution`.

    Args:
        judgements: of those users.
        candidates: of the same.
        lists: shape (q, c), what is served to them, at most k places.
    """
    relevant = judgements.relevant
    positives = len(data.test.positives(data.positive_threshold))
    return trace_relevant(
        relevant,
        candidates.exact.rows,
        (candidates.ann if model.serves == "ann" else candidates.exact).rows,
        lists,
        k=k,
        outside=data.outside_catalogue,
        filtered=positives - len(relevant.items),
        reranked=model.reranks,
    )


def rating_report(model: TwoStageModel, data: EvaluationData) -> RatingReport | None:
    """RMSE and MAE on the warm test rows: NeuralMF, and damped biases fitted on the same train.

    None where there are no ratings.
    """
    test = data.test.without(data.train)
    if model.rating_model is None or test.ratings is None:
        return None
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
