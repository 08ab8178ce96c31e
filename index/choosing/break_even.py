"""Estimates from how many items on an index is faster than exact search, on an enlarged catalogue."""

import numpy as np
from numpy.typing import NDArray

from index.choosing.kinds import Family, candidate_kinds
from index.choosing.measuring import Workload
from index.choosing.trials import Goal, build, exact_trial, first_meeting, time_trials
from index.exact import ExactIndex

SMALLEST, LARGEST = 2**10, 2**17  # items: sizes tried begin here, or at twice the catalogue, and end here
JITTER = 0.3  # of the items' spread, so that copies resemble their items and differ from them
_NOTICEABLE = 1.2  # an index pays if it is faster than exact search by this factor
_FAMILIES: tuple[Family, ...] = ("lists", "fast scan", "fast scan lists")
_QUERIES = 64


def enlarged(vectors: NDArray[np.float32], size: int, seed: int) -> NDArray[np.float32]:
    """A larger catalogue: items drawn at random, each moved by normal noise of `JITTER` times their spread.

    Args:
        vectors: shape (n, d), float32: the catalogue.
        size: number of items to draw.
        seed: of draws and noise.

    Returns:
        shape (size, d), float32.
    """
    rng = np.random.default_rng(seed)
    drawn = vectors[rng.integers(0, len(vectors), size)]
    noise = rng.standard_normal(drawn.shape, dtype=np.float32)
    return np.asarray(drawn + np.float32(JITTER) * vectors.std(axis=0) * noise, dtype=np.float32)


def pays_from(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    recall: float | None,
    *,
    seed: int,
    threads: int,
) -> int | None:
    """The first size, doubling from twice the catalogue, at which an index is a fifth faster than exact.

    Args:
        vectors: shape (n, d), float32: the catalogue.
        queries: shape (q, d), float32: a sample of real queries.
        k: number of candidates.
        recall: that the index must reach; None: 0.95.
        seed: of the enlarged catalogue and of the k-means runs.
        threads: of FAISS while building.

    Returns:
        None if an index pays at no size up to `LARGEST`.
    """
    goal, size = Goal(recall or 0.95), max(SMALLEST, 2 * len(vectors))
    while size <= LARGEST:
        larger = enlarged(vectors, size, seed)
        workload = Workload(ExactIndex(larger), queries[:_QUERIES], k)
        trials = [exact_trial(workload, goal)]
        # The first kind of each family is its plainest.
        plainest = {kind.family: kind for kind in reversed(candidate_kinds(larger))}
        for kind in (plainest[family] for family in _FAMILIES if family in plainest):
            trials += first_meeting(build(kind, larger, seed, threads), kind, workload, goal)
        exact, *indexes = time_trials([trial for trial in trials if trial.meets], workload)
        fastest = min((each.point.p50_ms for each in indexes), default=np.inf)
        if _NOTICEABLE * fastest <= exact.point.p50_ms:
            return size
        size *= 2
    return None
