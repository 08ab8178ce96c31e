"""Puts the indexes of several libraries behind one interface, for `benchmark_index.py`.

Each index is built by its library's usual recipe on one thread, and queried through its ordinary Python call.
The libraries are imported where they are used; `pip install -e '.[benchmark]'` installs them.
"""

import importlib.util
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index import AnnIndex, ExactIndex, SearchSettings

Matrix = NDArray[np.float32]
Setting = dict[str, float]
Ask = Callable[[Matrix], Any]  # of one query, shape (d,)

BREADTHS = (
    100,
    140,
    200,
    280,
    400,
    560,
    800,
    1100,
    1600,
    2200,
    3200,
    4500,
)  # candidates that a walk through a graph keeps
LINKS = 32


@dataclass(frozen=True)
class Sweep:
    """Settings of rising effort: values of one knob, the others fixed."""

    knob: str
    values: tuple[int, ...]
    fixed: Setting = field(default_factory=dict)


@dataclass(frozen=True)
class Built:
    """An index that can be queried.

    Attributes:
        asking: a setting -> a function from one query to the library's own answer. The setting is that of
            the index until `asking` is called again.
        rows: the rows in such an answer, best first.
        n_bytes: what it takes when saved, its copy of the vectors included.
        sweeps: the settings to look through; none where there is nothing to set.
    """

    asking: Callable[[Setting], Ask]
    rows: Callable[[Any], NDArray[Any]]
    n_bytes: int
    sweeps: tuple[Sweep, ...] = ()


@dataclass(frozen=True)
class Peer:
    """A kind of index of another library.

    Attributes:
        name: of the library and the kind.
        package: what must be installed.
        build: vectors, k, seed -> built by one thread.
    """

    name: str
    package: str
    build: Callable[[Matrix, int, int], Built]

    @property
    def installed(self) -> bool:
        """Whether its library is installed."""
        return importlib.util.find_spec(self.package) is not None


def ours(
    vectors: Matrix, factory: str, settings: SearchSettings, k: int, seed: int
) -> tuple[Built, list[Setting]]:
    """Our index, with settings of rising effort on both sides of its own."""
    if factory == "exact":
        exact = ExactIndex(vectors)
        built = Built(
            lambda setting: lambda query: exact.search(query[np.newaxis], k), _our_rows, vectors.nbytes
        )
        return built, [{}]
    ann = AnnIndex.build(vectors, factory, seed=seed, threads=1, settings=settings)

    def asking(setting: Setting) -> Ask:
        index = ann.with_settings(SearchSettings(**setting)) if setting else ann  # type: ignore[arg-type]
        return lambda query: index.search(query[np.newaxis], k)

    complete = {name: value for name, value in ann.settings.to_json().items() if value is not None}
    efforts = (0.25, 0.5, 0.75, 1, 1.5, 2, 4) if complete else (1,)
    tried = [_scaled(complete, effort, ann.nlist) for effort in efforts]
    around = [each for place, each in enumerate(tried) if each not in tried[:place]]
    return Built(asking, _our_rows, ann.n_bytes), around


def _our_rows(answer: Any) -> NDArray[Any]:
    return np.asarray(answer.rows[0])


def _scaled(setting: Setting, effort: float, nlist: int | None) -> Setting:
    scaled = {name: max(1.0, value * effort) for name, value in setting.items()}
    largest = {"nprobe": nlist or 1}
    return {
        name: value if name == "k_factor" else min(round(value), largest.get(name, round(value)))
        for name, value in scaled.items()
    }


def _faiss(vectors: Matrix, factory: str, k: int) -> tuple[Any, Callable[[Setting], Ask], int]:
    """Built by FAISS' own recipe, its defaults left alone."""
    import faiss

    faiss.omp_set_num_threads(1)
    index: Any = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)

    def asking(setting: Setting) -> Ask:
        for name, value in setting.items():
            faiss.ParameterSpace().set_index_parameter(index, name, value)
        return lambda query: index.search(query[np.newaxis], k)

    counted = [0]

    def count(data: bytes) -> int:
        counted[0] += len(data)
        return len(data)

    faiss.write_index(index, faiss.PyCallbackIOWriter(count))
    return index, asking, counted[0]


def _faiss_rows(answer: Any) -> NDArray[Any]:
    return np.asarray(answer[1][0])


def faiss_flat(vectors: Matrix, k: int, seed: int) -> Built:
    """All inner products."""
    _, asking, n_bytes = _faiss(vectors, "Flat", k)
    return Built(asking, _faiss_rows, n_bytes)


