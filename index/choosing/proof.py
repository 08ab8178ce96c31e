"""Proves a choice on queries that did not make it: half of the queries choose, the other half prove.

The setting that does best on the queries that chose it has luck in its recall. On other queries some of that
is gone, so a recall counts only if it is measured on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.base import check_queries, check_vectors
from index.choosing.measuring import Workload, standard_error
from index.choosing.trials import TimedTrial
from index.errors import InputError
from index.exact import ExactIndex
from index.item_lists import ItemLists


@dataclass(frozen=True)
class HeldOut:
    """Recall of the chosen index on queries that did not choose it; `error` is the mean's standard error."""

    recall: float
    error: float
    queries: int


def split_workload(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    exclude: ItemLists | None,
    seed: int,
) -> tuple[Workload, Workload]:
    """The halves of the queries that choose and that prove, drawn by the seed.

    Raises:
        InputError: for vectors and queries that cannot be indexed or asked, or fewer than two queries.
    """
    check_vectors(vectors)
    check_queries(queries, vectors.shape[1], k)
    if len(queries) < 2:
        raise InputError(f"{len(queries)} queries; expected two at least, one to choose and one to prove")
    whole = Workload(ExactIndex(vectors), queries, k, exclude)
    shuffled = np.random.default_rng(seed).permutation(len(queries))
    choosing, proving = (whole.take(np.sort(part)) for part in np.array_split(shuffled, 2))
    return choosing, proving


def held_out(timed: TimedTrial, proving: Workload) -> HeldOut:
    """Recall of a trial's index on the queries that prove."""
    recalls = proving.recalls(timed.trial.index)
    return HeldOut(float(recalls.mean()), standard_error(recalls), len(recalls))


def first_proved(
    order: Sequence[TimedTrial], proving: Workload, recall: float | None
) -> tuple[TimedTrial, HeldOut] | None:
    """The first trial of the order with enough recall on the queries that prove; None where none has.

    Each look at those queries is another chance to be lucky. So after a trial that fails, only trials are
    asked that were better than it by a standard error on the queries that choose.

    Args:
        recall: that is enough; None: any.
    """
    least = 0.0
    for each in order:
        if each.point.recall < least:
            continue
        found = held_out(each, proving)
        if recall is None or found.recall >= recall:
            return each, found
        least = each.point.recall + each.point.recall_error
    return None
