"""The start and the end of the process of a command: signals, closed streams, the one line of an error.

This module is loaded before click and everything else, so that Ctrl-C works cleanly from the start. It
imports only cheap modules.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager

TYPE_CHECKING = False  # importing typing takes as long as all imports above
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any, NoReturn, TextIO

DEBUG = "RETRIEVAL_DEBUG"
# Signals that stop a command -> the word in its last line, and the exit code: 128 + the number of the signal.
STOPPED_BY = {
    signal.SIGINT: ("interrupted", 130),
    signal.SIGTERM: ("terminated", 143),
    signal.SIGHUP: ("hung up", 129),
}
READER_GONE = 141  # 128 + SIGPIPE, the exit code of other programs in a pipeline
ASK_AGAIN_SECONDS = 0.05
CLEAR_LINE, RED, PLAIN = "\r\x1b[K", "\x1b[1;31m", "\x1b[0m"

_stopped_by: signal.Signals | None = None
_is_holding = False
_advice: Callable[[], str] = str


class Stopped(BaseException):
    """A signal asks the process to end. It is no `Exception`, so that handlers do not swallow it."""


def start(work: Callable[[], int]) -> NoReturn:
    """Run `work` and end the process with the exit code it returns.

    A signal unwinds the stack, so that all code cleans up, and leaves one line on stderr. An exception is a
    bug and shows its traceback.
    """
    try:
        _catch_signals()
        _prepare_streams()
        code = work()
    except BaseException as error:
        # A library may have turned `Stopped` into another exception.
        stopped_by = signal.SIGINT if isinstance(error, KeyboardInterrupt) else _stopped_by
        if stopped_by is None:
            raise
        _deafen()
        word, code = STOPPED_BY[stopped_by]
        if is_live(sys.stderr):
            write_stderr(CLEAR_LINE)  # removes the ^C that the terminal shows
        report(f"{word}; what was there before is unchanged{_advice()}", error)
        # Python's own shutdown can crash in a half-imported library.
        os._exit(code)
    _deafen()
    sys.exit(code)


def _catch_signals() -> None:
    for signum in STOPPED_BY:
        if signal.getsignal(signum) is not signal.SIG_IGN:  # nohup ignores it
            signal.signal(signum, _stop)
    hook = sys.unraisablehook

    def unraisable(raised: Any) -> None:
        if not isinstance(raised.exc_value, Stopped):
            hook(raised)

    sys.unraisablehook = unraisable


def _stop(signum: int, frame: FrameType | None) -> None:
    """Raise `Stopped`, again and again until the process ends.

    Code that is handling an exception may finish first, since it cleans up. A finaliser, a callback of the
    import system or a bare `except` of a library swallows `Stopped`; the alarm then raises it again.
    """
    global _stopped_by
    if _stopped_by is None:
        _stopped_by = signal.Signals(signum)
        signal.signal(signal.SIGALRM, _stop)
        signal.setitimer(signal.ITIMER_REAL, ASK_AGAIN_SECONDS, ASK_AGAIN_SECONDS)
    if not _is_holding and sys.exception() is None:
        raise Stopped(_stopped_by)


@contextmanager
def holding_signals() -> Iterator[None]:
    """Hold back signals until the block is done.

    It is for code that an exception at any point would crash: the import of torch then ends the process with
    a dump of its stack.
    """
    global _is_holding
    _is_holding = True
    try:
        yield
    finally:
        _is_holding = False
    if _stopped_by is not None:
        raise Stopped(_stopped_by)


def advise_when_stopped(advice: Callable[[], str]) -> None:
    """Set the end of the line that a signal leaves; `advice` is called once all code has cleaned up."""
    global _advice
    _advice = advice


def ignore_signals() -> None:
    """Ignore signals to the end of the process, for work that must not stop half way: publishing a bundle."""
    _deafen()
    if _stopped_by is not None:  # other code swallowed it
        raise Stopped(_stopped_by)


def _deafen() -> None:
    # Child processes would inherit SIG_IGN, but none starts this late.
    for signum in (*STOPPED_BY, signal.SIGALRM):
        signal.signal(signum, signal.SIG_IGN)


def _prepare_streams() -> None:
    # Without this a file opened later could get the number of a closed stdout or stderr, and library output.
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # A character that the encoding of the terminal lacks is shown as \u2026 and raises no error.
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def report(message: str, error: BaseException) -> None:
    """Write an error to stderr as one line, after its traceback in debugging."""
    from retrieval.reporting.text.tables import printable

    if is_debugging():
        import traceback

        write_stderr("".join(traceback.format_exception(error)))
    line = printable(" ".join(part.strip() for part in message.strip().splitlines()))
    label = f"{RED}error:{PLAIN}" if has_color(sys.stderr) else "error:"
    write_stderr(f"{label} {line}\n")


def write_stderr(text: str) -> None:
    """Write to stderr, and give up quietly where it is closed."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Point a closed stream at the null device, since Python flushes the rest of its buffer at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def is_debugging() -> bool:
    """Whether errors show their traceback."""
    return os.environ.get(DEBUG, "") not in ("", "0")


def is_live(stream: TextIO | None) -> bool:
    """Whether a line on this stream can be drawn over: it is a terminal, and not a dumb one."""
    dumb = os.environ.get("TERM", "") in ("", "dumb", "unknown")
    return stream is not None and stream.isatty() and not dumb


def has_color(stream: TextIO | None) -> bool:
    """Whether to write colours: on a terminal unless NO_COLOR is set, elsewhere only with FORCE_COLOR."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or is_live(stream)
