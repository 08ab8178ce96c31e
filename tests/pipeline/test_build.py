from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from index import AnnIndex, Workload
from index.choosing.measuring import standard_error
from retrieval.data.datasets import Dataset
from retrieval.data.encoded import EncodedInteractions
from retrieval.data.interactions import Interactions
from retrieval.errors import DataError, UsageError
from retrieval.evaluation.validation import ValidationLists
from retrieval.pipeline.build import Build, build
from retrieval.settings import BuildSettings
from retrieval.training.device import borrowed_torch
from retrieval.training.fit_neural_mf import fit_neural_mf
from retrieval.training.fit_towers import TowerJob, fit_towers
from tests.support.reports import without_times


class Record:
    """A `Progress` that keeps what it is told."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.epochs: list[tuple[str, int, int, str]] = []

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def plan(self, phases: int) -> None: ...

    def epoch(self, epoch: int, of: int, text: str, member: int = 1, members: int = 1) -> None:
        self.epochs.append((self.phases[-1].split()[1], epoch, of, text))

    def note(self, text: str) -> None:
        raise AssertionError(text)


def fingerprint(built: Build) -> dict[str, bytes]:
    """Every trained number of a build, as bytes."""
    found: dict[str, bytes] = {}
    for part in ("evaluated", "served"):
        system = getattr(built, part)
        for kind in ("tower_weights", "neural_mf_weights"):
            weights = getattr(system, kind)
            found |= {f"{part} {kind} {name}": array.tobytes() for name, array in weights.items()}
        found[f"{part} items"] = system.model.vectors.items.tobytes()
        found[f"{part} users"] = system.model.vectors.users.tobytes()
        found[f"{part} index"] = system.model.ann.to_bytes().tobytes()
    return found


@pytest.fixture(scope="module")
def again(sample_set: Dataset, tiny_settings: BuildSettings) -> tuple[Build, Record]:
    record = Record()
    built = build(
        sample_set.interactions,
        items=sample_set.items,
        settings=tiny_settings,
        progress=record,
        name="sample",
    )
    return built, record


def test_the_same_seed_and_threads_give_the_same_bits(tiny_build: Build, again: tuple[Build, Record]) -> None:
    one, other = fingerprint(tiny_build), fingerprint(again[0])
    assert len(one) > 20
    assert [name for name in one if one[name] != other[name]] == []
    assert without_times(tiny_build.report.to_json()) == without_times(again[0].report.to_json())
    assert tiny_build.towers == again[0].towers


def test_another_seed_gives_other_weights(
    tiny_build: Build, sample_set: Dataset, tiny_settings: BuildSettings
) -> None:
    other = build(sample_set.interactions, settings=replace(tiny_settings, seed=7))
    one, two = fingerprint(tiny_build), fingerprint(other)
    # NeuralMF's last bias starts at the mean rating and moves a little; everything else is drawn.
    assert [name for name in one if one[name] == two[name]] == []
    assert other.split.counts == tiny_build.split.counts


def test_phases_and_epochs_are_told_in_order(again: tuple[Build, Record]) -> None:
    built, record = again
    assert [phase.split(" on ")[0] for phase in record.phases] == [
        "Splitting by time",
        "Fitting the baselines",
        "Training TwoTowerBPR",
        "Training NeuralMF",
        "Weighing the re-ranker",
        "Measuring indexes and choosing one",
        "Evaluating",
        "Refitting TwoTowerBPR",
        "Refitting NeuralMF",
        "Building the index",
    ]
    trained, refitted = record.epochs[:8], record.epochs[8:]
    assert [each[:3] for each in trained] == [
        *[("TwoTowerBPR", 1, 2), ("TwoTowerBPR", 2, 2)] * 3,
        *(("NeuralMF", 1, 2), ("NeuralMF", 2, 2)),
    ]
    epochs = [member.epochs for member in built.towers]
    assert [each[:3] for each in refitted] == [
        *(("TwoTowerBPR", epoch, of) for of in epochs for epoch in range(1, of + 1)),
        *(("NeuralMF", epoch, built.neural_mf.epochs) for epoch in range(1, built.neural_mf.epochs + 1)),
    ]
    said = [text.split(", ")[0] for _, _, _, text in trained]
    assert said[:6] == [name for n in (1, 2, 3) for name in [f"member {n}/3"] * 2]
    assert "NDCG@10" in trained[0][3] and "RMSE" in trained[6][3]
    assert not any("NDCG@10" in text or "RMSE" in text for _, _, _, text in refitted)


def test_the_evaluated_models_know_train_only_and_the_served_ones_everything(
    tiny_build: Build, sample_set: Dataset
) -> None:
    train, frame = tiny_build.split.train, sample_set.interactions.frame
    for system, rows in ((tiny_build.evaluated, train), (tiny_build.served, frame)):
        seen = system.model.seen
        pairs = zip(system.users.ids[seen.flat_users()], system.items.ids[seen.items], strict=True)
        assert set(pairs) == set(rows.select("user", "item").rows())
    assert train["timestamp"].max() <= tiny_build.split.validation_start


def test_nothing_after_train_changes_the_evaluated_models(
    tiny_build: Build, sample_set: Dataset, tiny_settings: BuildSettings
) -> None:
    from retrieval.data.interactions import Interactions

    frame = sample_set.interactions.frame
    # Test rows turned upside down; validation and the cuts stay.
    late = pl.col("timestamp") > tiny_build.split.test_start
    turned = frame.with_columns(rating=pl.when(late).then(6 - pl.col("rating")).otherwise(pl.col("rating")))
    other = build(Interactions.from_frame(turned), items=sample_set.items, settings=tiny_settings)
    one, two = fingerprint(tiny_build), fingerprint(other)
    assert [name for name in one if name.startswith("evaluated") and one[name] != two[name]] == []
    assert one["served items"] != two["served items"]
    assert other.report.blend == tiny_build.report.blend
    assert other.report.stages["exact"] != tiny_build.report.stages["exact"]


def test_without_a_refit_the_evaluated_models_are_served(
    tiny_build: Build, sample_set: Dataset, tiny_settings: BuildSettings
) -> None:
    record = Record()
    built = build(
        sample_set.interactions,
        items=sample_set.items,
        settings=replace(tiny_settings, refit=False),
        progress=record,
        name="sample",
    )
    assert built.served is built.evaluated
    assert not [phase for phase in record.phases if phase.startswith("Refitting")]
    assert len(built.served.users) == 139
    assert without_times(built.report.to_json()) == without_times(tiny_build.report.to_json())


def test_the_index_looks_at_the_fewest_lists_that_reach_the_recall_asked_for(tiny_build: Build) -> None:
    model, chosen = tiny_build.evaluated.model, tiny_build.index.chosen
    nprobe = chosen.settings.nprobe
    assert nprobe is not None and nprobe < 8
    assert isinstance(model.ann, AnnIndex) and (model.ann.factory, model.ann.settings) == (
        "IVF8,Flat",
        chosen.settings,
    )
    assert chosen.recall - 2 * chosen.recall_error >= 0.5
    # of the users that chose, with one list less
    sample = np.sort(
        np.random.default_rng(42).choice(len(model.vectors.users), len(model.vectors.users), False)
    )
    everybody = Workload(model.exact, model.vectors.users[sample], 20, model.seen.take(sample))
    half = np.sort(np.array_split(np.random.default_rng(42).permutation(len(sample)), 2)[0])
    fewer = everybody.take(half).recalls(model.ann.with_nprobe(nprobe - 1)) if nprobe > 1 else np.zeros(2)
    assert fewer.mean() - 2 * standard_error(fewer) < 0.5
    assert tiny_build.report.ann.recall.value < 1


def test_alpha_of_the_report_is_the_one_both_systems_use(tiny_build: Build) -> None:
    alpha = tiny_build.report.blend.alpha
    assert tiny_build.evaluated.model.weights.alpha == tiny_build.served.model.weights.alpha == alpha


def test_the_served_models_are_trained_for_the_best_epochs_of_the_evaluated_ones(
    sample_set: Dataset, tiny_settings: BuildSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By these figures the second member is best after one epoch, the others after two."""
    figures = iter([0.1, 0.2, 0.2, 0.1, 0.1, 0.2])
    monkeypatch.setattr(ValidationLists, "ndcg", lambda lists, vectors: np.full(9, next(figures)))
    built = build(sample_set.interactions, settings=tiny_settings)
    assert [member.epochs for member in built.towers] == [2, 1, 2]
    frames = (built.evaluated, built.split.train), (built.served, sample_set.interactions.frame)
    for system, frame in frames:
        data = EncodedInteractions.from_frame(frame, system.users, system.items)
        chance = {"seed": tiny_settings.seed, "device": torch.device("cpu")}
        with borrowed_torch(1):
            towers = fit_towers(TowerJob(data.positives(4), tiny_settings.towers, **chance), epochs=(2, 1, 2))
            rated = fit_neural_mf(data, tiny_settings.neural_mf, epochs=built.neural_mf.epochs, **chance)
        for mine, theirs in (
            (towers.weights, system.tower_weights),
            (rated.weights, system.neural_mf_weights),
        ):
            assert mine.keys() == theirs.keys()
            assert all(np.array_equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize("index", ["IVF999,Flat", "PQ5", "nonsense", "HNSW0", ""])
def test_an_index_that_cannot_work_is_refused_before_training_with_one_that_does(
    sample_set: Dataset, tiny_settings: BuildSettings, index: str
) -> None:
    record = Record()
    with pytest.raises(UsageError, match=r'`index`.*"IVF2,Flat" works here'):
        build(sample_set.interactions, settings=replace(tiny_settings, index=index), progress=record)
    assert record.phases == ["Splitting by time"]


def test_no_positive_in_validation_is_refused_before_training(
    sample_set: Dataset, tiny_settings: BuildSettings
) -> None:
    record = Record()
    # One positive in the whole table, the last row.
    rated = pl.Series("rating", [1.0] * (len(sample_set.interactions) - 1) + [5.0], dtype=pl.Float32)
    frame = sample_set.interactions.frame.sort("timestamp").with_columns(rated)
    with pytest.raises(DataError, match="lower `positive_threshold`"):
        build(Interactions.from_frame(frame), settings=tiny_settings, progress=record)
    assert record.phases == ["Splitting by time"]


@pytest.mark.parametrize("rate", [1e3, 1e18, 1e30])
def test_a_learning_rate_that_explodes_is_bad_data_or_leaves_finite_vectors(
    sample_set: Dataset, tiny_settings: BuildSettings, rate: float
) -> None:
    settings = replace(tiny_settings, towers=replace(tiny_settings.towers, learning_rate=rate))
    try:
        built = build(sample_set.interactions, settings=settings)
    except DataError as error:
        assert "lower the learning rate" in str(error)
    else:
        assert np.isfinite(built.served.model.vectors.items).all()
