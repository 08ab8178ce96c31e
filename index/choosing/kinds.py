"""The kinds of index worth measuring on a catalogue, and the ladder of search settings of each."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from index.errors import InputError
from index.factory_strings import check_factory
from index.faiss_index import AnnIndex
from index.search_settings import SearchSettings
from index.transforms import second_moments

# From the simplest to the most involved: of kinds that are equally fast, the first is chosen.
Family = Literal[
    "exact", "flat", "half precision", "panorama", "lists", "fast scan", "fast scan lists", "graph", "by name"
]

EXACT = "exact"  # the factory of `ExactIndex` in tables
SIMPLICITY: tuple[Family, ...] = get_args(Family)
# Families that find the same items as exact search, at any setting.
EXACT_FAMILIES = frozenset({"exact", "flat", "panorama"})
# Shares of the second moment that the scanned codes keep; refinement makes up for the rest.
_KEPT_SHARES = (0.90, 0.96)
_PANORAMA_LEVELS = 8
FEW = 20_000  # items up to which exact search is fast, so that a finer choice between indexes gains nothing
_K_FACTORS = (1.5, 2.0, 3.0, 4.0, 6.0, 10.0, 16.0)
_EF_SEARCHES = (32, 64, 128, 256, 512, 1024)
# Graphs over compressed vectors, fast scan without refinement and the like are built only by name: they lost
# on every set of vectors tried. Plain graphs never won either there, and take 20 times as long to build.
_GRAPH_LINKS = 32
_FEW_LISTS = 8  # up to so many lists, probing most of them needs no warning


@dataclass(frozen=True)
class IndexKind:
    """A kind of index: a factory string and the family it belongs to.

    Attributes:
        factory: for `AnnIndex.build`; "exact" is `ExactIndex`.
        family: its way to search.
        recipe: its name at every size of the catalogue, while the numbers in the factory string change.
    """

    factory: str
    family: Family
    recipe: str = ""

    @property
    def is_exact(self) -> bool:
        """Whether it finds the same items as exact search at any setting."""
        return self.family in EXACT_FAMILIES

    @property
    def simplicity(self) -> int:
        """0 for the simplest."""
        return SIMPLICITY.index(self.family)


def candidate_kinds(
    vectors: NDArray[np.float32], n_items: int | None = None, *, small: bool = False
) -> tuple[IndexKind, ...]:
    """The kinds to measure, the simplest first; `ExactIndex` is not among them.

    Args:
        vectors: shape (n, d), float32: the catalogue, or a sample of it.
        n_items: of the catalogue; the length of `vectors` unless given.
        small: whether memory matters: adds kinds that keep no whole vector, which are never the fastest.
    """
    refinements = ("RFlat", "Refine(SQ8)") if small else ("RFlat",)
    stores = ("Flat", "SQfp16", "SQ8") if small else ("Flat", "SQfp16")
    size, dimension = n_items or len(vectors), vectors.shape[1]
    widths = code_widths(vectors)
    lists = [("root", _power_of_two(math.sqrt(size)))]
    if size > FEW:
        lists += [("half a root", max(1, lists[0][1] // 2)), ("two roots", 2 * lists[0][1])]
    else:
        widths = widths[-1:]
    levels = math.ceil(dimension / math.ceil(dimension / _PANORAMA_LEVELS))
    kinds = [
        IndexKind("Flat", "flat"),
        IndexKind("SQfp16", "half precision"),
        *([IndexKind("SQ8", "half precision")] if small else []),
        IndexKind(f"UPCA{dimension},FlatIPPanorama{levels}", "panorama"),
        *(
            IndexKind(f"UPCA{dimension},IVF{n},{store}", "lists", f"{name} of lists, {store}")
            for store in stores
            for name, n in lists
        ),
        *(
            IndexKind(f"UPCAR{width},PQ{width}x4fs,{refine}", "fast scan")
            for width in widths
            for refine in refinements
        ),
        *(
            IndexKind(
                f"UPCAR{width},IVF{n},PQ{width}x4fsr,{refine}",
                "fast scan lists",
                f"{name} of lists, {width} codes, {refine}",
            )
            for refine in refinements
            for width in widths
            for name, n in lists
        ),
        IndexKind(f"HNSW{_GRAPH_LINKS}", "graph"),
    ]
    return tuple(
        kind if kind.recipe else replace(kind, recipe=kind.factory)
        for kind in kinds
        if _works(kind.factory, size, dimension)
    )


def kind_of(factory: str) -> IndexKind:
    """The kind of a factory string that was named by a user."""
    if factory == "Flat":
        return IndexKind(factory, "flat", factory)
    panorama = "Panorama" in factory and "IVF" not in factory
    return IndexKind(factory, "panorama" if panorama else "by name", factory)


def warning(index: AnnIndex) -> str | None:
    """A known fault of a kind that is built only by name; None where there is none."""
    parts, nprobe = index.factory.split(","), index.settings.nprobe
    if any(part.startswith(("PQ", "OPQ")) for part in parts) and not parts[-1].startswith(
        ("RFlat", "Refine")
    ):
        return "compressed scores that nothing refines order items wrongly; end it with ,RFlat"
    own = parts[0].startswith("UPCA")
    if not own and index.nlist and nprobe and _FEW_LISTS < index.nlist < 2 * nprobe:
        return (
            "it has to probe most of its lists, as FAISS clusters them by direction alone; "
            f"UPCA{index.dimension}, in front clusters them by distance"
        )
    return None


def code_widths(vectors: NDArray[np.float32]) -> tuple[int, ...]:
    """Numbers of principal axes for the codes to keep: multiples of 8, ascending, at most the dimension."""
    dimension = vectors.shape[1]
    share = np.cumsum(second_moments(vectors))
    share /= max(float(share[-1]), np.finfo(np.float64).tiny)
    needed = (1 + int(np.searchsorted(share, kept)) for kept in _KEPT_SHARES)
    return tuple(sorted({min(dimension, 8 * math.ceil(width / 8)) for width in needed}))


def ladder(index: AnnIndex, *, coarse: bool = False) -> Iterator[tuple[SearchSettings, ...]]:
    """Search settings in lines, each from the least effort to the most.

    A line varies nprobe or efSearch, or k_factor where a kind has neither; a refining IVF index has a line of
    nprobe for each k_factor.

    Args:
        index: whose settings to vary.
        coarse: give fewer settings, enough for a curve.
    """
    nprobes = [] if index.nlist is None else _probes(index.nlist, (4,) if coarse else (4, 5, 6, 7))
    k_factors = _K_FACTORS[1::2] if coarse else _K_FACTORS
    refines = index.settings.k_factor is not None
    if index.settings.ef_search is not None:
        yield tuple(SearchSettings(ef_search=ef) for ef in _EF_SEARCHES)
    elif nprobes and refines:
        for k_factor in k_factors:
            yield tuple(SearchSettings(nprobe=n, k_factor=k_factor) for n in nprobes)
    elif nprobes:
        yield tuple(SearchSettings(nprobe=n) for n in nprobes)
    elif refines:
        yield tuple(SearchSettings(k_factor=k_factor) for k_factor in k_factors)
    else:
        yield (index.settings,)


def _probes(nlist: int, quarters: tuple[int, ...]) -> list[int]:
    """These quarters of 1, 2, 4, 8 and so on, ending with all lists."""
    steps = {part * 2**i // 4 for i in range(nlist.bit_length()) for part in quarters}
    return sorted({n for n in steps if 1 <= n < nlist} | {nlist})


def _power_of_two(near: float) -> int:
    return int(2 ** max(0, round(math.log2(near))))


def _works(factory: str, n_items: int, dimension: int) -> bool:
    try:
        check_factory(factory, n_items, dimension)
    except InputError:
        return False
    return True
