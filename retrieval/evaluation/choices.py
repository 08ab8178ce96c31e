"""A build's choices on validation, as values: blend weights, index, settings of the towers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from index import HeldOut, OperatingPoint
from retrieval.bundles.fitted_system_files import KINDS, search_settings
from retrieval.evaluation.uncertainty import Estimate
from retrieval.json_document import JsonObject
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
    def from_json(cls, document: Mapping[str, Any]) -> "BlendChoice":
        """Read what `to_json` gave.

        Raises:
            ValueError: if a field is missing or of another type.
        """
        choice = JsonObject(document)
        k, newcomers = choice.integer("k"), choice.optional("newcomers", JsonObject.object)

        def curve(name: str, weight: str) -> tuple[tuple[float, float, Estimate], ...]:
            return tuple(
                (each.number(weight), each.number(f"ndcg@{k}"), _estimate(each.object("gain")))
                for each in choice.objects(name)
            )

        return cls(
            alpha=choice.number("alpha"),
            k=k,
            curve=curve("validation_curve", "alpha"),
            trend=choice.number("trend"),
            trend_curve=curve("trend_curve", "trend"),
            newcomers=None if newcomers is None else cls.from_json(newcomers.document),
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
    def from_json(cls, document: Mapping[str, Any]) -> "IndexChoice":
        """Read what `to_json` gave.

        Raises:
            ValueError: if a field is missing or of another type.
        """
        choice = JsonObject(document)
        held_out = choice.object("held_out")
        return cls(
            serves=choice.choice("serves", KINDS),
            chosen=_operating_point(choice.object("chosen")),
            approximate=_operating_point(choice.object("approximate")),
            held_out=HeldOut(
                held_out.number("recall"), held_out.number("error"), held_out.integer("queries")
            ),
            recall_target=choice.optional("recall_target", JsonObject.number),
            memory_limit=choice.optional("memory_limit", JsonObject.integer),
            max_ndcg_loss=choice.optional("max_ndcg_loss", JsonObject.number),
            pays_from=choice.optional("pays_from", JsonObject.integer),
            points=tuple(map(_operating_point, choice.objects("points"))),
            seconds=choice.number("seconds"),
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
    def from_json(cls, document: Mapping[str, Any]) -> "TuningResult":
        """Read what `to_json` gave.

        Raises:
            ValueError: if a field is missing or of another type.
        """
        result = JsonObject(document)
        gain = result.optional("gain", JsonObject.object)
        return cls(
            trials=result.integer("trials"),
            earlier=result.integer("earlier"),
            pruned=result.integer("pruned"),
            failed=result.integer("failed"),
            minutes=result.number("minutes"),
            held=result.texts("held"),
            k=result.integer("k"),
            default=result.number("default"),
            best=result.optional("best", JsonObject.number),
            gain=None if gain is None else _estimate(gain),
            gain_error=result.optional("gain_error", JsonObject.number),
            settings=dict(result.object("settings").document),
            is_chosen=result.truth("is_chosen"),
        )


def _estimate(part: JsonObject) -> Estimate:
    return Estimate(part.number("value"), part.number("low"), part.number("high"))


def _operating_point(part: JsonObject) -> OperatingPoint:
    return OperatingPoint(
        factory=part.text("factory"),
        settings=search_settings(part.object("settings")),
        recall=part.number("recall"),
        recall_error=part.number("recall_error"),
        p50_ms=part.number("p50_ms"),
        p99_ms=part.number("p99_ms"),
        bytes_per_item=part.number("bytes_per_item"),
        build_seconds=part.number("build_seconds"),
        is_exact=part.truth("is_exact"),
        family=part.text("family"),
    )


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
