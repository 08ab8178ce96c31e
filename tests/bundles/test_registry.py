"""All bundles of a folder: which answers, which did before, which is whole, which may go."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.bundles.bundle import Bundle, open_bundle
from retrieval.bundles.current import published_names, read_current_file, write_current_file
from retrieval.bundles.lock import build_lock
from retrieval.bundles.registry import entries, entry_of, problems, promote, prune, read_current, rollback
from retrieval.bundles.writer import UNFINISHED, copy_bundle, new_bundle
from retrieval.errors import ArtifactError, DamagedBundle, EnvironmentProblem, NotFoundError
from retrieval.recommender import Recommender
from tests.support.commands import Bench
from tests.support.manifests import DESCRIPTION, GATE

Shelf = tuple[Path, list[str]]


@pytest.fixture
def shelf(artifacts: Path, tmp_path: Path) -> Shelf:
    """Four bundles of the same build, the last of them current; and their names, first to last."""
    folder, source = tmp_path / "shelf", open_bundle(artifacts).folder
    return folder, [copy_bundle(source, folder).name for _ in range(4)]


def damage(artifacts: Path, name: str, file: str = "served/index.faiss") -> None:
    path = artifacts / "builds" / name / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def current(artifacts: Path) -> str:
    return open_bundle(artifacts).folder.name


def names(artifacts: Path) -> list[str]:
    return [entry.name for entry in entries(artifacts)]


# The `current` file


def test_the_current_file_names_the_served_bundle_then_its_predecessors(shelf: Shelf) -> None:
    artifacts, built = shelf
    assert list(read_current_file(artifacts)) == built[::-1]
    assert (artifacts / "current").read_text() == "".join(f"{name}\n" for name in built[::-1])


@pytest.mark.parametrize("text", ["", "\n", "20260101-000000-0123456789ab", "x\n", "../builds/x\n"])
def test_a_current_file_that_names_no_bundle_is_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / "current").write_text(text)
    with pytest.raises(DamagedBundle, match="does not name a bundle"):
        read_current_file(tmp_path)
    assert published_names(tmp_path) == ()


def test_of_very_many_names_the_latest_are_kept(tmp_path: Path) -> None:
    many = tuple(f"20260101-000000-{number:012x}" for number in range(1500))
    write_current_file(tmp_path, many)
    assert read_current_file(tmp_path) == many[:1000]


# Listing


def test_bundles_are_listed_latest_first_with_what_has_become_of_them(shelf: Shelf) -> None:
    artifacts, built = shelf
    (artifacts / "builds" / built[1] / "manifest.json").write_text("{}")
    with new_bundle(artifacts) as writer:
        writer.write("a.txt", b"")
        kept = writer.publish(DESCRIPTION | {"gate": GATE}, current=False).name
    (artifacts / "builds" / f"{UNFINISHED}1").mkdir()
    (artifacts / "builds" / "notes.txt").write_text("mine")
    found = {entry.name: entry.state for entry in entries(artifacts)}
    assert found == {
        kept: "held back",
        built[3]: "current",
        built[2]: "earlier",
        built[1]: "unreadable",
        built[0]: "earlier",
    }
    assert [name for name in found if name != built[1]] == [kept, built[3], built[2], built[0]]


def test_a_part_of_a_name_is_enough_if_it_is_one_bundles_alone(shelf: Shelf) -> None:
    artifacts, built = shelf
    assert entry_of(artifacts, built[0][-8:]).name == built[0]
    assert entry_of(artifacts, None).name == built[-1]
    with pytest.raises(NotFoundError, match="in the names of several bundles"):
        entry_of(artifacts, built[0][:4])
    with pytest.raises(NotFoundError, match="in the name of no bundle"):
        entry_of(artifacts, "nonsense")
    with pytest.raises(NotFoundError):
        entry_of(artifacts, "")
    with pytest.raises(ArtifactError, match="no bundle here"):
        entry_of(artifacts / "nothing", "x")


# Whole or not


def test_a_whole_bundle_has_no_problem_and_a_damaged_one_names_each_file(shelf: Shelf) -> None:
    artifacts, built = shelf
    assert problems(artifacts, built[0]) == ()
    for file in ("served/index.faiss", "report.html"):
        damage(artifacts, built[0], file)
    (artifacts / "builds" / built[0] / "served/more.npy").write_bytes(b"")
    found = problems(artifacts, built[0])
    assert [Path(each.split(": ")[0]).name for each in found] == ["report.html", "index.faiss", "more.npy"]


# Going back and forth


def test_rollback_goes_back_step_by_step_and_promote_forward(shelf: Shelf) -> None:
    artifacts, built = shelf
    assert rollback(artifacts) == (built[2], ())
    assert rollback(artifacts) == (built[1], ())
    assert current(artifacts) == built[1] and len(names(artifacts)) == 4
    promote(artifacts, built[3])
    assert (current(artifacts), published_names(artifacts)) == (built[3], (built[3], built[1], built[0]))
    assert rollback(artifacts) == (built[1], ())


def test_rollback_passes_over_what_is_damaged_or_gone(shelf: Shelf) -> None:
    artifacts, built = shelf
    damage(artifacts, built[2])
    (artifacts / "builds" / built[1] / "manifest.json").unlink()
    assert rollback(artifacts) == (built[0], (built[2], built[1]))
    assert current(artifacts) == built[0]


def test_where_nothing_is_whole_rollback_changes_nothing(shelf: Shelf) -> None:
    artifacts, built = shelf
    for name in built[:3]:
        damage(artifacts, name)
    with pytest.raises(ArtifactError, match="no bundle to go back to"):
        rollback(artifacts)
    assert current(artifacts) == built[3]


def test_a_damaged_bundle_is_not_promoted(shelf: Shelf) -> None:
    artifacts, built = shelf
    damage(artifacts, built[0], "evaluated/seen_items.npy")
    with pytest.raises(DamagedBundle, match=r"seen_items\.npy: its SHA-256"):
        promote(artifacts, built[0])
    assert list(published_names(artifacts)) == built[::-1]


def test_promoting_what_is_current_leaves_what_was_before(shelf: Shelf) -> None:
    artifacts, built = shelf
    promote(artifacts, built[3])
    assert rollback(artifacts) == (built[2], ())


def test_promote_mends_a_damaged_current_file(shelf: Shelf) -> None:
    artifacts, built = shelf
    (artifacts / "current").write_text("nonsense")
    promote(artifacts, built[1])
    assert published_names(artifacts) == (built[1],)


@pytest.mark.parametrize("change", [rollback, lambda folder: prune(folder, 1)])
def test_nothing_changes_while_a_build_is_running(shelf: Shelf, change: Callable[[Path], object]) -> None:
    artifacts, built = shelf
    with build_lock(artifacts), pytest.raises(EnvironmentProblem, match=f"process {os.getpid()}"):
        change(artifacts)
    assert (current(artifacts), names(artifacts)) == (built[3], built[::-1])


@pytest.mark.parametrize("change", [rollback, lambda folder: prune(folder, 1)])
def test_where_there_is_no_bundle_nothing_is_written(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    with pytest.raises(ArtifactError, match="no bundle here"):
        change(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


# Pruning


def test_pruning_keeps_the_latest(shelf: Shelf) -> None:
    artifacts, built = shelf
    assert [entry.name for entry in prune(artifacts, 3, rehearse=True)] == [built[0]]
    assert len(names(artifacts)) == 4
    assert [entry.name for entry in prune(artifacts, 3)] == [built[0]]
    assert names(artifacts) == built[:0:-1]
    assert list(published_names(artifacts)) == built[:0:-1]


def test_pruning_keeps_what_answers_and_what_rollback_would_go_back_to(shelf: Shelf) -> None:
    artifacts, built = shelf
    rollback(artifacts)
    rollback(artifacts)  # the second answers, the first did before
    assert [entry.name for entry in prune(artifacts, 1)] == [built[2]]
    assert names(artifacts) == [built[3], built[1], built[0]]
    assert rollback(artifacts) == (built[0], ())


def test_damaged_bundles_are_pruned_first_and_never_counted(shelf: Shelf) -> None:
    artifacts, built = shelf
    damage(artifacts, built[2])
    assert [entry.name for entry in prune(artifacts, 2)] == [built[2], built[0]]
    assert rollback(artifacts) == (built[1], ())


def test_what_answers_is_never_pruned_though_damaged(shelf: Shelf) -> None:
    artifacts, built = shelf
    damage(artifacts, built[3])
    prune(artifacts, 1)
    assert names(artifacts) == [built[3], built[2]]


def test_pruning_removes_what_dead_builds_left_and_nothing_of_others(shelf: Shelf) -> None:
    artifacts, _ = shelf
    for leftover in (f"builds/{UNFINISHED}17/served", f"{UNFINISHED}current", "builds/mine"):
        (artifacts / leftover).mkdir(parents=True)
    prune(artifacts, 4)
    assert sorted(path.name for path in artifacts.iterdir()) == [".lock", "builds", "current"]
    assert len(list((artifacts / "builds").iterdir())) == 5


def test_an_open_bundle_answers_on_after_it_is_pruned(shelf: Shelf) -> None:
    artifacts, built = shelf
    opened = Recommender.load(artifacts)
    before = opened.recommend([42], k=5)[0].to_json()
    for _ in range(2):
        copy_bundle(open_bundle(artifacts).folder, artifacts)
    assert built[3] in [entry.name for entry in prune(artifacts, 1)]
    assert opened.recommend([42], k=5)[0].to_json() == before


# Reading while others publish


def test_a_bundle_pruned_while_it_is_read_is_read_anew_from_the_next(shelf: Shelf) -> None:
    artifacts, built = shelf
    opened: list[str] = []

    def read(bundle: Bundle) -> bytes:
        opened.append(bundle.folder.name)
        if len(opened) == 1:
            rollback(artifacts)
            rollback(artifacts)
            prune(artifacts, 1)
            (artifacts / "builds" / built[3]).rename(artifacts / "gone")
        return bundle.read("report.json")

    assert read_current(artifacts, read)
    assert opened == [built[3], built[1]]


def test_a_damaged_bundle_is_read_once_and_the_way_out_is_named(shelf: Shelf) -> None:
    artifacts, built = shelf
    damage(artifacts, built[3])
    damage(artifacts, built[2])
    with pytest.raises(DamagedBundle, match=f"`retrieval bundles rollback` goes back to {built[1]}"):
        Recommender.load(artifacts)
    damage(artifacts, built[1])
    damage(artifacts, built[0])
    with pytest.raises(DamagedBundle, match="run build-index again"):
        Recommender.load(artifacts)


def test_fast_verification_trusts_the_disk_for_all_but_sizes(shelf: Shelf) -> None:
    artifacts, built = shelf
    damage(artifacts, built[3], "served/item_titles.npy")
    Recommender.load(artifacts, verify="fast")
    path = artifacts / "builds" / built[3] / "served/item_titles.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedBundle, match="but the manifest says"):
        Recommender.load(artifacts, verify="fast")


def test_a_bundle_in_anothers_folder_is_refused(shelf: Shelf) -> None:
    artifacts, built = shelf
    (artifacts / "builds" / built[3]).rename(artifacts / "builds" / "aside")
    (artifacts / "builds" / built[0]).rename(artifacts / "builds" / built[3])
    with pytest.raises(DamagedBundle, match=f"of the build {built[0][-12:]}, not of this folder's"):
        open_bundle(artifacts)


def test_more_memory_than_allowed_is_refused_before_anything_is_loaded(shelf: Shelf) -> None:
    artifacts, _ = shelf
    served = open_bundle(artifacts).manifest.files
    needed = sum(entry.size for name, entry in served.items() if name.startswith("served/"))
    Recommender.load(artifacts, memory_limit=needed)
    with pytest.raises(
        EnvironmentProblem, match=f"takes {needed / 1024:,.1f} KiB, but `memory_limit` allows"
    ):
        Recommender.load(artifacts, memory_limit=needed - 1)


# The commands


def test_the_commands_say_what_is_there_and_what_they_did(shelf: Shelf, tmp_path: Path) -> None:
    artifacts, built = shelf
    bench = Bench(tmp_path, artifacts)

    def said(*words: str) -> str:
        ran = bench.run("retrieval", "bundles", *words)
        assert (ran.code, ran.err) == (0, ""), ran
        return ran.out

    listed = said("list").splitlines()
    assert [line.split()[:2] for line in listed[1:5]] == [
        [built[3], "current"],
        *([name, "earlier"] for name in built[2::-1]),
    ]
    assert all(len(line) <= 80 for line in listed)
    assert said("rollback") == f"{built[2]} is current\n"
    assert said("show").startswith(f"bundle      {built[2]}, current\n")
    assert said("promote", built[0]) == f"{built[0]} is current\n"
    size = sum(entry.size for entry in open_bundle(artifacts).manifest.files.values()) / 2**20
    assert said("verify") == f"{built[0]}: whole, 48 files, {size:.1f} MiB\n"
    assert said("prune", "--keep", "1").splitlines() == [
        f"1 bundle removed, {size:.1f} MiB",
        f"  {built[1]}",
    ]
    assert json.loads(said("list", "--json"))["bundles"][0]["state"] == "kept"
    shown = json.loads(said("show", built[3][-6:], "--json"))
    assert (shown["name"], shown["manifest"]["settings"]["seed"], shown["report"]["k"]) == (built[3], 42, 10)
    assert json.loads(said("verify", "--all", "--json"))["problems"] == {
        name: [] for name in (built[3], built[2], built[0])
    }


def test_verify_says_which_file_of_which_bundle_is_damaged(shelf: Shelf, tmp_path: Path) -> None:
    artifacts, built = shelf
    bench = Bench(tmp_path, artifacts)
    damage(artifacts, built[0])
    ran = bench.run("retrieval", "bundles", "verify", "--all")
    assert (ran.code, ran.out.count(": whole, ")) == (4, 3)
    assert f"{built[0]}/served/index.faiss: its SHA-256" in ran.err and "it can be pruned" in ran.err
