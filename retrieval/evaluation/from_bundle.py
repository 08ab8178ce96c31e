"""Reads an evaluated system back from a bundle, with the data that judges it."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval.bundles.bundle import Bundle, read_parquet, refusing
from retrieval.bundles.fitted_system_files import read_system
from retrieval.bundles.layout import CHOICES, EVALUATED, INDEX_CHOICE, INTERACTIONS, MANIFEST, REPORT
from retrieval.errors import DamagedBundle
from retrieval.json_document import JsonObject
from retrieval.serving.fitted_system import FittedSystem

if TYPE_CHECKING:
    from retrieval.data.split import Split
    from retrieval.evaluation.choices import BlendChoice, IndexChoice, TuningResult
    from retrieval.evaluation.evaluated import Evaluated, EvaluationData
    from retrieval.training.curves import TrainingCurves

# Regularisation of EASE: a build tries 100 to 3,000. Far outside of that the matrix has no inverse.
LEAST_L2, MOST_L2 = 1e-3, 1e9


def read_evaluated(bundle: Bundle) -> "Evaluated":
    """Read the evaluated system with its data, and fit the baselines with their recorded settings.

    The baselines are fitted after all files are read and checked: an error while fitting is a bug, and not
    damage of the bundle.

    Raises:
        ArtifactError: if a file is missing or changed, or the parts do not fit together.
    """
    from retrieval.evaluation.baselines import BaselineSet
    from retrieval.evaluation.evaluated import Evaluated

    system = read_system(bundle, EVALUATED)
    data = read_evaluation_data(bundle, system)
    settings, blend, tuning = _read_choices(bundle)
    curves, index, notes = _read_curves(bundle), _read_index_choice(bundle), _read_notes(bundle)
    baselines = BaselineSet.fit(data.train, data.positive_threshold, settings)
    return Evaluated(system.model, data, baselines, blend, curves, tuning, index, notes)


def read_evaluation_data(bundle: Bundle, system: FittedSystem) -> "EvaluationData":
    """Read the slices that the evaluated system was trained on and is judged by, in its rows.

    Raises:
        ArtifactError: if a file is missing or changed, or the parts do not fit together.
    """
    from retrieval.evaluation.evaluated import EvaluationData

    threshold = bundle.manifest.settings.positive_threshold
    name = bundle.manifest.data.name
    return EvaluationData.of(name, _read_split(bundle), system.users, system.items, threshold)


def read_test_users(bundle: Bundle, system: FittedSystem) -> NDArray[np.int64]:
    """Rows of the users by whom the evaluated system of a bundle is judged, ascending.

    Raises:
        ArtifactError: if the bundle's table of interactions is missing or changed.
    """
    from retrieval.data.encoded import EncodedInteractions

    test = _read_split(bundle).test
    return np.unique(EncodedInteractions.from_frame(test, system.users, system.items).users)


def measure_validation(bundle: Bundle) -> NDArray[np.float64]:
    """NDCG@10 of the lists that the evaluated system serves to the users of validation, as a build has it.

    Returns:
        shape (q,), a figure for each warm user of validation with a relevant item there.

    Raises:
        ArtifactError: if a file is missing or changed, or the parts do not fit together.
    """
    from retrieval.evaluation.evaluated import EvaluationData
    from retrieval.evaluation.validation import ValidationLists

    system, split = read_system(bundle, EVALUATED), _read_split(bundle)
    threshold, users, items = bundle.manifest.settings.positive_threshold, system.users, system.items
    data = EvaluationData.of(bundle.manifest.data.name, split, users, items, threshold)
    lists = ValidationLists.of(data.train, data.validation, split.validation, users, items, threshold)
    return lists.served_ndcg(system.model)


def _read_split(bundle: Bundle) -> "Split":
    """The labelled interactions; refused where a column has a type that a build does not write."""
    import polars as pl

    from retrieval.data.split import Split

    frame = read_parquet(bundle, INTERACTIONS, ("user", "item", "slice"))
    integers, texts, floats = (pl.Int64(),), (pl.String(),), (pl.Float32(),)
    types: dict[str, tuple[pl.DataType, ...]] = {"user": integers + texts, "item": integers + texts}
    types |= {"slice": texts, "rating": floats, "timestamp": integers}
    for name in types.keys() & frame.schema.keys():
        found, nulls = frame.schema[name], frame[name].null_count()
        if found not in types[name] or nulls:
            raise DamagedBundle(
                f"{bundle.folder / INTERACTIONS}: column {name} is {found} with {nulls:,} nulls; expected "
                f"{' or '.join(map(str, types[name]))} without nulls"
            )
    cut = bundle.manifest.split
    return Split.from_labelled(frame, cut.kind, cut.validation_start, cut.test_start, cut.counts)


def _read_choices(bundle: Bundle) -> "tuple[dict[str, float], BlendChoice | None, TuningResult | None]":
    """Settings of the baselines, choice of the blend and result of the tuning; None where there was none."""
    from retrieval.evaluation.choices import BlendChoice, TuningResult

    document = bundle.json(CHOICES)
    with refusing(bundle.folder / CHOICES):
        choices = JsonObject(document)
        blend, tuning = (choices.optional(name, JsonObject.object) for name in ("alpha", "tuning"))
        return (
            _baseline_settings(choices.object("baselines")),
            None if blend is None else BlendChoice.from_json(blend.document),
            None if tuning is None else TuningResult.from_json(tuning.document),
        )


def _baseline_settings(part: JsonObject) -> dict[str, float]:
    """What `BaselineSet.settings` gave; ValueError for a number that no build chooses."""
    window, l2 = (part.optional(name, JsonObject.number) for name in ("recent_window", "ease_l2"))
    neighbours = part.optional("item_knn_neighbours", JsonObject.integer)
    if window is not None and not 0 < window <= 1:
        raise ValueError(f"baselines.recent_window is {window}; expected a share above 0 and up to 1")
    if l2 is not None and not LEAST_L2 <= l2 <= MOST_L2:
        raise ValueError(f"baselines.ease_l2 is {l2}; expected {LEAST_L2:g} to {MOST_L2:g}")
    if neighbours is not None and neighbours < 1:
        raise ValueError(f"baselines.item_knn_neighbours is {neighbours}; expected 1 or more")
    found = {"recent_window": window, "ease_l2": l2, "item_knn_neighbours": neighbours}
    return {name: value for name, value in found.items() if value is not None}


def _read_curves(bundle: Bundle) -> "TrainingCurves":
    from retrieval.training.curves import TrainingHistory, training_curves

    training = bundle.manifest.training
    with refusing(bundle.folder / MANIFEST):
        towers = [TrainingHistory.from_json(each) for each in training.towers]
        rated = None if training.neural_mf is None else TrainingHistory.from_json(training.neural_mf)
    return training_curves(towers, rated)


def _read_index_choice(bundle: Bundle) -> "IndexChoice":
    from retrieval.evaluation.choices import IndexChoice

    document = bundle.json(INDEX_CHOICE)
    with refusing(bundle.folder / INDEX_CHOICE):
        return IndexChoice.from_json(document)


def _read_notes(bundle: Bundle) -> tuple[str, ...]:
    """The notes of the build; none in bundles from before they were kept."""
    document = bundle.json(REPORT)
    with refusing(bundle.folder / REPORT):
        return JsonObject(document).optional("notes", JsonObject.texts) or ()
