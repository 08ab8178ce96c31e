"""Nothing of the test slice reaches what is evaluated: other test rows, the same models and choices."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from retrieval.data.datasets import Dataset
from retrieval.data.interactions import Interactions
from retrieval.data.split import Split, split_interactions
from retrieval.pipeline import prepare
from retrieval.pipeline.build import Build, build
from retrieval.settings import BuildSettings


def with_invented_test_rows(interactions: Interactions, split: Split) -> Interactions:
    """Every row after the later cut keeps its time and gets a user, an item and a rating by chance.

    Some users and items are new; ratings stay on the scale, so that nothing of the table's look changes.
    """
    frame, rng = interactions.frame, np.random.default_rng(7)
    assert split.test_start is not None
    is_test = frame["timestamp"].to_numpy() > split.test_start
    n = int(is_test.sum())
    columns = {}
    for name in ("user", "item"):
        values = frame[name].to_numpy().copy()
        known = np.unique(values[~is_test])
        values[is_test] = rng.choice(np.r_[known, known.max() + 1 + np.arange(40)], size=n)
        columns[name] = pl.Series(name, values, dtype=frame[name].dtype)
    ratings = frame["rating"].to_numpy().copy()
    ratings[is_test] = rng.permutation(ratings[is_test])
    invented = frame.with_columns(*columns.values(), pl.Series("rating", ratings, dtype=pl.Float32))
    return replace(interactions, frame=invented)


def chosen_and_trained(built: Build) -> dict[str, object]:
    """Every choice of a build and every number of its evaluated system, but for its latencies."""
    system, report = built.evaluated, built.report
    model = system.model
    return {
        "alpha": report.blend and report.blend.to_json(),
        "baselines": report.baselines,
        "training": built.report.training,
        "epochs": tuple(member.epochs for member in built.towers),
        "index": (model.ann.name, [point.recall for point in built.index.points]),
        "weights": model.weights,
        "towers": {name: array.tobytes() for name, array in system.tower_weights.items()},
        "neural_mf": {name: array.tobytes() for name, array in (system.neural_mf_weights or {}).items()},
        "vectors": (model.vectors.items.tobytes(), model.vectors.users.tobytes()),
        "bytes of the index": model.ann.to_bytes().tobytes(),
        "trend": None if model.trend is None else model.trend.tobytes(),
        "popularity": system.popularity.tobytes(),
        "ids": (system.users.ids.tolist(), system.items.ids.tolist()),
        "seen": (model.seen.indptr.tobytes(), model.seen.items.tobytes()),
    }


@pytest.fixture(scope="module")
def invented(sample_set: Dataset, tiny_settings: BuildSettings) -> Interactions:
    split = split_interactions(sample_set.interactions, tiny_settings.split)
    return with_invented_test_rows(sample_set.interactions, split)


@pytest.fixture(scope="module")
def builder(sample_set: Dataset, tiny_settings: BuildSettings) -> Callable[[Interactions], Build]:
    # Early stopping and every choice on validation run; only the refit on all rows may see the test rows.
    settings = replace(tiny_settings, refit=False)
    return lambda table: build(table, items=sample_set.items, settings=settings, name="sample")


def test_other_test_rows_change_no_choice_and_no_weight(
    sample_set: Dataset, invented: Interactions, builder: Callable[[Interactions], Build]
) -> None:
    true, other = builder(sample_set.interactions), builder(invented)
    assert true.split.test_start == other.split.test_start  # the cuts are the same
    assert not true.split.test.equals(other.split.test)
    assert chosen_and_trained(true) == chosen_and_trained(other)
    assert true.report.stages["exact"] != other.report.stages["exact"]  # the figures, of course, change


def test_a_planted_leak_is_seen(
    sample_set: Dataset,
    invented: Interactions,
    builder: Callable[[Interactions], Build],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def leaking(*args: object, **kwargs: object) -> Split:
        split = split_interactions(*args, **kwargs)  # type: ignore[arg-type]
        rows = pl.concat([split.validation, split.test[:200]])
        return replace(split, validation=rows.unique(["user", "item"], keep="first", maintain_order=True))

    monkeypatch.setattr(prepare, "split_interactions", leaking)
    assert chosen_and_trained(builder(sample_set.interactions)) != chosen_and_trained(builder(invented))
