"""Unwraps FAISS indexes, and sets their search and training parameters.

FAISS nests indexes: a transform or a refinement holds the index that does the work. Search parameters nest
likewise.
"""

from typing import Any

import faiss as _faiss
import numpy as np

from index.errors import InputError
from index.search_settings import SearchSettings

faiss: Any = _faiss

# Vectors that a centroid is trained on at most: enough to place it. With all of a million items, training
# takes minutes longer.
_POINTS_PER_CENTROID = 64


def inner(index: Any) -> Any:
    """The index that a wrapper passes its queries to; None where `index` is no wrapper."""
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.downcast_index(index.index)
    if isinstance(index, faiss.IndexRefine):
        return faiss.downcast_index(index.base_index)
    return None


def find(index: Any, kind: type) -> Any:
    """The outermost index of this kind, wrappers opened; None where there is none."""
    while index is not None and not isinstance(index, kind):
        index = inner(index)
    return index


def check_finite(index: Any) -> None:
    """Refuse stored vectors with NaN or infinity, which FAISS never finds and never reports.

    Compressed vectors are not checked, because every code stands for numbers.

    Raises:
        InputError: if a NaN or an infinity is among vectors or centroids.
    """
    if isinstance(index, faiss.IndexPreTransform):
        inside = [index.index]
    elif isinstance(index, faiss.IndexRefine):
        inside = [index.base_index, index.refine_index]
    else:
        inside = [getattr(index, "storage", None), getattr(index, "quantizer", None)]
    for part in inside:
        if part is not None:
            check_finite(faiss.downcast_index(part))
    blocks = []
    if isinstance(index, faiss.IndexFlat) and index.ntotal:
        blocks = [faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)]
    elif isinstance(index, faiss.IndexIVFFlat):
        lists = index.invlists
        filled = [i for i in range(lists.nlist) if lists.list_size(i)]
        n_bytes = {i: lists.list_size(i) * lists.code_size for i in filled}
        blocks = [faiss.rev_swig_ptr(lists.get_codes(i), n_bytes[i]).view(np.float32) for i in filled]
    with np.errstate(invalid="ignore"):
        # The sum is NaN or infinite if any number is. It takes no memory, and float32 cannot overflow it.
        if not all(np.isfinite(block.sum(dtype=np.float64)) for block in blocks):
            raise InputError("the FAISS index holds NaN or infinity", "build the index again")


def search_parameters(index: Any, settings: SearchSettings, k_factor: float | None, selector: Any) -> Any:
    """Search settings in the nested form that FAISS expects; None for its defaults.

    Args:
        index: FAISS index, wrapped or not.
        settings: nprobe and efSearch.
        k_factor: of a refining index.
        selector: a FAISS IDSelector of the positions that may be returned; None: all.
    """
    chosen = {} if selector is None else {"sel": selector}
    inside = inner(index)
    if inside is not None:
        nested = search_parameters(inside, settings, k_factor, selector)
        if isinstance(index, faiss.IndexPreTransform):
            return faiss.SearchParametersPreTransform(index_params=nested)
        return faiss.IndexRefineSearchParameters(base_index_params=nested, k_factor=k_factor)
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(nprobe=settings.nprobe, **chosen)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=settings.ef_search, **chosen)
    return faiss.SearchParameters(**chosen) if chosen else None


def prepare_training(index: Any, seed: int) -> list[Any]:
    """Seed every k-means of an index, keep it short, and silence its warnings about few points.

    Returns:
        objects that must outlive the training, because FAISS keeps bare pointers to them.
    """
    alive: list[Any] = []
    while index is not None:
        if isinstance(index, faiss.IndexPreTransform):
            for i in range(index.chain.size()):
                transform = faiss.downcast_VectorTransform(index.chain.at(i))
                if isinstance(transform, faiss.OPQMatrix):
                    transform.pq = faiss.ProductQuantizer(transform.d_out, transform.M, 8)
                    alive.append((transform, transform.pq))
        trained = [getattr(index, "pq", None), *(pq for _, pq in alive)]
        holders = ([index] if isinstance(index, faiss.IndexIVF) else []) + [
            pq for pq in trained if pq is not None
        ]
        for holder in holders:
            holder.cp.seed, holder.cp.min_points_per_centroid = seed, 1
            if isinstance(holder, faiss.IndexIVF):
                holder.cp.max_points_per_centroid = _POINTS_PER_CENTROID
        index = inner(index)
    return alive
