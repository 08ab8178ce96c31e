"""NeuralMF: an MLP over user and item embeddings that predicts a rating.

The MLP half of neural collaborative filtering (He et al., WWW 2017), trained on ratings with a
squared loss instead of on clicks.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from retrieval.arrays import Weights
from retrieval.settings import NeuralMFSettings

# The output of the network for the mean rating, in standard deviations; about where the scale of 1 to 5 has
# it. Weight decay shrinks the output's bias, so that the hidden layers carry a part of the constant, and
# such networks predict better: with 0, or with biases that do not decay, the RMSE on validation was higher
# by 0.003 to 0.007 on MovieLens 100K (two slices of time), and with 0 by 0.001 on half of 1M.
CENTRE = 3.0


@dataclass(frozen=True)
class RatingScale:
    """The linear map from the network's output to the table's own ratings: rating = zero + std * output.

    Trained on raw ratings, a network would hardly move on a scale of 0 to 100, and its settings would mean
    something different on every scale.
    """

    zero: float = 0.0
    std: float = 1.0

    @classmethod
    def of(cls, ratings: NDArray[np.float32]) -> "RatingScale":
        """The scale on which the mean of the ratings, shape (n,), is `CENTRE`; std 1 where all are equal.

        >>> RatingScale.of(np.array([1, 5], dtype=np.float32))
        RatingScale(zero=-3.0, std=2.0)
        """
        values = ratings.astype(np.float64)
        std = float(values.std()) or 1.0  # in float64 the mean of equal float32 numbers is exact
        return cls(float(values.mean()) - CENTRE * std, std)

    def standardised(self, ratings: NDArray[np.float32]) -> NDArray[np.float32]:
        """The target outputs of the network for these ratings: shape (n,)."""
        return ((ratings.astype(np.float64) - self.zero) / self.std).astype(np.float32)

    def fold_into(self, weights: Weights) -> Weights:
        """Weights of the network that outputs ratings where `weights` output standardised ones."""
        output = weights["output.weight"].astype(np.float64) * self.std
        bias = weights["output.bias"].astype(np.float64) * self.std + self.zero
        folded = {"output.weight": output.astype(np.float32), "output.bias": bias.astype(np.float32)}
        return {**weights, **folded}


class NeuralMF(nn.Module):
    """Embeddings, two hidden layers with ReLU and dropout, one output: the rating, see `RatingScale`.

    The last row of the users' table is the unknown user: in training it replaces a share of the users, so
    that it learns what holds for all of them.

    Args:
        n_users, n_items: sizes of the id maps.
        settings: see `NeuralMFSettings`.
    """

    def __init__(self, n_users: int, n_items: int, settings: NeuralMFSettings) -> None:
        super().__init__()
        self.users = nn.Embedding(n_users + 1, settings.dimension)
        self.items = nn.Embedding(n_items, settings.dimension)
        first, second = settings.hidden
        self.first = nn.Linear(2 * settings.dimension, first)
        self.second = nn.Linear(first, second)
        self.output = nn.Linear(second, 1)
        self.dropout = nn.Dropout(settings.dropout)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=settings.initial_std)
        if settings.standardise:
            nn.init.constant_(self.output.bias, CENTRE)  # the mean rating

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Output for pairs: (B,) and (B,) int64 rows -> (B,) float32."""
        # (B, 2d) -> (B, first) -> (B, second) -> (B, 1) -> (B,)
        pair = torch.cat([self.users(users), self.items(items)], dim=1)
        hidden = self.dropout(torch.relu(self.first(pair)))
        hidden = self.dropout(torch.relu(self.second(hidden)))
        return self.output(hidden).squeeze(1)  # type: ignore[no-any-return]
