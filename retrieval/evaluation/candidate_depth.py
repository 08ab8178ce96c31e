"""NDCG and latency of the served list against the number of candidates."""

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from index import (
    ExactIndex,
    ItemLists,
    SearchResult,
    evenly_spread,
    search_filtered,
    standard_error,
    time_singles,
)
from retrieval.arrays import Rows
from retrieval.evaluation.candidates import fill_short
from retrieval.evaluation.judgements import Judgements, score_lists
from retrieval.evaluation.report import DepthCurve, DepthPoint
from retrieval.evaluation.uncertainty import mean_estimate
from retrieval.serving.two_stage import TwoStageModel

DEPTHS = (10, 20, 50, 100, 200, 400, 800)
# Every depth re-ranks all users; more of them would not make the curve clearer.
MOST_USERS = 2000
TIMED_QUERIES, REPEATS = 100, 2
# Indexes whose best n are the first n of their best m > n: they score every vector of the clusters they
# probe, and the number of results does not change which clusters they probe.
PREFIX_STABLE = re.compile(r"IVF\d+[kM]?,(Flat|SQ8)")


def depth_curve(model: TwoStageModel, judgements: Judgements, k: int) -> DepthCurve | None:
    """Measure the list that `model` serves at each depth of `depths_of`.

    The list holds the candidates of the search that serves, re-ranked where the model re-ranks.

    Args:
        judgements: of users who are rows of the model. At most `MOST_USERS` of those with a relevant item,
            evenly spread, are measured.
        k: length of the lists.

    Returns:
        None where no user has a relevant item.
    """
    places = np.flatnonzero(judgements.n_relevant > 0)
    if not len(places):
        return None
    places = places[evenly_spread(len(places), MOST_USERS)]
    judgements = Judgements(judgements.users[places], judgements.relevant.take(places))
    users, depths = judgements.users, depths_of(model, k)
    per_depth = [
        score_lists(served(replace(model, n_candidates=depth), users, found)[:, :k], judgements, k).ndcg
        for depth, found in zip(
            depths, candidates_at(model, users, model.seen.take(users), depths), strict=True
        )
    ]
    timed = users[evenly_spread(len(users), TIMED_QUERIES)]
    points = []
    for depth, scores in zip(depths, per_depth, strict=True):
        p50, p99 = np.percentile(latencies(model, timed, depth) * 1e3, (50, 99))
        points.append(DepthPoint(depth, mean_estimate(scores), float(p50), float(p99)))
    return DepthCurve(k, tuple(points), depths[_knee(per_depth)])


def depths_of(model: TwoStageModel, k: int) -> list[int]:
    """Numbers of candidates to try: `DEPTHS` and the model's own, from k up to the catalogue."""
    return sorted({min(max(depth, k), model.exact.size) for depth in (*DEPTHS, model.n_candidates)})


def candidates_at(
    model: TwoStageModel, users: Rows, exclude: ItemLists, depths: list[int]
) -> Iterator[SearchResult]:
    """The served candidates (q, depth) at each depth, ascending.

    One deep search serves all depths where its first results are those of a shallower search.
    """
    queries = model.vectors.users[users]

    index = model.exact if model.serves == "exact" else model.ann

    def search(depth: int) -> SearchResult:
        return search_filtered(index, model.exact, queries, depth, exclude, rescue=False).result

    stable = isinstance(index, ExactIndex) or PREFIX_STABLE.fullmatch(index.factory)
    deepest = search(depths[-1]) if stable else None
    left = model.exact.size - exclude.lengths()
    for depth in depths:
        own = search(depth) if deepest is None else deepest.top(depth)
        short = np.flatnonzero((own.rows >= 0).sum(axis=1) < np.minimum(depth, left))
        yield fill_short(model, users, exclude, own, short)[0]


def served(model: TwoStageModel, users: Rows, found: SearchResult) -> Rows:
    """Candidates in the order in which they are served: shape (q, c)."""
    return model.rerank(users, found).rows if model.reranks else found.rows


def latencies(model: TwoStageModel, users: Rows, depth: int) -> NDArray[np.float64]:
    """Seconds of each user's search and re-ranking, timed one user at a time: shape (REPEATS, q)."""
    model = replace(model, n_candidates=depth)

    def answer(place: int) -> object:
        user = users[place : place + 1]
        found = model.candidates(model.vectors.users[user], model.seen.take(user), depth, model.serves)
        return served(model, user, found)

    return time_singles(answer, len(users), REPEATS)


def _knee(per_depth: list[NDArray[np.float64]]) -> int:
    """Place of the smallest depth whose mean is within one standard error of the best depth's.

    The standard error is of the paired difference to the best.
    """
    best = max(per_depth, key=lambda scores: float(scores.mean()))
    behind = [best - scores for scores in per_depth]
    return next(place for place, gaps in enumerate(behind) if gaps.mean() <= standard_error(gaps))
