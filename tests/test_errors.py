"""Errors: one line made of two parts."""

import copy
import pickle

import pytest

from retrieval.errors import DamagedBundle, DataError, RetrievalError


def test_an_error_says_what_was_wrong_and_then_what_to_do() -> None:
    error = DataError("ratings.csv: no rows", "give another file")
    assert (error.what, error.advice) == ("ratings.csv: no rows", "give another file")
    assert str(error) == "ratings.csv: no rows; give another file"


def test_an_error_without_advice_is_only_what_was_wrong() -> None:
    error = DataError("ratings.csv: no rows; or none that can be read")
    assert (error.what, error.advice) == ("ratings.csv: no rows; or none that can be read", None)
    assert str(error) == error.what


def test_a_damaged_bundle_has_advice_of_its_own() -> None:
    assert str(DamagedBundle("a: missing")) == "a: missing; the bundle is damaged, run build-index again"
    assert str(DamagedBundle("a: missing", "prune it")) == "a: missing; prune it"


@pytest.mark.parametrize("part", ["what", "advice"])
def test_both_parts_are_one_line(part: str) -> None:
    parts = {"what": "a", "advice": "b", part: " c\nd\n"}
    error = RetrievalError(**parts)
    assert getattr(error, part) == r"c\nd"
    assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize(
    "error", [DataError("a", "b"), DataError("a"), DamagedBundle("a"), DamagedBundle("a", "b")]
)
def test_an_error_survives_being_sent_to_another_process(error: RetrievalError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert (str(again), again.what, again.advice) == (str(error), error.what, error.advice)
