"""Files that outlast a crash: in one step or not at all, synced in the right order."""

import errno
import os
from pathlib import Path

import pytest

from retrieval import disk
from retrieval.disk import make_folder, replace_file, sync_folder, write_file


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to the disk, in order."""
    done: list[str] = []
    fsync, replace, mkdir = os.fsync, Path.replace, Path.mkdir

    def seen_fsync(descriptor: int) -> None:
        done.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def seen_replace(self: Path, target: Path) -> Path:
        done.append(f"rename {self.name} {target.name}")
        return replace(self, target)

    def seen_mkdir(self: Path, *arguments: object, **more: object) -> None:
        done.append(f"mkdir {self.name}")
        mkdir(self, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(Path, "replace", seen_replace)
    monkeypatch.setattr(Path, "mkdir", seen_mkdir)
    return done


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of open files are Linux's")
def test_a_file_is_synced_before_it_is_renamed_and_its_folder_after(tmp_path: Path, steps: list[str]) -> None:
    replace_file(tmp_path / "a", b"new")
    assert steps == ["sync .unfinished-a", "rename .unfinished-a a", f"sync {tmp_path.name}"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of open files are Linux's")
def test_every_new_folder_is_synced_into_the_one_above(tmp_path: Path, steps: list[str]) -> None:
    make_folder(tmp_path / "a/b")
    assert steps == ["mkdir a", f"sync {tmp_path.name}", "mkdir b", "sync a"]
    make_folder(tmp_path / "a/b")
    assert len(steps) == 4


def test_a_short_write_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data)[:3]))
    write_file(tmp_path / "a", b"ten bytes!")
    assert (tmp_path / "a").read_bytes() == b"ten bytes!"


def test_what_was_there_stays_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.parametrize(("code", "fails"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_file_system_that_syncs_no_folders_will_do_but_a_failing_disk_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, fails: bool
) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(disk, "_sync", broken)
    if fails:
        with pytest.raises(OSError, match=os.strerror(code)):
            sync_folder(tmp_path)
    else:
        sync_folder(tmp_path)


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"mine")
    (tmp_path / "a").symlink_to("outside")
    with pytest.raises(OSError, match="symbolic link"):
        write_file(tmp_path / "a", b"new")
    assert (tmp_path / "outside").read_bytes() == b"mine"
