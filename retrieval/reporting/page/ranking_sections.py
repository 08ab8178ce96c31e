"""The page's sections on ranked lists: stages, paired comparisons, groups of users."""

from retrieval.evaluation.stages import served_stage_in, stage_name
from retrieval.reporting.page.layout import Section, Table
from retrieval.reporting.page.plots import Dot, dot_plot, dots_height, kind_of, shared_limits
from retrieval.reporting.page.svg import Plot
from retrieval.reporting.page.words import (
    Document,
    count,
    interval,
    measured,
    ndcg,
    number,
    p_value,
    percent,
    signed,
    signed_interval,
    value,
    verdict,
)

MARKS = "Squares are baselines, circles retrieval alone, diamonds re-ranked lists; lines are 95% intervals."


def stages(document: Document) -> Section | None:
    """The section with every stage's metrics and intervals; None without stages."""
    k, found = document.get("k"), document.get("stages")
    if not found:
        return None
    served = served_stage_in(document)
    dots = [_dot(stage_name(name), name, ndcg(entry, k), served) for name, entry in found.items()]
    plot = Plot(
        name="stages",
        title=f"NDCG@{k} of every stage",
        description="; ".join(f"{dot.label} {number(dot.value)}" for dot in dots),
        height=dots_height(dots),
        draw=dot_plot(dots, f"NDCG@{k}"),
    )
    measures = (f"ndcg@{k}", f"precision@{k}", f"recall@{k}")
    rows = tuple(
        (
            stage_name(name),
            *(_with_interval(entry.get(each)) for each in measures),
            percent(entry.get(f"coverage@{k}")),
            count(entry.get(f"popularity_rank@{k}")),
        )
        for name, entry in found.items()
    )
    table = Table(
        "All stages on the same users, with 95% intervals; bold: what is served",
        ("stage", f"NDCG@{k}", f"Precision@{k}", f"Recall@{k}", "coverage", "popularity rank"),
        rows,
        strong=frozenset(place for place, name in enumerate(found) if name == served),
    )
    text = (
        f"{MARKS} exact: TwoTowerBPR, exhaustive search. ann: the same through the FAISS index. +rerank: "
        "blended with NeuralMF’s predicted ratings. Coverage: share of the catalogue that is in any list. "
        "Popularity rank: mean place of the listed items in the popularity order; larger is more novel."
    )
    return Section(key="stages", title="Stages", text=text, plots=(plot,), tables=(table,))


def comparisons(document: Document) -> Section | None:
    """The section with the paired differences of NDCG; None without comparisons."""
    k, found = document.get("k"), document.get("comparisons")
    if not found:
        return None
    served = served_stage_in(document)
    order = sorted({each["stage"]: None for each in found}, key=lambda stage: stage != served)
    dots: list[Dot] = []
    for stage in order:
        dots.append(Dot(f"{stage_name(stage)} minus", strong=True))
        dots += [_difference_dot(each, k) for each in found if each["stage"] == stage]
    plot = Plot(
        name="comparisons",
        title=f"Paired differences of NDCG@{k}",
        description="; ".join(
            f"{stage_name(each['stage'])} minus {stage_name(each['against'])} {signed(value(ndcg(each, k)))}"
            for each in found
        ),
        height=dots_height(dots),
        draw=dot_plot(dots, f"difference of NDCG@{k}", zero=True),
    )
    ordered = [each for stage in order for each in found if each["stage"] == stage]
    table = Table(
        f"Differences of NDCG@{k}, paired by user",
        ("comparison", "mean", "95% interval", "p", "verdict"),
        tuple(
            (f"{stage_name(each['stage'])} vs {stage_name(each['against'])}", *_difference(each, k))
            for each in ordered
        ),
        words=frozenset({4}),
    )
    text = (
        "The same users, one list minus the other; right of 0 is better. Filled dots are clear: the "
        "interval excludes 0, and p, of a paired sign-flip permutation test, is below .05."
    )
    return Section(key="comparisons", title="Paired comparisons", text=text, plots=(plot,), tables=(table,))


