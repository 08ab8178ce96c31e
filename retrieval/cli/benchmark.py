"""`benchmark`: measures recall against latency of the current bundle, as a table, JSON and a picture."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from retrieval.cli.options import (
    SHARED,
    ProgressMode,
    artifacts_option,
    debug_option,
    json_option,
    progress_option,
    verify_option,
)
from retrieval.errors import EnvironmentProblem, UsageError
from retrieval.reporting.text.tables import printable

if TYPE_CHECKING:
    from retrieval.bundles.bundle import Verification

DOCUMENT, PICTURE = "benchmark.json", "benchmark.png"
# BLAS reads these variables when it is loaded; exact search uses that number of threads.
BLAS_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
MOST_THREADS = 1024


@click.command("benchmark", context_settings=SHARED)
@click.option(
    "--k",
    type=click.IntRange(min=1),
    help="Items a search returns.  [default: as many as the bundle retrieves]",
)
@click.option(
    "--threads", type=click.IntRange(1, MOST_THREADS), default=1, help="Threads of every kind of search."
)
@click.option("--queries", type=click.IntRange(min=1), default=256, help="At most so many users of test.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("benchmark"),
    help=f"Folder for {DOCUMENT} and {PICTURE}.",
)
@artifacts_option
@verify_option
@progress_option
@json_option
@debug_option
def benchmark(
    k: int | None,
    threads: int,
    queries: int,
    output: Path,
    artifacts: Path,
    verify: "Verification",
    progress_mode: ProgressMode,
    as_json: bool,
) -> None:
    """Measure recall against latency: the bundle's index, exact search, every other kind of index.

    On the part of the bundle that is evaluated, for users of test, one query at a time and in batches, and
    under filters. A table on stdout, all figures and a picture in a folder.

    \b
    Example:
      retrieval benchmark
      retrieval benchmark --k 100 --output pictures
    """
    if "numpy" not in sys.modules:
        os.environ.update(dict.fromkeys(BLAS_THREADS, str(threads)))

    from retrieval.bundles.registry import read_current
    from retrieval.cli.progress import progress_for
    from retrieval.evaluation.index_benchmark.measure import measure, read_subject
    from retrieval.reporting.text.index_benchmark import benchmark_text

    read_current(artifacts, lambda _: None)  # without a bundle no folder is made
    _prepare(output, artifacts)
    with progress_for(progress_mode) as progress:
        progress.phase("Reading the bundle")
        subject = read_current(artifacts, read_subject, verify)
        found = measure(subject, k, queries=queries, threads=threads, progress=progress)
        progress.phase("Drawing")
        from retrieval.reporting.figure.benchmark_figure import benchmark_png

        document = found.to_json()
        _write(output / DOCUMENT, (json.dumps(document, indent=1) + "\n").encode())
        _write(output / PICTURE, benchmark_png(found))
    if as_json:
        click.echo(json.dumps(document))
    elif progress_mode != "never":
        click.echo(f"{benchmark_text(found)}\n\nWrote {printable(str(output))}: {DOCUMENT}, {PICTURE}")


def _prepare(output: Path, artifacts: Path) -> None:
    """Make the folder before minutes of measuring, so that an error comes early."""
    if artifacts.resolve() in (output.resolve(), *output.resolve().parents):
        raise UsageError(f"--output {output} lies in {artifacts}, where bundles are; name another folder")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(output, error) from error


def _write(path: Path, data: bytes) -> None:
    """Write a file completely or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> EnvironmentProblem:
    return EnvironmentProblem(f"{path}: cannot be written ({error.strerror}); give another --output")
