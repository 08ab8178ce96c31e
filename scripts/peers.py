"""Models of other libraries behind one interface, for `benchmark_quality.py`: positives in, a scorer out.

The libraries are imported where they are used; `pip install -e '.[benchmark]'` installs them.
"""

import functools
import importlib.util
import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from retrieval.arrays import Rows, Scorer
from retrieval.data.encoded import EncodedInteractions
from retrieval.data.matrices import popularity, positive_matrix

Setting = dict[str, Any]
Space = dict[str, tuple[Any, ...]]
Fit = Callable[[EncodedInteractions, Setting, int, int], Scorer]

FACTORS = (16, 32, 64, 128)


@dataclass(frozen=True)
class Peer:
    """A model to compare with.

    Attributes:
        name: of the library and the model.
        package: what must be installed.
        fit: positives, setting, seed, threads -> scorer of user rows over all item rows; NaN where the
            model has no score.
        space: the values each setting is searched over. What a setting leaves out is the library's default.
        by_chance: whether the result depends on the seed.
    """

    name: str
    package: str
    fit: Fit
    space: Space
    by_chance: bool = True

    @property
    def installed(self) -> bool:
        """Whether its library is installed."""
        return importlib.util.find_spec(self.package) is not None

    def scorer(self, positives: EncodedInteractions, setting: Setting, seed: int, threads: int) -> Scorer:
        """Fit, with popularity where the model has no score, as its users would do."""
        return popularity_where_silent(self.fit(positives, setting, seed, threads), positives)


def popularity_where_silent(scorer: Scorer, positives: EncodedInteractions) -> Scorer:
    """Popularity for users without positives, and, below all other items, for items without a score."""
    counts = popularity(positives)
    share, silent = counts / (counts.max() + 1), positives.item_lists().lengths() == 0

    def score(users: Rows) -> np.ndarray:
        scores = np.array(scorer(users), dtype=np.float32)
        scores[silent[users]] = np.nan
        spoken = np.isfinite(scores)
        lowest = np.where(spoken, scores, np.inf).min(axis=1, keepdims=True)
        floor = np.where(np.isfinite(lowest), lowest, 0) - 1
        return np.where(spoken, scores, floor + share - 1)

    return score