def faiss_hnsw(vectors: Matrix, k: int, seed: int) -> Built:
    """A graph; efConstruction is 40 unless told otherwise."""
    _, asking, n_bytes = _faiss(vectors, f"HNSW{LINKS}", k)
    return Built(asking, _faiss_rows, n_bytes, (Sweep("efSearch", BREADTHS),))


def faiss_ivf(vectors: Matrix, k: int, seed: int) -> Built:
    """4 sqrt(n) lists, as FAISS' guidelines have it."""
    nlist = round(4 * math.sqrt(len(vectors)))
    _, asking, n_bytes = _faiss(vectors, f"IVF{nlist},Flat", k)
    return Built(asking, _faiss_rows, n_bytes, (Sweep("nprobe", rising(1, nlist)),))


def hnswlib_graph(vectors: Matrix, k: int, seed: int) -> Built:
    """M 32, ef_construction 200."""
    import hnswlib

    index = hnswlib.Index(space="ip", dim=vectors.shape[1])
    index.init_index(max_elements=len(vectors), M=LINKS, ef_construction=200, random_seed=seed)
    index.set_num_threads(1)
    index.add_items(vectors, num_threads=1)

    def asking(setting: Setting) -> Ask:
        index.set_ef(int(setting["ef"]))

        def ask(query: Matrix) -> Any:
            try:
                return index.knn_query(query, k=k)
            except RuntimeError:  # a walk that ends before it has k items
                return np.empty((2, 1, 0))

        return ask

    return Built(asking, lambda answer: answer[0][0], index.index_file_size(), (Sweep("ef", BREADTHS),))


def usearch_graph(vectors: Matrix, k: int, seed: int) -> Built:
    """Connectivity 32, vectors as they are."""
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="ip", dtype="f32", connectivity=LINKS)
    index.add(np.arange(len(vectors)), vectors, threads=1)

    def asking(setting: Setting) -> Ask:
        index.expansion_search = int(setting["expansion"])
        return lambda query: index.search(query, k, threads=1)

    return Built(
        asking,
        lambda answer: answer.keys.astype(np.int64),
        index.serialized_length,
        (Sweep("expansion", BREADTHS),),
    )


def scann_tree(leaves_per_root: int) -> Callable[[Matrix, int, int], Built]:
    """A tree over anisotropic hashes, refined by the vectors, as its documentation advises."""

    def build(vectors: Matrix, k: int, seed: int) -> Built:
        import scann

        n_leaves = min(4000, round(leaves_per_root * math.sqrt(len(vectors))))
        reorders = tuple(round(k * factor) for factor in (1.5, 2, 3, 5, 10))
        builder = scann.scann_ops_pybind.builder(vectors, k, "dot_product")
        builder.set_n_training_threads(1)
        builder.tree(
            num_leaves=n_leaves,
            num_leaves_to_search=max(1, n_leaves // 20),
            training_sample_size=min(len(vectors), 250_000),
        )
        builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(reorders[1])
        index = builder.build()
        index.set_num_threads(1)

        def asking(setting: Setting) -> Ask:
            leaves, reorder = int(setting["leaves"]), int(setting["reorder"])
            return lambda query: index.search(query, k, reorder, leaves)

        with tempfile.TemporaryDirectory() as folder:
            index.serialize(folder)
            n_bytes = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        sweeps = (Sweep("leaves", rising(4, n_leaves), {"reorder": reorder}) for reorder in reorders)
        return Built(asking, lambda answer: answer[0], n_bytes, tuple(sweeps))

    return build


def rising(first: int, last: int) -> tuple[int, ...]:
    """Whole numbers about a factor of 1.4 apart, both ends included.

    >>> rising(1, 20)
    (1, 2, 3, 4, 6, 8, 11, 16, 20)
    """
    steps = range(2 * max(1, math.ceil(math.log2(max(1, last / first)))) + 1)
    return tuple(sorted({min(last, round(first * 2 ** (step / 2))) for step in steps} | {last}))


PEERS = (
    Peer("FAISS Flat", "faiss", faiss_flat),
    Peer("FAISS HNSW32", "faiss", faiss_hnsw),
    Peer("FAISS IVF", "faiss", faiss_ivf),
    Peer("hnswlib", "hnswlib", hnswlib_graph),
    Peer("usearch", "usearch", usearch_graph),
    Peer("ScaNN, 2 sqrt n", "scann", scann_tree(2)),
    Peer("ScaNN, 4 sqrt n", "scann", scann_tree(4)),
)
