"""Tells the progress of a build about every epoch of training."""

from collections.abc import Callable

from retrieval.progress import Progress
from retrieval.settings import TowerSettings
from retrieval.training.curves import EpochRecord

OnEpoch = Callable[[EpochRecord], None]
OnMemberEpoch = Callable[[int, EpochRecord], None]  # the member, from 0, and its epoch


def tell_epochs(progress: Progress, of: int, metric: str, name: str = "") -> OnEpoch:
    """A listener that tells the progress about every epoch.

    Args:
        of: the number of epochs at most.
        metric: name of the validation figure.
        name: stands before the figures.
    """

    def tell(record: EpochRecord) -> None:
        validated = "" if record.validation is None else f", {metric} {record.validation:.4f}"
        progress.epoch(record.epoch, of, f"{name}loss {record.loss:.4f}{validated}")

    return tell


def tell_member_epochs(
    progress: Progress, settings: TowerSettings, epochs: tuple[int, ...] | None = None
) -> OnMemberEpoch:
    """As `tell_epochs`, for towers of one or several members.

    Args:
        epochs: of each member, in a refit; `max_epochs` unless given.
    """

    def tell(member: int, record: EpochRecord) -> None:
        of = settings.max_epochs if epochs is None else epochs[member]
        name = f"member {member + 1}/{settings.members}, " if settings.members > 1 else ""
        tell_epochs(progress, of, "NDCG@10", name)(record)

    return tell
