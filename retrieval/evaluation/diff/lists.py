"""Overlap of the lists that two fitted systems serve to a sample of their shared users."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.arrays import Rows
from retrieval.data.ids import IdMap
from retrieval.evaluation.uncertainty import Estimate, mean_estimate
from retrieval.serving.fitted_system import FittedSystem

MOVED_SHOWN = 5


@dataclass(frozen=True)
class MovedItem:
    """An item that one system lists for more users than the other.

    Attributes:
        item: its id, as text.
        title: None where it has none.
        one, other: how many of the compared users each lists it for.
        known_to_both: False where only the system that lists it has it in its catalogue.
    """

    item: str
    title: str | None
    one: int
    other: int
    known_to_both: bool


@dataclass(frozen=True)
class ListOverlap:
    """Agreement of the lists that two systems serve to the same users.

    Attributes:
        k: length of the lists.
        shared_users: number of users that both serve.
        users: number of them whose lists were compared, without those for whom both lists are empty.
        overlap: share of the items that both lists of a user hold, see `overlaps`; mean over the users, NaN
            without users.
        same: number of users whose two lists are identical, order included.
        more_in_one, more_in_other: the items whose number of lists in that system exceeds that in the other
            the most, at most `MOVED_SHOWN`, largest excess first.
    """

    k: int
    shared_users: int
    users: int
    overlap: Estimate
    same: int
    more_in_one: tuple[MovedItem, ...]
    more_in_other: tuple[MovedItem, ...]

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types, but for NaN."""
        document = asdict(self)
        document[f"overlap@{self.k}"] = document.pop("overlap")
        for side in ("more_in_one", "more_in_other"):
            document[side] = list(document[side])
        return document


def compare_lists(
    one: FittedSystem, other: FittedSystem, *, k: int, users: int, seed: int = 0
) -> ListOverlap:
    """Compare the lists that two systems serve to a sample of the users that both know.

    Swapping the systems samples the same users.

    Args:
        k: length of the lists.
        users: size of the sample, at most.
        seed: of the sample.
    """
    of_one, of_other = shared_rows(one.users, other.users)
    chosen = np.arange(len(of_one))
    if len(chosen) > users:
        chosen = np.sort(np.random.default_rng(seed).choice(len(of_one), users, replace=False))
    codes = item_codes(one.items, other.items)
    mine = one.model.for_users(of_one[chosen], k).rows
    theirs = _coded(other.model.for_users(of_other[chosen], k).rows, codes)
    shares = overlaps(mine, theirs)
    listed = ~np.isnan(shares)
    mine, theirs = mine[listed], theirs[listed]
    more_in_one, more_in_other = _moved(one, other, codes, mine, theirs)
    return ListOverlap(
        k=k,
        shared_users=len(of_one),
        users=int(listed.sum()),
        overlap=mean_estimate(shares[listed]),
        same=int(same_lists(mine, theirs).sum()),
        more_in_one=more_in_one,
        more_in_other=more_in_other,
    )


def overlaps(one: Rows, other: Rows) -> NDArray[np.float64]:
    """Overlap of each user's two lists = items in both / items of the longer list.

    The denominator is k for full lists. Shorter lists are of users who have seen nearly the whole catalogue.

    Args:
        one, other: shapes (q, a) and (q, b), int64, no item twice in a list, padded with -1.

    Returns:
        shape (q,), 0 to 1; NaN where both lists are empty.

    >>> overlaps(np.array([[1, 2, 3], [4, 5, -1]]), np.array([[3, 2, 9], [5, 4, -1]])).round(2).tolist()
    [0.67, 1.0]
    """
    ordered = np.sort(np.concatenate([one, other], axis=1), axis=1)
    both = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).sum(axis=1)
    longer = np.maximum((one >= 0).sum(axis=1), (other >= 0).sum(axis=1))
    return np.asarray(np.divide(both, longer, out=np.full(len(one), np.nan), where=longer > 0))


def same_lists(one: Rows, other: Rows) -> NDArray[np.bool_]:
    """Whether a user's two lists are identical, order included: shapes (q, a) and (q, b) -> (q,)."""
    width = max(one.shape[1], other.shape[1])
    return np.asarray((_padded(one, width) == _padded(other, width)).all(axis=1))


def shared_rows(one: IdMap, other: IdMap) -> tuple[Rows, Rows]:
    """Rows of the shared ids in each of the two maps, ascending by id; 42 and "42" are the same id."""
    mine, theirs = one.ids, other.ids
    if one.are_integers != other.are_integers:
        mine, theirs = mine.astype(np.str_), theirs.astype(np.str_)
    _, of_one, of_other = np.intersect1d(mine, theirs, assume_unique=True, return_indices=True)
    return of_one.astype(np.int64), of_other.astype(np.int64)


def item_codes(one: IdMap, other: IdMap) -> Rows:
    """A code for each row of `other`: the same id's row in `one`, or a number from `len(one)` on."""
    codes = np.arange(len(one), len(one) + len(other), dtype=np.int64)
    of_one, of_other = shared_rows(one, other)
    codes[of_other] = of_one
    return codes


def _coded(rows: Rows, codes: Rows) -> Rows:
    return np.where(rows >= 0, codes[rows], -1)


def _padded(lists: Rows, width: int) -> Rows:
    return np.pad(lists, ((0, 0), (0, width - lists.shape[1])), constant_values=-1)


def _moved(
    one: FittedSystem, other: FittedSystem, codes: Rows, mine: Rows, theirs: Rows
) -> tuple[tuple[MovedItem, ...], tuple[MovedItem, ...]]:
    """The items that each side lists for more users than the other; ties by id."""
    n_codes = len(one.items) + len(other.items)
    of_one, of_other = (np.bincount(rows[rows >= 0], minlength=n_codes) for rows in (mine, theirs))
    row_in_other = np.full(n_codes, -1, dtype=np.int64)
    row_in_other[codes] = np.arange(len(codes))

    def item(code: int) -> MovedItem:
        in_one, in_other = code < len(one.items), row_in_other[code] >= 0
        # The systems may have different titles: take that of the system that lists the item more often.
        by_one = in_one and (not in_other or of_one[code] > of_other[code])
        system, row = (one, code) if by_one else (other, int(row_in_other[code]))
        return MovedItem(
            item=str(system.items.ids[row]),
            title=str(system.titles[row]) or None,
            one=int(of_one[code]),
            other=int(of_other[code]),
            known_to_both=bool(in_one and in_other),
        )

    def most(gain: NDArray[np.int64]) -> tuple[MovedItem, ...]:
        more = [(int(gain[code]), item(int(code))) for code in np.flatnonzero(gain > 0)]
        more.sort(key=lambda pair: (-pair[0], len(pair[1].item), pair[1].item))
        return tuple(found for _, found in more[:MOVED_SHOWN])

    return most(of_one - of_other), most(of_other - of_one)
