"""Joins several towers into one pair whose inner product approximates the mean of their scores."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.arrays import Matrix
from retrieval.serving.feature_vectors import FeatureVectors, check_same_names
from retrieval.serving.tower_vectors import TowerVectors

Wide = NDArray[np.float64]


def join(members: Sequence[TowerVectors], weights: NDArray[np.float32], dimension: int) -> TowerVectors:
    """One pair of towers whose scores are the mean of the members', as nearly as `dimension` allows.

    Towers from different seeds make different mistakes, and their mean makes fewer (Hansen and Salamon,
    IEEE TPAMI 1990). Concatenated, the members' vectors would be several times as wide to store and to
    search. But a score is linear in both sides, a product of a table of histories and a table of items,
    and the best product of a smaller width is the truncated singular value decomposition (Eckart and
    Young, Psychometrika 1936).

    Args:
        members: history towers over the same users and items; a single one is returned unchanged.
        weights: shape (n_items,): weight of each history row in the approximation, such as the number of
            histories that hold the item.
        dimension: of the result, bias not counted.
    """
    if len(members) == 1:
        return members[0]
    # m members, d columns each: tables are (n_items, m * d), the prior is (m * d,), users are (q, m * d).
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
    """Project the features' vectors like the item vectors that they are part of; everything is linear."""
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
    """A and B, `dimension` wide, for which (left A) (right B)' is nearest to left right', by weighted lines.

    A QR decomposition reduces both sides first, so that the SVD is of a small square matrix, as wide as the
    members together.
    """
    left_factor = np.asarray(np.linalg.qr(left * np.sqrt(weights)[:, None], mode="r"))
    right_factor = np.asarray(np.linalg.qr(right, mode="r"))
    before, sizes, after = np.linalg.svd(left_factor @ right_factor.T)
    kept = slice(0, min(dimension, len(sizes)))
    root = np.sqrt(sizes[kept])
    # Few items give fewer singular values than `dimension`; the other columns stay 0.
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
