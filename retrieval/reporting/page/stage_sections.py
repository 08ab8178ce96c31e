"""The page's sections on single stages: funnel, training, candidates, re-ranker, ratings, index.

A section is None where the document has no figures for it.
"""

from retrieval.reporting.page.layout import Section, Table
from retrieval.reporting.page.plots import Dot, Line, Panel, dot_plot, dots_height, line_panels, stacked_bar
from retrieval.reporting.page.svg import BASELINE, Plot
from retrieval.reporting.page.words import (
    MISSING,
    Document,
    count,
    interval,
    measured,
    ndcg,
    number,
    percent,
    signed,
    signed_interval,
    value,
    verdict,
)

VALIDATED = {"TwoTowerBPR": "validation NDCG@10", "NeuralMF": "validation RMSE"}


def funnel(document: Document) -> Section | None:
    """The section with the share of relevant items that each stage loses."""
    found = document.get("attribution")
    if not found or not found.get("shares"):
        return None
    shares: dict[str, float] = found["shares"]
    relevant = found.get("relevant")
    title = f"What became of {count(relevant)} relevant test items"
    plot = Plot(
        name="attribution",
        title=title,
        description="; ".join(f"{name} {percent(share)}" for name, share in shares.items()),
        height=140,
        draw=stacked_bar(shares),
    )
    rows = tuple(
        (name, percent(share), count(None if relevant is None else share * relevant))
        for name, share in shares.items()
    )
    table = Table("What became of each", ("outcome", "share", "items"), rows, numbered=True)
    text = (
        f"Every relevant test item is in the final top {found.get('k')} or was lost on the way: train does "
        "not know it, it was filtered as seen, it lies below the candidate depth in exact order, the index "
        "missed it, or the last stage left it out."
    )
    return Section(
        key="attribution", title="Where relevant items are lost", text=text, plots=(plot,), tables=(table,)
    )


def training(document: Document) -> Section | None:
    """The section with loss and validation by epoch."""
    found = {name: curve for name, curve in (document.get("training") or {}).items() if curve}
    if not found:
        return None
    plots, tables = [], []
    for place, (name, curve) in enumerate(found.items(), start=1):
        validated = VALIDATED.get(name, "validation figure")
        plots.append(_training_plot(f"training-{place}", name, curve, validated))
        rows = tuple(
            (str(each["epoch"]), number(each["loss"], 4), number(each.get("validation"), 4)) for each in curve
        )
        tables.append(Table(f"{name} by epoch", ("epoch", "training loss", validated), rows))
    text = "Of the models that were evaluated, on train; validation is what training stops by."
    return Section(
        key="training", title="Training", text=text, plots=tuple(plots), tables=tuple(tables), small=True
    )


def _training_plot(key: str, name: str, curve: list[Document], validated: str) -> Plot:
    epochs = tuple(each["epoch"] for each in curve)
    panels = [Panel("training loss", (Line("loss", epochs, tuple(each["loss"] for each in curve)),))]
    known = [each for each in curve if each.get("validation") is not None]
    if known:
        line = Line(
            validated, tuple(each["epoch"] for each in known), tuple(each["validation"] for each in known)
        )
        panels.append(Panel(validated, (line,)))
    last = curve[-1]
    description = f"After {last['epoch']} epochs: loss {number(last['loss'], 4)}"
    if known:
        description += f", {validated} {number(last.get('validation'), 4)}"
    return Plot(
        name=key,
        title=f"{name} by epoch",
        description=description,
        height=50 + 105 * len(panels),
        draw=line_panels(panels, "epoch", whole=True),
    )


