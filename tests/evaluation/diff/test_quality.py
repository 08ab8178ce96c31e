"""Which of two bundles gives the better lists: paired where the same users judge by the same items."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index import ItemLists
from retrieval.bundles.bundle import Bundle, open_bundle
from retrieval.bundles.fitted_system_files import read_system
from retrieval.data.ids import Id, IdMap
from retrieval.evaluation.diff.quality import ScoredSystem, compare_quality, score_system
from retrieval.evaluation.evaluate import evaluate
from retrieval.evaluation.evaluated import EvaluationData
from retrieval.evaluation.from_bundle import read_evaluated, read_evaluation_data
from retrieval.evaluation.judgements import Judgements, score_lists
from retrieval.serving.fitted_system import FittedSystem
from tests.support.models import with_weights
from tests.support.reports import with_alpha

pytestmark = pytest.mark.usefixtures("few_resamples")


@pytest.fixture(scope="module")
def bundle(artifacts: Path) -> Bundle:
    return open_bundle(artifacts)


@pytest.fixture(scope="module")
def evaluated(bundle: Bundle) -> tuple[FittedSystem, EvaluationData]:
    system = read_system(bundle, "evaluated")
    return system, read_evaluation_data(bundle, system)


def test_the_paired_difference_and_both_figures_are_those_of_the_report(
    bundle: Bundle, evaluated: tuple[FittedSystem, EvaluationData]
) -> None:
    system, data = evaluated
    plain = with_alpha(system, 0.0)
    plain = replace(plain, model=replace(with_weights(plain.model, trend_weight=0.0), serves="exact"))
    blended = with_alpha(system, 2.0)
    found = compare_quality(score_system(plain, data, 10), score_system(blended, data, 10), 10)
    report = evaluate(replace(read_evaluated(bundle), model=blended.model), 10)
    served = found.stages[0]
    assert (served.one, served.other, found.paired) == ("exact", "ann+rerank", True)
    wanted = {
        "ndcg": (report.stages["exact"].ndcg, report.stages["ann+rerank"].ndcg),
        "recall": (report.stages["exact"].recall, report.stages["ann+rerank"].recall),
        "precision": (report.stages["exact"].precision, report.stages["ann+rerank"].precision),
    }
    assert {each.metric: (each.one, each.other) for each in served.metrics} == wanted
    # The report compares the two through a third: ann+rerank - exact+rerank, exact+rerank - exact.
    steps = {(each.stage, each.against): each for each in report.comparisons}
    through = (steps["exact+rerank", "exact"], steps["ann+rerank", "exact+rerank"])
    ndcg = served.metrics[-1]
    assert ndcg.difference.value == pytest.approx(sum(each.difference.value for each in through), abs=1e-12)
    assert ndcg.users_one == ndcg.users_other == report.judged_users > 20


def test_the_paired_interval_and_p_value_are_those_of_the_report(
    bundle: Bundle, evaluated: tuple[FittedSystem, EvaluationData]
) -> None:
    system, data = evaluated
    served_exactly = replace(system, model=replace(with_weights(system.model, alpha=2.0), serves="exact"))
    plain = replace(served_exactly, model=with_weights(served_exactly.model, alpha=0.0, trend_weight=0.0))
    ndcg = (
        compare_quality(score_system(plain, data, 10), score_system(served_exactly, data, 10), 10)
        .stages[0]
        .metrics[-1]
    )
    report = evaluate(replace(read_evaluated(bundle), model=served_exactly.model), 10)
    step = next(
        each for each in report.comparisons if (each.stage, each.against) == ("exact+rerank", "exact")
    )
    assert step.difference.value != 0
    assert (ndcg.difference, ndcg.p_value) == (step.difference, step.p_value)


def judged_of(answers: dict[Id, tuple[list[int], list[int]]], items: list[Id] | None = None) -> ScoredSystem:
    """Each user's list of two and relevant items, as rows of items 0 to 9 or of those given."""
    users = IdMap.from_values(list(answers))
    ordered = [answers[user] for user in users.ids.tolist()]
    pairs = [(row, item) for row, (_, relevant) in enumerate(ordered) for item in relevant]
    owners, hits = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    judgements = Judgements(np.arange(len(users)), ItemLists.from_pairs(owners, hits, len(users)))
    lists = np.array([listed for listed, _ in ordered], dtype=np.int64)
    catalogue = IdMap.from_values(items or list(range(10)))
    return ScoredSystem(users, catalogue, judgements, {"exact": score_lists(lists, judgements, 2)}, "exact")


