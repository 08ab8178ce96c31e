"""Compares the memory that a part of a bundle needs with the limits, before anything is loaded."""

from retrieval.bundles.bundle import Bundle
from retrieval.errors import EnvironmentProblem
from retrieval.machine import address_space_left

MEBIBYTE = 1024**2


def check_memory(bundle: Bundle, part: str, limit: int | None) -> None:
    """Refuse a part of a bundle that does not fit into memory.

    Args:
        part: "served" or "evaluated".
        limit: bytes it may take; None: as many as `ulimit -v` leaves to the process.

    Raises:
        EnvironmentProblem: if it does not; the message has both sizes.
    """
    files = bundle.manifest.files
    needed = sum(entry.size for name, entry in files.items() if name.startswith(f"{part}/"))
    left = address_space_left()
    for allowed, by, more in (
        (limit, "`memory_limit` allows", "allow more"),
        (left, "the limit of this process (ulimit -v) leaves", "raise it"),
    ):
        if allowed is not None and needed > allowed:
            raise EnvironmentProblem(
                f"{bundle.folder / part}: takes {_shown(needed)}, but {by} {_shown(allowed)}",
                f"{more}, or build a smaller one with build-index `towers.dimension` or `memory_limit`",
            )


def _shown(n_bytes: int) -> str:
    return f"{n_bytes / MEBIBYTE:,.1f} MiB" if n_bytes >= MEBIBYTE else f"{n_bytes / 1024:,.1f} KiB"
