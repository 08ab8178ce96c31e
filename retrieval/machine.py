"""The machine and the libraries that a build or a benchmark ran on, and its memory. Imports nothing heavy.

Sums of floating-point numbers depend on the order they are taken in, and that order on the vector
instructions, the number of threads and the device. So weights repeat bit for bit only where all of these are
the same, and a manifest records them.
"""

import mmap
import os
import platform
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# Variables that make libraries take other code or another number of threads. No other variable is recorded.
ENVIRONMENT = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ATEN_CPU_CAPABILITY",
    "NPY_DISABLE_CPU_FEATURES",
    "FAISS_SIMD_LEVEL",
    "CUBLAS_WORKSPACE_CONFIG",
)
_CPU_INFO = Path("/proc/cpuinfo")
_MEMORY_INFO, _CONTROL_GROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
_UNKNOWN = "unknown"


def made_on(device: "torch.device", threads: int) -> dict[str, Any]:
    """Describe machine and libraries for a manifest: plain JSON types; no names of hosts or users, no paths.

    Args:
        device: that trained.
        threads: of torch and FAISS.
    """
    import faiss
    import numpy as np
    import torch

    shown: Any = np.show_config(mode="dicts")  # its stub says None
    blas = shown.get("Build Dependencies", {}).get("blas", {})
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{platform.system()} {' '.join(platform.libc_ver())}".strip(),
        "machine": platform.machine(),
        "cpu": _processor(otherwise=_UNKNOWN),
        "cores": usable_cores(),
        "threads": threads,
        "instruction_sets": {
            "numpy": shown.get("SIMD Extensions", {}).get("found", []),
            "torch": torch.backends.cpu.get_cpu_capability(),
            "faiss": faiss.SIMDConfig.get_level_name(),
        },
        "blas": {
            "numpy": f"{blas.get('name', _UNKNOWN)} {blas.get('version', '')}".strip(),
            "torch": "mkl" if torch.backends.mkl.is_available() else "another",  # type: ignore[no-untyped-call]
        },
        "device": _device(device),
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
    }


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def address_space_left() -> int | None:
    """Bytes that this process may still map under `ulimit -v`; None where there is no limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError, IndexError):  # not Linux
        return limit
    return max(0, limit - pages * mmap.PAGESIZE)


def memory_left() -> int | None:
    """Bytes this process may still take, by `ulimit -v`, its container and the machine; None: not known."""
    found = [address_space_left(), _available_memory(), _container_memory_left()]
    return min((each for each in found if each is not None), default=None)


def _available_memory() -> int | None:
    """What Linux thinks a new program can take without swapping."""
    try:
        lines = dict(line.split(":", 1) for line in _MEMORY_INFO.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _container_memory_left() -> int | None:
    """By the limit of the control group, without the files it has cached; None where there is none."""
    try:
        limit, used = (int((_CONTROL_GROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        stat = dict(line.split() for line in (_CONTROL_GROUP / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(stat["inactive_file"]))
    except (OSError, ValueError, KeyError):  # "max" is no number: no limit
        return None


def _processor(otherwise: str) -> str:
    """The model of the processor as it calls itself; `otherwise` where it has no name."""
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or otherwise)


def _device(device: "torch.device") -> dict[str, Any]:
    """The device that trained; for a GPU also its libraries."""
    import torch

    if device.type != "cuda":
        return {"type": device.type}
    return {
        "type": device.type,
        "name": torch.cuda.get_device_name(device),
        "capability": list(torch.cuda.get_device_capability(device)),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
    }


@dataclass(frozen=True)
class Machine:
    """The machine that something was measured on.

    Attributes:
        processor: its model.
        cores: that this process may use.
        system: the operating system.
    """

    processor: str
    cores: int
    system: str


def this_machine() -> Machine:
    """The machine this process runs on."""
    return Machine(_processor(otherwise=platform.machine()), usable_cores(), platform.system())
