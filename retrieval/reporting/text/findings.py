"""The findings below the report's tables: what to ship, the index, re-ranking, depth, baselines, tuning."""

from retrieval.evaluation.choices import BlendChoice
from retrieval.evaluation.comparisons import Comparison, verdict
from retrieval.evaluation.index_benchmark.result import compare_speed
from retrieval.evaluation.report import AnnReport, RatingReport, Report
from retrieval.evaluation.stages import BASELINES, stage_name
from retrieval.evaluation.uncertainty import Estimate
from retrieval.reporting.text.figures import (
    listed,
    milliseconds,
    percent,
    share,
    signed,
    signed_interval,
    with_interval,
)
from retrieval.reporting.text.tables import format_columns, format_table, wrap
from retrieval.reporting.text.tuning import tuning_text


def findings(report: Report) -> str:
    """One paragraph for each finding; re-ranking and candidates with a small table."""
    return "\n".join(
        [
            wrap(_standing(report)),
            wrap(_index(report)),
            *_reranking(report),
            *_depth(report),
            wrap(_baselines(report.baselines)),
            *([wrap(tuning_text(report.tuning))] if report.tuning else []),
        ]
    )


def _standing(report: Report) -> str:
    """The served list against every baseline."""
    if not report.split.warm_test:
        return (
            "No user of the test slice is known to train, so no warm user can be judged; see the cold ones."
        )
    if not report.judged_users:
        return "No test user has a relevant item, so no list can be compared with another."
    phrases = {
        "better": "better than",
        "worse": "worse than",
        "the same": "the same as",
        "no clear difference": "not clearly different from",
        "not measured": "not measured against",
    }
    clauses = [
        f"{phrases[each.verdict]} {stage_name(each.against)} ({signed(each.difference.value)})"
        for each in report.comparisons
        if each.stage == report.served and each.against in BASELINES
    ]
    return f"The served list, {report.served}, is {listed(clauses)}."


def _index(report: Report) -> str:
    ann = report.ann
    recall = f"{ann.recall.value:.1%} ({ann.recall.low:.1%} to {ann.recall.high:.1%})"
    speed = compare_speed(ann.ann_p50_ms, ann.exact_p50_ms)
    if speed.verdict == "faster":
        pays = f"{speed.times:.1f} times faster"
    elif speed.verdict == "level":
        pays = "no faster"
    else:
        pays = f"{speed.times:.1f} times slower"
    rescued = ""
    if ann.rescued:
        rescued = f"; exact search answers for the {percent(ann.rescued)} of users it leaves short"
    words = (
        f"Index: {ann.index} finds {recall} of the {ann.candidates:,} exact candidates{rescued}; one search "
        f"takes {ann.ann_p50_ms:.3f} ms, exact {ann.exact_p50_ms:.3f} ms (median): {pays}."
    )
    return " ".join([words, *_loss(report), *_choice(ann)])


def _loss(report: Report) -> list[str]:
    """The change of the final list's NDCG by approximate search."""
    rerank = "+rerank" if report.served.endswith("+rerank") else ""
    pair = (f"ann{rerank}", f"exact{rerank}")
    change = next((each for each in report.comparisons if (each.stage, each.against) == pair), None)
    if change is None:
        return []
    return [
        f"It changes the final list's NDCG@{report.k} by {signed(change.difference.value)} "
        f"({signed_interval(change.difference)})."
    ]


def _choice(ann: AnnReport) -> list[str]:
    """How the index was chosen, and whether exact search serves in its place."""
    choice = ann.choice
    if choice is None:
        return []
    words = []
    kinds = len({point.factory for point in choice.points})
    if kinds > 2:
        proved = ""
        if ann.serves == "ann":
            proved = (
                f", and proved on {choice.held_out.queries:,} users that did not choose: "
                f"{choice.held_out.recall:.1%}"
            )
        words.append(
            f"Chosen from {len(choice.points):,} settings of {kinds} kinds in {choice.seconds:.0f} s{proved}."
        )
    if ann.serves == "exact":
        words.append("Exact search answers, as no index is faster here.")
        if choice.pays_from is not None:
            words.append(f"On a catalogue enlarged to {choice.pays_from:,} such items an index was faster.")
    return words


