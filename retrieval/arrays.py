"""The arrays that modules exchange: one name and one dtype each."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# Row numbers of users or items.
Rows = NDArray[np.int64]
# One score an item, or users x items; larger is better.
Scores = NDArray[np.float32]
# Vectors, one a row.
Matrix = NDArray[np.float32]
# A model's trained tensors, by name.
Weights = dict[str, NDArray[np.float32]]
# One value of a metric for each validation list or rating, larger is better; training stops on the mean.
MetricValues = NDArray[np.float64]
# User rows -> scores (users, items) of every item of the catalogue.
Scorer = Callable[[Rows], Scores]
