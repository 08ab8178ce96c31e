"""The flags of `build-index`: their declarations, their values as one `BuildOptions`, and its settings."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import click
from click.core import ParameterSource

from retrieval.cli.options import (
    ProgressMode,
    artifacts_option,
    complete_set_name,
    data_option,
    debug_option,
    full_option,
    json_option,
    progress_option,
)
from retrieval.cli.quantities import Bytes, Days
from retrieval.errors import UsageError
from retrieval.settings import (
    LARGEST_COUNT,
    BuildSettings,
    LossKind,
    NeuralMFSettings,
    SplitKind,
    SplitSettings,
    TowerSettings,
    TuneSettings,
    UserTowerKind,
    id_towers,
)

# A preset decides these settings; a flag beside it would silently win or lose.
PRESET_FLAGS = (
    "user_tower",
    "loss",
    "members",
    "dimension",
    "negatives",
    "epochs",
    "batch_size",
    "learning_rate",
    "recency_half_life",
)
# --tune leaves these settings (fields of `TowerSettings`) alone where their flag is given.
TUNED_FLAGS = {
    "dimension": "dimension",
    "negatives": "negatives",
    "learning_rate": "learning_rate",
    "recency_half_life": "recency_half_life_days",
}
ID_TOWERS = id_towers()
COUNT = click.IntRange(1, LARGEST_COUNT)
PATH = click.Path(path_type=Path)


@dataclass(frozen=True)
class BuildOptions:
    """The flags of one call of `build-index`, under the names that click gives them.

    Attributes:
        given: names of the flags that stand on the command line; the others have their defaults.
        members, negatives, batch_size, learning_rate: None takes the default of the user tower.
    """

    dataset: str | None
    ratings: Path | None
    items: Path | None
    users: Path | None
    user_column: str | None
    item_column: str | None
    rating_column: str | None
    title_column: str | None
    time_column: str | None
    time_format: str | None
    skip_bad: int
    data: Path
    artifacts: Path
    index: str
    recall_target: float | None
    max_ndcg_loss: float | None
    memory_limit: int | None
    index_minutes: float
    candidates: int
    split: SplitKind
    test_fraction: float
    validation_fraction: float
    positive_threshold: float
    preset: Literal["notebook"] | None
    user_tower: UserTowerKind
    loss: LossKind
    members: int | None
    dimension: int
    negatives: int | None
    epochs: int
    batch_size: int | None
    learning_rate: float | None
    recency_half_life: float | None
    seed: int
    threads: int | None
    device: str
    tune: float | None
    resume: bool
    max_regression: float | None
    no_ease: bool
    no_refit: bool
    full: bool
    progress_mode: ProgressMode
    as_json: bool
    given: frozenset[str]

    def check(self) -> None:
        """Refuse flags that do not go together.

        Raises:
            UsageError: if they do not, or --max-regression is out of its range.
        """
        if self.dataset and self.ratings:
            raise UsageError("--dataset and --ratings exclude each other; give one of them")
        own = {
            "--items": self.items,
            "--users": self.users,
            "--user-column": self.user_column,
            "--item-column": self.item_column,
            "--rating-column": self.rating_column,
            "--title-column": self.title_column,
            "--time-column": self.time_column,
            "--time-format": self.time_format,
            "--skip-bad": self.skip_bad,
        }
        for flag, value in own.items():
            if value and not self.ratings:
                raise UsageError(f"{flag} goes with --ratings; a named data set needs none")
        if self.max_regression is not None and not 0 <= self.max_regression <= 1:
            raise UsageError(
                f"--max-regression must be from 0 to 1, not {self.max_regression:g}; 0.01 is usual"
            )

    def require_source(self) -> None:
        """Refuse a call that names no data.

        Raises:
            UsageError: with the two ways to name some.
        """
        if not (self.dataset or self.ratings):
            raise UsageError(
                "no data named: give --ratings FILE for your own table, or --dataset NAME for a public one, "
                "such as ml-100k or sample"
            )

    def settings(self) -> BuildSettings:
        """The settings of the build; each is checked on the way.

        Raises:
            UsageError: if a value is out of its range, or a flag was given that the preset sets.
        """
        given = [flag for flag in PRESET_FLAGS if flag in self.given]
        settings = self._settings(tuple(TUNED_FLAGS[flag] for flag in given if flag in TUNED_FLAGS))
        if self.preset is None:
            return settings
        for flag in given:
            name = f"--{flag.replace('_', '-')}"
            raise UsageError(f"--preset {self.preset} sets {name} itself; leave one of the two out")
        from retrieval.pipeline.presets import notebook

        return notebook(settings)

    def _settings(self, held: tuple[str, ...]) -> BuildSettings:
        return BuildSettings(
            split=SplitSettings(self.test_fraction, self.validation_fraction, self.split),
            towers=self._tower_settings(),
            neural_mf=NeuralMFSettings(max_epochs=self.epochs),
            index=self.index,
            recall_target=self._recall_target(),
            memory_limit=self.memory_limit,
            max_ndcg_loss=self.max_ndcg_loss,
            index_minutes=self.index_minutes,
            candidates=self.candidates,
            positive_threshold=self.positive_threshold,
            seed=self.seed,
            threads=self.threads,
            device=self.device,
            ease=not self.no_ease,
            refit=not self.no_refit,
            tune=None if self.tune is None else TuneSettings(self.tune, held),
        )

    def _recall_target(self) -> float | None:
        """None where --max-ndcg-loss is given in its place."""
        replaced = self.max_ndcg_loss is not None and "recall_target" not in self.given
        return None if replaced else self.recall_target

    def _tower_settings(self) -> TowerSettings:
        """The given values, and the defaults of the chosen user tower for the rest."""
        default = ID_TOWERS if self.user_tower == "id" else TowerSettings()
        return replace(
            default,
            loss=self.loss,
            dimension=self.dimension,
            max_epochs=self.epochs,
            recency_half_life_days=self.recency_half_life,
            members=default.members if self.members is None else self.members,
            negatives=default.negatives if self.negatives is None else self.negatives,
            learning_rate=default.learning_rate if self.learning_rate is None else self.learning_rate,
            batch_size=default.batch_size if self.batch_size is None else self.batch_size,
        )


# In the order of --help.
FLAGS: tuple[Callable[[Callable[..., None]], Callable[..., None]], ...] = (
    click.option(
        "--dataset",
        metavar="NAME",
        shell_complete=complete_set_name,
        help="A named data set, see `retrieval datasets`; sample is made up and small.",
    ),
    click.option(
        "--ratings", type=PATH, help="Your own file or folder of interactions, instead of a named data set."
    ),
    click.option("--items", type=PATH, help="Titles, genres and the like, where not beside --ratings."),
    click.option("--users", type=PATH, help="Gender, age and the like, where not beside --ratings."),
    click.option(
        "--user-column", metavar="NAME", help="Column of --ratings and --users, where its name is not known."
    ),
    click.option("--item-column", metavar="NAME", help="Likewise, of --ratings and --items."),
    click.option("--rating-column", metavar="NAME", help="Likewise; without one every row is a positive."),
    click.option(
        "--title-column", metavar="NAME", help="Likewise, of --items; without one there are no titles."
    ),
    click.option("--time-column", metavar="NAME", help="Likewise; without one give --split random."),
    click.option(
        "--time-format",
        metavar="FORMAT",
        help="How times are written, where that cannot be told from them, such as %d/%m/%Y.",
    ),
    click.option(
        "--skip-bad",
        type=click.IntRange(0, LARGEST_COUNT),
        metavar="N",
        default=0,
        help="Leave out up to N rows that cannot be used, and say which.",
    ),
    data_option,
    artifacts_option,
    click.option(
        "--index",
        default=BuildSettings.index,
        help="auto measures many kinds and takes the fastest that meets the target; exact; or a FAISS "
        "factory string such as UPCA65,IVF64,Flat.",
    ),
    click.option(
        "--recall-target",
        type=float,
        default=BuildSettings.recall_target,
        help="Share of the exact candidates the index must find, proved on users it was not chosen by.",
    ),
    click.option(
        "--max-ndcg-loss",
        type=float,
        metavar="LOSS",
        help="In place of --recall-target: how much NDCG@10 the served lists may lose by the index, with 95% "
        "certainty, on validation. Give both to ask for both.",
    ),
    click.option(
        "--memory-limit", type=Bytes(), help="What the index may take, such as 500M or 2G.  [default: any]"
    ),
    click.option(
        "--index-minutes",
        type=float,
        default=BuildSettings.index_minutes,
        help="Minutes that choosing an index may take.",
    ),
    click.option(
        "--candidates", type=COUNT, default=BuildSettings.candidates, help="Items retrieved for re-ranking."
    ),
    click.option(
        "--split",
        type=click.Choice(["time", "random"]),
        default=SplitSettings.kind,
        help="time tests on the most recent; random, for tables without times, is too kind and says so.",
    ),
    click.option(
        "--test-fraction",
        default=SplitSettings.test_fraction,
        help="Share of the interactions to test on, the most recent.",
    ),
    click.option(
        "--validation-fraction",
        default=SplitSettings.validation_fraction,
        help="Share before that, to choose settings on.",
    ),
    click.option(
        "--positive-threshold",
        default=BuildSettings.positive_threshold,
        help="Ratings from here on are positive and relevant.",
    ),
    click.option(
        "--preset",
        type=click.Choice(["notebook"]),
        help="notebook trains both models as the reference notebook did and prints its figures beside.",
    ),
    click.option(
        "--user-tower",
        type=click.Choice(["history", "id"]),
        default=TowerSettings.user_tower,
        help="history also serves people who come with a list of items; id only users seen in training.",
    ),
    click.option(
        "--loss",
        type=click.Choice(["bpr", "softmax"]),
        default=TowerSettings.loss,
        help="bpr: each positive against single negatives; softmax: against all together (history tower).",
    ),
    click.option(
        "--members",
        type=COUNT,
        help="Towers trained from different seeds and joined into one.  "
        f"[default: {TowerSettings.members}; id tower: {ID_TOWERS.members}]",
    ),
    click.option(
        "--dimension",
        type=COUNT,
        default=TowerSettings.dimension,
        help="Numbers in an embedding of the towers.",
    ),
    click.option(
        "--negatives",
        type=COUNT,
        help="Negatives drawn for each user and step; for each positive by the id tower.  "
        f"[default: {TowerSettings.negatives}; id tower: {ID_TOWERS.negatives}]",
    ),
    click.option(
        "--epochs",
        type=COUNT,
        default=TowerSettings.max_epochs,
        help="At most, for each model; validation decides.",
    ),
    click.option(
        "--batch-size",
        type=COUNT,
        help="Users in a training step of the towers; positives with the id tower.  "
        f"[default: {TowerSettings.batch_size}; id tower: {ID_TOWERS.batch_size}]",
    ),
    click.option(
        "--learning-rate",
        type=float,
        help="Learning rate of the towers.  "
        f"[default: {TowerSettings.learning_rate:g}; id tower: {ID_TOWERS.learning_rate:g}]",
    ),
    click.option(
        "--recency-half-life",
        type=Days(),
        default=TowerSettings.recency_half_life_days,
        help="Days after which a positive weighs half in the towers' training; none: all weigh the same.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(0, 2**31 - 1),
        default=BuildSettings.seed,
        help="The only source of chance; builds repeat bit for bit with the same --threads.",
    ),
    click.option("--threads", type=COUNT, help="Threads of torch and FAISS.  [default: all cores]"),
    click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="What to train on."
    ),
    click.option(
        "--tune",
        type=float,
        metavar="MINUTES",
        help="First search better settings of the towers on validation, for so long; what flags set stays. "
        "Given again, it goes on. Needs: pip install optuna.",
    ),
    click.option(
        "--resume",
        is_flag=True,
        help="Go on from the checkpoints of a build that was stopped, to the weights it would have had; data "
        "and settings must be the same.",
    ),
    click.option(
        "--max-regression",
        type=float,
        metavar="LOSS",
        help="Keep the build without publishing it, and exit with 7, where its NDCG@10 on validation is "
        "lower than the current bundle's by more.  [default: publish]",
    ),
    click.option(
        "--no-ease",
        is_flag=True,
        help="Leave EASE out, whose memory grows with the square of the catalogue.",
    ),
    click.option(
        "--no-refit", is_flag=True, help="Serve the evaluated models, not ones refitted on everything."
    ),
    full_option,
    progress_option,
    json_option,
    debug_option,
)


def build_options(command: Callable[[BuildOptions], None]) -> Callable[..., None]:
    """Give a command the flags of `build-index`; it receives their values as one `BuildOptions`."""

    @wraps(command)
    def with_flags(**values: Any) -> None:
        source = click.get_current_context().get_parameter_source
        given = frozenset(name for name in values if source(name) is ParameterSource.COMMANDLINE)
        command(BuildOptions(**values, given=given))

    decorated: Callable[..., None] = with_flags
    for flag in reversed(FLAGS):
        decorated = flag(decorated)
    return decorated
