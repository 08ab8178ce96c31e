"""The kinds of index worth measuring on a catalogue, and how hard each of them can be made to look."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from index.ann import AnnIndex
from index.factory import check_factory
from index.settings import SearchSettings
from index.transforms import second_moments

Family = Literal[
    "exact", "flat", "half precision", "panorama", "lists", "fast scan", "fast scan lists", "graph"
]

EXACT = "exact"  # the factory of `ExactIndex` in tables
# From the simplest to the most involved: of kinds that are as fast the first is taken.
SIMPLICITY: tuple[Family, ...] = (
    "exact",
    "flat",
    "half precision",
    "panorama",
    "lists",
    "fast scan",
    "fast scan lists",
    "graph",
)
# Families whose answers are exact search's.
EXACT_FAMILIES = frozenset({"exact", "flat", "panorama"})
# Shares of the second moment that the scanned codes keep: the rest is left to the refinement.
_KEPT_SHARES = (0.90, 0.96)
_PANORAMA_LEVELS = 8
_K_FACTORS = (1.5, 2.0, 3.0, 4.0, 6.0, 10.0, 16.0)
_EF_SEARCHES = (32, 64, 128, 256, 512, 1024)
# A graph over a compressed store, fast scan without refinement and the like are left to `--index`: they lose
# on every set of vectors tried.
_GRAPH_LINKS = 32


@dataclass(frozen=True)
class IndexKind:
    """A factory string and what sort of index it is.

    Attributes:
        factory: for `AnnIndex.build`; "exact" is `ExactIndex`.
        family: which of the ways to search it takes.
    """

    factory: str
    family: Family

    @property
    def is_exact(self) -> bool:
        """Whether its answers are exact search's, however it is set."""
        return self.family in EXACT_FAMILIES

    @property
    def simplicity(self) -> int:
        """0 for the simplest."""
        return SIMPLICITY.index(self.family)


def candidate_kinds(vectors: NDArray[np.float32], n_items: int | None = None) -> tuple[IndexKind, ...]:
    """What to measure, the simplest first; `ExactIndex` is not among them.

    Args:
        vectors: shape (n, d), float32: the catalogue, or a sample of it.
        n_items: of the catalogue; the length of `vectors` unless given.
    """
    size, dimension = n_items or len(vectors), vectors.shape[1]
    widths = code_widths(vectors)
    root = math.sqrt(size)
    kinds = [
        IndexKind("Flat", "flat"),
        IndexKind("SQfp16", "half precision"),
        IndexKind(f"UPCA{dimension},FlatIPPanorama{min(_PANORAMA_LEVELS, dimension)}", "panorama"),
        *(
            IndexKind(f"UPCA{dimension},IVF{n},{store}", "lists")
            for n in _powers_of_two(root, 2 * root)
            for store in ("Flat", "SQfp16")
        ),
        *(IndexKind(f"UPCAR{w},PQ{w}x4fs,RFlat", "fast scan") for w in widths),
        *(IndexKind(f"UPCAR{w},PQ{w}x4fs,Refine(SQ8)", "fast scan") for w in widths[-1:]),
        *(
            IndexKind(f"UPCAR{w},IVF{n},PQ{w}x4fsr,{refine}", "fast scan lists")
            for w in widths
            for n in _powers_of_two(root / 2, 2 * root)
            for refine in ("RFlat", "Refine(SQ8)")
        ),
        IndexKind(f"HNSW{_GRAPH_LINKS}", "graph"),
    ]
    return tuple(kind for kind in kinds if _works(kind.factory, size, dimension))


def code_widths(vectors: NDArray[np.float32]) -> tuple[int, ...]:
    """How many principal axes the codes may keep: multiples of eight, ascending, the dimension at most."""
    dimension = vectors.shape[1]
    share = np.cumsum(second_moments(vectors))
    share /= max(float(share[-1]), np.finfo(np.float64).tiny)
    needed = (1 + int(np.searchsorted(share, kept)) for kept in _KEPT_SHARES)
    return tuple(sorted({min(dimension, 8 * math.ceil(width / 8)) for width in needed}))


def ladder(index: AnnIndex) -> Iterator[tuple[SearchSettings, ...]]:
    """Settings in lines, each from the least that is looked at to the most.

    A line varies what matters most; a refining IVF index has one for each k_factor.
    """
    nprobes = [] if index.nlist is None else _probes(index.nlist)
    refines = index.settings.k_factor is not None
    if index.settings.ef_search is not None:
        yield tuple(SearchSettings(ef_search=ef) for ef in _EF_SEARCHES)
    elif nprobes and refines:
        for k_factor in _K_FACTORS:
            yield tuple(SearchSettings(nprobe=n, k_factor=k_factor) for n in nprobes)
    elif nprobes:
        yield tuple(SearchSettings(nprobe=n) for n in nprobes)
    elif refines:
        yield tuple(SearchSettings(k_factor=k_factor) for k_factor in _K_FACTORS)
    else:
        yield (index.settings,)


def _probes(nlist: int) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12 and so on, ending with all lists."""
    steps = {n for i in range(nlist.bit_length()) for n in (2**i, 3 * 2**i // 2)}
    return sorted({n for n in steps if 1 <= n < nlist} | {nlist})


def _powers_of_two(low: float, high: float) -> list[int]:
    """Those nearest to the ends and all between."""
    first, last = (max(0, round(math.log2(end))) for end in (low, high))
    return [2**i for i in range(first, last + 1)]


def _works(factory: str, n_items: int, dimension: int) -> bool:
    try:
        check_factory(factory, n_items, dimension)
    except ValueError:
        return False
    return True
