"""How much the predicted rating weighs in the blend, chosen on validation."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.judgements import Judgements, Rows, score_lists
from retrieval.newcomers import Newcomers
from retrieval.rating_model import RatingModel
from retrieval.rerank import blend
from retrieval.two_stage import TwoStageModel
from retrieval.uncertainty import Estimate, mean_estimate, standard_error

Scores = NDArray[np.float64]

ALPHAS = tuple(round(0.1 * step, 1) for step in range(11))


@dataclass(frozen=True)
class AlphaChoice:
    """The blend's weight and the validation curve it was read from.

    Attributes:
        alpha: the chosen weight.
        k: cut-off of the NDCG it was chosen by.
        curve: (alpha, NDCG@k on validation, its paired gain over alpha 0), one for each weight tried.
        newcomers: the choice for people the models have never met; None where there were none to ask.
    """

    alpha: float
    k: int
    curve: tuple[tuple[float, float, Estimate], ...]
    newcomers: "AlphaChoice | None" = None

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types."""
        curve = [
            {"alpha": alpha, f"ndcg@{self.k}": ndcg, "gain": asdict(gain)} for alpha, ndcg, gain in self.curve
        ]
        newcomers = self.newcomers and self.newcomers.to_json()
        return {"alpha": self.alpha, "k": self.k, "validation_curve": curve, "newcomers": newcomers}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "AlphaChoice":
        """Back from what `to_json` gave."""
        k = int(document["k"])
        curve = tuple(
            (float(each["alpha"]), float(each[f"ndcg@{k}"]), Estimate(**each["gain"]))
            for each in document["validation_curve"]
        )
        newcomers = document.get("newcomers")
        return cls(float(document["alpha"]), k, curve, newcomers and cls.from_json(newcomers))


def choose_alpha(model: TwoStageModel, slices: Sequence[Judgements], k: int) -> AlphaChoice:
    """The smallest weight whose NDCG@k on validation is within one standard error of the best weight's.

    A few dozen validation users cannot tell neighbouring weights apart, and the best of eleven is best
    by luck as much as by merit; so the retrieval order gives way only as far as the data insists, and
    alpha is 0 unless re-ranking gains more than its own noise.

    Args:
        slices: of validation, all of the same users: stretches of time, each with what was relevant in
            it. What pays in one of them only counts for less.

    Raises:
        ValueError: if the model has no NeuralMF to weigh.
    """
    rating_model, users = _rating_model(model), slices[0].users
    depth = max(k, model.n_candidates)
    found = model.candidates(model.vectors.users[users], model.seen.take(users), depth, "exact")
    predicted = rating_model.predict(users, found.rows)
    per_slice = [
        [_ndcg(blend(found, predicted, alpha).rows, judged, k) for judged in slices] for alpha in ALPHAS
    ]
    # Each user's mean over the slices he has something relevant in: his slices are no independent lists.
    return _within_a_standard_error([_mean_of_known(each) for each in per_slice], k)


def choose_newcomer_alpha(model: TwoStageModel, newcomers: Sequence[Newcomers], k: int) -> AlphaChoice:
    """As `choose_alpha`, for people the models have never met: NeuralMF's row of the unknown user speaks.

    Args:
        newcomers: of validation, with histories of one length or another.

    Raises:
        ValueError: if the model has no NeuralMF to weigh, or nobody is there.
    """
    per_alpha: list[list[Scores]] = [[] for _ in ALPHAS]
    for people in newcomers:
        queries, depth = model.vectors.for_histories(people.liked), max(k, model.n_candidates)
        found = model.candidates(queries, people.seen, depth, "exact")
        predicted = model.predict_for_newcomers(found.rows)
        for scores, alpha in zip(per_alpha, ALPHAS, strict=True):
            scores.append(score_lists(blend(found, predicted, alpha).rows, people.judgements, k).ndcg)
    return _within_a_standard_error([np.concatenate(scores) for scores in per_alpha], k)


def _within_a_standard_error(per_alpha: Sequence[Scores], k: int) -> AlphaChoice:
    best = max(per_alpha, key=lambda scores: float(scores.mean()))
    behind = [best - scores for scores in per_alpha]
    chosen = next(i for i, gaps in enumerate(behind) if gaps.mean() <= standard_error(gaps))
    curve = tuple(
        (alpha, float(scores.mean()), mean_estimate(scores - per_alpha[0]))
        for alpha, scores in zip(ALPHAS, per_alpha, strict=True)
    )
    return AlphaChoice(ALPHAS[chosen], k, curve)


def _ndcg(lists: Rows, judged: Judgements, k: int) -> Scores:
    """NDCG of every user, NaN where nothing is relevant: shape (q,)."""
    ndcg = np.full(len(judged), np.nan)
    ndcg[judged.n_relevant > 0] = score_lists(lists, judged, k).ndcg
    return ndcg


def _mean_of_known(slices: Sequence[Scores]) -> Scores:
    """Each user's mean over the slices that are not NaN; users with none are left out."""
    table = np.stack(slices)
    return np.asarray(np.nanmean(table[:, ~np.isnan(table).all(axis=0)], axis=0))


def _rating_model(model: TwoStageModel) -> RatingModel:
    if model.rating_model is None:
        raise ValueError("there is no NeuralMF to weigh: the model was built without ratings")
    return model.rating_model
