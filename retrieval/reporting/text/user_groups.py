"""The report's groups of users as text: NDCG by group, and where a baseline is better."""

from typing import TYPE_CHECKING

from retrieval.evaluation.report import Report
from retrieval.evaluation.stages import stage_name
from retrieval.reporting.text.figures import share, short_count, signed
from retrieval.reporting.text.tables import format_table, wrap

if TYPE_CHECKING:
    from retrieval.evaluation.report import GroupReport

# Short names, so that eight figures fit beside a group.
COLUMNS = {
    "popularity": "pop.",
    "recent_popularity": "recent",
    "ease": "EASE",
    "item_knn": "kNN",
    "exact": "exact",
    "ann": "ann",
    "exact+rerank": "exact+r",
    "ann+rerank": "ann+r",
}


def groups_text(report: Report) -> list[str]:
    """A table of the groups with its reading in words; nothing where all users are warm."""
    groups = report.groups
    if all(group.history is None for group in groups):
        return []
    stages = [stage for stage in COLUMNS if any(stage in group.ndcg for group in groups)]
    header = [f"NDCG@{report.k}", "users", *(COLUMNS[stage] for stage in stages)]
    rows = [[group.name, short_count(group.users), *_figures(group, stages)] for group in groups]
    short = "+r: +rerank; " if {"exact+rerank", "ann+rerank"} & set(stages) else ""
    legend = (
        "warm: train knows them; cold: neither train nor validation does, and so many first interactions of "
        "their test slice are known, the rest judged; brand new: nothing is known. "
        f"{short}*: best of its line."
    )
    return ["\n".join([format_table(header, rows, right=[1]), wrap(legend), wrap(_standing(groups))])]


def _figures(group: "GroupReport", stages: list[str]) -> list[str]:
    best = max(estimate.value for estimate in group.ndcg.values())
    cells = []
    for stage in stages:
        estimate = group.ndcg.get(stage)
        mark = "*" if estimate is not None and estimate.value == best else ""
        cells.append("-" if estimate is None else share(estimate.value) + mark)
    return cells


def _standing(groups: "tuple[GroupReport, ...]") -> str:
    """The stage served to each group, and the baselines that are better."""
    clearly = _groups_below(groups, clearly=True)
    slightly = _groups_below(groups, clearly=False)
    sentences = [_served(groups)]
    if clearly:
        sentences.append(f"BELOW a baseline, clearly: {clearly}.")
    if slightly:
        sentences.append(f"Below a baseline, not clearly: {slightly}.")
    if not clearly and not slightly:
        sentences.append("That is below no baseline in any group.")
    return " ".join(sentences)


def _groups_below(groups: "tuple[GroupReport, ...]", clearly: bool) -> str:
    """The groups where the served list is below a baseline, and by how much; empty if there are none."""
    found = []
    for group in groups:
        shortfalls = [
            f"{stage_name(each.against)} {signed(each.difference.value)}"
            for each in group.comparisons
            if each.stage == group.served
            and round(each.difference.value, 4) < 0
            and (each.verdict == "worse") == clearly
        ]
        if shortfalls:
            found.append(f"{group.name} ({', '.join(shortfalls)})")
    return "; ".join(found)


def _served(groups: "tuple[GroupReport, ...]") -> str:
    """The stage served to each kind of user; all cold users are served by the same one."""
    kinds = {"cold" if group.history else group.name: group.served for group in groups}
    clauses = [
        f"{stage_name(stage)} to {' and '.join(kind for kind, by in kinds.items() if by == stage)}"
        for stage in dict.fromkeys(kinds.values())
        if stage is not None
    ]
    unserved = ""
    if None in kinds.values():
        unserved = ", nothing to cold, as these towers know only their own users"
    return f"Served: {', '.join(clauses)}{unserved}."
