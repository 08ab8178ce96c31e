"""`bundles`: lists, verifies, compares, promotes and removes the bundles of an artifacts folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from retrieval.cli.app import LazyGroup
from retrieval.cli.options import SHARED, artifacts_option, complete_bundle, debug_option, json_option
from retrieval.cli.process import ignore_signals

COMMANDS = ("list", "show", "promote", "rollback", "prune", "verify", "diff", "upgrade")
Command = TypeVar("Command", bound=Callable[..., Any])


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings=SHARED,
    commands_at={name: f"retrieval.cli.bundles:{name}_command" for name in COMMANDS},
)
@click.pass_context
def bundles(context: click.Context) -> None:
    """Look at bundles, go back to an earlier one, remove old ones.

    Every build and every change of the catalogue leaves a bundle of its own; one of them is current. NAME is
    that of its folder, or a part of it that no other has.

    \b
    Example:
      retrieval bundles list
      retrieval bundles rollback
      retrieval bundles prune --keep 5
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _common(command: Command) -> Command:
    return artifacts_option(json_option(debug_option(command)))


@click.command("list", context_settings=SHARED)
@_common
def list_command(artifacts: Path, as_json: bool) -> None:
    """List the bundles, the latest first.

    \b
    Example:
      retrieval bundles list
    """
    from retrieval.bundles.current import read_current_file
    from retrieval.bundles.registry import entries
    from retrieval.reporting.text.bundles import entry_json, list_text

    found = entries(artifacts)
    if not found:
        read_current_file(artifacts)  # raises an error with the folder
    if as_json:
        click.echo(json.dumps({"artifacts": str(artifacts), "bundles": [entry_json(each) for each in found]}))
    else:
        click.echo(list_text(found))


@click.command("show", context_settings=SHARED)
@click.argument("name", required=False, shell_complete=complete_bundle)
@_common
def show_command(name: str | None, artifacts: Path, as_json: bool) -> None:
    """Say what a bundle was built from, how good it is and what it serves; without NAME, of the current one.

    \b
    Example:
      retrieval bundles show
      retrieval bundles show 5accbf --json
    """
    from retrieval.bundles.bundle import open_named
    from retrieval.bundles.registry import entry_of
    from retrieval.reporting.text.bundles import entry_json, show_text

    entry = entry_of(artifacts, name)
    bundle = open_named(artifacts, entry.name)  # a damaged bundle is an error here
    report, model = bundle.json("report.json"), bundle.json("served/model.json")
    if as_json:
        click.echo(json.dumps(entry_json(entry) | {"manifest": bundle.manifest.document, "report": report}))
    else:
        click.echo(show_text(entry, bundle.manifest, report, model))


@click.command("promote", context_settings=SHARED)
@click.argument("name", shell_complete=complete_bundle)
@_common
def promote_command(name: str, artifacts: Path, as_json: bool) -> None:
    """Make a bundle current, once every file of it is verified.

    \b
    Example:
      retrieval bundles promote 20261126-090736-5accbfb136b2
    """
    from retrieval.bundles.registry import entry_of, promote

    entry = entry_of(artifacts, name)
    promote(artifacts, entry.name, before=ignore_signals)
    again = " already" if entry.state == "current" else ""
    _say(as_json, f"{entry.name} is current{again}", current=entry.name)


@click.command("rollback", context_settings=SHARED)
@_common
def rollback_command(artifacts: Path, as_json: bool) -> None:
    """Make the previous bundle current again, if it is whole.

    Each further call goes one bundle back; `promote` goes forward.

    \b
    Example:
      retrieval bundles rollback
    """
    from retrieval.bundles.registry import rollback

    name, skipped = rollback(artifacts, before=ignore_signals)
    over = f"; passed over, as damaged, gone or of another format: {', '.join(skipped)}" if skipped else ""
    _say(as_json, f"{name} is current{over}", current=name, skipped=list(skipped))


