"""Third step of a build: choose the weights of the blend and the index, on validation."""

from dataclasses import dataclass, replace

from retrieval.evaluation.choices import BlendChoice, IndexChoice
from retrieval.evaluation.validation import CHOICE_K, ValidationLists
from retrieval.pipeline.blend_weights import choose_newcomer_weights, choose_user_weights
from retrieval.pipeline.fit import FittedOnTrain
from retrieval.pipeline.index_choice import choose_index
from retrieval.pipeline.prepare import TrainingData
from retrieval.serving.fitted_model import FittedModel
from retrieval.serving.fitted_system import FittedSystem
from retrieval.serving.rerank import NO_RERANKING


@dataclass(frozen=True)
class Chosen:
    """A system fitted on train, with everything that validation decides.

    Attributes:
        system: with the chosen weights and index.
        weights: how the weights of the blend were chosen; None where nothing is re-ranked.
        index: how the index was chosen.
    """

    system: FittedSystem
    weights: BlendChoice | None
    index: IndexChoice


def choose(fitted: FittedOnTrain, training: TrainingData) -> Chosen:
    """Choose the weights of the blend, then the index that the blended lists are served from.

    Raises:
        UsageError: if the index string cannot work on these vectors, or no index meets the target.
    """
    settings, progress = fitted.trainer.settings, fitted.trainer.progress
    weights, parts = None, fitted.models.parts
    if parts.model.rating_model is not None:
        progress.phase("Weighing the re-ranker on validation")
        weights = choose_weights(parts.model, training.lists)
    weighted = with_weights(parts.model, weights)
    progress.phase("Measuring indexes and choosing one")
    model, index = choose_index(weighted, settings, training.lists, progress)
    return Chosen(FittedSystem.of(parts, model), weights, index)


def choose_weights(model: FittedModel, lists: ValidationLists) -> BlendChoice:
    """The weights of the blend for users that the models know, and for newcomers."""
    choice = choose_user_weights(model, lists.stretches, CHOICE_K)
    if model.vectors.history_items is None or not lists.newcomers:
        return choice
    return replace(choice, newcomers=choose_newcomer_weights(model, lists.newcomers, CHOICE_K))


def with_weights(model: FittedModel, choice: BlendChoice | None) -> FittedModel:
    """The same model with the chosen weights of the blend; without re-ranking where none were chosen."""
    return replace(model, weights=choice.weights if choice else NO_RERANKING)
