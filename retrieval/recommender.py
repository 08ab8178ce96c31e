"""Recommender: takes users or a history, returns titled lists. It works in ids; all below work in rows."""

from __future__ import annotations  # help() then shows `Rules`, not what it stands for

from collections.abc import Hashable, Iterable, Sequence
from itertools import count
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from index import ItemLists
from retrieval.data.ids import shown
from retrieval.errors import UsageError
from retrieval.serving.fitted_system import FittedSystem
from retrieval.serving.item_filters import ItemFilter, Rules
from retrieval.serving.recommendations import Fallback, RecommendationLists, Recommendations
from retrieval.serving.request import (
    HistoryRequest,
    ListOptions,
    UserRequest,
    checked_k,
    joined_histories,
    known_rows,
)
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

    `fit` trains on tables, `load` opens what `save` or `build-index` wrote. Then ask with `recommend` for
    users of the table, with `recommend_for_history` and `recommend_for_histories` for people known only by
    items they liked, and with `similar_items`. `report` says how good the lists are, `users` and `items`
    which ids there are, `bundle` and `is_current` what is served.

    Args:
        system: the fitted system.
        origin: the source of `save` and `report`: the build, or the folder of the bundle.
    """

    def __init__(self, system: FittedSystem, origin: Build | Path | None = None) -> None:
        self.system = system
        self._origin = origin
        self._bundle_folder = origin.absolute() if isinstance(origin, Path) else None

    @classmethod
    def fit(
        cls,
        interactions: Interactions | Frame,
        *,
        items: ItemTable | Frame | None = None,
        users: UserTable | Frame | None = None,
        columns: ColumnNames | None = None,
        settings: BuildSettings | None = None,
        progress: Progress | None = None,
    ) -> Recommender:
        """Split, train, evaluate and refit, as `build-index` does; `report` then has the evaluation.

        Args:
            interactions: columns user, item, rating and timestamp (or the usual variants of the names): a
                pandas or polars DataFrame, a LazyFrame, a pyarrow Table, a mapping of columns, a list of
                dicts, or a list of tuples in that order, whose rating and timestamp may be missing.
            items: titles and categories: columns item, title and perhaps genres, year and others.
            users: features of users: columns user and perhaps gender, age, occupation and others.
            columns: the names of the columns, where they are unusual.
            progress: receives the phases and the notes. Without one, each note is a warning of the class
                `retrieval.errors.RetrievalNote`; ``report["notes"]`` has those on the tables in any case.

        Raises:
            DataError: if a table cannot be read, split or trained on.
            UsageError: if `settings` are no `BuildSettings`, or `columns` no `ColumnNames`.
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
        if items is not None and not isinstance(items, ItemTable):
            items = ItemTable.from_frame(items, columns)
        if users is not None and not isinstance(users, UserTable):
            users = UserTable.from_frame(users, columns)
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
        bundle: str | None = None,
        part: str = "served",
        verify: Verification = "full",
        memory_limit: int | None = None,
    ) -> Recommender:
        """Open the current bundle of an artifacts folder, or another one by its name.

        An opened bundle stays readable while others are published, rolled back to or pruned.

        Args:
            artifacts: the folder that `save` was given; or the one it returned, that of one bundle.
            bundle: a name that `retrieval bundles list` shows, or a part of it that no other has; None: the
                current one.
            part: "served" (fitted on all interactions) or "evaluated" (on train only).
            verify: "full" checks every file's SHA-256 before it is used, "fast" its size only.
            memory_limit: bytes that the part may take at most.

        Raises:
            UsageError: if there is no such part, or an argument is of another type.
            NotFoundError: if no bundle, or more than one, has such a name.
            ArtifactError: if there is no bundle, or it is damaged.
            EnvironmentProblem: if the part takes more memory than allowed.
        """
        from retrieval.bundles.fitted_system_files import read_system
        from retrieval.bundles.registry import read_bundle

        if part not in ("served", "evaluated"):
            raise UsageError(f"a bundle has the parts served and evaluated, not {part!r}")

        if verify not in ("full", "fast"):
            raise UsageError(f"verify must be full or fast, not {verify!r}")
        if memory_limit is not None and (not isinstance(memory_limit, int) or memory_limit < 1):
            raise UsageError(f"`memory_limit` must be a number of bytes, not {memory_limit!r}")

        if bundle is not None and not isinstance(bundle, str):
            raise UsageError(f"`bundle` must be the name of a bundle, not {bundle!r}")

        def read(opened: Bundle) -> Recommender:
            return cls(read_system(opened, part, memory_limit), opened.folder)

        return read_bundle(_folder(artifacts), read, verify, bundle)

    def __repr__(self) -> str:
        return f"<Recommender: {len(self.system.users):,} users, {len(self.system.items):,} items>"

    @property
    def users(self) -> NDArray[Any]:
        """The ids of the users that `recommend` knows, ascending: shape (n,), integers or text, read-only."""
        return _read_only(self.system.users.ids)

    @property
    def items(self) -> NDArray[Any]:
        """The ids of the items in the catalogue, ascending: shape (n,), integers or text, read-only."""
        return _read_only(self.system.items.ids)

    @property
    def bundle(self) -> str | None:
        """The name of the bundle that it was loaded from or, after `fit`, last saved as; None before."""
        return None if self._bundle_folder is None else self._bundle_folder.name

    @property
    def is_current(self) -> bool:
        """Whether `bundle` is the current one of its folder now.

        It is False before `save`, and as soon as another bundle is published, promoted or rolled back to:
        `load` again to serve that one. One small file is read each time.
        """
        from retrieval.bundles.current import published_names

        folder = self._bundle_folder
        return folder is not None and published_names(folder.parents[1])[:1] == (folder.name,)

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
            saved = write_build(writer, self._origin)
        self._bundle_folder = saved.absolute()
        return saved

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
        users: Iterable[Hashable],
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
            users: ids, such as a list, an array, a range or a column of a frame; 42 and "42" are the same.
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
                told = f"user {shown(user)} is unknown"
                user = user if isinstance(user, (int, str)) else str(user)
                return popular_list(self.system, options.k, told, user, chosen)
            user = self.system.users.ids[request.rows[place]].item()
            return titled_list(
                self.system, ranked, lines[place], user=user, status="warm", k=options.k, chosen=chosen
            )

        return RecommendationLists(tuple(map(list_at, range(len(request.users)))))

    def recommend_for_history(
        self,
        items: Iterable[Hashable],
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
        return self._for_histories([HistoryRequest.of(self.system, items, options, only, exclude)])[0]

    def recommend_for_histories(
        self,
        histories: Iterable[Iterable[Hashable]],
        k: int = 10,
        *,
        exact: bool = False,
        rerank: bool = True,
        fallback: Fallback | None = None,
        only: Rules | None = None,
        exclude: Rules | None = None,
    ) -> RecommendationLists:
        """Recommend k items to each of several people known only by the items they liked.

        Args:
            histories: a list of item ids for each person; the lists come in this order.
            exact, rerank, fallback, only, exclude: as in `recommend_for_history`.

        Raises:
            NotFoundError: as `recommend_for_history`, naming the history by its place.
            UsageError: likewise, or if this is one history and no list of them.
        """
        options = ListOptions.of(k, exact, rerank, fallback)
        return self._for_histories(HistoryRequest.several(self.system, histories, options, only, exclude))

    def _for_histories(self, requests: Sequence[HistoryRequest]) -> RecommendationLists:
        """A list for each request; all have the same options and filters."""
        histories, lines = joined_histories(requests), count()
        ranked = None
        if len(histories.lengths()):
            options, allowed = requests[0].options, requests[0].allowed
            ranked = self.system.model.for_histories(
                histories, options.k, options.search, options.rerank, allowed
            )

        def list_for(request: HistoryRequest) -> Recommendations:
            k, chosen = request.options.k, request.chosen
            if request.history is None or ranked is None:
                return popular_list(self.system, k, "no item of the history is known", chosen=chosen)
            line, notes = next(lines), request.notes
            return titled_list(self.system, ranked, line, status="history", k=k, notes=notes, chosen=chosen)

        return RecommendationLists(tuple(map(list_for, requests)))

    def similar_items(
        self,
        items: Iterable[Hashable],
        k: int = 10,
        *,
        only: Rules | None = None,
        exclude: Rules | None = None,
    ) -> RecommendationLists:
        """For each item, find the k others with the largest cosine between the embeddings.

        Args:
            only, exclude: as in `recommend`.

        Raises:
            NotFoundError: if an item is unknown.
            UsageError: if k is no integer from 1 on, or `items` is one id instead of a list of them.
        """
        k, rows = checked_k(k), known_rows("item", items, self.system.items)
        cosine = self.system.model.vectors.cosine
        itself = ItemLists(np.arange(len(rows) + 1, dtype=np.int64), rows)
        chosen = ItemFilter.of(only, exclude, self.system.items, self.system.attributes)
        allowed = None if chosen is None else chosen.rows
        found = in_retrieval_order(cosine.search(cosine.vectors[rows], k, itself, allowed))
        ids = self.system.items.ids[rows].tolist()
        return RecommendationLists(
            tuple(
                titled_list(self.system, found, line, similar_to=item, status="similar", k=k, chosen=chosen)
                for line, item in enumerate(ids)
            )
        )


def _read_only(ids: NDArray[Any]) -> NDArray[Any]:
    view = ids.view()
    view.flags.writeable = False
    return view


def _folder(artifacts: str | Path) -> Path:
    if not isinstance(artifacts, (str, PathLike)):
        raise UsageError(f"`artifacts` must be the path of a folder, not {artifacts!r}")
    return Path(artifacts)


def _check_type(name: str, value: object, wanted: type) -> None:
    if value is not None and not isinstance(value, wanted):
        raise UsageError(f"{name} must be {wanted.__name__}(name=value, ...), not {value!r}")
