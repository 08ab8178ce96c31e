"""Benchmarks by hand, for what shows them."""

import math
from typing import Any

from index import OperatingPoint, SearchSettings
from retrieval.evaluation.index_benchmark.result import Benchmark, FilterPoint, NdcgChange
from retrieval.evaluation.uncertainty import Estimate
from retrieval.machine import Machine


def point(
    factory: str,
    recall: float,
    p50_ms: float,
    *,
    family: str = "lists",
    nprobe: int | None = None,
    k_factor: float | None = None,
) -> OperatingPoint:
    """One setting; where the median is shorter p99 is longer, so that nobody takes one for the other."""
    settings = SearchSettings(nprobe=nprobe, k_factor=k_factor)
    is_exact = family in ("exact", "flat", "panorama")
    return OperatingPoint(
        factory, settings, recall, 0.002, p50_ms, p50_ms + 1 / p50_ms, 268.0, 1.25, is_exact, family
    )


EXACT = point("exact", 1.0, 4.0, family="exact")
CHOSEN = point("IVF64,Flat", 0.96, 0.5, nprobe=8)
# On the front are "Flat" and the settings with nprobe 2, 8 and 32.
POINTS = (
    point("IVF64,Flat", 0.7, 0.25, nprobe=2),
    point("IVF64,Flat", 0.7, 0.3, nprobe=3),
    CHOSEN,
    point("IVF64,Flat", 0.99, 1.5, nprobe=32),
    point("HNSW32", 0.96, 0.9, family="graph"),
    point("SQfp16", 0.989, 2.0, family="half precision"),
    point("Flat", 1.0, 3.0, family="flat"),
    EXACT,
)
FRONT = ["IVF64,Flat nprobe=2", "IVF64,Flat nprobe=8", "IVF64,Flat nprobe=32", "Flat"]
RANDOM = (("100%", 1.0), ("50%", 0.5), ("20%", 0.2), ("10%", 0.1), ("5%", 0.05), ("2%", 0.02), ("1%", 0.01))
GENRES = (("Drama", 0.44), ("Comedy", 0.31), ("Thriller", 0.135), ("Action", 0.13), ("Romance", 0.125))


def filter_points(exact_ms: float = 4.0) -> tuple[FilterPoint, ...]:
    """An index that loses a little under filters, and exact search that gains by them."""
    return tuple(
        FilterPoint(
            label, kind, round(2000 * share), share, 0.96 - 0.02 * math.sqrt(1 - share), 0.003, 0.5, 1.0,
            exact_ms * share + 0.1, 2 * exact_ms * share + 0.2,
        )
        for kind, sets in (("random", RANDOM), ("genre", GENRES))
        for label, share in sets
    )  # fmt: skip


def benchmark(**changes: Any) -> Benchmark:
    """`POINTS` of a catalogue of 2,000 items, with the changes."""
    known: dict[str, Any] = {
        "dataset": "made up",
        "bundle": "20260101-000000-0123456789ab",
        "machine": Machine("A Processor of the Usual Kind", 2, "Linux"),
        "threads": 1,
        "seed": 42,
        "items": 2000,
        "dimension": 65,
        "k": 200,
        "queries": 256,
        "recall_target": 0.95,
        "serves": "ann",
        "points": POINTS,
        "chosen": CHOSEN,
        "exact": EXACT,
        "per_second": {CHOSEN.name: 12_000.0, EXACT.name: 900.0},
        "filters": filter_points(),
        "ndcg_change": NdcgChange(10, Estimate(-0.0012, -0.0031, 0.0004)),
        "pays_from": None,
    }
    return Benchmark(**known | changes)
