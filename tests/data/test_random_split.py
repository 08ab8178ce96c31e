import json
import random
from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from click.testing import CliRunner
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from retrieval import Recommender
from retrieval.bundles.bundle import open_bundle
from retrieval.bundles.writer import new_bundle
from retrieval.cli import build_index as build_index_module
from retrieval.cli.evaluate import evaluate as evaluate_command
from retrieval.data.datasets import Dataset
from retrieval.data.encoded import EncodedInteractions, ids_of
from retrieval.data.interactions import Interactions
from retrieval.data.reading.columns import COLUMNS, RATING, TIMESTAMP
from retrieval.data.split import Split, split_at_random, split_by_time, split_interactions
from retrieval.errors import DataError, UsageError
from retrieval.evaluation.evaluate import evaluate
from retrieval.evaluation.evaluated import EvaluationData
from retrieval.evaluation.from_bundle import read_evaluated
from retrieval.evaluation.judgements import Judgements
from retrieval.pipeline.build import Build, build
from retrieval.pipeline.save import write_build
from retrieval.reporting.text.report import report_text
from retrieval.settings import BuildSettings, SplitSettings, id_towers
from retrieval.training.id_batches import TripletBatches
from retrieval.training.recency import recency_weights
from tests.support.recording import Record
from tests.support.reports import without_times

pytestmark = pytest.mark.usefixtures("few_resamples")

TOO_KIND = "train knows everybody's future, so all figures are too kind"
SLICES = ("train", "validation", "test")

Row = tuple[int, int, float, int]
row = st.tuples(st.integers(1, 4), st.integers(1, 5), st.sampled_from([1.0, 3.0, 5.0]), st.integers(0, 9))
tables = st.lists(row, min_size=10, max_size=60)
fractions = st.sampled_from([(0.2, 0.1), (0.1, 0.1), (0.4, 0.2), (0.25, 0.25), (0.3, 0.3)])
seeds = st.integers(0, 2**31 - 1)
# What a table may lack.
lacking = st.sampled_from([(), (RATING,), (TIMESTAMP,), (RATING, TIMESTAMP)])


def table(rows: list[Row], without: tuple[str, ...] = ()) -> Interactions:
    schema = {"user": pl.Int64, "item": pl.Int64, RATING: pl.Float32, TIMESTAMP: pl.Int64}
    frame = pl.DataFrame(rows, schema=schema, orient="row").drop(without)
    return Interactions(frame, "a table", columns_found=tuple(frame.columns))


def at_random(interactions: Interactions, shares: tuple[float, float] = (0.2, 0.1), seed: int = 0) -> Split:
    return split_at_random(interactions, SplitSettings(*shares, kind="random"), seed)


def split_or_reject(interactions: Interactions, shares: tuple[float, float], seed: int) -> Split:
    """The split of a drawn table; tables with an empty slice or nothing warm are another test's."""
    try:
        return at_random(interactions, shares, seed)
    except DataError:
        assume(False)
        raise


def rows_of(split: Split) -> dict[str, list[tuple[Any, ...]]]:
    return {name: getattr(split, name).rows() for name in SLICES}


# Laws of the split


