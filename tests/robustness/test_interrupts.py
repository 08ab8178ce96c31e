"""Ctrl-C and its relatives, at every phase and at any moment: one line, the right code, nothing lost."""

import hashlib
import json
import os
import pty
import random
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from retrieval.bundles.lock import LOCK
from retrieval.cli.build_index import RESUME_ADVICE
from retrieval.training.checkpoint_files import DIGEST_BYTES
from retrieval.training.checkpoints import FOLDER, SUFFIX
from tests.support.checkout import ROOT
from tests.support.forking import FORK_EACH

BUILD = [
    "build-index",
    *shlex.split("--dataset sample --dimension 8 --epochs 2 --threads 1 --index IVF8,Flat --candidates 20"),
]
ENDS = {
    signal.SIGINT: (130, "interrupted"),
    signal.SIGTERM: (143, "terminated"),
    signal.SIGHUP: (129, "hung up"),
}
PHASES = [
    "Reading the data",
    "Loading torch",
    "Splitting",
    "Training TwoTowerBPR",
    "Training NeuralMF",
    "Measuring indexes and choosing one",
    "Weighing the re-ranker",
    "Fitting the baselines",
    "Evaluating",
    "Refitting TwoTowerBPR",
    "Refitting NeuralMF",
    "Publishing the bundle",
]
# No fit is over yet.
FIRST_PHASES = {
    "Reading the data",
    "Loading torch",
    "Splitting",
    "Fitting the baselines",
    "Training TwoTowerBPR",
}


