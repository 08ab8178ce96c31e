"""Nearest neighbours by inner product: an exact index, FAISS indexes, filtered search, tuning.

Knows rows and vectors, nothing of recommending; imports numpy and faiss only.
"""

from typing import TYPE_CHECKING, Any

from index.ann import AnnIndex, faiss_threads
from index.base import ItemIndex, ItemLists, SearchResult, check_queries, check_vectors
from index.exact import ExactIndex
from index.factory import check_factory, default_factory
from index.filtered import FilteredResult, search_filtered
from index.settings import SearchSettings
from index.topk import order_result, top_k

if TYPE_CHECKING:
    from index.growth import enlarged, pays_from
    from index.kinds import EXACT, IndexKind, candidate_kinds, kind_of, warning
    from index.measuring import (
        OperatingPoint,
        Workload,
        evenly_spread,
        measure_filtered_latency,
        measure_latency,
        recall_against_exact,
        standard_error,
        time_singles,
    )
    from index.trials import Goal
    from index.tuning import HeldOut, NothingMeetsError, Tuned, sweep, tune

__all__ = [
    "EXACT",
    "AnnIndex",
    "ExactIndex",
    "FilteredResult",
    "Goal",
    "HeldOut",
    "IndexKind",
    "ItemIndex",
    "ItemLists",
    "NothingMeetsError",
    "OperatingPoint",
    "SearchResult",
    "SearchSettings",
    "Tuned",
    "Workload",
    "candidate_kinds",
    "check_factory",
    "check_queries",
    "check_vectors",
    "default_factory",
    "enlarged",
    "evenly_spread",
    "faiss_threads",
    "kind_of",
    "measure_filtered_latency",
    "measure_latency",
    "order_result",
    "pays_from",
    "recall_against_exact",
    "search_filtered",
    "standard_error",
    "sweep",
    "time_singles",
    "top_k",
    "tune",
    "warning",
]

# Whoever only searches measures nothing.
_HOMES = {
    "growth": ("enlarged", "pays_from"),
    "kinds": ("EXACT", "IndexKind", "candidate_kinds", "kind_of", "warning"),
    "measuring": (
        "OperatingPoint",
        "Workload",
        "evenly_spread",
        "measure_filtered_latency",
        "measure_latency",
        "recall_against_exact",
        "standard_error",
        "time_singles",
    ),
    "trials": ("Goal",),
    "tuning": ("HeldOut", "NothingMeetsError", "Tuned", "sweep", "tune"),
}


def __getattr__(name: str) -> Any:
    """Import what measures on first use."""
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"index.{home}"), name)
    raise AttributeError(f"module 'index' has no attribute {name!r}")
