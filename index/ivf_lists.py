"""IVF lists that are clustered by Euclidean distance and probed by inner product.

For inner product, FAISS clusters on the unit sphere and drops the lengths of the centroids. Where the lengths
of vectors are spread, as with all trained towers, a query then cannot tell a list of long vectors from a list
of short ones. Here k-means is the ordinary one, so a centroid is the mean of its list, and a query's product
with it is the mean of its products with the vectors of the list: a good guess at which lists hold the best.
Measured on towers of MovieLens: the same recall with a fifth of the lists probed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss as _faiss

from index.factory_strings import split_factory
from index.faiss_wrappers import find

faiss: Any = _faiss


@contextmanager
def clustered_by_distance(index: Any, factory: str) -> Iterator[None]:
    """Assign each vector to the list with the nearest centroid, while an index is trained and added to.

    Changes nothing for an index without lists, nor for one whose string does not begin with a transform of
    our own: FAISS builds that as it always does.
    """
    ivf = find(index, faiss.IndexIVF)
    if ivf is None or split_factory(factory).transform is None:
        yield
        return
    ivf.cp.spherical = False
    by_product, by_distance = faiss.downcast_index(ivf.quantizer), faiss.IndexFlatL2(ivf.d)
    if by_product.ntotal:
        by_distance.add(by_product.reconstruct_n(0, ivf.nlist))
    ivf.quantizer = by_distance
    try:
        yield
        if not by_product.ntotal:
            by_product.add(by_distance.reconstruct_n(0, ivf.nlist))
    finally:
        ivf.quantizer = by_product  # also after an error: FAISS frees the quantizer that the index holds