def environment(**more: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    return plain | {"PYTHONPATH": str(ROOT), "COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "1"} | more


def hear_signals() -> None:
    """Whoever runs the tests in the background made its children deaf to Ctrl-C."""
    for signum in ENDS:
        signal.signal(signum, signal.SIG_DFL)


def files_of(folder: Path) -> set[str]:
    """Everything in an artifacts folder but the lock, which stays, and the checkpoints; see `kept_in`."""
    paths = {path.relative_to(folder) for path in folder.rglob("*") if path.name != LOCK}
    return {str(path) for path in paths if path.parts[0] != FOLDER}


def kept_in(folder: Path) -> set[str]:
    """The checkpoints in an artifacts folder, each of them whole, and nothing beside them."""
    paths = list((folder / FOLDER).rglob("*"))
    for path in paths:
        data = path.read_bytes()
        assert path.suffix == SUFFIX and hashlib.sha256(data[DIGEST_BYTES:]).digest() == data[:DIGEST_BYTES]
    assert paths or not (folder / FOLDER).exists()
    return {path.name for path in paths}


@dataclass(frozen=True)
class Ended:
    """What a process left."""

    code: int
    out: str
    err: str

    def stopped_by(self, signum: signal.Signals, artifacts: Path | None = None) -> None:
        """It ended in the one line, whatever a live line drew before.

        Args:
            artifacts: of a build; the line says how to go on where there is something to go on from.
        """
        advice = RESUME_ADVICE if artifacts is not None and kept_in(artifacts) else ""
        code, word = ENDS[signum]
        shown = re.sub(r"[^\n]*\r\x1b\[K", "", self.err.replace("\r\n", "\n"))
        last = shown.splitlines()[-1] if shown else ""
        assert (self.code, self.out) == (code, ""), self
        assert last == f"error: {word}; what was there before is unchanged{advice}", self.err
        assert self.err.count("error:") == 1 and self.err.endswith("\n"), self.err
        assert "Traceback" not in self.err and "ignored" not in self.err, self.err


class OnTerminal:
    """A command whose terminal, stderr only, can be read while it runs, and its Ctrl-C key pressed."""

    def __init__(self, words: Sequence[str]) -> None:
        self._terminal, slave = pty.openpty()
        self.process = subprocess.Popen(
            words,
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=slave,
            env=environment(),
            start_new_session=True,
            preexec_fn=lambda: (hear_signals(), os.close(os.open(os.ttyname(2), os.O_RDWR))),
        )
        os.close(slave)
        self.err = b""

    def read(self, until: str | None = None, seconds: float = 120.0) -> None:
        """Read until something is shown, or to the end."""
        end = time.monotonic() + seconds
        while until is None or until.encode() not in self.err:
            assert time.monotonic() < end, self.err
            if select.select([self._terminal], [], [], 0.05)[0]:
                try:
                    chunk = os.read(self._terminal, 4096)
                except OSError:  # the other end is closed
                    chunk = b""
                if not chunk:
                    assert until is None, self.err
                    return
                self.err += chunk

    def press_ctrl_c(self) -> None:
        os.write(self._terminal, b"\x03")

    def end(self) -> Ended:
        self.read()
        assert self.process.stdout is not None
        with self.process:
            out = self.process.stdout.read().decode()
        os.close(self._terminal)
        return Ended(self.process.returncode, out, self.err.decode())


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "retrieval", *map(str, arguments)]


@pytest.fixture
def standing(own_artifacts: Path) -> Iterator[Path]:
    """Artifacts whose bundle has to be there in the end, alone, and to answer as before."""
    before, answer = files_of(own_artifacts), answer_of(own_artifacts)
    yield own_artifacts
    assert files_of(own_artifacts) == before
    assert answer_of(own_artifacts) == answer


def answer_of(artifacts: Path) -> str:
    words = command("query", "--user", "42", "--json", "--artifacts", artifacts)
    return subprocess.run(words, capture_output=True, text=True, check=True, env=environment()).stdout


# Every phase of a build

# What takes long to load is loaded once; each case is a process that goes on from there and sends itself
# the signal when it is told of the phase.
DRIVER = """
import json, os, signal, sys, threading, time
import scipy.stats, torch._dynamo
import retrieval.pipeline.build, retrieval.pipeline.save
from retrieval.cli import build_index_main
from tests.support.warm_commands import leave_out_what_takes_long
from retrieval.cli.progress import TerminalProgress
from retrieval.bundles.writer import BundleWriter

torch.set_num_threads(1)
leave_out_what_takes_long(setattr)
arguments, folder, cases = json.loads(sys.argv[1])
show, publish = TerminalProgress.phase, BundleWriter.publish

def stop(signum, delay, times):
    if delay:
        time.sleep(delay)
    for _ in range(times):
        os.kill(os.getpid(), signum)
        time.sleep(0.002)

def run(name, phase, signum, delay, times):
    def tell(self, text):
        show(self, text)
        if text.startswith(phase):
            if delay or times > 1:
                threading.Thread(target=stop, args=(signum, delay, times), daemon=True).start()
            else:
                os.kill(os.getpid(), signum)
    def publish_and_tell(self, *arguments, **more):
        published = publish(self, *arguments, **more)
        if phase == "published":
            os.kill(os.getpid(), signum)
        return published
    TerminalProgress.phase, BundleWriter.publish = tell, publish_and_tell
    redirect(name)
    sys.argv = ["build-index", *arguments, "--artifacts", f"{folder}/{name}"]
    build_index_main()
"""


@dataclass(frozen=True)
class Case:
    """When a build gets which signal, and how often: again and again while it cleans up."""

    phase: str
    signum: signal.Signals = signal.SIGINT
    delay: float = 0.0
    times: int = 1
    has_bundle: bool = True

    @property
    def name(self) -> str:
        first = "" if self.has_bundle else "-first"
        return f"{self.phase.replace(' ', '-')}-{self.signum.name}-{self.delay}-{self.times}{first}"


CASES = [
    *map(Case, PHASES),
    *(Case(phase, delay=0.05) for phase in PHASES if phase.split()[0] in ("Training", "Weighing")),
    Case("Training TwoTowerBPR", signal.SIGTERM),
    Case("Evaluating", signal.SIGHUP, delay=0.02),
    Case("Loading torch", times=20),
    Case("Training NeuralMF", times=20),
    Case("Publishing the bundle", signal.SIGTERM, times=20),
    Case("Training NeuralMF", has_bundle=False),
]
PUBLISHED = Case("published", signal.SIGTERM)


@pytest.fixture(scope="module")
def stopped(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the driver stopped a build for each of the cases."""
    folder = tmp_path_factory.mktemp("stopped")
    for case in (*CASES, PUBLISHED):
        if case.has_bundle:
            shutil.copytree(artifacts, folder / case.name)
    cases = [(case.name, case.phase, case.signum, case.delay, case.times) for case in (*CASES, PUBLISHED)]
    arguments = json.dumps([BUILD[1:], str(folder), cases])
    done = subprocess.run(
        [sys.executable, "-c", DRIVER + FORK_EACH, arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
        preexec_fn=hear_signals,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_build_stopped_in_any_phase_leaves_one_line_and_the_old_bundle(
    stopped: Path, artifacts: Path, case: Case
) -> None:
    path = stopped / case.name
    code, out, err = (path.with_name(f"{path.name}.{end}").read_text() for end in ("code", "out", "err"))
    Ended(int(code), out, err).stopped_by(case.signum, path)
    if case.phase not in FIRST_PHASES or not case.delay:
        assert bool(kept_in(path)) == (case.phase not in FIRST_PHASES)
    assert files_of(path) == (files_of(artifacts) if case.has_bundle else {"builds"})
    if case.phase in PHASES[-3:]:
        assert answer_of(path) == answer_of(artifacts)


@pytest.mark.parametrize("phase", ["Loading torch", "Training TwoTowerBPR"])
def test_the_key_in_a_real_terminal(standing: Path, phase: str) -> None:
    build = OnTerminal([sys.executable, "-c", CONTROLLED, *command(*BUILD, "--artifacts", standing)])
    build.read(until=phase)
    time.sleep(0.3)
    build.press_ctrl_c()
    ended = build.end()
    ended.stopped_by(signal.SIGINT, standing)
    assert "^C" in ended.err and "\x1b[?25l" not in ended.err  # the cursor was never hidden


# A terminal sends the signal to the processes it controls.
CONTROLLED = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_signal_once_the_bundle_is_current_does_not_deny_it(stopped: Path, artifacts: Path) -> None:
    path = stopped / PUBLISHED.name
    code, out, err = (path.with_name(f"{path.name}.{end}").read_text() for end in ("code", "out", "err"))
    assert (code, err) == ("0", "")
    current = (path / "current").read_text().split()[0]
    assert out.endswith(f"Published {path / 'builds' / current}\n")
    assert f"builds/{current}" not in files_of(artifacts) and answer_of(path)
    assert not kept_in(path)  # it is published: there is nothing to go on with


def test_a_signal_waits_until_torch_is_loaded(standing: Path, tmp_path: Path) -> None:
    # Its C++ ends the process with a dump where an exception out of nowhere reaches it.
    code = f"""
import os, signal, sys, time
class Stopping:
    def find_spec(self, name, path=None, target=None):
        if name == "retrieval.pipeline.build":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
            open({str(tmp_path / "loading")!r}, "w").close()
            raise ImportError("enough")
sys.meta_path.insert(0, Stopping())
from retrieval.cli import build_index_main
build_index_main()
"""
    words = [sys.executable, "-c", code, *BUILD[1:], "--artifacts", standing]
    stop_at(list(map(str, words)), 0, signal.SIGCONT).stopped_by(signal.SIGINT)
    assert (tmp_path / "loading").exists()


# At any moment

# Until the first lines of ours have run, Ctrl-C is Python's: it dies of it, or shows a traceback.
PYTHONS_OWN = ("KeyboardInterrupt", "Failed to import the site module")


def stop_at(words: Sequence[str], seconds: float, signum: signal.Signals) -> Ended:
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        preexec_fn=hear_signals,
    ) as process:
        time.sleep(seconds)
        process.send_signal(signum)
        out, err = process.communicate(timeout=120)
    return Ended(process.returncode, out, err)


def check_any_moment(ended: Ended, signum: signal.Signals, artifacts: Path | None = None) -> None:
    """It was stopped, or done already, or Python itself had hardly begun."""
    if ended.code == 0 and any(words in ended.err for words in PYTHONS_OWN):
        assert "Exception ignored" in ended.err, ended  # by the import system, before ours was there
    elif ended.code == -signum or any(words in ended.err for words in PYTHONS_OWN):
        assert ended.out == "" and not re.search(r", in (start|work|run)$", ended.err, re.M), ended
    elif ended.code == 0:
        assert (ended.err, ended.out.count("\n")) == ("", 1)
    else:
        ended.stopped_by(signum, artifacts)


@pytest.mark.parametrize(
    "words", [["query", "--user", "42"], ["evaluate"], ["datasets", "sample"]], ids=" ".join
)
def test_other_commands_can_be_stopped_at_any_moment(
    standing: Path, tmp_path: Path, words: list[str]
) -> None:
    chance = random.Random(str(words))
    folders = ["--data", tmp_path] if words[0] == "datasets" else ["--artifacts", standing]
    for signum in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
        ended = stop_at(command(*words, "--json", *folders), chance.uniform(0.0, 0.4), signum)
        check_any_moment(ended, signum)


def test_the_first_moments_of_a_build(standing: Path, artifacts: Path) -> None:
    for milliseconds in (1, 15, 30, 60, 90, 130):
        ended = stop_at(command(*BUILD, "--artifacts", standing), milliseconds / 1000, signal.SIGINT)
        check_any_moment(ended, signal.SIGINT, standing)
        if ended.code == 0:  # Python swallowed it
            shutil.rmtree(standing)
            shutil.copytree(artifacts, standing)


def test_a_signal_while_the_first_module_is_loaded_leaves_one_line() -> None:
    code = """
import os, signal, sys
class Stopping:
    def find_spec(self, name, path=None, target=None):
        if name == "retrieval.cli.process":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Stopping())
from retrieval.cli import main
main()
"""
    ended = stop_at([sys.executable, "-c", code], 0.5, signal.SIGINT)
    ended.stopped_by(signal.SIGINT)


def test_signals_are_under_control_before_click_is_there(tmp_path: Path) -> None:
    code = """
import os, signal, sys
class Stopping:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Stopping())
from retrieval.cli import main
main()
"""
    ended = stop_at([sys.executable, "-c", code], 0.5, signal.SIGINT)
    ended.stopped_by(signal.SIGINT)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_a_build_can_be_stopped_at_any_moment(standing: Path, artifacts: Path, seed: int) -> None:
    chance = random.Random(seed)
    signum = chance.choice(list(ENDS))
    words = command(*BUILD, "--quiet", "--json", "--artifacts", standing)
    ended = stop_at(words, chance.uniform(0, 5), signum)
    check_any_moment(ended, signum, standing)
    if ended.code == 0:  # done before
        shutil.rmtree(standing)
        shutil.copytree(artifacts, standing)


# What the machinery promises


def started(work: str) -> Ended:
    """A process that runs `work`, the body of a function, under `start`."""
    body = "\n    ".join(work.strip().splitlines())
    code = f"import os, signal, sys, time\nfrom retrieval.cli.process import *\ndef work():\n    {body}\n"
    code += "    return 0\nstart(work)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
        preexec_fn=hear_signals,
        timeout=30,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "swallowing",
    [
        # A finaliser
        """
