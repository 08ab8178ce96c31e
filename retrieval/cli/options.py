"""Options that several commands share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from retrieval.cli.process import DEBUG

# The click settings of every command.
SHARED = {"help_option_names": ["-h", "--help"], "show_default": True}

Command = TypeVar("Command", bound=Callable[..., Any])
ProgressMode = Literal["auto", "always", "never"]


def folder_option(name: str, what: str) -> Callable[[Command], Command]:
    """The option --NAME of a folder; its default is NAME here, or the variable RETRIEVAL_NAME."""
    return click.option(
        f"--{name}",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path(name),
        envvar=f"RETRIEVAL_{name.upper()}",
        show_envvar=True,
        help=what,
    )


artifacts_option = folder_option("artifacts", "Folder of the bundles.")
data_option = folder_option("data", "Folder of downloaded data sets.")
k_option = click.option("--k", type=click.IntRange(min=1), default=10, help="Length of the list.")
verify_option = click.option(
    "--verify",
    type=click.Choice(["full", "fast"]),
    default="full",
    help="full checks the SHA-256 of every file that is used, about 0.6 ms a megabyte; fast its size only, "
    "for very large bundles on a disk you trust.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)

full_option = click.option(
    "--full", is_flag=True, help="Print all tables and findings, not only the verdict."
)


def complete_set_name(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Completion for the shell: names of data sets that begin with `incomplete` and are not given yet."""
    from retrieval.data.downloads.named_sets import NAMED_SETS

    given = context.params.get(parameter.name or "") if parameter.nargs == -1 else None
    return [name for name in NAMED_SETS if name.startswith(incomplete) and name not in (given or ())]


def complete_bundle(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Completion for the shell: names of bundles that contain `incomplete`."""
    from retrieval.bundles.registry import entries

    artifacts = context.params.get("artifacts") or Path("artifacts")
    return [entry.name for entry in entries(artifacts) if incomplete in entry.name]


def _debug(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        os.environ[DEBUG] = "1"


debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    callback=_debug,
    help="Show an error's traceback too, as RETRIEVAL_DEBUG=1 does.",
)


def _progress_mode(context: click.Context, parameter: click.Parameter, value: bool | None) -> ProgressMode:
    if value is None:
        return "auto"
    return "always" if value else "never"


progress_option = click.option(
    "--progress/--quiet",
    "progress_mode",
    default=None,
    callback=_progress_mode,
    help="Tell of each phase also in logs; or print nothing but errors.  [default: tell a terminal]",
)
