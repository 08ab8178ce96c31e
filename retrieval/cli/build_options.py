"""The flags of `build-index`, as settings of a build."""

from typing import Any

import click
from click.core import ParameterSource

from retrieval.errors import UsageError
from retrieval.settings import (
    LARGEST_COUNT,
    BuildSettings,
    NeuralMFSettings,
    SplitSettings,
    TowerSettings,
    TuneSettings,
    id_towers,
)

# What a preset decides; a flag beside it would silently win or lose.
PRESET_FLAGS = (
    "user_tower",
    "loss",
    "members",
    "dimension",
    "negatives",
    "epochs",
    "batch_size",
    "learning_rate",
    "recency_half_life",
)
# The flags whose settings --tune would search, and these settings: given, they stay.
TUNED_FLAGS = {
    "dimension": "dimension",
    "negatives": "negatives",
    "learning_rate": "learning_rate",
    "recency_half_life": "recency_half_life_days",
}
ID_TOWERS = id_towers()
COUNT = click.IntRange(1, LARGEST_COUNT)


def _settings(options: dict[str, Any]) -> BuildSettings:
    """Flags -> settings; every value is checked on the way.

    Raises:
        UsageError: if a value is out of its range, or a flag was given that the preset sets.
    """
    given = click.get_current_context().get_parameter_source
    flags = [flag for flag in PRESET_FLAGS if given(flag) is ParameterSource.COMMANDLINE]
    if options["max_ndcg_loss"] is not None and given("recall_target") is not ParameterSource.COMMANDLINE:
        options["recall_target"] = None
    settings = _plain_settings(options, tuple(TUNED_FLAGS[flag] for flag in flags if flag in TUNED_FLAGS))
    if options["preset"] is None:
        return settings
    for flag in flags:
        name = "--" + flag.replace("_", "-")
        raise UsageError(f"--preset {options['preset']} sets {name} itself; leave one of the two out")
    from retrieval.pipeline.presets import notebook

    return notebook(settings)


def _plain_settings(options: dict[str, Any], held: tuple[str, ...]) -> BuildSettings:
    return BuildSettings(
        split=SplitSettings(options["test_fraction"], options["validation_fraction"], options["split"]),
        towers=_tower_settings(options),
        neural_mf=NeuralMFSettings(max_epochs=options["epochs"]),
        index=options["index"],
        recall_target=options["recall_target"],
        memory_limit=options["memory_limit"],
        max_ndcg_loss=options["max_ndcg_loss"],
        index_minutes=options["index_minutes"],
        candidates=options["candidates"],
        positive_threshold=options["positive_threshold"],
        seed=options["seed"],
        threads=options["threads"],
        device=options["device"],
        refit=not options["no_refit"],
        tune=None if options["tune"] is None else TuneSettings(options["tune"], held),
    )


def _tower_settings(options: dict[str, Any]) -> TowerSettings:
    """What was given; the rest are the defaults of the user tower that was asked for."""
    towers = {
        "loss": options["loss"],
        "dimension": options["dimension"],
        "max_epochs": options["epochs"],
        "recency_half_life_days": options["recency_half_life"],
    }
    own = ("members", "negatives", "learning_rate", "batch_size")
    towers |= {name: options[name] for name in own if options[name] is not None}
    return id_towers(**towers) if options["user_tower"] == "id" else TowerSettings(**towers)
