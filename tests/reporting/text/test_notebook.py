import json
import math
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import pytest
from click.testing import CliRunner

from retrieval.bundles.bundle import open_bundle
from retrieval.bundles.manifest import RecordedTraining
from retrieval.bundles.writer import new_bundle
from retrieval.cli.evaluate import evaluate as evaluate_command
from retrieval.data.datasets import Dataset
from retrieval.data.split_counts import SplitCounts
from retrieval.evaluation.evaluate import evaluate
from retrieval.evaluation.report import AnnReport, RatingReport, Report, StageReport
from retrieval.evaluation.uncertainty import Estimate
from retrieval.pipeline.build import Build, build
from retrieval.pipeline.presets import notebook
from retrieval.pipeline.save import write_build
from retrieval.reporting.text.notebook import Curves, notebook_json, notebook_text
from retrieval.reporting.text.tables import cell_width
from retrieval.settings import BuildSettings
from retrieval.training.curves import EpochRecord, TrainingHistory

NAN = Estimate(math.nan, math.nan, math.nan)
CURVES = Curves((0.6931, 0.6, 0.5, 0.4, 0.3), (1.25, 1.125, 1.0625, 1.03125, 1.0))


def around(value: float) -> Estimate:
    return Estimate(value, value - 0.0123, value + 0.0123)


def make_report(**changes: object) -> Report:
    """A report by the notebook's protocol, every figure another number."""

    def stage(first: float) -> StageReport:
        return StageReport(around(first), around(first + 0.01), around(first + 0.02), 0.5, 7.0)

    names = (
        "popularity",
        "recent_popularity",
        "ease",
        "neural_mf",
        "exact",
        "ann",
        "exact+rerank",
        "ann+rerank",
    )
    report = Report(
        dataset="half of ML-1M",
        protocol="notebook",
        k=10,
        positive_threshold=4.0,
        split=SplitCounts(700, 100, 200, 90, 150, 60, 50, 40, 0),
        judged_users=38,
        cold_test_rows=50,
        stages={name: stage(0.1 + place / 10) for place, name in enumerate(names)},
        comparisons=(),
        ann=AnnReport("IVF32,Flat nprobe=8", 50, around(0.95), 0.0, 0.13, 0.2, 0.065, 0.1),
        rating=RatingReport(150, *map(around, (0.91, 0.72, 0.93, 0.74)), around(-0.02)),
        blend=None,
        baselines={},
    )
    return replace(report, **changes)  # type: ignore[arg-type]


def clicks() -> Report:
    ordinary = make_report()
    stages = {name: stage for name, stage in ordinary.stages.items() if "mf" not in name and "+" not in name}
    return replace(ordinary, rating=None, positive_threshold=None, stages=stages)


# What the reference notebook reports for full MovieLens 1M.
FIGURES = [
    ("NeuralMF", "RMSE", 0.91, 0.9371),
    ("NeuralMF", "MAE", 0.72, 0.7358),
    ("NeuralMF", "Precision@10", 0.4, 0.0252),
    ("NeuralMF", "Recall@10", 0.41, 0.0044),
    ("NeuralMF", "NDCG@10", 0.42, 0.0160),
    ("TwoTowerBPR", "Precision@10", 0.5, 0.1847),
    ("TwoTowerBPR", "Recall@10", 0.51, 0.0540),
    ("TwoTowerBPR", "NDCG@10", 0.52, 0.2428),
]
REPORTED_RMSE = [0.9555, 0.9450, 0.9424, 0.9385, 0.9362]
REPORTED_LOSS = [0.6896, 0.5691, 0.3619, 0.2907, 0.2699]

NOTHING = StageReport(NAN, NAN, NAN, 0.0, math.nan)
REPORTS = {
    "ordinary": make_report(),
    "clicks": clicks(),
    "random": make_report(split_kind="random"),
    "random clicks": replace(clicks(), split_kind="random"),
    "long name": make_report(dataset="ratings-of-all-our-shops-" * 6 + ".csv.gz"),
    "long words": make_report(dataset="bewertungen aller filialen " * 6 + ".csv.gz"),
    "wide scale": make_report(rating=RatingReport(150, *[Estimate(1234.5678, 1034.5, 1434.5)] * 4, NAN)),
    "no row to rate": make_report(rating=RatingReport(0, NAN, NAN, NAN, NAN, NAN)),
    "nothing judged": make_report(
        stages=dict.fromkeys(make_report().stages, NOTHING),
        rating=RatingReport(0, NAN, NAN, NAN, NAN, NAN),
        judged_users=0,
    ),
}
ALL_CURVES = {
    "both": CURVES,
    "clicks": Curves(CURVES.bpr_loss, ()),
    "wide": Curves((1e3,) * 5, (123.45678,) * 5),
}