@given(tables, lacking, fractions, seeds, st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_the_seed_alone_decides_not_the_order_of_the_rows(
    rows: list[Row], without: tuple[str, ...], shares: tuple[float, float], seed: int, chance: random.Random
) -> None:
    split = split_or_reject(table(rows, without), shares, seed)
    shuffled = rows.copy()
    chance.shuffle(shuffled)
    for again in (rows, shuffled):
        other = at_random(table(again, without), shares, seed)
        assert rows_of(other) == rows_of(split)
        assert other.counts == split.counts


@given(tables, lacking, fractions, seeds)
@settings(max_examples=50)
def test_every_row_is_in_one_slice_and_the_sizes_are_the_shares(
    rows: list[Row], without: tuple[str, ...], shares: tuple[float, float], seed: int
) -> None:
    unique = list({row[:2]: row for row in rows}.values())  # no pair twice, so that no row is dropped
    interactions = table(unique, without)
    split = split_or_reject(interactions, shares, seed)
    parts, counts, n = rows_of(split), split.counts, len(unique)
    assert sorted(chain.from_iterable(parts.values())) == sorted(interactions.frame.rows())
    assert [len(parts[name]) for name in SLICES] == [counts.train, counts.validation, counts.test]
    assert abs(counts.test - n * shares[0]) <= 0.5 + 1e-9
    assert abs(counts.train - n * (1 - sum(shares))) <= 0.5 + 1e-9
    assert (split.rows, counts.duplicates) == (n, 0)


@given(tables, lacking, seeds)
@settings(max_examples=50)
def test_inside_a_slice_the_best_row_of_each_pair_stays(
    rows: list[Row], without: tuple[str, ...], seed: int
) -> None:
    interactions = table(rows, without)
    split = split_or_reject(interactions, (0.2, 0.1), seed)
    there_are, columns = Counter(interactions.frame.rows()), interactions.frame.columns
    for part in rows_of(split).values():
        assert len({row[:2] for row in part}) == len(part)
        assert not Counter(part) - there_are
    kept = sum(len(part) for part in rows_of(split).values())
    assert split.counts.duplicates == len(rows) - kept
    assert split.rows == len(rows)
    # A pair whose rows all fell into one slice keeps its latest, the higher rating in the same second.
    order = [columns.index(name) for name in (TIMESTAMP, RATING) if name in columns]
    pairs = Counter(row[:2] for part in rows_of(split).values() for row in part)
    for part in rows_of(split).values():
        for kept_row in part:
            if pairs[kept_row[:2]] == 1:
                same = [row for row in there_are if row[:2] == kept_row[:2]]
                assert kept_row == max(same, key=lambda row: [row[place] for place in order])


@given(tables, lacking, seeds)
@settings(max_examples=50)
def test_a_pair_of_train_is_no_relevant_item_of_test(
    rows: list[Row], without: tuple[str, ...], seed: int
) -> None:
    split = split_or_reject(table(rows, without), (0.3, 0.3), seed)
    users, items = ids_of(split.train)
    data = EvaluationData.of("a table", split, users, items, 3.0)
    assert data.split_kind == "random"
    judgements = Judgements.of(data.test, data.train, 3.0)
    train = {row[:2] for row in split.train.rows()}
    liked = {row[:2] for row in split.test.rows() if RATING in without or row[2] >= 3}
    warm = [row[:2] for row in split.test.rows() if row[0] in users.ids and row[1] in items.ids]
    assert users.ids[judgements.users].tolist() == sorted({user for user, _ in warm})
    for place, user in enumerate(users.ids[judgements.users].tolist()):
        expected = sorted(item for who, item in set(warm) & liked - train if who == user)
        assert items.ids[judgements.relevant.of(place)].tolist() == expected


def test_counts_by_hand_when_every_pair_is_there_twice() -> None:
    rows: list[Row] = [
        (1 + n // 5, 1 + n % 5, float(1 + again), again) for n in range(20) for again in (0, 1)
    ]
    split = at_random(table(rows), (0.25, 0.25))
    assert (split.counts.train, split.counts.validation, split.counts.test) == (20, 10, 10)
    parts = rows_of(split)
    twice = sum(20 if name == "train" else 10 for name in SLICES) - sum(map(len, parts.values()))
    assert split.counts.duplicates == twice > 0
    # Whoever has both of its rows in train has the later one, rated 2.
    assert {row[2] for row in parts["train"]} == {1, 2}


def test_every_row_has_the_same_chance_of_every_slice() -> None:
    rows: list[Row] = [(n // 10, n % 10, 1.0 + n % 5, n) for n in range(100)]
    seeds, shares = 200, np.zeros((3, 100))
    for seed in range(seeds):
        for place, part in enumerate(rows_of(at_random(table(rows), seed=seed)).values()):
            shares[place, [time for *_, time in part]] += 1 / seeds
    # 300 shares, with standard errors of at most 0.033.
    np.testing.assert_allclose(shares.mean(axis=1), [0.7, 0.1, 0.2])
    assert np.abs(shares - [[0.7], [0.1], [0.2]]).max() < 0.15


def test_another_seed_is_another_split() -> None:
    rows: list[Row] = [(n % 10, n // 10, 5.0, n % 7) for n in range(100)]
    how = SplitSettings(kind="random")
    one, same, other = (split_interactions(table(rows), how, seed=seed) for seed in (1, 1, 2))
    assert rows_of(one) == rows_of(same) != rows_of(other)
    # By time the seed does nothing.
    by_time = [split_interactions(table(rows), SplitSettings(), seed=seed) for seed in (1, 2)]
    assert rows_of(by_time[0]) == rows_of(by_time[1])
    assert {split.kind for split in by_time} == {"time"}


def test_a_random_split_has_no_cuts_and_says_what_it_is() -> None:
    rows: list[Row] = [(n // 10, n % 10, 5.0, n) for n in range(100)]
    split = at_random(table(rows))
    assert (split.kind, split.validation_start, split.test_start) == ("random", None, None)
    assert split.labelled()["slice"].value_counts(sort=True).rows() == [
        ("train", 70),
        ("test", 20),
        ("validation", 10),
    ]
    # Nothing of time in it: the slices overlap.
    assert split.train[TIMESTAMP].max() > split.test[TIMESTAMP].min()


def test_the_table_is_left_as_it_is() -> None:
    rows: list[Row] = [(n % 10, n // 10, 5.0, 100 - n) for n in range(100)]
    interactions = table(rows)
    at_random(interactions)
    assert interactions.frame.rows() == rows


def test_an_unknown_kind_of_split_is_refused() -> None:
    with pytest.raises(UsageError, match=r"`split\.kind` must be time or random, not 'chance'"):
        SplitSettings(kind="chance")  # type: ignore[arg-type]


# What cannot be split


@pytest.mark.parametrize("without", [(TIMESTAMP,), (RATING, TIMESTAMP)])
def test_without_times_no_split_by_time_but_a_way_out(without: tuple[str, ...]) -> None:
    interactions = table([(n // 10, n % 10, 5.0, n) for n in range(100)], without)
    found = ", ".join(column for column in COLUMNS if column not in without)
    message = (
        f"^a table: no timestamp column, so it cannot be split by time: found {found}; "
        "name one with `columns.timestamp`, or give `split.kind=random`$"
    )
    for split in (split_by_time, split_interactions):
        with pytest.raises(DataError, match=message):
            split(interactions)
    assert at_random(interactions).counts.test == 20


def test_a_frame_of_unknown_origin_is_refused_without_listing_columns() -> None:
    interactions = replace(table([(1, 1, 5.0, n) for n in range(20)], (TIMESTAMP,)), columns_found=())
    with pytest.raises(DataError, match=r"cannot be split by time: name one with `columns\.timestamp`"):
        split_by_time(interactions)


@pytest.mark.parametrize("times", [[7] * 4, [1, 2, 3, 4]])
def test_too_few_rows_for_three_slices_are_not_answered_with_what_was_given(times: list[int]) -> None:
    """Of four rows three are train's and one is test's; equal times have nothing to do with it."""
    rows: list[Row] = [(n, n, 5.0, time) for n, time in enumerate(times)]
    with pytest.raises(DataError, match=r"empty slice \(train 3, validation 0, test 1 rows\)") as raised:
        at_random(table(rows))
    assert "`split.kind=random`" not in str(raised.value)
    assert "by time" not in str(raised.value)


def test_nothing_warm_is_refused() -> None:
    rows: list[Row] = [(n, n, 5.0, n) for n in range(20)]  # every user and item once
    with pytest.raises(DataError, match=r"train 14, validation 2, test 4 rows; warm 0 and 0\)"):
        at_random(table(rows))


# Without times nothing is recent


def unordered(n: int, timestamps: np.ndarray | None) -> EncodedInteractions:
    users, items = np.divmod(np.arange(n), 5)
    return EncodedInteractions(users, items, None, timestamps, n // 5, 6)


def test_without_times_all_positives_weigh_the_same() -> None:
    days = np.arange(40, dtype=np.int64) * 86_400
    how, device = id_towers(recency_half_life_days=3.0), torch.device("cpu")

    def weights(data: EncodedInteractions) -> np.ndarray:
        batches = TripletBatches(data, how, np.random.default_rng(0), device)
        return np.sort(np.concatenate([batch.weights.numpy() for batch in batches.epoch()]))

    assert weights(unordered(40, None)).tolist() == [1.0] * 40
    np.testing.assert_allclose(weights(unordered(40, days)), np.sort(recency_weights(days, 3.0)))
    assert np.ptp(weights(unordered(40, days))) > 1


# The whole system


@pytest.fixture(scope="module")
def random_settings(tiny_settings: BuildSettings) -> BuildSettings:
    return replace(tiny_settings, split=SplitSettings(kind="random"))


@pytest.fixture(scope="module", params=["all columns", "no times", "no times and no ratings"])
def built(
    request: pytest.FixtureRequest, sample_set: Dataset, random_settings: BuildSettings
) -> tuple[Build, Record]:
    """The sample split at random, with all columns or without some."""
    without = {"all columns": (), "no times": (TIMESTAMP,)}.get(request.param, (RATING, TIMESTAMP))
    interactions = Interactions.from_frame(sample_set.interactions.frame.drop(without), "shop.csv")
    record = Record()
    return build(interactions, settings=random_settings, progress=record), record


@pytest.fixture(scope="module")
def built_artifacts(built: tuple[Build, Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("random") / "artifacts"
    with new_bundle(folder) as writer:
        write_build(writer, built[0])
    return folder


def test_every_document_of_a_random_split_says_so(built: tuple[Build, Record], built_artifacts: Path) -> None:
    made, record = built
    assert record.phases[0] == "Splitting at random"
    document = json.loads(json.dumps(made.report.to_json(), allow_nan=False))
    assert document["split"]["kind"] == "random"
    assert (document["split"]["train"], document["split"]["test"]) == (3375, 964)
    manifest = open_bundle(built_artifacts).manifest
    split = manifest.document["split"]
    assert (split["kind"], split["validation_start"], split["test_start"]) == ("random", None, None)
    assert manifest.settings.document["split"]["kind"] == "random"
    for protocol in ("standard", "notebook"):
        text = report_text(evaluate(made.evaluation, 10, protocol))  # type: ignore[arg-type]
        assert text.startswith(f"shop.csv, split AT RANDOM, {protocol} protocol\n")
        assert TOO_KIND in text.split("\n\n")[0]


def test_a_split_by_time_does_not(tiny_build: Build) -> None:
    assert tiny_build.report.to_json()["split"]["kind"] == "time"
    text = report_text(tiny_build.report)
    assert text.startswith("sample, split by time, standard protocol\n")
    assert TOO_KIND not in text


def test_evaluating_the_bundle_keeps_the_label_and_the_figures(
    built: tuple[Build, Record], built_artifacts: Path
) -> None:
    report = evaluate(read_evaluated(open_bundle(built_artifacts)), 10)
    assert without_times(report.to_json()) == without_times(built[0].report.to_json())
    assert report.split_kind == "random"
    arguments = ["--artifacts", str(built_artifacts), "--k", "5", "--full"]
    runner = CliRunner()
    text = runner.invoke(evaluate_command, arguments, catch_exceptions=False).stdout
    assert text.startswith("shop.csv, split AT RANDOM, standard protocol\n") and TOO_KIND in text
    printed = runner.invoke(evaluate_command, [*arguments, "--json"], catch_exceptions=False).stdout
    assert json.loads(printed, parse_constant=pytest.fail)["split"]["kind"] == "random"


def test_recent_popularity_needs_times_and_its_absence_is_said(built: tuple[Build, Record]) -> None:
    made, _ = built
    timed = made.evaluation.data.train.timestamps is not None
    document, text = made.report.to_json(), report_text(made.report)
    assert ("recent_popularity" in document["stages"]) == timed
    assert ("recent_window" in document["baselines"]) == timed
    assert ("recent_popularity" in {each["against"] for each in document["comparisons"]}) == timed
    assert ("recent popularity left out, no timestamps" in " ".join(text.split())) != timed
    assert (made.evaluation.baselines.window is None) != timed
    if not timed:
        assert "recent is the last" not in text
        # What strangers can be shown is then the popularity of all times.
        train, served = made.evaluation.data.train.positives(4.0), made.served
        counts = np.bincount(train.items, minlength=train.n_items)
        assert made.evaluated.popularity.tolist() == counts.tolist()
        if made.evaluation.data.train.ratings is None:
            counts = np.bincount(served.model.seen.items, minlength=len(served.items))
            assert served.popularity.tolist() == counts.tolist()


def test_the_bundle_of_a_random_split_answers(built: tuple[Build, Record], built_artifacts: Path) -> None:
    loaded, fresh = Recommender.load(built_artifacts), Recommender(built[0].served)
    users = [42, 7, 150]
    assert list(loaded.recommend(users, 10)) == list(fresh.recommend(users, 10))
    assert all(len(answer.items) == 10 for answer in loaded.recommend(users, 10))
    assert loaded.recommend_for_history([3, 50], 5).items
    assert len(loaded.system.users) == 150


def test_the_order_of_the_rows_changes_no_bit_of_a_build(
    sample_set: Dataset, random_settings: BuildSettings
) -> None:
    frame = sample_set.interactions.frame.drop(TIMESTAMP, RATING)
    how = replace(random_settings, refit=False)
    builds = [
        build(Interactions.from_frame(rows), settings=how)
        for rows in (frame, frame.sample(fraction=1.0, shuffle=True, seed=3))
    ]
    one, two = (made.evaluated.tower_weights for made in builds)
    assert one.keys() == two.keys()
    assert all(one[name].tobytes() == two[name].tobytes() for name in one)
    assert builds[0].digest == builds[1].digest


def test_the_seed_of_the_build_is_that_of_the_split(
    built: tuple[Build, Record], random_settings: BuildSettings, sample_set: Dataset
) -> None:
    frame = sample_set.interactions.frame
    frame = frame.drop([name for name in (RATING, TIMESTAMP) if name not in built[0].split.train.columns])
    same = split_interactions(
        Interactions.from_frame(frame), random_settings.split, seed=random_settings.seed
    )
    assert rows_of(same) == rows_of(built[0].split)
    other = split_interactions(Interactions.from_frame(frame), random_settings.split, seed=7)
    assert rows_of(other) != rows_of(same)


def test_without_times_a_build_by_time_stops_before_any_training(
    sample_set: Dataset, tiny_settings: BuildSettings
) -> None:
    record = Record()
    frame = sample_set.interactions.frame.drop(TIMESTAMP)
    with pytest.raises(
        DataError, match=r"shop\.csv: no timestamp column.*`columns.timestamp`, or give `split.kind=random`$"
    ):
        build(Interactions.from_frame(frame, "shop.csv"), settings=tiny_settings, progress=record)
    assert record.phases == ["Splitting by time"]


def test_the_command_refuses_a_bare_table_with_the_flag_that_builds_it(
    sample_set: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_index_module, "ignore_signals", lambda: None)  # they are pytest's own
    path, artifacts = tmp_path / "baskets.csv", tmp_path / "artifacts"
    path.write_text(sample_set.interactions.frame.select("user", "item").write_csv())
    flags = ["--dimension", "8", "--epochs", "1", "--threads", "1", "--index", "IVF8,Flat", "--no-refit"]
    flags += ["--ratings", str(path), "--artifacts", str(artifacts), "--json"]
    runner = CliRunner()

    refused = runner.invoke(build_index_module.build_index, flags)
    assert isinstance(refused.exception, DataError)
    assert refused.stdout == ""
    assert "`columns.timestamp`" in str(refused.exception)
    assert "`split.kind=random`" in str(refused.exception)
    assert not (artifacts / "current").exists()

    done = runner.invoke(
        build_index_module.build_index, [*flags, "--split", "random"], catch_exceptions=False
    )
    document = json.loads(done.stdout, parse_constant=pytest.fail)
    assert (document["split"]["kind"], document["rating"]) == ("random", None)
    assert list(document["stages"]) == ["popularity", "ease", "item_knn", "exact", "ann"]
    assert "no rating column" in done.stderr and "--rating-column" in done.stderr
    assert open_bundle(artifacts).manifest.split.kind == "random"
