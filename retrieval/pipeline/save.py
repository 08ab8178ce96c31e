"""A build to the files of a bundle, and what was evaluated back."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval.bundles.fitted_system_files import write_system
from retrieval.bundles.layout import (
    CHOICES,
    INDEX_CHOICE,
    INTERACTIONS,
    ITEMS,
    PAGE,
    REPORT,
    TIMES,
    VALIDATION,
)
from retrieval.bundles.writer import BundleWriter, to_parquet

if TYPE_CHECKING:
    from index import OperatingPoint
    from retrieval.pipeline.build import Build
    from retrieval.pipeline.gate import GateVerdict

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
    alpha, tuning = build.report.blend, build.report.tuning
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


def _settings(build: "Build") -> dict[str, Any]:
    return asdict(build.settings) | {"threads": build.settings.resolved_threads}


def _description(build: "Build") -> dict[str, Any]:
    """What the manifest says of a build."""
    from importlib.metadata import version

    from retrieval.evaluation.validation import CHOICE_K
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
