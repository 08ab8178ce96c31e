"""An index benchmark as text: Pareto front, kinds of index, filters, and a verdict in words."""

import math

from index import OperatingPoint
from retrieval.evaluation.comparisons import verdict
from retrieval.evaluation.index_benchmark.result import BATCH, LOWEST_RECALL, Benchmark, compare_speed
from retrieval.reporting.text.figures import percent, short_count, signed, signed_interval
from retrieval.reporting.text.tables import format_table, shorten, wrap

FRONT, CHOSEN = "*", ">"
LONGEST_LABEL = 16


def benchmark_text(found: Benchmark) -> str:
    """Everything that `benchmark` prints without --json: at most 80 columns."""
    return "\n\n".join((_heading(found), _points(found), _kinds(found), _filters(found), _words(found)))


def _heading(found: Benchmark) -> str:
    machine = found.machine
    facts = (
        f"{found.items:,} items of {found.dimension} numbers, the best {found.k:,} of them for "
        f"{_count(found.queries, 'user')} of test, one at a time, their items of train left out; "
        f"{_count(found.threads, 'thread')}, {machine.processor}, {_count(machine.cores, 'core')}"
    )
    return f"{shorten(found.dataset, 50)}: recall against latency\n{wrap(f'  {facts}')}"


def _points(found: Benchmark) -> str:
    """Table of the Pareto front, the bundle's index and exact search, fastest first."""
    front = {point.name for point in found.front}
    named = {point.name: point for point in (*found.front, found.chosen, found.exact)}
    low = [name for name, point in named.items() if point.recall < LOWEST_RECALL and point != found.chosen]
    rows = [
        [
            (FRONT if point.name in front else " ") + (CHOSEN if point.name == found.chosen.name else ""),
            point.name.replace(" nprobe=", " n=").replace(" k_factor=", " k×"),
            recall_text(point.recall),
            ms(point.p50_ms),
            ms(point.p99_ms),
            short_count(found.per_second.get(point.name, math.nan)),
        ]
        for point in sorted(named.values(), key=_time)
        if point.name not in low
    ]
    table = format_table(["", "index", "recall", "p50", "p99", "q/s"], rows, [2, 3, 4, 5], shrink=[1])
    front_from = f", from recall {LOWEST_RECALL:g} on" if low else ""
    legend = (
        f"{CHOSEN} this bundle's index. {FRONT} Pareto front: nothing finds more in less time{front_from}. "
        "p50, p99: ms of one query. n: nprobe, lists looked at. k×: candidates scored again, in k. "
        f"q/s: {BATCH} at once. The JSON has all {len(found.points):,} settings measured."
    )
    return f"{table}\n{wrap(legend)}"


def _kinds(found: Benchmark) -> str:
    """Table of each kind's memory, build time and fastest setting that meets the target."""
    target = recall_text(found.enough) if found.recall_target is None else f"{found.recall_target:g}"
    rows = []
    for factory in dict.fromkeys(point.factory for point in found.points):
        settings = [point for point in found.points if point.factory == factory]
        meeting = [point for point in settings if point.recall >= found.enough]
        best = min(meeting, key=_time) if meeting else max(settings, key=lambda point: point.recall)
        rows.append(
            [
                factory,
                f"{best.bytes_per_item:,.0f}",
                f"{best.build_seconds:.2f}",
                ms(best.p50_ms) if meeting else "-",
                recall_text(best.recall),
            ]
        )
    header = ["kind", "bytes/item", "build s", f"ms at {target}", "recall"]
    legend = (
        f"ms at {target}: p50 of the fastest setting with that recall; -: none has, recall is the highest."
    )
    return f"{format_table(header, rows, right=[1, 2, 3, 4], shrink=[0])}\n{wrap(legend)}"


