"""Builds the tracked sample in a moment, for tests that damage, forge and kill again and again."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retrieval.pipeline.build import Build
    from retrieval.settings import BuildSettings


def small_settings(epochs: int = 1, seed: int = 42) -> "BuildSettings":
    """Settings with narrow towers, an index that misses items, and fewer candidates than items."""
    from retrieval.settings import BuildSettings, NeuralMFSettings, TowerSettings

    return BuildSettings(
        towers=TowerSettings(dimension=8, max_epochs=epochs),
        neural_mf=NeuralMFSettings(dimension=4, max_epochs=epochs),
        index="IVF8,Flat",
        recall_target=0.5,
        candidates=20,
        seed=seed,
        threads=1,
        device="cpu",
    )


def small_build(settings: "BuildSettings | None" = None) -> "Build":
    """Build on the sample's 150 users and 120 items."""
    from retrieval.data.datasets import load_dataset
    from retrieval.pipeline.build import build

    table = load_dataset("sample", Path("unused"), print)
    return build(
        table.interactions, items=table.items, settings=settings or small_settings(), name=table.name
    )
