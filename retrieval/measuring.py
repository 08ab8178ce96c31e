"""Measure the index of a bundle: beside exact search, every other kind, in batches and under filters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from index import (
    AnnIndex,
    ExactIndex,
    ItemLists,
    OperatingPoint,
    SearchSettings,
    faiss_threads,
    measure_filtered_latency,
    recall_against_exact,
    search_filtered,
    sweep,
    time_singles,
)
from retrieval.benchmark import BATCH, Benchmark, FilterPoint, NdcgChange, pareto_front, this_machine
from retrieval.bundle import Bundle
from retrieval.fitted import FittedSystem
from retrieval.progress import Progress, Silent
from retrieval.storage import REPORT, read_system, read_test_users
from retrieval.two_stage import TwoStageModel
from retrieval.uncertainty import Estimate, standard_error

Rows = NDArray[np.int64]
Milliseconds = NDArray[np.float64]

ROUNDS = 3  # in which exact search and the index are timed by turns, so that noise hits both alike
BATCH_ROUNDS = 5
FILTER_QUERIES, FILTER_ROUNDS = 64, 2  # timed for each filter; there are a dozen of them
SHARES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
GENRE, LARGEST_GENRES = "genre", 5


@dataclass(frozen=True)
class Subject:
    """What is measured, and what its build said of it.

    Attributes:
        system: fitted on train alone.
        users: rows of the users of test, of whom some are asked for.
        bundle: name of its folder.
        recall_target: what the index was chosen for.
        seed: of the build.
        pays_from: from how many items on an index is faster than exact search; None where not known.
    """

    system: FittedSystem
    users: Rows
    dataset: str
    bundle: str
    recall_target: float
    seed: int
    ndcg_change: NdcgChange | None
    pays_from: int | None = None


def read_subject(bundle: Bundle) -> Subject:
    """The evaluated part of a bundle.

    Raises:
        ArtifactError: if a file is missing or changed, or the parts do not fit together.
    """
    system = read_system(bundle, "evaluated")
    settings = bundle.manifest["settings"]
    return Subject(
        system=system,
        users=read_test_users(bundle, system),
        dataset=bundle.manifest["data"]["name"],
        bundle=bundle.folder.name,
        recall_target=float(settings["recall_target"]),
        seed=int(settings["seed"]),
        ndcg_change=_ndcg_change(bundle.json(REPORT)),
    )


def _ndcg_change(report: dict[str, Any]) -> NdcgChange | None:
    """That of `ann` against `exact`; None where nobody could be judged."""
    k = report["k"]
    for each in report["comparisons"]:
        difference = each[f"ndcg@{k}"]
        if (each["stage"], each["against"]) == ("ann", "exact") and None not in difference.values():
            return NdcgChange(k, Estimate(**difference))
    return None


def measure(
    subject: Subject, k: int | None, *, queries: int, threads: int, progress: Progress | None = None
) -> Benchmark:
    """Measure everything, with `queries` of the test users, one by one and in batches.

    Their seen items are left out, as in serving.

    Args:
        k: candidates a search returns; as many as the bundle retrieves unless given.
        queries: at most so many users, drawn by the build's seed; all of them where there are fewer.
        threads: of FAISS; those of BLAS, which exact search uses, are set before numpy is loaded.
    """
    progress = Silent() if progress is None else progress
    model = subject.system.model
    k = model.n_candidates if k is None else k
    users = _sampled(subject.users, queries, subject.seed)
    asked = _Asked(model, model.vectors.users[users], model.seen.take(users), k)
    with faiss_threads(threads):
        progress.phase(f"Measuring every kind of index on {len(users):,} users")
        swept = sweep(
            model.vectors.items, asked.queries, k, exclude=asked.exclude, seed=subject.seed, threads=threads
        )
        progress.phase("Timing exact search and the bundle's index by turns")
        chosen, exact = _served_points(asked, swept, subject.seed, threads)
        others = (point for point in swept if point.name not in (chosen.name, exact.name))
        points = (*others, chosen, exact)
        progress.phase("Timing batches")
        compared = {point.name: point for point in (*pareto_front(points), chosen, exact)}
        per_second = _batches(asked, tuple(compared.values()), subject.seed, threads)
        progress.phase("Filtering")
        filters = tuple(asked.filtered(*allowed) for allowed in _allowed_sets(subject.system, subject.seed))
    return Benchmark(
        dataset=subject.dataset,
        bundle=subject.bundle,
        machine=this_machine(),
        threads=threads,
        seed=subject.seed,
        items=model.exact.size,
        dimension=model.exact.dimension,
        k=min(k, model.exact.size),
        queries=len(users),
        recall_target=subject.recall_target,
        serves=model.serves,
        points=points,
        chosen=chosen,
        exact=exact,
        per_second=per_second,
        filters=filters,
        ndcg_change=subject.ndcg_change,
        pays_from=subject.pays_from,
    )


def _sampled(users: Rows, most: int, seed: int) -> Rows:
    """At most so many of them, ascending."""
    if len(users) <= most:
        return users
    return np.sort(np.random.default_rng(seed).choice(users, most, replace=False))


@dataclass(frozen=True, eq=False)
class _Asked:
    """A model, and what it is asked: shape (q, d) vectors, each without the items of its list, for k."""

    model: TwoStageModel
    queries: NDArray[np.float32]
    exclude: ItemLists
    k: int

    def milliseconds(self, index: AnnIndex | ExactIndex) -> Milliseconds:
        """Of each query, one after the other: shape (1, q)."""
        asked = (self.model.exact, self.queries, self.k, self.exclude)
        return 1e3 * measure_filtered_latency(index, *asked, repeats=1)

    def recalls(self) -> NDArray[np.float64]:
        """Share of the exact candidates that the model's index finds by itself: shape (q,)."""
        asked = (self.model.exact, self.queries, self.k, self.exclude)
        own = search_filtered(self.model.ann, *asked, rescue=False).result.rows
        return recall_against_exact(own, search_filtered(self.model.exact, *asked).result.rows)

    def batch_seconds(self, index: AnnIndex | ExactIndex) -> float:
        """Median time of `BATCH` queries at once; the users come again where there are fewer."""
        lines = np.resize(np.arange(len(self.queries)), BATCH)
        queries, exclude = self.queries[lines], self.exclude.take(lines)
        seconds = []
        for _ in range(1 + BATCH_ROUNDS):
            start = perf_counter()
            search_filtered(index, self.model.exact, queries, self.k, exclude)
            seconds.append(perf_counter() - start)
        return float(np.median(seconds[1:]))  # the first one warms up

    def filtered(self, label: str, kind: Literal["random", "genre"], allowed: Rows) -> FilterPoint:
        """What it costs to allow only these rows, ascending."""
        model = self.model
        timed = np.unique(
            np.linspace(0, len(self.queries) - 1, min(FILTER_QUERIES, len(self.queries))).astype(np.int64)
        )
        singles = [(self.queries[[line]], self.exclude.take(np.array([line]))) for line in timed.tolist()]

        def search(index: AnnIndex | ExactIndex, queries: Any, exclude: ItemLists) -> Rows:
            return search_filtered(index, model.exact, queries, self.k, exclude, allowed=allowed).result.rows

        def times(index: AnnIndex | ExactIndex) -> Milliseconds:
            return 1e3 * time_singles(lambda i: search(index, *singles[i]), len(singles), repeats=1)

        recalls = recall_against_exact(
            search(model.ann, self.queries, self.exclude), search(model.exact, self.queries, self.exclude)
        )
        ann, exact = _by_turns([lambda: times(model.ann), lambda: times(model.exact)], FILTER_ROUNDS)
        return FilterPoint(
            label,
            kind,
            len(allowed),
            len(allowed) / model.exact.size,
            float(recalls.mean()),
            standard_error(recalls),
            *_median_and_p99(ann),
            *_median_and_p99(exact),
        )


