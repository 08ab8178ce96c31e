"""Joins the results of `benchmark_index.py`, and shows them as tables and as a picture."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from index_measuring import growth

from retrieval.errors import DataError
from retrieval.reporting.text.tables import format_table

Document = dict[str, Any]
EXACT, OURS, OURS_SMALL, OURS_EXACT = "FAISS Flat", "ours", "ours, half memory", "ours, exact"
SAME = ("machine", "recall_target", "k", "seed")  # what runs must share to be joined


def joined(documents: Sequence[Document]) -> Document:
    """The runs of several documents in one, by kind and size.

    Raises:
        DataError: if they are of different machines, libraries or targets, or one run is in two of them.
    """
    first = documents[0]
    for other in documents[1:]:
        for key in SAME:
            if other[key] != first[key]:
                raise DataError(
                    f"--merge: {key} is {other[key]} in one file and {first[key]} in another; "
                    "expected runs of one machine with the same options"
                )
    runs = [run for document in documents for run in document["runs"]]
    seen: set[tuple[str, int]] = set()
    for run in runs:
        if (run["kind"], run["size"]) in seen:
            raise DataError(f"--merge: {run['kind']} at {run['size']:,} is in two files; expected it in one")
        seen.add((run["kind"], run["size"]))
    left_out = sorted({name for document in documents for name in document["left_out"]})
    return {**first, "left_out": left_out, "runs": sorted(runs, key=lambda run: (run["kind"], run["size"]))}


def with_growth(found: Document) -> Document:
    """The document with exponents for every kind and library: of latency where the target was met."""
    exponents: dict[str, dict[str, Document]] = {}
    for kind in dict.fromkeys(run["kind"] for run in found["runs"]):
        of_kind = [run for run in found["runs"] if run["kind"] == kind]
        exponents[kind] = {}
        for name in libraries(of_kind):
            pairs = entries_of(of_kind, name)
            met = [(run, entry) for run, entry in pairs if entry["met"]]
            sizes = [run["size"] for run, _ in pairs]
            exponents[kind][name] = {
                "latency": growth([run["size"] for run, _ in met], [entry["p50_ms"] for _, entry in met]),
                "bytes": growth(sizes, [run["size"] * entry["bytes_per_item"] for run, entry in pairs]),
                "build": growth(sizes, [entry["build_seconds"] for _, entry in pairs]),
            }
    return {**found, "growth": exponents}


def text(found: Document) -> str:
    """The results as text: what was measured, a table for every kind and size, growth."""
    machine = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    head = (
        f"{machine['cpu']}, one core, top {found['k']}, one query at a time\n"
        f"each at its fastest setting of recall >= {found['recall_target']} on the queries that choose; "
        f"figures are of others\nours/it: our p50 by that of the index in the line\n{versions}"
    )
    left_out = [f"left out: {', '.join(found['left_out'])}"] if found["left_out"] else []
    kinds = dict.fromkeys(run["kind"] for run in found["runs"])
    return "\n\n".join(
        [
            head,
            *left_out,
            *map(_run, found["runs"]),
            *(_growth(found, kind) for kind in kinds if _sizes(found, kind) > 1),
        ]
    )


def _run(run: Document) -> str:
    entries = run["entries"]
    our_p50 = next((each["p50_ms"] for each in entries if each["library"] == OURS), None)
    lines = [
        [
            each["library"],
            f"{each['recall']:.3f}{'' if each['met'] else ' missed'}",
            f"{each['p50_ms']:.3f}",
            f"{each['p99_ms']:.3f}",
            _or_dash(our_p50 and our_p50 / each["p50_ms"]),
            f"{each['build_seconds']:.1f}",
            f"{each['bytes_per_item']:.0f}",
        ]
        for each in entries
    ]
    header = ["index", "recall", "p50 ms", "p99 ms", "ours/it", "build s", "B/item"]
    title = (
        f"{run['kind']}, {run['size']:,} x {run['dimension']} ({4 * run['dimension']} B an item), "
        f"{run['held_out']} held-out queries"
    )
    settings = [f"  {each['library']}: {_setting(each)}" for each in entries]
    failed = [f"{name}: {reason}" for name, reason in run["failed"].items()]
    table = format_table(header, lines, right=range(1, len(header)), shrink=(0,))
    return "\n".join([title, table, *_exact(run), *settings, *failed])


def _setting(entry: Document) -> str:
    besides = f"; tuned in {entry['tuning_seconds']:.0f} s besides" if "tuning_seconds" in entry else ""
    return f"{entry['setting'] or 'nothing to set'}{besides}"


def _exact(run: Document) -> list[str]:
    """A line that compares our exact search with FAISS'."""
    by_name = {each["library"]: each for each in run["entries"]}
    if EXACT not in by_name or OURS_EXACT not in by_name:
        return []
    share = by_name[OURS_EXACT]["p50_ms"] / by_name[EXACT]["p50_ms"]
    return [f"exact, single query: ours takes {share:.2f} of {EXACT}'s time"]


def _sizes(found: Document, kind: str) -> int:
    return sum(run["kind"] == kind for run in found["runs"])