def settings_to_try(space: Space, budget: int) -> list[Setting]:
    """The defaults, then others drawn from the space without repetition; the same ones every time."""
    every = [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
    order = np.random.default_rng(0).permutation(len(every))
    return [{}, *(every[i] for i in order[: budget - 1])]


def implicit_als(positives: EncodedInteractions, setting: Setting, seed: int, threads: int) -> Scorer:
    """Weighted matrix factorization by alternating least squares (Hu et al., ICDM 2008)."""
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(**setting, num_threads=threads, random_state=seed)
    model.fit(positive_matrix(positives), show_progress=False)
    return lambda users: model.user_factors[users] @ model.item_factors.T


def implicit_bpr(positives: EncodedInteractions, setting: Setting, seed: int, threads: int) -> Scorer:
    """Matrix factorization by Bayesian personalised ranking (Rendle et al., UAI 2009)."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    model = BayesianPersonalizedRanking(**setting, num_threads=threads, random_state=seed)
    model.fit(positive_matrix(positives), show_progress=False)
    return lambda users: model.user_factors[users] @ model.item_factors.T


def implicit_knn(positives: EncodedInteractions, setting: Setting, seed: int, threads: int) -> Scorer:
    """Items similar to those a user has, under one of three weightings of the users."""
    from implicit import nearest_neighbours

    kind = getattr(nearest_neighbours, f"{setting.get('weighting', 'TFIDF')}Recommender")
    model = kind(**{name: setting[name] for name in setting if name != "weighting"}, num_threads=threads)
    matrix = positive_matrix(positives)
    with warnings.catch_warnings(action="ignore"):  # that it makes a CSR matrix of its own COO one
        model.fit(matrix, show_progress=False)
    return lambda users: (matrix[users] @ model.similarity).toarray()


def lenskit_als(positives: EncodedInteractions, setting: Setting, seed: int, threads: int) -> Scorer:
    """The same model as implicit's, solved exactly; users are folded in."""
    from lenskit.als import ImplicitMFScorer

    return _lenskit(ImplicitMFScorer(**setting), positives, seed, threads)


def lenskit_item_knn(positives: EncodedInteractions, setting: Setting, seed: int, threads: int) -> Scorer:
    """Items similar to those a user has, by cosine."""
    from lenskit.knn import ItemKNNScorer

    return _lenskit(ItemKNNScorer(**setting, feedback="implicit"), positives, seed, threads)


def lenskit_user_knn(positives: EncodedInteractions, setting: Setting, seed: int, threads: int) -> Scorer:
    """Items of similar users, by cosine."""
    from lenskit.knn import UserKNNScorer

    return _lenskit(UserKNNScorer(**setting, feedback="implicit"), positives, seed, threads)


def lenskit_flexmf(positives: EncodedInteractions, setting: Setting, seed: int, threads: int) -> Scorer:
    """Matrix factorization by gradient descent; the loss "pairwise" is BPR."""
    from lenskit.flexmf import FlexMFImplicitScorer

    return _lenskit(FlexMFImplicitScorer(**setting), positives, seed, threads)


def _lenskit(component: Any, positives: EncodedInteractions, seed: int, threads: int) -> Scorer:
    """Train one of LensKit's scorers and ask it user by user, the way its pipelines do."""
    import pandas as pd
    from lenskit.data import ItemList, RecQuery, from_interactions_df
    from lenskit.training import TrainingOptions

    set_lenskit_threads(threads)
    pairs = pd.DataFrame({"user_id": positives.users, "item_id": positives.items})
    histories, everything = positives.item_lists(), ItemList(item_ids=np.arange(positives.n_items))
    component.train(from_interactions_df(pairs), TrainingOptions(rng=seed))

    def score(user: int) -> np.ndarray:
        start, end = histories.indptr[user : user + 2]
        query = RecQuery(user_id=user, history_items=ItemList(item_ids=histories.items[start:end]))
        return component(query, everything).scores()

    def score_all(users: Rows) -> np.ndarray:
        with warnings.catch_warnings(action="ignore"):  # that torch reads an array it may not write
            return np.stack([score(user) for user in users.tolist()])

    return score_all


@functools.cache
def set_lenskit_threads(threads: int) -> None:
    """Set LensKit's threads once in a process, before torch has worked; LensKit refuses later."""
    from lenskit.parallel import initialize

    initialize(processes=1, threads=threads, backend_threads=threads)


PEERS = (
    Peer(
        "implicit ALS",
        "implicit",
        implicit_als,
        {
            "factors": FACTORS,
            "regularization": (1.0, 10.0, 30.0, 100.0, 300.0),
            "alpha": (1.0, 4.0, 16.0, 40.0),
            "iterations": (10, 30),
        },
    ),
    Peer(
        "implicit BPR",
        "implicit",
        implicit_bpr,
        {
            "factors": FACTORS,
            "learning_rate": (0.003, 0.01, 0.03, 0.1),
            "regularization": (0.001, 0.01, 0.03, 0.1),
            "iterations": (30, 100, 300),
        },
    ),
    Peer(
        "implicit item-kNN",
        "implicit",
        implicit_knn,
        {"weighting": ("Cosine", "TFIDF", "BM25"), "K": (20, 50, 100, 200, 500, 1000)},
        by_chance=False,
    ),
    Peer(
        "LensKit ALS",
        "lenskit",
        lenskit_als,
        {
            "embedding_size": FACTORS,
            "regularization": (1.0, 10.0, 30.0, 100.0, 300.0),
            "weight": (1.0, 4.0, 16.0, 40.0),
            "epochs": (10, 30),
        },
    ),
    Peer(
        "LensKit FlexMF",
        "lenskit",
        lenskit_flexmf,
        {
            # Without "warp", whose search for negatives takes 2025.8.1 half a minute an epoch on 40,000 rows.
            "loss": ("pairwise", "logistic"),
            "embedding_size": FACTORS,
            "learning_rate": (0.003, 0.01, 0.03),
            "regularization": (0.001, 0.01, 0.1),
            "epochs": (10, 30, 100),
        },
    ),
    Peer(
        "LensKit item-kNN",
        "lenskit",
        lenskit_item_knn,
        {"max_nbrs": (20, 50, 100, 200, 500, 1000), "min_sim": (1e-6, 0.03, 0.1)},
        by_chance=False,
    ),
    Peer(
        "LensKit user-kNN",
        "lenskit",
        lenskit_user_knn,
        {"max_nbrs": (20, 50, 100, 200, 500, 1000), "min_sim": (1e-6, 0.03, 0.1)},
        by_chance=False,
    ),
)
