"""Progress on stderr: a live line on a terminal, a line a phase elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.status import Status


class TerminalProgress:
    """A `Progress` that shows the current phase and epoch, and what each phase took. Use with `with`."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._status: Status | None = None
        self._phase = ""
        self._last = ""
        self._started = 0.0

    def __enter__(self) -> "TerminalProgress":
        if self._console.is_terminal:
            self._status = self._console.status("")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        if self._status is not None:
            self._status.stop()

    def phase(self, text: str) -> None:
        """Print what the phase before took, and show the new one."""
        self._finish()
        self._phase, self._last, self._started = text, "", time.perf_counter()
        if self._status is not None:
            self._status.update(text)

    def epoch(self, epoch: int, of: int, text: str) -> None:
        """Show the epoch beside the phase."""
        self._last = f"epoch {epoch}, {text}"
        if self._status is not None:
            self._status.update(f"{self._phase}: epoch {epoch} of at most {of}, {text}")

    def note(self, text: str) -> None:
        """Print a line of its own."""
        self._console.print(text, markup=False, soft_wrap=True)

    def _finish(self) -> None:
        if self._phase:
            seconds = time.perf_counter() - self._started
            last = f" ({self._last})" if self._last else ""
            self.note(f"{seconds:5.1f} s  {self._phase}{last}")
        self._phase = ""
