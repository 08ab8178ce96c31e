"""The choice of an index over as many items as matter: minutes, so left out of scripts/test."""

import time

import numpy as np
import pytest

from index import ExactIndex, Goal, Workload, choose, enlarged
from retrieval.data.datasets import Dataset
from retrieval.pipeline.build import Build, build
from retrieval.settings import BuildSettings, TowerSettings

SIZE = 300_000


@pytest.fixture(scope="module")
def trained(sample_set: Dataset) -> Build:
    settings = BuildSettings(
        towers=TowerSettings(dimension=32, max_epochs=4), index="IVF8,Flat", threads=1, refit=False
    )
    return build(sample_set.interactions, items=sample_set.items, settings=settings, name="sample")


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.95, 0.99])
def test_an_index_over_many_items_from_trained_towers_meets_the_target_on_other_users(
    trained: Build, target: float
) -> None:
    vectors = trained.evaluated.model.vectors
    items = enlarged(vectors.items, SIZE, seed=1)
    # More people than the sample has: mixtures of its users.
    rng = np.random.default_rng(2)
    pairs = rng.integers(0, len(vectors.users), (1200, 2))
    queries = ((vectors.users[pairs[:, 0]] + vectors.users[pairs[:, 1]]) / 2).astype(np.float32)
    start = time.perf_counter()
    found = choose(items, queries[:600], 100, Goal(target), seed=1, threads=2)
    assert found.held_out.recall >= target
    others = Workload(ExactIndex(items), queries[600:], 100)
    assert others.recalls(found.index).mean() >= target
    assert found.chosen.p50_ms < min(point.p50_ms for point in found.points if point.factory == "exact") / 3
    assert time.perf_counter() - start < 360
