"""Every command prints the version."""

import re

import click
import pytest

from retrieval.cli.app import load
from tests.support.commands import run


def every_command(command: click.Command, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        return [path]
    context = click.Context(command)
    found = [path]
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        found += every_command(below, (*path, name))
    return found


COMMANDS = every_command(load("retrieval.cli.commands:retrieval"), ("retrieval",))


@pytest.mark.parametrize("path", [*COMMANDS, ("query",), ("build-index",)], ids=" ".join)
def test_every_command_prints_the_version_and_does_nothing_else(path: tuple[str, ...]) -> None:
    ran = run(*path, "--version")
    assert (ran.code, ran.err) == (0, "")
    assert re.fullmatch(rf"{path[0]}, version \d+\.\d+\.\d+\n", ran.out)
