"""How figures and intervals are written on a terminal."""

import math

from retrieval.evaluation.uncertainty import Estimate


def listed(clauses: list[str]) -> str:
    """Clauses as one: a, b and c."""
    return " and ".join([", ".join(clauses[:-1]), clauses[-1]] if len(clauses) > 1 else clauses)


def share(value: float) -> str:
    """A share of 0 to 1, in 4 columns: .161, 1.00; a dash for NaN."""
    if math.isnan(value):
        return "-"
    text = f"{value:.3f}"
    return text[1:] if text.startswith("0") else "1.00"


def share_with_interval(estimate: Estimate) -> str:
    """A share with its interval: .161 .108-.220."""
    if math.isnan(estimate.value):
        return "-"
    return f"{share(estimate.value)} {share(estimate.low)}-{share(estimate.high)}"


def signed(value: float) -> str:
    """A difference of -1 to 1 with its sign, without the leading 0: +.0327; never -.0000."""
    return "-" if math.isnan(value) else f"{round(value, 4) + 0.0:+.4f}".replace("0.", ".", 1)


def signed_interval(estimate: Estimate) -> str:
    """The interval of a difference: -.0046 to +.0790."""
    return "-" if math.isnan(estimate.low) else f"{signed(estimate.low)} to {signed(estimate.high)}"


def p_value_text(value: float) -> str:
    """A p-value in 5 columns: .012, <.001, 1.000."""
    if math.isnan(value):
        return "-"
    return "<.001" if value < 0.0005 else f"{value:.3f}".removeprefix("0")


def percent(part: float) -> str:
    """A share of 0 to 1 as 89% or 4.2%."""
    return f"{part:.0%}" if part >= 0.1 else f"{part:.1%}"


def short_count(value: float) -> str:
    """A count in 5 columns: 9,999, 27k, 1.2M."""
    if math.isnan(value):
        return "-"
    if value < 9_999.5:
        return f"{value:,.0f}"
    return f"{value / 1e3:.0f}k" if value < 999_500 else f"{value / 1e6:.1f}M"


def milliseconds(value: float) -> str:
    """Milliseconds, with fewer digits for longer times: 0.14, 57."""
    return f"{value:.2f}" if value < 9.995 else f"{value:,.0f}"


def with_interval(estimate: Estimate) -> str:
    """An error with its interval: 1.0152 0.9115-1.1282."""
    return f"{number(estimate.value)} {number(estimate.low)}-{number(estimate.high)}"


def number(value: float) -> str:
    """An error on any scale: 1.0152, 31.12."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"
