"""The commands that write, what they meet, and the build that they are given: for `crashing_commands`."""

import copyreg
import pickle
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from index import AnnIndex
from retrieval.bundles import writer
from retrieval.pipeline.build import Build
from retrieval.pipeline.save import write_build
from tests.support.checkout import ROOT

NEW_ITEMS = "movieId,title,genres\n5000,Late (1999),Comedy|Drama\n"
BUILD = "build-index --dataset sample --threads 1"


@dataclass(frozen=True)
class Scenario:
    """A command that writes, and what it meets.

    Attributes:
        words: of its line; {oldest} is the name of a bundle.
        template: the artifacts before, see `make_templates`.
        code: the command's exit code.
        changes: whether another bundle answers afterwards.
        builds: whether it writes a bundle, whose name is another each time.
    """

    name: str
    words: str
    template: str
    code: int = 0
    changes: bool = True
    builds: bool = True


SCENARIOS = (
    Scenario("the first build", BUILD, "none"),
    Scenario("the next build", BUILD, "one"),
    Scenario("a build held back", f"{BUILD} --max-regression 0.01", "better", code=7, changes=False),
    Scenario("index add", "index add --items new.csv", "one"),
    Scenario("bundles promote", "bundles promote {oldest}", "four", builds=False),
    Scenario("bundles rollback", "bundles rollback", "four", builds=False),
    Scenario("bundles prune", "bundles prune --keep 1", "four", changes=False, builds=False),
)


def pickled(build: Build) -> bytes:
    """A build, to be handed to processes that are to start with one."""
    copyreg.pickle(
        AnnIndex, lambda ann: (_ann, (ann.to_bytes(), ann.factory, ann.settings, ann.size, ann.dimension))
    )
    return pickle.dumps(build)


def _ann(data: Any, factory: str, settings: Any, size: int, dimension: int) -> AnnIndex:
    return AnnIndex.from_bytes(data, factory=factory, settings=settings, size=size, dimension=dimension)


def make_build(path: Path) -> None:
    """The sample, built in a moment."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from small_build import small_build

    path.write_bytes(pickled(small_build()))


class Clock(datetime):
    """A minute later each time, so that bundles are named in the order they were written."""

    time = datetime(2026, 1, 1, tzinfo=UTC)

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        cls.time += timedelta(minutes=1)
        return cls.time


def make_templates(folder: Path, build: Build) -> None:
    """Artifacts as the commands meet them: none, one bundle, one better than the build, and four bundles.

    The one bundle serves what was fitted on train only, so that it answers otherwise than the build.
    """
    other = replace(build, served=build.evaluated)
    better = replace(other, validation_ndcg=build.validation_ndcg + 0.3)
    writer.datetime = Clock  # type: ignore[attr-defined]
    for name, versions in {"one": [other], "better": [better], "four": [other, build, other, build]}.items():
        for version in versions:
            with writer.new_bundle(folder / name / "artifacts") as files:
                write_build(files, version)
    (folder / "none").mkdir()
