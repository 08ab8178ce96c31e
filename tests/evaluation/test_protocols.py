import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from index import AnnIndex, ItemLists
from retrieval.arrays import Rows
from retrieval.data.encoded import EncodedInteractions
from retrieval.data.ids import IdMap
from retrieval.data.matrices import positive_matrix
from retrieval.evaluation import protocols as protocols_module
from retrieval.evaluation.baselines import recent_popularity
from retrieval.evaluation.evaluate import evaluate, neural_mf_lists
from retrieval.evaluation.evaluated import Evaluated
from retrieval.evaluation.judgements import rank_by_scores
from retrieval.evaluation.protocols import ListsOf, ProtocolScores, score_as_notebook, score_by_standard
from retrieval.evaluation.report import Report
from retrieval.pipeline.build import Build
from retrieval.serving.rating_model import RatingModel
from retrieval.serving.rerank import BlendWeights
from retrieval.serving.tower_vectors import TowerVectors
from retrieval.serving.two_stage import TwoStageModel
from retrieval.training.linear_models import Ease, ItemKnn
from tests.support.models import with_weights

pytestmark = pytest.mark.usefixtures("few_resamples")

Row = tuple[int, int, float]
# From a user and the items allowed to him (ascending ids), the order of a stage.
Ranking = Callable[[int, list[int]], list[int]]

THRESHOLD = 4.0


@dataclass(frozen=True)
class Figures:
    """A stage's figures, one for each user who has them, users ascending."""

    precision: list[float]
    recall: list[float]
    ndcg: list[float]


def naive_notebook(train: list[Row], test: list[Row], k: int, rank: Ranking) -> Figures:
    """The definitions word by word, in external ids; rows without a rating count as liked."""
    known, catalogue = {user for user, *_ in train}, sorted({item for _, item, _ in train})
    warm = [(user, item, rating) for user, item, rating in test if user in known and item in catalogue]
    in_test_rows = {item for _, item, _ in warm}
    found = Figures([], [], [])
    for user in sorted({user for user, *_ in warm}):
        seen = {item for who, item, _ in train if who == user}
        rated = {item for who, item, _ in warm if who == user} - seen
        liked = {item for who, item, rating in warm if who == user and rating >= THRESHOLD} - seen
        unseen = [item for item in catalogue if item not in seen]
        top = rank(user, unseen)[:k]
        restricted = rank(user, [item for item in unseen if item in in_test_rows])[:k]
        found.precision.append(len(set(restricted) & liked) / k)
        if liked:
            found.recall.append(len(set(top) & liked) / len(liked))
        if rated:
            gain = sum(1 / math.log2(place + 1) for place, item in enumerate(top, start=1) if item in rated)
            ideal = sum(1 / math.log2(place + 1) for place in range(1, min(len(rated), k) + 1))
            found.ndcg.append(gain / ideal)
    return found


def by_score(scores: dict[tuple[int, int], float]) -> Ranking:
    """Best score first, equal scores by id."""
    return lambda user, items: sorted(items, key=lambda item: (-scores[user, item], item))


def encoded(rows: list[Row], users: IdMap, items: IdMap, rated: bool) -> EncodedInteractions:
    schema = {"user": pl.Int64, "item": pl.Int64, "rating": pl.Float32}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return EncodedInteractions.from_frame(frame if rated else frame.drop("rating"), users, items)


