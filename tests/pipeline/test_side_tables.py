"""What lies beside a table of ratings, or was named, reaches the build."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from retrieval import Recommender
from retrieval.cli.build_index import build_index
from retrieval.errors import DataError
from retrieval.pipeline import build as build_module

RATINGS = "user,item,rating,timestamp\n1,5,4,10\n2,6,3,20\n"


class Captured:
    """Stands for `build`: keeps what it was given, and trains nothing."""

    given: dict[str, Any]

    def __call__(self, interactions: object, **given: Any) -> None:
        self.given = given
        raise DataError("enough")


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Captured:
    stand_in = Captured()
    monkeypatch.setattr(build_module, "build", stand_in)
    return stand_in


def build_in(folder: Path, *flags: str) -> str:
    """What `build-index` says on stderr until it would train."""
    (folder / "ratings.csv").write_text(RATINGS)
    paths = ("--ratings", str(folder / "ratings.csv"), "--artifacts", str(folder / "artifacts"))
    result = CliRunner().invoke(build_index, [*paths, *flags])
    assert isinstance(result.exception, DataError) and str(result.exception) == "enough", result
    return result.stderr


def test_users_and_items_beside_the_ratings_are_taken(tmp_path: Path, captured: Captured) -> None:
    (tmp_path / "users.csv").write_text("userId,gender\n1,F\n")
    (tmp_path / "movies.csv").write_text("movieId,title\n5,Heat (1995)\n")
    build_in(tmp_path)
    assert captured.given["users"].categories.to_dicts() == [{"gender": ["F"]}]
    assert captured.given["items"].titles_for([5]) == ["Heat (1995)"]


def test_named_users_win_over_those_beside(tmp_path: Path, captured: Captured) -> None:
    (tmp_path / "users.csv").write_text("userId,gender\n1,F\n")
    (tmp_path / "mine.csv").write_text("userId,gender\n1,M\n")
    build_in(tmp_path, "--users", str(tmp_path / "mine.csv"))
    assert captured.given["users"].categories.to_dicts() == [{"gender": ["M"]}]


def test_a_bad_file_nobody_asked_for_is_noted_and_left(tmp_path: Path, captured: Captured) -> None:
    users = tmp_path / "users.csv"
    users.write_text("userId,gender\n1,F\n2\n")
    said = build_in(tmp_path)
    assert f"no users' features: {users}:3: expected 2 fields" in said
    assert captured.given["users"] is None and captured.given["items"] is None


def test_a_frame_of_users_reaches_the_build_from_python(captured: Captured) -> None:
    ratings = pl.DataFrame({"user": [1, 2], "item": [5, 6], "rating": [4, 3], "timestamp": [10, 20]})
    with pytest.raises(DataError, match="enough"):
        Recommender.fit(ratings, users=pl.DataFrame({"user": [2], "age": [30]}))
    assert captured.given["users"].categories.to_dicts() == [{"age": ["30"]}]
