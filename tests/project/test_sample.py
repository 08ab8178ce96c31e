import importlib.util
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

from retrieval.data.datasets import Dataset, load_dataset
from tests.support.checkout import ROOT

SAMPLE = ROOT / "data" / "sample"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_sample", ROOT / "data" / "make_sample.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sample() -> Dataset:
    return load_dataset("sample", Path("unused"), print)


def test_making_the_sample_again_gives_the_same_bytes(script: ModuleType, tmp_path: Path) -> None:
    script.write(tmp_path)
    for name in ("ratings.csv", "movies.csv"):
        assert (tmp_path / name).read_bytes() == (SAMPLE / name).read_bytes()


def test_the_sample_is_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLE.iterdir()) < 200_000


def test_every_film_has_a_title_of_its_genre(sample: Dataset) -> None:
    assert sample.items is not None
    items = sample.interactions.frame["item"].unique().to_numpy()
    titles, genres = sample.items.titles_for(items), sample.items.genres_for(items)
    assert len(items) == 120
    assert all(
        title is not None and title.startswith(genre[0]) for title, genre in zip(titles, genres, strict=True)
    )


def test_users_like_the_genre_their_id_names(sample: Dataset) -> None:
    frame = sample.interactions.frame
    liked = (pl.col("item") - 1) // 30 == pl.col("user") % 4
    assert frame.filter(liked)["rating"].mean() > 4.2  # type: ignore[operator]
    assert frame.filter(~liked)["rating"].mean() < 2.5  # type: ignore[operator]
    shares = frame.group_by("user").agg(liked.mean().alias("share"))["share"]
    assert (shares > 0.4).mean() > 0.95  # type: ignore[operator]


def test_a_temporal_split_leaves_warm_users_with_relevant_items_and_cold_users(sample: Dataset) -> None:
    frame = sample.interactions.frame
    cuts = [frame["timestamp"].quantile(q, "linear") for q in (0.7, 0.8)]
    train = frame.filter(pl.col("timestamp") <= cuts[0])
    test = frame.filter(pl.col("timestamp") > cuts[1])
    warm = test.join(train, on="user", how="semi").join(train, on="item", how="semi")
    assert warm.filter(pl.col("rating") >= 4)["user"].n_unique() > 60
    assert test.join(train, on="user", how="anti")["user"].n_unique() >= 5
    assert 42 in warm["user"]
