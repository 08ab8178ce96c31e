"""Commands in processes of their own that load nothing: they are forked from a server that has loaded it all.

A new process takes 1 to 3 s to import torch, polars, FAISS and matplotlib before a command does its work,
and the tests run hundreds of commands. A forked process has exit code, streams, environment, working
directory and signals of its own as any other; only its imports are done already.

    python -m tests.support.warm_commands DESCRIPTOR    the server, which `WarmCommands` starts
"""

import atexit
import gc
import importlib
import io
import json
import os
import pkgutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tests.support.checkout import ROOT

PROGRAMS = {
    "retrieval": "main",
    "build-index": "build_index_main",
    "query": "query_main",
}  # functions of the cli
SECONDS = 180.0  # a command that takes longer hangs
# Variables that commands ask for while they run. Of any other, Python or a library may want to know when it
# is loaded: then it takes a process that loads it.
ASKED_LATE = ("RETRIEVAL_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "PATH")
ASKED_LATE += ("_RETRIEVAL_", "_QUERY_", "_BUILD_", "COMP_")  # by the completion of a shell
LIBRARIES = (
    *("torch._dynamo", "polars", "pandas", "faiss", "scipy.stats", "scipy.sparse.linalg", "optuna", "jinja2"),
    *("matplotlib.figure", "matplotlib.backends.backend_svg", "matplotlib.backends.backend_agg", "pooch"),
)


class WarmCommands:
    """Runs commands by a server of its own, one at a time.

    Args:
        environment: of the server; see `takes`.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._channel, other = socket.socketpair()
        self._channel.settimeout(SECONDS)
        with other:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.support.warm_commands", str(other.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd=ROOT,
                env=self._environment,
                pass_fds=[other.fileno()],
            )

    def takes(self, environment: Mapping[str, str]) -> bool:
        """Whether a command would be the same in this environment as in a new process."""
        changed = dict(environment.items() ^ self._environment.items())
        return all(name.startswith(ASKED_LATE) for name in changed)

    def run(
        self, words: Sequence[str], environment: Mapping[str, str], cwd: Path | None, whole: bool
    ) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a command.

        Args:
            words: the program's path and its arguments.
            whole: False for a report without pictures, whose latencies are of few queries.
        """
        request = {"words": words, "environment": dict(environment), "cwd": str(cwd or Path.cwd())}
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            line = json.dumps(request | {"whole": whole}).encode() + b"\n"
            socket.send_fds(self._channel, [line[:1]], [out.fileno(), err.fileno()])
            self._channel.sendall(line[1:])
            code = int(_line(self._channel))
            return code, _text(out), _text(err)


def _line(channel: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        received = channel.recv(1 << 16)
        if not received:
            raise EOFError("the other end is gone")
        line += received
    return line


def _text(file: Any) -> str:
    file.seek(0)
    return io.TextIOWrapper(file, encoding="utf-8").read()


# The server


def load_everything() -> None:
    """Import every module of the commands, and each library that they import when they need it."""
    for package in map(importlib.import_module, ("index", "retrieval")):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # or each process copies what its collector looks at


def serve(channel: socket.socket) -> dict[str, Any] | None:
    """Fork a process for each request until the other end is closed; in the process, return its request."""
    while True:
        _, streams, *_ = socket.recv_fds(channel, 1, 2)
        if not streams:
            return None
        request: dict[str, Any] = json.loads(b"{" + _line(channel))
        child = os.fork()
        if not child:
            channel.close()
            for number, stream in enumerate(streams, start=1):
                os.dup2(stream, number)
                os.close(stream)
            return request
        for stream in streams:
            os.close(stream)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        channel.sendall(b"%d\n" % code)


def answer(request: Mapping[str, Any]) -> NoReturn:
    """Be the command, to the end of this process."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["words"]
    if not request["whole"]:
        leave_out_what_takes_long(setattr)
    try:
        entry_point(Path(sys.argv[0]).name)()
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    # Not Python's whole way out, which takes apart all that was loaded.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def entry_point(program: str) -> Callable[[], None]:
    """The function that an installed program calls."""
    from retrieval import cli

    entry: Callable[[], None] = getattr(cli, PROGRAMS[program])
    return entry


def leave_out_what_takes_long(put: Callable[[Any, str, Any], None]) -> None:
    """Draw no plots into report.html and time few queries, which together take half of a small build.

    Args:
        put: `setattr`, or one that is undone later.
    """
    from retrieval.evaluation import candidate_depth
    from retrieval.reporting.page import svg

    put(svg, "_drawn", lambda plot: b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>')
    put(candidate_depth, "TIMED_QUERIES", 5)
    put(candidate_depth, "REPEATS", 1)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        load_everything()
        request = serve(channel)
    if request is not None:
        answer(request)
