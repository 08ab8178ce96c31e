"""Loading does not believe the header of an index file: not 2^40 vectors, not vectors of 2^40 bytes."""

import resource
import struct
from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest

from index import AnnIndex
from index.choosing.kinds import candidate_kinds
from index.loading import reading_at_most

HEADER = 37  # bytes of FAISS's own header: four letters, d, ntotal, two dummies, trained or not, the metric
NTOTAL = 8
VECTORS = np.random.default_rng(0).normal(size=(2_000, 8)).astype(np.float32)
SPARE = 256 * 2**20  # bytes that reading may take; what is claimed are gigabytes


def built(factory: str, n: int = 100) -> AnnIndex:
    return AnnIndex.build(VECTORS[:n], factory, seed=1, threads=1)


def place(data: bytes, after: str) -> int:
    """The offset of a number: a given one, or the one behind these letters."""
    return int(after) if after.isdecimal() else data.index(after.encode()) + len(after)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Limit the memory, so that asking for too much fails at once and does not bring the machine down."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + SPARE, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


# Where a number stands, how it is written, what it then claims.
LIMITED = [
    ("IVF4,Flat", f"{HEADER}", "Q", 2**40),  # lists
    ("IVF4,Flat", f"{HEADER}", "Q", 2**24),
    ("IVF4,Flat", "ilar", "Q", 2**40),  # lists, again
    ("IVF4,Flat", "ilar", "Q", 2**24),
    ("IVF4,Flat", "full", "Q", 2**30),  # numbers that say how long the lists are
    ("IVF4,PQ4x4", f"{HEADER}", "Q", 2**24),
    ("RR8,IVF4,Flat", f"{HEADER}", "I", 2**30),  # transforms
    ("RR8,IVF4,Flat", "rrot\0", "Q", 2**30),  # numbers of a rotation
    ("HNSW8", f"{HEADER}", "Q", 2**30),  # numbers of its tables
    ("HNSW8", f"{HEADER + 8 + 10 * 8}", "Q", 2**30),
]
UNLIMITED = [
    ("Flat", f"{NTOTAL}", "Q", 2**40),  # vectors
    ("Flat", f"{HEADER}", "Q", 2**38),  # numbers of them: bytes are four times as many
    ("IVF4,Flat", f"{NTOTAL}", "Q", 2**40),
    ("HNSW8", f"{NTOTAL}", "Q", 2**40),
    ("SQ8", f"{NTOTAL}", "Q", 2**40),
    ("SQ8", f"{HEADER + 24}", "Q", 2**40),  # bytes of a vector
    ("IVF4,Flat", f"{NTOTAL - 4}", "I", 2**30),  # its numbers
]


def claiming(factory: str, after: str, kind: str, claimed: int) -> bytes:
    data = bytearray(built(factory).to_bytes().tobytes())
    struct.pack_into(f"<{kind}", data, place(bytes(data), after), claimed)
    return bytes(data)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(("factory", "after", "kind", "claimed"), LIMITED)
def test_what_would_take_memory_is_refused_by_a_limit(
    factory: str, after: str, kind: str, claimed: int
) -> None:
    with pytest.raises(ValueError, match=r"not a whole FAISS index \(.*limit"):
        AnnIndex.from_bytes(claiming(factory, after, kind, claimed), factory=factory, size=100, dimension=8)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(("factory", "after", "kind", "claimed"), UNLIMITED)
def test_what_takes_no_memory_is_refused_too(factory: str, after: str, kind: str, claimed: int) -> None:
    with pytest.raises(ValueError, match="build the index again"):
        AnnIndex.from_bytes(claiming(factory, after, kind, claimed), factory=factory, size=100, dimension=8)


@pytest.mark.parametrize("n", [1, 2, 39])
@pytest.mark.parametrize(
    "factory", ["Flat", "IVF1,Flat", "HNSW2", "SQ8", "RR32,IVF1,Flat", "UPCAR8,IVF1,SQ8,RFlat"]
)
def test_the_smallest_whole_index_is_within_them(factory: str, n: int) -> None:
    data = built(factory, n).to_bytes()
    assert AnnIndex.from_bytes(data, factory=factory, size=n, dimension=8).size == n


@pytest.mark.parametrize("shape", [(40, 3), pytest.param((300, 33), marks=pytest.mark.slow)])
def test_whole_indexes_of_every_kind_are_within_them(shape: tuple[int, int]) -> None:
    vectors = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    quantized = [f"IVF8,PQ{shape[1]}x{bits}" for bits in ("4", "5", "4fs", "4fsr", "4np")]
    for factory in (*(kind.factory for kind in candidate_kinds(vectors, small=True)), *quantized):
        data = AnnIndex.build(vectors, factory, seed=1, threads=1).to_bytes()
        AnnIndex.from_bytes(data, factory=factory, size=shape[0], dimension=shape[1])


def test_as_many_lists_as_vectors_are_within_them() -> None:
    data = built("IVF2000,Flat", 2000).to_bytes()
    assert AnnIndex.from_bytes(data, factory="IVF2000,Flat", size=2000, dimension=8).nlist == 2000


def limits() -> tuple[int, int]:
    return faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()


def test_limits_hold_inside_and_are_put_back_also_after_an_error() -> None:
    before = limits()
    with pytest.raises(KeyError), reading_at_most(5_000, 3_000):
        assert limits() == (5_000, 3_000)
        raise KeyError
    assert limits() == before
    with pytest.raises(ValueError, match="not a whole"):
        AnnIndex.from_bytes(b"IxFI", factory="Flat", size=1, dimension=8)
    assert limits() == before


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat", "HNSW8", "PQ4x4fs,RFlat"])
def test_stored_vectors_that_are_no_numbers_are_refused(factory: str, value: float) -> None:
    data = built(factory).to_bytes().tobytes()
    AnnIndex.from_bytes(data, factory=factory, size=100, dimension=8)
    vector = VECTORS[50].copy()
    vector[3] = value
    with pytest.raises(ValueError, match="NaN or infinity"):
        AnnIndex.from_bytes(
            data.replace(VECTORS[50].tobytes(), vector.tobytes()), factory=factory, size=100, dimension=8
        )
