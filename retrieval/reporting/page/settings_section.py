"""The page's section on the settings of the build and of the evaluation."""

from collections.abc import Iterator, Mapping
from typing import Any

from retrieval.reporting.page.layout import Section, Table
from retrieval.reporting.page.words import Document, count, number, signed, signed_interval, value


def settings(document: Document, build: Mapping[str, Any] | None) -> Section | None:
    """The section with chosen settings, the search over the towers' settings and the build's settings.

    None without any of them.
    """
    chosen = {
        "k": document.get("k"),
        "protocol": document.get("protocol"),
        "positive threshold": document.get("positive_threshold"),
        "index": (document.get("ann") or {}).get("index"),
        "alpha": (document.get("rerank") or {}).get("alpha"),
        **(document.get("baselines") or {}),
    }
    rows = tuple(
        (name.replace("_", " "), _as_text(each)) for name, each in chosen.items() if each is not None
    )
    tables = (
        [Table("Chosen or measured by", ("setting", "value"), rows, words=frozenset({1}))] if rows else []
    )
    if document.get("tuning"):
        tables.append(_tuning(document["tuning"]))
    if build:
        rows = tuple((name, _as_text(each)) for name, each in _flat(build))
        tables.append(Table("The build’s settings", ("setting", "value"), rows, words=frozenset({1})))
    if not tables:
        return None
    return Section(key="settings", title="Settings", text="", plots=(), tables=tuple(tables))


def _tuning(found: Document) -> Table:
    """Table of the search over the towers' settings: trials, gain, and whether they were taken."""
    k, gain = found.get("k"), found.get("gain")
    rows = [
        ("trials", count(found.get("trials"))),
        ("given up half way", count(found.get("pruned"))),
        (f"NDCG@{k} of the settings as given", number(found.get("default"))),
        (f"NDCG@{k} of the best trial", number(found.get("best"))),
        ("paired gain, as the best of many too large", f"{signed(value(gain))} ({signed_interval(gain)})"),
        ("taken", "yes" if found.get("is_chosen") else "no: not more than its standard error"),
    ]
    rows += [(name, _as_text(each)) for name, each in _flat(found.get("settings") or {}, "best trial’s ")]
    return Table("Settings searched on validation", ("figure", "value"), tuple(rows), words=frozenset({1}))


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, each in settings.items():
        if isinstance(each, Mapping):
            yield from _flat(each, f"{before}{name}.")
        else:
            yield before + name, each


def _as_text(each: Any) -> str:
    if isinstance(each, float):
        return f"{each:g}"
    if isinstance(each, (list, tuple)):
        return ", ".join(map(_as_text, each))
    return "none" if each is None else str(each)
