"""The settings of a build; each class checks its values. Imports nothing heavy.

Messages name a setting by its path in `BuildSettings`, such as `towers.learning_rate`.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from retrieval.errors import UsageError
from retrieval.machine import usable_cores
from retrieval.setting_types import check_types

MOST_THREADS = 1024
# The libraries count in 32-bit integers and compute in 32-bit floats.
LARGEST_COUNT, LARGEST_RATE = 2**31 - 1, 1e38

SplitKind = Literal["time", "random"]
UserTowerKind = Literal["history", "id"]
LossKind = Literal["bpr", "softmax"]
UserSampling = Literal["positives", "users"]


@dataclass(frozen=True)
class SplitSettings:
    """How to split a table, and the share of each slice.

    Attributes:
        test_fraction: share of the interactions after the later cut, in (0, 1).
        validation_fraction: share between the two cuts, in (0, 1).
        kind: "time" tests on the latest interactions; "random" is for tables without timestamps.

    Raises:
        UsageError: if a value is outside its range or nothing is left to train on.
    """

    test_fraction: float = 0.2
    validation_fraction: float = 0.1
    kind: SplitKind = "time"

    def __post_init__(self) -> None:
        check_types("split", self)
        _check_choice("split.kind", self.kind, "time", "random")
        for name, value in (("test", self.test_fraction), ("validation", self.validation_fraction)):
            if not 0 < value < 1:
                raise UsageError(
                    f"`split.{name}_fraction` must lie between 0 and 1, not {value}", "0.1 and 0.2 are usual"
                )
        if self.test_fraction + self.validation_fraction >= 1:
            raise UsageError(
                f"`split.test_fraction={self.test_fraction}` and "
                f"`split.validation_fraction={self.validation_fraction}` leave nothing to train on",
                "their sum must stay below 1",
            )


@dataclass(frozen=True)
class TowerSettings:
    """Shape and training of the towers; stored in the bundle's manifest.

    The defaults are those of the history tower; `id_towers` has the id tower's.

    Attributes:
        user_tower: "history" pools the items a user liked, so it also serves new users by their history;
            "id" looks users up in a table, so it serves only the users of train.
        loss: "bpr" compares each positive with single negatives, "softmax" with all of them together
            ("history" only).
        members: towers that are trained one by one from different seeds; their scores are summed and
            written as one pair of towers, see `training.join_towers`.
        dimension: columns of the embeddings, without the bias.
        item_bias: whether an item has, beside its vector, a number that is the same for all users.
        initial_std: standard deviation of the embeddings before training.
        closed_form_start: whether the tables start from EASE's weights, unless the catalogue is too large
            for EASE, see `training.ease_start` ("history" only).
        negatives: drawn for each positive ("id": uniformly) or for each user and step ("history": in
            proportion to the exponential of their score).
        catalogue_sample: most items that a step scores ("history" only); of a larger catalogue it scores a
            uniform sample.
        user_sampling: "positives" takes every positive once an epoch, so users count by their number of
            positives; "users" draws a user uniformly, then one of their positives uniformly, as many
            times an epoch as there are positives ("id" only).
        learning_rate: of Adam.
        batch_size: users in a step ("history") or positives ("id").
        max_epochs, patience: training ends after `patience` epochs in a row that do not reach the best
            one on validation, see `training.loop`.
        early_stopping: False trains exactly `max_epochs` and keeps the last one; validation is then only
            recorded.
        averaging_decay: share of the past in the moving average of the weights over epochs; this average
            is validated and kept. 0 averages nothing.
        l2: weight of the mean squared length of the vectors.
        user_dropout: share of the numbers of a user vector that each step leaves out ("history" only).
        parted_by_time, short_histories: how often a user's positives are parted by time rather than at
            random, and how often into a short history, see `training.history_batches` ("history" only).
        feature_share: how often a step knows an item by its side features alone, and a user by their
            history alone, where there are side features ("history" only).
        recency_half_life_days: a positive of this age counts half, see `training.recency`; None: all count
            the same, as they do in a table without timestamps.

    Raises:
        UsageError: if a value is out of its range, or the id tower gets a setting of the history tower.
    """

    user_tower: UserTowerKind = "history"
    loss: LossKind = "bpr"
    members: int = 3
    dimension: int = 64
    item_bias: bool = True
    initial_std: float = 0.03
    closed_form_start: bool = True
    negatives: int = 128
    catalogue_sample: int = 4096
    user_sampling: UserSampling = "positives"
    learning_rate: float = 6e-3
    batch_size: int = 64
    max_epochs: int = 20
    patience: int = 4
    early_stopping: bool = True
    averaging_decay: float = 0.5
    l2: float = 1e-2
    user_dropout: float = 0.3
    parted_by_time: float = 0.7
    short_histories: float = 0.3
    feature_share: float = 0.2
    recency_half_life_days: float | None = 30.0

    def __post_init__(self) -> None:
        check_types("towers", self)
        counts = ("members", "dimension", "negatives", "catalogue_sample")
        _check_counts("towers", self, (*counts, "batch_size", "max_epochs", "patience"))
        _check_rate("towers.learning_rate", self.learning_rate)
        _check_positive("towers.initial_std", self.initial_std)
        if self.recency_half_life_days is not None:
            _check_positive(
                "towers.recency_half_life_days", self.recency_half_life_days, "a positive number or none"
            )
        _check_weight("towers.l2", self.l2)
        _check_shares("towers", self, ("averaging_decay", "user_dropout", "feature_share"))
        for name in ("parted_by_time", "short_histories"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"`towers.{name}` must lie in [0, 1], not {getattr(self, name)}")
        _check_choice("towers.user_tower", self.user_tower, "history", "id")
        _check_choice("towers.loss", self.loss, "bpr", "softmax")
        _check_choice("towers.user_sampling", self.user_sampling, "positives", "users")
        if self.user_tower == "id" and (self.loss, self.members) != ("bpr", 1):
            raise UsageError(
                "the id tower has the loss bpr and one member",
                "leave out `towers.loss` and `towers.members`, or take `towers.user_tower=history`",
            )


def id_towers(**settings: Any) -> TowerSettings:
    """Settings of the id tower: its own defaults, except those given."""
    defaults: dict[str, Any] = {
        "user_tower": "id",
        "members": 1,
        "initial_std": 0.1,
        "negatives": 16,
        "learning_rate": 3e-3,
        "batch_size": 1024,
        "l2": 1e-3,
    }
    return TowerSettings(**{**defaults, **settings})


@dataclass(frozen=True)
class NeuralMFSettings:
    """Shape and training of NeuralMF; stored in the bundle's manifest.

    Attributes:
        dimension: width of each embedding.
        hidden: widths of the two hidden layers.
        dropout: after each hidden layer, in training only.
        unknown_users: how often training hides the id of a user, so that the model can predict for unknown
            users; with 0 it cannot.
        initial_std: standard deviation of the embeddings before training.
        standardise: whether training uses ratings in standard deviations, so that these settings fit every
            scale; predictions are in the scale of the table either way. False trains on the ratings as
            they are, and the output starts near 0.
        learning_rate, weight_decay, batch_size: of Adam with decoupled weight decay; a decay of 0 is
            plain Adam.
        max_epochs, patience, early_stopping, averaging_decay: as for the towers, by squared error on
            validation.

    Raises:
        UsageError: if a value is out of its range.
    """

    dimension: int = 32
    hidden: tuple[int, int] = (64, 32)
    dropout: float = 0.1
    unknown_users: float = 0.1
    initial_std: float = 0.05
    standardise: bool = True
    learning_rate: float = 1e-3
    weight_decay: float = 0.5
    batch_size: int = 512
    max_epochs: int = 20
    patience: int = 3
    early_stopping: bool = True
    averaging_decay: float = 0.5

    def __post_init__(self) -> None:
        check_types("neural_mf", self)
        _check_counts("neural_mf", self, ("dimension", "batch_size", "max_epochs", "patience"))
        if len(self.hidden) != 2 or min(self.hidden) < 1:
            raise UsageError(f"`neural_mf.hidden` must be two layers of at least one unit, not {self.hidden}")
        _check_rate("neural_mf.learning_rate", self.learning_rate)
        _check_positive("neural_mf.initial_std", self.initial_std)
        _check_weight("neural_mf.weight_decay", self.weight_decay)
        _check_shares("neural_mf", self, ("dropout", "unknown_users", "averaging_decay"))


@dataclass(frozen=True)
class TuneSettings:
    """A search over settings of the towers before the build, see `pipeline.tuning`.

    Attributes:
        minutes: time limit; no trial begins after it.
        held: names in `TowerSettings` that the search leaves as they are.
        trials: most trials in this build; None: as many as there is time for. A search that ends by this
            number is repeatable, one that ends by time is not.

    Raises:
        UsageError: if a value is out of its range.
    """

    minutes: float
    held: tuple[str, ...] = ()
    trials: int | None = None

    def __post_init__(self) -> None:
        check_types("tune", self)
        if not (math.isfinite(self.minutes) and self.minutes > 0):
            raise UsageError(
                f"`tune.minutes` must be a positive number of minutes, not {self.minutes}", "try 10"
            )
        if self.trials is not None:
            _check_counts("tune", self, ("trials",))


@dataclass(frozen=True)
class BuildSettings:
    """All settings of a build; stored in the bundle's manifest.

    Attributes:
        index: "auto" measures and chooses; "exact" serves exact search; or a FAISS factory string.
        recall_target: share of the exact candidates that the index must find; None: any share, where
            `max_ndcg_loss` is the target.
        memory_limit: most bytes that the index may take; None: any number.
        max_ndcg_loss: most NDCG@10 that the served lists may lose through the index, on validation; None:
            any loss.
        index_minutes: most minutes that choosing the index may take.
        candidates: number of items retrieved for re-ranking.
        positive_threshold: a rating of at least this is a positive, and relevant in the test.
        threads: of torch and FAISS; None: all cores. The same seed and number of threads give the same bits.
        device: "auto", "cpu" or "cuda".
        ease: whether to fit EASE, as a baseline and as the start of the towers. It is left out too where its
            memory, which grows with the square of the catalogue, is not there, and above 10,000 items.
        refit: whether to train again on all interactions for serving; False serves the evaluated models.
        preset: name of the preset that these settings come from, see `pipeline.presets`.
        tune: a search for better settings of the towers first; None: no search. The settings of the finished
            build are the chosen ones.

    Raises:
        UsageError: if a value is out of its range.
    """

    split: SplitSettings = field(default_factory=SplitSettings)
    towers: TowerSettings = field(default_factory=TowerSettings)
    neural_mf: NeuralMFSettings = field(default_factory=NeuralMFSettings)
    index: str = "auto"
    recall_target: float | None = 0.95
    memory_limit: int | None = None
    max_ndcg_loss: float | None = None
    index_minutes: float = 6.0
    candidates: int = 200
    positive_threshold: float = 4.0
    seed: int = 42
    threads: int | None = None
    device: str = "auto"
    ease: bool = True
    refit: bool = True
    preset: Literal["notebook"] | None = None
    tune: TuneSettings | None = None

    def __post_init__(self) -> None:
        check_types("", self)
        if self.memory_limit is not None and self.memory_limit < 1:
            raise UsageError(
                f"`memory_limit` must be at least one byte, not {self.memory_limit}", "500M or 2G are usual"
            )
        if self.max_ndcg_loss is not None and not 0 <= self.max_ndcg_loss < 1:
            raise UsageError(
                f"`max_ndcg_loss` must lie in [0, 1), not {self.max_ndcg_loss}", "0.001 is usual"
            )
        if not (math.isfinite(self.index_minutes) and self.index_minutes > 0):
            raise UsageError(
                f"`index_minutes` must be a positive number of minutes, not {self.index_minutes}", "try 6"
            )
        if self.recall_target is None and self.max_ndcg_loss is None:
            raise UsageError("an index needs a target: give `recall_target` or `max_ndcg_loss`")
        if self.recall_target is not None and not 0 < self.recall_target <= 1:
            raise UsageError(
                f"`recall_target` must lie above 0 and at most at 1, not {self.recall_target}",
                "0.95 is usual",
            )
        if self.candidates < 1:
            raise UsageError(f"`candidates` must be at least 1, not {self.candidates}")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"`threads` must be at least 1, not {self.threads}")
        if self.threads is not None and self.threads > MOST_THREADS:
            raise UsageError(
                f"`threads={self.threads}` is more than any machine has", "leave it out for all cores"
            )
        if not math.isfinite(self.positive_threshold):
            raise UsageError(
                f"`positive_threshold` must be a number, not {self.positive_threshold}",
                "4 is usual on a scale of 1 to 5",
            )
        if not 0 <= self.seed < 2**31:  # FAISS takes no larger seed
            raise UsageError(f"`seed` must lie between 0 and {2**31 - 1}, not {self.seed}")
        _check_choice("device", self.device, "auto", "cpu", "cuda")
        if self.preset is not None:
            _check_choice("preset", self.preset, "notebook")
            if self.tune is not None:
                raise UsageError(
                    f"`preset={self.preset}` sets what `tune` would search", "leave one of the two out"
                )

    @property
    def resolved_threads(self) -> int:
        """The number of threads, all usable cores unless set."""
        return self.threads or usable_cores()


def _check_counts(group: str, settings: object, names: tuple[str, ...]) -> None:
    for name in names:
        if not 1 <= getattr(settings, name) <= LARGEST_COUNT:
            raise UsageError(
                f"`{group}.{name}` must be from 1 to {LARGEST_COUNT}, not {getattr(settings, name)}"
            )


def _check_positive(name: str, value: float, expected: str = "a positive number") -> None:
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"`{name}` must be {expected}, not {value}", "leave it out for the default")


def _check_rate(name: str, value: float) -> None:
    if not 0 < value <= LARGEST_RATE:
        raise UsageError(
            f"`{name}` must be a positive number up to {LARGEST_RATE:g}, not {value}",
            "leave it out for the default",
        )


def _check_weight(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise UsageError(f"`{name}` must be 0 or more, not {value}")


def _check_choice(name: str, value: str, *choices: str) -> None:
    if value not in choices:
        *others, last = choices
        expected = f"{', '.join(others)} or {last}" if others else last
        raise UsageError(f"`{name}` must be {expected}, not {value!r}")


def _check_shares(group: str, settings: object, names: tuple[str, ...]) -> None:
    for name in names:
        if not 0 <= getattr(settings, name) < 1:
            raise UsageError(f"`{group}.{name}` must lie in [0, 1), not {getattr(settings, name)}")
