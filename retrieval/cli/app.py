"""What every command shares: loading on demand, errors in one line, exit codes."""

import difflib
import errno
import os
import re
import signal
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from retrieval.errors import EnvironmentProblem, RetrievalError

DEBUG = "RETRIEVAL_DEBUG"
STOPPED = {signal.SIGINT: ("interrupted", 130), signal.SIGTERM: ("terminated", 143)}


class Stopped(BaseException):
    """A signal asked the process to end. Not an `Exception`: nothing on the way up may swallow it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.word, self.exit_code = STOPPED[signal.Signals(signum)]


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for, and names the nearest one for a wrong name.

    Args:
        commands_at: command name -> "module:attribute".
    """

    def __init__(self, *args: Any, commands_at: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._commands_at = commands_at

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(self._commands_at)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, None where there is none of that name."""
        if cmd_name not in self._commands_at:
            return None
        module, attribute = self._commands_at[cmd_name].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, but an unknown name is answered with the nearest and the whole list."""
        if args and args[0] not in self._commands_at:
            close = difflib.get_close_matches(args[0], self._commands_at, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise click.UsageError(f"no command {args[0]!r}; {hint}there are {', '.join(self._commands_at)}")
        return super().resolve_command(ctx, args)


def run(command: click.Command, name: str) -> NoReturn:
    """Run a command and end the process: 0, or one line on stderr and the error's exit code.

    Only errors a user can meet become a line; anything else is a bug and shows its traceback, and so
    does everything with ``--debug`` or ``RETRIEVAL_DEBUG=1``.
    """
    for signum in STOPPED:
        if signal.getsignal(signum) is not signal.SIG_IGN:  # as under nohup
            signal.signal(signum, _stop)
    try:
        code = command.main(prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        _fail(_usage_message(error, name), error.exit_code)
    except RetrievalError as error:
        if os.environ.get(DEBUG):
            raise
        _fail(str(error), error.exit_code)
    except Stopped as stopped:
        _fail(f"{stopped.word}; nothing half done was published", stopped.exit_code)
    except click.Abort as abort:
        # click makes one of an EOFError too, which is a bug of ours: no command asks anything.
        raise abort.__cause__ or abort from None
    except (MemoryError, RuntimeError) as error:
        # torch says it with a RuntimeError.
        if not isinstance(error, MemoryError) and "allocate memory" not in str(error):
            raise
        _fail("not enough memory; free some, or ask for less", EnvironmentProblem.exit_code)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        # Python flushes stdout once more at exit; what is left in it has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _fail(f"{error.filename or 'output'}: {error.strerror}; free some", EnvironmentProblem.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def _usage_message(error: click.ClickException, name: str) -> str:
    message = re.sub(r"\s*\n\s*", " ", error.format_message().strip())
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else name
    return f"{message.rstrip('.?')}; see {path} --help"


def _stop(signum: int, frame: object) -> NoReturn:
    ignore_signals()  # cleaning up is not interrupted again
    raise Stopped(signum)


def ignore_signals() -> None:
    """From here to the end of the process: for what must not stop half way, as publishing a bundle."""
    for signum in STOPPED:
        signal.signal(signum, signal.SIG_IGN)


def _fail(message: str, code: int) -> NoReturn:
    # One line, whatever is in the message; spaces inside an id stay as they are.
    click.echo("error: " + re.sub(r"\s*[\r\n]\s*", " ", message.strip()), err=True)
    sys.exit(code)
