"""Runs a command: loads it on demand, shows an error in one line, returns the exit code."""

import errno
import os
import re
import sys
from collections.abc import Collection
from importlib import import_module
from typing import Any

import click

from retrieval.cli.process import READER_GONE, discard, ignore_signals, report
from retrieval.errors import EnvironmentProblem, RetrievalError, UsageError, lacks_memory

PACKAGE = "two-stage-retrieval"


class LazyGroup(click.Group):
    """A group that imports a command on demand, and names the nearest command for a wrong name.

    Args:
        commands_at: command name -> "module:attribute".
    """

    def __init__(self, *args: Any, commands_at: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._commands_at = commands_at

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(self._commands_at)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None where none has that name."""
        return load(self._commands_at[cmd_name]) if cmd_name in self._commands_at else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, but the error for an unknown name has the nearest one and the whole list."""
        if args and args[0] not in self._commands_at and not ctx.resilient_parsing:  # as in completion
            there_are = ", ".join(self._commands_at)
            hint = _did_you_mean(args[0], self._commands_at)
            raise click.UsageError(f"no command {args[0]!r} among {there_are}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click's, but descriptions of commands are wrapped, not cut off."""
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        rows = [(name, command.get_short_help_str(limit=1000)) for name, command in commands if command]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def load(where: str) -> click.Command:
    """Import the command at "module:attribute"; it and those below it take --version too."""
    module, attribute = where.split(":")
    command: click.Command = getattr(import_module(module), attribute)
    _add_version(command)
    return command


def _add_version(command: click.Command) -> None:
    if not any("--version" in option.opts for option in command.params):
        click.version_option(package_name=PACKAGE)(command)
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _add_version(below)


def run(command: click.Command, name: str) -> int:
    """Run a command and return its exit code: 0, or that of the error, shown as one line on stderr.

    Only errors that a user can meet become a line; any other exception is a bug and is raised.
    """
    try:
        return _invoke(command, name)
    except click.ClickException as error:
        return _failed(error, _usage_message(error, name), error.exit_code)
    except RetrievalError as error:
        from retrieval.cli.flags import with_flags  # only an error needs the table

        return _failed(error, with_flags(str(error)), error.exit_code)
    except BrokenPipeError:
        discard(sys.stdout)
        return READER_GONE
    except Exception as error:
        if lacks_memory(error):
            message = "not enough memory; free some, or ask for less"
            return _failed(error, message, EnvironmentProblem.exit_code)
        if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        discard(sys.stdout)
        message = f"{error.filename or 'output'}: {error.strerror}; free some"
        return _failed(error, message, EnvironmentProblem.exit_code)


def _invoke(command: click.Command, name: str) -> int:
    # click's own main would end the process itself.
    variable = f"_{name}_COMPLETE".replace("-", "_").upper()
    instruction = os.environ.get(variable)
    if instruction:
        from click.shell_completion import shell_complete

        if shell_complete(command, {}, name, variable, instruction) != 0:
            raise UsageError(f"{variable}={instruction} is no request; see retrieval completion --help")
        return 0
    try:
        with command.make_context(name, sys.argv[1:]) as context:
            command.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    return 0


def _failed(error: Exception, message: str, code: int) -> int:
    ignore_signals()  # the command is over, and the error is its one line
    report(message, error)
    return code


def _usage_message(error: click.ClickException, name: str) -> str:
    """The message of click on one line, with the nearest name and the command that shows the help."""
    context = getattr(error, "ctx", None)
    message = re.sub(r"\s*\n\s*", " ", error.format_message().strip()).rstrip(".")
    if isinstance(error, click.NoSuchOption) and context is not None:
        typed = _as_typed(error.option_name)
        options = context.command.get_params(context)
        flags = [flag for option in options for flag in (*option.opts, *option.secondary_opts)]
        message = f"no option {typed}{_did_you_mean(typed, flags)}"
    elif isinstance(error, click.BadParameter) and error.param is not None:
        choices = getattr(error.param.type, "choices", ())
        wrong = re.match(r"'(.*?)' is not ", error.message)  # "one of" where there are several
        if wrong and choices:
            message += _did_you_mean(wrong[1], choices)
    path = context.command_path if context is not None else name
    return f"{message}{' ' if message.endswith('?') else '; '}see {path} --help"


def _as_typed(option: str) -> str:
    """The option as the user typed it; click splits -user and names only -u."""
    words = [word.split("=")[0] for word in sys.argv[1:]]
    return next((word for word in words if word.startswith(option)), option)


def _did_you_mean(typed: str, names: Collection[str]) -> str:
    close = nearest(typed, names)
    return "" if close is None else f"; did you mean {close}?"


def nearest(typed: str, names: Collection[str]) -> str | None:
    """The name that the user probably meant: similar in spelling, else with these initials or this part.

    >>> nearest("qury", ["query", "evaluate"]), nearest("--lr", ["--user", "--learning-rate"])
    ('query', '--learning-rate')
    """
    from difflib import get_close_matches

    plain = {name.strip("-").lower(): name for name in names}
    word = typed.strip("-").lower()
    part_of = [name for name in plain if len(word) > 1 and word in name]
    initials = [
        name for name in plain if "-" in name and word == "".join(part[0] for part in name.split("-"))
    ]
    found = [*get_close_matches(word, plain, n=1), *initials, *part_of]
    return plain[found[0]] if found else None
