"""How many candidates it takes: quality and latency of the served stage against the depth of the search."""

import re
from collections.abc import Iterator

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
# More users make the curve no clearer to the eye, and every depth re-ranks them all.
MOST_USERS = 2000
TIMED_QUERIES, REPEATS = 100, 2
# Indexes whose best n are the first n of their best m > n: they score every vector they look at, and how
# many are asked for does not change at which they look.
PREFIX_STABLE = re.compile(r"IVF\d+[kM]?,(Flat|SQ8)")


def depth_curve(model: TwoStageModel, judgements: Judgements, k: int) -> DepthCurve | None:
    """Measure what `model` serves at every depth of `depths_of`; None where nobody has a relevant item.

    What is served are the candidates of the search that serves, re-ranked where the model re-ranks.

    Args:
        judgements: of users who are rows of the model; of those with a relevant item at most
            `MOST_USERS`, evenly spread, are judged.
        k: length of the lists.
    """
    judged = np.flatnonzero(judgements.n_relevant > 0)
    if not len(judged):
        return None
    judged = judged[evenly_spread(len(judged), MOST_USERS)]
    judgements = Judgements(judgements.users[judged], judgements.relevant.take(judged))
    users, depths = judgements.users, depths_of(model, k)
    per_depth = [
        score_lists(served(model, users, found)[:, :k], judgements, k).ndcg
        for found in candidates_at(model, users, model.seen.take(users), depths)
    ]
    timed = users[evenly_spread(len(users), TIMED_QUERIES)]
    points = []
    for depth, scores in zip(depths, per_depth, strict=True):
        p50, p99 = np.percentile(latencies(model, timed, depth) * 1e3, (50, 99))
        points.append(DepthPoint(depth, mean_estimate(scores), float(p50), float(p99)))
    return DepthCurve(k, tuple(points), depths[_knee(per_depth)])


def depths_of(model: TwoStageModel, k: int) -> list[int]:
    """Numbers of candidates to try: `DEPTHS` and the configured one, from k up to the catalogue."""
    return sorted({min(max(depth, k), model.exact.size) for depth in (*DEPTHS, model.n_candidates)})


def candidates_at(
    model: TwoStageModel, users: Rows, exclude: ItemLists, depths: list[int]
) -> Iterator[SearchResult]:
    """The served candidates of each depth, ascending; from one deep search where that gives the same."""
    queries = model.vectors.users[users]

    index = model.exact if model.serves == "exact" or isinstance(model.ann, ExactIndex) else model.ann

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
    """Rows of the candidates in the order in which they are served: (q, c)."""
    return model.rerank(users, found).rows if model.reranks else found.rows


def latencies(model: TwoStageModel, users: Rows, depth: int) -> NDArray[np.float64]:
    """Seconds that each user's search and re-ranking take, one after the other: shape (REPEATS, q)."""

    def ask(place: int) -> object:
        user = users[place : place + 1]
        found = model.candidates(model.vectors.users[user], model.seen.take(user), depth, model.serves)
        return served(model, user, found)

    return time_singles(ask, len(users), REPEATS)


def _knee(per_depth: list[NDArray[np.float64]]) -> int:
    """The first line that is no more than one standard error behind the best."""
    best = max(per_depth, key=lambda scores: float(scores.mean()))
    behind = [best - scores for scores in per_depth]
    return next(place for place, gaps in enumerate(behind) if gaps.mean() <= standard_error(gaps))
