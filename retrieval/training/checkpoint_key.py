"""Everything the trained weights of a build depend on, by the names that people know."""

import hashlib
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

from retrieval.settings import BuildSettings

if TYPE_CHECKING:
    from retrieval.data.items import ItemTable
    from retrieval.data.users import UserTable
    from retrieval.training.checkpoints import Key

# Whose numbers come another way out of the next version: generators, kernels, decompositions.
LIBRARIES = ("torch", "numpy", "scipy")


def checkpoint_key(
    interactions: str,
    items: "ItemTable | None",
    users: "UserTable | None",
    settings: BuildSettings,
    device: torch.device,
) -> "Key":
    """What has to be the same for a build to go on from another one's checkpoints.

    Left out is what comes after training, such as the index. A search for settings is in it as it was
    asked for; what it found is a checkpoint itself.

    Args:
        interactions: their digest.
        device: to train on.
    """
    key: dict[str, Any] = {
        "interactions": interactions,
        "items table": _digest(items),
        "users table": _digest(users),
        **asdict(settings.split),
        "positive_threshold": settings.positive_threshold,
        **asdict(settings.towers),
        **{f"NeuralMF's {name}": value for name, value in asdict(settings.neural_mf).items()},
        "seed": settings.seed,
        "threads": settings.resolved_threads,
        "device": _described(device),
        **{name: version(name) for name in LIBRARIES},
    }
    if settings.tune is not None:  # which tries no dimension that the index could not take
        key |= {f"`tune`'s {name}": value for name, value in asdict(settings.tune).items()}
        key["index"] = settings.index
    return key


def _digest(table: "ItemTable | UserTable | None") -> str | None:
    """SHA-256 of all that a table says, in its own order."""
    if table is None:
        return None
    sha = hashlib.sha256()
    for frame in (table.frame, table.categories):
        sha.update(frame.write_ndjson().encode() + b"\0")
    return sha.hexdigest()


def _described(device: torch.device) -> str:
    """The kind of device with what its kernels go by."""
    if device.type == "cuda":
        return f"cuda, {torch.cuda.get_device_name(device)}"
    return f"{device.type}, {torch.backends.cpu.get_cpu_capability()}"
