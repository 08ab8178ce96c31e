import numpy as np
import pytest

from index import ItemLists
from retrieval.data.side_features import SideFeatures


def features(lists: list[list[int]], names: int = 3) -> SideFeatures:
    rows = np.array([row for row, numbers in enumerate(lists) for _ in numbers], dtype=np.int64)
    numbers = np.array([number for each in lists for number in each], dtype=np.int64)
    return SideFeatures(
        ItemLists.from_pairs(rows, numbers, len(lists)), tuple(f"genre={n}" for n in range(names))
    )


def test_features_side_by_side_by_hand() -> None:
    padded = features([[1], [], [0, 1, 2], [2, 0]]).padded()
    assert padded.tolist() == [[1, 3, 3], [3, 3, 3], [0, 1, 2], [0, 2, 3]]
    assert padded.dtype == np.int64


@pytest.mark.parametrize(("lists", "shape"), [([], (0, 0)), ([[], []], (2, 0)), ([[0]], (1, 1))])
def test_nothing_is_padded_to_no_column(lists: list[list[int]], shape: tuple[int, int]) -> None:
    assert features(lists).padded().shape == shape


def test_there_are_as_many_as_rows() -> None:
    some, none = features([[0], []]), features([[], []], names=0)
    assert (len(some), len(none)) == (2, 2)
    assert none.padded().shape == (2, 0)


def test_a_feature_without_a_name_is_refused() -> None:
    features([[2]])
    with pytest.raises(ValueError, match="a feature has number 3; expected up to 2"):
        features([[0], [3]])
