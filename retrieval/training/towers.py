"""TwoTowerBPR: a user tower and an item tower whose inner product ranks items for a user.

The loss is Bayesian personalised ranking (Rendle et al., UAI 2009): a positive item should score
above items the user has no positive interaction with.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from index import ItemLists
from retrieval.data.side_features import SideFeatures
from retrieval.serving.feature_vectors import FeatureVectors
from retrieval.serving.tower_vectors import TowerVectors, pool_histories, with_one
from retrieval.settings import TowerSettings
from retrieval.training.ease_start import TowerStart
from retrieval.training.history_batches import HistoryBatch
from retrieval.training.id_batches import TripletBatch
from retrieval.training.losses import one_against_all, pairwise
from retrieval.training.negatives import draw_by_score


class FeatureEmbeddings(nn.Module):
    """The mean of the embeddings of each row's side features; 0 for a row without any.

    Args:
        features: of n rows.
        width: of an embedding. Embeddings start at 0, so features have no effect before training.
    """

    rows: Tensor

    def __init__(self, features: SideFeatures, width: int) -> None:
        super().__init__()
        self.names = features.names
        self.table = nn.Embedding(len(features.names) + 1, width, padding_idx=len(features.names))
        nn.init.zeros_(self.table.weight)
        self.register_buffer("rows", torch.from_numpy(features.padded()), persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        """(B,) rows -> (B, width)."""
        padded = self.rows[rows]  # (B, most features of a row), padded with `padding_idx`
        count = padded.ne(self.table.num_embeddings - 1).sum(dim=1, keepdim=True).clamp(min=1)
        mean: Tensor = self.table(padded).sum(dim=1) / count  # the padding row is 0
        return mean

    def vectors(self) -> NDArray[np.float32]:
        """The embeddings, in the order of `names`: (number of features, width)."""
        return to_numpy(self.table.weight[:-1])


class ItemTower(nn.Module):
    """A vector and a bias for each item: the item's own, plus the mean of its side features.

    Args:
        popularity: shape (n_items,), positives of each item; the biases start at its logarithm, so that
            training begins at the popularity ranking and not at chance. None: they start at 0.
        features: side features of the same items, if any.
    """

    def __init__(
        self,
        n_items: int,
        settings: TowerSettings,
        popularity: NDArray[np.float32] | None = None,
        features: SideFeatures | None = None,
    ) -> None:
        super().__init__()
        self.table = nn.Embedding(n_items, settings.dimension)
        self.bias = nn.Embedding(n_items, 1)
        nn.init.normal_(self.table.weight, std=settings.initial_std)
        nn.init.zeros_(self.bias.weight)
        if popularity is not None:
            logarithm = np.log1p(popularity.astype(np.float64))
            start = (logarithm - logarithm.mean()).astype(np.float32)
            self.bias.weight.data.copy_(torch.from_numpy(start[:, None]))
        # Without biases the column stays, all 0, so that weights and vectors keep one shape.
        self.bias.weight.requires_grad_(settings.item_bias)
        self.features = None if features is None else FeatureEmbeddings(features, settings.dimension + 1)

    @torch.no_grad()
    def silence(self, items: NDArray[np.int64]) -> None:
        """Set rows that training never reaches to 0; only their features count then."""
        rows = torch.from_numpy(items).to(self.table.weight.device)
        self.table.weight[rows] = 0
        self.bias.weight[rows] = 0

    def forward(self, rows: Tensor, known: Tensor | None = None) -> Tensor:
        """Item vectors with the bias as the last column: (B,) rows -> (B, d + 1).

        Args:
            known: (n_items,), see `HistoryBatch`; 0 drops the item's own vector, not its features.
        """
        vectors = torch.cat([self.table(rows), self.bias(rows)], dim=1)
        if self.features is None:
            return vectors
        if known is not None:
            vectors = vectors * known[rows][:, None]
        added: Tensor = self.features(rows)
        return vectors + added


class IdUserTower(nn.Module):
    """A table with one vector a user."""

    def __init__(self, n_users: int, settings: TowerSettings) -> None:
        super().__init__()
        self.table = nn.Embedding(n_users, settings.dimension)
        nn.init.normal_(self.table.weight, std=settings.initial_std)

    @torch.no_grad()
    def silence(self, users: NDArray[np.int64]) -> None:
        """Set rows that training never reaches to 0; only the items' biases count then."""
        self.table.weight[torch.from_numpy(users).to(self.table.weight.device)] = 0

    def forward(self, users: Tensor) -> Tensor:
        """(B,) rows -> (B, d)."""
        vectors: Tensor = self.table(users)
        return vectors