def _reranking(report: Report) -> list[str]:
    choice = report.blend
    if choice is None or report.rating is None:
        return [wrap("Re-ranking: left out, and NeuralMF with it: there are no ratings to learn from.")]
    if not choice.reranks:
        words = (
            "Re-ranking: left out of what is served, the order stays retrieval's; on validation no weight of "
            f"the predicted rating or the trend gained more NDCG@{choice.k} than its standard error."
        )
    else:
        found = _find(report, "exact+rerank", "exact")
        words = (
            f"Re-ranking: {_weights(choice)}; on test {signed(found.difference.value)} over exact, "
            f"{found.verdict}. "
            f"The least weights within a standard error of the best validation NDCG@{choice.k}."
        )
    if choice.newcomers is not None:
        words += f" For newcomers: {_weights(choice.newcomers)}."
    parts = [wrap(words), *_gains("alpha", choice.curve), *_gains("trend", choice.trend_curve)]
    return [*parts, _ratings(report.rating)]


def _weights(choice: BlendChoice) -> str:
    if not choice.reranks:
        return "no re-ranking"
    return f"alpha {choice.alpha:g} weighs the predicted rating, {choice.trend:g} the trend"


def _gains(weight: str, curve: tuple[tuple[float, float, Estimate], ...]) -> list[str]:
    """The gain on validation of each weight that was tried."""
    tried = [(f"{value:g}", signed(gain.value)) for value, _, gain in curve if value > 0]
    return format_columns([f"  {weight}", "  gain"], tried) if tried else []


def _depth(report: Report) -> list[str]:
    """NDCG and latency by the number of candidates."""
    curve = report.depth
    if curve is None:
        return []
    words = (
        f"Candidates: of the depths tried {curve.knee:,} is the smallest whose NDCG@{curve.k} is within a "
        f"standard error of the best; {report.ann.candidates:,} are retrieved:"
    )
    columns = [
        (
            f"{point.candidates:,}",
            share(point.ndcg.value),
            milliseconds(point.p50_ms),
            milliseconds(point.p99_ms),
        )
        for point in curve.points
    ]
    return [
        wrap(words),
        *format_columns(["  depth", f"  NDCG@{curve.k}", "  ms, median", "  ms, p99"], columns),
    ]


def _ratings(rating: RatingReport) -> str:
    if not rating.rows:
        return "Ratings: no warm test row to predict."
    rows = [
        ["  NeuralMF", with_interval(rating.rmse), with_interval(rating.mae)],
        ["  user and item biases", with_interval(rating.bias_rmse), with_interval(rating.bias_mae)],
    ]
    table = format_table([f"Ratings of {rating.rows:,} test rows", "RMSE", "MAE"], rows)
    difference = rating.rmse_difference
    interval = f"{signed(difference.value)}, 95% interval {signed_interval(difference)}, over users"
    standing = {
        "better": "NeuralMF is better than the biases alone",
        "worse": "NeuralMF is worse than the biases alone",
    }.get(verdict(difference, lower_is_better=True), "NeuralMF is not clearly different from the biases")
    return f"{table}\n  {standing}:\n  RMSE {interval}."


def _baselines(settings: dict[str, float]) -> str:
    ease = f"EASE l2 {settings['ease_l2']:g}" if "ease_l2" in settings else "EASE left out, too many items"
    recent = "recent popularity left out, no timestamps"
    if "recent_window" in settings:
        recent = f"recent is the last {settings['recent_window']:.0%} of positives"
    chosen = [recent, ease]
    if "item_knn_neighbours" in settings:
        chosen.append(f"item-kNN {settings['item_knn_neighbours']:,.0f} neighbours")
    return f"Baselines, set on validation: {'; '.join(chosen)}."


def _find(report: Report, stage: str, against: str) -> Comparison:
    return next(each for each in report.comparisons if (each.stage, each.against) == (stage, against))
