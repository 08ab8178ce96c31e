"""Evaluates every stage on the same test users, with intervals and paired differences."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from index import ItemLists, evenly_spread, measure_filtered_latency
from retrieval.arrays import Rows
from retrieval.evaluation.candidate_depth import depth_curve
from retrieval.evaluation.candidates import Candidates, find_candidates
from retrieval.evaluation.choices import IndexChoice
from retrieval.evaluation.comparisons import Comparison, compare
from retrieval.evaluation.evaluated import Evaluated, EvaluationData
from retrieval.evaluation.funnel import trace_relevant
from retrieval.evaluation.judgements import Judgements, StageScores, rank_by_scores
from retrieval.evaluation.protocols import PROTOCOLS, ProtocolName
from retrieval.evaluation.rating_errors import rating_report
from retrieval.evaluation.report import AnnReport, Funnel, Report, StageReport
from retrieval.evaluation.stages import BASELINES
from retrieval.evaluation.uncertainty import mean_estimate
from retrieval.evaluation.user_groups import evaluate_groups, warm_group
from retrieval.serving.two_stage import TwoStageModel

# Each stage against the one that it changes.
NEIGHBOURS = (
    ("ann", "exact"),
    ("exact+rerank", "exact"),
    ("ann+rerank", "ann"),
    ("ann+rerank", "exact+rerank"),
)
TIMED_QUERIES = 200


def evaluate(evaluated: Evaluated, k: int, protocol: ProtocolName = "standard") -> Report:
    """Measure every stage on the warm test users, by the definitions of a protocol (see `protocols`).

    Candidates are all items of train's catalogue but the user's own; the notebook's precision restricts them
    further. Funnel, depth curve and groups of users come with the standard protocol only.

    Args:
        k: length of the lists.
    """
    model, data, baselines = evaluated.model, evaluated.data, evaluated.baselines

    def lists_of(users: Rows, exclude: ItemLists, candidates: Candidates) -> dict[str, Rows]:
        lists = baselines.lists(users, k, exclude)
        if protocol == "notebook":
            lists |= neural_mf_lists(model, users, k, exclude)
        return lists | two_stage_lists(model, users, k, candidates)

    def lists_among(users: Rows, exclude: ItemLists) -> dict[str, Rows]:
        return lists_of(users, exclude, find_candidates(model, users, exclude, k))

    users = np.unique(data.test.users)
    seen = data.train.item_lists().take(users)
    candidates = find_candidates(model, users, seen, k)
    lists = lists_of(users, seen, candidates)
    scored = PROTOCOLS[protocol](data.test, data.train, data.positive_threshold, k, lists, lists_among)
    popularity_rank = np.empty(data.train.n_items)
    popularity_rank[np.argsort(-baselines.popularity, kind="stable")] = np.arange(1, data.train.n_items + 1)
    report = Report(
        dataset=data.dataset,
        protocol=protocol,
        k=k,
        positive_threshold=None if data.train.ratings is None else data.positive_threshold,
        split=data.counts,
        split_kind=data.split_kind,
        judged_users=scored.judged_users,
        dates=data.dates,
        cold_test_rows=data.counts.test - data.counts.warm_test,
        seen_test_rows=len(data.test) - len(data.test.without(data.train)),
        stages={name: stage_report(stage, popularity_rank) for name, stage in scored.scores.items()},
        comparisons=compare_stages(scored.scores),
        ann=ann_report(model, users, candidates, evaluated.index),
        rating=rating_report(model, data),
        blend=evaluated.blend,
        baselines=baselines.settings,
        training=evaluated.training,
        tuning=evaluated.tuning,
        notes=evaluated.notes,
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
    """Lists (q, k) of exact and approximate search, each with and without re-ranking.

    Args:
        users: shape (q,), rows.
        candidates: of the same users.
    """
    exact, ann = candidates.exact, candidates.ann
    lists = {"exact": exact.rows[:, :k], "ann": ann.rows[:, :k]}
    if model.rating_model is not None:
        lists["exact+rerank"] = model.rerank(users, exact).rows[:, :k]
        lists["ann+rerank"] = model.rerank(users, ann).rows[:, :k]
    return lists


def neural_mf_lists(model: TwoStageModel, users: Rows, k: int, exclude: ItemLists) -> dict[str, Rows]:
    """Lists (q, k) of the whole catalogue by predicted rating alone; empty where there is no NeuralMF."""
    rating_model, n_items = model.rating_model, model.exact.size
    if rating_model is None:
        return {}

    def scorer(block: Rows) -> NDArray[np.float32]:
        return rating_model.predict(block, np.broadcast_to(np.arange(n_items), (len(block), n_items)))

    return {"neural_mf": rank_by_scores(scorer, users, exclude, k, n_items)}


def stage_report(stage: StageScores, popularity_rank: NDArray[np.float64]) -> StageReport:
    """Means with intervals, coverage and novelty of one stage's lists.

    Args:
        popularity_rank: shape (n_items,), each item's place in the popularity order, from 1.
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
    """Paired differences of NDCG: each stage with the one it changes, then each with every baseline."""
    lists = ("exact", "ann", "exact+rerank", "ann+rerank")
    pairs = [*NEIGHBOURS, *((stage, base) for stage in lists for base in BASELINES)]
    return compare({name: stage.ndcg for name, stage in scores.items()}, pairs)


def ann_report(
    model: TwoStageModel, users: Rows, candidates: Candidates, choice: IndexChoice | None
) -> AnnReport:
    """Recall of the index, and the latency of single searches for a sample of `TIMED_QUERIES` users.

    Where there are no warm test users, both are measured on as many users of train.
    """
    if not len(users):
        users = evenly_spread(len(model.seen), TIMED_QUERIES)
        candidates = find_candidates(model, users, model.seen.take(users), 1)
    timed = users[evenly_spread(len(users), TIMED_QUERIES)]
    depth = candidates.own.rows.shape[1]
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
    """The funnel of the warm test users' relevant items; see `trace_relevant`.

    Args:
        judgements: of the q warm test users.
        candidates: of the same users.
        lists: shape (q, at most k), the lists served to them.
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
