"""NeuralMF: an MLP over user and item embeddings that predicts a rating.

The MLP half of neural collaborative filtering (He et al., WWW 2017), trained on ratings with a
squared loss instead of on clicks.
"""

import torch
from torch import Tensor, nn

from retrieval.settings import NeuralMFSettings


class NeuralMF(nn.Module):
    """Embeddings, two hidden layers with ReLU and dropout, one output: the rating.

    Args:
        n_users, n_items: sizes of the id maps.
        mean_rating: where the output starts, so that training learns deviations from it.
    """

    def __init__(self, n_users: int, n_items: int, mean_rating: float, settings: NeuralMFSettings) -> None:
        super().__init__()
        self.users = nn.Embedding(n_users, settings.dimension)
        self.items = nn.Embedding(n_items, settings.dimension)
        first, second = settings.hidden
        self.first = nn.Linear(2 * settings.dimension, first)
        self.second = nn.Linear(first, second)
        self.output = nn.Linear(second, 1)
        self.dropout = nn.Dropout(settings.dropout)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.05)
        nn.init.constant_(self.output.bias, mean_rating)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Predicted ratings of pairs: (B,) and (B,) int64 rows -> (B,) float32."""
        pair = torch.cat([self.users(users), self.items(items)], dim=1)
        hidden = self.dropout(torch.relu(self.first(pair)))
        hidden = self.dropout(torch.relu(self.second(hidden)))
        return self.output(hidden).squeeze(1)  # type: ignore[no-any-return]
