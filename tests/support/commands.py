"""The installed commands in processes of their own, and the table of what they answered.

With FAULTS_TABLE=path the answers that were recorded are written there, as Markdown.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from retrieval.bundles.lock import LOCK
from tests.support.checkout import ROOT
from tests.support.warm_commands import PROGRAMS, SECONDS, WarmCommands

SCRIPTS = Path(sysconfig.get_path("scripts"))
NOWHERE = "http://127.0.0.1:9"  # the discard port, where nobody listens

_table: dict[tuple[int, str], str] = {}


@dataclass(frozen=True)
class Ran:
    """What a command left: its exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout of a command that succeeded."""
        assert self.code == 0 and self.out.count("\n") == 1, self
        return json.loads(self.out)

    @property
    def notes(self) -> list[str]:
        """The lines on stderr of a command that succeeded."""
        assert self.code == 0 and "error:" not in self.err and "Traceback" not in self.err, self
        return self.err.splitlines()

    def refusal(self, code: int) -> str:
        """The one line of an error; nothing else is on either stream."""
        assert (self.code, self.out) == (code, ""), self
        assert self.err.endswith("\n") and self.err.count("\n") == 1, self.err
        assert self.err.startswith("error: ") and "Traceback" not in self.err, self.err
        return self.err.removesuffix("\n")


def environment(**more: str) -> dict[str, str]:
    """Of a command: this checkout, plain output, and no network but this machine's own."""
    not_ours = ("RETRIEVAL_", "FORCE_", "PYTEST_")  # pytest keeps the name of the test in a variable
    kept = {key: value for key, value in os.environ.items() if not key.startswith(not_ours)}
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOWHERE)
    local = dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1")
    return kept | proxies | local | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"} | more


def run(program: str, *arguments: object, cwd: Path | None = None, whole: bool = False, **more: str) -> Ran:
    """A program in a process of its own; `more` goes into its environment.

    The process of one of our commands comes from a warm one (see `warm_commands`), unless `more` may change
    what imports do.

    Args:
        whole: whether a build's report has pictures and many timed queries, which takes seconds.
    """
    words, chosen = [str(SCRIPTS / program), *map(str, arguments)], environment(**more)
    if program not in PROGRAMS or not _warm().takes(chosen):
        return run_cold(words, chosen, cwd)
    return Ran(*_warm().run(words, chosen, cwd, whole))


@cache
def _warm() -> WarmCommands:
    return WarmCommands(environment())


def run_cold(words: Sequence[str], environment: Mapping[str, str], cwd: Path | None = None) -> Ran:
    """A command in a new process, which imports what it needs."""
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
        cwd=cwd,
        check=False,
        timeout=SECONDS,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def record(fault: int, given: str, ran: Ran) -> Ran:
    """Keep the outcome for the table of faults."""
    path = os.environ.get("FAULTS_TABLE")
    if path:
        said = " / ".join([*ran.err.splitlines(), *_notes(ran.out)]) or "(nothing)"
        said = re.sub(r"(127\.0\.0\.1):\d+", r"\1", said)  # the port is another every time
        cells = (str(fault), given, said, str(ran.code))
        escaped = (cell.replace("\\", "\\\\").replace("|", "\\|") for cell in cells)
        _table[fault, given] = f"| {' | '.join(escaped)} |\n"
        head = "| fault | input | what it says | exit |\n|---|---|---|---|\n"
        rows = [_table[key] for key in sorted(_table, key=lambda key: key[0])]
        Path(path).write_text(head + "".join(rows), encoding="utf-8")
    return ran


def _notes(out: str) -> list[str]:
    """What stdout says beside the answer itself."""
    if not out.startswith("{"):
        return [line for line in out.splitlines() if line.startswith("note: ")]
    document = json.loads(out)
    counts = document.get("split", {}) | document
    repeated = {name: counts.get(name) for name in ("duplicates", "seen_test_rows")}
    notes = [f"note: {note}" for note in document.get("notes", ())]
    return notes + [f"{name}: {count}" for name, count in repeated.items() if count]


def files_of(folder: Path) -> dict[str, str]:
    """All files below a folder by their digests; without the lock, which holds the last build's process."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
        if path.name != LOCK
    }


@dataclass(frozen=True)
class Bench:
    """A folder to run commands in, and artifacts with a bundle, which no mistake may touch."""

    folder: Path
    artifacts: Path

    def write(self, name: str, content: str | bytes) -> Path:
        """A file in the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def run(self, program: str, *arguments: object, **more: str) -> Ran:
        """A command in the folder, with the artifacts."""
        return run(
            program, *arguments, cwd=self.folder, **{"RETRIEVAL_ARTIFACTS": str(self.artifacts)} | more
        )

    def refused(
        self, fault: int, program: str, *arguments: object, code: int, given: str | None = None, **more: str
    ) -> str:
        """Run what must be refused: one line with `code`, and every file as before. Returns the line.

        Args:
            given: what was wrong, for the table of faults; the command line unless said, "" to leave it out.
        """
        before = files_of(self.folder), files_of(self.artifacts.parent)
        ran = self.run(program, *arguments, **more)
        line = ran.refusal(code)
        assert (files_of(self.folder), files_of(self.artifacts.parent)) == before, "files changed"
        assert "; " in line, f"nothing is said on what to do next: {line}"
        if given is None:
            given = f"`{' '.join([program, *map(str, arguments)])}`"
        if given:
            record(fault, given, ran)
        return line

    def answer(self) -> Any:
        """What the bundle answers."""
        return self.run("query", "--user", "42", "--json").json


def standing_bundle(artifacts: Path, folder: Path) -> Iterator[Path]:
    """For a fixture: a copy of the artifacts in a folder of its own, which answers in the end as it did."""
    bench = Bench(folder, Path(shutil.copytree(artifacts, folder / "artifacts")))
    before = bench.answer()
    yield bench.artifacts
    assert bench.answer() == before, "the bundle answers otherwise than before"
