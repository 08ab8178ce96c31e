"""Nearest neighbours by inner product: exact search, FAISS indexes, filtered search, choosing an index.

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
    from index.choosing.choose import ChosenIndex, NothingMeetsError, choose, set_to_target
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
    from index.choosing.proof import HeldOut
    from index.choosing.sweep import beside_exact, sweep
    from index.choosing.trials import Goal

__all__ = [
    "EXACT",
    "AnnIndex",
    "ChosenIndex",
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
    "Workload",
    "beside_exact",
    "candidate_kinds",
    "check_factory",
    "check_queries",
    "check_vectors",
    "choose",
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
    "set_to_target",
    "standard_error",
    "sweep",
    "time_singles",
    "top_k",
    "warning",
]

# Imported on first use: a process that only searches measures nothing.
_HOMES = {
    "break_even": ("enlarged", "pays_from"),
    "choose": ("ChosenIndex", "NothingMeetsError", "choose", "set_to_target"),
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
    "proof": ("HeldOut",),
    "sweep": ("beside_exact", "sweep"),
    "trials": ("Goal",),
}


def __getattr__(name: str) -> Any:
    """Import a name of `choosing` on first use."""
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"index.choosing.{home}"), name)
    raise AttributeError(f"module 'index' has no attribute {name!r}")
