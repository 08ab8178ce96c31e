"""Picks the kinds of index worth building on a large catalogue, by measuring all kinds on samples of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from index.choosing.kinds import IndexKind, candidate_kinds
from index.choosing.measuring import Workload
from index.choosing.trials import Goal, build, first_meeting, time_trials
from index.exact import ExactIndex

SMALL = 40_000  # items up to which every kind is built on the whole catalogue
_SHARES = (32, 8)  # of the catalogue: the samples are a 32nd and an 8th
_LEAST_SAMPLE = 5_000
_STAY = (3.0, 1.5)  # a kind leaves after a round if its forecast is slower than the best by this factor
_AT_MOST = 6  # kinds to build on the whole catalogue


@dataclass(frozen=True)
class Forecast:
    """Measurements of a kind on the samples, the smallest first, and forecasts for larger catalogues.

    Attributes:
        kind: with the factory string for the whole catalogue.
        sizes: of the samples, in items.
        milliseconds: median of a search, at the setting that meets the goal.
        seconds: that building took.
    """

    kind: IndexKind
    sizes: tuple[int, ...]
    milliseconds: tuple[float, ...]
    seconds: tuple[float, ...]

    def latency(self, size: int) -> float:
        """Expected milliseconds of a search at another size: a power law of the samples, at most linear."""
        return _power_law(self.sizes, self.milliseconds, size, 0.0, 1.0)

    def build_seconds(self, size: int) -> float:
        """Expected seconds to build at another size: a power law of the samples, at least linear."""
        return _power_law(self.sizes, self.seconds, size, 1.0, 1.3)


def _power_law(sizes: Sequence[int], values: Sequence[float], size: int, least: float, most: float) -> float:
    exponent = most
    if len(sizes) > 1:
        exponent = float(np.log(values[-1] / values[-2]) / np.log(sizes[-1] / sizes[-2]))
    return float(values[-1] * (size / sizes[-1]) ** min(max(exponent, least), most))


def narrow(
    kinds: Sequence[IndexKind],
    workload: Workload,
    goal: Goal,
    deadline: float,
    seed: int,
    threads: int,
    say: Callable[[str], None],
) -> list[IndexKind]:
    """The kinds that may be the fastest on the whole catalogue; all of them if it is small.

    Args:
        kinds: of the whole catalogue.
        workload: over the whole catalogue; its queries choose.
        goal: that an index must meet.
        deadline: on the clock of `perf_counter`; a kind that would not be built by then is left out.
        seed: of samples and k-means runs.
        threads: of FAISS while building.
        say: receives a line about each kind left out.
    """
    size = workload.exact.size
    if size <= SMALL:
        return list(kinds)
    left = {kind.recipe: kind for kind in kinds}
    forecasts: dict[str, Forecast] = {}
    for share, stay in zip(_SHARES, _STAY, strict=True):
        sample = max(_LEAST_SAMPLE, size // share)
        forecasts = _round(list(left), sample, workload, goal, left, forecasts, seed, threads)
        latest = {recipe: each.latency(size) for recipe, each in forecasts.items()}
        if not latest:
            break
        best = min(latest.values())
        order = sorted(latest, key=lambda recipe: latest[recipe])
        left = {recipe: left[recipe] for recipe in order if latest[recipe] <= stay * best}
    remaining = deadline - perf_counter()
    chosen = []
    for recipe in list(left)[:_AT_MOST]:
        expected = forecasts[recipe].build_seconds(size) if recipe in forecasts else 0.0
        if expected > remaining:
            say(f"{left[recipe].factory} left out: building it would take {expected:.0f} s")
            continue
        remaining -= expected
        chosen.append(left[recipe])
    return chosen or [kind for kind in kinds if kind.family == "fast scan"][:1]


def _round(
    recipes: Sequence[str],
    sample: int,
    workload: Workload,
    goal: Goal,
    whole: dict[str, IndexKind],
    before: dict[str, Forecast],
    seed: int,
    threads: int,
) -> dict[str, Forecast]:
    """Build the kinds of these recipes on a sample of the items; forecast those that can meet the goal."""
    vectors = workload.exact.vectors
    rows = np.sort(np.random.default_rng(seed).choice(len(vectors), size=sample, replace=False))
    small = Workload(ExactIndex(vectors[rows]), workload.queries, workload.k)
    trials = []
    here = Goal(goal.recall if goal.recall is not None else 0.95)
    for kind in candidate_kinds(vectors, sample, small=goal.memory_limit is not None):
        if kind.recipe in recipes:
            trials += first_meeting(build(kind, small.exact.vectors, seed, threads), kind, small, here)
    # An index a little above the limit on the sample may be below it on the whole catalogue.
    trials = [
        trial for trial in trials if trial.meets and goal.fits(trial.n_bytes / sample * len(vectors) / 1.1)
    ]
    if not trials:
        return {}
    forecasts: dict[str, Forecast] = {}
    for timed in time_trials(trials, small):
        recipe = timed.trial.kind.recipe
        if recipe in forecasts and forecasts[recipe].milliseconds[-1] <= timed.point.p50_ms:
            continue
        past = before.get(recipe)
        forecasts[recipe] = Forecast(
            whole[recipe],
            (*(past.sizes if past else ()), sample),
            (*(past.milliseconds if past else ()), timed.point.p50_ms),
            (*(past.seconds if past else ()), max(timed.trial.build_seconds, 1e-3)),
        )
    return forecasts
