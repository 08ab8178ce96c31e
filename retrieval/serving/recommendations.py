"""Titled lists, the result of a request: as values, as JSON and as frames."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, overload

from retrieval.data.ids import Id
from retrieval.serving.item_filters import AppliedFilters

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

Status = Literal["warm", "cold", "history", "similar"]
Fallback = Literal["popular"]


@dataclass(frozen=True)
class RecommendedItem:
    """One place of a list.

    Attributes:
        item: its id.
        title: None where the data has none.
        score: by which the list is ordered: the blend where it was re-ranked, else the retrieval score. It
            is the same for a user and an item at every length of the list and with every filter.
        retrieval_rank: place among the candidates, from 1.
        retrieval_score: inner product of user and item vector, as the index gives it; the cosine for
            similar items.
        predicted_rating: by NeuralMF, within the smallest and largest rating of the table, which the blend in
            `score` does not heed; None with `rerank=False`.
    """

    item: Id
    title: str | None
    score: float
    retrieval_rank: int
    retrieval_score: float
    predicted_rating: float | None


@dataclass(frozen=True)
class Recommendations:
    """One list, best first.

    Attributes:
        user: id of the user; None for a history or for similar items.
        status: "warm" for a known user, "cold" for an unknown one who gets popular items, "history", or
            "similar".
        k: how many items were asked for.
        items: at most k.
        notes: for the reader of this list, a sentence each.
        similar_to: id of the item that these are similar to; None for other lists.
        filters: the filters of the request; None where there were none.
    """

    user: Id | None
    status: Status
    k: int
    items: tuple[RecommendedItem, ...]
    notes: tuple[str, ...] = ()
    similar_to: Id | None = None
    filters: AppliedFilters | None = None

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types, with ids as text."""
        document = asdict(self)
        document["user"] = None if self.user is None else str(self.user)
        if self.similar_to is None:
            del document["similar_to"]
        else:
            document["similar_to"] = str(self.similar_to)
        if self.filters is None:
            del document["filters"]
        else:
            document["filters"] = self.filters.to_json()
        document["items"] = [dict(entry, item=str(entry["item"])) for entry in document["items"]]
        document["notes"] = list(self.notes)
        return document


@dataclass(frozen=True)
class RecommendationLists(Sequence[Recommendations]):
    """Lists in the order of the request; `to_pandas` and `to_polars` turn them into a frame."""

    lists: tuple[Recommendations, ...]

    def __len__(self) -> int:
        return len(self.lists)

    def __iter__(self) -> Iterator[Recommendations]:
        return iter(self.lists)

    @overload
    def __getitem__(self, index: int) -> Recommendations: ...
    @overload
    def __getitem__(self, index: slice) -> "RecommendationLists": ...
    def __getitem__(self, index: int | slice) -> "Recommendations | RecommendationLists":
        if isinstance(index, slice):
            return RecommendationLists(self.lists[index])
        return self.lists[index]

    def to_columns(self) -> dict[str, list[Any]]:
        """Columns with a row for each item of each list.

        They are user (or similar_to), rank (from 1) and the fields of `RecommendedItem`.
        """
        subject = "similar_to" if any(each.status == "similar" for each in self.lists) else "user"
        items = [item for each in self.lists for item in each.items]
        of_items: list[Any] = [getattr(each, subject) for each in self.lists for _ in each.items]
        ranks = [rank for each in self.lists for rank in range(1, len(each.items) + 1)]
        fields = {name: list(map(attrgetter(name), items)) for name in RecommendedItem.__dataclass_fields__}
        return {subject: of_items, "rank": ranks, **fields}

    def to_pandas(self) -> "pd.DataFrame":
        """All lists as one pandas frame, see `to_columns`."""
        import pandas as pd

        return pd.DataFrame(self.to_columns())

    def to_polars(self) -> "pl.DataFrame":
        """All lists as one polars frame, see `to_columns`."""
        import polars as pl

        return pl.DataFrame(self.to_columns(), strict=False)
