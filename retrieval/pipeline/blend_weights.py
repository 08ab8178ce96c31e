"""Chooses the weights of the predicted rating and of the trend in the blend, on validation."""

from collections.abc import Callable, Sequence

import numpy as np

from index import standard_error
from retrieval.arrays import MetricValues, Rows
from retrieval.evaluation.choices import BlendChoice
from retrieval.evaluation.cold_users import Newcomers
from retrieval.evaluation.judgements import Judgements, score_lists
from retrieval.evaluation.uncertainty import Estimate, mean_estimate
from retrieval.evaluation.validation import alike
from retrieval.serving.fitted_model import FittedModel
from retrieval.serving.rating_model import RatingModel
from retrieval.serving.rerank import blend, fading

Groups = list[MetricValues]

ALPHAS = tuple(round(0.1 * step, 1) for step in range(11))
TRENDS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5)
# A newcomer's trend weight fades as their history grows, see `rerank.fading`; so larger ones are tried.
NEWCOMER_TRENDS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)


def choose_user_weights(model: FittedModel, slices: Sequence[Judgements], k: int) -> BlendChoice:
    """Choose the smallest weights whose gain in NDCG@k is within a standard error of the best gain.

    The one-standard-error rule (Breiman et al., 1984, section 3.4.3): a few dozen validation users
    cannot tell neighbouring weights apart, and the best of many pairs is partly the luckiest. So the weights
    stay as small as the data allows, and are 0 unless re-ranking gains more than its own noise.

    Args:
        slices: stretches of validation's time, all with the same users; each has the items that were
            relevant in it. A gain in one stretch alone counts for less.

    Raises:
        ValueError: if the model has no NeuralMF to weigh.
    """
    rating_model, users = _rating_model(model), slices[0].users
    depth, run = model.depth_for(k), model.n_candidates
    found = model.exact_candidates(model.vectors.users[users], model.seen.take(users), depth)
    predicted = rating_model.predict(users, found.rows)

    def ndcg(alpha: float, trend: float) -> Groups:
        lists = blend(found, predicted, alpha, model.trend_of(found.rows), trend, run=run).rows
        # A user's slices are not independent lists, so each user counts once: by the mean over the slices
        # in which they have a relevant item.
        return [_mean_of_known([_ndcg(lists, judged, k) for judged in slices])]

    return _least_within_a_standard_error(ndcg, k, model.trend is not None, TRENDS)


def choose_newcomer_weights(model: FittedModel, newcomers: Sequence[Newcomers], k: int) -> BlendChoice:
    """As `choose_user_weights`, for newcomers, whose ratings NeuralMF predicts as an unknown user's.

    Args:
        newcomers: groups of validation's new users, each with histories of one length.

    Raises:
        ValueError: if the model has no NeuralMF to weigh, or there is no group.
    """
    depth, run = model.depth_for(k), model.n_candidates
    found = [
        model.exact_candidates(model.vectors.for_histories(people.liked), people.seen, depth)
        for people in newcomers
    ]
    predicted = [model.predict_for_newcomers(each.rows) for each in found]
    liked = [people.liked.lengths() for people in newcomers]

    def ndcg(alpha: float, trend: float) -> Groups:
        lists = (
            blend(each, ratings, alpha, model.trend_of(each.rows), fading(trend, lengths), run=run).rows
            for each, ratings, lengths in zip(found, predicted, liked, strict=True)
        )
        scored = (
            score_lists(each, people.judgements, k) for each, people in zip(lists, newcomers, strict=True)
        )
        return [each.ndcg for each in scored]

    return _least_within_a_standard_error(ndcg, k, model.trend is not None, NEWCOMER_TRENDS)


def _least_within_a_standard_error(
    ndcg: Callable[[float, float], Groups], k: int, has_trend: bool, weights: tuple[float, ...]
) -> BlendChoice:
    """Try every pair of alpha and trend weight; alpha alone where the model has no trend."""
    trends = weights if has_trend else (0.0,)
    scores = {(alpha, trend): ndcg(alpha, trend) for alpha in ALPHAS for trend in trends}
    gains = {pair: _minus(each, scores[0.0, 0.0]) for pair, each in scores.items()}
    best = max(gains.values(), key=_mean)
    # The groups' errors are averaged as if they went together, since the same people are in all groups.
    enough = _mean(best) - float(np.mean([standard_error(group) for group in best]))
    good = [pair for pair, gain in gains.items() if _mean(gain) >= enough]
    alpha, trend = min(good, key=lambda pair: (round(sum(pair), 6), -_mean(gains[pair])))

    def curve(pairs: list[tuple[float, float]], part: int) -> tuple[tuple[float, float, Estimate], ...]:
        return tuple((pair[part], _mean(scores[pair]), mean_estimate(alike(gains[pair]))) for pair in pairs)

    of_alpha, of_trend = [(each, trend) for each in ALPHAS], [(alpha, each) for each in trends]
    return BlendChoice(alpha, k, curve(of_alpha, 0), trend, curve(of_trend, 1) if has_trend else ())


def _minus(one: Groups, other: Groups) -> Groups:
    return [mine - theirs for mine, theirs in zip(one, other, strict=True)]


def _mean(groups: Groups) -> float:
    """The mean of the groups' means: each group counts alike."""
    return float(np.mean([group.mean() for group in groups]))


def _ndcg(lists: Rows, judged: Judgements, k: int) -> MetricValues:
    """NDCG of every user: shape (q,), NaN where nothing is relevant."""
    ndcg = np.full(len(judged), np.nan)
    ndcg[judged.n_relevant > 0] = score_lists(lists, judged, k).ndcg
    return ndcg


def _mean_of_known(slices: Sequence[MetricValues]) -> MetricValues:
    """Each user's mean over the slices that are not NaN; users without such a slice are left out."""
    table = np.stack(slices)
    return np.asarray(np.nanmean(table[:, ~np.isnan(table).all(axis=0)], axis=0))


def _rating_model(model: FittedModel) -> RatingModel:
    if model.rating_model is None:
        raise ValueError("there is no NeuralMF to weigh: the model was built without ratings")
    return model.rating_model
