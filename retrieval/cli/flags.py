"""The flag of each setting and argument: the rest of the package names these as Python spells them.

An error or a note says `towers.learning_rate` or `split.kind=random`; the terminal shows --learning-rate or
--split random.
"""

import re

# Settings by their path in `BuildSettings`; arguments by their name.
FLAGS = {
    "split.kind": "--split",
    "split.test_fraction": "--test-fraction",
    "split.validation_fraction": "--validation-fraction",
    "towers.user_tower": "--user-tower",
    "towers.loss": "--loss",
    "towers.members": "--members",
    "towers.dimension": "--dimension",
    "towers.negatives": "--negatives",
    "towers.learning_rate": "--learning-rate",
    "towers.batch_size": "--batch-size",
    "towers.max_epochs": "--epochs",
    "towers.recency_half_life_days": "--recency-half-life",
    "tune": "--tune",
    "tune.minutes": "--tune",
    "index": "--index",
    "recall_target": "--recall-target",
    "memory_limit": "--memory-limit",
    "max_ndcg_loss": "--max-ndcg-loss",
    "index_minutes": "--index-minutes",
    "candidates": "--candidates",
    "positive_threshold": "--positive-threshold",
    "seed": "--seed",
    "threads": "--threads",
    "device": "--device",
    "preset": "--preset",
    "skip_bad": "--skip-bad",
    "time_format": "--time-format",
    "columns.user": "--user-column",
    "columns.item": "--item-column",
    "columns.title": "--title-column",
    "columns.rating": "--rating-column",
    "columns.timestamp": "--time-column",
    "artifacts": "--artifacts",
    "bundle": "--bundle",
    "data_dir": "--data",
    "ratings": "--ratings",
    "items": "--items",
    "vectors": "--vectors",
    "fallback": "--fallback",
    "resume": "--resume",
}
# Settings with a value that has a flag of its own.
SWITCHES = {"ease=False": "--no-ease"}
# Methods of `Recommender` that a flag calls.
METHODS = {
    "recommend_for_history": "--history ITEM,ITEM",
    "recommend_for_histories": "--history ITEM,ITEM",
}
# `name` or `name=value`; a command in backticks has spaces and stays as it is.
NAMED = re.compile(r"`([a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)?)(?:=([^`\s]+))?`")


def with_flags(message: str) -> str:
    """The message with the flags of the settings and arguments it names.

    >>> with_flags("leave out `towers.loss`, or take `towers.user_tower=history`")
    'leave out --loss, or take --user-tower history'
    >>> with_flags("`ease=False` leaves it out")
    '--no-ease leaves it out'
    >>> with_flags("`retrieval bundles rollback` goes back")
    '`retrieval bundles rollback` goes back'
    """
    return NAMED.sub(_flag, message)


def _flag(named: re.Match[str]) -> str:
    name, value = named.groups()
    if f"{name}={value}" in SWITCHES:
        return SWITCHES[f"{name}={value}"]
    if name not in FLAGS:
        return METHODS.get(name, named[0])
    return FLAGS[name] if value is None else f"{FLAGS[name]} {value}"
