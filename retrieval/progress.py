"""Progress events of a long job; the receiver decides how to show them."""

import sys
import warnings
from typing import Protocol

from retrieval.errors import RetrievalNote


class Progress(Protocol):
    """Receives the phases of a job and the events inside them."""

    def phase(self, text: str) -> None:
        """A phase begins, and the one before it ends."""

    def plan(self, phases: int) -> None:
        """The job will have about so many phases in all, those before included."""

    def epoch(self, epoch: int, of: int, text: str, member: int = 1, members: int = 1) -> None:
        """An epoch of the current phase ends; `text` has its figures.

        Args:
            of: the number of epochs at most, of each member.
            member, members: which of several models that are trained one by one, from 1.
        """

    def downloaded(self, received: int, total: int | None) -> None:
        """A download of the current phase has `received` bytes of `total`; None: the total is unknown."""

    def detail(self, text: str) -> None:
        """A line on what the current phase does, for those who watch it."""

    def note(self, text: str) -> None:
        """A line that the user should read: what was inferred from the tables, or may go wrong."""


class Silent:
    """A `Progress` that shows nothing."""

    def phase(self, text: str) -> None:
        """Do nothing."""

    def plan(self, phases: int) -> None:
        """Do nothing."""

    def epoch(self, epoch: int, of: int, text: str, member: int = 1, members: int = 1) -> None:
        """Do nothing."""

    def downloaded(self, received: int, total: int | None) -> None:
        """Do nothing."""

    def detail(self, text: str) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""


class NotesAsWarnings(Silent):
    """A `Progress` that shows notes only, as Python warnings of the line that called this package."""

    def note(self, text: str) -> None:
        """Warn with a `RetrievalNote`."""
        # Its own frame is level 1; a fixed number would be that of one path through the package.
        frame, level = sys._getframe(1), 2
        while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "retrieval":
            frame, level = frame.f_back, level + 1
        warnings.warn(text, RetrievalNote, stacklevel=level)