class HistoryUserTower(nn.Module):
    """Pools the user's positives, from an item table of its own; see `tower_vectors.pool_histories`.

    Args:
        item_features, user_features: side features of the items and of the users, if any.
    """

    def __init__(
        self,
        n_items: int,
        settings: TowerSettings,
        item_features: SideFeatures | None = None,
        user_features: SideFeatures | None = None,
    ) -> None:
        super().__init__()
        self.table = nn.Embedding(n_items, settings.dimension)
        self.prior = nn.Parameter(torch.zeros(settings.dimension))
        nn.init.normal_(self.table.weight, std=settings.initial_std)
        self.item_features, self.user_features = (
            None if features is None else FeatureEmbeddings(features, settings.dimension)
            for features in (item_features, user_features)
        )

    @torch.no_grad()
    def silence(self, items: NDArray[np.int64]) -> None:
        """Set rows that training never reaches to 0."""
        self.table.weight[torch.from_numpy(items).to(self.table.weight.device)] = 0

    def rows(self, items: Tensor) -> Tensor:
        """What each item adds to a history: (H,) rows -> (H, d)."""
        rows: Tensor = self.table(items)
        return rows if self.item_features is None else rows + self.item_features(items)

    def forward(self, batch: HistoryBatch) -> Tensor:
        """User vectors: (U, d)."""
        rows = self.rows(batch.history)  # (H, d)
        places = torch.arange(len(rows), device=rows.device)
        sums = functional.embedding_bag(places, rows, batch.history_starts, mode="sum")  # (U, d)
        sizes = torch.diff(batch.history_starts, append=batch.history_starts.new_tensor([len(rows)]))
        # Dividing by sqrt(n + 1) and adding a prior: short histories stay near the prior.
        vectors: Tensor = sums / (sizes + 1).sqrt()[:, None] + self.prior
        if self.user_features is None:
            return vectors
        added: Tensor = self.user_features(batch.users)
        return vectors + (added if batch.described is None else added * batch.described[:, None])


