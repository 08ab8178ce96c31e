"""What the ratings of a table say: nothing, always the same, or something on another scale."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from click.testing import CliRunner

from retrieval import Recommender
from retrieval.bundles.bundle import Bundle, open_bundle
from retrieval.bundles.writer import new_bundle
from retrieval.cli.evaluate import evaluate as evaluate_command
from retrieval.cli.query import query as query_command
from retrieval.data.datasets import Dataset
from retrieval.data.interactions import Interactions
from retrieval.data.items import ItemTable
from retrieval.errors import DataError, NotFoundError
from retrieval.evaluation.evaluate import evaluate
from retrieval.evaluation.from_bundle import read_evaluated
from retrieval.pipeline.build import Build, build
from retrieval.pipeline.prepare import usable
from retrieval.pipeline.save import write_build
from retrieval.reporting.text.report import report_text
from retrieval.serving.recommendations import Recommendations
from retrieval.settings import BuildSettings
from tests.support.recording import Record
from tests.support.reports import without_times

pytestmark = pytest.mark.usefixtures("few_resamples")
STAGES = ["popularity", "recent_popularity", "ease", "item_knn", "exact", "ann"]
LEFT_OUT = "Re-ranking: left out, and NeuralMF with it: there are no ratings to learn from."


@pytest.fixture(scope="module")
def clicks(sample_set: Dataset) -> Interactions:
    """The sample without its ratings."""
    return Interactions.from_frame(sample_set.interactions.frame.drop("rating"), "clicks.csv")


@pytest.fixture(scope="module")
def built(clicks: Interactions, sample_set: Dataset, tiny_settings: BuildSettings) -> tuple[Build, Record]:
    record = Record()
    made = build(clicks, items=sample_set.items, settings=tiny_settings, progress=record, name="clicks")
    return made, record


@pytest.fixture(scope="module")
def click_build(built: tuple[Build, Record]) -> Build:
    return built[0]


@pytest.fixture(scope="module")
def click_artifacts(click_build: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clicks") / "artifacts"
    with new_bundle(folder) as writer:
        write_build(writer, click_build)
    return folder


@pytest.fixture(scope="module")
def bundle(click_artifacts: Path) -> Bundle:
    return open_bundle(click_artifacts)


@pytest.fixture(scope="module")
def recommender(click_artifacts: Path) -> Recommender:
    return Recommender.load(click_artifacts)


def evaluated_only(
    table: Interactions, settings: BuildSettings, items: ItemTable | None
) -> tuple[Build, Record]:
    """A build without the refit, which is half of the work."""
    record = Record()
    settings = replace(settings, refit=False)
    made = build(table, items=items, settings=settings, progress=record, name="clicks")
    return made, record


def towers(made: Build, part: str = "evaluated") -> dict[str, bytes]:
    """Every trained number of the towers and their index."""
    system = getattr(made, part)
    found = {name: array.tobytes() for name, array in system.tower_weights.items()}
    vectors = system.model.vectors
    found |= {"users": vectors.users.tobytes(), "items": vectors.items.tobytes()}
    return found | {"index": system.model.ann.to_bytes().tobytes()}


def ids(answer: Recommendations) -> list[int | str]:
    return [item.item for item in answer.items]


# No ratings: no NeuralMF


def test_there_is_no_neural_mf_in_memory(built: tuple[Build, Record]) -> None:
    made, record = built
    for system in (made.evaluated, made.served):
        assert system.neural_mf_weights is None
        assert system.model.rating_model is None
        assert system.model.weights.alpha == 0
    assert (made.neural_mf, made.evaluation.blend) == (None, None)
    assert not [phase for phase in record.phases if "NeuralMF" in phase or "re-rank" in phase]
    assert [phase.split(" on ")[0] for phase in record.phases if "TwoTowerBPR" in phase] == [
        "Training TwoTowerBPR",
        "Refitting TwoTowerBPR",
    ]
    assert record.notes == []  # that there is no rating column is said by whoever reads the table


def test_there_is_no_neural_mf_in_the_bundle(bundle: Bundle, artifacts: Path) -> None:
    names = set(bundle.manifest.files)
    assert set(open_bundle(artifacts).manifest.files) - names == {
        "evaluated/neural_mf.safetensors",
        "served/neural_mf.safetensors",
    }
    assert not list(bundle.folder.rglob("neural_mf*"))
    for part in ("evaluated", "served"):
        assert bundle.json(f"{part}/model.json")["has_neural_mf"] is False
    assert bundle.manifest.training.neural_mf is None
    assert bundle.json("evaluated/choices.json")["alpha"] is None
    columns = pl.read_parquet(bundle.folder / "evaluated" / "interactions.parquet").columns
    assert columns == ["user", "item", "timestamp", "slice"]


@pytest.mark.parametrize("protocol", ["standard", "notebook"])
def test_there_is_no_neural_mf_in_the_report(click_build: Build, protocol: Any) -> None:
    report = evaluate(click_build.evaluation, 10, protocol)
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert (document["rating"], document["rerank"], document["positive_threshold"]) == (None, None, None)
    assert list(document["stages"]) == STAGES
    assert [(each["stage"], each["against"]) for each in document["comparisons"]] == [
        ("ann", "exact"),
        *(("exact", base) for base in STAGES[:4]),
        *(("ann", base) for base in STAGES[:4]),
    ]
    assert report.served == "ann"


@pytest.mark.parametrize("protocol", ["standard", "notebook"])
def test_the_text_says_what_was_left_out_and_names_no_threshold(click_build: Build, protocol: Any) -> None:
    text = report_text(evaluate(click_build.evaluation, 10, protocol))
    assert LEFT_OUT in text
    assert "The served list, ann, is " in text
    assert "rerank" not in text and "rated >=" not in text


# No ratings: every row is a positive


def test_every_row_is_a_positive_whatever_the_threshold(
    clicks: Interactions, click_build: Build, sample_set: Dataset, tiny_settings: BuildSettings
) -> None:
    other, record = evaluated_only(clicks, replace(tiny_settings, positive_threshold=99.0), sample_set.items)
    assert towers(other) == towers(click_build)
    assert without_times(other.report.to_json()) == without_times(click_build.report.to_json())
    assert record.notes == []
    # Every user of a warm test row that is new to him has a relevant item.
    train, test = click_build.evaluation.data.train, click_build.evaluation.data.test
    new = set(zip(test.users.tolist(), test.items.tolist(), strict=True))
    new -= set(zip(train.users.tolist(), train.items.tolist(), strict=True))
    assert click_build.report.judged_users == len({user for user, _ in new})


def test_a_threshold_that_every_rating_reaches_trains_the_same_towers_and_is_noted(
    sample_set: Dataset, click_build: Build, tiny_settings: BuildSettings
) -> None:
    other, record = evaluated_only(
        sample_set.interactions, replace(tiny_settings, positive_threshold=1.0), sample_set.items
    )
    assert towers(other) == towers(click_build)
    for name in STAGES:
        assert other.report.stages[name] == click_build.report.stages[name]
    assert record.notes == [
        "clicks: 100% of the rows are positive (rated 1 or more): the ratings go from 1 to 5; "
        "should `positive_threshold` be higher?"
    ]


def test_a_table_of_equal_ratings_is_one_of_clicks_and_says_so(
    sample_set: Dataset, click_build: Build, clicks: Interactions, tiny_settings: BuildSettings
) -> None:
    frame = sample_set.interactions.frame.with_columns(rating=pl.lit(1.0, pl.Float32))
    table = Interactions.from_frame(frame)
    # 1 is below the threshold of 4, and no row is lost by it.
    record = Record()
    other = build(table, items=sample_set.items, settings=tiny_settings, progress=record, name="clicks")
    assert towers(other) == towers(click_build)
    assert towers(other, "served") == towers(click_build, "served")
    assert other.served.neural_mf_weights is None
    said = (
        "every rating is 1, so they are left out: every row counts as a positive, and there is no "
        "NeuralMF and no re-ranking"
    )
    expected = replace(click_build.report, notes=(said,))
    assert without_times(other.report.to_json()) == without_times(expected.to_json())
    assert record.notes == [f"clicks: {said}"]
    # The data is still what it was; the table given is left as it is.
    assert other.digest == table.digest() != clicks.digest()
    assert table.frame.columns == ["user", "item", "rating", "timestamp"]


def test_the_bundle_names_the_digest_of_the_table_itself(
    bundle: Bundle, clicks: Interactions, sample_set: Dataset
) -> None:
    assert bundle.manifest.document["data"] == {
        "name": "clicks",
        "sha256": clicks.digest(),
        "rows": len(clicks),
    }
    assert clicks.digest() != sample_set.interactions.digest()


# No ratings: saving, asking, judging again


def everything_asked(recommender: Recommender) -> list[Any]:
    users = recommender.system.users.ids
    batches = [recommender.recommend(users, 10, exact=exact) for exact in (True, False)]
    histories = [recommender.recommend_for_history([3, 50], 10, exact=exact) for exact in (True, False)]
    similar = recommender.similar_items([1, 2], 5)
    return [*(answer for batch in batches for answer in batch), *histories, *similar]


@pytest.mark.parametrize("part", ["served", "evaluated"])
def test_what_was_saved_answers_as_what_was_built(
    click_build: Build, click_artifacts: Path, part: str
) -> None:
    loaded = Recommender.load(click_artifacts, part=part)
    system = getattr(click_build, part)
    assert everything_asked(loaded) == everything_asked(Recommender(system))
    assert loaded.system.popularity.tolist() == system.popularity.tolist()
    assert loaded.system.neural_mf_weights is None


def test_the_refit_knows_every_row(click_build: Build, clicks: Interactions) -> None:
    system = click_build.served
    seen = system.model.seen
    pairs = zip(system.users.ids[seen.flat_users()], system.items.ids[seen.items], strict=True)
    assert set(pairs) == set(clicks.frame.select("user", "item").rows())
    assert len(click_build.evaluated.users) == 139 and len(system.users) == 150


def test_a_saved_copy_is_whole(recommender: Recommender, tmp_path: Path) -> None:
    recommender.save(tmp_path)
    again = Recommender.load(tmp_path)
    assert everything_asked(again) == everything_asked(recommender)
    assert again.report == recommender.report


@pytest.mark.parametrize("protocol", ["standard", "notebook"])
def test_evaluating_the_bundle_gives_the_builds_report(
    bundle: Bundle, click_build: Build, protocol: Any
) -> None:
    found = evaluate(read_evaluated(bundle), 10, protocol).to_json()
    expected = evaluate(click_build.evaluation, 10, protocol).to_json()
    assert without_times(found) == without_times(expected)
    if protocol == "standard":
        assert without_times(found) == without_times(bundle.json("report.json"))


def test_the_evaluate_command_prints_both_kinds_of_report(click_artifacts: Path) -> None:
    arguments = ["--artifacts", str(click_artifacts), "--protocol", "notebook"]
    ran = CliRunner().invoke(evaluate_command, [*arguments, "--json"], catch_exceptions=False)
    document = json.loads(ran.stdout, parse_constant=pytest.fail)
    assert (document["rating"], document["protocol"], list(document["stages"])) == (None, "notebook", STAGES)
    assert "notebook" not in document  # nothing to stand beside the notebook's own figures
    text = CliRunner().invoke(evaluate_command, arguments, catch_exceptions=False).stdout
    assert text.startswith("clicks, split by time, notebook protocol\n")
    assert LEFT_OUT in text


def test_rerank_or_not_is_the_same(recommender: Recommender, click_artifacts: Path) -> None:
    users = [42, 3, 150]
    lists = recommender.recommend(users, 10)
    assert list(lists) == list(recommender.recommend(users, 10, rerank=False))
    for answer in lists:
        assert (answer.status, answer.notes, len(answer.items)) == ("warm", (), 10)
        for rank, item in enumerate(answer.items, start=1):
            assert item.predicted_rating is None
            assert item.score == item.retrieval_score
            assert item.retrieval_rank == rank
    outputs = []
    for flags in ([], ["--no-rerank"]):
        arguments = ["--artifacts", str(click_artifacts), "--user", "42", *flags]
        outputs.append(CliRunner().invoke(query_command, arguments, catch_exceptions=False).stdout)
    assert outputs[0] == outputs[1]
    assert "rating" not in outputs[0] and "note:" not in outputs[0]
    header = outputs[0].split("\n")[1].split()
    assert header == ["item", "title", "score", "retrieved"]


def test_a_history_is_not_excused_for_what_nobody_gets(recommender: Recommender, artifacts: Path) -> None:
    assert recommender.recommend_for_history([3, 50], 5).notes == ()
    partly = recommender.recommend_for_history([3, "nothing"], 5)
    assert partly.notes == ("unknown items were left out: nothing",)
    assert {item.predicted_rating for item in partly.items} == {None}
    rated = Recommender.load(artifacts).recommend_for_history([3, 50], 5)
    assert rated.notes == ()
    assert all(1 <= item.predicted_rating <= 5 for item in rated.items)


def test_an_unknown_user_is_unknown_all_the_same(recommender: Recommender) -> None:
    with pytest.raises(NotFoundError, match="user 9999 is not among the 150 users"):
        recommender.recommend([9999])


def test_recommender_fit_takes_clicks(clicks: Interactions, tiny_settings: BuildSettings) -> None:
    frame = pd.DataFrame(clicks.frame.to_dict(as_series=False))
    fitted = Recommender.fit(frame, settings=replace(tiny_settings, refit=False))
    assert fitted.report["rating"] is None
    assert len(fitted.recommend([42], 3)[0].items) == 3


# Nothing to learn from


@pytest.mark.parametrize("column", ["user", "item"])
def test_clicks_of_one_user_or_on_one_item_are_refused(
    clicks: Interactions, tiny_settings: BuildSettings, column: str
) -> None:
    frame = clicks.frame.with_columns(pl.lit(7, pl.Int64).alias(column))
    with pytest.raises(
        DataError, match=rf"^c\.csv: all 4,822 rows are of one {column}, 7, .*`columns.{column}`$"
    ):
        build(Interactions.from_frame(frame, "c.csv"), settings=tiny_settings)


def test_clicks_that_only_repeat_train_cannot_be_chosen_by(
    clicks: Interactions, tiny_settings: BuildSettings
) -> None:
    # Everything that happens later has happened before.
    early = clicks.frame.sort("timestamp").head(1000)
    later = early.with_columns(pl.col("timestamp") + 10**9)
    table = Interactions.from_frame(pl.concat([early, later]), "c.csv")
    with pytest.raises(
        DataError, match=r"^c\.csv: every warm validation row is a pair that train has"
    ) as raised:
        build(table, settings=tiny_settings)
    assert "`positive_threshold`" not in str(raised.value)


# Other scales


@pytest.mark.parametrize(
    ("low", "high", "threshold"), [(0.5, 5, 3.5), (1, 10, 7), (0, 100, 70)], ids=["0.5-5", "1-10", "0-100"]
)
def test_another_scale_with_its_threshold_builds_the_same_system(
    sample_set: Dataset,
    tiny_build: Build,
    tiny_settings: BuildSettings,
    low: float,
    high: float,
    threshold: float,
) -> None:
    """1 to 5 stretched to another scale, quarter by quarter; the threshold still parts 3 from 4."""
    step = (high - low) / 4
    frame = sample_set.interactions.frame.with_columns(rating=low + step * (pl.col("rating") - 1))
    made, record = evaluated_only(
        Interactions.from_frame(frame), replace(tiny_settings, positive_threshold=threshold), sample_set.items
    )
    assert record.notes == []
    assert towers(made) == towers(tiny_build)
    for name in STAGES:
        assert made.report.stages[name].ndcg.value == tiny_build.report.stages[name].ndcg.value
    # NeuralMF sees the same standardised ratings but for their last bits.
    ours, theirs = made.report.rating, tiny_build.report.rating
    assert ours is not None and theirs is not None
    for figure in ("rmse", "mae", "bias_rmse", "bias_mae"):
        assert getattr(ours, figure).value == pytest.approx(step * getattr(theirs, figure).value, rel=1e-3)
    lists = [Recommender(each.evaluated).recommend([42, 7], 10, exact=True) for each in (made, tiny_build)]
    for stretched, plain in zip(*lists, strict=True):
        assert ids(stretched) == ids(plain)
        for here, there in zip(stretched.items, plain.items, strict=True):
            assert here.predicted_rating is not None and there.predicted_rating is not None
            expected = low + step * (there.predicted_rating - 1)
            assert here.predicted_rating == pytest.approx(expected, abs=1e-3 * step)
    document = made.report.to_json()
    assert document["positive_threshold"] == threshold
    assert f"with a relevant item (rated >= {threshold:g})" in report_text(made.report)


def test_a_threshold_that_no_rating_reaches_is_refused_with_the_scale(
    sample_set: Dataset, tiny_settings: BuildSettings
) -> None:
    record = Record()
    table = replace(sample_set.interactions, source="stars.csv")
    message = (
        r"^stars\.csv: no rating is 70 or more, so there is nothing to learn from: "
        "the ratings go from 1 to 5; set `positive_threshold`$"
    )
    with pytest.raises(DataError, match=message):
        build(table, settings=replace(tiny_settings, positive_threshold=70.0), progress=record)
    assert (record.phases, record.notes) == ([], [])


@pytest.mark.parametrize(("threshold", "share"), [(4.0, "100%"), (30.0, "88%"), (80.0, "58%")])
def test_a_threshold_of_another_scale_is_noted_with_the_scale(
    sample_set: Dataset, threshold: float, share: str
) -> None:
    frame = sample_set.interactions.frame.with_columns(rating=25 * (pl.col("rating") - 1) + 5)
    table = Interactions.from_frame(frame)
    ratings = table.frame["rating"]
    assert f"{(ratings >= threshold).mean():.0%}" == share
    same, notes = usable(table, threshold)
    assert same is table
    expected = [
        "100% of the rows are positive (rated 4 or more): the ratings go from 5 to 105; "
        "should `positive_threshold` be higher?"
    ]
    assert notes == (expected if share == "100%" else [])
