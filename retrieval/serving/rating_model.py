"""NeuralMF at query time: the forward pass in NumPy, on saved weights. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.arrays import Matrix

Bounds = tuple[float, float]
UNBOUNDED: Bounds = (-np.inf, np.inf)
PAIRS_A_BLOCK = 65_536  # pairs predicted at a time, so that memory stays bounded

WEIGHTS = (
    "users.weight",
    "items.weight",
    "first.weight",
    "first.bias",
    "second.weight",
    "second.bias",
    "output.weight",
    "output.bias",
)


@dataclass(frozen=True)
class RatingModel:
    """A trained NeuralMF as arrays; h1 and h2 are the widths of its hidden layers.

    The first layer is linear in the concatenated embeddings. Its user half and its item half are therefore
    multiplied out once, when the model is loaded; a pair then costs one addition and two small products.

    Attributes:
        users: shape (n_users + 1, h1), float32: user embedding times its half of the first layer; the
            last row is the unknown user, see `NeuralMF`.
        items: shape (n_items, h1), float32: item embedding times its half, first bias added.
        hidden_weight, hidden_bias: shapes (h2, h1) and (h2,), float32.
        output_weight, output_bias: shapes (h2,) and (1,), float32.
        bounds: the smallest and the largest rating that it was trained on; `UNBOUNDED` where they are not
            known, as in bundles of earlier programs.

    Raises:
        ValueError: if shapes or bounds do not fit together, or a value is NaN or infinite.
    """

    users: Matrix
    items: Matrix
    hidden_weight: Matrix
    hidden_bias: Matrix
    output_weight: Matrix
    output_bias: Matrix
    bounds: Bounds = UNBOUNDED

    def __post_init__(self) -> None:
        if not self.bounds[0] <= self.bounds[1]:
            raise ValueError(f"ratings from {self.bounds[0]} to {self.bounds[1]}; expected the smaller first")
        first, second = self.users.shape[-1], self.hidden_weight.shape[0]
        expected = {
            "users": (len(self.users), first),
            "items": (len(self.items), first),
            "hidden_weight": (second, first),
            "hidden_bias": (second,),
            "output_weight": (second,),
            "output_bias": (1,),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, not {shape}")
        for name in expected:
            array = getattr(self, name)
            if array.dtype != np.float32 or not np.isfinite(array).all():
                raise ValueError(f"{name} must be finite float32 numbers")

    @property
    def unknown_user(self) -> int:
        """The row of `users` for people the model was not trained on."""
        return len(self.users) - 1

    @classmethod
    def from_weights(cls, weights: Mapping[str, Matrix], bounds: Bounds = UNBOUNDED) -> "RatingModel":
        """From the `state_dict` of a trained NeuralMF, as float32 arrays.

        Raises:
            ValueError: if a weight is missing or of the wrong shape, or the bounds are out of order.
        """
        missing = set(WEIGHTS) - set(weights)
        if missing:
            raise ValueError(f"NeuralMF's weights lack {', '.join(sorted(missing))}")
        _check_shapes(weights)
        width = weights["users.weight"].shape[1]
        first = weights["first.weight"]
        return cls(
            users=weights["users.weight"] @ first[:, :width].T,
            items=weights["items.weight"] @ first[:, width:].T + weights["first.bias"],
            hidden_weight=weights["second.weight"],
            hidden_bias=weights["second.bias"],
            output_weight=weights["output.weight"][0],
            output_bias=weights["output.bias"],
            bounds=bounds,
        )

    def predict(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> Matrix:
        """Predicted ratings of candidates, in blocks, so that memory stays bounded.

        Args:
            users: shape (q,), user rows.
            items: shape (q, c), item rows; a padding of -1 gets a meaningless but finite rating.

        Returns:
            shape (q, c), float32.
        """
        predicted = np.empty(items.shape, dtype=np.float32)
        step = max(1, PAIRS_A_BLOCK // max(1, items.shape[1]))
        for start in range(0, len(users), step):
            block = slice(start, start + step)
            # (b, 1, h1) + (b, c, h1) -> (b, c, h1) -> (b, c, h2) -> (b, c)
            first = np.maximum(self.users[users[block]][:, None, :] + self.items[items[block]], 0)
            second = np.maximum(first @ self.hidden_weight.T + self.hidden_bias, 0)
            predicted[block] = second @ self.output_weight + self.output_bias
        return predicted

    def on_scale(self, predicted: float) -> float:
        """A prediction as a rating that someone could have given: none is above 5 of 5 stars.

        For showing only. Re-ranking goes by the prediction itself: items above the scale still differ there.
        """
        return float(min(max(predicted, self.bounds[0]), self.bounds[1]))

    def predict_pairs(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> Matrix:
        """Predicted ratings of n pairs: two arrays of shape (n,) -> (n,), float32."""
        return self.predict(users, items[:, None])[:, 0]


def _check_shapes(weights: Mapping[str, Matrix]) -> None:
    """Refuse shapes that NumPy would broadcast or cut without a word, such as a bias of one number."""
    shapes = {name: weights[name].shape for name in WEIGHTS}
    width = shapes["first.weight"][-1] // 2
    first, second = shapes["second.weight"][-1], shapes["output.weight"][-1]
    expected = {
        "users.weight": (shapes["users.weight"][0], width),
        "items.weight": (shapes["items.weight"][0], width),
        "first.weight": (first, 2 * width),
        "first.bias": (first,),
        "second.weight": (second, first),
        "second.bias": (second,),
        "output.weight": (1, second),
        "output.bias": (1,),
    }
    for name, shape in expected.items():
        if shapes[name] != shape:
            raise ValueError(f"NeuralMF's {name} has shape {shapes[name]}, not {shape}")