ANSWERS: dict[Id, tuple[list[int], list[int]]] = {2: ([1, 2], [1]), 9: ([5, 6], []), 10: ([3, 4], [8])}


def test_differences_worked_by_hand_are_paired_by_id_not_by_place() -> None:
    one = judged_of(ANSWERS)
    other = judged_of({"2": ([2, 1], [1]), "9": ([0, 1], []), "10": ([8, 3], [8])})  # 10 comes first here
    found = compare_quality(one, other, 2)
    assert (found.paired, found.users_one, found.users_other, found.shared_users) == (True, 3, 3, 3)
    precision, recall, ndcg = found.stages[0].metrics
    second = 1 / np.log2(3)  # what a hit at rank 2 is worth where there is one relevant item
    assert (precision.one.value, precision.other.value) == pytest.approx((1 / 6, 1 / 3))
    assert (recall.one.value, recall.other.value) == pytest.approx((1 / 2, 1))
    assert (ndcg.one.value, ndcg.other.value) == pytest.approx((1 / 2, (second + 1) / 2))
    assert ndcg.difference.value == pytest.approx(second / 2)
    # Of the two users' differences, second - 1 and 1; no resample of pairs goes beyond them.
    assert (ndcg.difference.low, ndcg.difference.high) == pytest.approx((second - 1, 1))
    assert ndcg.p_value == 1  # every pattern of the two signs is as far from 0 or farther
    assert (precision.users_one, ndcg.users_one, ndcg.users_other) == (3, 2, 2)


def test_only_the_same_users_with_the_same_relevant_items_are_paired() -> None:
    one = judged_of(ANSWERS)
    assert compare_quality(one, judged_of(ANSWERS), 2).unpaired is None
    fewer = {user: answer for user, answer in ANSWERS.items() if user != 9}
    for other in (fewer, fewer | {11: ANSWERS[9]}):
        for mine, theirs in ((one, judged_of(other)), (judged_of(other), one)):
            found = compare_quality(mine, theirs, 2)
            assert (found.unpaired, found.shared_users) == ("other users", 2)
    more = judged_of(ANSWERS | {9: ([5, 6], [7])})
    renamed = judged_of(ANSWERS, [0, *range(11, 20)])  # the same rows, which are other items
    for other in (more, renamed):
        for mine, theirs in ((one, other), (other, one)):
            assert compare_quality(mine, theirs, 2).unpaired == "other relevant items"


def test_what_is_not_paired_is_a_difference_of_means_without_a_p_value() -> None:
    one, other = judged_of(ANSWERS), judged_of({7: ([1, 2], [1]), 8: ([1, 2], [2])})
    precision = compare_quality(one, other, 2).stages[0].metrics[0]
    assert (precision.users_one, precision.users_other, precision.p_value) == (3, 2, None)
    assert precision.difference.value == pytest.approx(1 / 2 - 1 / 6)


def test_nobody_to_judge_by_is_not_measured() -> None:
    nobody = judged_of({1: ([1, 2], [])})
    for other in (nobody, judged_of(ANSWERS)):
        for stage in compare_quality(nobody, other, 2).stages:
            _, recall, ndcg = stage.metrics
            assert np.isnan((recall.difference.value, ndcg.difference.value, ndcg.difference.low)).all()
