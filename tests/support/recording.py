"""What a build says of its work, kept for tests to look at."""


class Record:
    """A `Progress` that keeps what it is told."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.notes: list[str] = []

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def plan(self, phases: int) -> None: ...

    def epoch(self, epoch: int, of: int, text: str, member: int = 1, members: int = 1) -> None:
        pass

    def downloaded(self, received: int, total: int | None) -> None:
        pass

    def detail(self, text: str) -> None:
        self.notes.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)
