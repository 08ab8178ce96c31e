"""Nearest neighbours by inner product: an exact index, FAISS indexes, filtered search, tuning.

Knows rows and vectors, nothing of recommending; imports numpy and faiss only.
"""

from index.ann import AnnIndex, faiss_threads
from index.base import ItemIndex, ItemLists, SearchResult, check_queries, check_vectors
from index.exact import ExactIndex
from index.factory import check_factory, default_factory
from index.filtered import FilteredResult, search_filtered
from index.settings import SearchSettings
from index.topk import order_result, top_k
from index.tuning import (
    OperatingPoint,
    choose_nprobe,
    measure_filtered_latency,
    measure_latency,
    recall_against_exact,
    time_singles,
)

__all__ = [
    "AnnIndex",
    "ExactIndex",
    "FilteredResult",
    "ItemIndex",
    "ItemLists",
    "OperatingPoint",
    "SearchResult",
    "SearchSettings",
    "check_factory",
    "check_queries",
    "check_vectors",
    "choose_nprobe",
    "default_factory",
    "faiss_threads",
    "measure_filtered_latency",
    "measure_latency",
    "order_result",
    "recall_against_exact",
    "search_filtered",
    "time_singles",
    "top_k",
]
