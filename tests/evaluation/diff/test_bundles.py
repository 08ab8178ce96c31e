"""What two bundles differ in: the sample's own bundle, and one of each kind it may be compared with."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from retrieval.bundles.bundle import Bundle, open_bundle, open_folder
from retrieval.bundles.writer import copy_bundle, new_bundle
from retrieval.catalogue.change import without_items
from retrieval.catalogue.publish import changing_bundle
from retrieval.data.datasets import Dataset
from retrieval.data.ids import IdMap
from retrieval.data.interactions import Interactions
from retrieval.data.items import ItemTable
from retrieval.errors import UsageError
from retrieval.evaluation.diff.bundles import BundleDiff, Difference, SharedIds, diff_bundles, differences
from retrieval.evaluation.uncertainty import Estimate
from retrieval.pipeline.build import Build, build
from retrieval.pipeline.save import write_build
from retrieval.reporting.text.diff import diff_text
from retrieval.reporting.text.tables import cell_width

pytestmark = pytest.mark.usefixtures("few_resamples")
NOTHING = Estimate(0, 0, 0)
KINDS = ("itself", "another seed", "changed", "without ratings", "of other people")


@pytest.fixture(scope="module")
def bundles(
    tiny_build: Build, artifacts: Path, sample_set: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Bundle]:
    """The sample's bundle and what it is compared with."""

    def bundle_of(rows: pl.DataFrame, items: ItemTable | None = None, **settings: int) -> Bundle:
        made = build(
            Interactions.from_frame(rows, "sample"),
            items=items,
            settings=replace(tiny_build.settings, **settings),
            name="sample",
        )
        with new_bundle(tmp_path_factory.mktemp("built")) as writer:
            return open_folder(write_build(writer, made))

    frame, own = sample_set.interactions.frame, open_bundle(artifacts)
    strangers = frame.with_columns(
        pl.format("u{}", "user").alias("user"), pl.format("i{}", "item").alias("item")
    )
    return {
        "itself": own,
        "another seed": bundle_of(frame, sample_set.items, seed=7, candidates=15),
        "changed": changed(artifacts, tmp_path_factory.mktemp("changed")),
        "without ratings": bundle_of(frame.drop("rating"), sample_set.items, refit=False),
        "of other people": bundle_of(strangers, refit=False),
    }


def changed(artifacts: Path, folder: Path) -> Bundle:
    """The same bundle without the item that it lists most."""
    copy_bundle(open_bundle(artifacts).folder, folder)
    with changing_bundle(folder) as changing:
        model = changing.system.model
        listed = model.for_users(np.arange(len(model.seen)), 10).rows
        most = changing.system.items.ids[np.bincount(listed[listed >= 0]).argmax()]
        after = without_items(changing.system, [most])
        return open_folder(
            changing.publish(after, {"what": "remove", "removed": 1, "items": len(after.items)})
        )


