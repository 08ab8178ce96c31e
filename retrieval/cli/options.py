"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

artifacts_option = click.option(
    "--artifacts",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("artifacts"),
    envvar="RETRIEVAL_ARTIFACTS",
    show_default=True,
    show_envvar=True,
    help="Folder of the bundles.",
)
k_option = click.option(
    "--k", type=click.IntRange(min=1), default=10, show_default=True, help="Length of the list."
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)
