"""Measures the index of a bundle: beside exact search and every other kind, in batches and under filters."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from index import (
    EXACT,
    AnnIndex,
    ExactIndex,
    ItemLists,
    OperatingPoint,
    Workload,
    beside_exact,
    evenly_spread,
    faiss_threads,
    recall_against_exact,
    search_filtered,
    standard_error,
    sweep,
    time_singles,
)
from retrieval.bundles.bundle import Bundle
from retrieval.bundles.fitted_system_files import read_system
from retrieval.bundles.layout import INDEX_CHOICE, REPORT
from retrieval.evaluation.from_bundle import read_test_users
from retrieval.evaluation.index_benchmark.result import (
    BATCH,
    Benchmark,
    FilterPoint,
    NdcgChange,
    pareto_front,
)
from retrieval.evaluation.uncertainty import Estimate
from retrieval.machine import this_machine
from retrieval.progress import Progress, Silent
from retrieval.serving.fitted_system import FittedSystem

Rows = NDArray[np.int64]

ROUNDS = 3  # in which exact search and the index take turns, so that noise slows both alike
BATCH_ROUNDS = 5
FILTER_QUERIES, FILTER_ROUNDS = 64, 2  # timed for each filter; there are a dozen of them
SHARES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
GENRE, LARGEST_GENRES = "genre", 5


@dataclass(frozen=True)
class Subject:
    """The system to measure, with facts from its build.

    Attributes:
        system: fitted on train alone.
        users: rows of the test users, some of whom are the queries.
        dataset: its name.
        bundle: name of the bundle's folder.
        recall_target: that the index was chosen for; None if it was chosen by the loss of NDCG.
        seed: of the build.
        ndcg_change: of the lists, from the build's report; None if it has none.
        pays_from: number of items from which on an index is faster than exact search; None if not known.
    """

    system: FittedSystem
    users: Rows
    dataset: str
    bundle: str
    recall_target: float | None
    seed: int
    ndcg_change: NdcgChange | None
    pays_from: int | None


def read_subject(bundle: Bundle) -> Subject:
    """Read the evaluated part of a bundle.

    Raises:
        ArtifactError: if a file is missing or changed, or the parts do not fit together.
    """
    system = read_system(bundle, "evaluated")
    choice = bundle.json(INDEX_CHOICE)
    return Subject(
        system=system,
        users=read_test_users(bundle, system),
        dataset=bundle.manifest.data.name,
        bundle=bundle.folder.name,
        recall_target=choice["recall_target"],
        seed=bundle.manifest.settings.seed,
        ndcg_change=_ndcg_change(bundle.json(REPORT)),
        pays_from=choice["pays_from"],
    )


def _ndcg_change(report: dict[str, Any]) -> NdcgChange | None:
    """The change of NDCG from `exact` to `ann`; None if no user could be judged."""
    k = report["k"]
    for each in report["comparisons"]:
        difference = each[f"ndcg@{k}"]
        if (each["stage"], each["against"]) == ("ann", "exact") and None not in difference.values():
            return NdcgChange(k, Estimate(**difference))
    return None


def measure(
    subject: Subject, k: int | None, *, queries: int, threads: int, progress: Progress | None = None
) -> Benchmark:
    """Measure the index of a bundle and every other kind on test users, one by one and in batches.

    The items a user has seen are left out, as in serving.

    Args:
        subject: the evaluated part of a bundle.
        k: candidates that a search returns; None: as many as the bundle retrieves.
        queries: at most so many users, drawn by the build's seed; all of them if there are fewer.
        threads: of FAISS while building and in batches; single searches run on one. Exact search takes those
            of BLAS, which are set before numpy is loaded.
        progress: receives the phases.
    """
    progress = Silent() if progress is None else progress
    model = subject.system.model
    ann = model.ann
    users = _sampled(subject.users, queries, subject.seed)
    workload = Workload(
        model.exact,
        model.vectors.users[users],
        model.n_candidates if k is None else k,
        model.seen.take(users),
    )
    swept = sweep(
        model.vectors.items,
        workload.queries,
        workload.k,
        exclude=workload.exclude,
        seed=subject.seed,
        threads=threads,
        say=lambda kind: progress.phase(f"Measuring {kind}"),
    )
    progress.phase("Timing the bundle's index and exact search by turns")
    chosen, exact = _served_points(ann, workload, swept, subject.seed, threads)
    others = (point for point in swept if point.name not in (chosen.name, exact.name))
    points = (*others, chosen, exact)
    progress.phase("Timing batches")
    compared = {point.name: point for point in (*pareto_front(points), chosen, exact)}
    per_second = _batches(ann, workload, tuple(compared.values()), subject.seed, threads)
    progress.phase("Filtering")
    allowed = _allowed_sets(subject.system, subject.seed)
    filters = tuple(_filtered(ann, workload, *each) for each in allowed)
    return Benchmark(
        dataset=subject.dataset,
        bundle=subject.bundle,
        machine=this_machine(),
        threads=threads,
        seed=subject.seed,
        items=model.exact.size,
        dimension=model.exact.dimension,
        k=min(workload.k, model.exact.size),
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
    """At most `most` of the users, drawn by the seed, ascending."""
    if len(users) <= most:
        return users
    return np.sort(np.random.default_rng(seed).choice(users, most, replace=False))


def _served_points(
    ann: AnnIndex, workload: Workload, swept: Sequence[OperatingPoint], seed: int, threads: int
) -> tuple[OperatingPoint, OperatingPoint]:
    """Measure the bundle's index, and exact search over the same vectors."""
    twin = next((each for each in swept if each.factory == ann.factory), None)
    if twin is None:
        seconds = _build_seconds(ann.factory, workload.exact.vectors, seed, threads)
        return beside_exact(ann, workload, ROUNDS, seconds)
    chosen, exact = beside_exact(ann, workload, ROUNDS, twin.build_seconds)
    return replace(chosen, family=twin.family), exact


