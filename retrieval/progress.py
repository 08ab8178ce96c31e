"""What a long job tells whoever watches it; how it looks is theirs to say."""

from typing import Protocol


class Progress(Protocol):
    """Receives the phases of a build and the epochs inside them."""

    def phase(self, text: str) -> None:
        """A new phase begins; the one before it is over."""

    def epoch(self, epoch: int, of: int, text: str) -> None:
        """An epoch of the current phase is done."""

    def note(self, text: str) -> None:
        """Something worth knowing, a line."""


class Silent:
    """A `Progress` that shows nothing."""

    def phase(self, text: str) -> None:
        """Do nothing."""

    def epoch(self, epoch: int, of: int, text: str) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""
