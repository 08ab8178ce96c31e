"""Settings under one name: those of a reference whose figures are known."""

from dataclasses import replace

from retrieval.settings import BuildSettings, NeuralMFSettings, TowerSettings


def notebook(base: BuildSettings) -> BuildSettings:
    """Train both models as the reference notebook did: the same settings otherwise."""
    towers = TowerSettings(
        user_tower="id",
        dimension=32,
        item_bias=False,
        initial_std=0.01,
        negatives=1,
        user_sampling="users",
        learning_rate=1e-3,
        batch_size=4096,
        max_epochs=5,
        early_stopping=False,
        averaging_decay=0.0,
        l2=1e-4,
        recency_half_life_days=None,
    )
    neural_mf = NeuralMFSettings(
        dimension=32,
        hidden=(64, 32),
        dropout=0.0,
        initial_std=0.01,
        standardise=False,
        learning_rate=1e-3,
        weight_decay=0.0,
        batch_size=4096,
        max_epochs=5,
        early_stopping=False,
        averaging_decay=0.0,
    )
    return replace(base, towers=towers, neural_mf=neural_mf, preset="notebook")
