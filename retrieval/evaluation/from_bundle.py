"""Reads an evaluated system back from a bundle, with the data that judges it."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval.bundles.bundle import Bundle, read_parquet
from retrieval.bundles.fitted_system_files import fitting_together, read_system
from retrieval.bundles.layout import CHOICES, INDEX_CHOICE, INTERACTIONS
from retrieval.serving.fitted_system import FittedSystem

if TYPE_CHECKING:
    from retrieval.evaluation.evaluated import Evaluated, EvaluationData


def read_evaluated(bundle: Bundle) -> "Evaluated":
    """The evaluated system with the data it is judged by; nothing is trained again.

    Raises:
        ArtifactError: if a file is missing or changed, or the parts do not fit together.
    """
    from retrieval.evaluation.baselines import BaselineSet
    from retrieval.evaluation.choices import BlendChoice, IndexChoice, TuningResult
    from retrieval.evaluation.evaluated import Evaluated
    from retrieval.training.curves import TrainingHistory, training_curves

    system = read_system(bundle, "evaluated")
    data = read_evaluation_data(bundle, system)

    def read() -> Evaluated:
        choices = bundle.json(CHOICES)
        baselines = BaselineSet.fit(data.train, data.positive_threshold, choices["baselines"])
        alpha = choices["alpha"] and BlendChoice.from_json(choices["alpha"])
        training = bundle.manifest.training
        curves = training_curves(
            [TrainingHistory.from_json(each) for each in training.towers],
            None if training.neural_mf is None else TrainingHistory.from_json(training.neural_mf),
        )
        tuning = choices["tuning"] and TuningResult.from_json(choices["tuning"])
        index = IndexChoice.from_json(bundle.json(INDEX_CHOICE))
        return Evaluated(system.model, data, baselines, alpha, curves, tuning, index)

    return fitting_together(bundle, "evaluated", read)


def read_evaluation_data(bundle: Bundle, system: FittedSystem) -> "EvaluationData":
    """The slices that the evaluated system of a bundle was trained on and is judged by, in its rows.

    Raises:
        ArtifactError: if a file is missing or changed, or the parts do not fit together.
    """
    from retrieval.data.encoded import EncodedInteractions
    from retrieval.evaluation.cold_users import newcomers_of_test
    from retrieval.evaluation.evaluated import EvaluationData
    from retrieval.evaluation.funnel import outside_catalogue

    def read() -> EvaluationData:
        frame = read_parquet(bundle, INTERACTIONS, ("user", "item", "slice"))
        slices = [frame.filter(frame["slice"] == name) for name in ("train", "validation", "test")]
        train, validation, test = (
            EncodedInteractions.from_frame(part, system.users, system.items) for part in slices
        )
        name, cut = bundle.manifest.data.name, bundle.manifest.split
        threshold = bundle.manifest.settings.positive_threshold
        outside = outside_catalogue(slices[-1], system.users, system.items, threshold)
        newcomers = newcomers_of_test(slices[2], slices[1], system.users, system.items, threshold)
        return EvaluationData(
            name, train, validation, test, cut.counts, threshold, cut.kind, outside, newcomers
        )

    return fitting_together(bundle, "evaluated", read)


def read_test_users(bundle: Bundle, system: FittedSystem) -> NDArray[np.int64]:
    """Rows of the users by whom the evaluated system of a bundle is judged, ascending.

    Raises:
        ArtifactError: if the bundle's table of interactions is missing or changed.
    """
    from retrieval.data.encoded import EncodedInteractions

    def read() -> NDArray[np.int64]:
        frame = read_parquet(bundle, INTERACTIONS, ("user", "item", "slice"))
        test = frame.filter(frame["slice"] == "test")
        return np.unique(EncodedInteractions.from_frame(test, system.users, system.items).users)

    return fitting_together(bundle, "evaluated", read)
