"""`build-index`: read, split, train, index, evaluate, refit, publish."""

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from retrieval.cli.build_options import COUNT, ID_TOWERS, _settings
from retrieval.cli.options import (
    SHARED,
    artifacts_option,
    complete_set_name,
    data_option,
    debug_option,
    json_option,
    progress_option,
)
from retrieval.cli.process import advise_when_stopped, holding_signals, ignore_signals
from retrieval.cli.quantities import Bytes, Days
from retrieval.errors import DataError, EnvironmentProblem, HeldBack, UsageError
from retrieval.reporting.text.tables import wrap
from retrieval.settings import (
    BuildSettings,
    SplitSettings,
    TowerSettings,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from retrieval.cli.options import ProgressMode
    from retrieval.data.datasets import Dataset
    from retrieval.data.reading.columns import ColumnNames
    from retrieval.pipeline.build import Build
    from retrieval.pipeline.gate import GateVerdict
    from retrieval.progress import Progress

COLUMN_FLAGS = {"user": "user", "item": "item", "rating": "rating", "timestamp": "time"}
TRIALS = "tuning"  # beside the bundles
RESUME_ADVICE = ", and the same command with --resume goes on from the last checkpoint"
PATH = click.Path(path_type=Path)
Table = TypeVar("Table")


@click.command("build-index", context_settings=SHARED)
@click.option(
    "--dataset",
    metavar="NAME",
    shell_complete=complete_set_name,
    help="A named data set, see `retrieval datasets`; sample is made up and small.  [default: ml-100k]",
)
@click.option(
    "--ratings", type=PATH, help="Your own file or folder of interactions, instead of a named data set."
)
@click.option("--items", type=PATH, help="Titles, genres and the like, where not beside --ratings.")
@click.option("--users", type=PATH, help="Gender, age and the like, where not beside --ratings.")
@click.option("--user-column", metavar="NAME", help="Column of --ratings, where its name is not known.")
@click.option("--item-column", metavar="NAME", help="Likewise.")
@click.option("--rating-column", metavar="NAME", help="Likewise; without one every row is a positive.")
@click.option("--time-column", metavar="NAME", help="Likewise; without one give --split random.")
@data_option
@artifacts_option
@click.option(
    "--index",
    default=BuildSettings.index,
    help="auto measures many kinds and takes the fastest that meets the target; exact; or a FAISS factory "
    "string such as UPCA65,IVF64,Flat.",
)
@click.option(
    "--recall-target",
    type=float,
    default=BuildSettings.recall_target,
    help="Share of the exact candidates the index must find, proved on users it was not chosen by.",
)
@click.option(
    "--max-ndcg-loss",
    type=float,
    metavar="LOSS",
    help="In place of --recall-target: how much NDCG@10 the served lists may lose by the index, with 95% "
    "certainty, on validation. Give both to ask for both.",
)
@click.option(
    "--memory-limit", type=Bytes(), help="What the index may take, such as 500M or 2G.  [default: any]"
)
@click.option(
    "--index-minutes",
    type=float,
    default=BuildSettings.index_minutes,
    help="Minutes that choosing an index may take.",
)
@click.option(
    "--candidates", type=COUNT, default=BuildSettings.candidates, help="Items retrieved for re-ranking."
)
@click.option(
    "--split",
    type=click.Choice(["time", "random"]),
    default=SplitSettings.kind,
    help="time tests on the most recent; random, for tables without times, is too kind and says so.",
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
    "--preset",
    type=click.Choice(["notebook"]),
    help="notebook trains both models as the reference notebook did and prints its figures beside.",
)
@click.option(
    "--user-tower",
    type=click.Choice(["history", "id"]),
    default=TowerSettings.user_tower,
    help="history also serves people who come with a list of items; id only users seen in training.",
)
@click.option(
    "--loss",
    type=click.Choice(["bpr", "softmax"]),
    default=TowerSettings.loss,
    help="bpr: each positive against single negatives; softmax: against all together (history tower).",
)
@click.option(
    "--members",
    type=COUNT,
    help="Towers trained from different seeds and joined into one.  "
    f"[default: {TowerSettings.members}; id tower: {ID_TOWERS.members}]",
)
@click.option(
    "--dimension", type=COUNT, default=TowerSettings.dimension, help="Numbers in an embedding of the towers."
)
@click.option(
    "--negatives",
    type=COUNT,
    help="Negatives drawn for each user and step; for each positive by the id tower.  "
    f"[default: {TowerSettings.negatives}; id tower: {ID_TOWERS.negatives}]",
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
    help="Users in a training step of the towers; positives with the id tower.  "
    f"[default: {TowerSettings.batch_size}; id tower: {ID_TOWERS.batch_size}]",
)
@click.option(
    "--learning-rate",
    type=float,
    help="Learning rate of the towers.  "
    f"[default: {TowerSettings.learning_rate:g}; id tower: {ID_TOWERS.learning_rate:g}]",
)
@click.option(
    "--recency-half-life",
    type=Days(),
    default=TowerSettings.recency_half_life_days,
    help="Days after which a positive weighs half in the towers' training; none: all weigh the same.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=BuildSettings.seed,
    help="The only source of chance; builds repeat bit for bit with the same --threads.",
)
@click.option("--threads", type=COUNT, help="Threads of torch and FAISS.  [default: all cores]")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="What to train on."
)
@click.option(
    "--tune",
    type=float,
    metavar="MINUTES",
    help="First search better settings of the towers on validation, for so long; what flags set stays. "
    "Given again, it goes on. Needs: pip install optuna.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on from the checkpoints of a build that was stopped, to the weights it would have had; data and "
    "settings must be the same.",
)
@click.option(
    "--max-regression",
    type=float,
    metavar="LOSS",
    help="Keep the build without publishing it, and exit with 7, where its NDCG@10 on validation is lower "
    "than the current bundle's by more.  [default: publish]",
)
@click.option("--no-refit", is_flag=True, help="Serve the evaluated models, not ones refitted on everything.")
@progress_option
@json_option
@debug_option
def build_index(
    dataset: str | None,
    ratings: Path | None,
    items: Path | None,
    users: Path | None,
    data: Path,
    artifacts: Path,
    resume: bool,
    max_regression: float | None,
    progress_mode: "ProgressMode",
    as_json: bool,
    **options: Any,
) -> None:
    """Train on a table of ratings, index the items, measure everything, and publish a bundle.

    \b
    Example:
      build-index --dataset ml-100k
      build-index --ratings ratings.csv --items movies.csv --artifacts shop
      build-index --ratings ratings.csv --tune 30
      build-index --ratings ratings.csv --tune 30 --resume
    """
    # Nothing heavy is imported before the flags are known to be right.
    if dataset and ratings:
        raise UsageError("--dataset and --ratings exclude each other; give one of them")
    columns = {column: options.pop(f"{flag}_column") for column, flag in COLUMN_FLAGS.items()}
    own = {"items": items, "users": users} | {
        f"{COLUMN_FLAGS[column]}-column": name for column, name in columns.items()
    }
    needless = [flag for flag, value in own.items() if value]
    if needless and not ratings:
        raise UsageError(f"--{needless[0]} goes with --ratings; a named data set needs none")
    if max_regression is not None and not 0 <= max_regression <= 1:
        raise UsageError(f"--max-regression must be from 0 to 1, not {max_regression:g}; 0.01 is usual")
    settings = _settings(options)
    if settings.tune is not None:
        from retrieval.pipeline.tuning_trials import require_optuna

        require_optuna()

    from retrieval.bundles.writer import new_bundle
    from retrieval.cli.progress import progress_for
    from retrieval.data.datasets import load_dataset
    from retrieval.data.reading.columns import ColumnNames
    from retrieval.training.checkpoints import FOLDER as CHECKPOINTS
    from retrieval.training.checkpoints import remove_checkpoints

    with progress_for(progress_mode) as progress:
        progress.phase("Reading the data")
        if ratings is None:
            table = load_dataset(dataset or "ml-100k", data, progress.note, on_bytes=progress.downloaded)
        else:
            table = _read(ratings, items, users, ColumnNames(**columns), progress)
        with new_bundle(artifacts) as writer:
            kept = artifacts / CHECKPOINTS
            _advise(kept, resume)
            # It takes seconds: not before the data is read and the folder can be written.
            progress.phase("Loading torch")
            with holding_signals():
                from retrieval.pipeline.build import build
                from retrieval.pipeline.gate import judge
                from retrieval.pipeline.save import write_build

            built = build(
                table.interactions,
                items=table.items,
                users=table.users,
                settings=settings,
                progress=progress,
                name=table.name,
                notes=table.notes(),
                trials=artifacts / TRIALS,
                checkpoints=kept,
                resume=resume,
            )
            progress.phase("Publishing the bundle")
            gate = None if max_regression is None else judge(built, artifacts, max_regression)
            folder = write_build(writer, built, before_publishing=ignore_signals, gate=gate)
            with suppress(EnvironmentProblem):  # it is published; the next build removes them
                remove_checkpoints(kept)
    _finish(built, folder, gate, as_json)


