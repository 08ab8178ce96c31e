"""How much the predicted rating weighs in the blend, chosen on validation."""

from dataclasses import asdict, dataclass
from typing import Any

from retrieval.judgements import Judgements, score_lists
from retrieval.rerank import blend
from retrieval.two_stage import TwoStageModel
from retrieval.uncertainty import Estimate, mean_estimate, standard_error

ALPHAS = tuple(round(0.1 * step, 1) for step in range(11))


@dataclass(frozen=True)
class AlphaChoice:
    """The blend's weight and the validation curve it was read from.

    Attributes:
        alpha: the chosen weight.
        k: cut-off of the NDCG it was chosen by.
        curve: (alpha, NDCG@k on validation, its paired gain over alpha 0), one for each weight tried.
    """

    alpha: float
    k: int
    curve: tuple[tuple[float, float, Estimate], ...]

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types."""
        curve = [
            {"alpha": alpha, f"ndcg@{self.k}": ndcg, "gain": asdict(gain)} for alpha, ndcg, gain in self.curve
        ]
        return {"alpha": self.alpha, "k": self.k, "validation_curve": curve}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "AlphaChoice":
        """Back from what `to_json` gave."""
        k = int(document["k"])
        curve = tuple(
            (float(each["alpha"]), float(each[f"ndcg@{k}"]), Estimate(**each["gain"]))
            for each in document["validation_curve"]
        )
        return cls(float(document["alpha"]), k, curve)


def choose_alpha(model: TwoStageModel, validation: Judgements, k: int) -> AlphaChoice:
    """The smallest weight whose NDCG@k on validation is within one standard error of the best weight's.

    A few dozen validation users cannot tell neighbouring weights apart, and the best of eleven is best
    by luck as much as by merit; so the retrieval order gives way only as far as the data insists, and
    alpha is 0 unless re-ranking gains more than its own noise.

    Raises:
        ValueError: if the model has no NeuralMF to weigh.
    """
    if model.rating_model is None:
        raise ValueError("there is no NeuralMF to weigh: the model was built without ratings")
    users = validation.users
    depth = max(k, model.n_candidates)
    found = model.candidates(model.vectors.users[users], model.seen.take(users), depth, "exact")
    predicted = model.rating_model.predict(users, found.rows)
    per_alpha = [score_lists(blend(found, predicted, alpha).rows, validation, k).ndcg for alpha in ALPHAS]
    best = max(per_alpha, key=lambda scores: float(scores.mean()))
    behind = [best - scores for scores in per_alpha]
    chosen = next(i for i, gaps in enumerate(behind) if gaps.mean() <= standard_error(gaps))
    curve = tuple(
        (alpha, float(scores.mean()), mean_estimate(scores - per_alpha[0]))
        for alpha, scores in zip(ALPHAS, per_alpha, strict=True)
    )
    return AlphaChoice(ALPHAS[chosen], k, curve)
