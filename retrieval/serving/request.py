"""Checks a request before anything is searched: k, the fallback, users, histories."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.data.ids import Id, IdMap, known_instead, shown
from retrieval.errors import NotFoundError, UsageError


def _checked_k(k: int) -> int:
    """`k` as a plain integer; UsageError unless it is one from 1 on."""
    if not isinstance(k, (int, np.integer)) or k < 1:
        raise UsageError(f"k must be an integer from 1 on, not {k!r}")
    return int(k)


def _check_fallback(fallback: str | None) -> None:
    if fallback not in (None, "popular"):
        raise UsageError(f"fallback must be popular or left out, not {fallback!r}")


def _several(kind: str, ids: Sequence[Id] | NDArray[Any]) -> list[Id]:
    """Ids as a list. A single one is refused: the letters of a text would be taken for ids."""
    if isinstance(ids, (str, bytes)) or not hasattr(ids, "__iter__"):
        raise UsageError(f"expected a list of {kind} ids, not {ids!r}; put it in a list: [{ids!r}]")
    return ids.tolist() if isinstance(ids, np.ndarray) and ids.ndim else list(ids)


def _known_rows(
    kind: str, ids: Sequence[Id] | NDArray[Any], known: IdMap, advice: str = ""
) -> NDArray[np.int64]:
    """Rows of ids that must all be known; `advice` ends the message where one is not."""
    ids = _several(kind, ids)
    rows = known.rows(ids)
    unknown = np.flatnonzero(rows < 0)
    if not len(unknown):
        return rows
    wrong = ids[unknown[0]]
    raise NotFoundError(
        f"{kind} {shown(wrong)} is not among the {len(known)} {kind}s of this bundle; "
        f"{known_instead(wrong, known)}{advice}"
    )
