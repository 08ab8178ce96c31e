"""`datasets`: lists the named data sets, and downloads and verifies them."""

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retrieval.cli.options import (
    SHARED,
    ProgressMode,
    complete_set_name,
    data_option,
    debug_option,
    json_option,
    progress_option,
)
from retrieval.data.downloads.fetching import TIMEOUT, size_text
from retrieval.data.downloads.named_sets import (
    NAMED_SETS,
    SAMPLE,
    TERMS,
    TERMS_URL,
    NamedSet,
    Standing,
    find_set,
    standing,
)
from retrieval.reporting.text.tables import format_table, shorten, wrap

if TYPE_CHECKING:
    from retrieval.data.datasets import Verified

HERE_WIDTH = 24


def _refuse_nan(context: click.Context, parameter: click.Parameter, value: float) -> float:
    """Refuse NaN, which click takes for a number in every range."""
    if math.isnan(value):
        raise click.BadParameter("nan is not a number of seconds", context, parameter)
    return value


@click.command("datasets", context_settings=SHARED)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_set_name)
@data_option
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True, max=3600),
    default=TIMEOUT,
    callback=_refuse_nan,
    help="Seconds a server may stay silent.",
)
@progress_option
@json_option
@debug_option
def datasets(
    names: tuple[str, ...], data: Path, timeout: float, progress_mode: ProgressMode, as_json: bool
) -> None:
    """List the data sets that have a name; with NAMEs, download and verify those.

    A download that is interrupted starts over at the next call. A file fetched in another way is taken as
    well: save it as data/NAME.zip. RETRIEVAL_MIRROR, the URL of a copy of GroupLens' folder, is tried first.

    \b
    Example:
      retrieval datasets
      retrieval datasets ml-1m ml-latest-small
    """
    if not names:
        rows = [(named, standing(named, data)) for named in NAMED_SETS.values()]
        click.echo(json.dumps(_listed(rows, data)) if as_json else _table(rows, data))
        return
    wanted = [find_set(name) for name in dict.fromkeys(names)]

    from retrieval.cli.progress import progress_for
    from retrieval.data.datasets import obtain

    documents = []
    for named in wanted:
        with progress_for(progress_mode) as progress:
            progress.phase(f"Reading {named.name}")
            found = obtain(named.name, data, progress.note, on_bytes=progress.downloaded, timeout=timeout)
        documents.append(_verified(named, found))
        if not as_json and progress_mode != "never":
            click.echo(_whole(documents[-1]))
    if as_json:
        click.echo(json.dumps({"data": str(data), "datasets": documents}))


def _document(named: NamedSet, state: str, path: Path) -> dict[str, Any]:
    shape = named.shape
    public = named.name != SAMPLE
    return {
        "name": named.name,
        "description": named.description,
        "rows": shape.rows,
        "users": shape.users,
        "items": shape.items,
        "download_bytes": named.archive.size if public else 0,
        "url": named.archive.url if public else None,
        "terms": f"GroupLens: {TERMS}; {TERMS_URL}" if public else "MIT, as the package",
        "state": state,
        "path": None if state == "no" else str(path),
    }


def _listed(rows: list[tuple[NamedSet, Standing]], data: Path) -> dict[str, Any]:
    documents = [_document(named, found.state, found.path) for named, found in rows]
    return {"data": str(data), "datasets": documents}


def _verified(named: NamedSet, found: "Verified") -> dict[str, Any]:
    frame = found.interactions.frame
    counts = {"rows": len(frame), "users": frame["user"].n_unique(), "items": frame["item"].n_unique()}
    return _document(named, "whole", found.path) | counts | {"checked_by": found.checked_by}


def _whole(document: dict[str, Any]) -> str:
    by = document["checked_by"]
    checked = f"checked by {by}" if by else "a part of the package"
    return (
        f"{document['name']} is here and whole: {document['rows']:,} rows, {document['users']:,} users, "
        f"{document['items']:,} items\n  {document['path']}, {checked}"
    )


def _table(rows: list[tuple[NamedSet, Standing]], data: Path) -> str:
    header = ["name", "rows", "users", "items", "download", f"here, in {data}"]
    lines = []
    for named, found in rows:
        shape = named.shape
        size = size_text(named.archive.size) if named.sources else ""
        counts = [f"{number:,}" for number in (shape.rows, shape.users, shape.items)]
        lines.append([named.name, *counts, size, _here(named, found)])
    header[-1] = shorten(header[-1], HERE_WIDTH)
    footer = [
        f"ml-*: MovieLens by GroupLens: {TERMS}; {TERMS_URL}",
        "sample: made up, in the package. To download and verify: retrieval datasets NAME",
    ]
    return "\n".join([format_table(header, lines, right=[1, 2, 3, 4]), "", *map(wrap, footer)])


def _here(named: NamedSet, found: Standing) -> str:
    """The state of a set in the folder, in at most `HERE_WIDTH` columns."""
    folder = found.path.parent.name
    return {
        "no": "no",
        "here": "yes" if named.name == SAMPLE else f"{folder}{os.sep}",
        "damaged": f"damaged: {folder}",
        "archive": found.path.name,
    }[found.state]