@dataclass(frozen=True)
class Case:
    """A small table of train and test rows, and the scores of some stages for every pair."""

    train: list[Row]
    test: list[Row]
    k: int
    rated: bool
    stages: dict[str, dict[tuple[int, int], float]]

    @property
    def ids(self) -> tuple[IdMap, IdMap]:
        return tuple(IdMap.from_values([row[column] for row in self.train]) for column in (0, 1))  # type: ignore[return-value]

    @property
    def slices(self) -> tuple[EncodedInteractions, EncodedInteractions]:
        return tuple(encoded(rows, *self.ids, self.rated) for rows in (self.test, self.train))  # type: ignore[return-value]

    def lists_of(self, calls: list[int] | None = None) -> ListsOf:
        users, items = (ids.ids.tolist() for ids in self.ids)
        tables = {
            name: np.array([[scores[user, item] for item in items] for user in users], dtype=np.float32)
            for name, scores in self.stages.items()
        }

        def lists_of(of: Rows, exclude: ItemLists) -> dict[str, Rows]:
            assert len(exclude) == len(of)
            if calls is not None:
                calls.append(len(of))
            return {
                name: rank_by_scores(lambda rows, table=table: table[rows], of, exclude, self.k, len(items))
                for name, table in tables.items()
            }

        return lists_of

    def lists(self) -> dict[str, Rows]:
        """Of all warm test users, from among everything they have not met in train."""
        test, train = self.slices
        users = np.unique(test.users)
        return self.lists_of()(users, train.item_lists().take(users))

    def scored(self, protocol: Callable[..., ProtocolScores] = score_as_notebook) -> ProtocolScores:
        return protocol(*self.slices, THRESHOLD, self.k, self.lists(), self.lists_of())


@st.composite
def cases(draw: st.DrawFn) -> Case:
    n_users, n_items = draw(st.integers(1, 5)), draw(st.integers(1, 7))
    pairs = st.tuples(st.integers(1, n_users + 1), st.integers(1, n_items + 1))  # the last ones may stay cold
    ratings = st.sampled_from([1.0, 3.5, 4.0, 5.0])
    rated = draw(st.booleans())

    def rows(least: int) -> list[Row]:
        drawn = draw(st.lists(pairs, unique=True, min_size=least, max_size=16))
        return [(*pair, draw(ratings) if rated else 5.0) for pair in drawn]

    train, test = rows(1), rows(1)
    users, items = {user for user, *_ in train}, {item for _, item, _ in train}
    assume(any(user in users and item in items for user, item, _ in test))
    score = st.integers(-1, 2).map(float)  # many ties
    stages = {
        name: {(user, item): draw(score) for user in users for item in items}
        for name in draw(st.sampled_from([("one",), ("one", "two", "three")]))
    }
    return Case(train, test, draw(st.integers(1, 9)), rated, stages)


# Users 1-3 rank 50, 40, 30, 20, 10, each without what he saw in train. User 3's test row repeats train,
# so it is no hit, but its item 50 occurs in the warm test rows, as 20, 30, 10 do; item 40 does not.
# Users 4 and item 60 are unknown to train.
BY_HAND = Case(
    train=[(1, 10, 5.0), (2, 20, 1.0), (3, 30, 3.0), (3, 40, 3.0), (3, 50, 3.0)],
    test=[
        *((1, 20, 5.0), (1, 30, 2.0), (1, 60, 5.0)),
        *((2, 10, 4.0), (2, 30, 4.0)),
        *((3, 50, 5.0), (4, 40, 5.0)),
    ],
    k=3,
    rated=True,
    stages={"a": {(user, item): float(item) for user in (1, 2, 3) for item in (10, 20, 30, 40, 50)}},
)


def test_the_notebooks_figures_by_hand() -> None:
    scored = BY_HAND.scored()
    scores = scored.scores["a"]
    assert scores.lists.tolist() == [[4, 3, 2], [4, 3, 2], [1, 0, -1]]
    # Among test items: 50 30 20 with 20 liked; 50 30 10 with 30 and 10 liked; 20 10 with nothing liked.
    assert scores.precision == pytest.approx([1 / 3, 2 / 3, 0])
    # Of the whole catalogue 50 40 30: user 1 liked only 20; user 2 liked 30 and 10.
    assert scores.recall == pytest.approx([0, 1 / 2])
    # 30 at rank 3 was rated by both, 2 or not; each has two rated items: 0.5 of 1 + 1 / log2(3).
    assert scores.ndcg == pytest.approx([0.5 / 1.63093] * 2, rel=1e-5)
    assert scored.users.tolist() == [0, 1, 2]
    assert scored.judged_users == 2


