"""A fitted system with other items: added, replaced or removed, nothing trained again.

Every array over items keeps its rows sorted by id, so that an id order and a row order stay the same thing;
only the FAISS index is appended to, see `index.changes`.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from index import ItemLists
from retrieval.errors import DataError, NotFoundError, UsageError
from retrieval.fitted import FittedSystem, title_array
from retrieval.ids import IdMap
from retrieval.rating_model import RatingModel
from retrieval.two_stage import recent_demand
from retrieval.vectors import Matrix, TowerVectors, Weights

