"""The exported towers: vectors whose inner product is the model's score. No torch here."""

from collections.abc import Collection
from dataclasses import InitVar, dataclass
from functools import cached_property

import numpy as np

from index import ExactIndex, ItemLists
from retrieval.arrays import Matrix, Weights
from retrieval.serving.feature_vectors import FeatureVectors

# Names of the history tower's tables among the towers' weights.
HISTORY_TABLE, PRIOR = "history.weight", "history.prior"


@dataclass(frozen=True)
class TowerVectors:
    """The exported towers; d is their dimension.

    Attributes:
        items: shape (n_items, d + 1), float32; the last column is the item's bias.
        users: shape (n_users, d + 1), float32; the last column is 1, so that
            ``users @ items.T`` is the model's score, bias included.
        history_items: shape (n_items, d), float32: the history tower's own item table, from which
            anyone with a history gets a vector; None for the id tower, which knows only its users.
        prior: shape (d,), float32: the vector of a user without a history; None for the id tower.
        features: from which items without interactions get their rows in `items` and `history_items`;
            None where the towers have no side features.

    Args:
        finite: names of matrices that the caller has found finite; they are not read again.

    Raises:
        ValueError: if shapes or dtypes do not fit together, or a value is NaN or infinite.
    """

    items: Matrix
    users: Matrix
    history_items: Matrix | None
    prior: Matrix | None
    features: FeatureVectors | None = None
    finite: InitVar[Collection[str]] = ()

    def __post_init__(self, finite: Collection[str]) -> None:
        if self.items.ndim != 2 or self.users.ndim != 2 or self.items.shape[1] != self.users.shape[1]:
            raise ValueError(
                f"item vectors {self.items.shape} and user vectors {self.users.shape} do not fit"
            )
        expected = (self.items.shape[0], self.items.shape[1] - 1)
        if self.history_items is not None and self.history_items.shape != expected:
            raise ValueError(f"the history table has shape {self.history_items.shape}, not {expected}")
        if (self.prior is None) != (self.history_items is None):
            raise ValueError("the history table and the prior belong together: there is only one of them")
        if self.prior is not None and self.prior.shape != expected[1:]:
            raise ValueError(f"the prior has shape {self.prior.shape}, not {expected[1:]}")
        known = self.features
        if known is not None and (self.prior is None or known.histories.shape[1] != expected[1]):
            raise ValueError(f"the features' vectors belong to history towers of {expected[1]} numbers")
        for name in ("items", "users", "history_items", "prior"):
            matrix = getattr(self, name)
            if matrix is None:
                continue
            if matrix.dtype != np.float32 or not (name in finite or np.isfinite(matrix).all()):
                raise ValueError(f"{name} must be finite float32 numbers")

    @property
    def dimension(self) -> int:
        """Columns of the exported vectors, bias included."""
        return int(self.items.shape[1])

    @cached_property
    def exact(self) -> ExactIndex:
        """Exact search over `items`, whose numbers have been checked above and are not read again."""
        return ExactIndex.trusted(self.items)

    @cached_property
    def cosine(self) -> ExactIndex:
        """Exact search by cosine: the item embeddings, scaled to length 1.

        Without the bias: how popular an item is says nothing about what it is like. Made at the first use,
        since only `similar_items` needs it; it takes about as much memory as `items`.
        """
        embeddings = self.items[:, :-1]  # (n_items, d)
        lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
        return ExactIndex((embeddings / np.maximum(lengths, 1e-12)).astype(np.float32))

    def weights(self) -> Weights:
        """The towers' tables by name, as a bundle keeps them."""
        tables: Weights = {"items.weight": self.items}
        if self.history_items is None or self.prior is None:
            return tables | {"users.weight": self.users}
        return tables | {HISTORY_TABLE: self.history_items, PRIOR: self.prior}

    def for_histories(self, histories: ItemLists) -> Matrix:
        """User vectors of people known only by a history: shape (len(histories), d + 1).

        Raises:
            ValueError: if the towers were trained with the id user tower.
        """
        if self.history_items is None or self.prior is None:
            raise ValueError("the id user tower has no vector for a history")
        return with_one(pool_histories(self.history_items, histories) + self.prior)


def pool_histories(table: Matrix, histories: ItemLists) -> Matrix:
    """Pool each history: the sum of its n rows, divided by sqrt(n + 1); zero for an empty history.

    The root keeps vectors of short and long histories comparable in length, where a mean would shrink the
    long ones and a sum would let them explode (SVD++: Koren, KDD 2008). The "+ 1" shrinks short histories:
    one item says less about a user than its vector claims.

    Args:
        table: shape (n_items, d), float32.
        histories: q lists of item rows.

    Returns:
        shape (q, d), float32.
    """
    lengths = histories.lengths()
    pooled = np.zeros((len(lengths), table.shape[1]), dtype=np.float32)
    filled = np.flatnonzero(lengths)
    if len(filled):
        # Blocks of whole histories keep memory bounded: each gathers about 500,000 rows.
        blocks = min(len(filled), max(1, int(lengths.sum()) // 500_000))
        for block in np.array_split(filled, blocks):
            start, stop = histories.indptr[block[0]], histories.indptr[block[-1] + 1]
            rows = table[histories.items[start:stop]]
            pooled[block] = np.add.reduceat(rows, histories.indptr[block] - start, axis=0)
        pooled[filled] /= np.sqrt(lengths[filled, None] + 1).astype(np.float32)
    return pooled


def with_one(vectors: Matrix) -> Matrix:
    """Append the constant 1 that meets the items' bias: (q, d) -> (q, d + 1)."""
    return np.hstack([vectors, np.ones((len(vectors), 1), dtype=np.float32)])
