"""Measures the time and memory of the main job: build-index, cold queries, training.

A user waits for whole processes, so whole processes are measured, started as a shell would start them. Only
the rate of training is taken inside one process, around the training loop alone. Run it from the checkout:

    .venv/bin/python scripts/benchmark_speed.py
    .venv/bin/python scripts/benchmark_speed.py --ratings path/to/ratings.dat.gz
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from retrieval.machine import usable_cores

QUERIES = 5


def timed(command: list[str]) -> float:
    """Run a process and return its wall seconds; its failure ends the benchmark."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return time.perf_counter() - start


def peak_mebibytes() -> float:
    """Largest resident size of any process waited for so far."""
    scale = 1024 if sys.platform == "linux" else 1024 * 1024
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / scale


def comparisons_a_second(ratings: Path | None, data: Path, epochs: int = 3) -> float:
    """Pairs of a positive and a negative that one member trains on in a second, after a warm-up epoch."""
    import numpy as np
    import torch

    from retrieval.data.datasets import load_dataset
    from retrieval.data.encoded import EncodedInteractions, ids_of
    from retrieval.data.interactions import read_interactions
    from retrieval.data.split import split_by_time
    from retrieval.settings import TowerSettings
    from retrieval.training.fit_towers import TowerJob, fit_towers
    from retrieval.training.history_batches import HistoryBatches

    interactions = (
        read_interactions(ratings) if ratings else load_dataset("ml-100k", data, print).interactions
    )
    train = split_by_time(interactions).train
    positives = EncodedInteractions.from_frame(train, *ids_of(train)).positives(4.0)
    settings, device = TowerSettings(members=1), torch.device("cpu")
    comparisons = HistoryBatches(positives, settings, np.random.default_rng(0), device).comparisons
    finished: list[float] = []
    fit_towers(
        TowerJob(positives, settings, seed=0, device=device),
        epochs=(epochs + 1,),
        on_epoch=lambda member, record: finished.append(time.perf_counter()),
    )
    return comparisons * epochs / (finished[-1] - finished[0])


@click.command()
@click.option(
    "--ratings", type=click.Path(path_type=Path, exists=True), help="Your own table instead of ml-100k."
)
@click.option(
    "--data", type=click.Path(path_type=Path), default=Path("data"), help="Folder of downloaded data sets."
)
@click.option("--user", default="42", help="The user to ask for.")
def main(ratings: Path | None, data: Path, user: str) -> None:
    """Measure the main job on ml-100k, or on --ratings."""
    bin_folder = Path(sys.executable).parent
    source = ["--ratings", str(ratings)] if ratings else ["--dataset", "ml-100k", "--data", str(data)]
    if not ratings:
        from retrieval.data.datasets import load_dataset

        load_dataset("ml-100k", data, click.echo)  # so that no download is in the time
    with tempfile.TemporaryDirectory() as folder:
        artifacts = ["--artifacts", folder]
        build = timed([str(bin_folder / "build-index"), *source, *artifacts, "--quiet"])
        memory = peak_mebibytes()
        query = [str(bin_folder / "query"), "--user", user, *artifacts]
        queries = [timed(query) for _ in range(QUERIES)]
    rate = comparisons_a_second(ratings, data)
    click.echo(f"cores                    {usable_cores():10d}")
    click.echo(f"build-index, wall        {build:10.1f} s")
    click.echo(f"build-index, peak memory {memory:10.0f} MiB")
    click.echo(f"cold query, median of {QUERIES}  {statistics.median(queries):10.3f} s")
    click.echo(f"training                 {rate:10,.0f} comparisons/s")


if __name__ == "__main__":
    main()
