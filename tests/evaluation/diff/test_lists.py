import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index import AnnIndex, ItemLists
from retrieval.data.ids import Id, IdMap
from retrieval.evaluation.diff.lists import (
    MovedItem,
    compare_lists,
    item_codes,
    overlaps,
    same_lists,
    shared_rows,
)
from retrieval.serving.fitted_system import FittedSystem
from retrieval.serving.tower_vectors import TowerVectors
from retrieval.serving.two_stage import TwoStageModel


def rows(*lists: list[int]) -> np.ndarray:
    width = max(map(len, lists))
    padded = [each + [-1] * (width - len(each)) for each in lists]
    return np.array(padded, dtype=np.int64).reshape(len(lists), width)


def system_of(
    order: dict[Id, list[Id]], items: list[Id], seen: dict[Id, list[Id]], prefix: str = ""
) -> FittedSystem:
    """A system that lists the items in the order given for each user; those it does not give come last."""
    users, catalogue = IdMap.from_values(list(order)), IdMap.from_values(items)
    scores = np.zeros((len(users), len(catalogue)), dtype=np.float32)
    for user, ranked in order.items():
        scores[users.rows([user])[0], catalogue.rows(ranked)] = np.arange(len(ranked), 0, -1)
    identity = np.eye(len(catalogue), dtype=np.float32)
    pairs = [(users.row(user), catalogue.row(item)) for user, known in seen.items() for item in known]
    owners, met = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    model = TwoStageModel(
        vectors=TowerVectors(identity, scores, None, None),
        ann=AnnIndex.build(identity, "Flat", seed=1, threads=1),
        rating_model=None,
        seen=ItemLists.from_pairs(owners, met, len(users)),
        n_candidates=len(catalogue),
        serves="exact",
    )
    titles = np.array([f"{prefix}{item}" if prefix else "" for item in catalogue.ids])
    return FittedSystem(model, users, catalogue, titles, np.zeros(len(catalogue), np.float32), {}, None)


# Users 1 and 2 are served by both, 3 by one, 4 by the other; items 60, and 5 and 70, are of one side alone.
ONE = system_of({1: [10, 20, 60], 2: [30, 40, 10], 3: [10]}, [10, 20, 30, 40, 60], {}, "film ")
OTHER = system_of({1: [20, 10, 30], 2: [30, 40, 10], 4: [10]}, [5, 10, 20, 30, 40, 70], {})


def test_shares_worked_by_hand() -> None:
    one = rows([1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4], [1, 2], [], [], [7, 8])
    other = rows([4, 3, 2, 1], [1, 2, 9, 8], [5, 6, 7, 8], [2, 3, 4, 5], [1], [], [8, 7])
    found = overlaps(one, other)
    np.testing.assert_array_equal(found, [1, 0.5, 0, 0.25, 0, np.nan, 1])


def test_lists_of_different_widths_are_compared() -> None:
    assert overlaps(rows([1, 2]), rows([2, 3, 4])).tolist() == [pytest.approx(1 / 3)]
    assert same_lists(rows([1, 2], [1, 2]), rows([1, 2, 3], [1, 2])).tolist() == [False, True]


def test_a_list_is_the_very_same_only_in_the_same_order() -> None:
    one, other = rows([1, 2, 3], [1, 2, 3], [1, 2]), rows([1, 2, 3], [1, 3, 2], [1, 2])
    assert same_lists(one, other).tolist() == [True, False, True]
    assert overlaps(one, other).tolist() == [1, 1, 1]


LISTS = st.lists(st.integers(0, 12), max_size=6, unique=True)


@given(st.lists(st.tuples(LISTS, LISTS), min_size=1, max_size=5))
def test_the_share_is_that_of_plain_sets_whichever_comes_first(
    pairs: list[tuple[list[int], list[int]]],
) -> None:
    one, other = (rows(*(pair[side] for pair in pairs)) for side in (0, 1))
    expected = [
        len({*mine} & {*theirs}) / max(len(mine), len(theirs)) if mine or theirs else np.nan
        for mine, theirs in pairs
    ]
    np.testing.assert_array_equal(overlaps(one, other), expected)
    np.testing.assert_array_equal(overlaps(other, one), expected)


def test_ids_are_matched_as_numbers_and_as_text() -> None:
    numbers, text = IdMap.from_values([7, 10, 9]), IdMap.from_values(["10", "9", "09", "x"])
    assert [each.tolist() for each in shared_rows(numbers, IdMap.from_values([9, 8, 7]))] == [[0, 1], [0, 2]]
    of_numbers, of_text = shared_rows(numbers, text)
    assert numbers.ids[of_numbers].tolist() == [10, 9]
    assert text.ids[of_text].tolist() == ["10", "9"]
    assert [each.tolist() for each in shared_rows(text, numbers)] == [of_text.tolist(), of_numbers.tolist()]
    assert item_codes(numbers, text).tolist() == [3, 2, 1, 6]  # 09 and x are nobody else's


def test_two_small_systems_worked_by_hand() -> None:
    found = compare_lists(ONE, OTHER, k=3, users=10)
    assert (found.k, found.shared_users, found.users, found.same) == (3, 2, 2, 1)
    assert found.overlap.value == pytest.approx((2 / 3 + 1) / 2)  # {10, 20} of three, and all of user 2's
    assert found.more_in_one == (MovedItem("60", "film 60", 1, 0, known_to_both=False),)
    assert found.more_in_other == (MovedItem("30", None, 1, 2, known_to_both=True),)


def test_the_other_way_round_only_the_sides_change() -> None:
    there, back = compare_lists(ONE, OTHER, k=3, users=10), compare_lists(OTHER, ONE, k=3, users=10)
    assert (back.overlap, back.same, back.users) == (there.overlap, there.same, there.users)
    swapped = [(each.item, each.title, each.other, each.one) for each in back.more_in_other]
    assert swapped == [(each.item, each.title, each.one, each.other) for each in there.more_in_one]
    assert [each.item for each in back.more_in_one] == ["30"]


def test_users_with_nothing_left_to_list_are_not_counted() -> None:
    everything: list[Id] = [10, 20]
    met: dict[Id, list[Id]] = {1: everything}
    one = system_of({1: [], 2: [10, 20]}, everything, met)
    found = compare_lists(one, one, k=5, users=10)
    assert (found.shared_users, found.users, found.same, found.overlap.value) == (2, 1, 1, 1.0)
    nobody = compare_lists(system_of({1: []}, everything, met), one, k=5, users=10)
    assert (nobody.shared_users, nobody.users) == (1, 0)
    assert np.isnan(nobody.overlap.value)


def test_a_system_without_a_user_in_common_has_nothing_to_compare() -> None:
    stranger = system_of({"u1": [10]}, [10, 20], {})
    found = compare_lists(ONE, stranger, k=3, users=10)
    assert (found.shared_users, found.users, found.same, found.more_in_one) == (0, 0, 0, ())
    assert np.isnan(found.overlap.value)


def test_the_seed_chooses_the_same_users_from_either_side() -> None:
    rng = np.random.default_rng(0)
    items: list[Id] = list(range(8))
    one, other = (
        system_of({user: rng.permutation(8)[:4].tolist() for user in users}, items, {})
        for users in (range(60), range(20, 90))
    )
    there, back = compare_lists(one, other, k=4, users=15), compare_lists(other, one, k=4, users=15)
    assert (there.shared_users, there.users) == (40, 15)
    assert there.overlap == back.overlap
    others = {compare_lists(one, other, k=4, users=15, seed=seed).overlap.value for seed in range(5)}
    assert len(others) > 1
    assert compare_lists(one, other, k=4, users=15) == there
