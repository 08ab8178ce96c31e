"""What the whole suite shares: the sample, one tiny build of it, and that build as a bundle on disk."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from small_build import small_settings

from tests.support.commands import Bench, standing_bundle

if TYPE_CHECKING:
    from retrieval.data.datasets import Dataset
    from retrieval.pipeline.build import Build
    from retrieval.settings import BuildSettings

# Before anything imports torch or FAISS; the commands that tests start inherit it.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # on a busy machine two threads that spin take minutes
for name in ("RETRIEVAL_DATA", "RETRIEVAL_ARTIFACTS", "RETRIEVAL_DEBUG", "NO_COLOR", "FORCE_COLOR"):
    os.environ.pop(name, None)


# The same examples in every run, so that a test fails by a change and not by chance, nor because the machine
# was slow. `pytest --hypothesis-profile=search` looks for new ones.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile("repeatable")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are no names for tests: compressed ones hold the time, and must be the same in every worker."""
    return argname if isinstance(val, bytes) else None


# These take longest. They come first, so that in the end no worker is left alone with one of them.
LONGEST = (
    *("robustness/test_resume.py", "robustness/test_crashes.py", "robustness/test_interrupts.py"),
    *("robustness/test_repeatability.py", "pipeline/test_tuning.py", "robustness/test_faults_data.py"),
    *("training/test_checkpoints.py", "training/test_loop.py", "project/test_package.py"),
    *(
        "cli/test_commands.py",
        "cli/test_index.py",
        "robustness/test_faults_disk.py",
        "bundles/test_bundle.py",
    ),
    *("evaluation/test_candidate_depth.py", "project/test_documents.py", "reporting/page/test_page.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; scripts/test tells xdist not to order them by their numbers of tests."""
    ranks = {f"tests/{name}": rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.nodeid.split("::")[0], len(ranks)))


@contextmanager
def quickly() -> Iterator[None]:
    """Reports without pictures and with latencies of few queries, as in warm commands."""
    from tests.support.warm_commands import leave_out_what_takes_long

    with pytest.MonkeyPatch.context() as patch:
        leave_out_what_takes_long(patch.setattr)
        yield


@pytest.fixture(scope="module", autouse=True)
def quick_reports() -> Iterator[None]:
    """What tests build is built `quickly`. A folder whose tests look at the pictures overrides this."""
    with quickly():
        yield


@pytest.fixture(scope="session")
def sample_set() -> "Dataset":
    """The tracked sample: 4,822 ratings of 150 users and 120 items."""
    from retrieval.data.datasets import load_dataset

    return load_dataset("sample", Path("unused"), print)


@pytest.fixture(scope="session")
def tiny_settings() -> "BuildSettings":
    """Two epochs of narrow towers; an index that misses items, and fewer candidates than items."""
    return small_settings(epochs=2)


@pytest.fixture(scope="session")
def tiny_build(sample_set: "Dataset", tiny_settings: "BuildSettings") -> "Build":
    """The sample, built with the tiny settings. Leave it as it is."""
    from retrieval.pipeline.build import build

    with quickly():  # whichever module asks first
        return build(
            sample_set.interactions, items=sample_set.items, settings=tiny_settings, name=sample_set.name
        )


@pytest.fixture(scope="session")
def artifacts(tiny_build: "Build", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifacts folder with the tiny build. Only for reading; see `own_artifacts`."""
    from retrieval.bundles.writer import new_bundle
    from retrieval.pipeline.save import write_build

    folder = tmp_path_factory.mktemp("built") / "artifacts"
    with quickly(), new_bundle(folder) as writer:
        write_build(writer, tiny_build)
    return folder


@pytest.fixture
def own_artifacts(artifacts: Path, tmp_path: Path) -> Path:
    """A copy of `artifacts` to damage or to build into."""
    return Path(shutil.copytree(artifacts, tmp_path / "own artifacts"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread of torch during a test."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def few_resamples(tiny_build: "Build") -> Iterator[None]:
    """Intervals from few resamples. The session's own build is made before, with as many as ever."""
    from retrieval.evaluation import uncertainty

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uncertainty, "RESAMPLES", 200)
        yield


@pytest.fixture(scope="module")
def standing(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of `artifacts` of the module's own, which answers in the end as it did."""
    yield from standing_bundle(artifacts, tmp_path_factory.mktemp("standing"))


@pytest.fixture
def bench(standing: Path, tmp_path: Path) -> Bench:
    """An empty folder beside `standing`, to run commands in."""
    return Bench(tmp_path, standing)
