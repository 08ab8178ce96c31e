"""`completion`: prints the script that completes the commands, their flags and values in a shell."""

import click

from retrieval.cli.app import load
from retrieval.cli.options import SHARED, debug_option

COMMANDS = {
    "retrieval": "retrieval.cli.commands:retrieval",
    "build-index": "retrieval.cli.build_index:build_index",
    "query": "retrieval.cli.query:query",
}


@click.command(context_settings=SHARED)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@debug_option
def completion(shell: str) -> None:
    """Print the script that completes commands, flags and values in your shell.

    It is for the three commands retrieval, build-index and query. The line below goes where your shell
    starts: ~/.bashrc, ~/.zshrc (after compinit) or ~/.config/fish/config.fish.

    \b
    Example:
      eval "$(retrieval completion bash)"
      eval "$(retrieval completion zsh)"
      retrieval completion fish | source
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    for name, where in COMMANDS.items():
        variable = f"_{name}_COMPLETE".replace("-", "_").upper()
        click.echo(kind(load(where), {}, name, variable).source())
