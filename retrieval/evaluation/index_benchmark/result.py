"""The result of a benchmark: operating points, their Pareto front, filters; and what counts as faster."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from index import OperatingPoint
from retrieval.evaluation.report import finite
from retrieval.evaluation.uncertainty import Estimate
from retrieval.machine import Machine
from retrieval.serving.two_stage import SearchKind

BATCH = 256  # queries searched at once
LOWEST_RECALL = 0.5  # tables and pictures leave points out that find less: they are of no use in serving
NOTICEABLE = 1.1  # two times within this factor of each other count as the same


@dataclass(frozen=True)
class SpeedComparison:
    """One search time beside another, told by `compare_speed`.

    Attributes:
        verdict: "level" where the two times differ by less than the factor `NOTICEABLE`.
        times: how many times as fast the faster one is; at least 1.
    """

    verdict: Literal["faster", "level", "slower"]
    times: float


@dataclass(frozen=True)
class NdcgChange:
    """NDCG@k of the index's lists minus that of exact search, paired by user, from the bundle's report."""

    k: int
    difference: Estimate


@dataclass(frozen=True)
class FilterPoint:
    """One set of allowed items: the index as it serves, beside filtered exact search.

    Attributes:
        label: in tables, such as ``5%`` or ``Comedy``.
        kind: items drawn at random, or those of a genre.
        items, share: number of allowed items, and their share of the catalogue.
        recall, recall_error: of the k best allowed items, mean over the queries and its standard error.
        p50_ms, p99_ms, exact_p50_ms, exact_p99_ms: of single queries, with the index and with exact search.
    """

    label: str
    kind: Literal["random", "genre"]
    items: int
    share: float
    recall: float
    recall_error: float
    p50_ms: float
    p99_ms: float
    exact_p50_ms: float
    exact_p99_ms: float


@dataclass(frozen=True)
class Benchmark:
    """Everything that a benchmark measured.

    Attributes:
        k: candidates a search returns.
        queries: number of users, with one query each.
        recall_target: that the index was chosen for; None if it was chosen by the loss of NDCG.
        serves: whether the bundle serves by the index or by exact search.
        points: every setting measured, the two below among them. Recall counts the filtered candidates that
            the index itself finds; times are of searches as served.
        chosen: the bundle's index at its settings.
        exact: exhaustive search in numpy.
        per_second: queries per second in batches of `BATCH`, by `OperatingPoint.name`, of the points on the
            front and of the two above.
    """

    dataset: str
    bundle: str
    machine: Machine
    threads: int
    seed: int
    items: int
    dimension: int
    k: int
    queries: int
    recall_target: float | None
    serves: SearchKind
    points: tuple[OperatingPoint, ...]
    chosen: OperatingPoint
    exact: OperatingPoint
    per_second: dict[str, float]
    filters: tuple[FilterPoint, ...]
    ndcg_change: NdcgChange | None
    pays_from: int | None

    @property
    def enough(self) -> float:
        """The recall at which settings are compared: the target, or that of the bundle's index."""
        return self.chosen.recall if self.recall_target is None else self.recall_target

    @property
    def speed(self) -> SpeedComparison:
        """The bundle's index beside exact search, by the median of single searches."""
        return compare_speed(self.chosen.p50_ms, self.exact.p50_ms)

    @property
    def front(self) -> tuple[OperatingPoint, ...]:
        """The points on the Pareto front; see `pareto_front`."""
        return pareto_front(self.points)

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types; a figure that does not exist is null."""
        front = {point.name for point in self.front}
        change = self.ndcg_change
        plain = ("dataset", "bundle", "threads", "seed", "items", "dimension", "k", "queries")
        document = {
            **{name: getattr(self, name) for name in plain},
            "batch": BATCH,
            "machine": asdict(self.machine),
            "recall_target": self.recall_target,
            "serves": self.serves,
            "chosen": self.chosen.name,
            "exact": self.exact.name,
            "points": [
                point.to_json()
                | {
                    "name": point.name,
                    "pareto": point.name in front,
                    "chosen": point.name == self.chosen.name,
                    "queries_per_second": self.per_second.get(point.name),
                }
                for point in self.points
            ],
            "filters": [asdict(point) for point in self.filters],
            "ndcg_change": change and {"k": change.k, **asdict(change.difference)},
            "pays_from": self.pays_from,
        }
        return finite(document)


def pareto_front(points: Sequence[OperatingPoint]) -> tuple[OperatingPoint, ...]:
    """The points with more recall than every point that is as fast; by ascending recall.

    Of equal points the first stays.
    """
    front: list[OperatingPoint] = []
    for point in sorted(points, key=lambda point: (point.p50_ms, -point.recall)):
        if not front or point.recall > front[-1].recall:
            front.append(point)
    return tuple(front)


def compare_speed(milliseconds: float, reference: float) -> SpeedComparison:
    """Say whether a search that takes `milliseconds` is faster than one that takes `reference`.

    >>> compare_speed(0.5, 2.0), compare_speed(1.0, 1.05).verdict, compare_speed(2.0, 1.0)
    (SpeedComparison(verdict='faster', times=4.0), 'level', SpeedComparison(verdict='slower', times=2.0))
    """
    factor = reference / milliseconds
    if factor >= NOTICEABLE:
        return SpeedComparison("faster", factor)
    if factor > 1 / NOTICEABLE:
        return SpeedComparison("level", max(factor, 1 / factor))
    return SpeedComparison("slower", 1 / factor)


def headline(found: Benchmark) -> str:
    """Whether the index pays, in a few words."""
    speed = found.speed
    if speed.verdict == "faster":
        return f"{found.chosen.recall:.1%} of the exact top {found.k:,}, {speed.times:.1f} times faster"
    if speed.verdict == "level":
        return "the index is no faster than exact search"
    return f"exact search is {speed.times:.1f} times faster than the index"
