"""Several towers become one: their scores are added up, and the sum is written as one inner product."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.arrays import Matrix
from retrieval.serving.feature_vectors import FeatureVectors, check_same_names
from retrieval.serving.tower_vectors import TowerVectors

Wide = NDArray[np.float64]


def join(members: Sequence[TowerVectors], weights: NDArray[np.float32], dimension: int) -> TowerVectors:
    """One pair of towers whose scores are the mean of the members', as nearly as `dimension` allows.

    Towers from other seeds make other mistakes, and their mean makes fewer (Hansen and Salamon, IEEE
    TPAMI 1990). Side by side the members' vectors would be as many times as wide, to store and to
    search; but the score of an item for a history is linear in both, a product of a table of histories
    and a table of items, and the best product of a smaller width is its truncated singular value
    decomposition (Eckart and Young, Psychometrika 1936).

    Args:
        members: of history towers over the same users and items; one is returned as it is.
        weights: shape (n_items,): how much each history row matters in that approximation, such as how
            many histories the item is in.
        dimension: of the result, bias not counted.
    """
    if len(members) == 1:
        return members[0]
    items = np.hstack([each.items[:, :-1] for each in members]).astype(np.float64)
    biases = np.mean([each.items[:, -1] for each in members], axis=0)
    share = 1 / len(members)
    histories = np.hstack([_required(each.history_items) for each in members]).astype(np.float64) * share
    prior = np.hstack([_required(each.prior) for each in members]).astype(np.float64) * share
    users = np.hstack([each.users[:, :-1] for each in members]).astype(np.float64) * share
    to_user, to_item = _projections(
        np.vstack([histories, prior]), np.append(weights, weights.sum()), items, dimension
    )
    return TowerVectors(
        items=_float32(np.column_stack([items @ to_item, biases])),
        users=_float32(np.column_stack([users @ to_user, np.ones(len(users))])),
        history_items=_float32(histories @ to_user),
        prior=_float32(prior @ to_user),
        features=_join_features([each.features for each in members], to_user * share, to_item),
    )


def _join_features(
    members: Sequence[FeatureVectors | None], to_user: Wide, to_item: Wide
) -> FeatureVectors | None:
    """Features' vectors go the way of the items' they are a part of: all of it is linear."""
    known = [each for each in members if each is not None]
    if len(known) < len(members):
        return None
    items = np.hstack([each.items[:, :-1] for each in known]).astype(np.float64)
    histories = np.hstack([each.histories for each in known]).astype(np.float64)
    biases = np.mean([each.items[:, -1] for each in known], axis=0)
    return FeatureVectors(
        check_same_names(known),
        _float32(np.column_stack([items @ to_item, biases])),
        _float32(histories @ to_user),
    )


def _projections(left: Wide, weights: Wide, right: Wide, dimension: int) -> tuple[Wide, Wide]:
    """A and B, `dimension` wide, that bring (left A) (right B)' nearest to left right', its lines weighted.

    Both sides are reduced to their triangular factors first, so that the decomposition is of a matrix
    as small as the members are wide.
    """
    left_factor = np.asarray(np.linalg.qr(left * np.sqrt(weights)[:, None], mode="r"))
    right_factor = np.asarray(np.linalg.qr(right, mode="r"))
    before, sizes, after = np.linalg.svd(left_factor @ right_factor.T)
    kept = slice(0, min(dimension, len(sizes)))
    root = np.sqrt(sizes[kept])
    # Of few items there are fewer products than `dimension`: the columns that are left stay 0.
    empty = np.zeros((left.shape[1], dimension - len(root)))
    # left = Q R, so Q u s^(1/2) = left R^-1 u s^(1/2). R is singular where there is less data than width.
    to_user = np.linalg.pinv(left_factor) @ before[:, kept] * root
    to_item = np.linalg.pinv(right_factor) @ after[kept].T * root
    return np.hstack([to_user, empty]), np.hstack([to_item, empty])


def _required(matrix: Matrix | None) -> Matrix:
    if matrix is None:
        raise ValueError("only history towers can be joined")
    return matrix


def _float32(matrix: Wide) -> Matrix:
    return np.ascontiguousarray(matrix, dtype=np.float32)
