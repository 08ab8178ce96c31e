"""A program that uses the public names, as a user would write it: type checkers read it, nothing runs it."""

import uuid
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

import retrieval
from retrieval import (
    BuildSettings,
    ColumnNames,
    Interactions,
    ItemTable,
    NeuralMFSettings,
    RecommendationLists,
    Recommendations,
    RecommendedItem,
    Recommender,
    SplitSettings,
    TowerSettings,
    TuneSettings,
    UserTable,
)
from retrieval.errors import NotFoundError, RetrievalError, RetrievalNote


def fit(ratings: pd.DataFrame, lazy: pl.LazyFrame, rows: list[dict[str, object]]) -> Iterator[Recommender]:
    """Tables of every kind."""
    settings = BuildSettings(
        towers=TowerSettings(max_epochs=5),
        neural_mf=NeuralMFSettings(),
        split=SplitSettings(kind="random"),
        tune=TuneSettings(minutes=1.0),
        threads=1,
    )
    yield Recommender.fit(ratings, items=rows, settings=settings)
    yield Recommender.fit(lazy, items=lazy.collect(), users={"user": [1, 2], "gender": ["F", "M"]})
    yield Recommender.fit([(1, "tea", 5, date(2024, 1, 1)), (2, "milk", 3, datetime(2024, 1, 2))])
    yield Recommender.fit([(uuid.uuid4(), "tea")], columns=ColumnNames(user="user"))
    yield Recommender.fit(iter([("ann", "tea")]))
    yield Recommender.fit(np.array([[1, 2], [3, 4]]))
    table = Interactions.from_frame(rows)
    yield Recommender.fit(table, items=ItemTable.from_frame(rows), users=UserTable.from_frame(lazy))


def ask(recommender: Recommender, column: pd.Series, frame: pl.DataFrame) -> list[Recommendations]:
    """Ids from everywhere, and filters."""
    users: NDArray[Any] = recommender.users
    lists: RecommendationLists = recommender.recommend(users, k=3)
    for ids in (
        recommender.recommend(column),
        recommender.recommend(frame["user"]),
        recommender.recommend(range(3)),
        recommender.recommend({1, 2}),
        recommender.recommend(("ann", "bob"), fallback="popular"),
        recommender.recommend([uuid.uuid4(), 5, "six"]),
        recommender.recommend(np.array([1, 2]), exact=True, rerank=False),
        recommender.recommend(user for user in (1, 2)),
    ):
        lists = ids
    rules: Mapping[str, object] = {"genre": ["Comedy", "Drama"], "decade": "1990s"}
    one: Recommendations = recommender.recommend_for_history({61, 62}, only=rules, exclude=[31, 32])
    several: RecommendationLists = recommender.recommend_for_histories(
        [[61], ["62"]], only=[{"genre": "Drama"}, {"year": "1995"}], exclude=recommender.items[:2]
    )
    return [*lists, one, *several, recommender.similar_items([61])[0], several[0:1][0]]


def read(lists: RecommendationLists) -> list[tuple[str, float]]:
    """Lists and their parts."""
    found: list[tuple[str, float]] = []
    for each in lists:
        notes: tuple[str, ...] = each.notes
        left: int | None = None if each.filters is None else each.filters.leaves
        found += [(f"{each.user} {notes} {left}", _score(item)) for item in each.items]
    table: pl.DataFrame = lists.to_polars()
    frame: pd.DataFrame = lists.to_pandas()
    return [*found, (str(table.height), float(len(frame)))]


def _score(item: RecommendedItem) -> float:
    return item.score if item.predicted_rating is None else item.predicted_rating


def keep(recommender: Recommender, folder: Path) -> Recommender:
    """Save, load, and what can go wrong."""
    saved: Path = recommender.save(folder)
    name: str | None = recommender.bundle
    try:
        again = Recommender.load(folder, bundle=name, part="served", verify="fast")
        return again if again.is_current else Recommender.load(saved)
    except NotFoundError as error:
        raise SystemExit(f"{error.what}: {error.advice}") from error
    except (RetrievalError, RetrievalNote, retrieval.errors.DataError) as error:
        notes: list[str] = recommender.report["notes"]
        raise SystemExit(f"{error} {notes}") from error
