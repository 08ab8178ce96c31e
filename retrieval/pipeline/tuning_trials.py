"""The trials of a search, kept by optuna: in memory, or in a file that survives whatever ends the process."""

import base64
import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval.arrays import MetricValues
from retrieval.errors import ArtifactError, EnvironmentProblem

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

FOLDER = "tuning"  # beside the bundles
NAME = "towers"
# Part of every key. Another one whenever the same settings would give other towers than before.
FORMAT_VERSION = 1
VALUES, FIRST = "merits", "first"  # the names that these have in the file
# A trial is given up when its best figure so far is below the median of the others at the same epoch; not
# while there are fewer of them, and not earlier, so that slow learners have their chance.
TRIALS_BEFORE_PRUNING, EPOCHS_BEFORE_PRUNING = 5, 5
LOCK_SUFFIX = ".lock"  # of optuna's own lock beside the file


def require_optuna() -> None:
    """Find out at once, not after the training.

    Raises:
        EnvironmentProblem: if the optional package is missing.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise EnvironmentProblem(
            "`tune` needs an optional package that is not installed: pip install optuna",
            "or leave out `tune`",
        ) from error


def study_key(*parts: Any) -> str:
    """A name for a study: the same for the same parts, which are of plain JSON types."""
    text = json.dumps([FORMAT_VERSION, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Tried:
    """A trial that ran to its end.

    Attributes:
        params: its searched settings, by the names of `TowerSettings`.
        values: shape (q,): one metric value for each list of validation.
    """

    params: dict[str, Any]
    values: MetricValues


class Study:
    """All trials of one search, the first settings among them.

    What was interrupted half way counts for nothing: it is tried again. Figures of merit are kept for the
    first settings and for what was the best when it was tried, in single precision; of the others only
    the mean is needed.
    """

    def __init__(self, study: "optuna.Study") -> None:
        self._study = study

    @property
    def tried(self) -> int:
        """Trials that came to an end, however they did."""
        return sum(trial.state.is_finished() for trial in self._trials())

    @property
    def pruned(self) -> int:
        """Trials that were given up half way."""
        return self._count("PRUNED")

    @property
    def failed(self) -> int:
        """Trials whose training broke down."""
        return self._count("FAIL")

    @property
    def first(self) -> Tried | None:
        """The first settings; None before they are tried."""
        found = self._complete(is_first=True)
        return _tried(found[0]) if found else None

    @property
    def best(self) -> Tried | None:
        """The best of the others, the earliest of equals; None before one of them was tried to the end."""
        found = self._complete(is_first=False)
        return _tried(max(found, key=_value)) if found else None

    def check(self) -> None:
        """Read what a search will need.

        Raises:
            ValueError, KeyError, TypeError: if it is not there.
        """
        first, best = self.first, self.best
        if first is not None and best is not None and first.values.shape != best.values.shape:
            raise ValueError("trials of different lists")

    def add_first(
        self,
        params: dict[str, Any],
        space: "dict[str, BaseDistribution]",
        values: MetricValues,
        curve: dict[int, float],
    ) -> None:
        """Put the first settings down, in one step.

        Args:
            curve: validation figure by epoch, as others report it.
        """
        import optuna

        trial = optuna.trial.create_trial(
            params=params,
            distributions=space,
            value=float(values.mean()),
            intermediate_values=curve,
            user_attrs={FIRST: True, VALUES: _packed(values)},
        )
        self._study.add_trial(trial)

    def ask(self, space: "dict[str, BaseDistribution]", seed: int) -> "optuna.Trial":
        """The next settings to try, the same for the same seed and the same trials that came to an end."""
        import optuna

        self._study.sampler = optuna.samplers.TPESampler(seed=(seed + 1_000_003 * self.tried) % 2**32)
        return self._study.ask(space)

    def tell(self, trial: "optuna.Trial", values: MetricValues) -> None:
        """It was tried to the end."""
        value = float(values.mean())
        if all(value > _value(other) for other in self._complete(is_first=False)):
            trial.set_user_attr(VALUES, _packed(values))
        self._study.tell(trial, value)

    def tell_pruned(self, trial: "optuna.Trial") -> None:
        """It was given up half way."""
        import optuna

        self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)

    def tell_failed(self, trial: "optuna.Trial") -> None:
        """Its training broke down."""
        import optuna

        self._study.tell(trial, state=optuna.trial.TrialState.FAIL)

    def _trials(self) -> "list[FrozenTrial]":
        return self._study.get_trials(deepcopy=False)

    def _complete(self, is_first: bool) -> "list[FrozenTrial]":
        return [
            trial
            for trial in self._trials()
            if trial.state.name == "COMPLETE" and bool(trial.user_attrs.get(FIRST)) == is_first
        ]

    def _count(self, state: str) -> int:
        return sum(trial.state.name == state for trial in self._trials())


@contextmanager
def open_study(path: Path | None) -> Iterator[Study]:
    """A study in a file, what is there already included, or in memory; optuna says nothing meanwhile.

    Nobody else may use the file at the same time: the build lock of its folder is held.

    Args:
        path: of the file, a line of JSON a step; None: in memory.

    Raises:
        ArtifactError: if the file is no study.
        EnvironmentProblem: if optuna is missing or the file cannot be written.
    """
    require_optuna()
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield Study(_created(None)) if path is None else _opened(path)
    finally:
        optuna.logging.set_verbosity(verbosity)


def _created(storage: "optuna.storages.JournalStorage | None") -> "optuna.Study":
    import optuna

    return optuna.create_study(
        storage=storage,
        pruner=optuna.pruners.MedianPruner(TRIALS_BEFORE_PRUNING, EPOCHS_BEFORE_PRUNING),
        study_name=NAME,
        direction="maximize",
        load_if_exists=True,
    )


def _opened(path: Path) -> Study:
    """The file's, without what a killed process left half done."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(path.name + LOCK_SUFFIX).unlink(missing_ok=True)  # optuna would wait for its holder
        if path.exists():
            whole, newline, _ = path.read_bytes().rpartition(b"\n")
            for line in whole.split(b"\n") if newline else ():
                json.loads(line)  # optuna writes behind a last line that it cannot read
            os.truncate(path, len(whole) + len(newline))
        study = Study(_created(JournalStorage(JournalFileBackend(str(path)))))
        study.check()
    except OSError as error:
        raise EnvironmentProblem(
            f"{error.filename or path}: cannot be written ({error.strerror or error})",
            "free space or give another `artifacts`",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ArtifactError(
            f"{path}: not the trials that `tune` keeps ({type(error).__name__})",
            "delete it, and the search begins anew",
        ) from error
    return study


def _tried(trial: "FrozenTrial") -> Tried:
    values = np.frombuffer(base64.b64decode(trial.user_attrs[VALUES]), dtype="<f4")
    return Tried(dict(trial.params), values.astype(np.float64))


def _packed(values: MetricValues) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode("ascii")


def _value(trial: "FrozenTrial") -> float:
    return float(trial.value) if trial.value is not None else -np.inf
