"""How the process of a command starts and ends: signals, closed streams, the one line of an error.

It is loaded before click and everything else, so that Ctrl-C is clean from the first moment on:
only modules that are cheap belong here.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager

TYPE_CHECKING = False  # typing takes as long to load as all of the above
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any, NoReturn, TextIO

DEBUG = "RETRIEVAL_DEBUG"
# What stops a command: the word it ends with, and its exit code, which is 128 and the signal's number.
STOPPED_BY = {
    signal.SIGINT: ("interrupted", 130),
    signal.SIGTERM: ("terminated", 143),
    signal.SIGHUP: ("hung up", 129),
}
READER_GONE = 141  # 128 and SIGPIPE, as everything else in a pipeline ends with
ASK_AGAIN_SECONDS = 0.05
CLEAR_LINE, RED, PLAIN = "\r\x1b[K", "\x1b[1;31m", "\x1b[0m"

_stopped_by: signal.Signals | None = None
_is_holding = False
_advice: Callable[[], str] = str


class Stopped(BaseException):
    """A signal asked the process to end. Not an `Exception`: nothing on the way up may swallow it."""


def start(work: Callable[[], int]) -> NoReturn:
    """Run `work` and end the process with the exit code it returns.

    A signal that stops commands makes everything unwind and clean up behind itself, and one line is
    left on stderr. An exception is a bug, and shows its traceback.
    """
    try:
        _catch_signals()
        _prepare_streams()
        code = work()
    except BaseException as error:
        # Whatever a library made of it on the way up.
        stopped_by = signal.SIGINT if isinstance(error, KeyboardInterrupt) else _stopped_by
        if stopped_by is None:
            raise
        _deafen()
        word, code = STOPPED_BY[stopped_by]
        if is_live(sys.stderr):
            write_stderr(CLEAR_LINE)  # of the ^C that the terminal shows
        report(f"{word}; what was there before is unchanged{_advice()}", error)
        # Not through Python's own way out: a half-imported library may not survive it.
        os._exit(code)
    _deafen()
    sys.exit(code)


def _catch_signals() -> None:
    for signum in STOPPED_BY:
        if signal.getsignal(signum) is not signal.SIG_IGN:  # as under nohup
            signal.signal(signum, _stop)
    hook = sys.unraisablehook

    def unraisable(raised: Any) -> None:
        if not isinstance(raised.exc_value, Stopped):
            hook(raised)

    sys.unraisablehook = unraisable


def _stop(signum: int, frame: FrameType | None) -> None:
    """Raise `Stopped`, and go on doing so until the process ends.

    Whatever handles an exception is let finish: it cleans up, after this signal, another one or an
    error. Code that cannot let an exception out (a finaliser, a callback of the import system, a
    library's bare `except`) swallows it; the alarm asks again.
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
    """Let signals wait until the block is done.

    It is for what does not survive an exception out of nowhere: torch, while it is being imported, ends
    the process with a dump of its stack.
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
    """What the one line that a signal leaves goes on with; asked for when everything is cleaned up."""
    global _advice
    _advice = advice


def ignore_signals() -> None:
    """From here to the end of the process: for what must not stop half way, as publishing a bundle."""
    _deafen()
    if _stopped_by is not None:  # and somebody swallowed it
        raise Stopped(_stopped_by)


def _deafen() -> None:
    # SIG_IGN is inherited by child processes; nothing starts one this late.
    for signum in (*STOPPED_BY, signal.SIGALRM):
        signal.signal(signum, signal.SIG_IGN)


def _prepare_streams() -> None:
    # A file opened later must not become the missing stdout or stderr that a library writes to.
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # What the terminal's encoding lacks is shown as \u2026, not answered with a traceback.
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def report(message: str, error: BaseException) -> None:
    """Write the one line of an error to stderr, whatever is in the message; first its traceback if asked."""
    from retrieval.reporting.text.tables import printable

    if is_debugging():
        import traceback

        write_stderr("".join(traceback.format_exception(error)))
    line = printable(" ".join(part.strip() for part in message.strip().splitlines()))
    label = f"{RED}error:{PLAIN}" if has_color(sys.stderr) else "error:"
    write_stderr(f"{label} {line}\n")


def write_stderr(text: str) -> None:
    """Write what is worth knowing but not worth failing for."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Send a stream that takes no more to nowhere: Python flushes what is left in it once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def is_debugging() -> bool:
    """Whether errors show where they came from."""
    return os.environ.get(DEBUG, "") not in ("", "0")


def is_live(stream: TextIO | None) -> bool:
    """Whether a line on this stream can be drawn over: a terminal, and not a dumb one."""
    dumb = os.environ.get("TERM", "") in ("", "dumb", "unknown")
    return stream is not None and stream.isatty() and not dumb


def has_color(stream: TextIO | None) -> bool:
    """Whether to write colours: on a terminal, unless NO_COLOR; elsewhere with FORCE_COLOR."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or is_live(stream)
