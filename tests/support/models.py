"""Variants of a fitted model, for tests."""

from dataclasses import fields, replace

from retrieval.serving.fitted_model import FittedModel
from retrieval.serving.two_stage import TwoStageModel


def with_weights(model: TwoStageModel, **weights: float) -> TwoStageModel:
    """The same model with some weights of the blend changed."""
    return replace(model, weights=replace(model.weights, **weights))


def without_index(model: TwoStageModel) -> FittedModel:
    """The model before an index was chosen."""
    return FittedModel(**{field.name: getattr(model, field.name) for field in fields(FittedModel)})
