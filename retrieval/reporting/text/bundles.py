"""Bundles as text: the list of all, and one in detail."""

import math
from collections.abc import Sequence
from typing import Any

from retrieval.bundles.manifest import Manifest
from retrieval.bundles.memory import MEBIBYTE
from retrieval.bundles.registry import Entry
from retrieval.reporting.text.figures import share
from retrieval.reporting.text.tables import format_table, printable, wrap


def entry_json(entry: Entry) -> dict[str, Any]:
    """The summary of a bundle, as plain JSON types."""
    manifest = entry.manifest
    return {
        "name": entry.name,
        "state": entry.state,
        "created": manifest and manifest.created,
        "data": manifest and manifest.data._asdict(),
        "validation": manifest and manifest.validation._asdict(),
        "changes": 0 if manifest is None else len(manifest.changes),
        "bytes": entry.n_bytes,
        "problem": entry.problem,
    }


def list_text(entries: Sequence[Entry]) -> str:
    """Everything that `bundles list` prints."""
    header = ["name", "state", "data", "rows", "NDCG@10", "MiB"]
    text = format_table(header, [_line(entry) for entry in entries], right=[3, 4, 5], shrink=[2])
    words = "NDCG@10: of the served lists on validation. Times in names are UTC."
    if any(entry.manifest and entry.manifest.changes for entry in entries):
        words += " +1: the catalogue was changed once since the build."
    lines = [text, "", wrap(words)]
    unreadable = [entry for entry in entries if entry.problem]
    lines += [wrap(printable(f"{entry.name}: {entry.problem}")) for entry in unreadable]
    return "\n".join(lines)


def _line(entry: Entry) -> list[str]:
    manifest = entry.manifest
    if manifest is None:
        return [entry.name, entry.state, "", "", "", ""]
    changes = len(manifest.changes)
    changed = f" +{changes}" if changes else ""
    return [
        entry.name,
        entry.state,
        f"{manifest.data.name}{changed}",
        f"{manifest.data.rows:,}",
        share(manifest.validation.value),
        mebibytes(entry.n_bytes),
    ]


def show_text(entry: Entry, manifest: Manifest, report: dict[str, Any], model: dict[str, Any]) -> str:
    """Everything that `bundles show` prints of a bundle.

    Args:
        report: the bundle's report.json.
        model: its served/model.json.
    """
    data, split, validation = manifest.data, manifest.split, manifest.validation
    counts, settings, index = split.counts, manifest.settings, model["index"]
    served = report["served"]
    scores = report["stages"][served]
    test = ", ".join(
        f"{name} {_share(scores[key]['value'])} ({_share(scores[key]['low'])}-{_share(scores[key]['high'])})"
        for name, key in (("P@10", "precision@10"), ("R@10", "recall@10"), ("NDCG@10", "ndcg@10"))
    )
    searched = ", ".join(f"{name}={value}" for name, value in index["settings"].items() if value is not None)
    rows = [
        ("bundle", f"{entry.name}, {entry.state}"),
        ("built", f"{manifest.created[:19].replace('T', ' ')} UTC, build id {manifest.build_id[:12]}"),
        ("data", f"{data.name}, {data.rows:,} rows, digest {data.sha256[:12]}"),
        (
            "split",
            f"by {split.kind}: {counts.train:,} rows to train, {counts.validation:,} to validate, "
            f"{counts.test:,} to test",
        ),
        ("validation", f"NDCG@10 {share(validation.value)}, {validation.users:,} users"),
        ("test", f"{served}: {test}"),
        ("serves", f"{model['serves']} search; index {index['factory']} {searched}".rstrip()),
        ("repeat", f"seed {settings.seed}, threads {settings.threads}"),
    ]
    gate = manifest.gate
    if gate is not None and gate.current is not None:
        word = "held back" if gate.held else "passed"
        rows.append(
            (
                "gate",
                f"{word}: {share(gate.new)} beside {share(gate.current)} of {gate.against}, "
                f"{gate.max_regression:g} less allowed",
            )
        )
    for change in manifest.changes:
        rows.append(("change", f"{change.at} {change.what}, {change.items:,} items"))
    rows.append(("files", f"{len(manifest.files)}, {mebibytes(entry.n_bytes)} MiB"))
    width = max(len(name) for name, _ in rows)
    return "\n".join(wrap(printable(f"{name:<{width}}  {text}")) for name, text in rows)


def whole_text(entry: Entry) -> str:
    """The line of `bundles verify` for an undamaged bundle."""
    files = 0 if entry.manifest is None else len(entry.manifest.files)
    return f"{entry.name}: whole, {files} files, {mebibytes(entry.n_bytes)} MiB"


def _share(value: float | None) -> str:
    return share(math.nan if value is None else value)


def mebibytes(n_bytes: int) -> str:
    """A size in MiB, without the unit."""
    return f"{n_bytes / MEBIBYTE:,.1f}"
