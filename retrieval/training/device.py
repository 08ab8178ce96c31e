"""Chooses CPU or CUDA; sets threads and determinism of torch for a block and restores them after it."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from retrieval.errors import EnvironmentProblem

CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def borrowed_torch(threads: int, device: torch.device | None = None) -> Iterator[None]:
    """Inside the block torch uses this many threads, and repeats its results bit for bit on a GPU too.

    After the block, the number of threads and the state of torch's random generator are the caller's again.
    """
    before, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(threads)
    try:
        with _deterministic() if device is not None and device.type == "cuda" else nullcontext():
            yield
    finally:
        torch.set_num_threads(before)
        torch.set_rng_state(state)


@contextmanager
def _deterministic() -> Iterator[None]:
    """Use CUDA kernels whose sums do not depend on the order of threads.

    See https://docs.pytorch.org/docs/stable/notes/randomness.html.
    """
    enabled = torch.are_deterministic_algorithms_enabled()
    warns_only = torch.is_deterministic_algorithms_warn_only_enabled()
    os.environ.setdefault(CUBLAS_WORKSPACE, ":4096:8")  # read when cuBLAS is first used
    # Warn only: torch has no deterministic cumsum, and the one it has repeats along short rows.
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation")
            yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warns_only)


def choose_device(name: str) -> torch.device:
    """The torch device for auto, cpu or cuda.

    Raises:
        EnvironmentProblem: if cuda is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise EnvironmentProblem(
            "`device=cuda`: this torch build or machine has no usable CUDA device", "use `device=cpu` or auto"
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
