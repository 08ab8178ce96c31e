import errno
import fcntl
import io
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load as load_safetensors

from retrieval import disk
from retrieval.bundles.bundle import open_bundle, open_folder
from retrieval.bundles.fitted_system_files import read_system
from retrieval.bundles.lock import build_lock
from retrieval.bundles.manifest import FORMAT_VERSION, manifest_bytes, manifest_digest
from retrieval.bundles.writer import UNFINISHED, copy_bundle, new_bundle
from retrieval.errors import ArtifactError, EnvironmentProblem
from retrieval.evaluation.from_bundle import read_evaluated
from tests.support.checkout import ROOT
from tests.support.forging import republish
from tests.support.manifests import DESCRIPTION

OF_A_PART = (
    "features_histories.npy",
    "features_names.json",
    "features_vectors.npy",
    "towers.safetensors",
    "neural_mf.safetensors",
    "index.faiss",
    "item_vectors.npy",
    "user_vectors.npy",
    "seen_starts.npy",
    "seen_items.npy",
    "user_ids.npy",
    "item_ids.npy",
    "item_titles.npy",
    "popularity.npy",
    "attribute_values.npy",
    "attribute_starts.npy",
    "attribute_rows.npy",
    "attributes.json",
    "model.json",
)
# Those of which another fit's may be as long, so that nothing else has to fit them.
ALIKE = (
    *("user_vectors.npy", "seen_items.npy", "attribute_values.npy", "attributes.json", "model.json"),
    *("features_histories.npy", "features_names.json", "features_vectors.npy"),
)
FILES = (
    *(f"{part}/{name}" for part in ("evaluated", "served") for name in OF_A_PART),
    "evaluated/interactions.parquet",
    "evaluated/choices.json",
    "evaluated/index_choice.json",
    "evaluated/index_milliseconds.npy",
    "evaluated/index_recalls.npy",
    "evaluated/validation_ndcg.npy",
    "users.parquet",
    "items.parquet",
    "report.json",
    "report.html",
)


def folder_of(artifacts: Path) -> Path:
    return artifacts / "builds" / (artifacts / "current").read_text().split()[0]


def read_everything(artifacts: Path) -> None:
    bundle = open_bundle(artifacts)
    read_system(bundle, "served")
    for name in bundle.manifest.files:
        bundle.read(name)
    read_evaluated(bundle)


def refused(artifacts: Path, name: str) -> str:
    """The one-line message with which the damaged bundle is refused; it names the file."""
    with pytest.raises(ArtifactError) as caught:
        read_everything(artifacts)
    message = str(caught.value)
    assert str(folder_of(artifacts) / name) in message
    assert "run build-index again" in message
    assert "\n" not in message
    return message


def write_small(artifacts: Path, text: str) -> Path:
    """A bundle of two files that is written in a moment."""
    with new_bundle(artifacts) as writer:
        writer.write("served/text.txt", text.encode())
        writer.write_json("numbers.json", [1, 2])
        return writer.publish(DESCRIPTION | {"text": text})


def text_of(artifacts: Path) -> str:
    return open_bundle(artifacts).read("served/text.txt").decode()


def unfinished(artifacts: Path) -> list[Path]:
    return list(artifacts.rglob(UNFINISHED + "*"))


# Writing and reading back


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    with new_bundle(tmp_path) as writer:
        writer.write("served/bytes.bin", b"\0\1\2")
        writer.write_array("served/array.npy", array.T)
        writer.write_json("a.json", {"ü": [1, None]})
        writer.write_tensors("served/weights.safetensors", {"w": array})
        folder = writer.publish(DESCRIPTION | {"of_tomorrow": [42]})
    bundle = open_bundle(tmp_path)
    assert bundle.folder == folder == folder_of(tmp_path)
    assert bundle.read("served/bytes.bin") == b"\0\1\2"
    assert np.array_equal(bundle.array("served/array.npy"), array.T)
    assert bundle.json("a.json") == {"ü": [1, None]}
    assert np.array_equal(bundle.tensors("served/weights.safetensors")["w"], array)
    assert bundle.manifest.document["of_tomorrow"] == [42]