def depth(document: Document) -> Section | None:
    """The section with NDCG and latency by the number of candidates."""
    found = document.get("depth")
    if not found or not found.get("points"):
        return None
    k, knee, points = found.get("k"), found.get("knee"), found["points"]
    plots: tuple[Plot, ...] = ()
    drawn = [each for each in points if measured(ndcg(each, k))]
    if drawn:
        mark = None if knee is None else (float(knee), f"dashed: the knee, {knee}")
        plot = Plot(
            name="depth",
            title=f"NDCG@{k} and latency against the number of candidates",
            description="; ".join(
                f"{each['candidates']}: {number(value(ndcg(each, k)))} in {number(each['p50_ms'], 2)} ms"
                for each in drawn
            ),
            height=300,
            draw=line_panels(_depth_panels(drawn, k), "candidates", logarithmic=True, mark=mark),
        )
        plots = (plot,)
    rows = tuple(
        (
            count(each["candidates"]) + (" (knee)" if each["candidates"] == knee else ""),
            number(value(ndcg(each, k))),
            interval(ndcg(each, k)),
            number(each.get("p50_ms"), 2),
            number(each.get("p99_ms"), 2),
        )
        for each in points
    )
    table = Table(
        "Depth of the candidate list",
        ("candidates", f"NDCG@{k}", "95% interval", "p50, ms", "p99, ms"),
        rows,
        strong=frozenset(place for place, each in enumerate(points) if each["candidates"] == knee),
    )
    text = (
        "What more candidates gain and cost. The knee is the smallest number whose NDCG is within one "
        "standard error of the best. Band: 95% interval. Latency: of one user’s list."
    )
    return Section(key="depth", title="How many candidates", text=text, plots=plots, tables=(table,))


def _depth_panels(points: list[Document], k: int | None) -> list[Panel]:
    x = tuple(float(each["candidates"]) for each in points)
    estimates = [estimate for each in points if (estimate := ndcg(each, k)) is not None]
    value_, low, high = (tuple(each[key] for each in estimates) for key in ("value", "low", "high"))
    latency = tuple(
        Line(label, x, tuple(each[key] for each in points), marker=marker, colour=BASELINE)
        for label, key, marker in (("median", "p50_ms", "o"), ("99th percentile", "p99_ms", "^"))
    )
    return [
        Panel(f"NDCG@{k}", (Line(label="NDCG", x=x, y=value_, low=low, high=high),)),
        Panel("latency, ms", latency),
    ]


def reranker(document: Document) -> Section | None:
    """The section with the weights of the blend and their gains on validation."""
    found = document.get("rerank")
    if not found or not found.get("validation_curve"):
        return None
    k = found["k"]
    parts = [
        (found["validation_curve"], "alpha", "alpha, the weight of the predicted rating"),
        (found.get("trend_curve") or [], "trend", "weight of the trend, the recent demand"),
    ]
    panels = [_weight_plot(curve, weight, label, found.get(weight), k) for curve, weight, label in parts]
    tables = tuple(
        _weight_table(curve, weight, label, found.get(weight), k) for curve, weight, label in parts if curve
    )
    if any(found.get(weight) for _, weight, _ in parts):
        text = "Chosen are the least weights within one standard error of the best. Band: 95% interval."
    else:
        text = "Both weights are 0: the order stays retrieval’s, as none gained more than validation’s noise."
    newcomers = found.get("newcomers")
    if newcomers and None not in (newcomers["alpha"], newcomers["trend"]):
        text += f" For newcomers: alpha {newcomers['alpha']:g}, trend {newcomers['trend']:g}."
    return Section(
        key="alpha",
        title="Re-ranker",
        text=text,
        plots=tuple(plot for plot in panels if plot is not None),
        tables=tables,
    )


def _weight_plot(curve: list[Document], weight: str, label: str, chosen: float | None, k: int) -> Plot | None:
    drawn = [each for each in curve if measured(each.get("gain"))]
    if not drawn:
        return None
    gains, low, high = (tuple(each["gain"][key] for each in drawn) for key in ("value", "low", "high"))
    line = Line(label="gain", x=tuple(each[weight] for each in drawn), y=gains, low=low, high=high)
    panel = Panel(f"Gain of NDCG@{k} over the retrieval order, on validation", (line,))
    mark = None if chosen is None else (float(chosen), f"dashed: chosen, {chosen:g}")
    described = "; ".join(f"{weight} {each[weight]:g}: {signed(each['gain']['value'])}" for each in drawn)
    return Plot(
        name=weight,
        title=panel.title,
        description=described,
        height=190,
        draw=line_panels([panel], label, mark=mark, zero=True),
    )


