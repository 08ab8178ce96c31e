"""Nearest neighbours by inner product: an exact index, FAISS indexes, filtered search, tuning.

Knows rows and vectors, nothing of recommending; imports numpy and faiss only.
"""

from index.ann import AnnIndex, faiss_threads
from index.base import ItemIndex, ItemLists, SearchResult, check_queries, check_vectors
from index.exact import ExactIndex
from index.factory import check_factory, default_factory
from index.filtered import FilteredResult, search_filtered
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
from index.settings import SearchSettings
from index.topk import order_result, top_k
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