class TwoTowerBPR(nn.Module):
    """Two towers and their loss.

    Args:
        n_users, n_items: sizes of the id maps.
        settings: see `TowerSettings`.
        popularity, item_features, user_features: see the towers; for the history tower only.
        start: added to the history tower's tables before training.
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        settings: TowerSettings,
        popularity: NDArray[np.float32] | None = None,
        item_features: SideFeatures | None = None,
        user_features: SideFeatures | None = None,
        start: TowerStart | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.user_tower: IdUserTower | HistoryUserTower
        if settings.user_tower == "history":
            self.items = ItemTower(n_items, settings, popularity, item_features)
            self.user_tower = HistoryUserTower(n_items, settings, item_features, user_features)
            if start is not None:
                self.items.table.weight.data += torch.from_numpy(start.items)
                self.user_tower.table.weight.data += torch.from_numpy(start.histories)
        else:
            self.items = ItemTower(n_items, settings)
            self.user_tower = IdUserTower(n_users, settings)

    def loss(self, batch: TripletBatch | HistoryBatch) -> Tensor:
        """The mean loss of the batch's positives, plus L2 on the vectors."""
        return self._triplet_loss(batch) if isinstance(batch, TripletBatch) else self._history_loss(batch)

    def _triplet_loss(self, batch: TripletBatch) -> Tensor:
        assert isinstance(self.user_tower, IdUserTower)
        users = self.user_tower(batch.users)  # (B, d)
        # One look-up for both the score and the L2 term: the gradient of a look-up is the slowest step.
        targets = self.items(batch.targets)
        negatives = self.items(batch.negatives.flatten()).unflatten(0, batch.negatives.shape)  # (B, N, d + 1)
        queries = append_one(users)  # (B, d + 1)
        positive = (queries * targets).sum(dim=1)
        negative = torch.bmm(negatives, queries[:, :, None]).squeeze(2)
        squares = mean_square(users) + mean_square(targets[:, :-1]) + mean_square(negatives[..., :-1])
        loss: Tensor = (pairwise(positive, negative) * batch.weights).mean() + self.settings.l2 * squares
        return loss

    def _history_loss(self, batch: HistoryBatch) -> Tensor:
        assert isinstance(self.user_tower, HistoryUserTower)
        settings = self.settings
        users = functional.dropout(self.user_tower(batch), settings.user_dropout, self.training)
        queries, catalogue = append_one(users), self.items(batch.catalogue, batch.known)
        scores = queries @ catalogue.T  # (U, d + 1) and (K, d + 1) -> (U, K)
        positive = (spread(queries, batch.user_of) * self.items(batch.targets, batch.known)).sum(dim=1)
        # Positives of the user, in history or among the targets, are no negatives.
        own = torch.zeros_like(scores, dtype=torch.bool)
        own[batch.own_users, batch.own_items] = True
        others = scores.masked_fill(own, -torch.inf)
        if settings.loss == "softmax":
            each = one_against_all(positive, others, batch.user_of, batch.items_each)
        else:
            drawn = draw_by_score(others.detach(), batch.draws)  # (U, N) columns; gather (U, N) -> (P, N)
            each = pairwise(positive, spread(others.gather(1, drawn), batch.user_of))
        tables = mean_square(catalogue[:, :-1]) + mean_square(self.user_tower.table.weight)
        loss: Tensor = (each * batch.weights).mean() + settings.l2 * (mean_square(users) + tables)
        return loss

    @torch.no_grad()
    def export(self, histories: ItemLists) -> TowerVectors:
        """Vectors of all items and users; `histories` are the positives, one list for each user row."""
        every_item = torch.arange(self.items.table.num_embeddings, device=self.items.table.weight.device)
        items, tower = to_numpy(self.items(every_item)), self.user_tower
        if isinstance(tower, IdUserTower):
            return TowerVectors(items, with_one(to_numpy(tower.table.weight)), None, None)
        table, prior = to_numpy(tower.rows(every_item)), to_numpy(tower.prior)
        users = pool_histories(table, histories) + prior
        if tower.user_features is not None:
            every_user = torch.arange(len(histories), device=every_item.device)
            users = users + to_numpy(tower.user_features(every_user))
        features = None
        if self.items.features is not None and tower.item_features is not None:
            by_item, by_history = self.items.features, tower.item_features
            features = FeatureVectors(by_item.names, by_item.vectors(), by_history.vectors())
        return TowerVectors(items, with_one(users), table, prior, features)


def append_one(vectors: Tensor) -> Tensor:
    """Append the constant 1 that is multiplied with the items' bias: (q, d) -> (q, d + 1)."""
    return torch.cat([vectors, vectors.new_ones(len(vectors), 1)], dim=1)


def spread(vectors: Tensor, rows: Tensor) -> Tensor:
    """`vectors[rows]`, (U, d) and (B,) -> (B, d), with a gradient that repeats bit for bit.

    The gradient of plain indexing is summed by several threads in no fixed order.
    """
    return functional.embedding(rows, vectors)


def mean_square(vectors: Tensor) -> Tensor:
    """Mean squared length of vectors (..., d): a number."""
    return vectors.square().sum(dim=-1).mean()


def to_numpy(tensor: Tensor) -> NDArray[np.float32]:
    """A copy on the CPU, float32."""
    return tensor.detach().cpu().numpy().astype(np.float32, copy=True)
