from typing import Any

import pytest

from retrieval.evaluation.stages import served_pairs, served_stage, served_stage_in
from retrieval.serving.two_stage import SearchKind

ALL = ["popularity", "recent_popularity", "ease", "exact", "ann", "exact+rerank", "ann+rerank"]


@pytest.mark.parametrize(
    ("history", "stages", "reranks", "search", "served"),
    [
        (None, ALL, True, "ann", "ann+rerank"),
        (None, ALL, False, "ann", "ann"),
        (3, ALL, True, "exact", "exact+rerank"),
        (None, ["exact", "ann"], True, "ann", "ann"),  # no ratings to re-rank by
        (3, ["popularity", "ease"], True, "ann", None),  # these towers know only their own users
        (0, ALL, True, "ann", "recent_popularity"),
        (0, ["popularity", "ann"], True, "ann", "popularity"),  # no timestamps
    ],
)
def test_the_served_stage_follows_from_the_search_the_re_ranking_and_the_history(
    history: int | None, stages: list[str], reranks: bool, search: SearchKind, served: str | None
) -> None:
    assert served_stage(history, stages, reranks, search) == served


@pytest.mark.parametrize(
    ("document", "served"),
    [
        ({"served": "exact", "stages": {"exact": {}, "ann": {}}}, "exact"),
        ({"stages": {"exact": {}, "ann": {}, "ann+rerank": {}}}, "ann+rerank"),
        ({"served": "gone", "stages": {"exact": {}, "ann": {}}}, "ann"),
        ({"served": "ann"}, None),
        ({"stages": {"popularity": {}}}, None),
    ],
)
def test_a_report_document_says_what_is_served_and_older_ones_imply_it(
    document: dict[str, Any], served: str | None
) -> None:
    assert served_stage_in(document) == served


def test_a_group_compares_what_it_is_served_and_exact_search_with_the_baselines() -> None:
    baselines = ["popularity", "recent_popularity", "ease", "item_knn"]
    assert served_pairs("ann") == [(stage, base) for stage in ("ann", "exact") for base in baselines]
    assert served_pairs("exact") == [("exact", base) for base in baselines]  # once, not twice
    assert served_pairs(None) == [("exact", base) for base in baselines]
    assert ("popularity", "popularity") not in served_pairs("popularity")