class Final:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0)
Final()
time.sleep(20)
""",
        # A library's bare except
        """
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(20)
except:
    pass
time.sleep(20)
""",
        # One that makes something else of it
        """
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(20)
except BaseException:
    raise ImportError("numpy.core.multiarray failed to import") from None
""",
        # One with an idea of its own of Ctrl-C
        "raise KeyboardInterrupt",
    ],
    ids=["finaliser", "bare except", "another error", "KeyboardInterrupt"],
)
def test_no_library_can_swallow_it(swallowing: str) -> None:
    started(swallowing).stopped_by(signal.SIGINT)


def test_clean_up_is_not_interrupted_again(tmp_path: Path) -> None:
    ended = started(f"""
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(20)
finally:
    for _ in range(30):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
    open({str(tmp_path / "clean")!r}, "w").close()
""")
    ended.stopped_by(signal.SIGTERM)
    assert (tmp_path / "clean").exists()


def test_clean_up_after_an_error_is_not_interrupted_either(tmp_path: Path) -> None:
    # polars answers Ctrl-C with an error of its own, before our handler has its turn.
    for error in ("KeyboardInterrupt", "ValueError"):
        path = tmp_path / error
        ended = started(f"""
try:
    raise {error}
finally:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)
    open({str(path)!r}, "w").close()
