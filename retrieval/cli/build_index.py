"""`build-index`: read, split, train, index, evaluate, refit, publish."""

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retrieval.cli.app import ignore_signals
from retrieval.cli.options import SHARED, artifacts_option, debug_option, json_option
from retrieval.errors import DataError, UsageError
from retrieval.settings import BuildSettings, NeuralMFSettings, SplitSettings, TowerSettings

if TYPE_CHECKING:
    from retrieval.datasets import Dataset
    from retrieval.progress import Progress

PATH = click.Path(path_type=Path)
COUNT = click.IntRange(min=1)


@click.command("build-index", context_settings=SHARED)
@click.option(
    "--dataset",
    metavar="NAME",
    help="A named data set: ml-100k, downloaded once, or sample, made up and small.  [default: ml-100k]",
)
@click.option("--ratings", type=PATH, help="Your own file of interactions, instead of a named data set.")
@click.option("--items", type=PATH, help="Titles and genres, where they do not lie beside --ratings.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data"),
    envvar="RETRIEVAL_DATA",
    show_envvar=True,
    help="Folder of downloaded data sets.",
)
@artifacts_option
@click.option(
    "--index", default=BuildSettings.index, help="auto, or a FAISS factory string such as IVF64,Flat."
)
@click.option(
    "--recall-target",
    default=BuildSettings.recall_target,
    help="Share of the exact candidates the index must find; sets its nprobe.",
)
@click.option(
    "--candidates", type=COUNT, default=BuildSettings.candidates, help="Items retrieved for re-ranking."
)
@click.option(
    "--test-fraction",
    default=SplitSettings.test_fraction,
    help="Share of the interactions to test on, the most recent.",
)
@click.option(
    "--validation-fraction",
    default=SplitSettings.validation_fraction,
    help="Share before that, to choose settings on.",
)
@click.option(
    "--positive-threshold",
    default=BuildSettings.positive_threshold,
    help="Ratings from here on are positive and relevant.",
)
@click.option(
    "--user-tower",
    type=click.Choice(["history", "id"]),
    default=TowerSettings.user_tower,
    help="history also serves people who come with a list of items; id only users seen in training.",
)
@click.option(
    "--dimension", type=COUNT, default=TowerSettings.dimension, help="Numbers in an embedding of the towers."
)
@click.option(
    "--negatives", type=COUNT, default=TowerSettings.negatives, help="Negatives sampled for each positive."
)
@click.option(
    "--epochs",
    type=COUNT,
    default=TowerSettings.max_epochs,
    help="At most, for each model; validation decides.",
)
@click.option(
    "--batch-size",
    type=COUNT,
    default=TowerSettings.batch_size,
    help="Positives in a training step of the towers.",
)
@click.option("--learning-rate", default=TowerSettings.learning_rate, help="Learning rate of the towers.")
@click.option(
    "--recency-half-life",
    default=TowerSettings.recency_half_life_days,
    help="Days after which a positive weighs half in the towers' training.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=BuildSettings.seed,
    help="The only source of chance; a CPU repeats bit for bit with the same --threads.",
)
@click.option("--threads", type=COUNT, help="Threads of torch and FAISS.  [default: all cores]")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="What to train on."
)
@click.option("--no-refit", is_flag=True, help="Serve the evaluated models, not ones refitted on everything.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@json_option
@debug_option
def build_index(
    dataset: str | None,
    ratings: Path | None,
    items: Path | None,
    data: Path,
    artifacts: Path,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train on a table of ratings, index the items, measure everything, and publish a bundle.

    \b
    Example:
      build-index --dataset ml-100k
      build-index --ratings ratings.csv --items movies.csv --artifacts shop
    """
    # Nothing heavy is imported before the flags are known to be right.
    if dataset and ratings:
        raise UsageError("--dataset and --ratings exclude each other; give one of them")
    if items and not ratings:
        raise UsageError("--items goes with --ratings; a named data set brings its own titles")
    settings = _settings(options)

    from retrieval.publishing import new_bundle

    with _progress(quiet) as progress:
        progress.phase("Reading the data")
        table = _read(dataset, ratings, items, data, progress)
        for note in table.notes():
            progress.note(f"{table.name}: {note}")
        with new_bundle(artifacts) as writer:
            # It takes seconds: not before the data is read and the folder can be written.
            progress.phase("Loading torch")
            from retrieval.building import build
            from retrieval.storage import write_build

            built = build(
                table.interactions, items=table.items, settings=settings, progress=progress, name=table.name
            )
            progress.phase("Publishing the bundle")
            folder = write_build(writer, built, before_publishing=ignore_signals)
    if as_json:
        click.echo(json.dumps(built.report.to_json() | {"bundle": str(folder)}))
        return
    from retrieval.cli.report_text import report_text

    click.echo(report_text(built.report))
    click.echo(f"\nPublished {folder}")


def _settings(options: dict[str, Any]) -> BuildSettings:
    """Flags -> settings; every value is checked on the way."""
    return BuildSettings(
        split=SplitSettings(options["test_fraction"], options["validation_fraction"]),
        towers=TowerSettings(
            user_tower=options["user_tower"],
            dimension=options["dimension"],
            negatives=options["negatives"],
            learning_rate=options["learning_rate"],
            batch_size=options["batch_size"],
            max_epochs=options["epochs"],
            recency_half_life_days=options["recency_half_life"],
        ),
        neural_mf=NeuralMFSettings(max_epochs=options["epochs"]),
        index=options["index"],
        recall_target=options["recall_target"],
        candidates=options["candidates"],
        positive_threshold=options["positive_threshold"],
        seed=options["seed"],
        threads=options["threads"],
        device=options["device"],
        refit=not options["no_refit"],
    )


def _read(
    dataset: str | None, ratings: Path | None, items: Path | None, data: Path, progress: "Progress"
) -> "Dataset":
    from retrieval.datasets import Dataset, load_dataset
    from retrieval.interactions import read_interactions
    from retrieval.items import find_items_beside, read_items

    if ratings is None:
        return load_dataset(dataset or "ml-100k", data, progress.note)
    interactions = read_interactions(ratings)
    if items is not None:
        return Dataset(ratings.name, interactions, read_items(items))
    found = find_items_beside(ratings)
    try:
        table = None if found is None else read_items(found)
    except DataError as error:  # nobody asked for that file
        progress.note(f"no titles: {error}")
        table = None
    return Dataset(ratings.name, interactions, table)


def _progress(quiet: bool) -> "AbstractContextManager[Progress]":
    if quiet:
        from retrieval.progress import Silent

        return nullcontext(Silent())
    from retrieval.cli.progress import TerminalProgress

    return TerminalProgress()
