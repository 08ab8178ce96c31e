"""Recommender: takes users or a history, returns titled lists. It works in ids; all below work in rows."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from index import ItemLists
from retrieval.data.ids import Id, shown
from retrieval.errors import UsageError
from retrieval.serving.fitted_system import FittedSystem
from retrieval.serving.item_filters import Rules
from retrieval.serving.recommendations import Fallback, RecommendationLists, Recommendations
from retrieval.serving.request import HistoryRequest, ListOptions, UserRequest, checked_k, known_rows
from retrieval.serving.rerank import in_retrieval_order
from retrieval.serving.titled_lists import popular_list, titled_list

if TYPE_CHECKING:
    from retrieval.bundles.bundle import Bundle, Verification
    from retrieval.data.frames import Frame
    from retrieval.data.interactions import Interactions
    from retrieval.data.items import ItemTable
    from retrieval.data.reading.columns import ColumnNames
    from retrieval.data.users import UserTable
    from retrieval.pipeline.build import Build
    from retrieval.progress import Progress
    from retrieval.settings import BuildSettings


class Recommender:
    """Recommends items from a fitted system. Make one with `fit` or `load`.

    Args:
        system: the fitted system.
        origin: the source of `save` and `report`: the build, or the folder of the bundle.
    """

    def __init__(self, system: FittedSystem, origin: "Build | Path | None" = None) -> None:
        self.system = system
        self._origin = origin

    @classmethod
    def fit(
        cls,
        interactions: "Interactions | Frame",
        *,
        items: "ItemTable | Frame | None" = None,
        users: "UserTable | Frame | None" = None,
        columns: "ColumnNames | None" = None,
        settings: "BuildSettings | None" = None,
        progress: "Progress | None" = None,
    ) -> "Recommender":
        """Split, train, evaluate and refit, as `build-index` does; `report` then has the evaluation.

        Args:
            interactions: columns user, item, rating and timestamp (or the usual variants of the names): a
                pandas or polars DataFrame, a LazyFrame, a pyarrow Table, a mapping of columns, a list of
                dicts, or a list of tuples in that order, whose rating and timestamp may be missing.
            items: titles and categories: columns item, title and perhaps genres, year and others.
            users: features of users: columns user and perhaps gender, age, occupation and others.
            columns: the names of the columns of `interactions`, where they are unusual.
            progress: receives the phases and the notes. Without one, each note is a warning of the class
                `retrieval.errors.RetrievalNote`; ``report["notes"]`` has those on the tables in any case.

        Raises:
            DataError: if a table cannot be read, split or trained on.
            UsageError: if `settings` are no `BuildSettings`, or `columns` are given beside `Interactions`.
        """
        from retrieval.data.datasets import Dataset
        from retrieval.data.interactions import Interactions
        from retrieval.data.items import ItemTable
        from retrieval.data.reading.columns import ColumnNames
        from retrieval.data.users import UserTable
        from retrieval.pipeline.build import build
        from retrieval.progress import NotesAsWarnings
        from retrieval.settings import BuildSettings

        _check_type("settings", settings, BuildSettings)
        _check_type("columns", columns, ColumnNames)
        if not isinstance(interactions, Interactions):
            interactions = Interactions.from_frame(interactions, columns=columns)
        elif columns is not None:
            raise UsageError(
                "columns are given, but Interactions have theirs already", "give a frame, or no columns"
            )
        if items is not None and not isinstance(items, ItemTable):
            items = ItemTable.from_frame(items)
        if users is not None and not isinstance(users, UserTable):
            users = UserTable.from_frame(users)
        built = build(
            interactions,
            items=items,
            users=users,
            settings=settings,
            progress=progress or NotesAsWarnings(),
            notes=Dataset(interactions.source, interactions, items, users).notes(),
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

        An opened bundle stays readable while others are published, rolled back to or pruned.

        Args:
            part: "served" (fitted on all interactions) or "evaluated" (on train only).
            verify: "full" checks every file's SHA-256 before it is used, "fast" its size only.
            memory_limit: bytes that the part may take at most.

        Raises:
            UsageError: if there is no such part, or an argument is of another type.
            ArtifactError: if there is no bundle, or it is damaged.
            EnvironmentProblem: if the part takes more memory than allowed.
        """
        from retrieval.bundles.fitted_system_files import read_system
        from retrieval.bundles.registry import read_current

        if part not in ("served", "evaluated"):
            raise UsageError(f"a bundle has the parts served and evaluated, not {part!r}")

        if verify not in ("full", "fast"):
            raise UsageError(f"verify must be full or fast, not {verify!r}")
        if memory_limit is not None and (not isinstance(memory_limit, int) or memory_limit < 1):
            raise UsageError(f"`memory_limit` must be a number of bytes, not {memory_limit!r}")

        def read(bundle: "Bundle") -> "Recommender":
            return cls(read_system(bundle, part, memory_limit), bundle.folder)

        return read_current(_folder(artifacts), read, verify)

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
            return copy_bundle(self._origin, _folder(artifacts))
        from retrieval.pipeline.save import write_build

        with new_bundle(_folder(artifacts)) as writer:
            return write_build(writer, self._origin)

    @property
    def report(self) -> dict[str, Any]:
        """The evaluation of this build, as the command `evaluate` prints it in JSON.

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
        """Recommend k items to each user; items of their own interactions are left out.

        Args:
            users: ids; 42 and "42" are the same.
            k: length of the lists.
            exact: search all items, not the approximate index.
            rerank: False leaves the candidates in retrieval order.
            fallback: "popular" gives unknown users the most popular items, with a note; None refuses them.
            only: a filter that the items must pass: ``{"genre": "Comedy"}``,
                ``{"genre": ["Comedy", "Drama"]}`` for either, ids of items, or a list of such filters, all
                of which must be passed.
            exclude: likewise; items that meet any of it are left out.

        Raises:
            NotFoundError: if a user is unknown and there is no fallback, no item has a value of `only` or
                `exclude`, or all ids there are unknown.
            UsageError: if k is no integer from 1 on, `users` is one id instead of a list of them, or the
                items have no such column.
        """
        options = ListOptions.of(k, exact, rerank, fallback)
        request = UserRequest.of(self.system, users, options, only, exclude)
        chosen, known = request.chosen, np.flatnonzero(request.rows >= 0)
        ranked = self.system.model.for_users(
            request.rows[known], options.k, options.search, rerank, request.allowed
        )
        lines = dict(zip(known.tolist(), range(len(known)), strict=True))

        def list_at(place: int) -> Recommendations:
            if place not in lines:
                user = request.users[place]
                return popular_list(self.system, options.k, f"user {shown(user)} is unknown", user, chosen)
            user = self.system.users.ids[request.rows[place]].item()
            return titled_list(
                self.system, ranked, lines[place], user=user, status="warm", k=options.k, chosen=chosen
            )

        return RecommendationLists(tuple(map(list_at, range(len(request.users)))))

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
        """Recommend k items to someone known only by the items they liked, which are left out.

        NeuralMF was not trained on this person; it predicts their ratings as those of an unknown user.

        Args:
            exact: search all items, not the approximate index.
            rerank: False leaves the candidates in retrieval order.
            fallback: "popular" gives the most popular items where no item of the history is known.
            only, exclude: as in `recommend`.

        Raises:
            NotFoundError: if no item of the history is known, or as in `recommend`.
            UsageError: if k is no integer from 1 on, the history is empty or one id instead of a list,
                the towers know only their users, or the items have no such column.
        """
        options = ListOptions.of(k, exact, rerank, fallback)
        request = HistoryRequest.of(self.system, items, options, only, exclude)
        chosen, k = request.chosen, options.k
        if request.history is None:
            return popular_list(self.system, k, "no item of the history is known", chosen=chosen)
        ranked = self.system.model.for_histories(request.history, k, options.search, rerank, request.allowed)
        return titled_list(self.system, ranked, 0, status="history", k=k, notes=request.notes, chosen=chosen)

    def similar_items(self, items: Sequence[Id] | NDArray[Any], k: int = 10) -> RecommendationLists:
        """For each item, find the k others with the largest cosine between the embeddings.

        Raises:
            NotFoundError: if an item is unknown.
            UsageError: if k is no integer from 1 on, or `items` is one id instead of a list of them.
        """
        k, rows = checked_k(k), known_rows("item", items, self.system.items)
        cosine = self.system.model.vectors.cosine
        itself = ItemLists(np.arange(len(rows) + 1, dtype=np.int64), rows)
        found = in_retrieval_order(cosine.search(cosine.vectors[rows], k, itself))
        ids = self.system.items.ids[rows].tolist()
        return RecommendationLists(
            tuple(
                titled_list(self.system, found, line, similar_to=item, status="similar", k=k)
                for line, item in enumerate(ids)
            )
        )


def _folder(artifacts: str | Path) -> Path:
    if not isinstance(artifacts, (str, PathLike)):
        raise UsageError(f"`artifacts` must be the path of a folder, not {artifacts!r}")
    return Path(artifacts)


def _check_type(name: str, value: object, wanted: type) -> None:
    if value is not None and not isinstance(value, wanted):
        raise UsageError(f"{name} must be {wanted.__name__}(name=value, ...), not {value!r}")