def test_the_sample_bundle_holds_these_files_and_the_manifest(artifacts: Path) -> None:
    folder = folder_of(artifacts)
    on_disk = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert on_disk == {*FILES, "manifest.json"}
    assert set(open_bundle(artifacts).manifest.files) == set(FILES)


def test_the_manifest_says_what_was_built_from_what_with_what(artifacts: Path) -> None:
    manifest = json.loads((folder_of(artifacts) / "manifest.json").read_bytes())
    assert manifest["data"]["name"] == "sample"
    assert (manifest["data"]["rows"], len(manifest["data"]["sha256"])) == (4822, 64)
    assert manifest["split"]["counts"]["train"] == 3375
    assert (manifest["settings"]["seed"], manifest["settings"]["threads"]) == (42, 1)
    assert manifest["settings"]["towers"]["dimension"] == 8
    assert {"torch", "faiss-cpu", "numpy"} <= set(manifest["libraries"])
    assert manifest["build_id"][:12] == folder_of(artifacts).name[-12:]


def test_a_bundle_can_be_published_twice_in_a_row(tmp_path: Path) -> None:
    first, second = write_small(tmp_path, "same"), write_small(tmp_path, "same")
    assert first != second
    assert open_bundle(tmp_path).folder == second
    assert open_folder(first).read("served/text.txt") == b"same"


def test_a_copy_has_the_same_files_and_description(artifacts: Path, tmp_path: Path) -> None:
    copy = open_folder(copy_bundle(folder_of(artifacts), tmp_path / "elsewhere"))
    original = open_bundle(artifacts)
    assert copy.manifest.files == original.manifest.files
    assert copy.manifest.settings == original.manifest.settings
    read_everything(tmp_path / "elsewhere")


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/x.txt", "a/b/c.txt", "manifest", ".hidden.txt"])
def test_a_file_cannot_be_written_outside_the_bundle(tmp_path: Path, name: str) -> None:
    with new_bundle(tmp_path) as writer, pytest.raises(ValueError, match="cannot be a bundle's file"):
        writer.write(name, b"")


# No pickle


def test_no_file_of_the_bundle_is_a_pickle(artifacts: Path) -> None:
    def no_objects(data: bytes) -> None:
        assert not np.load(io.BytesIO(data), allow_pickle=False).dtype.hasobject

    def is_faiss(data: bytes) -> None:
        assert data[:1] == b"I"

    checks: dict[str, Callable[[bytes], Any]] = {
        ".npy": no_objects,
        ".safetensors": load_safetensors,
        ".json": json.loads,
        ".parquet": lambda data: pl.read_parquet(io.BytesIO(data)),
        ".faiss": is_faiss,
        ".html": bytes.decode,
    }
    for path in folder_of(artifacts).rglob("*.*"):
        checks[path.suffix](path.read_bytes())


def test_an_array_of_objects_is_not_written(tmp_path: Path) -> None:
    with new_bundle(tmp_path) as writer, pytest.raises(ValueError, match="Object arrays"):
        writer.write_array("a.npy", np.array([{}], dtype=object))


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("wrapped", [True, False], ids=["object array", "bare pickle"])
def test_a_pickle_in_place_of_an_array_is_never_loaded(
    own_artifacts: Path, tmp_path: Path, wrapped: bool
) -> None:
    bomb = Bomb(tmp_path / "exploded")
    buffer = io.BytesIO()
    if wrapped:
        np.save(buffer, np.array([bomb], dtype=object), allow_pickle=True)
    else:
        pickle.dump(bomb, buffer)
    republish(own_artifacts, {"served/user_vectors.npy": buffer.getvalue()})
    refused(own_artifacts, "served/user_vectors.npy")
    assert not (tmp_path / "exploded").exists()


