"""Shows progress on stderr: a live line on a terminal; elsewhere, on request, lines for phases."""

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING

from retrieval.cli.flags import with_flags
from retrieval.cli.process import CLEAR_LINE, is_live, write_stderr
from retrieval.progress import Progress, Silent
from retrieval.reporting.text.tables import WIDTH, printable, shorten

if TYPE_CHECKING:
    from retrieval.cli.options import ProgressMode

REDRAW_SECONDS = 0.1
SILENT_SECONDS = 30.0  # a log gets a line at least so often


def progress_for(mode: "ProgressMode") -> AbstractContextManager[Progress]:
    """The receiver of the progress of a command, a context manager.

    Args:
        mode: "auto" shows notes, and phases only where stderr is a terminal; "always" prints the line of a
            finished phase everywhere, and in a log what a long phase is at; "never" shows nothing.
    """
    return nullcontext(Silent()) if mode == "never" else TerminalProgress(tell_phases=mode == "always")


class TerminalProgress:
    """A `Progress` that prints the time of each phase and, on a live terminal, the running one.

    A closed stderr does not stop the work; it goes on without progress.

    Args:
        tell_phases: whether to print phases also where stderr is no terminal.
    """

    def __init__(self, tell_phases: bool = False) -> None:
        self._tells_phases = tell_phases or (sys.stderr is not None and sys.stderr.isatty())
        self._line = _LiveLine() if is_live(sys.stderr) else None
        self._pulse = None if self._line is not None or not self._tells_phases else _Pulse(self._tell)
        self._phase = ""
        self._last = ""
        self._started = 0.0
        self._begun = 0
        self._planned: int | None = None
        self._done = 0.0  # share of the phase's epochs

    def __enter__(self) -> "TerminalProgress":
        if self._line is not None:
            self._line.start()
        if self._pulse is not None:
            self._pulse.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
            self._end()
        except BaseException:  # a signal; a second one waits until the line is erased
            self._end()
            raise

    def phase(self, text: str) -> None:
        """Print the time of the phase before, and show the new one."""
        self._finish()
        self._phase, self._last, self._started = text, "", time.perf_counter()
        self._begun, self._done = self._begun + 1, 0.0
        self._show(text)

    def plan(self, phases: int) -> None:
        """Show from now on which of so many phases runs."""
        self._planned = phases

    def epoch(self, epoch: int, of: int, text: str, member: int = 1, members: int = 1) -> None:
        """Show the epoch beside the phase."""
        self._last = f"epoch {epoch}, {text}"
        self._done = (member - 1 + epoch / of) / members
        self._show(f"{self._phase}: epoch {epoch} of at most {of}, {text}")

    def downloaded(self, received: int, total: int | None) -> None:
        """Show the progress of a download in bytes; `total` is None where it is unknown."""
        from retrieval.data.downloads.fetching import progress_text

        self._last = progress_text(received, total)
        self._show(f"{self._phase or 'Downloading'}: {self._last}")

    def detail(self, text: str) -> None:
        """Print a line, as a note."""
        self.note(text)

    def note(self, text: str) -> None:
        """Print a line, with the flags of the settings it names."""
        self._print(printable(with_flags(text)))

    def _show(self, text: str) -> None:
        if self._line is not None:
            self._line.show(f"{self._where()}{text}" if text else "", self._started)

    def _where(self) -> str:
        """How far the job is: the phase among the planned ones, the share of its epochs, the time left."""
        parts = []
        if self._planned is not None:
            parts.append(f"{self._begun}/{max(self._planned, self._begun)}")
        if 0 < self._done < 1:
            seconds = (time.perf_counter() - self._started) * (1 / self._done - 1)
            parts.append(f"{self._done:.0%}, {_rounded(seconds)} left at most")
        return f"[{': '.join(parts)}] " if parts else ""

    def _tell(self) -> None:
        """Print what the running phase is at."""
        if self._phase:
            seconds = time.perf_counter() - self._started
            last = f": {self._last}" if self._last else ""
            self._print(printable(f"{seconds:5.1f} s  so far: {self._where()}{self._phase}{last}"))

    def _finish(self) -> None:
        self._show("")
        if self._phase and self._tells_phases:
            seconds = time.perf_counter() - self._started
            last = f" ({self._last})" if self._last else ""
            self._print(printable(f"{seconds:5.1f} s  {self._phase}{last}"))
        self._phase = ""

    def _print(self, line: str) -> None:
        if self._pulse is not None:
            self._pulse.beat()
        if self._line is None:
            write_stderr(f"{line}\n")
        else:
            self._line.print_above(line)

    def _end(self) -> None:
        if self._pulse is not None:
            self._pulse.end()
        if self._line is not None:
            self._line.end()


def _rounded(seconds: float) -> str:
    """Seconds up to two minutes, then minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


class _Pulse:
    """Calls a function whenever `SILENT_SECONDS` have passed without a beat."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._beat = time.perf_counter()
        self._ended = threading.Event()
        self._clock = threading.Thread(target=self._tick, daemon=True)

    def start(self) -> None:
        self._clock.start()

    def beat(self) -> None:
        self._beat = time.perf_counter()

    def end(self) -> None:
        self._ended.set()

    def _tick(self) -> None:
        while not self._ended.wait(max(0.0, self._beat + SILENT_SECONDS - time.perf_counter())):
            if time.perf_counter() >= self._beat + SILENT_SECONDS:
                self.beat()
                self._call()


class _LiveLine:
    """The last line of a terminal, redrawn often: seconds since a phase began, and its text.

    The line is never wider than the terminal, so a carriage return is enough to draw over it.
    """

    def __init__(self) -> None:
        self._text = ""
        self._since = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._clock = threading.Thread(target=self._tick, daemon=True)

    def start(self) -> None:
        """Start to redraw the line at intervals."""
        self._clock.start()

    def show(self, text: str, since: float) -> None:
        """Draw another text with the seconds since `since` (of `time.perf_counter`)."""
        with self._lock:
            self._text, self._since = text, since
            self._draw()

    def print_above(self, line: str) -> None:
        """Print a line above the live line."""
        with self._lock:
            write_stderr(f"{CLEAR_LINE}{line}\n")
            self._draw()

    def end(self) -> None:
        """Erase the line for good; a second call does no harm."""
        self._ended.set()
        with self._lock:
            self._text = ""
            write_stderr(CLEAR_LINE)

    def _tick(self) -> None:
        while not self._ended.wait(REDRAW_SECONDS):
            with self._lock:
                self._draw()

    def _draw(self) -> None:
        if self._text and not self._ended.is_set():
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or WIDTH
            text = f"{time.perf_counter() - self._since:5.1f} s  {self._text}"
            write_stderr(CLEAR_LINE + shorten(text, columns - 1))
