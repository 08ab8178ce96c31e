import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from index import AnnIndex
from retrieval.bundles.bundle import open_bundle
from retrieval.bundles.fitted_system_files import read_system, write_system
from retrieval.bundles.layout import CHOICES, INTERACTIONS
from retrieval.bundles.writer import new_bundle, to_parquet
from retrieval.data.ids import IdMap
from retrieval.errors import ArtifactError, DamagedBundle
from retrieval.evaluation.evaluate import evaluate
from retrieval.evaluation.from_bundle import read_evaluated
from retrieval.pipeline.build import Build
from retrieval.serving.fitted_system import FittedSystem, title_array
from retrieval.serving.rerank import BlendWeights
from retrieval.serving.two_stage import TwoStageModel
from retrieval.training.linear_models import Ease
from tests.support.forging import republish
from tests.support.manifests import DESCRIPTION
from tests.support.reports import with_alpha, without_times


def assert_same_system(one: FittedSystem, other: FittedSystem) -> None:
    """Bit for bit, dtypes included."""
    for name in ("tower_weights", "neural_mf_weights"):
        weights, others = getattr(one, name), getattr(other, name)
        assert weights.keys() == others.keys()
        for key in weights:
            assert_same_array(weights[key], others[key])
    mine, theirs = one.model, other.model
    pairs = [
        (one.users.ids, other.users.ids),
        (one.items.ids, other.items.ids),
        (one.titles, other.titles),
        (mine.vectors.items, theirs.vectors.items),
        (mine.vectors.users, theirs.vectors.users),
        (mine.vectors.history_items, theirs.vectors.history_items),
        (mine.vectors.prior, theirs.vectors.prior),
        (mine.trend, theirs.trend),
        (mine.seen.indptr, theirs.seen.indptr),
        (mine.seen.items, theirs.seen.items),
        (mine.ann.to_bytes(), theirs.ann.to_bytes()),
    ]
    columns, others = one.attributes.to_arrays(), other.attributes.to_arrays()
    assert columns[0] == others[0]
    pairs += [(columns[1][name], others[1][name]) for name in columns[1]]
    for array, another in pairs:
        assert_same_array(array, another)
    assert (mine.n_candidates, mine.ann.name) == (theirs.n_candidates, theirs.ann.name)
    assert blend_weights(mine) == blend_weights(theirs)


def blend_weights(model: TwoStageModel) -> tuple[float, ...]:
    weights = model.weights
    return (weights.alpha, weights.trend_weight, weights.newcomer_alpha, weights.newcomer_trend_weight)


def assert_same_array(one: np.ndarray, other: np.ndarray) -> None:
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("part", ["evaluated", "served"])
def test_a_system_is_read_back_bit_for_bit(tiny_build: Build, artifacts: Path, part: str) -> None:
    assert_same_system(read_system(open_bundle(artifacts), part), getattr(tiny_build, part))


def test_the_two_parts_are_different_fits(artifacts: Path) -> None:
    bundle = open_bundle(artifacts)
    evaluated, served = read_system(bundle, "evaluated"), read_system(bundle, "served")
    assert (len(evaluated.users), len(served.users)) == (139, 150)
    assert len(evaluated.model.seen.items) == 3375 and len(served.model.seen.items) == 4822


def test_every_weight_of_the_blend_is_read_back_as_itself(tiny_build: Build, tmp_path: Path) -> None:
    weights = {
        "alpha": 0.1,
        "trend_weight": 0.3,
        "newcomer_alpha": 0.5,
        "newcomer_trend_weight": 0.7,
    }
    model = replace(tiny_build.served.model, weights=BlendWeights(**weights))
    system = replace(tiny_build.served, model=model)
    with new_bundle(tmp_path) as writer:
        write_system(writer, "served", system)
        writer.publish(DESCRIPTION)
    back = read_system(open_bundle(tmp_path), "served")
    assert_same_system(back, system)
    assert blend_weights(back.model) == tuple(weights.values())


@pytest.mark.parametrize("search", ["exact", "ann"])
@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_the_same_rows_and_scores_come_out_of_what_was_read(
    tiny_build: Build, tmp_path: Path, search: str, alpha: float
) -> None:
    system = with_alpha(tiny_build.served, alpha)
    with new_bundle(tmp_path) as writer:
        write_system(writer, "served", system)
        writer.publish(DESCRIPTION)
    back = read_system(open_bundle(tmp_path), "served")
    users = np.arange(len(system.users))
    one = system.model.for_users(users, 10, search)  # type: ignore[arg-type]
    other = back.model.for_users(users, 10, search)  # type: ignore[arg-type]
    for name in ("rows", "scores", "retrieval_ranks", "retrieval_scores", "predicted_ratings"):
        assert_same_array(getattr(one, name), getattr(other, name))
    plain = system.model.for_users(users, 10, "exact", rerank=False)
    if search == "exact":  # the weight has an effect, and 0 has none
        assert (one.rows != plain.rows).any() == (alpha > 0)