""")
        ended.stopped_by(signal.SIGINT)
        assert path.exists()


def test_a_signal_waits_for_what_does_not_survive_it(tmp_path: Path) -> None:
    ended = started(f"""
with holding_signals():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)
    open({str(tmp_path / "held")!r}, "w").close()
open({str(tmp_path / "after")!r}, "w").close()
""")
    ended.stopped_by(signal.SIGINT)
    assert [path.name for path in tmp_path.iterdir()] == ["held"]


def test_what_must_not_stop_half_way_does_not_begin_after_a_signal(tmp_path: Path) -> None:
    ended = started(f"""
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(20)
except:
    pass
ignore_signals()
open({str(tmp_path / "published")!r}, "w").close()
""")
    ended.stopped_by(signal.SIGINT)
    assert not list(tmp_path.iterdir())
    done = started(
        "ignore_signals()\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(0.1)\nprint('published')"
    )
    assert done == Ended(0, "published\n", "")


def test_an_error_that_is_being_told_is_not_told_twice() -> None:
    ended = started("""
from retrieval.cli.app import _failed
os.write(1, b"")
try:
    raise ValueError
except ValueError as error:
    code = _failed(error, "bad data", 3)
os.kill(os.getpid(), signal.SIGINT)
time.sleep(0.1)
return code
""")
    assert ended == Ended(3, "", "error: bad data\n")


def test_under_nohup_it_goes_on() -> None:
    code = "import os, signal, time\nfrom retrieval.cli.process import start\ndef work():\n    "
    code += "os.kill(os.getpid(), signal.SIGHUP); time.sleep(0.1); print('done'); return 0\nstart(work)"
    words = ["nohup", sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment())
    assert (done.returncode, done.stdout) == (0, "done\n")


def test_a_bug_is_no_interruption() -> None:
    ended = started("raise ZeroDivisionError('of ours')")
    assert ended.code == 1
    assert ended.err.startswith("Traceback") and ended.err.endswith("ZeroDivisionError: of ours\n")
