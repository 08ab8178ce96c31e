"""Writes a build into a bundle: both fitted systems, the data, the report, and the manifest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval.bundles.fitted_system_files import write_system
from retrieval.bundles.layout import (
    CHOICES,
    EVALUATED,
    INDEX_CHOICE,
    INTERACTIONS,
    ITEMS,
    PAGE,
    RECALLS,
    REPORT,
    SERVED,
    TIMES,
    USERS,
    VALIDATION,
)
from retrieval.bundles.writer import BundleWriter, to_parquet

if TYPE_CHECKING:
    from index import OperatingPoint
    from retrieval.pipeline.build import Build

LIBRARIES = ("torch", "faiss-cpu", "numpy", "scipy", "polars", "safetensors")


def write_build(
    writer: BundleWriter,
    build: "Build",
    before_publishing: Callable[[], None] = lambda: None,
    *,
    gate: Mapping[str, Any] | None = None,
    current: bool = True,
) -> Path:
    """Write a build into a new bundle and publish it; returns the bundle's own folder.

    Args:
        before_publishing: called when every file is written and only the last step is left.
        gate: the verdict of the gate, for the manifest; None where there was no gate.
        current: False keeps the bundle without making it current.

    Raises:
        EnvironmentProblem: if the folder cannot be written.
    """
    from retrieval.reporting.page.rendering import render_page  # readers of a bundle need no page

    write_system(writer, EVALUATED, build.evaluated)
    write_system(writer, SERVED, build.served)
    writer.write(INTERACTIONS, to_parquet(build.split.labelled()))
    writer.write_json(CHOICES, _choices(build))
    writer.write_json(INDEX_CHOICE, build.index.to_json())
    _write_measurements(writer, build.index.points)
    writer.write_array(VALIDATION, build.validation_ndcg)
    writer.write(USERS, to_parquet(build.user_table()))
    writer.write(ITEMS, to_parquet(build.item_table()))
    report = build.report.to_json()
    writer.write_json(REPORT, report)
    writer.write(PAGE, render_page(report, _settings(build)).encode())
    before_publishing()
    return writer.publish(_description(build) | {"gate": gate}, current=current)


def validation_score(ndcg: NDArray[np.float64]) -> dict[str, Any]:
    """The part `validation` of a manifest, from the figure of each user: shape (q,)."""
    from retrieval.evaluation.validation import CHOICE_K

    return {"metric": f"ndcg@{CHOICE_K}", "value": float(ndcg.mean()), "users": len(ndcg)}


def _choices(build: "Build") -> dict[str, Any]:
    """What was chosen on validation, for `evaluation.from_bundle` to read."""
    blend, tuning = build.report.blend, build.report.tuning
    return {
        "alpha": blend and blend.to_json(),
        "baselines": build.report.baselines,
        "tuning": tuning and tuning.to_json(),
    }


def _settings(build: "Build") -> dict[str, Any]:
    return asdict(build.settings) | {"threads": build.settings.resolved_threads}


def _description(build: "Build") -> dict[str, Any]:
    """The build's part of the manifest."""
    from importlib.metadata import version

    from retrieval.machine import made_on
    from retrieval.training.device import choose_device

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
        "validation": validation_score(build.validation_ndcg),
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
    """Recall of every query and time of every search, a row for each operating point measured."""
    recalls = np.array([point.recalls for point in points], dtype=np.float32)
    times = np.array([point.milliseconds for point in points], dtype=np.float32)
    writer.write_array(RECALLS, recalls)
    writer.write_array(TIMES, times)