@pytest.mark.parametrize("name", ["IVF8,Flat nprobe=5", "HNSW8 efSearch=37"])
def test_search_settings_of_the_index_are_read_back(tiny_build: Build, tmp_path: Path, name: str) -> None:
    model = tiny_build.served.model
    ann = AnnIndex.build(model.vectors.items, name.split()[0], seed=1, threads=1)
    ann = ann.with_nprobe(5) if "nprobe" in name else ann.with_ef_search(37)
    with new_bundle(tmp_path) as writer:
        write_system(writer, "served", replace(tiny_build.served, model=replace(model, ann=ann)))
        writer.publish(DESCRIPTION)
    assert read_system(open_bundle(tmp_path), "served").model.ann.name == name


@pytest.mark.parametrize("k", [5, 10])
def test_evaluating_the_bundle_gives_the_figures_of_the_build(
    tiny_build: Build, artifacts: Path, k: int
) -> None:
    again = evaluate(read_evaluated(open_bundle(artifacts)), k).to_json()
    report = tiny_build.report.to_json()
    if k != 10:
        assert again["stages"]["exact"].keys() == {
            f"{name}@{k}" for name in ("precision", "recall", "ndcg", "coverage", "popularity_rank")
        }
        return
    baselines = {"popularity", "recent_popularity", "ease", "item_knn"}
    assert set(report["stages"]) == baselines | {"exact", "ann", "exact+rerank", "ann+rerank"}
    assert without_times(again) == without_times(report)


def test_the_report_on_disk_is_the_reports_json(tiny_build: Build, artifacts: Path) -> None:
    assert open_bundle(artifacts).json("report.json") == tiny_build.report.to_json()


def test_people_find_every_user_and_item_in_a_table(tiny_build: Build, artifacts: Path) -> None:
    folder = open_bundle(artifacts).folder
    users, items = pl.read_parquet(folder / "users.parquet"), pl.read_parquet(folder / "items.parquet")
    assert users["user"].to_list() == list(range(1, 151))
    assert users["interactions"].sum() == items["interactions"].sum() == 4822
    assert items["title"][52] == "Comedy 23 (2017)" and items["genres"][52].to_list() == ["Comedy"]
    slices = pl.read_parquet(folder / "evaluated" / "interactions.parquet")["slice"].value_counts(sort=True)
    assert slices.rows() == [("train", 3375), ("test", 965), ("validation", 482)]


def test_json_in_the_bundle_knows_no_nan(artifacts: Path) -> None:
    def refuse(text: str) -> None:
        raise AssertionError(text)

    for path in open_bundle(artifacts).folder.rglob("*.json"):
        json.loads(path.read_bytes(), parse_constant=refuse)


def test_a_part_that_is_not_there_is_refused(tiny_build: Build, tmp_path: Path) -> None:
    with new_bundle(tmp_path) as writer:
        write_system(writer, "evaluated", tiny_build.evaluated)
        writer.publish(DESCRIPTION)
    with pytest.raises(ArtifactError, match=r"served/model\.json: not listed"):
        read_system(open_bundle(tmp_path), "served")
    with pytest.raises(ArtifactError, match=r"interactions\.parquet: not listed"):
        read_evaluated(open_bundle(tmp_path))


@pytest.mark.parametrize("wrong", ["users", "items", "titles"])
def test_a_system_refuses_ids_or_titles_of_another_number(tiny_build: Build, wrong: str) -> None:
    system = tiny_build.served
    shorter = {
        "users": IdMap(system.users.ids[:-1]),
        "items": IdMap(system.items.ids[:-1]),
        "titles": system.titles[:-1],
    }
    with pytest.raises(ValueError, match="of different builds"):
        replace(system, **{wrong: shorter[wrong]})


def test_titles_become_text_with_nothing_for_none() -> None:
    assert title_array(["Alien", None, "Léon"]).tolist() == ["Alien", "", "Léon"]
    assert title_array([None]).dtype.kind == "U"


def test_an_error_while_fitting_the_baselines_is_a_bug_and_no_damage(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise TypeError("a bug in EASE")

    monkeypatch.setattr(Ease, "fit", broken)
    with pytest.raises(TypeError, match="a bug in EASE"):
        read_evaluated(open_bundle(artifacts))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("ease_l2", value) for value in (0.0, -1.0, 1e-200, 1e200, "1000", True)],
        *[("recent_window", value) for value in (0.0, 1.1, [0.1])],
        *[("item_knn_neighbours", value) for value in (0, 2.5, 10**30)],
    ],
)
def test_a_setting_of_a_baseline_that_no_build_chooses_is_refused(
    own_artifacts: Path, name: str, value: object
) -> None:
    choices = open_bundle(own_artifacts).json(CHOICES)
    choices["baselines"][name] = value
    bundle = republish(own_artifacts, {CHOICES: json.dumps(choices).encode()})
    with pytest.raises(DamagedBundle, match=rf"choices\.json: baselines\.{name} is "):
        read_evaluated(bundle)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (pl.col("user").cast(pl.Float64), "column user is Float64"),
        (pl.col("slice").replace("test", None), "column slice is String with 965 nulls"),
        (pl.col("rating").cast(pl.String), "column rating is String"),
    ],
)
def test_interactions_of_other_types_are_refused(own_artifacts: Path, change: pl.Expr, says: str) -> None:
    frame = pl.read_parquet(open_bundle(own_artifacts).folder / INTERACTIONS).with_columns(change)
    bundle = republish(own_artifacts, {INTERACTIONS: to_parquet(frame)})
    with pytest.raises(DamagedBundle, match=says):
        read_evaluated(bundle)