@click.command("prune", context_settings=SHARED)
@click.option("--keep", type=click.IntRange(min=1), required=True, help="How many of the latest stay.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@_common
def prune_command(keep: int, dry_run: bool, artifacts: Path, as_json: bool) -> None:
    """Remove old bundles, and what dead builds left.

    The current one stays whatever its age, and so does the one that rollback goes back to. A process
    that has a bundle open keeps it.

    \b
    Example:
      retrieval bundles prune --keep 5
    """
    from retrieval.bundles.registry import prune
    from retrieval.reporting.text.bundles import mebibytes

    gone = prune(artifacts, keep, rehearse=dry_run)
    words = "would be removed" if dry_run else "removed"
    size = sum(entry.n_bytes for entry in gone)
    count = f"{len(gone)} bundle{'' if len(gone) == 1 else 's'}"
    lines = [f"{count} {words}, {mebibytes(size)} MiB", *(f"  {entry.name}" for entry in gone)]
    _say(as_json, "\n".join(lines), removed=[entry.name for entry in gone], bytes=size, dry_run=dry_run)


@click.command("verify", context_settings=SHARED)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_bundle)
@click.option("--all", "every", is_flag=True, help="All bundles.")
@_common
def verify_command(names: tuple[str, ...], every: bool, artifacts: Path, as_json: bool) -> None:
    """Read every file of a bundle, the current one without NAME, and put its parts together.

    \b
    Example:
      retrieval bundles verify
      retrieval bundles verify --all
    """
    from retrieval.bundles.registry import entries, entry_of, problems, way_out
    from retrieval.errors import DamagedBundle
    from retrieval.reporting.text.bundles import whole_text

    chosen = [entry_of(artifacts, name) for name in names]
    if every:
        chosen = list(entries(artifacts))
    if not chosen:
        chosen = [entry_of(artifacts, None)]
    found = {entry.name: problems(artifacts, entry.name) for entry in chosen}
    if as_json:
        click.echo(json.dumps({"problems": {name: list(each) for name, each in found.items()}}))
    else:
        for entry in chosen:
            if not found[entry.name]:
                click.echo(whole_text(entry))
    wrong = [entry for entry in chosen if found[entry.name]]
    if wrong:
        others = sum(len(found[entry.name]) for entry in wrong) - 1
        more = f" (and {others:,} more)" if others else ""
        advice = "that bundle is damaged: it can be pruned"
        if wrong[0].state == "current":
            advice = way_out(artifacts)
        raise DamagedBundle(found[wrong[0].name][0] + more, advice)


@click.command("diff", context_settings=SHARED)
@click.argument("one", shell_complete=complete_bundle)
@click.argument("other", required=False, shell_complete=complete_bundle)
@click.option("--k", type=click.IntRange(min=1), default=10, help="Length of the lists.")
@click.option("--users", type=click.IntRange(min=1), default=1000, help="At most so many users' lists.")
@_common
def diff_command(one: str, other: str | None, k: int, users: int, artifacts: Path, as_json: bool) -> None:
    """Say what two bundles differ in: settings, data, lists, metrics; without OTHER, ONE and the current one.

    \b
    Example:
      retrieval bundles diff 090736 101512
    """
    from retrieval.bundles.bundle import open_named
    from retrieval.bundles.registry import entry_of
    from retrieval.evaluation.diff.bundles import diff_bundles
    from retrieval.reporting.text.diff import diff_text

    first, second = (open_named(artifacts, entry_of(artifacts, name).name) for name in (one, other))
    found = diff_bundles(first, second, k=k, users=users)
    click.echo(json.dumps(found.to_json()) if as_json else diff_text(found))


@click.command("upgrade", context_settings=SHARED)
@click.argument("name", required=False, shell_complete=complete_bundle)
@_common
def upgrade_command(name: str | None, artifacts: Path, as_json: bool) -> None:
    """Convert a bundle of an earlier format, the current one without NAME.

    The old bundle stays. The new one takes its place: it is served, or `rollback` goes back to it, where that
    was so of the old one.

    \b
    Example:
      retrieval bundles upgrade
      retrieval bundles upgrade 5accbf
    """
    from retrieval.bundles.manifest import FORMAT_VERSION
    from retrieval.bundles.registry import entry_of
    from retrieval.pipeline.upgrade import upgrade

    entry = entry_of(artifacts, name)
    if entry.manifest is not None:
        text = f"{entry.name} has format version {FORMAT_VERSION} already"
        _say(as_json, text, bundle=entry.name, upgraded=False)
        return
    folder = upgrade(artifacts, entry.name, before=ignore_signals)
    after = entry_of(artifacts, folder.name)
    text = f"{entry.name} converted to format version {FORMAT_VERSION}: {folder}, {after.state}"
    _say(as_json, text, bundle=folder.name, upgraded=True, state=after.state)


def _say(as_json: bool, text: str, **document: Any) -> None:
    click.echo(json.dumps(document) if as_json else text)