@pytest.mark.parametrize("rating", [5.0, 1.0])
def test_an_item_of_any_warm_test_row_competes_for_precision(rating: float) -> None:
    """50 does by its one row, which repeats train: whatever that was rated, 20 and 10 come third."""
    test = [(3, 50, rating) if row[:2] == (3, 50) else row for row in BY_HAND.test]
    scores = replace(BY_HAND, test=test, k=2).scored().scores["a"]
    assert scores.precision == pytest.approx([0, 1 / 2, 0])
    without = [row for row in test if row[0] != 3]
    scores = replace(BY_HAND, test=without, k=2).scored().scores["a"]
    assert scores.precision == pytest.approx([1 / 2, 1])


def test_the_standard_figures_of_the_same_table_by_hand() -> None:
    scored = BY_HAND.scored(score_by_standard)
    scores = scored.scores["a"]
    assert scores.precision == pytest.approx([0, 1 / 3, 0])
    assert scores.recall == pytest.approx([0, 1 / 2])
    assert scores.ndcg == pytest.approx([0, 0.5 / 1.63093], rel=1e-5)
    assert scored.judged_users == 2


def test_ndcg_judges_also_those_who_liked_nothing() -> None:
    case = replace(BY_HAND, test=[(1, 50, 1.0), (2, 10, 5.0)])
    scored = case.scored()
    assert scored.judged_users == 2
    assert scored.scores["a"].ndcg == pytest.approx([1, 0])  # 50 comes first, 10 fourth
    assert scored.scores["a"].recall.tolist() == [0]
    assert case.scored(score_by_standard).judged_users == 1


