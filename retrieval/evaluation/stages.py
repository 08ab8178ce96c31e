"""The stages an evaluation compares: their names, and which of them is served to whom."""

from collections.abc import Collection, Mapping
from typing import Any

from retrieval.serving.two_stage import SearchKind

WARM, BRAND_NEW = "warm", "brand new"
# Users without any known interaction are served the first of these that exists.
FALLBACKS = ("recent_popularity", "popularity")
SEARCHES: tuple[SearchKind, ...] = ("exact", "ann")

BASELINES = ("popularity", "recent_popularity", "ease", "item_knn")
STAGE_NAMES = {
    "recent_popularity": "recent popularity",
    "ease": "EASE",
    "item_knn": "item-kNN",
    "neural_mf": "NeuralMF alone",
}


def stage_name(stage: str) -> str:
    """The stage's name in reports; the keys of the JSON are the stages themselves.

    >>> stage_name("item_knn"), stage_name("ann+rerank")
    ('item-kNN', 'ann+rerank')
    """
    return STAGE_NAMES.get(stage, stage)


def two_stage_name(search: SearchKind, reranks: bool) -> str:
    """The stage of a search, re-ranked or not: what a system that works so serves to users it knows.

    >>> two_stage_name("ann", True), two_stage_name("exact", False)
    ('ann+rerank', 'exact')
    """
    return f"{search}+rerank" if reranks else search


def served_stage(
    history: int | None, stages: Collection[str], reranks: bool, search: SearchKind
) -> str | None:
    """The stage that is served to a group of users; None where none of `stages` is.

    Args:
        history: how many interactions of each user are known; None for users of train. Users with 0 are
            served a fallback ranking.
        stages: those that were evaluated for the group.
        reranks: whether the served list is re-ranked.
        search: which search finds its candidates.
    """
    to_known = (two_stage_name(search, reranks), search)
    order = FALLBACKS if history == 0 else to_known
    return next((stage for stage in order if stage in stages), None)


def served_stage_in(document: Mapping[str, Any]) -> str | None:
    """The served stage of a report document, what `Report.to_json` gives.

    A document without the key "served" is of an older version, which served the index's candidates,
    re-ranked where it could.
    """
    stages = document.get("stages") or {}
    if document.get("served") in stages:
        return str(document["served"])
    return next((stage for stage in ("ann+rerank", "ann") if stage in stages), None)


def served_pairs(served: str | None) -> list[tuple[str, str]]:
    """The comparisons of a group of users: the served stage, then exact search, with every baseline."""
    stages = [stage for stage in (served, "exact") if stage is not None]
    return [(stage, base) for stage in dict.fromkeys(stages) for base in BASELINES if stage != base]
