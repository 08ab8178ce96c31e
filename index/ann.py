"""FAISS indexes by inner product: build from a factory string, search, save, load.

What a factory string means: https://github.com/facebookresearch/faiss/wiki/The-index-factory
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from index.base import SearchResult, check_queries, check_vectors
from index.factory import check_factory, default_factory
from index.topk import order_result

faiss: Any = _faiss  # its stubs lack much of what it exports


@contextmanager
def faiss_threads(threads: int) -> Iterator[None]:
    """Let FAISS use this many threads inside the block; the process-wide setting is put back after it.

    Raises:
        ValueError: if `threads` is below 1.
    """
    if threads < 1:
        raise ValueError(f"threads is {threads}; expected at least 1")
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class AnnIndex:
    """An approximate index. Search settings belong to the object and are passed with each search.

    The FAISS index inside is never changed after it is built, so objects made by `with_nprobe` share it
    and do not disturb each other.

    Args:
        faiss_index: trained and filled; row i is the i-th vector added.
        factory: the string it was built from.
        nprobe: lists looked at per query, for an IVF index; None takes a quarter of them, a start for tuning.
        ef_search: candidates kept while walking an HNSW graph; None takes FAISS's own.

    Raises:
        ValueError: if the index is empty, untrained or not by inner product, or a setting does not fit it.
    """

    def __init__(
        self, faiss_index: Any, factory: str, *, nprobe: int | None = None, ef_search: int | None = None
    ) -> None:
        _check_metric(faiss_index, factory)
        if not faiss_index.is_trained or faiss_index.ntotal < 1:
            raise ValueError(
                f"{factory!r} holds {faiss_index.ntotal} vectors; expected a trained, filled index"
            )
        self.factory = factory
        self._index = faiss_index
        ivf, graph = _find(faiss_index, faiss.IndexIVF), _find(faiss_index, faiss.IndexHNSW)
        self.nlist: int | None = None if ivf is None else int(ivf.nlist)
        self.nprobe = _setting("nprobe", nprobe, self.nlist, factory)
        if self.nlist is not None and self.nprobe is None:
            self.nprobe = math.ceil(self.nlist / 4)
        self.ef_search = _setting("ef_search", ef_search, None if graph is None else 2**20, factory)
        if graph is not None and self.ef_search is None:
            self.ef_search = int(graph.hnsw.efSearch)
        self._parameters = _search_parameters(faiss_index, self.nprobe, self.ef_search)

    @classmethod
    def build(
        cls, vectors: NDArray[np.float32], factory: str, *, seed: int, threads: int, nprobe: int | None = None
    ) -> "AnnIndex":
        """Train on the vectors and add them, row by row.

        Repeats exactly for the same vectors, seed and one thread. Prints nothing, however few vectors.

        Args:
            vectors: shape (n, d), float32, finite.
            factory: a FAISS factory string; `check_factory` says which.
            seed: of the k-means runs.
            threads: FAISS threads while building.
            nprobe: see the class.

        Raises:
            ValueError: for what `check_vectors` and `check_factory` refuse, and what FAISS does.
        """
        check_vectors(vectors)
        size, dimension = vectors.shape
        check_factory(factory, size, dimension)
        vectors = np.ascontiguousarray(vectors)
        try:
            faiss_index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
            _check_metric(faiss_index, factory)  # some kinds ignore the metric asked for
            with faiss_threads(threads):
                kept_alive = _prepare_training(faiss_index, seed)
                faiss_index.train(vectors)
                faiss_index.add(vectors)
                del kept_alive
        except (RuntimeError, MemoryError) as error:
            raise ValueError(
                f"FAISS cannot build {factory!r} over {size} vectors of {dimension} numbers "
                f'({_reason(error)}); use "{default_factory(size)}"'
            ) from None
        return cls(faiss_index, factory, nprobe=nprobe)

    @property
    def name(self) -> str:
        """Kind and settings, such as ``IVF32,Flat nprobe=8``."""
        probes = "" if self.nprobe is None else f" nprobe={self.nprobe}"
        return self.factory + probes + ("" if self.ef_search is None else f" efSearch={self.ef_search}")

    @property
    def size(self) -> int:
        """Number of item vectors."""
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return int(self._index.d)

    def with_nprobe(self, nprobe: int) -> "AnnIndex":
        """The same index looking at `nprobe` lists; ValueError unless it has that many."""
        return AnnIndex(self._index, self.factory, nprobe=nprobe, ef_search=self.ef_search)

    def with_ef_search(self, ef_search: int) -> "AnnIndex":
        """The same HNSW index keeping `ef_search` candidates; ValueError for other kinds."""
        return AnnIndex(self._index, self.factory, nprobe=self.nprobe, ef_search=ef_search)

    def deeper(self) -> "AnnIndex":
        """The same index looking at twice as much, at most at everything."""
        nprobe = None if self.nprobe is None or self.nlist is None else min(2 * self.nprobe, self.nlist)
        ef_search = None if self.ef_search is None else min(2 * self.ef_search, 2**20)
        return AnnIndex(self._index, self.factory, nprobe=nprobe, ef_search=ef_search)

    def search(self, queries: NDArray[np.float32], k: int) -> SearchResult:
        """Up to min(k, size) items for each query, by the index's own (perhaps compressed) scores.

        Args:
            queries: shape (q, dimension), float32, finite.
            k: at least 1.

        Returns:
            min(k, size) columns; a line is padded at its end where the index looked at too few items.

        Raises:
            ValueError: for what `check_queries` refuses, or if the index names a row it cannot hold.
        """
        check_queries(queries, self.dimension, k)
        width = min(int(k), self.size)
        if not len(queries):
            return SearchResult(np.empty((0, width), np.float32), np.empty((0, width), np.int64))
        scores, rows = self._index.search(np.ascontiguousarray(queries), width, params=self._parameters)
        if rows.max() >= self.size:
            raise ValueError(
                f"{self.factory!r} answers row {rows.max()} of {self.size}; build the index again"
            )
        return order_result(scores, rows)

    def to_bytes(self) -> NDArray[np.uint8]:
        """The FAISS index as a flat uint8 array; `factory` and the settings are to be kept beside it."""
        return np.asarray(faiss.serialize_index(self._index), dtype=np.uint8)

    @classmethod
    def from_bytes(
        cls,
        data: bytes | NDArray[np.uint8],
        *,
        factory: str,
        nprobe: int | None,
        size: int,
        dimension: int,
        ef_search: int | None = None,
    ) -> "AnnIndex":
        """Load what `to_bytes` gave. Check a digest first: FAISS trusts much of what it reads.

        Args:
            data: the bytes.
            factory: the string it was built from.
            nprobe: as in the class.
            size: number of vectors it must hold.
            dimension: numbers in a vector it must have.
            ef_search: as in the class.

        Raises:
            ValueError: if the bytes are no FAISS index, or one of another size, dimension or metric, or its
                rows are not 0 to size - 1, or a setting does not fit it.
        """
        reader = faiss.VectorIOReader()
        faiss.copy_array_to_vector(np.frombuffer(data, dtype=np.uint8), reader.data)
        try:
            loaded = faiss.read_index(reader)
        except (RuntimeError, MemoryError) as error:
            raise ValueError(f"not a whole FAISS index ({_reason(error)}); build the index again") from None
        if reader.rp != len(data):
            raise ValueError(f"{len(data) - reader.rp} bytes follow the FAISS index; build the index again")
        if (loaded.ntotal, loaded.d) != (size, dimension):
            raise ValueError(
                f"the FAISS index holds {loaded.ntotal} vectors of {loaded.d} numbers; expected {size} of "
                f"{dimension}, build the index again from these vectors"
            )
        index = cls(loaded, factory, nprobe=nprobe, ef_search=ef_search)
        _check_rows(_find(loaded, faiss.IndexIVF), size)
        return index


def _check_metric(index: Any, factory: str) -> None:
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise ValueError(
            f"{factory!r} measures with FAISS metric {index.metric_type}, not by inner product; "
            'use a kind that does, such as "HNSW32" or "Flat"'
        )


def _setting(name: str, value: int | None, largest: int | None, factory: str) -> int | None:
    """Check a search setting; `largest` is None where the index does not have it."""
    if value is None:
        return None
    if largest is None:
        raise ValueError(f"{factory!r} has no {name}, received {value}; leave it out")
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= largest:
        raise ValueError(f"{name} is {value!r}; expected an integer from 1 to {largest} for {factory!r}")
    return int(value)


def _inner(index: Any) -> Any:
    """The index a wrapper hands its queries to, None where it is none."""
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.downcast_index(index.index)
    if isinstance(index, faiss.IndexRefine):
        return faiss.downcast_index(index.base_index)
    return None


def _find(index: Any, kind: type) -> Any:
    """The first index of this kind, looking inside wrappers; None where there is none."""
    while index is not None and not isinstance(index, kind):
        index = _inner(index)
    return index


def _search_parameters(index: Any, nprobe: int | None, ef_search: int | None) -> Any:
    """Settings in the nested form FAISS expects, None for its defaults."""
    inner = _inner(index)
    if inner is not None:
        nested = _search_parameters(inner, nprobe, ef_search)
        if isinstance(index, faiss.IndexPreTransform):
            return faiss.SearchParametersPreTransform(index_params=nested)
        return faiss.IndexRefineSearchParameters(base_index_params=nested, k_factor=index.k_factor)
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(nprobe=nprobe)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=ef_search)
    return None


def _prepare_training(index: Any, seed: int) -> list[Any]:
    """Seed every k-means and keep it from warning about few points; returns what must outlive training."""
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
        index = _inner(index)
    return alive


def _check_rows(ivf: Any, size: int) -> None:
    """Refuse inverted lists that do not hold each row once."""
    if ivf is None:
        return
    lists = ivf.invlists
    lengths = [lists.list_size(i) for i in range(lists.nlist)]
    ids = [faiss.rev_swig_ptr(lists.get_ids(i), length) for i, length in enumerate(lengths) if length]
    rows = np.sort(np.concatenate(ids)) if ids else np.empty(0, dtype=np.int64)
    if not np.array_equal(rows, np.arange(size)):
        raise ValueError(
            f"the FAISS index does not hold each row from 0 to {size - 1} once; build the index again"
        )


def _reason(error: BaseException) -> str:
    """FAISS's message without the C++ signature, path and condition in front."""
    text = " ".join(str(error).split())
    return (
        text.rsplit("failed: ", 1)[-1].rsplit(".cpp:", 1)[-1].lstrip("0123456789: ")[:160]
        or type(error).__name__
    )