def _growth(found: Document, kind: str) -> str:
    runs = [run for run in found["runs"] if run["kind"] == kind]
    lines = []
    for name in libraries(runs):
        times = {run["size"]: entry for run, entry in entries_of(runs, name)}
        shown = [
            f"{times[run['size']]['p50_ms']:.3f}{'' if times[run['size']]['met'] else '*'}"
            if run["size"] in times
            else "-"
            for run in runs
        ]
        exponents = found["growth"][kind][name]
        lines.append([name, *shown, *(_or_dash(exponents[each]) for each in ("latency", "bytes", "build"))])
    header = ["p50 ms at", *(f"{run['size']:,}" for run in runs), "latency", "bytes", "build"]
    note = "the last three: b of size ** b; * misses the target, so is no part of latency's b"
    return f"{kind}, growth\n{format_table(header, lines, right=range(1, len(header)), shrink=(0,))}\n{note}"


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def libraries(runs: Iterable[Document]) -> list[str]:
    """Every name once, in the order of the tables."""
    return list(dict.fromkeys(entry["library"] for run in runs for entry in run["entries"]))


def entries_of(runs: Iterable[Document], library: str) -> list[tuple[Document, Document]]:
    """(run, entry) of one library, where it took part."""
    return [(run, entry) for run in runs for entry in run["entries"] if entry["library"] == library]


COLOURS = {
    OURS: "#d1495b",
    OURS_SMALL: "#e58a94",
    OURS_EXACT: "#8c2f3c",
    EXACT: "#6c757d",
    "FAISS HNSW32": "#2e86ab",
    "FAISS IVF": "#7fb7d1",
    "hnswlib": "#3c8d5a",
    "usearch": "#c98a1b",
    "ScaNN, 2 sqrt n": "#7b5ea7",
    "ScaNN, 4 sqrt n": "#b39bd0",
}


def draw(found: Document, path: Path) -> None:
    """Latency against size, a panel a kind, and below it recall against latency at the largest size."""
    import matplotlib
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(run["kind"] for run in found["runs"]))
    with matplotlib.rc_context({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10}):
        figure = Figure(figsize=(1.2 + 5.4 * len(kinds), 9.2), dpi=150, layout="constrained")
        panels = figure.subplots(2, len(kinds), squeeze=False)
        for column, kind in enumerate(kinds):
            runs = [run for run in found["runs"] if run["kind"] == kind]
            _draw_sizes(panels[0][column], kind, runs)
            _draw_recall(panels[1][column], runs[-1], found["recall_target"])
        handles = {
            label: handle
            for panel in panels.flat
            for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, frameon=False)
        figure.suptitle(
            f"Top {found['k']} by inner product, one query at a time, one core of {found['machine']['cpu']}\n"
            f"each at its fastest setting of recall >= {found['recall_target']} (hollow: no setting is)"
        )
        figure.savefig(path)


def _draw_sizes(axes: Any, kind: str, runs: Sequence[Document]) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    for name in libraries(runs):
        pairs, colour = entries_of(runs, name), COLOURS.get(name, "#000000")
        met = [(run["size"], entry["p50_ms"]) for run, entry in pairs if entry["met"]]
        missed = [(run["size"], entry["p50_ms"]) for run, entry in pairs if not entry["met"]]
        thick = 2.8 if name == OURS else 1.4
        axes.plot(*_columns(met), color=colour, linewidth=thick, marker="o", markersize=5, label=name)
        axes.plot(*_columns(missed), "o", color="white", markeredgecolor=colour, zorder=3)
    axes.set(xscale="log", xlabel="items", title=kind)
    sizes = [run["size"] for run in runs]
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{size // 1000}k" if size < 1_000_000 else f"{size / 1e6:g}M" for size in sizes])
    _finish(axes)


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _finish(axes: Any) -> None:
    """Milliseconds on a logarithmic axis, as plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set(yscale="log", ylabel="p50 of a query, ms")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.25)


def _draw_recall(axes: Any, run: Document, target: float) -> None:
    """1 - recall on a logarithmic axis that falls to the right, so that better is right and down."""
    for entry in run["entries"]:
        name, colour = entry["library"], COLOURS.get(entry["library"], "#000000")
        points = front(entry["trials"])
        if not points:
            continue
        missing = [max(1 - recall, 1e-3) for recall, _ in points]
        times, thick = [time for _, time in points], 2.8 if name == OURS else 1.4
        axes.plot(missing, times, color=colour, linewidth=thick, marker=".", label=name)
    axes.axvline(1 - target, color="#444444", linewidth=1, linestyle="--", zorder=1)
    axes.set(xscale="log", xlim=(0.5, 0.9e-3), xlabel=f"recall at {run['size']:,} items")
    shown = (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)
    names = [f"{each:g}" for each in shown[:-1]] + ["0.999 to 1"]
    axes.set_xticks([1 - each for each in shown], names)
    axes.set_xticks([], minor=True)
    _finish(axes)


def front(trials: Sequence[Document]) -> list[tuple[float, float]]:
    """(recall, ms) of the trials that no other beats in both, of rising recall."""
    best: list[tuple[float, float]] = []
    timed = (trial for trial in trials if trial["recall"] > 0)
    for trial in sorted(timed, key=lambda each: (-each["recall"], each["p50_ms"])):
        if not best or trial["p50_ms"] < best[-1][1]:
            best.append((trial["recall"], trial["p50_ms"]))
    return best[::-1]