@pytest.mark.parametrize(("name", "curves"), list(product(REPORTS, ALL_CURVES)))
def test_every_variant_fits_80_columns_and_prints_no_nan(name: str, curves: str) -> None:
    lines = notebook_text(REPORTS[name], ALL_CURVES[curves]).split("\n")
    assert max(map(cell_width, lines)) <= 80, max(lines, key=cell_width)
    assert not [line for line in lines if "nan" in line.lower() or "None" in line or line != line.rstrip()]
    assert not [line for line in lines if "---" in line]


@pytest.mark.parametrize(("name", "curves"), list(product(REPORTS, ALL_CURVES)))
def test_every_variant_is_strict_json(name: str, curves: str) -> None:
    document = notebook_json(REPORTS[name], ALL_CURVES[curves])
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_every_reported_figure_stands_beside_ours() -> None:
    lines = notebook_text(make_report(), CURVES).split("\n")
    header = lines[0].split()
    assert header[-1] == "notebook" and "here" in header
    for line, (model, name, here, reported) in zip(lines[1:9], FIGURES, strict=True):
        interval = f"{here - 0.0123:.4f}-{here + 0.0123:.4f}"
        assert line.split() == [model, name, f"{here:.4f}", interval, f"{reported:.4f}"]


def test_the_json_holds_the_same_figures_with_all_their_digits() -> None:
    document = notebook_json(make_report(), CURVES)
    assert [
        (each["model"], each["figure"], each["here"]["value"], each["reported"])
        for each in document["figures"]
    ] == [(model, name, pytest.approx(here), reported) for model, name, here, reported in FIGURES]
    for each, (*_, here, _) in zip(document["figures"], FIGURES, strict=True):
        interval = {"value": here, "low": here - 0.0123, "high": here + 0.0123}
        assert each["here"] == pytest.approx(interval)
    assert document["validation_rmse"] == {"here": list(CURVES.validation_rmse), "reported": REPORTED_RMSE}
    assert document["bpr_loss"] == {"here": list(CURVES.bpr_loss), "reported": REPORTED_LOSS}


def test_figures_that_do_not_exist_are_a_dash_and_null() -> None:
    report = REPORTS["no row to rate"]
    lines = notebook_text(report, CURVES).split("\n")
    assert lines[1].split() == ["NeuralMF", "RMSE", "-", "-", "0.9371"]
    here = notebook_json(report, CURVES)["figures"][0]["here"]
    assert here == {"value": None, "low": None, "high": None}


def test_the_epochs_stand_above_each_other() -> None:
    lines = notebook_text(make_report(), CURVES).split("\n")
    for words, here, reported in (
        ("RMSE of NeuralMF", CURVES.validation_rmse, REPORTED_RMSE),
        ("loss of TwoTowerBPR", CURVES.bpr_loss, REPORTED_LOSS),
    ):
        (title,) = [place for place, line in enumerate(lines) if words in line and "epoch" in line]
        for line, name, values in (
            (lines[title + 1], "here", here),
            (lines[title + 2], "notebook", reported),
        ):
            assert line.split() == [name, *(f"{value:.4f}" for value in values)]
        assert len(lines[title + 1]) == len(lines[title + 2])


def test_the_text_says_whose_data_it_is_and_by_which_protocol() -> None:
    text = " ".join(notebook_text(make_report(), CURVES).split())
    assert "half of ML-1M" in text
    assert "whole of MovieLens 1M" in text
    assert "as the notebook counts" in text or "notebook's protocol" in text


def test_a_random_split_is_named_here_too() -> None:
    assert "AT RANDOM" not in notebook_text(make_report(), CURVES)
    for name in ("random", "random clicks"):
        assert "AT RANDOM" in notebook_text(REPORTS[name], CURVES)


