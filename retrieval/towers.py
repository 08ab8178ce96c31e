"""TwoTowerBPR: a user tower and an item tower whose inner product ranks items for a user.

The loss is Bayesian personalised ranking (Rendle et al., UAI 2009): a positive item should score
above items the user has no positive interaction with.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from index import ItemLists
from retrieval.settings import TowerSettings
from retrieval.vectors import TowerVectors, pool_histories, with_one


@dataclass(frozen=True)
class Batch:
    """One training step, as torch tensors on one device; B positives, U distinct users, N negatives.

    Attributes:
        users: (U,) int64, the distinct user rows.
        user_of: (B,) int64, each positive's place in `users`.
        targets: (B,) int64, positive item rows.
        negatives: (B, N) int64, item rows.
        weights: (B,) float32, mean about 1.
        history, history_starts: (H,) and (U,) int64: the users' kept history items, flat, and where
            each user's begin.
        history_sizes: (U,) float32, kept items of each user.
        target_kept: (B,) float32, 1 where the target itself is among its user's kept items.
    """

    users: Tensor
    user_of: Tensor
    targets: Tensor
    negatives: Tensor
    weights: Tensor
    history: Tensor
    history_starts: Tensor
    history_sizes: Tensor
    target_kept: Tensor


class IdUserTower(nn.Module):
    """A table with one vector a user."""

    def __init__(self, n_users: int, settings: TowerSettings) -> None:
        super().__init__()
        self.table = nn.Embedding(n_users, settings.dimension)
        nn.init.normal_(self.table.weight, std=settings.initial_std)

    @torch.no_grad()
    def silence(self, users: NDArray[np.int64]) -> None:
        """Set rows that training will never reach to 0: the items' biases alone answer for them."""
        self.table.weight[torch.from_numpy(users).to(self.table.weight.device)] = 0

    def forward(self, batch: Batch) -> Tensor:
        """User vectors of the batch's positives: (B, d)."""
        vectors: Tensor = self.table(batch.users)
        return spread(vectors, batch.user_of)


class HistoryUserTower(nn.Module):
    """Pools the user's positives from an item table of its own; see `vectors.pool_histories`.

    In training the target is left out of its own history: the tower must not learn to find an item
    by the item itself.
    """

    def __init__(self, n_items: int, settings: TowerSettings) -> None:
        super().__init__()
        self.table = nn.Embedding(n_items, settings.dimension)
        nn.init.normal_(self.table.weight, std=settings.initial_std)

    def forward(self, batch: Batch) -> Tensor:
        """User vectors of the batch's positives: (B, d)."""
        # Pooled once for each user, (U, d), then corrected for each of the user's targets.
        sums = functional.embedding_bag(batch.history, self.table.weight, batch.history_starts, mode="sum")
        others = spread(sums, batch.user_of) - batch.target_kept[:, None] * self.table(batch.targets)
        count = batch.history_sizes[batch.user_of] - batch.target_kept
        pooled: Tensor = others / count.clamp(min=1).sqrt()[:, None]
        return pooled


class TwoTowerBPR(nn.Module):
    """Two towers and their pairwise loss.

    Args:
        n_users, n_items: sizes of the id maps.
        settings: see `TowerSettings`.
    """

    def __init__(self, n_users: int, n_items: int, settings: TowerSettings) -> None:
        super().__init__()
        self.settings = settings
        self.items = nn.Embedding(n_items, settings.dimension)
        self.item_bias = nn.Embedding(n_items, 1)
        nn.init.normal_(self.items.weight, std=settings.initial_std)
        nn.init.zeros_(self.item_bias.weight)
        # Without biases the column stays, all 0, so that weights and vectors keep one shape.
        self.item_bias.weight.requires_grad_(settings.item_bias)
        self.user_tower: IdUserTower | HistoryUserTower = (
            HistoryUserTower(n_items, settings)
            if settings.user_tower == "history"
            else IdUserTower(n_users, settings)
        )

    def score(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores of item rows (B, N) for user vectors (B, d): inner product plus item bias, (B, N)."""
        return self._score(users, self.items(items), items)

    def _score(self, users: Tensor, vectors: Tensor, items: Tensor) -> Tensor:
        """As `score`, with the item vectors (B, N, d) looked up already."""
        products = torch.bmm(vectors, users[:, :, None])
        scores: Tensor = (products + self.item_bias(items)).squeeze(2)
        return scores

    def loss(self, batch: Batch) -> Tensor:
        """Weighted mean of -ln sigmoid(positive - negative), plus L2 on the batch's vectors."""
        users = self.user_tower(batch)
        # Looked up once for the score and the L2 term: the gradient of a look-up is the dearest step.
        targets, negatives = self.items(batch.targets), self.items(batch.negatives)
        positive = self._score(users, targets[:, None], batch.targets[:, None])
        negative = self._score(users, negatives, batch.negatives)
        pairwise = functional.softplus(negative - positive).mean(dim=1)
        squares = mean_square(users) + mean_square(targets) + mean_square(negatives)
        total: Tensor = (pairwise * batch.weights).mean() + self.settings.l2 * squares
        return total

    @torch.no_grad()
    def export(self, histories: ItemLists) -> TowerVectors:
        """Vectors for the index; `histories` are the users' positives, one list for each user row."""
        items = np.hstack([to_numpy(self.items.weight), to_numpy(self.item_bias.weight)])
        table = to_numpy(self.user_tower.table.weight)
        if isinstance(self.user_tower, HistoryUserTower):
            return TowerVectors(items, with_one(pool_histories(table, histories)), table)
        return TowerVectors(items, with_one(table), None)


def spread(vectors: Tensor, rows: Tensor) -> Tensor:
    """`vectors[rows]`, (U, d) and (B,) -> (B, d), whose gradient comes out the same every time.

    That of plain indexing is summed by several threads in the order they happen to come.
    """
    return functional.embedding(rows, vectors)


def mean_square(vectors: Tensor) -> Tensor:
    """Mean squared length of vectors (..., d): a number."""
    return vectors.square().sum(dim=-1).mean()


def to_numpy(tensor: Tensor) -> NDArray[np.float32]:
    """A copy on the CPU, float32."""
    return tensor.detach().cpu().numpy().astype(np.float32, copy=True)
