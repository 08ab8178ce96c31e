"""Progress events of a long job; the receiver decides how to show them."""

from typing import Protocol


class Progress(Protocol):
    """Receives the phases of a job and the events inside them."""

    def phase(self, text: str) -> None:
        """A phase begins, and the one before it ends."""

    def epoch(self, epoch: int, of: int, text: str) -> None:
        """An epoch of the current phase ends; `text` has its figures."""

    def downloaded(self, received: int, total: int | None) -> None:
        """A download of the current phase has `received` bytes of `total`; None: the total is unknown."""

    def note(self, text: str) -> None:
        """A line for the user."""


class Silent:
    """A `Progress` that shows nothing."""

    def phase(self, text: str) -> None:
        """Do nothing."""

    def epoch(self, epoch: int, of: int, text: str) -> None:
        """Do nothing."""

    def downloaded(self, received: int, total: int | None) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""