def _finish(built: "Build", folder: Path, gate: "GateVerdict | None", as_json: bool) -> None:
    """Print the report, and whether the build answers now.

    Raises:
        HeldBack: if the gate said no.
    """
    held = gate is not None and gate.held
    document, text = _report(built)
    document |= {"bundle": str(folder), "published": not held, "gate": gate and gate.to_json()}
    told = f"\n{wrap(f'Gate: {gate.text()}.')}" if gate else ""
    where = f"{'Kept, not published:' if held else 'Published'} {folder}"
    click.echo(json.dumps(document) if as_json else f"{text}\n{told}\n{where}")
    if gate is not None and held:
        from retrieval.bundles.manifest import ID_LENGTH

        short = folder.name[-ID_LENGTH:]
        raise HeldBack(
            f"{folder}: kept, not published: {gate.text()}; --max-regression allows {gate.max_regression:g} "
            f"less; compare: retrieval bundles diff {short}; publish: retrieval bundles promote {short}"
        )


def _advise(checkpoints: Path, resume: bool) -> None:
    """Say how to go on when a signal stops the build, where it left something to go on from."""
    from retrieval.training.checkpoints import stamps

    of_others = set() if resume else stamps(checkpoints)

    def advice() -> str:
        return RESUME_ADVICE if stamps(checkpoints) - of_others else ""

    advise_when_stopped(advice)


