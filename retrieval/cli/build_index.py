"""`build-index`: read, split, train, index, evaluate, refit, publish."""

import json
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from retrieval.cli.build_options import BuildOptions, build_options
from retrieval.cli.options import SHARED
from retrieval.cli.process import advise_when_stopped, holding_signals, ignore_signals
from retrieval.errors import DataError, EnvironmentProblem, HeldBack
from retrieval.reporting.text.tables import wrap

if TYPE_CHECKING:
    from collections.abc import Callable

    from retrieval.data.datasets import Dataset
    from retrieval.pipeline.build import Build
    from retrieval.pipeline.gate import GateVerdict
    from retrieval.progress import Progress

RESUME_ADVICE = ", and the same command with --resume goes on from the last checkpoint"
Table = TypeVar("Table")


@click.command("build-index", context_settings=SHARED)
@build_options
def build_index(options: BuildOptions) -> None:
    """Train on a table of ratings, index the items, measure everything, and publish a bundle.

    \b
    Example:
      build-index --dataset ml-100k
      build-index --ratings ratings.csv --items movies.csv --artifacts shop
      build-index --ratings ratings.csv --tune 30
      build-index --ratings ratings.csv --tune 30 --resume
    """
    # Nothing heavy is imported before the flags are known to be right.
    options.check()
    settings = options.settings()
    options.require_source()
    if settings.tune is not None:
        from retrieval.pipeline.tuning_trials import require_optuna

        require_optuna()

    from retrieval.bundles.writer import new_bundle
    from retrieval.cli.progress import progress_for
    from retrieval.pipeline.tuning_trials import FOLDER as TRIALS
    from retrieval.training.checkpoints import FOLDER as CHECKPOINTS
    from retrieval.training.checkpoints import remove_checkpoints

    with progress_for(options.progress_mode) as progress:
        progress.phase("Reading the data")
        table = _read(options, progress)
        if settings.tune is None:
            progress.plan(_phases(table.interactions.has_ratings, settings.refit))
        with new_bundle(options.artifacts) as writer:
            kept = options.artifacts / CHECKPOINTS
            _advise(kept, options.resume)
            # Importing torch takes seconds: first the data is read and the folder proves writable.
            progress.phase("Loading torch")
            with holding_signals():
                from retrieval.pipeline.build import build
                from retrieval.pipeline.gate import compare_with_current
                from retrieval.pipeline.save import write_build

            built = build(
                table.interactions,
                items=table.items,
                users=table.users,
                settings=settings,
                progress=progress,
                name=table.name,
                notes=table.notes(),
                trials=options.artifacts / TRIALS,
                checkpoints=kept,
                resume=options.resume,
            )
            progress.phase("Publishing the bundle")
            gate, most = None, options.max_regression
            if most is not None:
                gate = compare_with_current(built, options.artifacts, most)
            folder = write_build(
                writer,
                built,
                before_publishing=ignore_signals,
                gate=None if gate is None else gate.to_json(),
                current=gate is None or not gate.held,
            )
            with suppress(EnvironmentProblem):  # it is published; the next build removes them
                remove_checkpoints(kept)
    _finish(built, folder, gate, options)


def _phases(rated: bool, refits: bool) -> int:
    """The number of phases of a build, `Reading the data` and `Publishing the bundle` included."""
    fits = 2 if rated else 1
    # reading, torch, split, baselines, fits, weights of the re-ranker, index, evaluation, refits, publishing
    return 4 + fits + (1 if rated else 0) + 2 + (fits + 1 if refits else 0) + 1


def _finish(built: "Build", folder: Path, gate: "GateVerdict | None", options: BuildOptions) -> None:
    """Print the report, and whether the build was published.

    Raises:
        HeldBack: if the gate said no.
    """
    held = gate is not None and gate.held
    document, text = _report(built, options.full)
    document |= {"bundle": str(folder), "published": not held, "gate": gate and gate.to_json()}
    told = f"\n{wrap(f'Gate: {gate.text()}.')}" if gate else ""
    where = f"{'Kept, not published:' if held else 'Published'} {folder}"
    more = "" if options.full else "\n--full prints every figure, report.html in the bundle shows them.\n"
    if options.as_json:
        click.echo(json.dumps(document))
    elif options.progress_mode != "never":
        click.echo(f"{text}\n{told}{more}\n{where}")
    if gate is not None and held:
        from retrieval.bundles.manifest import ID_LENGTH

        short = folder.name[-ID_LENGTH:]
        raise HeldBack(
            f"{folder}: kept, not published: {gate.text()}; --max-regression allows {gate.max_regression:g} "
            f"less; compare: retrieval bundles diff {short}; publish: retrieval bundles promote {short}"
        )


def _advise(checkpoints: Path, resume: bool) -> None:
    """When a signal stops the build, advise --resume, but only if this build left a checkpoint."""
    from retrieval.training.checkpoints import stamps

    of_earlier = set() if resume else stamps(checkpoints)

    def advice() -> str:
        return RESUME_ADVICE if stamps(checkpoints) - of_earlier else ""

    advise_when_stopped(advice)


def _report(built: "Build", full: bool) -> tuple[dict[str, Any], str]:
    """The report as a JSON document and as text for the terminal."""
    from retrieval.reporting.text.report import report_text
    from retrieval.reporting.text.summary import summary_text

    document, text = built.report.to_json(), (report_text if full else summary_text)(built.report)
    if built.settings.preset == "notebook":
        from retrieval.evaluation.evaluate import evaluate
        from retrieval.reporting.text.notebook import Curves, notebook_json, notebook_text

        report = evaluate(built.evaluation, built.report.k, "notebook")
        curves = Curves.of(built.towers[0], built.neural_mf)
        document["notebook"] = notebook_json(report, curves)
        text = f"{text}\n\n{notebook_text(report, curves)}"
    return document, text


def _read(options: BuildOptions, progress: "Progress") -> "Dataset":
    """The data set that the flags name, or the user's own table."""
    if options.ratings is not None:
        return _read_own(options.ratings, options, progress)
    from retrieval.data.datasets import load_dataset

    assert options.dataset is not None  # `require_source` saw to it
    return load_dataset(options.dataset, options.data, progress.note, on_bytes=progress.downloaded)


def _read_own(ratings: Path, options: BuildOptions, progress: "Progress") -> "Dataset":
    """The user's own table, with the tables of items and users that are named or lie beside it."""
    from retrieval.data.datasets import Dataset
    from retrieval.data.interactions import read_interactions
    from retrieval.data.items import find_items_beside, read_items
    from retrieval.data.reading.columns import ColumnNames
    from retrieval.data.users import find_users_beside, read_users

    def beside(found: Path | None, read: "Callable[[Path], Table]", what: str) -> "Table | None":
        try:
            return None if found is None else read(found)
        except DataError as error:  # the user did not ask for that file: a note, and the build goes on
            progress.note(f"no {what}: {error}")
            return None

    columns = ColumnNames(
        user=options.user_column,
        item=options.item_column,
        rating=options.rating_column,
        timestamp=options.time_column,
        title=options.title_column,
    )
    items, users = options.items, options.users
    titles = partial(read_items, columns=columns)
    features = partial(read_users, columns=columns)
    return Dataset(
        ratings.name,
        read_interactions(ratings, columns, skip_bad=options.skip_bad, time_format=options.time_format),
        titles(items) if items else beside(find_items_beside(ratings), titles, "titles"),
        features(users) if users else beside(find_users_beside(ratings), features, "users' features"),
    )
