"""What a long job tells whoever watches it; how it looks is theirs to say."""

from typing import Protocol


class Progress(Protocol):
    """Receives the phases of a job and what goes on inside them."""

    def phase(self, text: str) -> None:
        """A new phase begins; the one before it is over."""

    def epoch(self, epoch: int, of: int, text: str) -> None:
        """An epoch of the current phase is done."""

    def downloaded(self, received: int, total: int | None) -> None:
        """How far a download of the current phase is, in bytes; `total` is None where nobody knows."""

    def note(self, text: str) -> None:
        """Something worth knowing, a line."""


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