@given(cases(), st.sampled_from([1, 10, 20, 4_000_000]))
@example(BY_HAND, 1)
@settings(max_examples=100)
def test_the_notebook_protocol_is_the_naive_one_whatever_the_blocks(case: Case, a_block: int) -> None:
    calls: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocols_module, "EXCLUDED_A_BLOCK", a_block)
        scored = score_as_notebook(*case.slices, THRESHOLD, case.k, case.lists(), case.lists_of(calls))
    # The whole catalogue's lists were given; those from among the test items are made in blocks.
    n_users, n_items = len(scored.users), len(case.ids[1])
    assert sum(calls) == n_users
    assert max(calls) == min(max(1, a_block // n_items), n_users)
    assert list(scored.scores) == list(case.stages)
    for name, scores in case.stages.items():
        expected = naive_notebook(case.train, case.test, case.k, by_score(scores))
        found = scored.scores[name]
        assert found.precision == pytest.approx(expected.precision)
        assert found.recall == pytest.approx(expected.recall)
        assert found.ndcg == pytest.approx(expected.ndcg)
        assert scored.judged_users == len(expected.ndcg)


@given(cases())
def test_lists_are_those_of_the_standard_protocol_and_hold_nothing_seen(case: Case) -> None:
    notebook, standard = case.scored(), case.scored(score_by_standard)
    seen = case.slices[1].item_lists().take(notebook.users)
    np.testing.assert_array_equal(notebook.users, standard.users)
    for name, scores in notebook.scores.items():
        np.testing.assert_array_equal(scores.lists, standard.scores[name].lists)
        np.testing.assert_array_equal(scores.recall, standard.scores[name].recall)
        assert not seen.contains(np.arange(len(notebook.users)), scores.lists).any()
        # Fewer competitors for the same hits.
        assert (scores.precision >= standard.scores[name].precision).all()


# The whole system


def planted_model(ratings: np.ndarray, seen: ItemLists) -> TwoStageModel:
    """Predicts this table of ratings (n_users, n_items), of positive numbers; retrieval knows nothing."""
    n_users, n_items = ratings.shape
    one, zero = np.ones(1, dtype=np.float32), np.zeros(1, dtype=np.float32)
    item_half = np.where(np.eye(n_items, dtype=bool), 0, -1000).astype(np.float32)
    hidden = np.ones((1, n_items), dtype=np.float32)
    rating_model = RatingModel(
        np.vstack([ratings, ratings.mean(axis=0)]).astype(np.float32), item_half, hidden, zero, one, zero
    )
    vectors = TowerVectors(np.ones((n_items, 2), np.float32), np.ones((n_users, 2), np.float32), None, None)
    ann = AnnIndex.build(vectors.items, "IVF1,Flat", seed=0, threads=1)
    return TwoStageModel(vectors, rating_model, seen, 2, weights=BlendWeights(0.5), ann=ann)


def test_neural_mf_alone_orders_the_whole_catalogue_by_predicted_rating_ties_by_row() -> None:
    ratings = np.array([[1, 3, 3, 2, 3], [2, 2, 2, 2, 2], [5, 4, 3, 2, 1]], dtype=np.float32)
    seen = ItemLists.from_pairs(np.array([0, 1, 1]), np.array([2, 0, 4]), 3)
    model = planted_model(ratings, seen)  # two candidates: too few to find these lists among
    lists = neural_mf_lists(model, np.array([2, 0, 1]), 4, seen.take(np.array([2, 0, 1])))
    assert list(lists) == ["neural_mf"]
    assert lists["neural_mf"].tolist() == [[0, 1, 2, 3], [1, 4, 3, 0], [1, 2, 3, -1]]
    # What is excluded is what was given, not what the user has seen.
    given = ItemLists.from_pairs(np.array([0, 0, 1]), np.array([1, 4, 0]), 2)
    restricted = neural_mf_lists(model, np.array([0, 2]), 4, given)
    assert restricted["neural_mf"].tolist() == [[2, 3, 0, -1], [1, 2, 3, 4]]
    without = replace(model, rating_model=None)
    assert neural_mf_lists(without, np.array([0]), 4, seen.take(np.array([0]))) == {}


@pytest.fixture(scope="module")
def evaluation(tiny_build: Build) -> Evaluated:
    """The tiny system, re-ranked for sure, and so few test rows that some items do not occur in them."""
    model, data = with_weights(tiny_build.evaluation.model, alpha=0.7), tiny_build.evaluation.data
    few = data.test.where((data.test.users + data.test.items) % 7 == 0)
    assert len(few) > 60 and len(np.unique(few.items)) < 80 < data.train.n_items
    return replace(tiny_build.evaluation, model=model, data=replace(data, test=few))


@pytest.fixture(scope="module")
def report(evaluation: Evaluated) -> Report:
    return evaluate(evaluation, 10, "notebook")


def predicted_by_hand(build: Build) -> np.ndarray:
    """NeuralMF's ratings of every pair, (n_users, n_items), layer by layer on the joined embeddings."""
    weights = build.evaluated.neural_mf_weights
    assert weights is not None
    users, items = weights["users.weight"], weights["items.weight"]
    pairs = np.concatenate(
        [np.repeat(users[:, None], len(items), axis=1), np.repeat(items[None], len(users), axis=0)], axis=2
    )
    hidden = np.maximum(pairs @ weights["first.weight"].T + weights["first.bias"], 0)
    hidden = np.maximum(hidden @ weights["second.weight"].T + weights["second.bias"], 0)
    return np.asarray(hidden @ weights["output.weight"][0] + weights["output.bias"])


def rankings(build: Build, model: TwoStageModel) -> dict[str, Ranking]:
    """Every stage but the approximate ones, from its definition."""
    users, items = build.evaluated.users.ids.tolist(), build.evaluated.items.ids.tolist()
    train, chosen = build.evaluation.data.train, build.report.baselines
    positives = train.positives(THRESHOLD)
    retrieval = model.vectors.users @ model.vectors.items.T
    predicted = predicted_by_hand(build)
    flat, matrix = np.ones((len(users), 1)), positive_matrix(positives)
    ease = Ease.fit(positives, chosen["ease_l2"]).scorer(matrix)
    item_knn = ItemKnn.fit(positives, int(chosen["item_knn_neighbours"])).scorer(matrix)
    tables = {
        "popularity": flat * np.bincount(positives.items, minlength=len(items)),
        "recent_popularity": flat * recent_popularity(positives, chosen["recent_window"]),
        "ease": ease(np.arange(len(users))),
        "item_knn": item_knn(np.arange(len(users))),
        "exact": retrieval,
        "neural_mf": predicted,
    }

    def ranking(table: np.ndarray) -> Ranking:
        scores = {
            (user, item): float(table[row, column])
            for row, user in enumerate(users)
            for column, item in enumerate(items)
        }
        return by_score(scores)

    found = {name: ranking(table) for name, table in tables.items()}

    def reranked(user: int, allowed: list[int]) -> list[int]:
        candidates = found["exact"](user, allowed)[: model.n_candidates]
        row, columns = users.index(user), [items.index(item) for item in candidates]
        blend = 0.0
        for values, weight in (
            (retrieval[row, columns], 1.0),
            (predicted[row, columns], model.weights.alpha),
        ):
            blend = blend + weight * (values - values.mean()) / values.std()
        return [candidates[place] for place in np.argsort(-blend, kind="stable")]

    return found | {"exact+rerank": reranked}


def test_the_whole_systems_report_is_the_naive_one(
    tiny_build: Build, evaluation: Evaluated, report: Report
) -> None:
    users, items = tiny_build.evaluated.users.ids.tolist(), tiny_build.evaluated.items.ids.tolist()
    data = evaluation.data
    few = {(users[user], items[item]) for user, item in zip(data.test.users, data.test.items, strict=True)}
    train, test = (
        part.select("user", "item", "rating").rows()
        for part in (tiny_build.split.train, tiny_build.split.test)
    )
    test = [row for row in test if row[:2] in few]
    for name, rank in rankings(tiny_build, evaluation.model).items():
        expected, stage = naive_notebook(train, test, 10, rank), report.stages[name]
        assert stage.precision.value == pytest.approx(np.mean(expected.precision)), name
        assert stage.recall.value == pytest.approx(np.mean(expected.recall)), name
        assert stage.ndcg.value == pytest.approx(np.mean(expected.ndcg)), name
        assert report.judged_users == len(expected.ndcg)


def test_the_report_names_its_protocol_and_has_neural_mf_as_a_stage(
    evaluation: Evaluated, report: Report
) -> None:
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    standard = evaluate(evaluation, 10).to_json()
    assert (document["protocol"], standard["protocol"]) == ("notebook", "standard")
    assert list(document["stages"]) == [
        *("popularity", "recent_popularity", "ease", "item_knn", "neural_mf"),
        *("exact", "ann", "exact+rerank", "ann+rerank"),
    ]
    assert "neural_mf" not in standard["stages"]
    # The lists are the same, so is what describes them; and the rest of the report is no protocol's.
    for name, stage in standard["stages"].items():
        for figure in ("coverage@10", "popularity_rank@10", "recall@10"):
            assert document["stages"][name][figure] == stage[figure]
    for part in ("split", "rating", "rerank", "baselines", "positive_threshold"):
        assert document[part] == standard[part]


def test_blocks_change_nothing_in_the_whole_system(
    evaluation: Evaluated, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocols_module, "EXCLUDED_A_BLOCK", 7 * evaluation.data.train.n_items)
    again = evaluate(evaluation, 10, "notebook")
    assert again.stages == report.stages
    assert again.comparisons == report.comparisons


def test_differences_are_paired_by_the_protocols_own_ndcg(report: Report) -> None:
    found = {(each.stage, each.against): each.difference.value for each in report.comparisons}
    for (stage, against), difference in found.items():
        values = (report.stages[name].ndcg.value for name in (stage, against))
        assert difference == pytest.approx(next(values) - next(values), abs=1e-12)
