"""The command line: `retrieval`, and `build-index` and `query` as commands of their own."""

import click

from retrieval.cli.app import LazyGroup, run
from retrieval.cli.options import SHARED


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings=SHARED,
    commands_at={
        "build-index": "retrieval.cli.build_index:build_index",
        "query": "retrieval.cli.query:query",
        "evaluate": "retrieval.cli.evaluate:evaluate",
    },
)
@click.version_option(package_name="two-stage-retrieval")
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


def main() -> None:
    """Entry point of `retrieval`."""
    run(retrieval, "retrieval")


def build_index_main() -> None:
    """Entry point of `build-index`."""
    from retrieval.cli.build_index import build_index

    run(build_index, "build-index")


def query_main() -> None:
    """Entry point of `query`."""
    from retrieval.cli.query import query

    run(query, "query")
