"""The scales of the benchmark's picture: recall, with equal room for each 9, and milliseconds."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Keeps the place of recall 1 finite: it is drawn where 1 - LEAST_MISS would be on a pure log scale.
LEAST_MISS = 3e-4
TICKS = (0.0, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
# The first of these sets of steps within a power of ten that gives at least FEW ticks is used.
FEW = 4
TICK_STEPS = (
    (1.0,),
    (1.0, 2.0, 5.0),
    (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0),
    (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0),
)


def place(recall: float) -> float:
    """Place of a recall on the axis: -log10 of the missed share, so that each 9 takes equal room.

    >>> [round(place(recall), 2) for recall in (0.0, 0.9, 0.99, 1.0)]
    [-0.0, 1.0, 1.99, 3.52]
    """
    return -math.log10(1 - recall + LEAST_MISS)


def recall_axis(axes: "Axes", which: Literal["x", "y"], lowest: float) -> None:
    """Set ticks and limits of an axis whose points are at `place` of their recall, from `lowest` to 1."""
    ticks = [tick for tick in TICKS if tick >= lowest]
    labels = ["1" if tick == 1 else plain(tick) for tick in ticks]
    places = [place(tick) for tick in ticks]
    room = (places[-1] - place(lowest)) or 1.0
    limits = (place(lowest) - 0.04 * room, places[-1] + 0.05 * room)
    if which == "x":
        axes.set_xticks(places, labels)
        axes.set_xlim(*limits)
    else:
        axes.set_yticks(places, labels)
        axes.set_ylim(*limits)


def milliseconds_axis(axes: "Axes", values: Sequence[float]) -> None:
    """Make the y axis logarithmic, with ticks at a few plain numbers."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_yscale("log")
    margin = max((max(values) / min(values)) ** 0.07, 1.2)
    low, high = min(values) / margin, max(values) * margin
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(FixedLocator(_ticks(low, high)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two limits: at least `FEW` where the finest of `TICK_STEPS` allows it.

    >>> [[f"{tick:g}" for tick in _ticks(*ends)] for ends in ((0.03, 8.0), (1.0, 2.5))]
    [['0.05', '0.1', '0.2', '0.5', '1', '2', '5'], ['1', '1.2', '1.5', '2', '2.5']]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in TICK_STEPS:
        ticks = [tick for power in powers for step in steps if low <= (tick := step * 10.0**power) <= high]
        if len(ticks) >= FEW:
            break
    return ticks


def plain(share: float) -> str:
    """A share without the leading 0.

    >>> plain(0.95), plain(0.0)
    ('.95', '0')
    """
    return f"{share:g}".replace("0.", ".", 1)


def milliseconds(value: float) -> str:
    """Milliseconds to two significant digits.

    >>> milliseconds(0.042), milliseconds(0.1), milliseconds(3.41), milliseconds(57.2)
    ('0.042', '0.10', '3.4', '57')
    """
    return f"{value:,.0f}" if value >= 10 else f"{value:#.2g}"
