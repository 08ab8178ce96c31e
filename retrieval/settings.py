"""Everything a build can be told, checked where it is made. Imports nothing heavy."""

import math
import os
from dataclasses import dataclass, field
from typing import Literal

from retrieval.errors import UsageError

MOST_THREADS = 1024

UserTowerKind = Literal["history", "id"]


@dataclass(frozen=True)
class SplitSettings:
    """How much of the time line each slice gets.

    Attributes:
        test_fraction: share of the interactions after the later cut, in (0, 1).
        validation_fraction: share between the two cuts, in (0, 1).

    Raises:
        UsageError: if a fraction is outside its range or nothing is left to train on.
    """

    test_fraction: float = 0.2
    validation_fraction: float = 0.1

    def __post_init__(self) -> None:
        for name, value in (("test", self.test_fraction), ("validation", self.validation_fraction)):
            if not 0 < value < 1:
                raise UsageError(
                    f"--{name}-fraction must lie between 0 and 1, not {value}; 0.1 and 0.2 are usual"
                )
        if self.test_fraction + self.validation_fraction >= 1:
            raise UsageError(
                f"--test-fraction {self.test_fraction} and --validation-fraction {self.validation_fraction} "
                "leave nothing to train on; their sum must stay below 1"
            )


@dataclass(frozen=True)
class TowerSettings:
    """Shape and training of the towers; stored in the bundle's manifest.

    Attributes:
        user_tower: "history" pools the items a user liked, so it serves anyone with a history;
            "id" looks the user up in a table, so it knows only the users of train.
        dimension: columns of the embeddings, bias not counted.
        negatives: sampled for each positive.
        learning_rate, batch_size (positives a step): of Adam.
        max_epochs, patience: training ends after `patience` epochs in a row that are more than a
            standard error behind the best on validation (NDCG@10).
        averaging_decay: share of the past in the moving average of the epochs' weights, which is
            what gets validated and kept; 0 averages nothing.
        l2: weight of the squared length of the vectors in a batch.
        history_dropout: share of a history left out at every step ("history" only).
        recency_half_life_days: a positive this much older than now counts half, see `recency_weights`.
        targets_per_history: positives trained against one draw of a user's history ("history" only).

    Raises:
        UsageError: if a value is out of its range.
    """

    user_tower: UserTowerKind = "history"
    dimension: int = 64
    negatives: int = 16
    learning_rate: float = 3e-3
    batch_size: int = 1024
    max_epochs: int = 20
    patience: int = 4
    averaging_decay: float = 0.5
    l2: float = 1e-3
    history_dropout: float = 0.5
    recency_half_life_days: float = 30.0
    targets_per_history: int = 32

    def __post_init__(self) -> None:
        _check_counts(
            self,
            ("dimension", "negatives", "batch_size", "max_epochs", "patience", "targets_per_history"),
        )
        for name in ("learning_rate", "recency_half_life_days"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                flag = "--" + name.removesuffix("_days").replace("_", "-")
                raise UsageError(f"{flag} must be a positive number, not {getattr(self, name)}")
        if not (math.isfinite(self.l2) and self.l2 >= 0):
            raise UsageError(f"l2 must be 0 or more, not {self.l2}")
        _check_shares(self, ("history_dropout", "averaging_decay"))
        if self.user_tower not in ("history", "id"):
            raise UsageError(f"user_tower must be history or id, not {self.user_tower!r}")


@dataclass(frozen=True)
class NeuralMFSettings:
    """Shape and training of NeuralMF; stored in the bundle's manifest.

    Attributes:
        dimension: width of each embedding.
        hidden: widths of the two hidden layers.
        dropout: after each hidden layer, in training only.
        learning_rate, weight_decay, batch_size: of Adam with decoupled weight decay.
        max_epochs, patience, averaging_decay: as for the towers, by squared error on validation.

    Raises:
        UsageError: if a value is out of its range.
    """

    dimension: int = 32
    hidden: tuple[int, int] = (64, 32)
    dropout: float = 0.1
    learning_rate: float = 1e-3
    weight_decay: float = 0.5
    batch_size: int = 512
    max_epochs: int = 20
    patience: int = 3
    averaging_decay: float = 0.5

    def __post_init__(self) -> None:
        _check_counts(self, ("dimension", "batch_size", "max_epochs", "patience"))
        if len(self.hidden) != 2 or min(self.hidden) < 1:
            raise UsageError(f"hidden must be two layers of at least one unit, not {self.hidden}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise UsageError(f"learning_rate must be a positive number, not {self.learning_rate}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise UsageError(f"weight_decay must be 0 or more, not {self.weight_decay}")
        _check_shares(self, ("dropout", "averaging_decay"))


@dataclass(frozen=True)
class BuildSettings:
    """Everything a build can be told; stored in the bundle's manifest.

    Attributes:
        index: "auto", or a FAISS factory string.
        recall_target: share of the exact candidates the approximate index must find.
        candidates: how many items are retrieved for re-ranking.
        positive_threshold: ratings from here on are positive, and relevant in the test.
        threads: of torch and FAISS; None takes all cores. Results repeat bit for bit at the same
            seed and number of threads.
        device: "auto", "cpu" or "cuda".
        refit: train again on all interactions for serving; False serves the evaluated models.

    Raises:
        UsageError: if a value is out of its range.
    """

    split: SplitSettings = field(default_factory=SplitSettings)
    towers: TowerSettings = field(default_factory=TowerSettings)
    neural_mf: NeuralMFSettings = field(default_factory=NeuralMFSettings)
    index: str = "auto"
    recall_target: float = 0.95
    candidates: int = 200
    positive_threshold: float = 4.0
    seed: int = 42
    threads: int | None = None
    device: str = "auto"
    refit: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.recall_target <= 1:
            raise UsageError(f"--recall-target must lie above 0 and at most at 1, not {self.recall_target}")
        if self.candidates < 1:
            raise UsageError(f"--candidates must be at least 1, not {self.candidates}")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"--threads must be at least 1, not {self.threads}")
        if self.threads is not None and self.threads > MOST_THREADS:
            raise UsageError(
                f"--threads {self.threads} is more than any machine has; leave it out for all cores"
            )
        if not math.isfinite(self.positive_threshold):
            raise UsageError(f"--positive-threshold must be a number, not {self.positive_threshold}")
        if not 0 <= self.seed < 2**31:  # FAISS takes no more
            raise UsageError(f"--seed must lie between 0 and {2**31 - 1}, not {self.seed}")
        if self.device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"--device must be auto, cpu or cuda, not {self.device!r}")

    @property
    def resolved_threads(self) -> int:
        """The number of threads, all usable cores unless set."""
        return self.threads or usable_cores()


def _check_counts(settings: object, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(settings, name) < 1:
            raise UsageError(f"{name} must be at least 1, not {getattr(settings, name)}")


def _check_shares(settings: object, names: tuple[str, ...]) -> None:
    for name in names:
        if not 0 <= getattr(settings, name) < 1:
            raise UsageError(f"{name} must lie in [0, 1), not {getattr(settings, name)}")


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
