import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index import ItemLists
from retrieval.data.ids import IdMap
from retrieval.evaluation.evaluate import evaluate
from retrieval.evaluation.funnel import outside_catalogue, trace_relevant
from retrieval.evaluation.report import Funnel
from retrieval.pipeline.build import Build


def lists(*items: list[int]) -> ItemLists:
    lines = np.repeat(np.arange(len(items)), [len(each) for each in items])
    return ItemLists.from_pairs(lines, np.concatenate([*map(np.array, items), []]), len(items))


def rows(*lines: list[int]) -> np.ndarray:
    width = max(map(len, lines))
    return np.array([line + [-1] * (width - len(line)) for line in lines], dtype=np.int64)


def by_hand(reranked: bool = True) -> Funnel | None:
    # User 0: 1 is listed, 2 found and not listed, 3 missed by the index, 9 below the depth. User 1: 7 lies
    # below the depth of exact search, was found all the same and is listed. User 2 has nothing to find.
    return trace_relevant(
        lists([1, 2, 3, 9], [7], []),
        exact=rows([3, 2, 1, 0], [4, 5, 6, 8], [1, 2, 3, 4]),
        found=rows([2, 1, 0], [5, 7], [1, 2, 3]),
        lists=rows([1, 0], [7, 5], [1, 2]),
        k=2,
        outside=3,
        filtered=2,
        reranked=reranked,
    )


def test_what_became_of_each_relevant_item_worked_by_hand() -> None:
    found = by_hand()
    assert found is not None
    assert (found.relevant, found.k) == (10, 2)
    assert list(found.shares.items()) == [
        ("listed", 0.2),
        ("not in catalogue", 0.3),
        ("filtered", 0.2),
        ("below depth", 0.1),
        ("missed by index", 0.1),
        ("dropped by re-ranker", 0.1),
    ]
    assert json.loads(json.dumps(found.to_json())) == {"relevant": 10, "k": 2, "shares": found.shares}


def test_without_a_re_ranker_nothing_is_dropped_by_it() -> None:
    found = by_hand(reranked=False)
    assert found is not None
    assert list(found.shares)[-1] == "below top k"
    assert found.shares["below top k"] == 0.1


def test_without_a_relevant_item_there_is_nothing_to_say() -> None:
    nothing = rows([0, 1])
    assert (
        trace_relevant(lists([]), nothing, nothing, nothing, k=2, outside=0, filtered=0, reranked=True)
        is None
    )


@st.composite
def stages(draw: st.DrawFn) -> tuple[list[set[int]], list[list[int]], list[list[int]], list[list[int]]]:
    """For each user what is relevant, both searches' candidates and a list made of the second's."""
    orders = st.permutations(range(9))
    sets, exact, found, listed = [], [], [], []
    for _ in range(draw(st.integers(1, 4))):
        sets.append(draw(st.sets(st.integers(0, 8))))
        exact.append(draw(orders)[: draw(st.integers(0, 9))])
        found.append(draw(orders)[: draw(st.integers(0, 9))])
        listed.append(draw(st.permutations(found[-1]))[: draw(st.integers(0, 4))])
    return sets, exact, found, listed


@given(stages(), st.integers(0, 3), st.integers(0, 3))
def test_the_shares_sum_to_one_and_are_what_sets_say(
    made: tuple[list[set[int]], list[list[int]], list[list[int]], list[list[int]]],
    outside: int,
    filtered: int,
) -> None:
    sets, exact, found, listed = made
    total = sum(map(len, sets)) + outside + filtered
    result = trace_relevant(
        lists(*map(sorted, sets)),
        *(rows(*lines) for lines in (exact, found, listed)),
        k=4,
        outside=outside,
        filtered=filtered,
        reranked=True,
    )
    if not total:
        assert result is None
        return
    assert result is not None
    assert sum(result.shares.values()) == pytest.approx(1)
    assert min(result.shares.values()) >= 0
    counts = dict.fromkeys(result.shares, 0) | {"not in catalogue": outside, "filtered": filtered}
    for relevant, at_best, candidates, final in zip(sets, exact, found, listed, strict=True):
        for item in relevant:
            if item in final:
                counts["listed"] += 1
            elif item in candidates:
                counts["dropped by re-ranker"] += 1
            else:
                counts["missed by index" if item in at_best else "below depth"] += 1
    assert {name: share * total for name, share in result.shares.items()} == pytest.approx(counts)


def test_positive_rows_of_warm_users_outside_the_catalogue_are_counted() -> None:
    users, items = IdMap.from_values([1, 2, 3]), IdMap.from_values(["a", "b"])
    # User 1 is warm by a row that is not positive; 2 has only unknown items; 9 is not known.
    test = pl.DataFrame(
        [
            (1, "a", 2.0),
            (1, "x", 4.0),
            (1, "y", 3.0),
            (2, "x", 5.0),
            (3, "b", 5.0),
            (3, "z", 5.0),
            (9, "x", 5.0),
            (9, "a", 5.0),
        ],
        schema={"user": pl.Int64, "item": pl.String, "rating": pl.Float32},
        orient="row",
    )
    assert outside_catalogue(test, users, items, 4.0) == 2
    assert outside_catalogue(test, users, items, 3.0) == 3
    assert outside_catalogue(test.drop("rating"), users, items, 4.0) == 3


def test_the_funnel_of_a_build_is_that_of_its_own_rows(tiny_build: Build) -> None:
    """Every relevant test row of the warm users is followed by hand, from ids; the index misses some."""
    system, split = tiny_build.evaluated, tiny_build.split
    users, items = set(system.users.ids.tolist()), set(system.items.ids.tolist())
    test = split.test.select("user", "item", "rating").rows()
    warm = {user for user, item, _ in test if user in users and item in items}
    train = set(split.train.select("user", "item").rows())
    model = replace(system.model, ann=system.model.ann.with_nprobe(1))
    rows_of = {user: row for row, user in enumerate(system.users.ids.tolist())}

    def ids(lines: np.ndarray) -> dict[int, list[int]]:
        return {
            user: [int(system.items.ids[row]) for row in line if row >= 0]
            for user, line in zip(sorted(warm), lines, strict=True)
        }

    order = np.array([rows_of[user] for user in sorted(warm)])
    queries, seen = model.vectors.users[order], model.seen.take(order)
    exact, found = (ids(model.candidates(queries, seen, 20, kind).rows) for kind in ("exact", "ann"))
    listed = ids(model.for_users(order, 10).rows)
    last = "dropped by re-ranker" if model.reranks else "below top k"
    counts: dict[str, int] = {}
    for user, item, rating in test:
        if user in warm and rating >= 4:
            if item not in items:
                fate = "not in catalogue"
            elif (user, item) in train:
                fate = "filtered"
            elif item in listed[user]:
                fate = "listed"
            elif item in found[user]:
                fate = last
            else:
                fate = "missed by index" if item in exact[user] else "below depth"
            counts[fate] = counts.get(fate, 0) + 1
    funnel = evaluate(replace(tiny_build.evaluation, model=model), 10).funnel
    assert funnel is not None
    assert funnel.relevant == sum(counts.values())
    assert {fate: round(share * funnel.relevant) for fate, share in funnel.shares.items()} == {
        fate: counts.get(fate, 0) for fate in funnel.shares
    }
    assert counts["below depth"] and counts["listed"] and counts["missed by index"]
