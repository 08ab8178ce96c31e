"""Nearest neighbours by inner product: an exact index, FAISS indexes, filtered search, tuning.

Knows rows and vectors, nothing of recommending; imports numpy and faiss only.
"""

from typing import TYPE_CHECKING, Any

from index.base import ItemIndex, SearchResult, check_queries, check_vectors
from index.errors import InputError
from index.exact import ExactIndex
from index.factory_strings import check_factory, default_factory
from index.faiss_index import AnnIndex, faiss_threads
from index.filtered_search import FilteredResult, search_filtered
from index.item_lists import ItemLists
from index.search_settings import SearchSettings
from index.topk import order_result, top_k

if TYPE_CHECKING:
    from index.choosing.break_even import enlarged, pays_from
    from index.choosing.kinds import EXACT, IndexKind, candidate_kinds, kind_of, warning
    from index.choosing.measuring import (
        OperatingPoint,
        Workload,
        evenly_spread,
        measure_filtered_latency,
        measure_latency,
        recall_against_exact,
        standard_error,
        time_singles,
    )
    from index.choosing.trials import Goal
    from index.choosing.tuning import HeldOut, NothingMeetsError, Tuned, sweep, tune

__all__ = [
    "EXACT",
    "AnnIndex",
    "ExactIndex",
    "FilteredResult",
    "Goal",
    "HeldOut",
    "IndexKind",
    "InputError",
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
    "break_even": ("enlarged", "pays_from"),
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
            return getattr(import_module(f"index.choosing.{home}"), name)
    raise AttributeError(f"module 'index' has no attribute {name!r}")
