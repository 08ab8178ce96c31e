"""Faults 24 and 25: a disk that is full, a file that may not grow, a folder that cannot be written.

What needs a file system of its own gets one in a mount namespace, which ends with the command; where there is
no right to that, those tests are skipped.
"""

import os
import resource
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from retrieval.bundles.bundle import open_bundle
from retrieval.bundles.writer import copy_bundle
from retrieval.disk import UNFINISHED
from retrieval.training.checkpoints import FOLDER
from tests.support.commands import SCRIPTS, Bench, Ran, environment, files_of, record

BUILD = shlex.split(
    "build-index --dataset sample --epochs 1 --dimension 8 --threads 1 --index IVF8,Flat --candidates 20"
)
PAGE = 4_096  # in such pages a tmpfs gives out its space


@cache
def namespace() -> tuple[str, ...]:
    """How to get a mount namespace here, if at all."""
    for words in (("unshare", "--map-root-user", "--mount"), ("unshare", "--mount")):
        if shutil.which("unshare"):
            mount = [*words, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
            if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
                return words
    return ()


@pytest.fixture
def small_disk(tmp_path: Path) -> "SmallDisk":
    if not namespace():
        pytest.skip("no right to mount a file system here, neither as root nor in a namespace of one's own")
    return SmallDisk(tmp_path)


class SmallDisk:
    """A file system with little room, on which commands are run; there is another one for each `run`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.artifacts = folder / "disk" / "artifacts"
        self.left = folder / "left"  # a copy of what the commands left

    def run(
        self, artifacts: Path, options: str, *commands: list[str], read_only: bool = False, **more: str
    ) -> list[Ran]:
        """Run commands one after the other, on a disk that has a copy of the artifacts."""
        (self._folder / "disk").mkdir(exist_ok=True)
        shutil.rmtree(self.left, ignore_errors=True)
        lines = [
            "set -e",
            f"mount -t tmpfs -o {options} tmpfs disk",
            f"cp -R {shlex.quote(str(artifacts))} disk/artifacts",
        ]
        if read_only:
            lines.append("mount -o remount,ro disk")
        for number, words in enumerate(commands):
            command = shlex.join([str(SCRIPTS / words[0]), *words[1:]])
            lines.append(f"{command} >{number}.out 2>{number}.err && echo 0 >{number} || echo $? >{number}")
        lines.append("cp -R disk/artifacts left")
        done = subprocess.run(
            [*namespace(), "sh", "-c", "\n".join(lines)],
            cwd=self._folder,
            env=environment(RETRIEVAL_ARTIFACTS=str(self.artifacts), **more),
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return [self._ran(number) for number in range(len(commands))]

    def _ran(self, number: int) -> Ran:
        code, out, err = ((self._folder / f"{number}{end}").read_text() for end in ("", ".out", ".err"))
        return Ran(int(code), out, err)


def pages_of(folder: Path) -> int:
    """What a folder takes on a tmpfs."""
    return sum(-(-path.stat().st_size // PAGE) for path in folder.rglob("*") if path.is_file())


def query(k: int = 3) -> list[str]:
    return ["query", "--user", "42", "--k", str(k), "--json"]


# 24: disk full


def full(small_disk: SmallDisk, artifacts: Path, options: str, given: str) -> None:
    """A build onto such a disk is refused in one line, and the old bundle is there and answers, there too."""
    built, asked = small_disk.run(artifacts, options, BUILD, query())
    line = built.refusal(6)
    assert str(small_disk.artifacts) in line and "(No space left on device); free space" in line
    record(24, f"`build-index` onto {given}", built)
    assert asked.json == Bench(small_disk.left, artifacts).run(*query()).json
    assert but_checkpoints(small_disk.left) == but_checkpoints(artifacts)


def but_checkpoints(artifacts: Path) -> dict[str, str]:
    """All files but those that --resume goes on from, of which none is unfinished."""
    files = files_of(artifacts)
    assert not any(UNFINISHED in name for name in files), files
    return {name: digest for name, digest in files.items() if name.split("/")[0] != FOLDER}


def test_24_no_room_for_a_folder_ends_a_build_before_it_begins(
    small_disk: SmallDisk, artifacts: Path
) -> None:
    inodes = len(list(artifacts.rglob("*"))) + 2  # of both folders
    full(small_disk, artifacts, f"nr_inodes={inodes}", "a disk that takes no more files")


# No room for any file; for half of them; for all but the last.
@pytest.mark.parametrize(
    "share", [0.5, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.0, 0.2, 0.8, 0.95))]
)
def test_24_a_full_disk_ends_a_build_in_one_line_and_the_old_bundle_serves(
    small_disk: SmallDisk, artifacts: Path, share: float
) -> None:
    room = int(pages_of(artifacts / "builds") * share) * PAGE
    size = pages_of(artifacts) * PAGE + room
    full(small_disk, artifacts, f"size={size}", f"a tmpfs with {room / 1024:,.0f} KiB left")


@pytest.mark.parametrize("size", [0, pytest.param(30_000, marks=pytest.mark.slow)])
def test_24_a_file_that_may_not_grow_ends_a_build_in_one_line(
    own_artifacts: Path, tmp_path: Path, size: int
) -> None:
    before = but_checkpoints(own_artifacts)
    done = subprocess.run(
        [str(SCRIPTS / BUILD[0]), *BUILD[1:]],
        env=environment(RETRIEVAL_ARTIFACTS=str(own_artifacts)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )
    ran = Ran(done.returncode, done.stdout, done.stderr)
    assert "(File too large); free space" in ran.refusal(6)
    record(24, f"`build-index` where no file may have more than {size:,} bytes (`ulimit -f`)", ran)
    assert but_checkpoints(own_artifacts) == before


# 25: read-only


@pytest.fixture(scope="module")
def two_bundles(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts with a bundle to go back to."""
    folder = tmp_path_factory.mktemp("two") / "artifacts"
    for _ in range(2):
        copy_bundle(open_bundle(artifacts).folder, folder)
    return folder


def test_25_a_read_only_folder_serves_and_refuses_what_writes(
    small_disk: SmallDisk, two_bundles: Path, tmp_path: Path
) -> None:
    other = min(path.name for path in (two_bundles / "builds").iterdir())
    items = Bench(tmp_path, two_bundles).write("new.csv", "movieId,title,genres\n5000,Late (1999),Comedy\n")
    writing = [
        BUILD,
        ["retrieval", "bundles", "promote", other],
        ["retrieval", "bundles", "rollback"],
        ["retrieval", "bundles", "prune", "--keep", "1"],
        ["retrieval", "index", "add", "--items", str(items)],
    ]
    asked, listed, *refused = small_disk.run(
        two_bundles, "size=100m", query(), ["retrieval", "bundles", "list"], *writing, read_only=True
    )
    assert asked.json == Bench(tmp_path, two_bundles).run(*query()).json
    assert listed.code == 0 and listed.err == ""
    for words, ran in zip(writing, refused, strict=True):
        line = ran.refusal(6)
        assert str(small_disk.artifacts) in line and "(Read-only file system); make it writable or" in line
        given = " ".join(words[: 3 if words[0] == "retrieval" else 1])
        record(25, f"`{given}` in a folder on a read-only disk", ran)
    assert files_of(small_disk.left) == files_of(two_bundles)


def test_25_a_folder_without_the_right_to_write_serves_and_refuses_a_build(own_artifacts: Path) -> None:
    bench = Bench(own_artifacts.parent, own_artifacts)
    answer = bench.answer()
    for folder in (own_artifacts, own_artifacts / "builds"):
        folder.chmod(0o555)
    try:
        if os.access(own_artifacts, os.W_OK):
            pytest.skip("root writes everywhere")
        assert bench.answer() == answer
        assert "(Permission denied); make it writable or" in bench.refused(25, *BUILD, code=6)
    finally:
        for folder in (own_artifacts, own_artifacts / "builds"):
            folder.chmod(0o755)
