"""A FAISS index inside its wrappers: what it is, how it is told how hard to look, and how it is trained.

FAISS nests: a transform or a refinement holds the index that does the work, and its settings nest likewise.
"""

from typing import Any

import faiss as _faiss
import numpy as np

from index.errors import InputError
from index.search_settings import SearchSettings

faiss: Any = _faiss

# Enough to place a centroid; more only takes time, a million items minutes.
_POINTS_PER_CENTROID = 64


def inner(index: Any) -> Any:
    """The index a wrapper hands its queries to, None where it is none."""
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.downcast_index(index.index)
    if isinstance(index, faiss.IndexRefine):
        return faiss.downcast_index(index.base_index)
    return None


def find(index: Any, kind: type) -> Any:
    """The first index of this kind, looking inside wrappers; None where there is none."""
    while index is not None and not isinstance(index, kind):
        index = inner(index)
    return index


def check_finite(index: Any) -> None:
    """Refuse stored vectors that are not numbers: FAISS never finds them, and says nothing.

    Compressed vectors are not looked at: their codes are numbers whatever they are.

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
        # A sum is NaN or infinite if any number is, and takes no memory; none of them overflows float64.
        if not all(np.isfinite(block.sum(dtype=np.float64)) for block in blocks):
            raise InputError("the FAISS index holds NaN or infinity", "build the index again")


def search_parameters(index: Any, settings: SearchSettings, k_factor: float | None, selector: Any) -> Any:
    """Settings in the nested form FAISS expects, None for its defaults."""
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
    """Seed every k-means, keep it short and silent about few points; returns what must outlive training."""
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
