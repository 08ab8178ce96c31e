"""The report as text: heading, tables of stages, differences, funnel and groups, then the findings."""

from retrieval.evaluation.report import Report
from retrieval.evaluation.stages import stage_name
from retrieval.reporting.text.figures import (
    p_value_text,
    percent,
    share_with_interval,
    short_count,
    signed,
    signed_interval,
)
from retrieval.reporting.text.findings import findings
from retrieval.reporting.text.tables import WIDTH, format_table, shorten, wrap
from retrieval.reporting.text.user_groups import groups_text

SPLITS = {"time": "split by time", "random": "split AT RANDOM"}
# Shorter words for a verdict that would make the table too wide.
IN_A_TABLE = {"no clear difference": "unclear"}


def report_text(report: Report) -> str:
    """Everything that `evaluate` prints without --json: at most 80 columns, about a screen of lines."""
    tables = (_stages(report), _differences(report), *_losses(report), *groups_text(report))
    return "\n\n".join((_heading(report), *tables, findings(report)))


def _heading(report: Report) -> str:
    split = report.split
    title = f", {SPLITS[report.split_kind]}, {report.protocol} protocol"
    relevant = "" if report.positive_threshold is None else f" (rated >= {report.positive_threshold:g})"
    if report.protocol == "notebook" and relevant:
        relevant = ", any rating"
    rows = [
        ["train", f"{split.train:,} rows of {split.users:,} users and {split.items:,} items"],
        [
            "validation",
            f"{split.validation:,} rows, {split.warm_validation:,} warm: user and item are in train",
        ],
        [
            "test",
            f"{split.test:,} rows, {split.warm_test:,} warm; "
            + (
                f"the cold {report.cold_test_rows / split.test:.0%} are not judged"
                if split.warm_test
                else "cold users alone are judged"
            ),
        ],
        [
            "judged by",
            f"{split.test_users:,} users, {report.judged_users:,} with a relevant item{relevant}",
        ],
    ]
    if report.dates is not None:
        first, last, test_first, test_last = report.dates.days()
        rows.append(["times", f"train {first} to {last}, test {test_first} to {test_last}"])
    if split.duplicates:
        rows.append(["repeats", f"{split.duplicates:,} rows left out: the same pair again inside a slice"])
    if report.seen_test_rows:
        rows.append(["seen", f"{report.seen_test_rows:,} test rows are pairs of train: no relevant items"])
    name = shorten(report.dataset, WIDTH - len(title))
    lines = [name + title, *(f"  {label:<10}  {text}" for label, text in rows)]
    if report.split_kind == "random":
        lines.append(wrap(f"  {'mind':<10}  train knows everybody's future, so all figures are too kind"))
    return "\n".join(lines)


def _stages(report: Report) -> str:
    k = report.k
    rows = [
        [
            stage_name(name),
            *map(share_with_interval, (stage.precision, stage.recall, stage.ndcg)),
            percent(stage.coverage),
            short_count(stage.popularity_rank),
        ]
        for name, stage in report.stages.items()
    ]
    rerank = " +rerank: blended with NeuralMF's ratings and the trend." if report.rating else ""
    counted = "Precision over all users, recall and NDCG over those with a relevant item"
    if report.protocol == "notebook":
        threshold = report.positive_threshold
        relevant = "what was" if threshold is None else f"what was rated {threshold:g} or more"
        counted = (
            f"Precision and recall count {relevant} in the test slice, precision among items of that slice "
            "only; NDCG counts every item there"
        )
    legend = (
        f"exact: TwoTowerBPR, exhaustive search; ann: through the FAISS index.{rerank} {counted}; "
        "95% bootstrap intervals over users. cover: share of items ever listed; rank: mean popularity rank "
        "of the lists, 1 is top."
    )
    header = ["stage", f"P@{k}", f"R@{k}", f"NDCG@{k}", "cover", "rank"]
    table = format_table(header, rows, right=[4, 5])
    return f"{table}\n{wrap(legend)}"


def _differences(report: Report) -> str:
    """Comparisons with exact search, and of the served list with all others; the JSON has the rest."""
    rows = [
        [
            f"{stage_name(each.stage)} vs {stage_name(each.against)}",
            signed(each.difference.value),
            signed_interval(each.difference),
            p_value_text(each.p_value),
            IN_A_TABLE.get(each.verdict, each.verdict),
        ]
        for each in report.comparisons
        if each.stage == report.served or each.against == "exact"
    ]
    header = [f"NDCG@{report.k}, paired by user", "mean", "95% interval", "p", ""]
    return format_table(header, rows, right=[1, 3])


def _losses(report: Report) -> list[str]:
    """The funnel, one line for each outcome of a relevant item."""
    funnel = report.funnel
    if funnel is None:
        return []
    words = {
        "listed": f"in the top {funnel.k}",
        "not in catalogue": "not in train's catalogue",
        "filtered": "left out, as the user has met it in train",
        "below depth": f"not among the {report.ann.candidates:,} candidates of exact search",
        "missed by index": "missed by the index",
        "dropped by re-ranker": f"found, re-ranked below the top {funnel.k}",
        "below top k": f"found, below the top {funnel.k}",
    }
    rows = [[f"  {words[outcome]}", f"{part:.1%}"] for outcome, part in funnel.shares.items()]
    header = [f"What became of {funnel.relevant:,} relevant test items", "share"]
    return [format_table(header, rows, right=[1])]
