"""Tells the progress of a build about every epoch of training."""

from collections.abc import Callable

from retrieval.progress import Progress
from retrieval.settings import TowerSettings
from retrieval.training.curves import EpochRecord

OnEpoch = Callable[[EpochRecord], None]
OnMemberEpoch = Callable[[int, EpochRecord], None]  # the member, from 0, and its epoch


def tell_epochs(progress: Progress, of: int, metric: str, member: int = 1, members: int = 1) -> OnEpoch:
    """A listener that tells the progress about every epoch.

    Args:
        of: the number of epochs at most.
        metric: name of the validation figure.
        member, members: which of several models that are trained one by one, from 1.
    """

    def tell(record: EpochRecord) -> None:
        validated = "" if record.validation is None else f", {metric} {record.validation:.4f}"
        name = f"member {member}/{members}, " if members > 1 else ""
        figures = f"{name}loss {record.loss:.4f}{validated}"
        progress.epoch(record.epoch, of, figures, member, members)

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
        tell_epochs(progress, of, "NDCG@10", member + 1, settings.members)(record)

    return tell
