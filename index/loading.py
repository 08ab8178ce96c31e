"""Reads a FAISS index from bytes, and believes nothing in them that it can check.

FAISS allocates what the numbers in a file ask for, and only then finds the file too short: a header of
100 bytes can ask for a terabyte. It has limits, which are off or far away unless they are set
(`faiss/index_io.h`): on the bytes that one vector of a file may take, and on what loops may count to; the
longest loop is the one over the lists of an IVF index.

A damaged file often loads. Of 600 FAISS files with one flipped bit, FAISS rejected 39, and 47 loaded and
answered wrongly. So a caller checks a digest before, and `check_contents` looks at what was read.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from index.errors import InputError, faiss_reason
from index.faiss_wrappers import check_finite, find

faiss: Any = _faiss  # its stubs lack much of what it exports

# Vectors and lists become views on the bytes; tables that only Euclidean distances use are left out.
_READING = faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE
# Loops over transforms of a chain and the like, a few at most, where there are fewer vectors than this.
_LOOPS = 1_024
# Fast scan makes a table as it is read: 16 numbers, one for each code of four bits, for each of a centroid.
_TABLES = 16
_BUILD_AGAIN = "build the index again"
_one_at_a_time = threading.Lock()  # the limits belong to the process, and FAISS reads them until it is done


def read_faiss_index(array: NDArray[np.uint8], factory: str, n_vectors: int, dimension: int) -> Any:
    """Read a FAISS index whose vectors and lists are views on `array`, which has to outlive it.

    Args:
        array: one axis: the whole file.
        factory: the string that the index was built from.
        n_vectors: that it must hold, tombstones included.
        dimension: numbers of a vector that it must have.

    Raises:
        InputError: if the bytes are no FAISS index, hold fewer or more bytes than one, or one of
            another size or dimension.
    """
    if not len(array):
        raise InputError("not a whole FAISS index (0 bytes)", _BUILD_AGAIN)
    reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(array), len(array))
    try:
        with reading_at_most(most_bytes(len(array), factory), n_vectors):
            loaded = faiss.read_index(reader, _READING)
    except (RuntimeError, MemoryError) as error:
        raise InputError(f"not a whole FAISS index ({faiss_reason(error)})", _BUILD_AGAIN) from None
    if reader.rp_ > len(array):  # FAISS hands out views without looking for the end of the bytes
        raise InputError("not a whole FAISS index (cut off)", _BUILD_AGAIN)
    if reader.rp_ < len(array):
        raise InputError(f"{len(array) - reader.rp_} bytes follow the FAISS index", _BUILD_AGAIN)
    if (loaded.ntotal, loaded.d) != (n_vectors, dimension):
        raise InputError(
            f"the FAISS index holds {loaded.ntotal} vectors of {loaded.d} numbers; expected "
            f"{n_vectors} of {dimension}",
            f"{_BUILD_AGAIN} from these vectors",
        )
    return loaded


def check_contents(index: Any, n_vectors: int) -> None:
    """Refuse a FAISS index whose stored vectors are not numbers or whose lists do not hold each once.

    Raises:
        InputError: for either.
    """
    _check_lists(find(index, faiss.IndexIVF), n_vectors)
    check_finite(index)


def _check_lists(ivf: Any, n_vectors: int) -> None:
    """Refuse inverted lists that do not hold each position from 0 to n_vectors - 1 once."""
    if ivf is None:
        return
    lists = ivf.invlists
    lengths = [] if lists is None else [lists.list_size(i) for i in range(lists.nlist)]
    found = np.zeros(n_vectors, dtype=np.bool_)
    whole = sum(lengths) == n_vectors
    for i, length in enumerate(lengths):
        if length and whole:
            positions = faiss.rev_swig_ptr(lists.get_ids(i), length)
            whole = int(positions.min()) >= 0 and int(positions.max()) < n_vectors
            if whole:
                found[positions] = True
    if not (whole and found.all()):
        raise InputError(
            f"the FAISS index does not hold each row from 0 to {n_vectors - 1} once", _BUILD_AGAIN
        )


def most_bytes(n_bytes: int, factory: str) -> int:
    """Upper limit in bytes for one vector, or for a table that FAISS makes of it, in a file of `n_bytes`.

    >>> most_bytes(1_000, "IVF4,Flat"), most_bytes(1_000, "IVF4,PQ8x4fs,RFlat")
    (1000, 16000)
    """
    return n_bytes * (_TABLES if "IVF" in factory and "fs" in factory else 1)


@contextmanager
def reading_at_most(n_bytes: int, n_vectors: int) -> Iterator[None]:
    """Set FAISS's limits of deserialization inside the block, and put the earlier ones back after it.

    Args:
        n_bytes: the most that one vector may take, see `most_bytes`.
        n_vectors: in the index, which has no more lists than that, as it was trained on as many.
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
