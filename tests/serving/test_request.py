"""Requests as they are checked before a search; what their messages say is tested with `Recommender`."""

import numpy as np
import pytest

from retrieval import Recommender
from retrieval.data.ids import IdMap
from retrieval.errors import NotFoundError, UsageError
from retrieval.pipeline.build import Build
from retrieval.serving.fitted_system import FittedSystem
from retrieval.serving.request import HistoryRequest, ListOptions, UserRequest, id_list, known_rows


@pytest.fixture(scope="module")
def system(tiny_build: Build) -> FittedSystem:
    return tiny_build.served


def test_options_are_checked_and_k_is_a_plain_integer() -> None:
    options = ListOptions.of(np.int64(7), True, False, "popular")  # type: ignore[arg-type]
    assert (options.k, type(options.k)) == (7, int)
    assert (options.search, options.rerank, options.fallback) == ("exact", False, "popular")
    assert ListOptions.of(1, False, True, None) == ListOptions(1)
    for k in (0, -1, 2.5, "3", None):
        with pytest.raises(UsageError, match="k must be an integer from 1 on"):
            ListOptions(k)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="fallback must be popular or left out, not 'x'"):
        ListOptions(1, fallback="x")  # type: ignore[arg-type]


def test_unknown_users_are_refused_unless_there_is_a_fallback(system: FittedSystem) -> None:
    known = system.users.ids[3].item()
    with pytest.raises(NotFoundError, match="user 99999 is not among"):
        UserRequest.of(system, [known, 99999], ListOptions(5))
    request = UserRequest.of(system, [known, 99999], ListOptions(5, fallback="popular"))
    assert request.rows.tolist() == [3, -1] and request.users == [known, 99999]
    assert request.allowed is None
    filtered = UserRequest.of(system, [known], ListOptions(5), only=[1, 2])
    assert filtered.allowed is not None
    assert filtered.allowed.tolist() == system.items.rows([1, 2]).tolist()


def test_a_history_becomes_the_rows_of_its_known_items(system: FittedSystem) -> None:
    first, third = (system.items.ids[row].item() for row in (0, 2))
    request = HistoryRequest.of(system, [third, 99999, first, third], ListOptions(5))
    assert request.history is not None and request.history.of(0).tolist() == [0, 2]
    assert request.notes == ("unknown items were left out: 99999",)
    with pytest.raises(NotFoundError, match="no item of the history is known: 99999"):
        HistoryRequest.of(system, [99999], ListOptions(5))
    nothing = HistoryRequest.of(system, [99999], ListOptions(5, fallback="popular"))
    assert nothing.history is None and nothing.notes == ()


def test_one_id_is_no_list_of_ids(system: FittedSystem) -> None:
    for wrong in ("42", b"42", 42):
        with pytest.raises(UsageError, match="expected a list of item ids"):
            known_rows("item", wrong, system.items)  # type: ignore[arg-type]
    assert id_list("user", np.array([1, 2])) == [1, 2]


def test_the_ids_of_a_request_are_looked_up_once(
    system: FittedSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, whole = [], IdMap.rows

    def count(ids: IdMap, values: object) -> object:
        asked.append(values)
        return whole(ids, values)  # type: ignore[arg-type]

    user, item = system.users.ids[0].item(), system.items.ids[0].item()
    monkeypatch.setattr(IdMap, "rows", count)
    recommender = Recommender(system)
    recommender.recommend([user], 3)
    recommender.recommend_for_history([item], 3)
    recommender.similar_items([item], 3)
    assert asked == [[user], [item], [item]]
