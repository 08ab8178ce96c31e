"""Negatives for training: items a user has no positive interaction with."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from index import ItemLists


class UniformNegatives:
    """Draws uniformly from the items outside each user's list, exactly and without rejection sampling.

    With a user's items sorted as p_0 < p_1 < ..., exactly p_k - k other items lie below p_k. So the
    r-th item outside the list is r plus the number of k with p_k - k <= r, and one binary search
    over all users' keys serves a whole batch.

    Args:
        positives: each user's positive items, ascending.
        n_items: size of the catalogue.
    """

    def __init__(self, positives: ItemLists, n_items: int) -> None:
        owner = positives.flat_users()
        rank_in_list = np.arange(len(positives.items)) - positives.indptr[owner]
        self._stride = n_items + 1
        self._keys = owner * self._stride + (positives.items - rank_in_list)
        self._starts = positives.indptr[:-1]
        self._available = n_items - positives.lengths()

    def can_sample(self, users: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Shape (q,): False for users whose list holds the whole catalogue; they have no negatives."""
        return self._available[users] > 0

    def sample(self, users: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw `count` item rows for each user: shape (len(users), count), with replacement.

        Raises:
            ValueError: if a user has no item to draw.
        """
        available = self._available[users]
        if len(available) and available.min() <= 0:
            raise ValueError("a user's positives cover the whole catalogue, so there is no negative to draw")
        # (q, count): the r-th item outside the user's list; then its row.
        rank = (rng.random((len(users), count)) * available[:, None]).astype(np.int64)
        keys = (users * self._stride)[:, None] + rank
        below = np.searchsorted(self._keys, keys.ravel(), side="right").reshape(keys.shape)
        return rank + below - self._starts[users][:, None]


def draw_by_score(scores: Tensor, draws: Tensor) -> Tensor:
    """Draw items in proportion to exp(score): the higher an item scores, the more often it is drawn.

    Uniform negatives soon rank low and then teach nothing; negatives that the model ranks high do (adaptive
    oversampling: Rendle and Freudenthaler, WSDM 2014; exact here, approximated by factors there).

    Args:
        scores: (U, K); -inf is never drawn, unless a line has nothing else.
        draws: (U, N), uniform in [0, 1).

    Returns:
        (U, N) int64, columns of `scores`, with replacement.
    """
    # (U, K): cumulative probabilities; each draw falls into the interval of one item.
    reached = torch.softmax(scores, dim=1).nan_to_num(0).cumsum(dim=1)
    places = torch.searchsorted(reached, draws * reached[:, -1:], right=True)
    return places.clamp(max=scores.shape[1] - 1)
