"""The group `retrieval` and the table of its commands; each is imported on demand."""

import click

from retrieval.cli.app import PACKAGE, LazyGroup
from retrieval.cli.options import SHARED


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings=SHARED,
    commands_at={
        "build-index": "retrieval.cli.build_index:build_index",
        "query": "retrieval.cli.query:query",
        "evaluate": "retrieval.cli.evaluate:evaluate",
        "benchmark": "retrieval.cli.benchmark:benchmark",
        "index": "retrieval.cli.index:index",
        "bundles": "retrieval.cli.bundles:bundles",
        "datasets": "retrieval.cli.datasets:datasets",
        "completion": "retrieval.cli.completion:completion",
    },
)
@click.version_option(package_name=PACKAGE)
@click.pass_context
def retrieval(context: click.Context) -> None:
    """Recommendations from embeddings, with every stage measured.

    \b
    Example:
      retrieval build-index --dataset ml-100k
      retrieval query --user 42 --k 10
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
