"""The stages an evaluation compares: their names, and which one is served."""

from collections.abc import Mapping
from typing import Any

from retrieval.serving.two_stage import SearchKind

WARM, BRAND_NEW = "warm", "brand new"
# What is served to strangers: the first that is there.
TO_STRANGERS = ("recent_popularity", "popularity")
SEARCHES: tuple[SearchKind, ...] = ("exact", "ann")

BASELINES = ("popularity", "recent_popularity", "ease", "item_knn")
STAGE_NAMES = {
    "recent_popularity": "recent popularity",
    "ease": "EASE",
    "item_knn": "item-kNN",
    "neural_mf": "NeuralMF alone",
}


def stage_name(stage: str) -> str:
    """As it is written for people.

    >>> stage_name("item_knn"), stage_name("ann+rerank")
    ('item-kNN', 'ann+rerank')
    """
    return STAGE_NAMES.get(stage, stage)


def served_stage(
    history: int | None, stages: Mapping[str, Any], reranks: bool, search: SearchKind
) -> str | None:
    """Which of the stages answers people of whom so many interactions are known."""
    to_known = (f"{search}+rerank", search) if reranks else (search,)
    order = TO_STRANGERS if history == 0 else to_known
    return next((stage for stage in order if stage in stages), None)


def pairs_of(served: str | None) -> list[tuple[str, str]]:
    """What is compared: the served stage and exact search with every baseline."""
    stages = [stage for stage in (served, "exact") if stage is not None]
    return [(stage, base) for stage in stages for base in BASELINES if stage != base]
