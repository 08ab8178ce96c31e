"""Errors of `index` keep apart what was wrong and what to do, so that callers can give other advice."""

import numpy as np
import pytest

from index import AnnIndex, InputError, SearchSettings, check_factory, check_vectors


def test_what_and_advice_are_apart_and_the_message_is_both_in_one_line() -> None:
    data = AnnIndex.build(np.eye(4, dtype=np.float32), "Flat", seed=1, threads=1).to_bytes()
    with pytest.raises(InputError) as caught:
        AnnIndex.from_bytes(data[:-1], factory="Flat", size=4, dimension=4)
    assert caught.value.advice == "build the index again"
    assert caught.value.what.startswith("not a whole FAISS index")
    assert str(caught.value) == f"{caught.value.what}; {caught.value.advice}"
    assert "\n" not in str(caught.value)


def test_a_string_that_cannot_work_comes_with_one_that_works() -> None:
    with pytest.raises(InputError, match="9 lists for 4 items") as caught:
        check_factory("IVF9,Flat", 4, 4)
    assert caught.value.advice == '"IVF1,Flat" works here'


def test_without_advice_the_message_is_what_was_wrong() -> None:
    with pytest.raises(InputError) as caught:
        check_vectors(np.empty((0, 4), dtype=np.float32))
    assert (caught.value.advice, str(caught.value)) == (None, caught.value.what)


@pytest.mark.parametrize("wrong", ["4", [4], True], ids=str)
def test_a_k_factor_of_another_type_is_refused(wrong: object) -> None:
    index = AnnIndex.build(np.eye(4, dtype=np.float32), "PQ1x1,RFlat", seed=1, threads=1)
    with pytest.raises(InputError, match=r"k_factor is .*; expected a number"):
        index.with_settings(SearchSettings(k_factor=wrong))  # type: ignore[arg-type]
