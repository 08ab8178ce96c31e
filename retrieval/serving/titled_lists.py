"""Ranked item rows -> titled lists, with the notes that explain them."""

from collections.abc import Sequence

import numpy as np

from index import SearchResult, top_k
from retrieval.data.ids import Id
from retrieval.serving.fitted_system import FittedSystem
from retrieval.serving.item_filters import ItemFilter
from retrieval.serving.recommendations import Recommendations, RecommendedItem, Status
from retrieval.serving.rerank import RankedItems, in_retrieval_order


def titled_list(
    system: FittedSystem,
    ranked: RankedItems,
    line: int,
    *,
    status: Status,
    k: int,
    user: Id | None = None,
    similar_to: Id | None = None,
    notes: Sequence[str] = (),
    chosen: ItemFilter | None = None,
) -> Recommendations:
    """One line of a ranked block, with ids and titles and without padding.

    A note says why the list is shorter than k, where it is.
    """
    places = np.flatnonzero(ranked.rows[line] >= 0)
    items = tuple(_item(system, ranked, line, place) for place in places.tolist())
    if chosen is not None:
        notes = [*notes, *chosen.applied.notes]
    if len(items) < k:
        notes = [*notes, f"only {len(items)} of {k}: {_why_short(status, chosen)}"]
    applied = None if chosen is None else chosen.applied
    return Recommendations(user, status, k, items, tuple(notes), similar_to, applied)


def popular_list(
    system: FittedSystem, k: int, reason: str, user: Id | None = None, chosen: ItemFilter | None = None
) -> Recommendations:
    """The fallback: the most popular items that pass the filters, the same for every unknown user.

    Args:
        reason: why there is no personal list, for the note.
    """
    popularity, among = system.popularity, ""
    if chosen is not None:
        popularity, among = np.full_like(popularity, -np.inf), " that pass the filter"
        popularity[chosen.rows] = system.popularity[chosen.rows]
    scores, rows = top_k(popularity[np.newaxis], k)
    ranked = in_retrieval_order(SearchResult(scores, rows))
    notes = [f"{reason}: these are the most popular items{among}"]
    return titled_list(system, ranked, 0, user=user, status="cold", k=k, notes=notes, chosen=chosen)


def _item(system: FittedSystem, ranked: RankedItems, line: int, place: int) -> RecommendedItem:
    row = ranked.rows[line, place]
    predicted, rating_model = float(ranked.predicted_ratings[line, place]), system.model.rating_model
    known = rating_model is not None and not np.isnan(predicted)
    return RecommendedItem(
        item=system.items.ids[row].item(),
        title=str(system.titles[row]) or None,
        score=float(ranked.scores[line, place]),
        retrieval_rank=int(ranked.retrieval_ranks[line, place]),
        retrieval_score=float(ranked.retrieval_scores[line, place]),
        predicted_rating=rating_model.on_scale(predicted) if rating_model and known else None,
    )


def _why_short(status: Status, chosen: ItemFilter | None) -> str:
    others = " this user has not seen" if status == "warm" else ""
    if chosen is None:
        return f"there are no other items{others}"
    if not len(chosen.rows):
        return "no item passes the filter"
    return f"the filter leaves no others{others}"
