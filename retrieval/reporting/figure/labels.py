"""Places a label where it covers the fewest points."""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Pixels = NDArray[np.float64]

PAD = 14.0  # pixels around the text
APART = 20.0  # pixels between the points that stand for a line
FAR = 250.0  # so many pixels of distance weigh as much as one covered point


def best_corner(at: Pixels, size: tuple[float, float], inside: Any, obstacles: Pixels) -> tuple[float, float]:
    """The best lower left corner of a label, in pixels: near its point, inside the box, covering little.

    Args:
        at: shape (2,), the point it belongs to.
        size: width and height of its text.
        inside: the box it should stay in, with x0, y0, x1 and y1.
        obstacles: shape (n, 2), points it should not cover.

    >>> from types import SimpleNamespace
    >>> box = SimpleNamespace(x0=0, y0=0, x1=400, y1=400)
    >>> x, y = best_corner(np.array([390.0, 200.0]), (100, 20), box, np.array([[350.0, 180.0]]))
    >>> x + 100 <= 400 and y > 180
    True
    """
    width, height = size
    xs, ys = np.arange(inside.x0 + PAD, inside.x1, 15.0), np.arange(inside.y0 + PAD, inside.y1, 12.0)
    x, y = (each.ravel() for each in np.meshgrid(xs, ys))  # shape (m,): the corners to try
    # shape (n, m): whether the label at corner m would cover obstacle n
    covers_x = (obstacles[:, :1] >= x - PAD) & (obstacles[:, :1] <= x + width + PAD)
    covers_y = (obstacles[:, 1:] >= y - PAD) & (obstacles[:, 1:] <= y + height + PAD)
    covered = np.count_nonzero(covers_x & covers_y, axis=0)
    over = np.maximum(x + width + PAD - inside.x1, 0) + np.maximum(y + height + PAD - inside.y1, 0)
    far = np.hypot(x + width / 2 - at[0], y + height / 2 - at[1]) / FAR
    best = int(np.argmin(covered + over + far))
    return float(x[best]), float(y[best])


def along_steps(corners: Pixels) -> list[list[float]]:
    """Points along a step line, which goes from each corner first up or down, then to the right.

    >>> along_steps(np.array([[0.0, 0.0], [40.0, 30.0]]))
    [[0.0, 0.0], [0.0, 20.0], [0.0, 30.0], [20.0, 30.0]]
    """
    found: list[list[float]] = []
    for (x0, y0), (x1, y1) in pairwise(corners.tolist()):
        found += [[x0, y] for y in np.arange(y0, y1, APART).tolist()]
        found += [[x, y1] for x in np.arange(x0, x1, APART).tolist()]
    return found


def around(at: Pixels, radius: float) -> list[list[float]]:
    """Twelve points on a circle around `at`."""
    turns = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    return [
        [at[0] + radius * x, at[1] + radius * y] for x, y in zip(np.cos(turns), np.sin(turns), strict=True)
    ]


def words_of(axes: "Axes", renderer: Any) -> list[list[float]]:
    """Points all over the texts that are already on the axes."""
    found: list[list[float]] = []
    for text in axes.texts:
        box = text.get_window_extent(renderer)
        xs, ys = np.arange(box.x0, box.x1, APART).tolist(), np.linspace(box.y0, box.y1, 3).tolist()
        found += [[x, y] for x in xs for y in ys]
    return found