def _filters(found: Benchmark) -> str:
    rows = [
        [
            shorten(point.label, LONGEST_LABEL),
            f"{point.items:,}",
            percent(point.share),
            recall_text(point.recall),
            *map(ms, (point.p50_ms, point.p99_ms, point.exact_p50_ms, point.exact_p99_ms)),
        ]
        for point in found.filters
    ]
    header = ["allowed", "items", "share", "recall", "p50 ms", "p99 ms", "exact p50", "p99"]
    genres = " or all of a genre" if any(point.kind == "genre" for point in found.filters) else ""
    legend = (
        f"Only these items may be answered, so many drawn at random{genres}: this bundle's index as it "
        "serves, and exact search."
    )
    return f"{format_table(header, rows, right=[1, 2, 3, 4, 5, 6, 7])}\n{wrap(legend)}"


def _words(found: Benchmark) -> str:
    return "\n".join(wrap(text) for text in (_verdict(found), *_faster(found), *_ndcg(found)))


def _verdict(found: Benchmark) -> str:
    """Whether the index pays here, by what factor, and what it finds."""
    chosen, exact = found.chosen, found.exact
    speed, meets = found.speed, chosen.recall >= found.enough
    times = f"{ms(chosen.p50_ms)} ms against {ms(exact.p50_ms)} ms (median)"
    if speed.verdict == "faster":
        pays = "The index pays here" if meets else "The index is faster, but finds too little"
        answer = f"{pays}: {chosen.name} is {speed.times:.1f} times as fast as exact search, {times}."
    elif speed.verdict == "level":
        answer = f"The index is no faster than exact search here: {chosen.name}, {times}."
    else:
        answer = f"Exact search is faster here, {speed.times:.1f} times as fast as {chosen.name}: {times}."
    target = ""
    if found.recall_target is not None:
        target = f"; the target is {100 * found.recall_target:g}%{'' if meets else ', which it MISSES here'}"
    finds = (
        f"The index finds {chosen.recall:.1%} (standard error {chosen.recall_error:.1%}) of the exact top "
        f"{found.k:,}{target}."
    )
    served = " Exact search is what this bundle answers by." if found.serves == "exact" else ""
    pays_from = ""
    if found.pays_from is not None and found.items < found.pays_from:
        pays_from = f" Enlarged to {found.pays_from:,} items, an index was faster where this was built."
    return f"{answer}{served}{pays_from} {finds}"


def _faster(found: Benchmark) -> list[str]:
    """The fastest setting with enough recall, if it is clearly faster than the one that serves."""
    answers = found.chosen if found.serves == "ann" else found.exact
    best = min((point for point in found.points if point.recall >= found.enough), key=_time)
    if best == found.exact or compare_speed(best.p50_ms, answers.p50_ms).verdict != "faster":
        return []
    return [
        f"Fastest with that recall in this run: {best.name}, recall {recall_text(best.recall)} in "
        f"{ms(best.p50_ms)} ms. The fastest of many is lucky too; build-index confirms its choice on users "
        "it did not choose with."
    ]


def _ndcg(found: Benchmark) -> list[str]:
    change = found.ndcg_change
    if change is None:
        return []
    difference = change.difference
    return [
        f"In the lists people get the index changes NDCG@{change.k} against exact search by "
        f"{signed(difference.value)}, 95% interval {signed_interval(difference)}: {verdict(difference)} "
        "(all judged users, from the bundle's report)."
    ]


def _time(point: OperatingPoint) -> float:
    return point.p50_ms


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def recall_text(recall: float) -> str:
    """Recall to four digits, cut, not rounded, so that only complete recall is 1.

    >>> recall_text(0.99999), recall_text(0.95), recall_text(1.0)
    ('.9999', '.9500', '1')
    """
    return "1" if recall >= 1 else f"{math.floor(recall * 1e4 + 1e-6) / 1e4:.4f}"[1:]


def ms(value: float) -> str:
    """Milliseconds to about three digits: 0.055, 1.23, 12.3, 1,234."""
    digits = 3 if value < 0.9995 else 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:,.{digits}f}"
