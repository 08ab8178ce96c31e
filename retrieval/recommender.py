"""Recommender: a user or a history in, titled lists out. Ids here, row numbers everywhere below."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from index import ExactIndex, ItemLists, SearchResult, top_k
from retrieval.data.ids import Id, known_instead, shown
from retrieval.errors import NotFoundError, UsageError
from retrieval.serving.fitted_system import FittedSystem
from retrieval.serving.item_filters import ItemFilter, Rules
from retrieval.serving.recommendations import (
    Fallback,
    RecommendationLists,
    Recommendations,
    RecommendedItem,
    Status,
)
from retrieval.serving.request import _check_fallback, _checked_k, _known_rows, _several
from retrieval.serving.rerank import RankedItems, in_retrieval_order

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from retrieval.bundles.bundle import Bundle, Verification
    from retrieval.data.interactions import Interactions
    from retrieval.data.items import ItemTable
    from retrieval.data.users import UserTable
    from retrieval.pipeline.build import Build
    from retrieval.progress import Progress
    from retrieval.settings import BuildSettings


class Recommender:
    """Answers for a fitted system. Make one with `fit` or `load`.

    Args:
        system: what answers.
        origin: where a copy for `save` comes from: the build, or the folder of the bundle.
    """

    def __init__(self, system: FittedSystem, origin: "Build | Path | None" = None) -> None:
        self.system = system
        self._origin = origin

    @classmethod
    def fit(
        cls,
        interactions: "Interactions | pd.DataFrame | pl.DataFrame",
        *,
        items: "ItemTable | pd.DataFrame | pl.DataFrame | None" = None,
        users: "UserTable | pd.DataFrame | pl.DataFrame | None" = None,
        settings: "BuildSettings | None" = None,
        progress: "Progress | None" = None,
    ) -> "Recommender":
        """Split, train, evaluate and refit, as `build-index` does; `report` then says how good it is.

        Args:
            interactions: columns user, item, rating and timestamp (or the usual variants of the names).
            items: titles and categories: columns item, title and perhaps genres, year and others.
            users: what is known of users: columns user and perhaps gender, age, occupation and others.

        Raises:
            DataError: if the table cannot be read, split or trained on.
        """
        from retrieval.data.interactions import Interactions
        from retrieval.data.items import ItemTable
        from retrieval.data.users import UserTable
        from retrieval.pipeline.build import build

        if not isinstance(interactions, Interactions):
            interactions = Interactions.from_frame(interactions)
        if items is not None and not isinstance(items, ItemTable):
            items = ItemTable.from_frame(items)
        if users is not None and not isinstance(users, UserTable):
            users = UserTable.from_frame(users)
        built = build(
            interactions,
            items=items,
            users=users,
            settings=settings,
            progress=progress,
            notes=interactions.notes,
        )
        return cls(built.served, built)

    @classmethod
    def load(
        cls,
        artifacts: str | Path = "artifacts",
        *,
        part: str = "served",
        verify: "Verification" = "full",
        memory_limit: int | None = None,
    ) -> "Recommender":
        """Open the current bundle of an artifacts folder.

        What is open stays so, whatever is published, rolled back to or pruned meanwhile.

        Args:
            part: "served" (fitted on all interactions) or "evaluated" (on train only).
            verify: "full" checks every file's SHA-256 before it is used, "fast" its size only.
            memory_limit: bytes that part may take at most.

        Raises:
            UsageError: if there is no such part.
            ArtifactError: if there is no bundle, or it is damaged.
            EnvironmentProblem: if it takes more memory than allowed.
        """
        from retrieval.bundles.fitted_system_files import read_system
        from retrieval.bundles.registry import read_current

        if part not in ("served", "evaluated"):
            raise UsageError(f"a bundle has the parts served and evaluated, not {part!r}")

        def read(bundle: "Bundle") -> "Recommender":
            return cls(read_system(bundle, part, memory_limit), bundle.folder)

        return read_current(Path(artifacts), read, verify)

    def __repr__(self) -> str:
        return f"<Recommender: {len(self.system.users):,} users, {len(self.system.items):,} items>"

    def save(self, artifacts: str | Path = "artifacts") -> Path:
        """Write a bundle and make it the current one of the folder; returns the bundle's own folder.

        Raises:
            ValueError: if this recommender was put together by hand.
            EnvironmentProblem: if the folder cannot be written or another build is running there.
        """
        from retrieval.bundles.writer import copy_bundle, new_bundle

        if self._origin is None:
            raise ValueError("only a recommender made by fit or load can be saved")
        if isinstance(self._origin, Path):
            return copy_bundle(self._origin, Path(artifacts))
        from retrieval.pipeline.save import write_build

        with new_bundle(Path(artifacts)) as writer:
            return write_build(writer, self._origin)

    @property
    def report(self) -> dict[str, Any]:
        """What the evaluation of this build found, as the command `evaluate` prints it in JSON.

        Raises:
            ValueError: if this recommender was put together by hand.
        """
        if self._origin is None:
            raise ValueError("only a recommender made by fit or load has a report")
        if isinstance(self._origin, Path):
            from retrieval.bundles.bundle import open_folder

            document: dict[str, Any] = open_folder(self._origin).json("report.json")
            return document
        return self._origin.report.to_json()

    def recommend(
        self,
        users: Sequence[Id] | NDArray[Any],
        k: int = 10,
        *,
        exact: bool = False,
        rerank: bool = True,
        fallback: Fallback | None = None,
        only: Rules | None = None,
        exclude: Rules | None = None,
    ) -> RecommendationLists:
        """Top-k lists of known users; what a user has already met is left out.

        Args:
            users: ids; 42 and "42" are the same.
            k: length of the lists.
            exact: search all items instead of asking the approximate index.
            rerank: False leaves the candidates in retrieval order.
            fallback: "popular" answers unknown users with the most popular items, and says so.
            only: what the items must be: ``{"genre": "Comedy"}``, ``{"genre": ["Comedy", "Drama"]}`` for
                either, ids of items, or a list of these that must all be met.
            exclude: what they must not be, likewise; whatever any of it is true of is left out.

        Raises:
            NotFoundError: if a user is unknown and there is no fallback, no item has a value of `only` or
                `exclude`, or all ids there are unknown.
            UsageError: if k is no integer from 1 on, `users` is one id instead of a list of them, or the
                items have no such column.
        """
        model, k, users = self.system.model, _checked_k(k), _several("user", users)
        _check_fallback(fallback)
        chosen = self._filter(only, exclude)
        rows = self.system.users.rows(users)
        if fallback is None:
            advice = "; ask for someone new by items they liked, with `history=ITEM,ITEM`"
            if model.vectors.history_items is None:
                advice = "; with `towers.user_tower=id` a bundle serves only the users it was built on"
            rows = _known_rows("user", users, self.system.users, advice)
        known = np.flatnonzero(rows >= 0)
        ranked = model.for_users(rows[known], k, "exact" if exact else None, rerank, _rows_of(chosen))
        lines = dict(zip(known.tolist(), range(len(known)), strict=True))
        return RecommendationLists(
            tuple(
                self._answer(
                    ranked,
                    lines[place],
                    user=self.system.users.ids[row].item(),
                    status="warm",
                    k=k,
                    chosen=chosen,
                )
                if place in lines
                else self._popular(k, f"user {shown(users[place])} is unknown", users[place], chosen)
                for place, row in enumerate(rows)
            )
        )

    def recommend_for_history(
        self,
        items: Sequence[Id] | NDArray[Any],
        k: int = 10,
        *,
        exact: bool = False,
        rerank: bool = True,
        fallback: Fallback | None = None,
        only: Rules | None = None,
        exclude: Rules | None = None,
    ) -> Recommendations:
        """A top-k list for someone known only by the items they liked, which are left out of it.

        NeuralMF knows no such person: the ratings it predicts are what it expects of anybody.

        Args:
            exact: search all items instead of asking the approximate index.
            rerank: False leaves the candidates in retrieval order.
            fallback: "popular" answers a history without a known item with the most popular items.
            only: what the items must be, see `recommend`.
            exclude: what they must not be.

        Raises:
            NotFoundError: if no item of the history is known, or as in `recommend`.
            UsageError: if k is no integer from 1 on, the history is empty or one id instead of a list,
                the towers know only their users, or the items have no such column.
        """
        k, items = _checked_k(k), _several("item", items)
        if not items:
            raise UsageError("the history is empty; name at least one item")
        _check_fallback(fallback)
        if self.system.model.vectors.history_items is None:
            raise UsageError(
                "this bundle's user tower is a table of its users and cannot take a history",
                "build one with `towers.user_tower=history`",
            )
        chosen = self._filter(only, exclude)
        try:
            known, notes = self._known_items(items)
        except NotFoundError:
            if fallback is None:
                raise
            return self._popular(k, "no item of the history is known", chosen=chosen)
        ranked = self.system.model.for_histories(
            _one_list(known), k, "exact" if exact else None, rerank, _rows_of(chosen)
        )
        return self._answer(ranked, 0, status="history", k=k, notes=notes, chosen=chosen)

    def similar_items(self, items: Sequence[Id] | NDArray[Any], k: int = 10) -> RecommendationLists:
        """For each item the k others whose embeddings point most nearly the same way (cosine).

        Raises:
            NotFoundError: if an item is unknown.
            UsageError: if k is no integer from 1 on, or `items` is one id instead of a list of them.
        """
        k, rows = _checked_k(k), _known_rows("item", items, self.system.items)
        # Without the bias: how much everybody likes an item says nothing about what it is like.
        embeddings = self.system.model.vectors.items[:, :-1]
        lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
        directions = (embeddings / np.maximum(lengths, 1e-12)).astype(np.float32)
        itself = ItemLists(np.arange(len(rows) + 1, dtype=np.int64), rows)
        found = in_retrieval_order(ExactIndex(directions).search(directions[rows], k, itself))
        return RecommendationLists(
            tuple(
                self._answer(found, line, similar_to=self.system.items.ids[row].item(), status="similar", k=k)
                for line, row in enumerate(rows)
            )
        )

    def _known_items(self, items: Sequence[Id]) -> tuple[NDArray[np.int64], list[str]]:
        """Rows of the known items of a history, ascending, and a note on the unknown ones."""
        rows = self.system.items.rows(items)
        unknown = [str(item) for item, row in zip(items, rows, strict=True) if row < 0]
        if len(unknown) == len(rows):
            raise NotFoundError(
                f"no item of the history is known: {', '.join(map(shown, unknown[:5]))}; "
                f"{known_instead(items[0], self.system.items)}"
            )
        notes = [f"unknown items were left out: {', '.join(unknown)}"] if unknown else []
        return np.unique(rows[rows >= 0]), notes

    def _filter(self, only: Rules | None, exclude: Rules | None) -> ItemFilter | None:
        return ItemFilter.of(only, exclude, self.system.items, self.system.attributes)

    def _popular(
        self, k: int, reason: str, user: Id | None = None, chosen: ItemFilter | None = None
    ) -> Recommendations:
        """The most popular items, the same for everybody."""
        popularity, among = self.system.popularity, ""
        if chosen is not None:
            popularity, among = np.full_like(popularity, -np.inf), " that pass the filter"
            popularity[chosen.rows] = self.system.popularity[chosen.rows]
        scores, rows = top_k(popularity[np.newaxis], k)
        ranked = in_retrieval_order(SearchResult(scores, rows))
        notes = [f"{reason}: these are the most popular items{among}"]
        return self._answer(ranked, 0, user=user, status="cold", k=k, notes=notes, chosen=chosen)

    def _answer(
        self,
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
        """One line of a ranked block with ids and titles; padding is dropped."""
        places = np.flatnonzero(ranked.rows[line] >= 0)
        items = tuple(self._item(ranked, line, place) for place in places.tolist())
        if chosen is not None:
            notes = [*notes, *chosen.applied.notes]
        if len(items) < k:
            notes = [*notes, f"only {len(items)} of {k}: {_why_short(status, chosen)}"]
        applied = None if chosen is None else chosen.applied
        return Recommendations(user, status, k, items, tuple(notes), similar_to, applied)

    def _item(self, ranked: RankedItems, line: int, place: int) -> RecommendedItem:
        row = ranked.rows[line, place]
        predicted = float(ranked.predicted_ratings[line, place])
        return RecommendedItem(
            item=self.system.items.ids[row].item(),
            title=str(self.system.titles[row]) or None,
            score=float(ranked.scores[line, place]),
            retrieval_rank=int(ranked.retrieval_ranks[line, place]),
            retrieval_score=float(ranked.retrieval_scores[line, place]),
            predicted_rating=None if np.isnan(predicted) else predicted,
        )


def _rows_of(chosen: ItemFilter | None) -> NDArray[np.int64] | None:
    return None if chosen is None else chosen.rows


def _why_short(status: Status, chosen: ItemFilter | None) -> str:
    others = " this user has not seen" if status == "warm" else ""
    if chosen is None:
        return f"there are no other items{others}"
    if not len(chosen.rows):
        return "no item passes the filter"
    return f"the filter leaves no others{others}"


def _one_list(rows: NDArray[np.int64]) -> ItemLists:
    return ItemLists(np.array([0, len(rows)], dtype=np.int64), rows)
