"""Training that goes on from a checkpoint is to the bit the one that ran through; damage is refused."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from index import ItemLists
from retrieval.data.datasets import Dataset
from retrieval.data.encoded import EncodedInteractions
from retrieval.data.items import ItemTable
from retrieval.data.side_features import SideFeatures
from retrieval.data.users import UserTable
from retrieval.disk import UNFINISHED
from retrieval.errors import ArtifactError, DataError, EnvironmentProblem, UsageError
from retrieval.serving.tower_vectors import TowerVectors
from retrieval.settings import BuildSettings, NeuralMFSettings, TowerSettings, id_towers
from retrieval.training.checkpoint_files import DIGEST_BYTES
from retrieval.training.checkpoint_key import checkpoint_key
from retrieval.training.checkpoints import (
    FOLDER,
    SUFFIX,
    Checkpoint,
    Checkpoints,
    Key,
    remove_checkpoints,
    stamps,
)
from retrieval.training.curves import EpochRecord
from retrieval.training.device import borrowed_torch
from retrieval.training.fit_neural_mf import FittedNeuralMF, fit_neural_mf
from retrieval.training.fit_towers import FittedTowers, TowerFeatures, TowerJob, fit_towers
from tests.support.recording import Record

CPU = torch.device("cpu")
KEY: Key = {"learning_rate": 0.1, "hidden": (16, 8), "interactions": "ab" * 32}
N_USERS, N_ITEMS = 30, 20
EPOCHS = 5

Fitted = FittedTowers | FittedNeuralMF
OnEpoch = Callable[[str, EpochRecord], None]


pytestmark = pytest.mark.usefixtures("one_thread")


def ratings() -> tuple[EncodedInteractions, EncodedInteractions]:
    """Users like the items of their own parity; two thirds to train on."""
    rng = np.random.default_rng(3)
    users, items = np.divmod(np.arange(N_USERS * N_ITEMS), N_ITEMS)
    values = (np.where((users - items) % 2 == 0, 4.5, 1.5) + rng.normal(0, 0.3, len(users))).astype(
        np.float32
    )
    times = rng.integers(0, 10**7, len(users))
    table = EncodedInteractions(users, items, values, times, N_USERS, N_ITEMS)
    train = rng.random(len(users)) < 0.66
    return table.where(train), table.where(~train)


def side_features(rows: int) -> SideFeatures:
    return SideFeatures(ItemLists(np.arange(rows + 1), np.arange(rows) % 2), ("even", "odd"))


def merits_of(vectors: TowerVectors) -> Any:
    """Figures that rise and fall as if by chance: which epoch is kept depends on every weight."""
    return np.sin(1e4 * vectors.users[:12].sum(axis=1).astype(np.float64))


TOWERS: dict[str, TowerSettings] = {
    "history tower": TowerSettings(dimension=8, negatives=4, batch_size=16, members=1, learning_rate=0.03),
    "softmax": TowerSettings(dimension=8, batch_size=16, members=1, learning_rate=0.03, loss="softmax"),
    "two members": TowerSettings(dimension=8, negatives=4, batch_size=16, members=2, learning_rate=0.03),
    "id tower": id_towers(dimension=8, negatives=4, batch_size=64, learning_rate=0.03),
    "without biases": id_towers(dimension=8, batch_size=64, item_bias=False, user_sampling="users"),
}
TOWERS = {name: replace(each, max_epochs=EPOCHS, patience=2) for name, each in TOWERS.items()}
NEURAL_MF = NeuralMFSettings(
    dimension=4, hidden=(8, 4), dropout=0.3, batch_size=64, max_epochs=EPOCHS, patience=2
)


def fit_of(name: str, device: torch.device = CPU) -> Callable[[Checkpoints, OnEpoch], Fitted]:
    """A fit by name; "again" is for so many epochs without validation, as the refit is."""
    train, held_out = ratings()
    model, again = name.removesuffix(" again"), name.endswith(" again")

    def towers(checkpoints: Checkpoints, on_epoch: OnEpoch) -> FittedTowers:
        settings = TOWERS[model.removesuffix(" with features")]
        features = TowerFeatures()
        if model.endswith(" with features"):
            features = TowerFeatures(side_features(N_ITEMS), side_features(N_USERS))
        return fit_towers(
            TowerJob(
                train.positives(4),
                settings,
                seed=1,
                device=device,
                features=features,
                validate=None if again else merits_of,
            ),
            epochs=(4, 3)[: settings.members] if again else None,
            on_epoch=lambda member, record: on_epoch(f"member {member + 1}", record),
            checkpoint=lambda member: checkpoints.of(f"member {member + 1}"),
        )

    def neural_mf(checkpoints: Checkpoints, on_epoch: OnEpoch) -> FittedNeuralMF:
        return fit_neural_mf(
            train,
            NEURAL_MF,
            seed=1,
            device=device,
            validation=None if again else held_out,
            epochs=4 if again else None,
            on_epoch=lambda record: on_epoch("NeuralMF", record),
            checkpoint=checkpoints.of("NeuralMF"),
        )

    return neural_mf if model == "NeuralMF" else towers


FITS = [
    *TOWERS,
    "history tower with features",
    "NeuralMF",
    "history tower again",
    "two members again",
    "NeuralMF again",
]


class Killed(Exception):
    """The process ends here."""


def ran(fitted: Fitted) -> str:
    return str(fitted.history if isinstance(fitted, FittedNeuralMF) else fitted.members)


def same(left: Fitted, right: Fitted) -> bool:
    assert left.weights.keys() == right.weights.keys()
    equal = all(left.weights[name].tobytes() == right.weights[name].tobytes() for name in left.weights)
    return equal and ran(left) == ran(right)


def stray() -> None:
    """What another process would have drawn meanwhile."""
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002


def resumed(folder: Path, key: Key = KEY, seconds: float = 0.0) -> tuple[Checkpoints, str]:
    record = Record()
    checkpoints = Checkpoints.open(folder, key, record, resume=True, seconds=seconds)
    (note,) = record.notes
    return checkpoints, note


# The same to the bit


@pytest.mark.parametrize("name", FITS)
def test_a_fit_killed_after_any_epoch_goes_on_to_the_same_weights(tmp_path: Path, name: str) -> None:
    fit = fit_of(name)
    told: list[tuple[str, int]] = []
    whole = fit(Checkpoints(), lambda title, record: told.append((title, record.epoch)))
    assert len(told) >= 3
    for last in range(1, len(told)):
        folder, ran_again = tmp_path / str(last), list[tuple[str, int]]()

        def kill(title: str, record: EpochRecord, before: tuple[str, int] = told[last]) -> None:
            if (title, record.epoch) == before:
                raise Killed

        with pytest.raises(Killed):
            fit(Checkpoints(folder, KEY, seconds=0), kill)
        stray()
        checkpoints, note = resumed(folder)
        again = fit(checkpoints, lambda title, record: ran_again.append((title, record.epoch)))  # noqa: B023
        assert same(again, whole), f"killed after {told[last - 1]}"
        title, epoch = told[last]
        assert ran_again == told[last:]  # nothing is trained twice
        assert (
            note == f"resuming: after {told[last - 1][0]}"
            if epoch == 1
            else f"resuming: {title}, epoch {epoch}"
        )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["history tower again", "NeuralMF again"])
def test_on_a_cuda_device_a_fit_goes_on_to_the_same_weights(tmp_path: Path, name: str) -> None:
    fit = fit_of(name, torch.device("cuda"))

    def kill(title: str, record: EpochRecord) -> None:
        if record.epoch == 3:
            raise Killed

    with borrowed_torch(1, torch.device("cuda")):
        with pytest.raises(Killed):
            fit(Checkpoints(tmp_path / "kept", KEY, seconds=0), kill)
        stray()
        again = fit(resumed(tmp_path / "kept")[0], lambda title, record: None)
        assert same(again, fit(Checkpoints(), lambda title, record: None))


@pytest.mark.parametrize("name", FITS)
def test_a_finished_fit_is_not_trained_again(tmp_path: Path, name: str) -> None:
    fit = fit_of(name)
    whole = fit(Checkpoints(tmp_path / "kept", KEY, seconds=1e9), lambda title, record: None)
    stray()
    checkpoints, note = resumed(tmp_path / "kept")
    assert note.startswith("resuming: after ")

    def never(title: str, record: EpochRecord) -> None:
        raise AssertionError(f"{title} is trained again")

    assert same(fit(checkpoints, never), whole)


def test_checkpoints_change_nothing(tmp_path: Path) -> None:
    for name in ("history tower", "id tower", "NeuralMF"):
        fit = fit_of(name)
        kept = fit(Checkpoints(tmp_path / name, KEY, seconds=0), lambda title, record: None)
        assert same(kept, fit(Checkpoints(), lambda title, record: None))


def test_a_fit_can_be_killed_again_and_again(tmp_path: Path) -> None:
    for name in ("history tower", "NeuralMF"):
        fit, epochs = fit_of(name), list[int]()

        def kill(title: str, record: EpochRecord, epochs: list[int] = epochs) -> None:
            epochs.append(record.epoch)
            if len(epochs) % 2 == 0:
                raise Killed

        fitted = None
        while fitted is None:
            try:
                fitted = fit(resumed(tmp_path / name)[0], kill)
            except Killed:
                stray()
        assert len(epochs) > max(epochs) > 2
        assert same(fitted, fit(Checkpoints(), lambda title, record: None))


def test_the_state_is_kept_after_so_many_seconds_and_at_the_end_of_each_fit(tmp_path: Path) -> None:
    now, kept = 0.0, list[tuple[str, int | None]]()

    class Watched(Checkpoints):
        def write(self, title: str, epoch: int | None, *rest: Any) -> None:
            kept.append((title, epoch))
            super().write(title, epoch, *rest)

    def epoch_takes(title: str, record: EpochRecord) -> None:
        nonlocal now
        now += 2.0

    checkpoints = Watched(tmp_path / "kept", KEY, seconds=5.0, clock=lambda: now)
    train, _ = ratings()
    settings = replace(TOWERS["two members"], max_epochs=7)
    fit_towers(
        TowerJob(train.positives(4), settings, seed=1, device=CPU),
        on_epoch=lambda member, record: epoch_takes("", record),
        checkpoint=lambda member: checkpoints.of(str(member)),
    )
    # After 6 and 12 seconds, at the end of 14; then 6 and 12 later.
    assert kept == [("0", 3), ("0", 6), ("0", None), ("1", 3), ("1", 6), ("1", None)]


# NaN in training


@pytest.mark.parametrize("broken", ["loss", "weights"])
def test_training_that_breaks_down_leaves_the_last_good_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    from retrieval.training import fit_neural_mf as fit_module

    whole_loss, calls = fit_module.mean_loss, 0

    def breaking(steps: Any) -> float:
        nonlocal calls
        calls += 1
        loss = whole_loss(steps)
        return float("nan") if calls == 3 and broken == "loss" else loss

    fit = fit_of("NeuralMF again")
    whole = fit(Checkpoints(), lambda title, record: None)
    with monkeypatch.context() as patch:
        patch.setattr(fit_module, "mean_loss", breaking)
        if broken == "weights":
            patch.setattr(torch.Tensor, "isfinite", lambda self: torch.tensor(calls != 3))
        with pytest.raises(DataError, match="training broke down in epoch 3"):
            fit(Checkpoints(tmp_path / "kept", KEY, seconds=0), lambda title, record: None)
    checkpoints, note = resumed(tmp_path / "kept")
    assert note == "resuming: NeuralMF, epoch 3"
    assert same(fit(checkpoints, lambda title, record: None), whole)


# Files


def written(folder: Path) -> Path:
    """One small checkpoint."""
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32(7)[...]}
    Checkpoints(folder, KEY).of("NeuralMF").save(2, tensors, {"curve": [0.1, None]})
    (path,) = folder.iterdir()
    return path


def test_what_is_read_is_what_was_kept(tmp_path: Path) -> None:
    path = written(tmp_path / "kept")
    saved = resumed(tmp_path / "kept")[0].of("NeuralMF").read()
    assert saved is not None
    assert (saved.path, saved.epoch, saved.document) == (path, 2, {"curve": [0.1, None]})
    assert saved.tensors["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (saved.tensors["b"].shape, saved.tensors["b"].dtype, float(saved.tensors["b"])) == (
        (),
        np.float32,
        7,
    )
    assert path.read_bytes()[DIGEST_BYTES + 8 : DIGEST_BYTES + 9] == b"{"  # safetensors, and no pickle


@pytest.mark.parametrize("finished", [False, True])
def test_every_flipped_bit_is_refused(tmp_path: Path, finished: bool) -> None:
    path = written(tmp_path / "kept")
    if finished:
        Checkpoints(tmp_path / "kept", KEY).of("NeuralMF").save(None, {}, {})
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError) as refused:
            resumed(tmp_path / "kept")
        message = str(refused.value)
        assert message.startswith(f"{path}: ") and "delete it, or build without `resume`" in message
        assert "\n" not in message


def test_every_cut_and_what_is_behind_the_end_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "kept")
    whole = path.read_bytes()
    for damaged in (*(whole[:size] for size in range(len(whole))), whole + b"\0", whole + whole):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match="delete it, or build without `resume`"):
            resumed(tmp_path / "kept")


def test_what_is_no_file_or_another_fit_is_refused(tmp_path: Path) -> None:
    import hashlib
    import os
    import pickle

    path = written(tmp_path / "kept")
    whole = path.read_bytes()
    moved = path.rename(path.with_name(f"other{SUFFIX}"))
    with pytest.raises(ArtifactError, match="it is of NeuralMF"):
        resumed(tmp_path / "kept")
    moved.unlink()
    (tmp_path / "elsewhere").write_bytes(whole)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="not a plain file"):
        resumed(tmp_path / "kept")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ArtifactError, match="not a plain file"):
        resumed(tmp_path / "kept")
    path.unlink()
    for content in (pickle.dumps({"a": 1}), b"", b"\0" * 100, whole[DIGEST_BYTES:][:8]):
        path.write_bytes(hashlib.sha256(content).digest() + content)
        with pytest.raises(ArtifactError, match="not what a build keeps"):
            resumed(tmp_path / "kept")


def test_tensors_that_do_not_fit_the_models_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "kept")
    with pytest.raises(ArtifactError, match="does not fit these models") as refused:
        fit_of("NeuralMF")(resumed(tmp_path / "kept")[0], lambda title, record: None)
    assert str(path) in str(refused.value)
    Checkpoints(tmp_path / "kept", KEY).of("NeuralMF").save(
        None,
        {"kept.users.weight": np.zeros((2, 2), dtype=np.float32)},
        {"history": {"epochs": 1, "curve": []}},
    )
    with pytest.raises(ArtifactError, match="does not fit these models"):
        fit_of("NeuralMF")(resumed(tmp_path / "kept")[0], lambda title, record: None)


def test_a_build_that_does_not_resume_begins_anew(tmp_path: Path) -> None:
    path = written(tmp_path / "kept")
    path.with_name(f"{UNFINISHED}x").write_bytes(b"half")
    path.with_name("mine.txt").write_text("of somebody else")
    record = Record()
    checkpoints = Checkpoints.open(path.parent, KEY, record, resume=False)
    assert [each.name for each in path.parent.iterdir()] == ["mine.txt"]
    assert not checkpoints.of("NeuralMF").exists and checkpoints.of("NeuralMF").read() is None
    assert record.notes == []
    path.with_name("mine.txt").unlink()
    remove_checkpoints(path.parent)
    assert not path.parent.exists()
    remove_checkpoints(path.parent)  # there may be none


def test_nothing_to_resume_is_said(tmp_path: Path) -> None:
    checkpoints, note = resumed(tmp_path / "kept")
    assert note == f"nothing to resume in {tmp_path / 'kept'}: the build begins at the start"
    assert not checkpoints.of("NeuralMF").exists
    assert not (tmp_path / "kept").exists()  # not before there is something to keep


def test_a_checkpoint_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "kept")
    before, whole = stamps(path.parent), path.read_bytes()

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("retrieval.disk._sync", full)
        with pytest.raises(EnvironmentProblem, match="No space left on device"):
            Checkpoints(path.parent, KEY).of("NeuralMF").save(3, {}, {})
    assert path.read_bytes() == whole and list(path.parent.iterdir()) == [path]
    assert stamps(path.parent) == before
    Checkpoints(path.parent, KEY).of("NeuralMF").save(2, {}, {})
    assert not stamps(path.parent) & before and stamps(tmp_path / "nowhere") == set()


# What they belong to


def test_checkpoints_of_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    path = written(tmp_path / "kept")
    now = {"learning_rate": 0.2, "hidden": (16, 4), "interactions": "cd" * 32, "users table": "ef" * 32}
    with pytest.raises(UsageError) as refused:
        resumed(tmp_path / "kept", now)
    assert str(refused.value) == (
        f"`resume`: {path.parent} is of another build: learning_rate was 0.1, is 0.2, hidden was 16,8, "
        "is 16,4, interactions was abababababab, is cdcdcdcdcdcd, users table was none, is efefefefefef; "
        "give the same data and settings, or leave out `resume` to begin anew"
    )
    assert path.exists()


def test_another_format_is_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "kept")
    monkeypatch.setattr("retrieval.training.checkpoints.FORMAT_VERSION", 2)
    with pytest.raises(UsageError, match="checkpoint format was 1, is 2"):
        resumed(tmp_path / "kept")


def other(value: Any) -> Any:
    """A value that a setting can have too."""
    choices = {"time": "random", "history": "id", "bpr": "softmax", "positives": "users", (64, 32): (32, 32)}
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return value / 2 if isinstance(value, float) else choices[value]


def test_every_setting_that_training_knows_is_in_the_key() -> None:
    base = BuildSettings(threads=1)
    key = checkpoint_key("ab", None, None, base, CPU)
    for part in ("split", "towers", "neural_mf"):
        settings = getattr(base, part)
        for field in fields(settings):
            if field.name == "user_tower":
                changed: Any = id_towers()
            else:
                changed = replace(settings, **{field.name: other(getattr(settings, field.name))})
            assert checkpoint_key("ab", None, None, replace(base, **{part: changed}), CPU) != key, field.name
    for name in ("seed", "threads", "positive_threshold"):
        changed = replace(base, **{name: other(getattr(base, name))})
        assert checkpoint_key("ab", None, None, changed, CPU) != key, name
    later = replace(base, index="exact", candidates=7, recall_target=0.5, refit=False, index_minutes=1.0)
    assert checkpoint_key("ab", None, None, later, CPU) == key
    assert key.keys() >= {"torch", "device", "interactions", "items table", "users table"}


def test_the_tables_are_in_the_key() -> None:
    base = BuildSettings(threads=1)
    frame = pl.DataFrame({"item": [1, 2], "title": ["a", "b"], "genres": ["x", "x|y"]})
    people = pl.DataFrame({"user": [1, 2], "gender": ["F", "M"]})
    items = [ItemTable.from_frame(each) for each in (frame, frame.with_columns(genres=pl.lit("x")))]
    users = [UserTable.from_frame(each) for each in (people, people.with_columns(gender=pl.lit("F")))]
    tables = [(None, None), (items[0], None), (items[1], None), (None, users[0]), (None, users[1])]
    keys = [checkpoint_key("ab", *each, base, CPU) for each in tables]
    assert all(left != right for i, left in enumerate(keys) for right in keys[:i])
    again = ItemTable.from_frame(frame.clone())
    assert checkpoint_key("ab", again, None, base, CPU) == keys[1]
    assert checkpoint_key("cd", None, None, base, CPU) != keys[0]


# A whole build


def test_a_build_goes_on_where_it_was_killed(
    sample_set: Dataset, tiny_settings: BuildSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the middle of the refit: what train's fits left is read, and the same systems come out."""
    from retrieval.pipeline.build import build

    kept, record = tmp_path / FOLDER, Record()
    settings = replace(tiny_settings, index="exact")
    how = {"items": sample_set.items, "settings": settings, "checkpoints": kept}
    save = Checkpoint.save

    def saving(self: Checkpoint, *arguments: Any) -> None:
        if self.title.startswith("refit of NeuralMF"):
            raise Killed
        save(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", saving)
        with pytest.raises(Killed):
            build(sample_set.interactions, **how)
    assert len(list(kept.iterdir())) == 3 + 1 + 3
    with pytest.raises(UsageError, match=r"another build: learning_rate was 0\.006, is 0\.2; give the same"):
        other = replace(settings, towers=replace(settings.towers, learning_rate=0.2))
        build(sample_set.interactions, **how | {"settings": other}, resume=True)
    again = build(sample_set.interactions, **how, progress=record, resume=True)
    assert record.notes == ["resuming: after refit of TwoTowerBPR member 3"]
    trained = [phase for phase in record.phases if phase.startswith(("Training", "Refitting"))]
    assert trained == ["Refitting NeuralMF on 4,822 ratings"]
    assert len([phase for phase in record.phases if phase.endswith("from its checkpoint")]) == 3
    whole = build(sample_set.interactions, **how, resume=False)
    for left, right in ((whole.served, again.served), (whole.evaluated, again.evaluated)):
        for name in ("tower_weights", "neural_mf_weights"):
            weights, others = getattr(left, name), getattr(right, name)
            assert all(weights[key].tobytes() == others[key].tobytes() for key in weights)
    assert (whole.towers, whole.neural_mf) == (again.towers, again.neural_mf)


def test_a_search_that_is_over_is_not_repeated(
    sample_set: Dataset, tiny_settings: BuildSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More minutes could choose other settings, and the checkpoints would be of others."""
    pytest.importorskip("optuna")
    from retrieval.pipeline import tuning
    from retrieval.pipeline.build import build
    from retrieval.settings import TuneSettings

    settings = replace(tiny_settings, index="exact", tune=TuneSettings(60.0, trials=3), refit=False)
    how: dict[str, Any] = {"settings": settings, "checkpoints": tmp_path / FOLDER}
    whole = build(sample_set.interactions, **how)
    searched = tmp_path / FOLDER / f"search-for-settings{SUFFIX}"
    assert searched.is_file()
    for path in (tmp_path / FOLDER).glob("twotowerbpr*"):
        path.unlink()

    def never(*arguments: object, **more: object) -> None:
        raise AssertionError("searched again")

    monkeypatch.setattr(tuning, "search_settings", never)
    again = build(sample_set.interactions, **how, resume=True)
    assert again.settings == whole.settings and again.report.tuning == whole.report.tuning
    weights, others = whole.served.tower_weights, again.served.tower_weights
    assert all(weights[name].tobytes() == others[name].tobytes() for name in weights)
