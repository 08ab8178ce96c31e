"""The checkpoint key: everything that the trained weights of a build depend on, by readable names."""

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

# Another version may give other numbers: random generators, kernels, matrix decompositions.
LIBRARIES = ("torch", "numpy", "scipy")


def checkpoint_key(
    interactions: str,
    items: "ItemTable | None",
    users: "UserTable | None",
    settings: BuildSettings,
    device: torch.device,
) -> "Key":
    """A build goes on from checkpoints only if its key equals theirs.

    The key leaves out what comes after training, such as the index. It holds the request for a search over
    settings; the outcome of the search is a checkpoint itself.

    Args:
        interactions: the digest of the table.
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
    if settings.tune is not None:  # the search tries only dimensions that fit the index
        key |= {f"`tune`'s {name}": value for name, value in asdict(settings.tune).items()}
        key["index"] = settings.index
    return key


def _digest(table: "ItemTable | UserTable | None") -> str | None:
    """SHA-256 of the contents of a table, in its own order."""
    if table is None:
        return None
    sha = hashlib.sha256()
    for frame in (table.frame, table.categories):
        sha.update(frame.write_ndjson().encode() + b"\0")
    return sha.hexdigest()


def _described(device: torch.device) -> str:
    """The kind of device, with what decides the kernels that run on it."""
    if device.type == "cuda":
        return f"cuda, {torch.cuda.get_device_name(device)}"
    return f"{device.type}, {torch.backends.cpu.get_cpu_capability()}"
