"""Last step of a build: fit the chosen models again, on all interactions, for serving."""

from dataclasses import dataclass

from index import OperatingPoint
from retrieval.data.interactions import Interactions
from retrieval.pipeline.choose import Chosen, with_weights
from retrieval.pipeline.fit import FittedOnTrain
from retrieval.pipeline.index_choice import same_index
from retrieval.serving.fitted_system import FittedSystem


@dataclass(frozen=True)
class Served:
    """The system that answers queries.

    Attributes:
        operating_points: recall and latency of the settings that its index was set by.
    """

    system: FittedSystem
    operating_points: tuple[OperatingPoint, ...]


def refit(fitted: FittedOnTrain, chosen: Chosen, table: Interactions) -> Served:
    """Fit on the whole table with the epochs, weights and kind of index that were chosen on train.

    Returns:
        The evaluated system itself where the settings ask for no refit.

    Raises:
        DataError: if training breaks down.
        ArtifactError: if a checkpoint is damaged.
        EnvironmentProblem: if a checkpoint cannot be written.
        UsageError: if the index cannot be built from the new vectors.
    """
    trainer = fitted.trainer
    if not trainer.settings.refit:
        return Served(chosen.system, chosen.index.points)
    models = trainer.on_everything(table, fitted.models.epochs, fitted.baselines.window)
    weighted = with_weights(models.parts.model, chosen.weights)
    trainer.progress.phase("Building the index")
    model, points = same_index(weighted, chosen.index, trainer.settings)
    return Served(FittedSystem.of(models.parts, model), points)
