"""The report as text for people: the stage table, the differences, and what they mean in words."""

from retrieval.cli.tables import format_table
from retrieval.report import Comparison, Report
from retrieval.uncertainty import Estimate

STAGE_NAMES = {"recent_popularity": "recent popularity", "ease": "EASE"}


def report_text(report: Report) -> str:
    """Everything `evaluate` prints without --json."""
    parts = (_heading(report), _stages(report), _differences(report), _words(report))
    return "\n\n".join(parts)


def _heading(report: Report) -> str:
    split = report.split
    cold = report.cold_test_rows / split.test
    lines = [
        f"{report.dataset}, split by time: {split.train:,} train, {split.validation:,} validation, "
        f"{split.test:,} test rows",
        f"train knows {split.users:,} users and {split.items:,} items; {cold:.0%} of the test rows are cold "
        "(new user or item)",
        f"judged: {split.test_users:,} warm test users, {report.judged_users:,} of them with a test rating >= "
        f"{report.positive_threshold:g}",
    ]
    if split.duplicates:
        lines.append(f"{split.duplicates:,} repeated pairs of user and item inside a slice were left out")
    return "\n".join(lines)


def _stages(report: Report) -> str:
    k = report.k
    header = ["stage", f"P@{k}", "", f"R@{k}", "", f"NDCG@{k}", "", "cover"]
    rows = []
    for name, stage in report.stages.items():
        cells = [STAGE_NAMES.get(name, name)]
        for estimate in (stage.precision, stage.recall, stage.ndcg):
            cells += [f"{estimate.value:.3f}", f"{estimate.low:.3f}-{estimate.high:.3f}"]
        rows.append([*cells, f"{stage.coverage:.0%}"])
    table = format_table(header, rows, right=[1, 3, 5, 7])
    return f"{table}\n({report.protocol} protocol; ranges are 95 % bootstrap intervals over users)"


def _differences(report: Report) -> str:
    rows = [
        [
            f"{STAGE_NAMES.get(each.stage, each.stage)} - {STAGE_NAMES.get(each.against, each.against)}",
            f"{each.difference.value:+.4f}",
            f"{each.difference.low:+.4f} to {each.difference.high:+.4f}",
            _verdict(each.difference),
        ]
        for each in report.comparisons
    ]
    header = [f"NDCG@{report.k}, user by user", "mean", "95 % interval", ""]
    return format_table(header, rows, right=[1])


def _verdict(difference: Estimate) -> str:
    if difference.low == difference.high == 0:
        return "the same"
    if not difference.excludes_zero:
        return "no clear difference"
    return "better" if difference.value > 0 else "worse"


def _words(report: Report) -> str:
    ann, rating = report.ann, report.rating
    faster = ann.exact_p50_ms / ann.ann_p50_ms
    pays = f"{faster:.1f} times faster" if faster >= 1.1 else "no faster: exact search is enough here"
    biases = "below" if rating.rmse.value < rating.bias_rmse.value else "not below"
    return "\n".join(
        [
            f"ANN: {ann.index} finds {ann.recall.value:.1%} of the {ann.candidates} exact candidates;",
            f"  a single search takes {ann.ann_p50_ms:.3f} ms, exact {ann.exact_p50_ms:.3f} ms (p50): {pays}",
            f"Re-ranking: {_reranking(report)}",
            f"Ratings: RMSE {rating.rmse.value:.4f} ({rating.rmse.low:.4f}-{rating.rmse.high:.4f}), "
            f"MAE {rating.mae.value:.4f} on {rating.rows:,} warm test rows;",
            f"  {biases} user and item biases alone: {rating.bias_rmse.value:.4f}, {rating.bias_mae.value:.4f}",
        ]
    )


def _reranking(report: Report) -> str:
    alpha = report.alpha.alpha
    if alpha == 0:
        return "alpha 0: NeuralMF's ratings brought no gain on validation, the order is retrieval's"
    gain = _find(report, "exact+rerank", "exact").difference
    return (
        f"alpha {alpha:g}, chosen on validation;\n"
        f"  on test {gain.value:+.4f} NDCG@{report.k} over exact alone: {_verdict(gain)}"
    )


def _find(report: Report, stage: str, against: str) -> Comparison:
    return next(each for each in report.comparisons if (each.stage, each.against) == (stage, against))