@pytest.fixture(scope="module")
def diffs(bundles: dict[str, Bundle]) -> dict[str, BundleDiff]:
    """Each compared with the sample's bundle, which is the one."""
    return {kind: diff_bundles(bundles["itself"], bundle) for kind, bundle in bundles.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_swapping_the_bundles_swaps_every_sign_and_nothing_else(
    bundles: dict[str, Bundle], diffs: dict[str, BundleDiff], kind: str
) -> None:
    there, back = diffs[kind], diff_bundles(bundles[kind], bundles["itself"])
    assert back.quality.unpaired == there.quality.unpaired
    assert (back.one, back.other) == (there.other, there.one)
    assert {(each.name, each.other, each.one) for each in back.settings} == {
        (each.name, each.one, each.other) for each in there.settings
    }
    assert (back.items.only_one, back.users.only_one) == (there.items.only_other, there.users.only_other)
    assert back.overlap.same == there.overlap.same
    np.testing.assert_equal(asdict(back.overlap.overlap), asdict(there.overlap.overlap))
    for mine, theirs in zip(there.quality.stages, back.quality.stages, strict=True):
        assert (theirs.one, theirs.other) == (mine.other, mine.one)
        for metric, swapped in zip(mine.metrics, theirs.metrics, strict=True):
            assert (swapped.one, swapped.other) == (metric.other, metric.one)
            assert swapped.p_value == metric.p_value
            negated = (-swapped.difference.value, -swapped.difference.high, -swapped.difference.low)
            found = (metric.difference.value, metric.difference.low, metric.difference.high)
            assert negated == pytest.approx(found, abs=1e-12, nan_ok=True)


def test_a_bundle_does_not_differ_from_itself(
    bundles: dict[str, Bundle], diffs: dict[str, BundleDiff]
) -> None:
    diff = diffs["itself"]
    assert diff.one == diff.other
    assert not (diff.settings or diff.environment or diff.data or diff.serving)
    assert diff.users == SharedIds(diff.users.both, 0, 0, (), ())
    overlap = diff.overlap
    assert overlap.overlap == Estimate(1, 1, 1)
    assert overlap.same == overlap.users == overlap.shared_users > 100
    assert overlap.more_in_one == overlap.more_in_other == ()
    for stage in diff.quality.stages:
        assert all((each.difference, each.p_value) == (NOTHING, 1.0) for each in stage.metrics)
    # Lists shorter than k, as there are no more items, are no less the same.
    assert diff_bundles(bundles["itself"], bundles["itself"], k=500).overlap.overlap == Estimate(1, 1, 1)


def test_another_seed_is_compared_user_by_user(diffs: dict[str, BundleDiff]) -> None:
    diff = diffs["another seed"]
    assert {each.name: (each.one, each.other) for each in diff.settings} == {
        "seed": (42, 7),
        "candidates": (20, 15),
    }
    assert Difference("candidates", 20, 15) in diff.serving
    assert diff.data == ()
    assert 0 < diff.overlap.overlap.value < 1
    assert diff.overlap.more_in_one and diff.overlap.more_in_other
    assert all(each.one > each.other and each.title for each in diff.overlap.more_in_one)
    quality = diff.quality
    assert quality.paired
    assert quality.users_one == quality.users_other == quality.shared_users
    assert all(each.p_value is not None for stage in quality.stages for each in stage.metrics)
    assert any(each.difference.value for each in quality.stages[0].metrics)


def test_other_relevant_items_are_not_paired(diffs: dict[str, BundleDiff]) -> None:
    quality = diffs["without ratings"].quality  # every row is relevant
    assert quality.unpaired == "other relevant items"
    assert quality.users_one == quality.users_other == quality.shared_users > 20
    assert quality.stages[0].other in ("exact", "ann")  # nothing predicts ratings, so nothing is re-ranked
    for stage in quality.stages:
        for each in stage.metrics:
            assert each.p_value is None
            assert each.difference.value == pytest.approx(each.other.value - each.one.value)
            # An interval of two samples is wider than that of either.
            width = each.difference.high - each.difference.low
            assert width > max(each.one.high - each.one.low, each.other.high - each.other.low)


def test_other_users_are_not_paired_and_lists_not_compared(diffs: dict[str, BundleDiff]) -> None:
    diff = diffs["of other people"]
    assert (diff.users.both, diff.items.both, diff.overlap.users, diff.overlap.same) == (0, 0, 0, 0)
    assert diff.users.examples_other and all(each.startswith("u") for each in diff.users.examples_other)
    assert np.isnan(diff.overlap.overlap.value)
    quality = diff.quality
    assert (quality.unpaired, quality.shared_users) == ("other users", 0)
    assert quality.users_one > 20 and quality.users_other > 20
    assert all(each.p_value is None for stage in quality.stages for each in stage.metrics)


def test_a_changed_catalogue_shows_in_the_lists_but_not_in_the_quality(diffs: dict[str, BundleDiff]) -> None:
    diff = diffs["changed"]
    assert [change["what"] for change in diff.other.changes] == ["remove"]
    assert (diff.items.only_one, diff.items.only_other, diff.users.only_one) == (1, 0, 0)
    removed = diff.items.examples_one[0]
    most = diff.overlap.more_in_one[0]
    assert (most.item, most.other, most.known_to_both) == (removed, 0, False)
    assert diff.overlap.users - diff.overlap.same >= most.one > 10
    assert all(each.difference == NOTHING for stage in diff.quality.stages for each in stage.metrics)
    assert "What was changed in B since the build is not in these figures." in diff_text(diff)


# What differs


def test_nested_values_are_named_by_their_path() -> None:
    one = {"a": 1, "towers": {"dimension": 64, "l2": None}, "tune": None, "only": 2}
    other = {"a": 1, "towers": {"dimension": 32}, "tune": {"minutes": 3}, "hidden": [64, 32]}
    assert differences(one, other) == (
        Difference("towers.dimension", 64, 32),
        Difference("tune", None, {"minutes": 3}),
        Difference("only", 2, None),
        Difference("hidden", None, [64, 32]),
    )


def test_ids_in_both_under_another_title_are_counted() -> None:
    one, other = IdMap.from_values([1, 2, 3, 4]), IdMap.from_values([2, 3, 4, 5, 6, 7, 8])
    titles = (np.array(["a", "b", "", "d"]), np.array(["b", "c", "D", "e", "", "", ""]))
    assert SharedIds.of(one, other, titles) == SharedIds(3, 1, 4, ("1",), ("5", "6", "7"), other_titles=1)


@pytest.mark.parametrize("wrong", [{"k": 0}, {"users": 0}])
def test_lists_of_nothing_and_samples_of_nobody_are_refused(
    bundles: dict[str, Bundle], wrong: dict[str, int]
) -> None:
    with pytest.raises(UsageError, match="must be 1 or more, not 0"):
        diff_bundles(bundles["itself"], bundles["itself"], **wrong)


def test_no_more_users_are_compared_than_asked_for(bundles: dict[str, Bundle]) -> None:
    assert diff_bundles(bundles["itself"], bundles["another seed"], users=9).overlap.users == 9


# Text and JSON


@pytest.mark.parametrize("kind", KINDS)
def test_the_json_is_plain_and_names_k(diffs: dict[str, BundleDiff], kind: str) -> None:
    document = json.loads(json.dumps(diffs[kind].to_json(), allow_nan=False))
    assert list(document["quality"]["stages"]) == ["served", "exact"]
    assert {"precision@10", "recall@10", "ndcg@10"} < set(document["quality"]["stages"]["served"])
    overlap = document["overlap"]["overlap@10"]
    assert overlap["value"] is None if kind == "of other people" else 0 < overlap["value"] <= 1
    assert document["quality"]["paired"] == (kind in ("itself", "another seed", "changed"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", ["itself", "the other"])
def test_the_text_fits_80_columns_and_says_what_is_paired(
    bundles: dict[str, Bundle], diffs: dict[str, BundleDiff], kind: str, first: str
) -> None:
    diff = diffs[kind] if first == "itself" else diff_bundles(bundles[kind], bundles["itself"])
    text = diff_text(diff)
    assert max(map(cell_width, text.splitlines())) <= 80
    paired = kind in ("itself", "another seed", "changed")
    assert ("differences are paired by user" in text) == paired
    assert ("NOT PAIRED" in " ".join(text.split())) != paired
    assert ("better" in text or "worse" in text) <= paired
    assert ("A and B are the same bundle." in text) == (kind == "itself")


def test_figures_that_do_not_exist_are_said_not_to(diffs: dict[str, BundleDiff]) -> None:
    none, quality = Estimate(np.nan, np.nan, np.nan), diffs["itself"].quality
    without = {"difference": none, "p_value": np.nan}
    stages = tuple(
        replace(stage, metrics=tuple(replace(each, **without) for each in stage.metrics))
        for stage in quality.stages
    )
    diff = replace(diffs["itself"], quality=replace(quality, stages=stages))
    assert "B is not measured in precision, recall and NDCG." in diff_text(diff)
    document = json.loads(json.dumps(diff.to_json(), allow_nan=False))
    figures = document["quality"]["stages"]["served"]["ndcg@10"]
    assert (figures["difference"]["value"], figures["p_value"]) == (None, None)


def test_long_names_and_titles_that_terminals_obey_fit_80_columns(diffs: dict[str, BundleDiff]) -> None:
    diff = diffs["another seed"]
    long = "千と千尋の神隠し\x1b[31m " * 20
    moved = tuple(replace(each, item=long, title=long) for each in diff.overlap.more_in_one)
    other = replace(
        diff.other, data=diff.other.data._replace(name=long), changes=({"what": "add", "added": 3},) * 20
    )
    text = diff_text(
        replace(
            diff,
            other=other,
            settings=(*diff.settings, Difference("towers.closed_form_start", True, long)),
            data=(Difference("split.test_start", 1e300, 889237269.0), Difference(long, 1, 2)),
            items=SharedIds(1, 4, 1, (long, long, long), (long,), 1),
            overlap=replace(diff.overlap, k=100_000, more_in_one=moved),
            quality=replace(diff.quality, k=100_000),
        )
    )
    assert max(map(cell_width, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert "1998-03-07 02:21:09" in text
    assert "  A  true" in text
