"""Makes FAISS indexes of factory strings, with transforms of our own that keep inner products.

FAISS' PCA subtracts the mean before it rotates. That changes the order by inner product unless the mean is
zero, which it is not for trained towers: an exhaustive index behind such a PCA had a recall of .530. The
principal axes here are those of the second moment about the origin. Cutting the vectors down to the first of
them loses least: the error of ``x'y`` is smallest in the mean over y with the same second moment (Eckart and
Young, Psychometrika 1936). ``UPCA`` (uncentred PCA) stands for these axes, ``UPCAR`` adds a random rotation.
"""

from typing import Any

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from index.factory_strings import split_factory

faiss: Any = _faiss

_SAMPLE = 100_000  # rows that the second moment is computed from, at most


def new_index(factory: str, vectors: NDArray[np.float32], seed: int) -> Any:
    """Make an untrained index by inner product; a transform of our own is trained already.

    Args:
        factory: as `check_factory` lets pass.
        vectors: shape (n, d), float32: that it will hold.
        seed: of the sample and of the random rotation.

    Raises:
        RuntimeError: if FAISS refuses the string.
    """
    parts = split_factory(factory)
    dimension = vectors.shape[1]
    if parts.transform is None:
        return faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    axes = principal_axes(vectors, parts.width, seed)
    if parts.rotates:
        axes = random_rotation(len(axes), seed) @ axes
    transform = faiss.LinearTransform(dimension, len(axes), False)
    faiss.copy_array_to_vector(np.ascontiguousarray(axes, dtype=np.float32).ravel(), transform.A)
    transform.is_trained = True
    transform.set_is_orthonormal()
    inner = faiss.index_factory(len(axes), parts.inner, faiss.METRIC_INNER_PRODUCT)
    whole = faiss.IndexPreTransform(transform, inner)
    if parts.refine is None:
        return whole
    if parts.refine == "RFlat":
        return faiss.IndexRefineFlat(whole)
    store = faiss.index_factory(
        dimension, parts.refine.removeprefix("Refine(").removesuffix(")"), faiss.METRIC_INNER_PRODUCT
    )
    return faiss.IndexRefine(whole, store)


def principal_axes(vectors: NDArray[np.float32], width: int, seed: int) -> NDArray[np.float64]:
    """The first `width` eigenvectors of the uncentred second moment, largest first: shape (width, d)."""
    _, axes = np.linalg.eigh(_moment(vectors, seed))
    return np.asarray(axes[:, ::-1][:, :width].T)


def second_moments(vectors: NDArray[np.float32], seed: int = 0) -> NDArray[np.float64]:
    """The mean squared length of the vectors along each principal axis, largest first: shape (d,)."""
    values = np.linalg.eigvalsh(_moment(vectors, seed))[::-1]
    return np.asarray(np.maximum(values, 0) / len(vectors))


def _moment(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    if len(vectors) > _SAMPLE:
        rows = np.random.default_rng(seed).choice(len(vectors), size=_SAMPLE, replace=False)
        vectors = vectors[np.sort(rows)]
    wide = vectors.astype(np.float64)
    return np.asarray(wide.T @ wide)  # (d, d)


def random_rotation(width: int, seed: int) -> NDArray[np.float64]:
    """A random orthonormal matrix, uniform over all (Mezzadri, Notices of the AMS 2007)."""
    matrix = np.random.default_rng(seed).standard_normal((width, width))
    orthonormal, triangle = np.linalg.qr(matrix)
    return np.asarray(orthonormal * np.sign(np.diag(triangle)))