# Damage


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_flipped_bit_a_cut_or_a_byte_more_is_refused(own_artifacts: Path, name: str) -> None:
    path = folder_of(own_artifacts) / name
    whole = path.read_bytes()
    middle = len(whole) // 2
    flips = ((0, 0), (8, 3), (middle, 7), (len(whole) - 2, 1), (len(whole) - 1, 0))
    damaged = [
        whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :] for at, bit in flips if at < len(whole)
    ]
    damaged += [b"", whole[:middle], whole[:-1], whole + b"\n", whole + whole]
    for data in damaged:
        path.write_bytes(data)
        refused(own_artifacts, name)
    path.write_bytes(whole)
    read_everything(own_artifacts)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_missing_file_is_refused(own_artifacts: Path, name: str) -> None:
    (folder_of(own_artifacts) / name).unlink()
    assert "missing" in refused(own_artifacts, name)


@pytest.fixture
def ten_seconds() -> Iterator[None]:
    """Opening a pipe waits for ever; so does a test of it that fails, but for this."""

    def give_up(signum: int, frame: object) -> None:
        raise AssertionError("it waited")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("ten_seconds")
@pytest.mark.parametrize("name", ["served/index.faiss", "report.json", "manifest.json"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "link", "dangling link"])
def test_what_is_no_plain_file_is_refused_at_once(own_artifacts: Path, name: str, kind: str) -> None:
    path = folder_of(own_artifacts) / name
    whole = path.with_name("whole")
    path.rename(whole)
    if kind == "fifo":
        os.mkfifo(path)  # opening it for reading would wait for a writer
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(whole if kind == "link" else "nowhere")
    refused(own_artifacts, name)


def test_a_folder_that_is_a_link_out_of_the_bundle_is_refused(own_artifacts: Path, tmp_path: Path) -> None:
    served = folder_of(own_artifacts) / "served"
    served.rename(tmp_path / "outside")
    served.symlink_to(tmp_path / "outside")
    assert "link" in refused(own_artifacts, "served")


@pytest.mark.usefixtures("ten_seconds")
@pytest.mark.parametrize("kind", ["fifo", "folder", "dangling link", "empty", "outside", "nul", "not there"])
def test_a_damaged_current_file_is_refused(own_artifacts: Path, kind: str) -> None:
    current_file = own_artifacts / "current"
    current_file.unlink()
    texts = {"empty": "", "outside": "../builds", "nul": "a\0b", "not there": "20200101-000000-0123456789ab"}
    if kind == "fifo":
        os.mkfifo(current_file)
    elif kind == "folder":
        current_file.mkdir()
    elif kind == "dangling link":
        current_file.symlink_to("nowhere")
    else:
        current_file.write_text(texts[kind])
    with pytest.raises(ArtifactError, match=str(own_artifacts)):
        open_bundle(own_artifacts)


