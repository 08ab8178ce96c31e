"""The k best of many scores; ties are always broken by column."""

import numpy as np
from numpy.typing import NDArray

from index.base import SearchResult
from index.errors import InputError


def top_k(scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k largest scores of each line, largest first, equal ones by ascending column.

    This holds at the cut too: of the entries that tie for the last places, those with the lowest columns are
    kept. A score of -inf marks a masked entry and becomes padding.

    Args:
        scores: shape (q, n), float32, no NaN.
        k: at least 1; more than n is cut to n.

    Returns:
        values (q, min(k, n)) float32 and columns (q, min(k, n)) int64; padding is -inf and -1.

    Raises:
        InputError: if k is below 1, the shape is not (q, n), or a NaN is among the largest.

    >>> values, columns = top_k(np.array([[1, 3, 3, 2, 3]], dtype=np.float32), 2)
    >>> values.tolist(), columns.tolist()
    ([[3.0, 3.0]], [[1, 2]])
    """
    if k < 1:
        raise InputError(f"k is {k}; expected at least 1")
    if scores.ndim != 2:
        raise InputError(f"scores have shape {scores.shape}; expected (queries, items)")
    n_lines, n_columns = scores.shape
    width = min(k, n_columns)
    if width < n_columns:
        # np.partition sorts NaN above every number, so any NaN is in the upper part.
        upper = np.partition(scores, n_columns - width, axis=1)[:, n_columns - width :]
        _refuse_nan(upper)
        chosen = _at_least(scores, upper[:, :1], width)
        columns = np.nonzero(chosen)[1].reshape(n_lines, width)
        values = np.take_along_axis(scores, columns, axis=1)
    else:
        _refuse_nan(scores)
        columns = np.broadcast_to(np.arange(n_columns), scores.shape)
        values = scores
    # Columns ascend within a line, so a stable sort by score leaves ties in column order.
    order = np.argsort(-values, axis=1, kind="stable")
    values = np.take_along_axis(values, order, axis=1)
    columns = np.take_along_axis(columns, order, axis=1)
    columns[np.isneginf(values)] = -1
    return values, columns


def order_result(scores: NDArray[np.float32], rows: NDArray[np.int64]) -> SearchResult:
    """Sort each line by descending score, equal scores by row; row -1 becomes padding at the end.

    Args:
        scores: shape (q, k), float32; the score of a row of -1 is ignored.
        rows: shape (q, k), int64.
    """
    if rows.size and rows.min() < 0:
        scores = np.where(rows < 0, np.float32(-np.inf), scores)
    left, right = scores[:, :-1], scores[:, 1:]
    if (left > right).all():  # nearly always, and quick to see
        return SearchResult(scores, rows)
    in_order = (left > right) | ((left == right) & (rows[:, :-1] <= rows[:, 1:]))
    wrong = np.flatnonzero(~in_order.all(axis=1))
    if len(wrong):
        scores = scores.copy()
        order = np.lexsort((rows[wrong], -scores[wrong]), axis=1)
        rows = rows.copy()
        scores[wrong] = np.take_along_axis(scores[wrong], order, axis=1)
        rows[wrong] = np.take_along_axis(rows[wrong], order, axis=1)
    return SearchResult(scores, rows)


def _at_least(scores: NDArray[np.float32], cut: NDArray[np.float32], width: int) -> NDArray[np.bool_]:
    """Mark exactly `width` entries of each line: those above the cut (q, 1), then ties from the left."""
    chosen = scores >= cut
    tied = np.flatnonzero(np.count_nonzero(chosen, axis=1) > width)
    if len(tied):
        above = scores[tied] > cut[tied]
        level = scores[tied] == cut[tied]
        room = width - np.count_nonzero(above, axis=1)
        nth = np.cumsum(level, axis=1, dtype=np.int32)
        chosen[tied] = above | (level & (nth <= room[:, np.newaxis]))
    return chosen


def _refuse_nan(values: NDArray[np.float32]) -> None:
    if np.isnan(values).any():
        raise InputError(
            "scores hold NaN; expected numbers", "look for vectors so long that products overflow"
        )
