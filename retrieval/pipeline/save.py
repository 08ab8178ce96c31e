"""A build to the files of a bundle, and what was evaluated back."""

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval.bundles.bundle import Bundle
from retrieval.bundles.fitted_system_files import fitting_together, read_system, write_system
from retrieval.bundles.writer import BundleWriter
from retrieval.serving.fitted_system import FittedSystem

if TYPE_CHECKING:
    from index import OperatingPoint
    from retrieval.evaluation.evaluate import Evaluated, EvaluationData
    from retrieval.pipeline.build import Build
    from retrieval.pipeline.gate import GateVerdict

INTERACTIONS, CHOICES, REPORT = "evaluated/interactions.parquet", "evaluated/choices.json", "report.json"
INDEX_CHOICE = "evaluated/index_choice.json"
PAGE, ITEMS = "report.html", "items.parquet"
VALIDATION = "evaluated/validation_ndcg.npy"
TIMES = "evaluated/index_milliseconds.npy"
# They hold times that were measured: builds of the same data, settings and seed differ in these files alone,
# and in these keys of the manifest.
TIMED_FILES = frozenset({INDEX_CHOICE, TIMES, REPORT, PAGE})
MEASURED = frozenset({"created", "operating_points", "files", "build_id"})
LIBRARIES = ("torch", "faiss-cpu", "numpy", "scipy", "polars", "safetensors")


def write_build(
    writer: BundleWriter,
    build: "Build",
    before_publishing: Callable[[], None] = lambda: None,
    gate: "GateVerdict | None" = None,
) -> Path:
    """Write a build into a new bundle and make it current; returns the bundle's own folder.

    Args:
        gate: what may hold it back: then it is kept, and what was current still is.
        before_publishing: called when every file is written and only the one step is left.

    Raises:
        EnvironmentProblem: if the folder cannot be written.
    """
    from retrieval.reporting.page.rendering import render_page  # whoever only reads needs no page

    write_system(writer, "evaluated", build.evaluated)
    write_system(writer, "served", build.served)
    writer.write(INTERACTIONS, to_parquet(build.split.labelled()))
    alpha, tuning = build.report.alpha, build.report.tuning
    choices = {
        "alpha": alpha and alpha.to_json(),
        "baselines": build.report.baselines,
        "tuning": tuning and tuning.to_json(),
    }
    writer.write_json(CHOICES, choices)
    writer.write_json(INDEX_CHOICE, build.index.to_json())
    _write_measurements(writer, build.index.points)
    writer.write_array(VALIDATION, build.validation_ndcg)
    writer.write("users.parquet", to_parquet(build.user_table()))
    writer.write(ITEMS, to_parquet(build.item_table()))
    report = build.report.to_json()
    writer.write_json(REPORT, report)
    writer.write(PAGE, render_page(report, _settings(build)).encode())
    before_publishing()
    held = gate is not None and gate.held
    description = _description(build) | {"gate": gate and gate.to_json()}
    return writer.publish(description, current=not held)


def read_evaluated(bundle: Bundle) -> "Evaluated":
    """The evaluated system with the data it is judged by; nothing is trained again.

    Raises:
        ArtifactError: if a file is missing or changed, or the parts do not fit together.
    """
    from retrieval.evaluation.baselines import BaselineSet
    from retrieval.evaluation.evaluate import Evaluated
    from retrieval.pipeline.blend_weights import AlphaChoice
    from retrieval.pipeline.index_choice import IndexChoice
    from retrieval.pipeline.tuning_search import SearchResult
    from retrieval.training.curves import TrainingHistory, training_curves

    system = read_system(bundle, "evaluated")
    data = read_evaluation_data(bundle, system)

    def read() -> Evaluated:
        choices = bundle.json(CHOICES)
        baselines = BaselineSet.fit(data.train, data.positive_threshold, choices["baselines"])
        alpha = choices["alpha"] and AlphaChoice.from_json(choices["alpha"])
        towers, neural_mf = (bundle.manifest["training"][name] for name in ("towers", "neural_mf"))
        curves = training_curves(
            [TrainingHistory.from_json(each) for each in towers],
            neural_mf and TrainingHistory.from_json(neural_mf),
        )
        tuning = choices["tuning"] and SearchResult.from_json(choices["tuning"])
        index = IndexChoice.from_json(bundle.json(INDEX_CHOICE))
        return Evaluated(system.model, data, baselines, alpha, curves, tuning, index)

    return fitting_together(bundle, "evaluated", read)


