"""Damages the files of a bundle at random, thousands of times, and checks that no reader accepts one.

FAISS, safetensors and NumPy load most flipped bits without an error; the digests of a bundle ensure that only
what was written is parsed. Each damage is to one file, every file as often as the others. Every command that
reads the file must refuse it: `verify`, which reads all files, and `query` or `retrieval evaluate` where they
read it too. Then the file is restored. The file `current` has no digest: it must be refused or name the same
bundle as before.

    python scripts/corrupt_bundles.py --damages 10000
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import click
import numpy as np
from small_build import small_build, small_settings

from retrieval.bundles.bundle import open_bundle, open_named
from retrieval.bundles.current import BUILDS, CURRENT, read_current_file
from retrieval.bundles.fitted_system_files import read_system
from retrieval.bundles.layout import MANIFEST
from retrieval.bundles.registry import problems
from retrieval.errors import ArtifactError
from retrieval.evaluation.from_bundle import read_evaluated

SINGLE = ("flipped bit", "truncated")
OTHERS = ("bytes appended", "another file of the bundle", "the same file of another build")
CHECK_EVERY = 100
SHOWN = 5

Reader = Callable[[], object]


@dataclass
class Tally:
    """Counts how the damages ended.

    Attributes:
        refused, done: by kind of damage.
        accepted: how often the whole bundle was read between them.
        same: damages to `current` after which it still named the same bundle.
        survivors: files that were read though damaged, or refused though whole.
    """

    refused: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    accepted: int = 0
    same: int = 0
    survivors: list[str] = field(default_factory=list)

    def count(self, kind: str, what: str, refused: bool) -> None:
        """Count one damage."""
        self.done[kind] = self.done.get(kind, 0) + 1
        self.refused[kind] = self.refused.get(kind, 0) + refused
        if not refused:
            self.survivors.append(what)

    def of(self, kinds: tuple[str, ...]) -> str:
        """How many of these were refused, each and all."""
        refused, done = ([counts.get(kind, 0) for kind in kinds] for counts in (self.refused, self.done))
        each = ", ".join(f"{n:,} {kind}" for n, kind in zip(done, kinds, strict=True))
        return f"{sum(refused):,} of {sum(done):,} refused ({each})"


@dataclass(frozen=True)
class Shelf:
    """A bundle to damage, and one of another build to take files from."""

    artifacts: Path
    other: Path

    @property
    def folder(self) -> Path:
        """The folder of the bundle that is damaged."""
        return self.artifacts / BUILDS / read_current_file(self.artifacts)[0]

    def readers(self, name: str) -> dict[str, Reader]:
        """The readers of a bundle in this process: the code behind `verify`, `query` and `evaluate`."""
        return {
            "verify": partial(_verify, self.artifacts, name),
            "query": lambda: read_system(open_named(self.artifacts, name), "served"),
            "evaluate": lambda: read_evaluated(open_named(self.artifacts, name)),
        }


def _verify(artifacts: Path, name: str) -> None:
    found = problems(artifacts, name)
    if found:
        raise ArtifactError(found[0])


def refuses(reader: Reader, file: str) -> bool:
    """Whether reading ends in the only allowed error, one that names the file."""
    try:
        reader()
    except ArtifactError as error:
        return file in str(error)
    return False


def readers_of(shelf: Shelf) -> dict[str, list[str]]:
    """The readers of each file, found by taking the file away."""
    folder, name = shelf.folder, shelf.folder.name
    files = [MANIFEST, *open_bundle(shelf.artifacts).manifest.files]
    readers = shelf.readers(name)
    found = {}
    for file in files:
        path, aside = folder / file, shelf.artifacts / "aside"
        path.rename(aside)
        found[file] = [who for who, reader in readers.items() if refuses(reader, file)]
        aside.rename(path)
    return found


def damaged(data: bytes, kind: str, others: list[bytes], rng: np.random.Generator) -> bytes:
    """The bytes after one damage.

    Args:
        others: contents that a swap may put in their place; none equals `data`.
    """
    if kind == "flipped bit":
        changed = bytearray(data)
        changed[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        return bytes(changed)
    if kind == "truncated":
        return data[: rng.integers(len(data))]
    if kind == "bytes appended":
        return data + rng.bytes(int(rng.integers(1, 65)))
    return others[rng.integers(len(others))]


def corrupt(shelf: Shelf, n: int, seed: int, tally: Tally) -> Iterator[None]:
    """Damage the bundle n times by flips and truncations, and a third as often by the rest.

    Yields after each damage, when the bundle is whole again.
    """
    rng = np.random.default_rng(seed)
    folder, name = shelf.folder, shelf.folder.name
    readers, who = shelf.readers(name), readers_of(shelf)
    whole = {file: (folder / file).read_bytes() for file in who}
    elsewhere = {file: (shelf.other / file).read_bytes() for file in who if (shelf.other / file).is_file()}
    differing = [file for file in who if elsewhere.get(file, whole[file]) != whole[file]]
    plan = [(SINGLE, step) for step in range(n)] + [(OTHERS, step) for step in range(n // 3)]
    for number, (kinds, step) in enumerate(plan, start=1):
        kind = kinds[step % len(kinds)]
        files = differing if kind == OTHERS[2] else list(whole)
        file = files[step // len(kinds) % len(files)]
        others = [data for data in whole.values() if data != whole[file]]
        if kind == OTHERS[2]:
            others = [elsewhere[file]]
        (folder / file).write_bytes(damaged(whole[file], kind, others, rng))
        passed = [reader for reader in who[file] if not refuses(readers[reader], file)]
        (folder / file).write_bytes(whole[file])
        tally.count(kind, f"{file}, {kind}: read by {' and '.join(passed)}", not passed)
        if number % CHECK_EVERY == 0 or number == len(plan):
            _accept(readers, tally)
        yield


def _accept(readers: dict[str, Reader], tally: Tally) -> None:
    try:
        for reader in readers.values():
            reader()
        tally.accepted += 1
    except ArtifactError as error:
        tally.survivors.append(f"whole, and refused: {error}")


def corrupt_current_file(shelf: Shelf, n: int, seed: int, tally: Tally) -> None:
    """Damage `current` n times: it must be refused, or still name the same bundle."""
    rng = np.random.default_rng([seed, 1])
    path = shelf.artifacts / CURRENT
    whole, folder = path.read_bytes(), shelf.folder
    for step in range(n):
        path.write_bytes(damaged(whole, SINGLE[step % 2], [], rng))
        try:
            same = open_bundle(shelf.artifacts).folder == folder
            tally.same += same
            tally.count(CURRENT, f"{CURRENT}: {path.read_bytes()!r} opens another bundle", same)
        except ArtifactError:
            tally.count(CURRENT, "", True)
        path.write_bytes(whole)


def small_shelf(folder: Path) -> Shelf:
    """Two very small builds of the sample, and two bundles of the first in one folder."""
    from retrieval.bundles.writer import copy_bundle, new_bundle
    from retrieval.pipeline.save import write_build

    published = []
    for seed in (42, 7):
        built = small_build(small_settings(seed=seed))
        with new_bundle(folder / str(seed)) as writer:
            published.append(write_build(writer, built))
    copy_bundle(published[0], folder / "42")
    return Shelf(folder / "42", published[1])


@click.command()
@click.option("--damages", type=click.IntRange(min=1), default=10_000, help="Flips and truncations.")
@click.option("--seed", type=int, default=0, help="Seed of the damages.")
def main(damages: int, seed: int) -> None:
    """Damage a small bundle at random; exit with 1 if any reader accepts a damaged file."""
    tally, folder = Tally(), Path(tempfile.mkdtemp())
    try:
        shelf = small_shelf(folder)
        start = time.perf_counter()
        for _ in corrupt(shelf, damages, seed, tally):
            pass
        corrupt_current_file(shelf, max(1, damages // 10), seed, tally)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    pointed = tally.done[CURRENT]
    click.echo(
        f"flips and truncations: {tally.of(SINGLE)}; other damages: {tally.of(OTHERS)}; current: "
        f"{pointed - tally.same:,} of {pointed:,} refused, {tally.same:,} name the same bundle; the whole "
        f"bundle was read {tally.accepted:,} times between them; {time.perf_counter() - start:.0f} s"
    )
    for survivor in tally.survivors[:SHOWN]:
        click.echo(f"survived: {survivor}", err=True)
    sys.exit(1 if tally.survivors else 0)


if __name__ == "__main__":
    main()
