"""Progress events of a long job; the receiver decides how to show them."""

from typing import Protocol


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

    def note(self, text: str) -> None:
        """A line for the user."""


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

    def note(self, text: str) -> None:
        """Do nothing."""
