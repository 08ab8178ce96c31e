"""Measures for `benchmark_index.py`: recall and time of single queries, the choice of a setting, growth."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index import recall_against_exact

Ask = Callable[[NDArray[np.float32]], Any]
Setting = dict[str, float]

WARM_UP = 5  # untimed queries at the start of each index's turn
HALVINGS = 3  # of the gap between the last value that misses the target and the first that meets it


@dataclass(frozen=True)
class Trial:
    """A setting, with its recall and its median time on the choosing queries."""

    setting: Setting
    recall: float
    p50_ms: float


def answers(ask: Ask, queries: NDArray[np.float32]) -> tuple[list[Any], NDArray[np.float64]]:
    """Ask the queries one after the other; returns the answers and the seconds each took."""
    for query in queries[:WARM_UP]:
        ask(query)
    given, seconds = [], np.empty(len(queries))
    for i, query in enumerate(queries):
        start = time.perf_counter()
        answer = ask(query)
        seconds[i] = time.perf_counter() - start
        given.append(answer)
    return given, seconds


def recalls(found: Sequence[NDArray[Any]], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the exact answer that each query found; answers may be short."""
    rows = np.full(truth.shape, -1, dtype=np.int64)
    for line, each in zip(rows, found, strict=True):
        line[: len(each)] = each[: len(line)]
    return recall_against_exact(rows, truth)


def walk(
    attempt: Callable[[Setting], Trial],
    knob: str,
    values: Sequence[int],
    fixed: Setting,
    target: float,
    slowest_ms: float,
) -> list[Trial]:
    """Try values of rising effort, then between the last that misses the target and the first that meets it.

    Ends early where recall is nine tenths of the way from the target to 1, for the curve's sake, and where
    a query takes longer than `slowest_ms`.
    """
    tried: dict[int, Trial] = {}

    def try_value(value: int) -> Trial:
        tried[value] = attempt({**fixed, knob: value})
        return tried[value]

    for value in values:
        trial = try_value(value)
        if trial.recall >= 1 - (1 - target) / 10 or trial.p50_ms > slowest_ms:
            break
    enough = min((value for value, trial in tried.items() if trial.recall >= target), default=None)
    if enough is not None:
        short = max((value for value in tried if value < enough), default=enough)
        for _ in range(HALVINGS):
            middle = (short + enough) // 2
            if middle in tried:
                break
            if try_value(middle).recall >= target:
                enough = middle
            else:
                short = middle
    return [tried[value] for value in sorted(tried)]


def choose(trials: Sequence[Trial], target: float) -> tuple[Trial, bool]:
    """The fastest trial that meets the target, and True; else the one with the best recall, and False."""
    meeting = [trial for trial in trials if trial.recall >= target]
    if meeting:
        return min(meeting, key=lambda trial: trial.p50_ms), True
    return max(trials, key=lambda trial: (trial.recall, -trial.p50_ms)), False


def in_turns(
    asks: Mapping[str, Ask], queries: NDArray[np.float32], rounds: int
) -> dict[str, NDArray[np.float64]]:
    """Seconds of each query, its median over the rounds: shape (q,) for each name.

    In every round each index in turn answers all queries, so that noise that lasts hits all alike and noise
    that does not is no round's median.
    """
    seconds = {name: np.empty((rounds, len(queries))) for name in asks}
    for number in range(rounds):
        for name, ask in asks.items():
            _, seconds[name][number] = answers(ask, queries)
    return {name: np.median(each, axis=0) for name, each in seconds.items()}


def growth(sizes: Sequence[int], values: Sequence[float]) -> float | None:
    """The b of value = a * size ** b, by least squares of the logarithms; None for fewer than two sizes.

    >>> round(growth([10, 100, 1000], [2, 20, 200]), 6), growth([10], [2])
    (1.0, None)
    """
    if len(set(sizes)) < 2 or min(values) <= 0:
        return None
    x, y = (np.log(np.asarray(each, dtype=np.float64)) for each in (sizes, values))
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    return slope if math.isfinite(slope) else None
