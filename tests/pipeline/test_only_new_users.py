"""A test slice of new users alone, as of sessions: no warm user can be judged, and the cold groups can."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from retrieval import Recommender
from retrieval.bundles.bundle import open_bundle
from retrieval.data.interactions import Interactions
from retrieval.errors import DataError
from retrieval.evaluation.evaluate import evaluate
from retrieval.evaluation.from_bundle import read_evaluated
from retrieval.pipeline.build import Build, build
from retrieval.reporting.text.report import report_text
from retrieval.settings import BuildSettings

N_SESSIONS, N_ITEMS, HOUR = 160, 40, 3600


def sessions(rated: bool, straddle: bool = True, disjoint: bool = False) -> Interactions:
    """One session an hour, of items of one of four groups; session 0 comes back in the validation slice.

    Args:
        rated: whether rows have ratings.
        straddle: False: no session has rows in two slices, so that validation has new users alone.
        disjoint: the last sessions have items of their own, which train does not know.
    """
    rng, rows = np.random.default_rng(0), []
    for session in range(N_SESSIONS):
        items = rng.choice(10, rng.integers(4, 8), replace=False) + 10 * (session % 4)
        if disjoint and session > 0.75 * N_SESSIONS:
            items = items + 1000
        rows += [(session, int(item), session * HOUR + place * straddle) for place, item in enumerate(items)]
    if straddle:
        back = int(0.75 * N_SESSIONS) * HOUR
        rows += [(0, 10 * group + item, back + item) for group in range(4) for item in range(3)]
    frame = pl.DataFrame(rows, schema=["user", "item", "timestamp"], orient="row")
    frame = frame.with_columns(timestamp=pl.col("timestamp") + 1_600_000_000)
    if rated:
        frame = frame.with_columns(rating=(pl.col("item") * 7 % 3 + 3).cast(pl.Float64))
    return Interactions.from_frame(frame)


@pytest.fixture(scope="module", params=[False, True], ids=["sessions", "rated"])
def built(request: pytest.FixtureRequest, tiny_settings: BuildSettings) -> Build:
    return build(sessions(request.param), settings=replace(tiny_settings, index="IVF4,Flat"))


def test_the_cold_groups_are_reported_and_the_warm_group_has_nobody(built: Build) -> None:
    report = built.report
    assert (report.split.warm_test, report.judged_users) == (0, 0)
    cold = [group for group in report.groups if group.history is not None]
    assert {"cold, first 1", "cold, first 3", "brand new"} <= {group.name for group in cold}
    for group in cold:
        assert group.users > 0
        assert all(0 <= figure.value <= 1 for figure in group.ndcg.values())
        assert {"exact", "ann", "popularity"} <= group.ndcg.keys()
    assert 0 < report.ann.recall.value <= 1 and report.ann.ann_p50_ms > 0
    assert report.funnel is None and report.depth is None
    json.dumps(report.to_json(), allow_nan=False)


def test_the_report_says_that_no_warm_user_can_be_judged(built: Build) -> None:
    text = " ".join(report_text(built.report).split())
    assert "no warm user can be judged" in text and "cold, first 1" in text
    assert "0 warm; cold users alone are judged" in text
    assert "nan" not in text


def test_the_bundle_serves_histories_and_is_measured_again(built: Build, tmp_path: Path) -> None:
    recommender = Recommender(built.served, built)
    recommender.save(tmp_path / "a")
    bundle = open_bundle(tmp_path / "a")
    assert "no warm user can be judged" in bundle.read("report.html").decode()
    again = evaluate(read_evaluated(bundle), 10)
    assert [group.ndcg for group in again.groups] == [group.ndcg for group in built.report.groups]
    assert Recommender.load(tmp_path / "a").recommend_for_history([1, 2], 5).items


def test_nothing_to_judge_or_to_choose_by_is_still_refused(tiny_settings: BuildSettings) -> None:
    with pytest.raises(DataError, match=r"no validation or test row .* warm 12 and 0\)"):
        build(sessions(False, disjoint=True), settings=tiny_settings)
    with pytest.raises(DataError, match=r"no validation or test row .* warm 0 and 0\)"):
        build(sessions(False, straddle=False), settings=tiny_settings)


def test_new_users_who_like_nothing_are_no_test_either(tiny_settings: BuildSettings) -> None:
    """Every rating of the test slice is below the threshold; those before it are as they were."""
    table = sessions(True)
    start = table.frame["timestamp"].quantile(0.8)
    rating = pl.when(pl.col("timestamp") >= start).then(1.0).otherwise(pl.col("rating"))
    with pytest.raises(DataError, match="no test row of a new user is rated 4 or more"):
        build(Interactions.from_frame(table.frame.with_columns(rating=rating)), settings=tiny_settings)
