"""Quality of the lists for each group of users: warm, cold with a short history, brand new."""

from collections.abc import Mapping, Sequence

from index import ItemLists
from retrieval.arrays import Rows
from retrieval.data.matrices import positive_matrix
from retrieval.evaluation.baselines import BaselineSet
from retrieval.evaluation.cold_users import Newcomers
from retrieval.evaluation.comparisons import Comparison, compare
from retrieval.evaluation.judgements import score_lists
from retrieval.evaluation.report import GroupReport, StageReport
from retrieval.evaluation.stages import (
    BRAND_NEW,
    FALLBACKS,
    SEARCHES,
    WARM,
    served_pairs,
    served_stage,
)
from retrieval.evaluation.uncertainty import mean_estimate
from retrieval.serving.two_stage import SearchKind, TwoStageModel


def evaluate_groups(
    model: TwoStageModel,
    baselines: BaselineSet,
    newcomers: Sequence[Newcomers],
    k: int,
    warm: GroupReport | None = None,
) -> tuple[GroupReport, ...]:
    """Evaluate every group of newcomers; groups without users are left out.

    Args:
        k: length of the lists.
        warm: the group of warm users, which comes first.
    """
    cold = [evaluate_newcomers(model, baselines, each, k) for each in newcomers if len(each)]
    return tuple(group for group in (warm, *cold) if group is not None and group.users)


def warm_group(
    users: int,
    stages: Mapping[str, StageReport],
    comparisons: Sequence[Comparison],
    reranks: bool,
    search: SearchKind = "ann",
) -> GroupReport:
    """The group of warm users, from the figures of the whole evaluation.

    Args:
        users: number of users over whom the stages' NDCG is a mean.
        comparisons: all of the evaluation's; the group keeps those of `served_pairs`.
        reranks: whether the served list is re-ranked.
        search: which search finds its candidates.
    """
    wanted = set(served_pairs(served_stage(None, stages, reranks, search)))
    chosen = tuple(each for each in comparisons if (each.stage, each.against) in wanted)
    return GroupReport(
        name=WARM,
        history=None,
        users=users,
        ndcg={name: stage.ndcg for name, stage in stages.items()},
        comparisons=chosen,
        reranks=reranks,
        search=search,
    )


def evaluate_newcomers(
    model: TwoStageModel, baselines: BaselineSet, newcomers: Newcomers, k: int
) -> GroupReport:
    """Evaluate every stage on cold users whose first n interactions are known.

    Every stage knows the same of a user: the positives among those n. No stage recommends any of the n again.
    """
    n, users, seen = newcomers.n, newcomers.judgements.users, newcomers.seen
    scorers = baselines.scorers(positive_matrix(newcomers.history.positives(newcomers.threshold)))
    if not n:  # EASE and item-kNN have no order without a history
        scorers = {name: scorer for name, scorer in scorers.items() if name in FALLBACKS}
    lists = baselines.lists_by(scorers, users, k, seen)
    lists |= history_lists(model, newcomers.liked, seen, k)
    ndcg = {name: score_lists(rows, newcomers.judgements, k).ndcg for name, rows in lists.items()}
    return GroupReport(
        name=f"cold, first {n}" if n else BRAND_NEW,
        history=n,
        users=len(newcomers),
        ndcg={name: mean_estimate(values) for name, values in ndcg.items()},
        comparisons=compare(ndcg, served_pairs(served_stage(n, ndcg, model.reranks_newcomers, model.serves))),
        reranks=model.reranks_newcomers,
        search=model.serves,
    )


def history_lists(model: TwoStageModel, liked: ItemLists, seen: ItemLists, k: int) -> dict[str, Rows]:
    """Lists of exact and approximate search for users known by a history, with and without re-ranking.

    The lists are those of `TwoStageModel.for_histories`: fold-in by the history tower, without the id tower.

    Args:
        liked: q lists of positive items, from which the towers make the users' vectors; an empty list gives
            the prior.
        seen: q lists of items that are not recommended.
        k: length of the lists.

    Returns:
        stage -> lists (q, k); empty where the towers have no vectors for histories.
    """
    if model.vectors.history_items is None:
        return {}
    queries, reranks = model.vectors.for_histories(liked), model.rating_model is not None
    found = {search: model.candidates_for(queries, seen, k, search) for search in SEARCHES}
    lists = {str(search): candidates.rows[:, :k] for search, candidates in found.items()}
    if reranks:
        for search, candidates in found.items():
            lists[f"{search}+rerank"] = model.rerank_for_newcomers(candidates, liked.lengths()).rows[:, :k]
    return lists