def read_evaluation_data(bundle: Bundle, system: FittedSystem) -> "EvaluationData":
    """The slices that the evaluated system of a bundle was trained on and is judged by, in its rows.

    Raises:
        ArtifactError: if a file is missing or changed, or the parts do not fit together.
    """
    from retrieval.data.encoded import EncodedInteractions
    from retrieval.data.split import SplitCounts
    from retrieval.evaluation.cold_users import newcomers_of_test
    from retrieval.evaluation.evaluate import EvaluationData
    from retrieval.evaluation.funnel import outside_catalogue

    def read() -> EvaluationData:
        frame = read_parquet(bundle, INTERACTIONS, ("user", "item", "slice"))
        slices = [frame.filter(frame["slice"] == name) for name in ("train", "validation", "test")]
        train, validation, test = (
            EncodedInteractions.from_frame(part, system.users, system.items) for part in slices
        )
        threshold = float(bundle.manifest["settings"]["positive_threshold"])
        cut = bundle.manifest["split"]
        name, counts = bundle.manifest["data"]["name"], SplitCounts(**cut["counts"])
        outside = outside_catalogue(slices[-1], system.users, system.items, threshold)
        newcomers = newcomers_of_test(slices[2], slices[1], system.users, system.items, threshold)
        return EvaluationData(
            name, train, validation, test, counts, threshold, cut["kind"], outside, newcomers
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


def _settings(build: "Build") -> dict[str, Any]:
    return asdict(build.settings) | {"threads": build.settings.resolved_threads}


def _description(build: "Build") -> dict[str, Any]:
    """What the manifest says of a build."""
    from importlib.metadata import version

    from retrieval.evaluation.validation import CHOICE_K
    from retrieval.machine import made_on
    from retrieval.training.loop import choose_device

    settings = build.settings
    return {
        "data": {"name": build.name, "sha256": build.digest, "rows": build.split.rows},
        "split": {
            "kind": build.split.kind,
            "validation_start": build.split.validation_start,
            "test_start": build.split.test_start,
            "counts": asdict(build.split.counts),
        },
        "settings": _settings(build),
        "validation": {
            "metric": f"ndcg@{CHOICE_K}",
            "value": float(build.validation_ndcg.mean()),
            "users": len(build.validation_ndcg),
        },
        "training": {
            "towers": [member.to_json() for member in build.towers],
            "neural_mf": build.neural_mf and build.neural_mf.to_json(),
        },
        "tuning": build.report.tuning and build.report.tuning.to_json(),
        "operating_points": {
            "evaluated": [point.to_json() for point in build.index.points],
            "served": [point.to_json() for point in build.served_operating_points],
        },
        "libraries": {name: version(name) for name in LIBRARIES},
        "made_on": made_on(choose_device(settings.device), settings.resolved_threads),
    }


def _write_measurements(writer: BundleWriter, points: "Sequence[OperatingPoint]") -> None:
    """What every query found and every search took, a line for each operating point of the choice."""
    recalls = np.array([point.recalls for point in points], dtype=np.float32)
    times = np.array([point.milliseconds for point in points], dtype=np.float32)
    writer.write_array("evaluated/index_recalls.npy", recalls)
    writer.write_array(TIMES, times)


def read_parquet(bundle: Bundle, name: str, columns: Sequence[str] = ()) -> Any:
    """A .parquet file of a bundle, as a polars frame; ValueError where it is none, or lacks a column."""
    import polars as pl

    from retrieval.data.reading.polars_panics import DAMAGED, without_panic_messages

    data = bundle.read(name)
    try:
        with without_panic_messages():
            frame = pl.read_parquet(io.BytesIO(data))
    except DAMAGED as error:
        raise ValueError(f"{name} is not a Parquet file ({error})") from error
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(f"{name} has no column {missing[0]}; it has {', '.join(frame.columns)}")
    return frame


def to_parquet(frame: Any) -> bytes:
    """The bytes of a .parquet file of a polars frame."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()
