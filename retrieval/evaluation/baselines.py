"""The ranking baselines, tuned on validation: popularity, recent popularity, EASE, item-kNN."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from index import ItemLists
from retrieval.arrays import Rows, Scorer, Scores
from retrieval.data.encoded import EncodedInteractions
from retrieval.data.matrices import gram_matrix, popularity, positive_matrix
from retrieval.evaluation.judgements import Judgements, rank_by_scores, score_lists
from retrieval.training.linear_models import EASE_MAX_ITEMS, Ease, ItemKnn

RECENT_WINDOWS = (0.02, 0.05, 0.1, 0.2, 0.5)
EASE_L2 = (100.0, 300.0, 1000.0, 3000.0)
ITEM_KNN_NEIGHBOURS = (50, 200, 1000)


def recent_popularity(positives: EncodedInteractions, window: float) -> Scores:
    """Positives of each item among the most recent ones; all-time popularity breaks ties.

    Args:
        positives: of train.
        window: share of all positives that is recent, in (0, 1].

    Returns:
        shape (n_items,), float32.

    Raises:
        ValueError: if the positives have no timestamps.
    """
    if positives.timestamps is None:
        raise ValueError("without timestamps nothing is recent")
    start = np.quantile(positives.timestamps, 1 - window)
    recent = popularity(positives.where(positives.timestamps >= start))
    overall = popularity(positives)
    return np.asarray(recent + overall / (overall.max() + 1), dtype=np.float32)


def popular_now(positives: EncodedInteractions, window: float | None) -> Scores:
    """Recent popularity, or all-time popularity where `window` is None: shape (n_items,), float32."""
    return popularity(positives) if window is None else recent_popularity(positives, window)


@dataclass(frozen=True)
class BaselineSet:
    """The ranking baselines, fitted on one train slice with settings chosen on validation.

    Attributes:
        train: the slice they are fitted on.
        threshold: ratings from here on are positive.
        window: share of the positives that is recent; None where there are no timestamps.
        ease: None where it was left out, as with more than `EASE_MAX_ITEMS` items.
        ease_l2: its L2 regularisation.
        item_knn: None where the bundle is older than this baseline.
        item_knn_neighbours: number of neighbours that each item keeps.
    """

    train: EncodedInteractions
    threshold: float
    window: float | None
    ease: Ease | None
    ease_l2: float
    item_knn: ItemKnn | None
    item_knn_neighbours: int

    @classmethod
    def choose(
        cls,
        train: EncodedInteractions,
        validation: Judgements,
        threshold: float,
        k: int,
        *,
        with_ease: bool = True,
    ) -> "BaselineSet":
        """Fit on train, with the settings of the best NDCG@k on validation.

        Args:
            validation: warm users of validation and their relevant items.
            threshold: ratings from here on are positive.
            with_ease: False leaves EASE out, whatever the size of the catalogue.
        """
        positives, exclude = train.positives(threshold), train.item_lists().take(validation.users)

        def ndcg(scorer: Scorer) -> float:
            lists = rank_by_scores(scorer, validation.users, exclude, k, train.n_items)
            return float(np.mean(score_lists(lists, validation, k).ndcg))

        window = None
        if train.timestamps is not None:
            window = max(
                RECENT_WINDOWS, key=lambda share: ndcg(same_for_all(recent_popularity(positives, share)))
            )
        ease, ease_l2, matrix = None, 0.0, positive_matrix(positives)
        if with_ease and train.n_items <= EASE_MAX_ITEMS:
            gram = gram_matrix(positives)
            ease_l2, ease = max(
                ((l2, Ease.from_gram(gram, l2)) for l2 in EASE_L2),
                key=lambda candidate: ndcg(candidate[1].scorer(matrix)),
            )
        widest = ItemKnn.fit(positives, max(ITEM_KNN_NEIGHBOURS))
        neighbours, item_knn = max(
            ((size, widest.narrowed(size)) for size in ITEM_KNN_NEIGHBOURS),
            key=lambda candidate: ndcg(candidate[1].scorer(matrix)),
        )
        return cls(
            train=train,
            threshold=threshold,
            window=window,
            ease=ease,
            ease_l2=ease_l2,
            item_knn=item_knn,
            item_knn_neighbours=neighbours,
        )

    @classmethod
    def fit(cls, train: EncodedInteractions, threshold: float, settings: dict[str, float]) -> "BaselineSet":
        """Fit on train with known settings, those of the property `settings`."""
        positives, l2 = train.positives(threshold), settings.get("ease_l2")
        ease = None if l2 is None else Ease.fit(positives, l2)
        neighbours = int(settings.get("item_knn_neighbours", 0))
        item_knn = ItemKnn.fit(positives, neighbours) if neighbours else None
        return cls(
            train=train,
            threshold=threshold,
            window=settings.get("recent_window"),
            ease=ease,
            ease_l2=l2 or 0.0,
            item_knn=item_knn,
            item_knn_neighbours=neighbours,
        )

    @property
    def settings(self) -> dict[str, float]:
        """The chosen settings by name; a baseline that was left out has none."""
        chosen: dict[str, float] = {}
        if self.window is not None:
            chosen["recent_window"] = self.window
        if self.ease is not None:
            chosen["ease_l2"] = self.ease_l2
        if self.item_knn is not None:
            chosen["item_knn_neighbours"] = self.item_knn_neighbours
        return chosen

    @property
    def popularity(self) -> Scores:
        """Positives of each item: shape (n_items,)."""
        return popularity(self.train.positives(self.threshold))

    def scorers(self, matrix: sparse.csr_matrix) -> dict[str, Scorer]:
        """Every baseline as a scorer of the rows of `matrix`.

        Args:
            matrix: shape (users, n_items), the positives of each user, who need not be users of train.
        """
        positives = self.train.positives(self.threshold)
        overall = popularity(positives)
        scorers = {"popularity": same_for_all(overall)}
        if self.window is not None:
            scorers["recent_popularity"] = same_for_all(recent_popularity(positives, self.window))
        if self.ease is not None:
            scorers["ease"] = ties_by(self.ease.scorer(matrix), overall)
        if self.item_knn is not None:
            scorers["item_knn"] = ties_by(self.item_knn.scorer(matrix), overall)
        return scorers

    def lists(self, users: Rows, k: int, exclude: ItemLists) -> dict[str, Rows]:
        """Top-k lists (q, k) of every baseline for users of train, without their excluded items (q lists)."""
        matrix = positive_matrix(self.train.positives(self.threshold))
        return self.lists_by(self.scorers(matrix), users, k, exclude)

    def lists_by(
        self, scorers: dict[str, Scorer], users: Rows, k: int, exclude: ItemLists
    ) -> dict[str, Rows]:
        """Top-k lists (q, k) of each of the scorers, without each user's excluded items (q lists)."""
        return {
            name: rank_by_scores(scorer, users, exclude, k, self.train.n_items)
            for name, scorer in scorers.items()
        }


def ties_by(scorer: Scorer, popularity: Scores) -> Scorer:
    """The same scorer with popularity breaking ties, as between the zeros of a user without positives."""
    # Far below any difference of scores that means something.
    least = (1e-6 * popularity / max(float(popularity.max()), 1)).astype(np.float32)
    return lambda users: np.asarray(scorer(users) + least, dtype=np.float32)


def same_for_all(scores: Scores) -> Scorer:
    """A scorer that gives every user the same scores, shape (n_items,)."""
    return lambda users: np.broadcast_to(scores, (len(users), len(scores)))