def _report(built: "Build") -> tuple[dict[str, Any], str]:
    """What is printed at the end, for programs and for people."""
    from retrieval.reporting.text.report import report_text

    document, text = built.report.to_json(), report_text(built.report)
    if built.settings.preset == "notebook":
        from retrieval.evaluation.evaluate import evaluate
        from retrieval.reporting.text.notebook import Curves, notebook_json, notebook_text

        report = evaluate(built.evaluation, built.report.k, "notebook")
        curves = Curves.of(built.towers[0], built.neural_mf)
        document["notebook"] = notebook_json(report, curves)
        text = f"{text}\n\n{notebook_text(report, curves)}"
    return document, text


def _read(
    ratings: Path, items: Path | None, users: Path | None, columns: "ColumnNames", progress: "Progress"
) -> "Dataset":
    """Somebody's own table, and what was named or lies beside it."""
    from retrieval.data.datasets import Dataset
    from retrieval.data.interactions import read_interactions
    from retrieval.data.items import find_items_beside, read_items
    from retrieval.data.users import find_users_beside, read_users

    def beside(found: Path | None, read: "Callable[[Path], Table]", what: str) -> "Table | None":
        try:
            return None if found is None else read(found)
        except DataError as error:  # nobody asked for that file
            progress.note(f"no {what}: {error}")
            return None

    interactions = read_interactions(ratings, columns)
    return Dataset(
        ratings.name,
        interactions,
        read_items(items) if items else beside(find_items_beside(ratings), read_items, "titles"),
        read_users(users) if users else beside(find_users_beside(ratings), read_users, "users' features"),
    )