def test_clicks_have_no_neural_mf_to_compare() -> None:
    curves = ALL_CURVES["clicks"]
    document = notebook_json(clicks(), curves)
    assert [each["model"] for each in document["figures"]] == ["TwoTowerBPR"] * 3
    assert document["validation_rmse"]["here"] == []
    table = notebook_text(clicks(), curves)
    assert not [line for line in table.split("\n") if line.startswith("NeuralMF ")]
    assert "RMSE" not in table
    assert "0.5000" in table and "0.1847" in table


def test_a_name_cannot_command_the_terminal() -> None:
    text = notebook_text(make_report(dataset="evil\x1b[31m\x07.csv"), CURVES)
    assert "\x1b" not in text and "\x07" not in text


# Curves


def history(*records: tuple[float, float | None]) -> TrainingHistory:
    curve = tuple(EpochRecord(place, *record) for place, record in enumerate(records, start=1))
    return TrainingHistory(len(curve), curve)


@pytest.mark.parametrize(
    ("neural_mf", "rmse"),
    [(history((1.5, 1.25), (1.4, 1.125)), (1.25, 1.125)), (history((1.5, None)), ()), (None, ())],
    ids=["validated", "not validated", "none"],
)
def test_curves_are_the_same_from_a_build_and_from_its_manifest(
    neural_mf: TrainingHistory | None, rmse: tuple[float, ...]
) -> None:
    towers = history((0.69, 0.1), (0.5, 0.2))
    expected = Curves((0.69, 0.5), rmse)
    assert Curves.of(towers, neural_mf) == expected
    documents = json.loads(json.dumps([asdict(towers), neural_mf and asdict(neural_mf)]))
    assert Curves.from_manifest(RecordedTraining((documents[0],), documents[1])) == expected


# The command


@pytest.fixture(scope="module")
def preset(
    sample_set: Dataset, tiny_settings: BuildSettings, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Build, Path]:
    """The sample built by the preset, on disk."""
    folder = tmp_path_factory.mktemp("preset") / "artifacts"
    made = build(
        sample_set.interactions, settings=replace(notebook(tiny_settings), refit=False), name="sample"
    )
    with new_bundle(folder) as writer:
        write_build(writer, made)
    return made, folder


def command(folder: Path, *flags: str) -> str:
    return (
        CliRunner()
        .invoke(evaluate_command, ["--artifacts", str(folder), *flags], catch_exceptions=False)
        .stdout
    )


def test_evaluate_adds_the_comparison_to_a_bundle_of_the_preset(preset: tuple[Build, Path]) -> None:
    made, folder = preset
    report = evaluate(made.evaluation, 10, "notebook")
    (towers,) = made.towers
    curves = Curves.of(towers, made.neural_mf)
    assert len(curves.bpr_loss) == len(curves.validation_rmse) == 5
    assert Curves.from_manifest(open_bundle(folder).manifest.training) == curves
    assert notebook_text(report, curves) in command(folder, "--protocol", "notebook")
    printed = json.loads(command(folder, "--protocol", "notebook", "--json"), parse_constant=pytest.fail)
    assert printed["notebook"] == notebook_json(report, curves)
    assert printed["protocol"] == "notebook"
    by_name = {
        (each["model"], each["figure"]): each["here"]["value"] for each in printed["notebook"]["figures"]
    }
    stages = printed["stages"]
    assert by_name["NeuralMF", "NDCG@10"] == stages["neural_mf"]["ndcg@10"]["value"]
    assert by_name["TwoTowerBPR", "Recall@10"] == stages["exact"]["recall@10"]["value"]
    assert by_name["NeuralMF", "RMSE"] == printed["rating"]["rmse"]


def test_nowhere_else(preset: tuple[Build, Path], artifacts: Path) -> None:
    reported = "0.1847"
    assert reported not in command(preset[1])  # the standard protocol
    assert reported not in command(preset[1], "--protocol", "notebook", "--k", "5")
    assert reported not in command(artifacts, "--protocol", "notebook")  # settings of its own
    assert "notebook" not in json.loads(command(artifacts, "--protocol", "notebook", "--json"))
