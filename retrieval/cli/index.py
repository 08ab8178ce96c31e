"""`index`: adds, replaces or removes items of the current bundle and compacts its index, without training."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retrieval.cli.app import LazyGroup
from retrieval.cli.options import SHARED, artifacts_option, debug_option, json_option
from retrieval.cli.process import ignore_signals
from retrieval.errors import UsageError

if TYPE_CHECKING:
    from retrieval.catalogue.publish import Changing
    from retrieval.data.items import ItemTable
    from retrieval.serving.fitted_system import FittedSystem

PATH = click.Path(path_type=Path)
# With a larger share of tombstones the index is worth building again: every search passes over them, and
# they take memory.
MANY_TOMBSTONES = 0.2
COMPACT = "compact"


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings=SHARED,
    commands_at={name: f"retrieval.cli.index:{name}" for name in ("add", "remove", COMPACT)},
)
@click.pass_context
def index(context: click.Context) -> None:
    """Change the catalogue of the current bundle without building it again.

    \b
    Example:
      retrieval index add --items new.csv
      retrieval index remove --item 50,181
      retrieval index compact
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@click.command(context_settings=SHARED)
@click.option(
    "--items", required=True, type=PATH, help="Table of the items, as build-index --items takes it."
)
@click.option(
    "--vectors",
    type=PATH,
    metavar="FILE.npy",
    help="A vector for each row of --items, bias last, instead of those its categories give.",
)
@artifacts_option
@json_option
@debug_option
def add(items: Path, vectors: Path | None, artifacts: Path, as_json: bool) -> None:
    """Add items to the current bundle, or replace those it knows.

    A new item gets its vector from what its genres, years and other categories were found to say in
    training; one that people have met keeps its own, unless --vectors gives another.

    \b
    Example:
      retrieval index add --items new.csv
      retrieval index add --items new.csv --vectors new.npy --json
    """
    from retrieval.catalogue.change import with_items
    from retrieval.catalogue.new_items import items_of_table, known_columns, read_vectors
    from retrieval.catalogue.publish import changing_bundle
    from retrieval.data.items import read_items

    given = None if vectors is None else read_vectors(vectors)
    with changing_bundle(artifacts) as changing:
        table = read_items(items, known_columns(changing.system))
        update = items_of_table(changing.system, table, given)
        counts = {
            "added": update.added,
            "replaced": update.replaced,
            "updated": update.updated,
            "unchanged": update.unchanged,
        }
        notes = []
        if update.undescribed:
            notes.append(f"{_count(update.undescribed)} of no category the towers know: vectors of zeros")
        if update.kept:
            notes.append(f"{_count(update.kept)} that people have met: known already, vectors kept")
        after = with_items(changing.system, update.items) if len(update.items) else None
        _finish(changing, "add", after, counts, notes, as_json, table)


@click.command(context_settings=SHARED)
@click.option("--item", metavar="ID,ID", help="The items.")
@click.option("--items", type=PATH, help="The same in a file, an id a line.")
@artifacts_option
@json_option
@debug_option
def remove(item: str | None, items: Path | None, artifacts: Path, as_json: bool) -> None:
    """Remove items from the current bundle: no user is recommended them any more.

    \b
    Example:
      retrieval index remove --item 50,181
      retrieval index remove --items gone.txt
    """
    if (item is None) == (items is None):
        which = "both were given" if item is not None else "neither was given"
        raise UsageError(f"give one of --item and --items, as in remove --item 50,181; {which}")

    from retrieval.catalogue.change import without_items
    from retrieval.catalogue.publish import changing_bundle
    from retrieval.cli.filter_rules import read_ids

    ids = [part.strip() for part in (item or "").split(",") if part.strip()]
    if items is not None:
        ids = read_ids(items)
    elif not ids:
        raise UsageError("--item names no item; name at least one, as in --item 50,181")
    with changing_bundle(artifacts) as changing:
        after = without_items(changing.system, ids) if ids else None
        removed = len(changing.system.items) - len(after.items) if after else 0
        _finish(changing, "remove", after, {"removed": removed}, [], as_json)


@click.command(context_settings=SHARED)
@artifacts_option
@json_option
@debug_option
def compact(artifacts: Path, as_json: bool) -> None:
    """Build the index of a changed bundle again, from the items there are.

    Of the same kind and with the same settings, but without tombstones and trained on what was added.

    \b
    Example:
      retrieval index compact
    """
    from retrieval.catalogue.change import compacted
    from retrieval.catalogue.publish import changing_bundle

    with changing_bundle(artifacts) as changing:
        system, settings = changing.system, changing.bundle.manifest.settings
        before, after, notes = system.model.ann, None, []
        if changing.changes and changing.changes[-1].what != COMPACT:
            after = compacted(system, seed=settings.seed, threads=settings.threads)
            built = after.model.ann
            if built.factory != before.factory:
                notes.append(
                    f"{before.factory} cannot be built over {built.size:,} items: it is {built.name} now"
                )
        _finish(changing, COMPACT, after, {"dropped": before.tombstones if after else 0}, notes, as_json)


def _finish(
    changing: "Changing",
    what: str,
    after: "FittedSystem | None",
    counts: dict[str, int],
    notes: list[str],
    as_json: bool,
    table: "ItemTable | None" = None,
) -> None:
    """Publish the changed system and print the result; `after` is None where there is nothing to do."""
    system = after or changing.system
    ann, folder = system.model.ann, None
    share = ann.tombstones / (ann.size + ann.tombstones)
    if share > MANY_TOMBSTONES:
        notes = [*notes, f"{share:.0%} of the index are tombstones: retrieval index compact drops them"]
    if after is not None:
        change = {"what": what, **counts, "items": len(after.items), "tombstones": ann.tombstones}
        folder = changing.publish(after, change, table=table, before_publishing=ignore_signals)
    if as_json:
        document: dict[str, Any] = {
            "what": what,
            **counts,
            "items": len(system.items),
            "tombstones": ann.tombstones,
            "index": ann.name,
            "notes": notes,
            "bundle": folder and str(folder),
        }
        click.echo(json.dumps(document))
        return
    done = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number)
    if what == COMPACT:
        done = f"built again, {_count(counts['dropped'], 'tombstone')} dropped"
    if after is None:
        done = "nothing to do"
    there_are = f"{_count(len(system.items))}, {_count(ann.tombstones, 'tombstone')}"
    published = "nothing was published" if folder is None else f"published {folder}"
    click.echo(f"{done}: {there_are}; {published}")
    for note in notes:
        click.echo(f"note: {note}")


def _count(number: int, what: str = "item") -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
