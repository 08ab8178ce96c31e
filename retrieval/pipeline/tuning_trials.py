"""Keeps the trials of a search with optuna: in memory, or in a file that outlasts a crash."""

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
# Part of every key. Raise it whenever the same settings give other towers than before.
FORMAT_VERSION = 1
VALUES, FIRST = "merits", "first"  # the names that these have in the file
# A trial stops when its best value so far is below the median of the others at the same epoch. The minimum
# number of trials and of epochs gives slow learners a chance.
TRIALS_BEFORE_PRUNING, EPOCHS_BEFORE_PRUNING = 5, 5
LOCK_SUFFIX = ".lock"  # optuna's own lock beside the file


def require_optuna() -> None:
    """Check for optuna before anything is trained.

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
    """Name of a study: equal parts, of plain JSON types, give equal names."""
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
    """All trials of one search, including the first settings.

    An interrupted trial does not count and is run again. The study keeps the metric values of the first
    settings and of every trial that was the best so far, in single precision; of the others only the mean.
    """

    def __init__(self, study: "optuna.Study") -> None:
        self._study = study

    @property
    def tried(self) -> int:
        """The number of trials that completed, were pruned or failed."""
        return sum(trial.state.is_finished() for trial in self._trials())

    @property
    def pruned(self) -> int:
        """The number of trials that were stopped half way."""
        return self._count("PRUNED")

    @property
    def failed(self) -> int:
        """The number of trials whose training broke down."""
        return self._count("FAIL")

    @property
    def first(self) -> Tried | None:
        """The trial of the first settings; None before it completes."""
        found = self._complete(is_first=True)
        return _tried(found[0]) if found else None

    @property
    def best(self) -> Tried | None:
        """The best of the other trials, the earliest of equals; None before one of them completes."""
        found = self._complete(is_first=False)
        return _tried(max(found, key=_value)) if found else None

    def check(self) -> None:
        """Read everything that a search needs.

        Raises:
            ValueError, KeyError, TypeError: if a part is missing or malformed.
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
        """Record the trial of the first settings, in one step.

        Args:
            curve: validation figure by epoch, as the other trials report it.
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
        """The next settings to try; the same seed and the same finished trials give the same proposal."""
        import optuna

        self._study.sampler = optuna.samplers.TPESampler(seed=(seed + 1_000_003 * self.tried) % 2**32)
        return self._study.ask(space)

    def tell(self, trial: "optuna.Trial", values: MetricValues) -> None:
        """Record a completed trial."""
        value = float(values.mean())
        if all(value > _value(other) for other in self._complete(is_first=False)):
            trial.set_user_attr(VALUES, _packed(values))
        self._study.tell(trial, value)

    def tell_pruned(self, trial: "optuna.Trial") -> None:
        """Record a trial that was stopped half way."""
        import optuna

        self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)

    def tell_failed(self, trial: "optuna.Trial") -> None:
        """Record a trial whose training broke down."""
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
    """Open a study in a file, with its earlier trials, or in memory; optuna logs nothing meanwhile.

    The caller holds the build lock of the folder, so no other process uses the file.

    Args:
        path: of the file, with one line of JSON for each step; None: in memory.

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
    """The study of a file, without the unfinished line that a killed process may leave."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A lock that a killed process left: optuna would wait for it.
        path.with_name(path.name + LOCK_SUFFIX).unlink(missing_ok=True)
        if path.exists():
            whole, newline, _ = path.read_bytes().rpartition(b"\n")
            for line in whole.split(b"\n") if newline else ():
                json.loads(line)  # optuna itself would append to a damaged line
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
