"""Faults 19 to 22, 26 and 27: bundles that are missing, damaged, mixed or forged."""

import io
import json
import os
import pickle
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.bundles.bundle import open_bundle
from retrieval.bundles.manifest import FORMAT_VERSION
from retrieval.bundles.writer import copy_bundle
from tests.support.commands import Bench
from tests.support.forging import npy, republish

QUERY = ("query", "--user", "42")
EVALUATE = ("retrieval", "evaluate")
VERIFY = ("retrieval", "bundles", "verify")
REMOVE = ("retrieval", "index", "remove", "--item", "50")
# Of each kind a file, and a command that reads it.
OF_EACH_KIND = {
    "served/item_vectors.npy": QUERY,
    "served/towers.safetensors": QUERY,
    "served/index.faiss": REMOVE,
    "served/model.json": QUERY,
    "evaluated/interactions.parquet": EVALUATE,
    "report.html": VERIFY,
    "manifest.json": QUERY,
}


def flipped(data: bytes) -> bytes:
    return data[:100] + bytes([data[100] ^ 1]) + data[101:]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda data: data[: len(data) // 2],
    "one bit flipped": flipped,
    "trailing bytes": lambda data: data + b"\0",
}


@pytest.fixture(scope="module")
def pair(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """An artifacts folder with two bundles, of which the second is current."""
    folder = tmp_path_factory.mktemp("pair")
    for _ in range(2):
        copy_bundle(open_bundle(artifacts).folder, folder / "artifacts")
    (folder / "work").mkdir()
    return Bench(folder / "work", folder / "artifacts")


def bundles_of(bench: Bench) -> list[Path]:
    """The folders of the bundles, the current one first."""
    names = (bench.artifacts / "current").read_text().split()
    return [bench.artifacts / "builds" / name for name in names]


@contextmanager
def replaced(path: Path, data: bytes | None) -> Iterator[None]:
    """Other bytes in a file, or no file, until the end of the block."""
    whole = path.read_bytes()
    path.unlink() if data is None else path.write_bytes(data)
    yield
    path.write_bytes(whole)


def forged(artifacts: Path, folder: Path, files: dict[str, bytes]) -> Bench:
    """A copy of the artifacts whose current bundle has other contents, and digests that are right."""
    shutil.copytree(artifacts, folder / "artifacts")
    republish(folder / "artifacts", files)
    (folder / "work").mkdir()
    return Bench(folder / "work", folder / "artifacts")


# 19: no bundle yet


@pytest.mark.parametrize("command", [QUERY, EVALUATE, VERIFY, REMOVE], ids=" ".join)
def test_where_there_is_no_bundle_that_is_said_and_what_to_run(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    bench = Bench(tmp_path, tmp_path / "artifacts")
    line = bench.refused(19, *command, code=4)
    assert f"{bench.artifacts}: no bundle here; run build-index first" in line


# 20: damaged files


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", OF_EACH_KIND)
def test_a_damaged_file_is_named_and_rollback_offered(pair: Bench, file: str, damage: str) -> None:
    current, earlier = bundles_of(pair)
    with replaced(current / file, DAMAGES[damage]((current / file).read_bytes())):
        line = pair.refused(20, *OF_EACH_KIND[file], code=4, given=f"{file}, {damage}")
    assert f"{current / file}: " in line
    assert f"`retrieval bundles rollback` goes back to {earlier.name}, which is whole" in line


@pytest.mark.parametrize("damage", ["cut short", "trailing bytes"])
def test_another_size_is_refused_by_the_fast_check_too(pair: Bench, damage: str) -> None:
    path = bundles_of(pair)[0] / "served/index.faiss"
    whole = path.read_bytes()
    with replaced(path, DAMAGES[damage](whole)):
        size = path.stat().st_size
        line = pair.refused(20, *QUERY, "--verify", "fast", code=4, given="")
    assert f"{path}: {size:,} bytes, but the manifest says {len(whole):,}; " in line


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_current_file_is_refused(pair: Bench, damage: str) -> None:
    current_file, current = pair.artifacts / "current", bundles_of(pair)[0]
    changed = DAMAGES[damage](current_file.read_bytes().rjust(101, b"x"))[-80:]
    with replaced(current_file, changed):
        line = pair.refused(20, *QUERY, code=4, given=f"current, {damage}")
    assert (
        f"{current_file}: does not name a bundle" in line
        and "retrieval bundles promote " + current.name in line
    )


def test_rollback_is_not_offered_where_the_earlier_bundle_is_damaged_too(pair: Bench) -> None:
    current, earlier = (folder / "served/index.faiss" for folder in bundles_of(pair))
    with replaced(current, flipped(current.read_bytes())), replaced(earlier, b""):
        line = pair.refused(20, *QUERY, code=4, given="served/index.faiss, and in the earlier bundle too")
        assert line.endswith("the bundle is damaged, run build-index again") and "rollback" not in line
        line = pair.refused(20, "retrieval", "bundles", "rollback", code=4, given="")
        assert "no bundle to go back to" in line


def test_after_the_rollback_that_was_offered_the_query_answers(pair: Bench, tmp_path: Path) -> None:
    bench = Bench(tmp_path, Path(shutil.copytree(pair.artifacts, tmp_path / "artifacts")))
    before, (current, earlier) = bench.answer(), bundles_of(bench)
    path = current / "served/neural_mf.safetensors"
    path.write_bytes(flipped(path.read_bytes()))
    bench.refused(20, *QUERY, code=4, given="")
    ran = bench.run("retrieval", "bundles", "rollback")
    assert (ran.code, ran.out, ran.err) == (0, f"{earlier.name} is current\n", "")
    assert bench.answer() == before


# 21 and 22: the manifest, and files of two builds


@pytest.mark.parametrize(
    ("given", "data", "says"),
    [
        ("no manifest", None, "missing"),
        ("a manifest that is not JSON", b"not JSON", "not a manifest"),
        (
            "a manifest of a newer format",
            json.dumps({"format_version": FORMAT_VERSION + 1}).encode(),
            "; use a newer version of it, or run build-index again",
        ),
        (
            "a manifest of an older format",
            json.dumps({"format_version": FORMAT_VERSION - 1}).encode(),
            f"format version {FORMAT_VERSION - 1}, but this program reads {FORMAT_VERSION}; "
            "`retrieval bundles upgrade 2",
        ),
        (
            "a manifest of a format that cannot be converted",
            json.dumps({"format_version": 3}).encode(),
            f"format version 3, but this program reads {FORMAT_VERSION}; run build-index again",
        ),
    ],
)
def test_a_manifest_that_cannot_be_read_is_refused(
    pair: Bench, given: str, data: bytes | None, says: str
) -> None:
    manifest = bundles_of(pair)[0] / "manifest.json"
    with replaced(manifest, data):
        line = pair.refused(21, *QUERY, code=4, given=given)
    assert f"{manifest}: " in line and says in line


def other_vectors(artifacts: Path) -> bytes:
    """As another build would have them: as many, as long, and others."""
    return npy(open_bundle(artifacts).array("served/item_vectors.npy")[::-1].copy())


def test_a_file_of_another_build_is_named(pair: Bench, artifacts: Path) -> None:
    path = bundles_of(pair)[0] / "served/item_vectors.npy"
    with replaced(path, other_vectors(artifacts)):
        for command in (QUERY, VERIFY, REMOVE):
            line = pair.refused(
                22, *command, code=4, given="" if command != QUERY else "vectors of another build"
            )
            assert f"{path}: its SHA-256 is not the manifest's" in line


# 26 and 27: what must not be loaded


class Loaded:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("file", ["item_vectors.npy", "towers.safetensors", "index.faiss", "item_titles.npy"])
def test_a_pickle_is_refused_and_never_loaded(artifacts: Path, tmp_path: Path, file: str) -> None:
    marker = tmp_path / "loaded"
    evil = pickle.dumps(Loaded(marker))
    if file == "item_titles.npy":  # NumPy's own way of holding one
        evil = npy(np.array([Loaded(marker)], dtype=object))
    bench = forged(artifacts, tmp_path, {f"served/{file}": evil})
    line = bench.refused(26, *QUERY, code=4, given=f"a pickle as served/{file}, digests made right")
    assert f"served/{file}: " in line and "rollback" in line
    assert not marker.exists()
    pickle.loads(evil if file != "item_titles.npy" else pickle.dumps(Loaded(marker)))
    assert marker.exists()  # it would have been seen


def claims(file: str, whole: bytes) -> bytes:
    """A header that claims far more than the file holds."""
    if file == "item_vectors.npy":
        header = io.BytesIO()
        shape = {"shape": (2**60, 9), "fortran_order": False, "descr": "<f4"}
        np.lib.format.write_array_header_1_0(header, shape)
        return header.getvalue() + whole[-1000:]
    if file == "towers.safetensors":
        return struct.pack("<Q", 2**63) + whole[8:]
    data = bytearray(whole)
    if file == "index.faiss: 2^40 vectors":
        struct.pack_into("<Q", data, 8, 2**40)
    elif file == "index.faiss: 2^26 lists":
        struct.pack_into("<Q", data, whole.index(b"ilar") + 4, 2**26)
    else:  # bytes of a vector
        struct.pack_into("<Q", data, whole.index(b"ilar") + 12, 2**40)
    return bytes(data)


CLAIMS = ["item_vectors.npy", "towers.safetensors"]
CLAIMS += [f"index.faiss: 2^{what}" for what in ("40 vectors", "26 lists", "40-byte vectors")]


def limited(bench: Bench, kibibytes: int, fault: int, code: int, given: str) -> str:
    """The line of a query in a process that may take so much address space."""
    script = f"ulimit -v {kibibytes}; exec query --user 42"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return bench.refused(fault, "/bin/sh", "-c", script, code=code, given=given, PATH=path)


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_header_that_claims_too_much_is_refused_before_memory_is_taken(
    artifacts: Path, tmp_path: Path, claim: str
) -> None:
    name = f"served/{claim.split(':')[0]}"
    data = claims(claim, open_bundle(artifacts).read(name))
    bench = forged(artifacts, tmp_path, {name: data})
    line = limited(bench, 3_000_000, 27, 4, f"a header that claims too much: {claim}, digests made right")
    assert f"{name}: " in line and "bad_alloc" not in line


@pytest.mark.parametrize("kind", ["fifo", "folder", "link out of the bundle"])
def test_what_is_no_plain_file_is_refused_at_once(pair: Bench, tmp_path: Path, kind: str) -> None:
    path = bundles_of(pair)[0] / "served/index.faiss"
    whole = Path(shutil.copy(path, tmp_path / "outside"))
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(whole)
    try:
        line = pair.refused(27, *QUERY, code=4, given=f"a {kind} as served/index.faiss")
        assert f"{path}: {'a link, not a file' if path.is_symlink() else 'not a plain file'}; " in line
    finally:
        path.rmdir() if kind == "folder" else path.unlink()
        shutil.copy(whole, path)
