"""Compares our index with FAISS' usual ones, hnswlib, usearch and ScaNN: one core, the same recall.

Every library gets the same vectors and one thread of one core. For each, values of its own setting (nprobe,
ef, leaves) are tried on the choosing queries, and the fastest that meets `--recall-target` is kept; ours is
what `index.choose` takes, from the same queries. The printed figures are of other queries, one at a time,
through each library's ordinary Python call, the indexes taking turns. Tables and JSON have recall, p50, p99,
build seconds and bytes an item of each, and how they grow with the number of items.

The script is no part of CI: a million items take the better part of an hour, and 6 GB of memory. Run it from
the root of the checkout, in an environment of its own (see CONTRIBUTING.md):

    python scripts/benchmark_index.py --kinds synthetic --core 0 --output figures
    python scripts/benchmark_index.py --kinds towers --artifacts artifacts --core 1 --output figures
    python scripts/benchmark_index.py --merge figures/index-synthetic.json --merge figures/index-towers.json \
        --output figures
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and FAISS read them
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import contextlib
import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from index_contest import OURS, OURS_EXACT, OURS_SMALL, Contest, K, Options, say
from index_peers import PEERS
from index_tables import Document, draw, joined, text, with_growth
from index_vectors import read_towers, synthetic, towers

from retrieval.errors import DataError, RetrievalError, UsageError
from retrieval.machine import this_machine

KINDS = ("synthetic", "towers")
PACKAGES = ("two-stage-retrieval", "numpy", "faiss-cpu", "hnswlib", "usearch", "scann")


def runs(kinds: list[str], sizes: list[int], artifacts: Path | None, options: Options) -> Iterator[Document]:
    """Yields one document for each kind and size, the sizes rising."""
    trained = None
    if "towers" in kinds:
        if artifacts is None:
            raise UsageError("towers need a trained bundle; give --artifacts, or leave --kinds towers out")
        trained = read_towers(artifacts)
    for kind in kinds:
        for size in sizes:
            say(f"{kind}, {size:,} items")
            if kind == "towers":
                vectors = towers(*trained, size, options.queries, options.seed)
            else:
                vectors = synthetic(size, options.queries, options.seed)
            start = time.perf_counter()
            contest = Contest(vectors, options)
            entries = contest.run()
            say(f"  done after {time.perf_counter() - start:.0f} s")
            yield {
                "kind": kind,
                "size": size,
                "dimension": vectors.items.shape[1],
                "choosing": len(vectors.choosing),
                "held_out": len(vectors.held_out),
                "timed": min(options.timed, len(vectors.held_out)),
                "rounds": options.rounds,
                "entries": entries,
                "failed": contest.failed,
            }


def machine() -> Document:
    """Describes the machine and the versions that the figures depend on."""
    here = this_machine()
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {"cpu": here.processor, "system": here.system, "versions": versions}


def keep_to_one_core(core: int | None) -> None:
    """Pin this process to one core, where the system allows it: the given one, or the first usable."""
    if hasattr(os, "sched_setaffinity"):
        usable = sorted(os.sched_getaffinity(0))
        if core is not None and core not in usable:
            raise UsageError(f"--core {core} is not usable here; expected one of {usable}")
        os.sched_setaffinity(0, {usable[0] if core is None else core})


def read_json(path: Path) -> Document:
    """Read the document that an earlier run wrote."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found["runs"], found["machine"], found["left_out"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a file that this script has written ({error})") from None
    return found


def write(found: Document, folder: Path | None, name: str, *, picture: bool = True) -> None:
    """Write JSON, tables and, at the end, the picture into the folder; they replace earlier ones."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")
        (folder / f"{name}.txt").write_text(text(found) + "\n", encoding="utf-8")
        if picture:
            draw(found, folder / f"{name}.png")
    except OSError as error:
        raise UsageError(f"--output {folder}: cannot be written ({error})") from None


def sizes_of(text: str) -> list[int]:
    """Parse numbers separated by commas; they must rise."""
    try:
        sizes = sorted({int(size) for size in text.split(",")})
    except ValueError:
        sizes = []
    if not sizes or sizes[0] < 1000:
        raise UsageError(f"--sizes must be whole numbers of at least 1000 between commas, not {text}")
    return sizes


def kinds_of(text: str) -> list[str]:
    """Parse names separated by commas."""
    kinds = list(dict.fromkeys(text.split(",")))
    if not set(kinds) <= set(KINDS):
        raise UsageError(f"--kinds must be among {','.join(KINDS)}, not {text}")
    return kinds


def measured(kinds: list[str], sizes: list[int], folder: Path | None, **options: Any) -> Document:
    """Run everything; results are written after every size, so that an interrupted run loses little."""
    artifacts, core = options.pop("artifacts"), options.pop("core")
    chosen = Options(**options)
    known = [peer.name for peer in PEERS] + [OURS, OURS_SMALL, OURS_EXACT]
    if unknown := set(chosen.only) - set(known):
        raise UsageError(f"--only {min(unknown)}: unknown; expected one of {'; '.join(known)}")
    keep_to_one_core(core)
    left_out = [peer.name for peer in PEERS if not peer.installed]
    for peer in left_out:
        say(f"{peer} is left out, as it is not installed: pip install -e '.[benchmark]'")
    found: Document = {
        "machine": machine(),
        "recall_target": chosen.recall_target,
        "k": K,
        "seed": chosen.seed,
        "left_out": left_out,
        "runs": [],
    }
    name = f"index-{'-'.join(kinds)}"
    for run in runs(kinds, sizes, artifacts, chosen):
        found["runs"].append(run)
        found = with_growth(found)
        write(found, folder, name, picture=False)
    write(found, folder, name)
    return found


@click.command(context_settings={"show_default": True})
@click.option("--kinds", default=",".join(KINDS), help="Kinds of vectors, separated by commas.")
@click.option("--sizes", default="10000,100000,200000,1000000", help="Numbers of items, separated by commas.")
@click.option("--artifacts", type=click.Path(path_type=Path), help="Bundles folder whose towers to take.")
@click.option("--recall-target", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.95)
@click.option(
    "--queries", type=click.IntRange(10), default=1000, help="Queries to choose by, and as many to measure."
)
@click.option("--timed", type=click.IntRange(1), default=300, help="Held-out queries that are timed.")
@click.option("--rounds", type=click.IntRange(1), default=5, help="Rounds in which all indexes take turns.")
@click.option("--seed", default=42)
@click.option("--core", type=click.IntRange(0), help="Core to stay on.  [default: the first usable]")
@click.option("--only", multiple=True, help="An index by its name in the table; may be repeated.")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder for JSON, table and PNG."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option(
    "--merge", type=click.Path(path_type=Path), multiple=True, help="Merge earlier JSON; nothing runs."
)
def main(
    kinds: str, sizes: str, output: Path | None, as_json: bool, merge: tuple[Path, ...], **options: Any
) -> None:
    """Compare our index with those of FAISS, hnswlib, usearch and ScaNN at the same recall."""
    try:
        if merge:
            found = with_growth(joined([read_json(path) for path in merge]))
            write(found, output, "index")
        else:
            found = measured(kinds_of(kinds), sizes_of(sizes), output, **options)
    except RetrievalError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    click.echo(json.dumps(found) if as_json else text(found))


if __name__ == "__main__":
    main()