def _by_turns(measures: Sequence[Callable[[], Milliseconds]], rounds: int) -> list[Milliseconds]:
    """What each gives, all rounds together."""
    found = [[each() for each in measures] for _ in range(rounds)]
    return [np.concatenate([np.ravel(each) for each in column]) for column in zip(*found, strict=True)]


def _median_and_p99(milliseconds: Milliseconds) -> tuple[float, float]:
    p50, p99 = np.percentile(milliseconds, (50, 99))
    return float(p50), float(p99)


def _served_points(
    asked: _Asked, swept: Sequence[OperatingPoint], seed: int, threads: int
) -> tuple[OperatingPoint, OperatingPoint]:
    """The bundle's index, and exact search over the same vectors."""
    model = asked.model
    ann, recalls = model.ann, asked.recalls()
    build_seconds = next((point.build_seconds for point in swept if point.factory == ann.factory), None)
    if build_seconds is None:
        start = perf_counter()
        AnnIndex.build(model.vectors.items, ann.factory, seed=seed, threads=threads)
        build_seconds = perf_counter() - start
    ann_times, exact_times = _by_turns(
        [lambda: asked.milliseconds(ann), lambda: asked.milliseconds(model.exact)], ROUNDS
    )
    chosen = OperatingPoint(
        ann.factory,
        ann.settings,
        float(recalls.mean()),
        standard_error(recalls),
        *_median_and_p99(ann_times),
        bytes_per_item=ann.n_bytes / ann.size,
        build_seconds=build_seconds,
        is_exact=False,
    )
    exact = OperatingPoint(
        model.exact.name,
        SearchSettings(),
        1.0,
        0.0,
        *_median_and_p99(exact_times),
        bytes_per_item=float(model.vectors.items.nbytes / model.exact.size),
        build_seconds=0.0,
        is_exact=True,
    )
    return chosen, exact


def _batches(asked: _Asked, points: Sequence[OperatingPoint], seed: int, threads: int) -> dict[str, float]:
    """Queries/s of each point, by name; each kind is built once more."""
    model, kinds = asked.model, {asked.model.ann.factory: asked.model.ann}
    found = {}
    for point in points:
        index: AnnIndex | ExactIndex = model.exact
        if point.factory != model.exact.name:
            if point.factory not in kinds:
                kinds[point.factory] = AnnIndex.build(
                    model.vectors.items, point.factory, seed=seed, threads=threads
                )
            index = kinds[point.factory].with_settings(point.settings)
        found[point.name] = BATCH / asked.batch_seconds(index)
    return found


def _allowed_sets(system: FittedSystem, seed: int) -> list[tuple[str, Literal["random", "genre"], Rows]]:
    """Label, kind and ascending rows of each: random ones, each a part of the one before, and genres."""
    n_items = len(system.items)
    order = np.random.default_rng(seed).permutation(n_items)
    sizes = {max(1, round(share * n_items)): f"{100 * share:g}%" for share in SHARES}
    return [(label, "random", np.sort(order[:size])) for size, label in sizes.items()]
