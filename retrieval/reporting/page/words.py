"""Figures, intervals and verdicts of a report document as text; a missing figure is a dash."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from retrieval.evaluation import comparisons
from retrieval.evaluation.comparisons import Verdict
from retrieval.evaluation.stages import BASELINES, served_stage_in, stage_name
from retrieval.evaluation.uncertainty import Estimate

Document = Mapping[str, Any]

MISSING = "–"


def number(value: float | None, digits: int = 3) -> str:
    """A figure with so many decimal places.

    >>> number(0.26649), number(None)
    ('0.266', '–')
    """
    return MISSING if _absent(value) else f"{value:,.{digits}f}"


def signed(value: float | None, digits: int = 4) -> str:
    """A difference with its sign; 0 has a plus.

    >>> signed(0.0321), signed(-0.00001)
    ('+0.0321', '+0.0000')
    """
    return MISSING if value is None or _absent(value) else f"{round(value, digits) + 0.0:+.{digits}f}"


def percent(share: float | None) -> str:
    """A share of 0 to 1 in percent.

    >>> percent(0.9538)
    '95.4%'
    """
    return MISSING if _absent(share) else f"{share:.1%}"


def count(value: float | None) -> str:
    """A whole number.

    >>> count(70001)
    '70,001'
    """
    return MISSING if _absent(value) else f"{value:,.0f}"


def p_value(value: float | None) -> str:
    """A p-value to three decimal places.

    >>> p_value(0.00042), p_value(0.0321)
    ('< 0.001', '0.032')
    """
    if value is None or _absent(value):
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def interval(estimate: Document | None, digits: int = 3) -> str:
    """The two ends of an interval.

    >>> interval({"value": 0.2, "low": 0.1, "high": 0.3})
    '0.100 to 0.300'
    """
    return _ends(estimate, lambda end: number(end, digits))


def signed_interval(estimate: Document | None) -> str:
    """The two ends of the interval of a difference.

    >>> signed_interval({"value": 0.0, "low": -0.1, "high": 0.1})
    '-0.1000 to +0.1000'
    """
    return _ends(estimate, signed)


def value(estimate: Document | None) -> float | None:
    """The figure of an estimate; None where it is missing."""
    return None if estimate is None else estimate.get("value")


def measured(estimate: Document | None) -> bool:
    """Whether figure and interval are all there, so that a plot can draw them."""
    return estimate is not None and not any(_absent(estimate.get(key)) for key in ("value", "low", "high"))


def ndcg(entry: Document, k: int | None) -> Document | None:
    """The NDCG, or difference of NDCG, of an entry of the document, under any of its possible keys."""
    for key in (f"ndcg@{k}", "difference", "ndcg"):
        if isinstance(entry.get(key), Mapping):
            found: Document = entry[key]
            return found
    return None


def verdict(
    difference: Document | None, lower_is_better: bool = False, *, p_value: float | None = None
) -> Verdict:
    """The verdict of a difference, by `comparisons.verdict`.

    >>> verdict({"value": 0.2, "low": 0.1, "high": 0.3})
    'better'
    """
    if difference is None or not measured(difference):
        return "not measured"
    estimate = Estimate(difference["value"], difference["low"], difference["high"])
    return comparisons.verdict(estimate, lower_is_better, p_value=p_value)


def headline(document: Document) -> str:
    """The headline of the page: the served list against the strongest baseline, in one sentence."""
    k, stages, served = document.get("k"), document.get("stages") or {}, served_stage_in(document)
    if (document.get("split") or {}).get("warm_test") == 0:
        return (
            "No user of the test slice is known to train, so no warm user can be judged; see the cold ones."
        )
    if document.get("judged_users") == 0:
        return "No test user has a relevant item, so no list can be compared with another."
    rivals: dict[str, tuple[Document, float | None]] = {
        each["against"]: (difference, each.get("p_value"))
        for each in document.get("comparisons") or ()
        if each["stage"] == served and each["against"] in BASELINES
        if (difference := ndcg(each, k)) is not None and measured(difference)
    }
    if served is None or not rivals:
        return "Nothing here was compared with a baseline."

    def height(stage: str) -> float:
        return value(ndcg(stages.get(stage) or {}, k)) or 0.0

    strongest = max(rivals, key=height)
    difference, p = rivals[strongest]
    name = stage_name(strongest)
    title = f"{name}, the strongest baseline here," if len(rivals) > 1 else name
    size = number(abs(difference["value"]), 4)
    by = f"{size} NDCG@{k} (95% interval of the difference {signed_interval(difference)})"
    match verdict(difference, p_value=p):
        case "better":
            return f"The served list, {served}, beats {title} by {by}."
        case "worse":
            return f"The served list, {served}, loses to {title} by {by}."
        case "the same":
            return f"The served list, {served}, is the same as {title.rstrip(',')}."
    return (
        f"The served list, {served}, cannot be told apart from {title.rstrip(',')}: the difference is "
        f"{signed(difference['value'])} NDCG@{k} (95% interval {signed_interval(difference)})."
    )


def listed(parts: Iterable[str]) -> str:
    """Parts as one clause.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    *most, last = list(parts)
    return f"{', '.join(most)} and {last}" if most else last


def _absent(figure: float | None) -> bool:
    return figure is None or not math.isfinite(figure)


def _ends(estimate: Document | None, write: Any) -> str:
    if estimate is None or not measured(estimate):
        return MISSING
    return f"{write(estimate['low'])} to {write(estimate['high'])}"
