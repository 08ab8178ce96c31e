"""A build's choices on validation, as values: blend weights, index, settings of the towers."""

from dataclasses import asdict, dataclass
from typing import Any

from index import HeldOut, OperatingPoint
from retrieval.evaluation.uncertainty import Estimate
from retrieval.serving.rerank import BlendWeights
from retrieval.serving.two_stage import SearchKind


@dataclass(frozen=True)
class BlendChoice:
    """The chosen weights of the blend and the validation curves that chose them.

    Attributes:
        alpha: the chosen weight of the predicted rating.
        k: cut-off of the NDCG that chose it.
        curve: (alpha, NDCG@k on validation, paired gain over the retrieval order) for each alpha tried, with
            the trend at its chosen weight.
        trend: the chosen weight of the trend.
        trend_curve: the same for each weight of the trend tried, with alpha at its chosen value.
        newcomers: the choice for users known only by a history; None where validation has no such users.
    """

    alpha: float
    k: int
    curve: tuple[tuple[float, float, Estimate], ...]
    trend: float = 0.0
    trend_curve: tuple[tuple[float, float, Estimate], ...] = ()
    newcomers: "BlendChoice | None" = None

    @property
    def reranks(self) -> bool:
        """Whether anything but the retrieval score has weight."""
        return self.alpha > 0 or self.trend > 0

    @property
    def weights(self) -> BlendWeights:
        """The chosen weights; 0 for newcomers where there was no choice for them."""
        newcomers = self.newcomers
        if newcomers is None:
            return BlendWeights(self.alpha, self.trend)
        return BlendWeights(self.alpha, self.trend, newcomers.alpha, newcomers.trend)

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types."""
        return {
            "alpha": self.alpha,
            "k": self.k,
            "validation_curve": self._curve_to_json("alpha", self.curve),
            "trend": self.trend,
            "trend_curve": self._curve_to_json("trend", self.trend_curve),
            "newcomers": self.newcomers and self.newcomers.to_json(),
        }

    def _curve_to_json(
        self, weight: str, curve: tuple[tuple[float, float, Estimate], ...]
    ) -> list[dict[str, Any]]:
        return [{weight: value, f"ndcg@{self.k}": ndcg, "gain": asdict(gain)} for value, ndcg, gain in curve]

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "BlendChoice":
        """Read back what `to_json` gave."""
        k, newcomers = int(document["k"]), document["newcomers"]

        def curve(name: str, weight: str) -> tuple[tuple[float, float, Estimate], ...]:
            return tuple(
                (float(each[weight]), float(each[f"ndcg@{k}"]), Estimate(**each["gain"]))
                for each in document[name]
            )

        return cls(
            alpha=float(document["alpha"]),
            k=k,
            curve=curve("validation_curve", "alpha"),
            trend=float(document["trend"]),
            trend_curve=curve("trend_curve", "trend"),
            newcomers=newcomers and cls.from_json(newcomers),
        )


@dataclass(frozen=True)
class IndexChoice:
    """The choice of the index and the measurements behind it.

    Attributes:
        serves: the search that serves.
        chosen: operating point of that search.
        approximate: operating point of the index, which is measured also where exact search serves.
        held_out: recall of the serving search on users that did not choose it.
        recall_target, memory_limit, max_ndcg_loss: the build's settings; None where not set.
        pays_from: where exact search serves, the number of such items from which an index would be faster on
            this machine; None where that is unknown.
        points: all operating points that were timed.
        seconds: how long choosing took.
    """

    serves: SearchKind
    chosen: OperatingPoint
    approximate: OperatingPoint
    held_out: HeldOut
    recall_target: float | None
    memory_limit: int | None
    max_ndcg_loss: float | None
    pays_from: int | None
    points: tuple[OperatingPoint, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types, without the raw measurements."""
        points = [point.to_json() for point in self.points]
        return dict(vars(self)) | {
            "chosen": self.chosen.to_json(),
            "approximate": self.approximate.to_json(),
            "held_out": asdict(self.held_out),
            "points": points,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "IndexChoice":
        """Read back what `to_json` gave."""
        read = OperatingPoint.from_json
        return cls(
            **document
            | {
                "chosen": read(document["chosen"]),
                "approximate": read(document["approximate"]),
                "held_out": HeldOut(**document["held_out"]),
                "points": tuple(map(read, document["points"])),
            }
        )


@dataclass(frozen=True)
class TuningResult:
    """The result of the search over the towers' settings, and whether its best settings were taken.

    Attributes:
        trials: number of settings that were tried, the first ones included, in this build and in the builds
            whose trials it continued.
        earlier: how many of them earlier builds tried.
        pruned: how many were stopped half way, behind the others.
        failed: how many broke down in training.
        minutes: time limit of the search in this build.
        held: names of the settings that were not searched, as flags gave them.
        k: cut-off of the NDCG.
        default, best: mean NDCG@k on validation of the first settings and of the best others, each group of
            users weighing alike; `best` is None where no others were tried to the end.
        gain: paired difference of the two; None in the same case.
        gain_error: its standard error.
        settings: the searched settings, at the values of the best others.
        is_chosen: whether those are taken, which they are if the gain is larger than its standard error.
    """

    trials: int
    earlier: int
    pruned: int
    failed: int
    minutes: float
    held: tuple[str, ...]
    k: int
    default: float
    best: float | None
    gain: Estimate | None
    gain_error: float | None
    settings: dict[str, Any]
    is_chosen: bool

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types."""
        return asdict(self) | {"held": list(self.held)}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "TuningResult":
        """Read back what `to_json` gave."""
        gain = document["gain"]
        found = {"held": tuple(document["held"]), "gain": gain and Estimate(**gain)}
        return cls(**document | found)


def described(settings: dict[str, Any]) -> str:
    """Settings as text: names as in `TowerSettings`, numbers to three digits.

    >>> described({"l2": 0.0123456, "recency_half_life_days": None})
    'l2 0.0123, recency half-life days none'
    """

    def text(value: Any) -> str:
        if value is None:
            return "none"
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    return ", ".join(
        f"{name.replace('half_life', 'half-life').replace('_', ' ')} {text(value)}"
        for name, value in settings.items()
    )
