"""Makes the vectors of `benchmark_index.py`, of two kinds: an index good on one may be bad on the other.

- synthetic: 2,000 clusters whose spread decays from dimension to dimension, norms that differ log-normally,
  and queries between two clusters, so that the items of an answer lie far apart.
- towers: the item vectors of a trained bundle, each repeated with jitter until there are enough, and its real
  user vectors as queries.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]

DIMENSION, CLUSTERS = 64, 2000
DECAY = 0.3  # standard deviation of dimension i: i ** -DECAY
ITEM_NOISE, QUERY_NOISE = 1.0, 0.3  # of a cluster's spread
NORM_SIGMA = 0.35
JITTER = 0.3  # of the spread of the item vectors, dimension by dimension


@dataclass(frozen=True, eq=False)
class Vectors:
    """The items that every library indexes, and the queries it is asked.

    Attributes:
        items: shape (n, d), float32.
        choosing: shape (q, d), float32: settings are chosen on these.
        held_out: shape (q, d), float32: the figures are of these.
    """

    items: Matrix
    choosing: Matrix
    held_out: Matrix


def synthetic(size: int, n_queries: int, seed: int) -> Vectors:
    """The same clusters and queries for every size."""
    of_clusters, of_items, of_queries = _generators(seed)
    spread = (np.arange(1, DIMENSION + 1) ** -DECAY).astype(np.float32)

    def noise(rng: np.random.Generator, rows: int) -> Matrix:
        drawn = rng.standard_normal((rows, DIMENSION), dtype=np.float32)
        drawn *= spread
        return drawn

    clusters = noise(of_clusters, CLUSTERS)
    items = noise(of_items, size)
    items *= ITEM_NOISE
    items += clusters[of_items.integers(0, CLUSTERS, size)]
    items *= of_items.lognormal(0, NORM_SIGMA, (size, 1)).astype(np.float32)
    first, second = of_queries.integers(0, CLUSTERS, (2, 2 * n_queries))
    queries = clusters[first] + clusters[second] + QUERY_NOISE * noise(of_queries, 2 * n_queries)
    return Vectors(items, queries[:n_queries], queries[n_queries:])


def towers(items: Matrix, users: Matrix, size: int, n_queries: int, seed: int) -> Vectors:
    """Repeats every item vector equally often, but for the remainder; no user is a query twice.

    Where there are fewer users than 2 * n_queries, half of them choose and half are held out.

    Args:
        items: shape (m, d), of a bundle, the bias column with the rest.
        users: shape (u, d), u at least 2.
    """
    of_rows, of_items, of_queries = _generators(seed)
    rows = of_rows.permutation(np.resize(of_rows.permutation(len(items)), size))
    jittered = of_items.standard_normal((size, items.shape[1]), dtype=np.float32)
    jittered *= JITTER * items.std(axis=0)
    jittered += items[rows]
    half = min(n_queries, len(users) // 2)
    asked = users[of_queries.permutation(len(users))[: 2 * half]]
    return Vectors(jittered, asked[:half], asked[half:])


def read_towers(artifacts: Path) -> tuple[Matrix, Matrix]:
    """Reads item and user vectors of the current bundle's served part.

    Raises:
        ArtifactError: if there is no bundle, or it is damaged.
    """
    from retrieval.bundles.bundle import open_bundle
    from retrieval.bundles.fitted_system_files import read_system

    vectors = read_system(open_bundle(artifacts), "served").model.vectors
    return vectors.items, vectors.users


def _generators(seed: int) -> list[np.random.Generator]:
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3)]