def _weight_table(curve: list[Document], weight: str, label: str, chosen: float | None, k: int) -> Table:
    rows = tuple(
        (
            f"{each[weight]:g}" + (" (chosen)" if each[weight] == chosen else ""),
            number(each.get(f"ndcg@{k}"), 4),
            signed(value(each.get("gain"))),
            signed_interval(each.get("gain")),
        )
        for each in curve
    )
    return Table(
        f"Tried on validation: {label}",
        (weight, f"NDCG@{k}", "gain", "95% interval"),
        rows,
        strong=frozenset(place for place, each in enumerate(curve) if each[weight] == chosen),
    )


def ratings(document: Document) -> Section | None:
    """The section with the errors of predicted ratings."""
    found = document.get("rating")
    if not found or not found.get("rows"):
        return None
    rows = (
        ("NeuralMF", _with_ends(found, "rmse"), _with_ends(found, "mae")),
        ("user and item biases", number(found.get("bias_rmse"), 4), number(found.get("bias_mae"), 4)),
    )
    caption = f"Errors on {count(found['rows'])} warm test rows, with 95% intervals"
    table = Table(caption, ("prediction", "RMSE", "MAE"), rows)
    difference = found.get("rmse_minus_bias_rmse")
    standing = verdict(difference, lower_is_better=True)
    text = (
        f"NeuralMF’s RMSE minus the biases’: {signed(value(difference))} (95% interval over users "
        f"{signed_interval(difference)}): {standing}; less is better."
    )
    plots: tuple[Plot, ...] = ()
    if difference is not None and measured(difference):
        hollow = standing not in ("better", "worse")
        ends = (difference["value"], difference["low"], difference["high"])
        dots = [Dot("NeuralMF minus biases", *ends, kind="reranked", hollow=hollow)]
        draw = dot_plot(dots, "difference of RMSE; left of 0 is better", zero=True)
        plots = (
            Plot(
                name="ratings",
                title="RMSE against the biases",
                description=text,
                height=dots_height(dots) + 10,
                draw=draw,
            ),
        )
    return Section(key="ratings", title="Predicted ratings", text=text, plots=plots, tables=(table,))


def _with_ends(found: Document, key: str) -> str:
    """An error with its interval, if it has one, in one cell."""
    figure, (low, high) = number(found.get(key), 4), found.get(f"{key}_interval") or (None, None)
    ends = interval({"value": found.get(key), "low": low, "high": high}, 4)
    return figure if ends == MISSING else f"{figure}\n{ends}"


def index(document: Document) -> Section | None:
    """The section with recall and latency of the approximate index."""
    found = document.get("ann")
    if not found:
        return None
    ends = found.get("recall@candidates_interval") or (None, None)
    recall = f"{percent(found.get('recall@candidates'))} ({percent(ends[0])} to {percent(ends[1])})"
    table = Table(
        "Latency of one filtered search",
        ("search", "p50, ms", "p99, ms"),
        tuple(
            (name, number(found.get(f"{key}_p50_ms"), 3), number(found.get(f"{key}_p99_ms"), 3))
            for name, key in (("exact", "exact"), (f"ann: {found.get('index')}", "ann"))
        ),
    )
    text = f"{found.get('index')} finds {recall} of the {count(found.get('candidates'))} exact candidates."
    if found.get("rescued_by_exact"):
        rescued = percent(found["rescued_by_exact"])
        text += f" Exact search answers in its place for the {rescued} of users it leaves short."
    choice = found.get("choice") or {}
    if found.get("serves") == "exact":
        text += " Exact search answers, as the index is no faster here."
        if choice.get("pays_from"):
            text += (
                f" On a catalogue enlarged to {count(choice['pays_from'])} such items an index was faster."
            )
    return Section(key="index", title="Index", text=text, plots=(), tables=(table,))
