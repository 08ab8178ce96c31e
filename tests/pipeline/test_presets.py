from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from retrieval.data.encoded import EncodedInteractions
from retrieval.pipeline.presets import notebook
from retrieval.settings import BuildSettings, SplitSettings
from retrieval.training.fit_neural_mf import fit_neural_mf
from retrieval.training.fit_towers import TowerJob, fit_towers

CPU = torch.device("cpu")


def test_the_notebooks_settings_are_those_known_of_it() -> None:
    settings = notebook(BuildSettings())
    towers, neural_mf = settings.towers, settings.neural_mf
    assert settings.preset == "notebook"
    assert (towers.user_tower, towers.user_sampling, towers.negatives) == ("id", "users", 1)
    assert (towers.loss, towers.members) == ("bpr", 1)
    assert (towers.l2, towers.item_bias, towers.recency_half_life_days) == (1e-4, False, None)
    assert (neural_mf.hidden, neural_mf.standardise, neural_mf.weight_decay) == ((64, 32), False, 0)
    for model in (towers, neural_mf):
        assert (model.dimension, model.batch_size, model.learning_rate) == (32, 4096, 1e-3)
        assert (model.max_epochs, model.early_stopping, model.averaging_decay) == (5, False, 0)
        assert model.initial_std == 0.01


def test_everything_but_the_models_is_left_as_it_was() -> None:
    base = BuildSettings(
        split=SplitSettings(0.3, 0.2, "random"),
        index="IVF8,Flat",
        recall_target=0.5,
        candidates=7,
        positive_threshold=3.0,
        seed=1,
        threads=2,
        device="cpu",
        refit=False,
    )
    made = notebook(base)
    assert {
        field.name for field in fields(base) if getattr(base, field.name) != getattr(made, field.name)
    } == {
        "towers",
        "neural_mf",
        "preset",
    }
    assert notebook(made) == made


def test_both_models_train_on_it() -> None:
    """A small table and the last epoch of five, whatever validation says."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    users, items = np.divmod(np.sort(rng.choice(50 * 40, 700, replace=False)), 40)
    ratings = rng.integers(1, 6, 700).astype(np.float32)
    data = EncodedInteractions(users, items, ratings, np.arange(700), 50, 40)
    settings = notebook(BuildSettings())
    towers = fit_towers(
        TowerJob(
            data.positives(4),
            replace(settings.towers, batch_size=16),
            seed=1,
            device=CPU,
            validate=lambda vectors: rng.random(9),
        )
    )
    (history,) = towers.members
    assert history.epochs == len(history.curve) == 5
    assert history.curve[0].loss == pytest.approx(np.log(2), abs=0.01)
    losses = [record.loss for record in history.curve]
    assert losses == sorted(losses, reverse=True)
    assert not towers.vectors.items[:, -1].any()
    neural_mf = fit_neural_mf(
        data, replace(settings.neural_mf, batch_size=16), seed=1, device=CPU, validation=data
    )
    assert neural_mf.history.epochs == len(neural_mf.history.curve) == 5
    assert neural_mf.history.curve[0].loss > neural_mf.history.curve[-1].loss