def _build_seconds(factory: str, vectors: NDArray[np.float32], seed: int, threads: int) -> float:
    start = perf_counter()
    AnnIndex.build(vectors, factory, seed=seed, threads=threads)
    return perf_counter() - start


def _median_and_p99(milliseconds: NDArray[np.float64]) -> tuple[float, float]:
    p50, p99 = np.percentile(milliseconds, (50, 99))
    return float(p50), float(p99)


def _batches(
    ann: AnnIndex, workload: Workload, points: Sequence[OperatingPoint], seed: int, threads: int
) -> dict[str, float]:
    """Queries per second of each point, by name; each kind is built once more."""
    lines = np.resize(np.arange(len(workload)), BATCH)  # users repeat if there are fewer
    batch, kinds, found = workload.take(lines), {ann.factory: ann}, {}
    for each in points:
        index: AnnIndex | ExactIndex = workload.exact
        if each.factory != EXACT:
            if each.factory not in kinds:
                vectors = workload.exact.vectors
                kinds[each.factory] = AnnIndex.build(vectors, each.factory, seed=seed, threads=threads)
            index = kinds[each.factory].with_settings(each.settings)
        with faiss_threads(threads):
            found[each.name] = BATCH / _batch_seconds(index, batch)
    return found


def _batch_seconds(index: AnnIndex | ExactIndex, batch: Workload) -> float:
    """Median seconds of a search for all queries at once."""
    seconds = []
    for _ in range(1 + BATCH_ROUNDS):
        start = perf_counter()
        _search(index, batch, None)
        seconds.append(perf_counter() - start)
    return float(np.median(seconds[1:]))  # the first one warms up


def _filtered(
    ann: AnnIndex, workload: Workload, label: str, kind: Literal["random", "genre"], allowed: Rows
) -> FilterPoint:
    """Measure searches that may return only these rows, ascending."""
    recalls = recall_against_exact(
        _search(ann, workload, allowed), _search(workload.exact, workload, allowed)
    )
    lines = evenly_spread(len(workload), FILTER_QUERIES)
    singles = [workload.take(np.array([line])) for line in lines.tolist()]

    def times(index: AnnIndex | ExactIndex) -> NDArray[np.float64]:
        return 1e3 * time_singles(lambda i: _search(index, singles[i], allowed), len(singles), 1)

    with faiss_threads(1):
        by_turns = np.asarray([(times(ann), times(workload.exact)) for _ in range(FILTER_ROUNDS)])
    return FilterPoint(
        label,
        kind,
        len(allowed),
        len(allowed) / ann.size,
        float(recalls.mean()),
        standard_error(recalls),
        *_median_and_p99(by_turns[:, 0]),
        *_median_and_p99(by_turns[:, 1]),
    )


def _search(index: AnnIndex | ExactIndex, asked: Workload, allowed: Rows | None) -> Rows:
    """Search as serving does: rows of shape (q, k), padded with -1."""
    exclude = ItemLists.empty(len(asked)) if asked.exclude is None else asked.exclude
    return search_filtered(index, asked.exact, asked.queries, asked.k, exclude, allowed=allowed).result.rows


def _allowed_sets(system: FittedSystem, seed: int) -> list[tuple[str, Literal["random", "genre"], Rows]]:
    """Sets of allowed rows with label and kind: random ones, each a part of the one before, and genres."""
    n_items = len(system.items)
    order = np.random.default_rng(seed).permutation(n_items)
    sizes = {max(1, round(share * n_items)): f"{100 * share:g}%" for share in SHARES}
    found: list[tuple[str, Literal["random", "genre"], Rows]] = [
        (label, "random", np.sort(order[:size])) for size, label in sizes.items()
    ]
    genres = system.attributes.columns.get(GENRE)
    if genres is None:
        return found
    largest = np.argsort(-genres.rows.lengths(), kind="stable")[:LARGEST_GENRES]
    names = genres.values.ids
    return found + [
        (str(names[place]), "genre", genres.rows.of(place).astype(np.int64)) for place in largest.tolist()
    ]
