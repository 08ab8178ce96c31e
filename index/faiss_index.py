"""FAISS indexes by inner product: build from a factory string, search, save, load.

https://github.com/facebookresearch/faiss/wiki/The-index-factory explains factory strings. `UPCA` and `UPCAR`
are ours, see `transforms`, and so are the lists of an IVF index behind them, see `ivf_lists`.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from index.base import SearchResult, check_queries, check_vectors
from index.errors import InputError, faiss_reason
from index.factory_strings import check_factory, default_factory
from index.faiss_wrappers import find, inner, prepare_training, search_parameters
from index.ivf_lists import clustered_by_distance
from index.loading import check_contents, read_faiss_index
from index.row_map import RowMap, as_bits
from index.search_settings import SearchSettings
from index.topk import order_result, top_k
from index.transforms import new_index

faiss: Any = _faiss  # its stubs lack much of what it exports

LARGEST_EF = 2**20  # of efSearch
_DEFAULT_K_FACTOR = 4.0


@contextmanager
def faiss_threads(threads: int) -> Iterator[None]:
    """Let FAISS use this many threads inside the block; the process-wide setting is put back after it.

    Raises:
        InputError: if `threads` is below 1.
    """
    if threads < 1:
        raise InputError(f"threads is {threads}; expected at least 1")
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class AnnIndex:
    """An approximate index with its search settings, which it passes to FAISS with each search.

    The FAISS index inside is never changed after it is built, so the objects that `with_settings` makes share
    it and do not disturb each other.

    Args:
        faiss_index: trained and filled.
        factory: the string it was built from.
        settings: nprobe, efSearch and k_factor. The defaults are a quarter of the lists of an IVF index, from
            where `set_to_target` goes on; a k_factor of 4; FAISS's own efSearch.
        row_map: the catalogue row of each vector, see `changed`; None: row i is the i-th vector added.

    Raises:
        InputError: if the index is empty, untrained or not by inner product, or a setting does not fit it.
    """

    def __init__(
        self,
        faiss_index: Any,
        factory: str,
        settings: SearchSettings | None = None,
        row_map: RowMap | None = None,
        *,
        _keep: Any = None,
    ) -> None:
        _check_metric(faiss_index, factory)
        if not faiss_index.is_trained or faiss_index.ntotal < 1:
            raise InputError(
                f"{factory!r} holds {faiss_index.ntotal} vectors; expected a trained, filled index"
            )
        self.factory = factory
        self._index = faiss_index
        self._keep = _keep  # the bytes that a loaded index is a view of
        self._positions = int(faiss_index.ntotal)
        if row_map is not None and len(row_map) != self._positions:
            raise InputError(f"the row map is of {len(row_map)} vectors, the index of {self._positions}")
        self.row_map = None if row_map is None or row_map.is_identity else row_map
        self.size = self._positions if self.row_map is None else self.row_map.size
        self.dimension = int(faiss_index.d)
        ivf, graph = find(faiss_index, faiss.IndexIVF), find(faiss_index, faiss.IndexHNSW)
        self.nlist: int | None = None if ivf is None else int(ivf.nlist)
        panorama = find(faiss_index, faiss.IndexFlatPanorama)
        self._widest: int | None = None if panorama is None else int(panorama.batch_size)
        self._refines = find(faiss_index, faiss.IndexRefine) is not None
        self.settings = self._complete(settings or SearchSettings(), graph)
        self._parameters: dict[float | None, Any] = {}

    def _complete(self, settings: SearchSettings, graph: Any) -> SearchSettings:
        """Check the settings and fill in what was left out."""
        nprobe = _whole("nprobe", settings.nprobe, self.nlist, self.factory)
        ef_search = _whole("ef_search", settings.ef_search, graph and LARGEST_EF, self.factory)
        k_factor = settings.k_factor
        if k_factor is not None:
            if not self._refines:
                raise InputError(f"{self.factory!r} has no k_factor, received {k_factor}", "leave it out")
            is_number = isinstance(k_factor, (int, float, np.floating)) and not isinstance(k_factor, bool)
            if not is_number or not 1 <= k_factor < math.inf:
                raise InputError(f"k_factor is {k_factor!r}; expected a number of at least 1")
        if self.nlist is not None and nprobe is None:
            nprobe = math.ceil(self.nlist / 4)
        if graph is not None and ef_search is None:
            ef_search = int(graph.hnsw.efSearch)
        if self._refines and k_factor is None:
            k_factor = _DEFAULT_K_FACTOR
        return SearchSettings(nprobe, ef_search, None if k_factor is None else float(k_factor))

    @classmethod
    def build(
        cls,
        vectors: NDArray[np.float32],
        factory: str,
        *,
        seed: int,
        threads: int,
        settings: SearchSettings | None = None,
    ) -> "AnnIndex":
        """Train on the vectors and add them, row by row.

        The same vectors, seed and number of threads give the same bytes on one machine. That holds for graphs
        too: the FAISS version required here links them in a fixed order, where older ones raced. Prints
        nothing, however few the vectors.

        Args:
            vectors: shape (n, d), float32, finite.
            factory: a factory string; `check_factory` says which.
            seed: of the k-means runs, samples and random rotations.
            threads: FAISS threads while building.
            settings: see the class.

        Raises:
            InputError: for what `check_vectors` and `check_factory` refuse, and what FAISS does.
        """
        check_vectors(vectors)
        size, dimension = vectors.shape
        check_factory(factory, size, dimension)
        vectors = np.ascontiguousarray(vectors)
        try:
            with faiss_threads(threads):
                faiss_index = new_index(factory, vectors, seed)
                _check_metric(faiss_index, factory)  # some kinds ignore the metric they are given
                kept_alive = prepare_training(faiss_index, seed)
                with clustered_by_distance(faiss_index, factory):
                    faiss_index.train(vectors)
                    faiss_index.add(vectors)
                del kept_alive
        except (RuntimeError, MemoryError) as error:
            raise InputError(
                f"FAISS cannot build {factory!r} over {size} vectors of {dimension} numbers "
                f"({faiss_reason(error)})",
                f'use "{default_factory(size)}"',
            ) from None
        return cls(faiss_index, factory, settings)

    @property
    def name(self) -> str:
        """Kind and settings, such as ``IVF32,Flat nprobe=8``."""
        return f"{self.factory}{self.settings}"

    @property
    def takes_selectors(self) -> bool:
        """Whether a search takes a selector of the rows that it may return.

        Tried with FAISS 1.15.1: flat, scalar-quantized and IVF indexes and graphs do, behind wrappers too; a
        bare PQ fast scan and Panorama do not.
        """
        base = self._index
        while (inside := inner(base)) is not None:
            base = inside
        kinds = (faiss.IndexFlat, faiss.IndexScalarQuantizer, faiss.IndexHNSW, faiss.IndexIVF)
        return isinstance(base, kinds) and "Panorama" not in type(base).__name__

    @property
    def n_bytes(self) -> int:
        """Bytes of the index on disk, and nearly as many in memory."""
        counter = _ByteCounter()
        faiss.write_index(self._index, faiss.PyCallbackIOWriter(counter))
        return counter.total

    def with_settings(self, settings: SearchSettings) -> "AnnIndex":
        """The same index with these search settings; InputError if one does not fit it."""
        return AnnIndex(self._index, self.factory, settings, self.row_map, _keep=self._keep)

    def with_nprobe(self, nprobe: int) -> "AnnIndex":
        """The same index probing `nprobe` lists; InputError unless it has that many."""
        return self.with_settings(replace(self.settings, nprobe=nprobe))

    def with_ef_search(self, ef_search: int) -> "AnnIndex":
        """The same HNSW index with this efSearch; InputError for other kinds."""
        return self.with_settings(replace(self.settings, ef_search=ef_search))

    def deeper(self) -> "AnnIndex":
        """The same index looking at twice as many items, at most at all."""
        nprobe, ef_search, k_factor = self.settings.nprobe, self.settings.ef_search, self.settings.k_factor
        return self.with_settings(
            SearchSettings(
                None if nprobe is None or self.nlist is None else min(2 * nprobe, self.nlist),
                None if ef_search is None else min(2 * ef_search, LARGEST_EF),
                None if k_factor is None else min(2 * k_factor, float(self._positions)),
            )
        )

    def exhaustive(self) -> "AnnIndex":
        """The same index looking at every item, so that it finds the same items as exact search.

        Compressed vectors without refinement are an exception: their scores are not the products themselves.
        For a graph, this searches the vectors that it was built on, as a walk need not reach all of them.
        """
        graph = find(self._index, faiss.IndexHNSW)
        if graph is self._index:
            storage = faiss.downcast_index(graph.storage)
            return AnnIndex(storage, self.factory, row_map=self.row_map, _keep=(self._index, self._keep))
        ef_search = None if graph is None else LARGEST_EF
        k_factor = float(self._positions) if self._refines else None
        return self.with_settings(SearchSettings(self.nlist, ef_search, k_factor))

    def search(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None
    ) -> SearchResult:
        """Find up to min(k, size) items for each query, by the index's own (perhaps compressed) scores.

        Args:
            queries: shape (q, dimension), float32, finite.
            k: at least 1.
            allowed: shape (size,): the rows that may be returned; None: all.

        Returns:
            min(k, size) columns; a line is padded at its end if the index looked at too few items.

        Raises:
            InputError: for what `check_queries` refuses, if the index takes no selectors or `allowed` is of
                another shape, or if the index names a row it cannot hold.
        """
        check_queries(queries, self.dimension, k)
        width = min(int(k), self.size)
        if not len(queries):
            return SearchResult(np.empty((0, width), np.float32), np.empty((0, width), np.int64))
        if allowed is not None:
            self._check_allowed(allowed)
        if self.row_map is None:
            return self._search(queries, width, None if allowed is None else as_bits(allowed))
        if allowed is None and not self.takes_selectors:
            return self.row_map.search(self._search, queries, width)
        bits = self.row_map.live_bits if allowed is None else self.row_map.bits_of(allowed)
        return self.row_map.translate(self._search(queries, width, bits))

    def _search(
        self, queries: NDArray[np.float32], depth: int, bits: NDArray[np.uint8] | None = None
    ) -> SearchResult:
        """As `search`, for positions in the FAISS index; `bits` has one for each that may be returned."""
        if self._widest is not None and depth > self._widest:
            return self._scan(queries, depth)
        parameters = self._parameters_for(depth, bits)
        scores, found = self._index.search(np.ascontiguousarray(queries), depth, params=parameters)
        if found.max() >= self._positions:
            raise InputError(
                f"{self.factory!r} answers row {found.max()} of {self._positions}", "build the index again"
            )
        return order_result(scores, found)

    def _scan(self, queries: NDArray[np.float32], depth: int) -> SearchResult:
        """Compute all products, for a search deeper than the early termination of Panorama goes."""
        base, asked = self._index, np.ascontiguousarray(queries)
        while isinstance(base, faiss.IndexPreTransform):
            asked = base.chain.at(0).apply(asked)
            base = inner(base)
        return SearchResult(*top_k(asked @ base.reconstruct_n(0, self._positions).T, depth))

    def _parameters_for(self, k: int, bits: NDArray[np.uint8] | None) -> Any:
        """Search parameters for FAISS, cut so that it scores at most all items again.

        Asked for more than all items, it would fill memory with padding.
        """
        k_factor = self.settings.k_factor
        if k_factor is not None and k * k_factor > self._positions:
            k_factor = (self._positions + 0.5) / k
        if bits is not None:
            return search_parameters(self._index, self.settings, k_factor, faiss.IDSelectorBitmap(bits))
        if k_factor not in self._parameters:
            self._parameters = {k_factor: search_parameters(self._index, self.settings, k_factor, None)}
        return self._parameters[k_factor]

    def _check_allowed(self, allowed: NDArray[np.bool_]) -> None:
        if not self.takes_selectors:
            raise InputError(f"{self.factory!r} cannot be told which rows to return", "use search_filtered")
        if allowed.shape != (self.size,) or allowed.dtype != np.bool_:
            raise InputError(
                f"allowed is {allowed.dtype} of shape {allowed.shape}; expected a bool for each of "
                f"{self.size} items"
            )

    @property
    def tombstones(self) -> int:
        """Number of vectors still in the index whose items were removed or replaced."""
        return self._positions - self.size

    def changed(
        self, kept: NDArray[np.int64], vectors: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> "AnnIndex":
        """Make the index of a changed catalogue; this one stays as it is.

        Nothing is trained again. New vectors are appended, and the vectors of removed items stay as
        tombstones, which take memory and time until an index is built from the vectors again.

        Args:
            kept: shape (size,), int64: the new row of each item, -1 where it is removed or replaced.
            vectors: shape (m, dimension), float32, finite: of new items and of replaced ones.
            rows: shape (m,), int64: their rows; with those of `kept` all from 0 to the new size - 1.

        Raises:
            InputError: if vectors or rows do not fit, or no item is left.
        """
        before = RowMap(np.arange(self._positions)) if self.row_map is None else self.row_map
        after = before.moved(kept, rows)
        if len(vectors) != len(rows) or vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise InputError(
                f"{len(rows)} rows for vectors of shape {vectors.shape}; expected one each, of "
                f"{self.dimension} numbers"
            )
        if not len(vectors):
            return AnnIndex(self._index, self.factory, self.settings, after, _keep=self._keep)
        check_vectors(vectors)
        # Copy through bytes: a clone of a view is a view too, and adding to it ends the process.
        longer = faiss.deserialize_index(faiss.serialize_index(self._index))
        # On one thread, because the last bits of a transform depend on the number of threads.
        with faiss_threads(1), clustered_by_distance(longer, self.factory):
            longer.add(np.ascontiguousarray(vectors))
        return AnnIndex(longer, self.factory, self.settings, after)

    def to_bytes(self) -> NDArray[np.uint8]:
        """The FAISS index as a flat array; keep `factory`, `settings` and `row_map` beside it."""
        return np.asarray(faiss.serialize_index(self._index), dtype=np.uint8)

    @classmethod
    def from_bytes(
        cls,
        data: bytes | NDArray[np.uint8],
        *,
        factory: str,
        size: int,
        dimension: int,
        settings: SearchSettings | None = None,
        rows: NDArray[np.int64] | None = None,
    ) -> "AnnIndex":
        """Load an index from bytes. Check a digest first: FAISS trusts much of what it reads.

        Vectors and lists stay where they are. If `data` is a mapped file, searches read it page by page, and
        processes share the pages. Measured on an index of 53 MB: 9 MB of memory, loaded in 9 ms and not 67.

        Args:
            data: the bytes; kept, not copied, and not to be changed.
            factory: the string it was built from.
            size: number of items it must hold.
            dimension: numbers in a vector it must have.
            settings: as in the class.
            rows: of a changed index, the rows of its `row_map`.

        Raises:
            InputError: if the bytes are no FAISS index, or one of another size, dimension or metric, or its
                rows are not 0 to size - 1, or a setting does not fit it.
        """
        array = np.frombuffer(data, dtype=np.uint8)
        row_map = None if rows is None else RowMap(rows)
        if row_map is not None and row_map.size != size:
            raise InputError(
                f"the row map has {row_map.size} items; expected {size}", "build the index again"
            )
        positions = size if row_map is None else len(row_map)
        loaded = read_faiss_index(array, factory, positions, dimension)
        index = cls(loaded, factory, settings, row_map, _keep=(array, data))
        check_contents(loaded, positions)
        return index


class _ByteCounter:
    """Counts the bytes written to it and keeps none."""

    def __init__(self) -> None:
        self.total = 0

    def __call__(self, data: bytes) -> int:
        self.total += len(data)
        return len(data)


def _check_metric(index: Any, factory: str) -> None:
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise InputError(
            f"{factory!r} measures with FAISS metric {index.metric_type}, not by inner product",
            'use a kind that does, such as "HNSW32" or "Flat"',
        )


def _whole(name: str, value: int | None, largest: int | None, factory: str) -> int | None:
    """Check a search setting; `largest` is None where the index does not have it."""
    if value is None:
        return None
    if largest is None:
        raise InputError(f"{factory!r} has no {name}, received {value}", "leave it out")
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= largest:
        raise InputError(f"{name} is {value!r}; expected an integer from 1 to {largest} for {factory!r}")
    return int(value)
