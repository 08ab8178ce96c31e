"""Matrices of vectors in a bundle: read once, hashed and searched for NaN in the same pass."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index import exact
from retrieval.bundles import bundle as bundles
from retrieval.bundles.bundle import Bundle, Verification, open_bundle, open_folder
from retrieval.bundles.fitted_system_files import read_system
from retrieval.errors import DamagedBundle
from retrieval.serving import tower_vectors
from tests.support.forging import npy, republish

NAME = "served/item_vectors.npy"


@pytest.fixture
def own(artifacts: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifacts, tmp_path / "artifacts"))


def forged(own: Path, content: bytes, verify: Verification) -> Bundle:
    return open_folder(republish(own, {NAME: content}).folder, verify)


@pytest.mark.parametrize("verify", ["full", "fast"])
@pytest.mark.parametrize("place", [0, 5_000, -1])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_found_wherever_it_is(
    own: Path, monkeypatch: pytest.MonkeyPatch, verify: Verification, place: int, value: float
) -> None:
    monkeypatch.setattr(bundles, "_BLOCK_BYTES", 1024)
    matrix = np.random.default_rng(1).standard_normal((200, 33)).astype(np.float32)
    whole = forged(own, npy(matrix), verify).finite_array(NAME)
    np.testing.assert_array_equal(whole, matrix)
    matrix.flat[place] = value
    with pytest.raises(DamagedBundle, match=r"item_vectors\.npy: expected finite float32 numbers"):
        forged(own, npy(matrix), verify).finite_array(NAME)


@pytest.mark.parametrize("shift", [1, 2, 3])
def test_numbers_at_an_odd_place_of_the_file_are_refused(own: Path, shift: int) -> None:
    """Looked at in fours from the start of the file, they would be others than those that are used."""
    content = npy(np.full((3, 4), np.nan, np.float32))
    header, numbers = content[10:128], content[128:]
    length = len(header) + shift
    moved = content[:8] + length.to_bytes(2, "little") + header[:-1] + b" " * shift + b"\n" + numbers
    with pytest.raises(DamagedBundle, match="expected finite float32 numbers"):
        forged(own, moved, "full").finite_array(NAME)


@pytest.mark.parametrize("matrix", [np.ones((3, 4)), np.ones((3, 4), np.int32)])
def test_other_numbers_than_float32_are_refused(own: Path, matrix: Any) -> None:
    with pytest.raises(DamagedBundle, match="expected finite float32 numbers"):
        forged(own, npy(matrix), "full").finite_array(NAME)


def test_a_changed_file_is_found_by_its_digest_and_trusted_when_fast(own: Path) -> None:
    path = open_bundle(own).folder / NAME
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # the sign or the exponent: another number, and a finite one
    path.write_bytes(bytes(data))
    with pytest.raises(DamagedBundle, match="its SHA-256 is not the manifest's"):
        open_bundle(own).finite_array(NAME)
    assert np.isfinite(open_bundle(own, "fast").finite_array(NAME)).all()


@pytest.mark.parametrize("verify", ["full", "fast"])
def test_opening_a_bundle_looks_for_nan_in_each_matrix_once(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch, verify: Verification
) -> None:
    """The item matrix is neither read again by the tower vectors, nor by exact search over them."""
    bundle = open_bundle(artifacts, verify)
    shape, looked_at = bundle.array(NAME).shape, list[Any]()

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(np, name)

        def isfinite(self, array: Any) -> Any:
            looked_at.append(array.shape)
            return np.isfinite(array)

    monkeypatch.setattr(tower_vectors, "np", Counting())
    monkeypatch.setattr(exact, "check_vectors", lambda _, *, finite=True: looked_at.append(finite))
    model = read_system(bundle, "served").model
    assert model.exact is model.vectors.exact
    assert shape not in looked_at and True not in looked_at
    assert looked_at.count(False) == 1 and model.exact.vectors.shape == shape