@pytest.fixture(scope="module")
def other_artifacts(
    tiny_build: Any, sample_set: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The same data and settings with another seed."""
    from dataclasses import replace

    from retrieval.pipeline.build import build
    from retrieval.pipeline.save import write_build

    settings = replace(tiny_build.settings, seed=7)
    built = build(sample_set.interactions, items=sample_set.items, settings=settings, name="sample")
    folder = tmp_path_factory.mktemp("other")
    with new_bundle(folder) as writer:
        write_build(writer, built)
    yield folder


def test_a_file_of_another_build_is_refused(own_artifacts: Path, other_artifacts: Path) -> None:
    swapped = 0
    for name in FILES:
        path = folder_of(own_artifacts) / name
        own, other = path.read_bytes(), (folder_of(other_artifacts) / name).read_bytes()
        if own == other:
            continue
        path.write_bytes(other)
        message = refused(own_artifacts, name)
        if len(own) == len(other):
            assert "SHA-256" in message
            swapped += 1
        path.write_bytes(own)
    assert swapped >= 8  # the weights, the vectors and the indexes of both parts


def test_a_manifest_of_another_build_is_refused(own_artifacts: Path, other_artifacts: Path) -> None:
    shutil.copy(folder_of(other_artifacts) / "manifest.json", folder_of(own_artifacts))
    with pytest.raises(ArtifactError, match="manifest"):
        read_everything(own_artifacts)


@pytest.mark.parametrize(
    "text",
    ["not JSON", "[]", "null", "{}", '{"format_version": "1"}', "\xff", "[" * 100_000]
    + ['{"format_version": 1, "build_id": "x", "files": ' + files + "}" for files in ("[]", "{}", "3")]
    + ['{"format_version": 1, "build_id": "x", "files": {"a.json": {"size": "3", "sha256": null}}}'],
    ids=lambda text: text[:30],
)
def test_a_manifest_that_is_none_is_refused(own_artifacts: Path, text: str) -> None:
    (folder_of(own_artifacts) / "manifest.json").write_bytes(text.encode("latin-1"))
    refused(own_artifacts, "manifest.json")


@pytest.mark.parametrize(
    ("was", "becomes"),
    [(b'"seed": 42', b'"seed": 43'), (b'"rows": 4822', b'"rows": 4823'), (b"\n", b"\r\n")],
)
def test_a_manifest_that_was_edited_is_refused(own_artifacts: Path, was: bytes, becomes: bytes) -> None:
    path = folder_of(own_artifacts) / "manifest.json"
    whole = path.read_bytes()
    assert was in whole
    path.write_bytes(whole.replace(was, becomes))
    assert "digest" in refused(own_artifacts, "manifest.json")


def test_a_huge_manifest_is_not_read(own_artifacts: Path) -> None:
    os.truncate(folder_of(own_artifacts) / "manifest.json", 2**40)
    refused(own_artifacts, "manifest.json")


def test_a_newer_format_is_said_to_be_newer(own_artifacts: Path) -> None:
    path = folder_of(own_artifacts) / "manifest.json"
    path.write_text(json.dumps({"format_version": FORMAT_VERSION + 1, "files": "in another way"}))
    with pytest.raises(ArtifactError, match=f"format version {FORMAT_VERSION + 1}.*newer"):
        open_bundle(own_artifacts)


def test_a_manifest_cannot_name_files_outside_the_bundle(own_artifacts: Path) -> None:
    path = folder_of(own_artifacts) / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["files"]["../../current"] = manifest["files"]["report.json"]
    manifest["build_id"] = manifest_digest(manifest)
    path.write_bytes(manifest_bytes(manifest))
    refused(own_artifacts, "manifest.json")


def test_no_bundle_yet_says_where_it_looked_and_what_to_run(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "not there"):
        with pytest.raises(ArtifactError, match=f"{folder}: no bundle here; run build-index first"):
            open_bundle(folder)


# Parts that are whole but do not fit


@pytest.mark.parametrize(
    "name",
    [name for name in OF_A_PART if name not in ALIKE],
)
def test_whole_parts_of_two_fits_do_not_open(own_artifacts: Path, name: str) -> None:
    other = open_bundle(own_artifacts).read(f"evaluated/{name}")  # of fewer users and items
    bundle = republish(own_artifacts, {f"served/{name}": other})
    with pytest.raises(ArtifactError, match="the bundle is damaged, run build-index again"):
        read_system(bundle, "served")


@pytest.mark.parametrize(
    "name", ["model.json", "index.faiss", "item_vectors.npy", "towers.safetensors", "attributes.json"]
)
def test_whole_files_with_senseless_content_do_not_open(own_artifacts: Path, name: str) -> None:
    bundle = republish(own_artifacts, {f"served/{name}": b"{}"})
    with pytest.raises(ArtifactError, match="served"):
        read_system(bundle, "served")


def test_senseless_interactions_do_not_open(own_artifacts: Path) -> None:
    bundle = republish(own_artifacts, {"evaluated/interactions.parquet": b"PAR1"})
    with pytest.raises(ArtifactError, match="evaluated"):
        read_evaluated(bundle)


# Failing while writing


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_whatever_ends_a_build_leaves_the_old_bundle_and_nothing_else(
    tmp_path: Path, kind: type[BaseException]
) -> None:
    write_small(tmp_path, "old")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(kind), new_bundle(tmp_path) as writer:
        writer.write("served/text.txt", b"new")
        raise kind
    assert sorted(tmp_path.rglob("*")) == before
    assert text_of(tmp_path) == "old"
    write_small(tmp_path, "next")  # the lock is free again


@pytest.mark.parametrize("failing_sync", range(9))
def test_a_full_disk_leaves_the_old_bundle_and_nothing_unfinished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_sync: int
) -> None:
    write_small(tmp_path, "old")
    calls = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == failing_sync + 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    try:
        write_small(tmp_path, "new")
    except EnvironmentProblem as problem:
        assert "No space left on device" in str(problem) and "\n" not in str(problem)
        # Only the last sync comes after the step that makes the new bundle current.
        assert text_of(tmp_path) == "old" or len(calls) == 8
    else:
        assert (len(calls), text_of(tmp_path)) == (8, "new")
    assert not unfinished(tmp_path)


STEPS = ("fsync", "rename", "replace", "mkdir")


def die_at(artifacts: Path, step: int) -> None:
    """In a child process: end without any cleanup at the given system call of a build."""
    taken = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal taken
            if taken == step:
                os.kill(os.getpid(), signal.SIGKILL)
            taken += 1
            return real(*args, **kwargs)

        return call

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    write_small(artifacts, "new")


def test_a_build_killed_at_any_step_leaves_the_old_bundle_or_the_new_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    outcomes = []
    for step in range(30):
        artifacts = tmp_path / str(step)
        write_small(artifacts, "old")
        child = context.Process(target=die_at, args=(artifacts, step))
        child.start()
        child.join(30)
        outcomes.append(text_of(artifacts))
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        write_small(artifacts, "next")
        assert text_of(artifacts) == "next"
        assert not unfinished(artifacts)
    turn = outcomes.index("new")
    assert turn >= 8  # it was killed at every earlier step
    assert outcomes == ["old"] * turn + ["new"] * (len(outcomes) - turn)
    assert len(outcomes) < 30


def test_what_a_dead_build_left_is_removed_by_the_next(tmp_path: Path) -> None:
    write_small(tmp_path, "old")
    leftover = tmp_path / "builds" / f"{UNFINISHED}12345"
    leftover.mkdir()
    (leftover / "half.npy").write_bytes(b"half")
    (tmp_path / f"{UNFINISHED}current").write_text("half")
    write_small(tmp_path, "new")
    assert not unfinished(tmp_path)
    assert text_of(tmp_path) == "new"


# One writer at a time


HOLDER = """
import sys
from pathlib import Path
from retrieval.bundles.lock import build_lock
with build_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_told_which_process_writes(tmp_path: Path) -> None:
    write_small(tmp_path, "old")
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    holder = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(EnvironmentProblem, match=rf"another build.*\(process {holder.pid}\)"):
            write_small(tmp_path, "new")
        assert text_of(tmp_path) == "old"  # reading needs no lock
    finally:
        holder.kill()
        holder.communicate()
    write_small(tmp_path, "new")  # the dead process holds nothing
    assert text_of(tmp_path) == "new"


def test_where_the_last_sync_fails_it_is_not_denied_that_the_new_bundle_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_small(tmp_path, "old")

    def broken(folder: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(folder))

    monkeypatch.setattr(disk, "sync_folder", broken)
    with pytest.raises(EnvironmentProblem, match=r"is current now, but the disk did not confirm it"):
        write_small(tmp_path, "new")
    assert text_of(tmp_path) == "new"


def test_the_lock_is_free_after_the_block(tmp_path: Path) -> None:
    with build_lock(tmp_path):
        pass
    with (tmp_path / ".lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_folder_that_cannot_be_made_is_a_problem_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(EnvironmentProblem, match=r"file/x.*cannot be written"),
        new_bundle(tmp_path / "file/x"),
    ):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_a_problem_for_a_build_but_not_for_a_reader(tmp_path: Path) -> None:
    write_small(tmp_path, "old")
    (tmp_path / "builds").chmod(0o500)
    try:
        with pytest.raises(EnvironmentProblem, match="cannot be written"):
            write_small(tmp_path, "new")
        assert text_of(tmp_path) == "old"
    finally:
        (tmp_path / "builds").chmod(0o700)
