"""What FAISS may believe while it reads an index: no more than a file of that size can hold.

FAISS allocates what the numbers in a file ask for, and only then finds the file too short: a header of
100 bytes can ask for a terabyte. It has limits, which are off or far away unless they are set
(`faiss/index_io.h`): bytes that one vector of a file may take, and what loops may count to, of which lists
of an IVF index are the most.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss as _faiss

faiss: Any = _faiss  # its stubs lack much of what it exports

# What is looped over beside lists: the transforms of a chain and the like, a few at most.
_LOOPS = 1_024
# Fast scan makes a table as it is read: 16 numbers, one for each code of four bits, for each of a centroid.
_TABLES = 16
_one_at_a_time = threading.Lock()  # the limits are the process's, and FAISS asks for them all along


def most_bytes(n_bytes: int, factory: str) -> int:
    """What a vector, or a table that FAISS makes of it, can take in an index file of so many bytes.

    >>> most_bytes(1_000, "IVF4,Flat"), most_bytes(1_000, "IVF4,PQ8x4fs,RFlat")
    (1000, 16000)
    """
    return n_bytes * (_TABLES if "IVF" in factory and "fs" in factory else 1)


@contextmanager
def reading_at_most(n_bytes: int, n_vectors: int) -> Iterator[None]:
    """FAISS's limits of deserialization inside the block; those there were are put back after it.

    Args:
        n_bytes: no vector takes more, see `most_bytes`.
        n_vectors: in the index: it was trained on as many, and has no more lists.
    """
    with _one_at_a_time:
        before = faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()
        faiss.set_deserialization_vector_byte_limit(n_bytes)
        faiss.set_deserialization_loop_limit(max(n_vectors, _LOOPS))
        try:
            yield
        finally:
            faiss.set_deserialization_vector_byte_limit(before[0])
            faiss.set_deserialization_loop_limit(before[1])