def groups(document: Document) -> Section | None:
    """The section with the groups of users side by side; None without groups."""
    k, found = document.get("k"), [each for each in document.get("groups") or () if each.get("ndcg")]
    if not found:
        return None
    served = served_stage_in(document)
    per_group = [
        [_dot(stage_name(name), name, estimate, served) for name, estimate in each["ndcg"].items()]
        for each in found
    ]
    limits = shared_limits([dot for dots in per_group for dot in dots])
    titles = [f"{each['name']}: {count(each.get('users'))} users" for each in found]
    plots = tuple(
        Plot(
            name=f"group-{place}",
            title=title,
            description="; ".join(f"{dot.label} {number(dot.value)}" for dot in dots),
            height=dots_height(dots),
            draw=dot_plot(dots, f"NDCG@{k}", limits=limits),
        )
        for place, (title, dots) in enumerate(zip(titles, per_group, strict=True), start=1)
    )
    tables = (_group_table(found, k, served), _group_comparisons(found, k))
    text = (
        "Cold users have no row in train: their first interactions of the test slice become the history, and "
        f"the rest is judged. One scale for all. {MARKS}"
    )
    return Section(
        key="groups",
        title="Groups of users",
        text=text,
        plots=plots,
        tables=tuple(each for each in tables if each.rows),
        small=True,
    )


def _group_table(groups: list[Document], k: int | None, served: str | None) -> Table:
    names = list(dict.fromkeys(name for each in groups for name in each["ndcg"]))
    return Table(
        f"NDCG@{k} by group, with 95% intervals",
        ("stage", *(f"{each['name']} ({count(each.get('users'))})" for each in groups)),
        tuple(
            (stage_name(name), *(_with_interval(each["ndcg"].get(name)) for each in groups)) for name in names
        ),
        strong=frozenset(place for place, name in enumerate(names) if name == served),
    )


def _group_comparisons(groups: list[Document], k: int | None) -> Table:
    rows = tuple(
        (each["name"], f"{stage_name(pair['stage'])} vs {stage_name(pair['against'])}", *_difference(pair, k))
        for each in groups
        for pair in each.get("comparisons") or ()
    )
    head = ("group", "comparison", "mean", "95% interval", "p", "verdict")
    return Table(
        f"Differences of NDCG@{k} inside each group, paired by user", head, rows, words=frozenset({1, 5})
    )


def _dot(label: str, stage: str, estimate: Document | None, served: str | None) -> Dot:
    kind, strong = kind_of(stage), stage == served
    if estimate is None or not measured(estimate):
        return Dot(label, kind=kind, strong=strong)
    return Dot(
        label=label,
        value=estimate["value"],
        low=estimate["low"],
        high=estimate["high"],
        kind=kind,
        strong=strong,
    )


def _difference_dot(entry: Document, k: int | None) -> Dot:
    estimate, label, kind = ndcg(entry, k), stage_name(entry["against"]), kind_of(entry["stage"])
    if estimate is None or not measured(estimate):
        return Dot(label, kind=kind)
    hollow = verdict(estimate, p_value=entry.get("p_value")) in ("no clear difference", "the same")
    return Dot(
        label=label,
        value=estimate["value"],
        low=estimate["low"],
        high=estimate["high"],
        kind=kind,
        hollow=hollow,
    )


def _difference(entry: Document, k: int | None) -> tuple[str, ...]:
    """Cells of a comparison: mean, interval, p-value and verdict."""
    estimate = ndcg(entry, k)
    mean, ends = signed(value(estimate)), signed_interval(estimate)
    return mean, ends, p_value(entry.get("p_value")), verdict(estimate, p_value=entry.get("p_value"))


def _with_interval(estimate: Document | None) -> str:
    """Figure and interval in one cell."""
    figure = number(value(estimate))
    return f"{figure}\n{interval(estimate)}" if measured(estimate) else figure
