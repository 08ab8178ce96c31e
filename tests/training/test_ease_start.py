from typing import Any

import numpy as np
import pytest
from scipy.sparse.linalg import ArpackError, svds

from retrieval.data.encoded import EncodedInteractions
from retrieval.training import ease_start
from retrieval.training.ease_start import L2, SCALE, closed_form_start
from retrieval.training.linear_models import Ease

N_USERS, N_ITEMS = 60, 20


def positives(n_items: int = N_ITEMS) -> EncodedInteractions:
    pairs = np.flatnonzero(np.random.default_rng(3).random(N_USERS * n_items) < 0.3)
    users, items = np.divmod(pairs, n_items)
    return EncodedInteractions(users, items, None, None, N_USERS, n_items)


def test_the_two_tables_multiply_to_ease_at_full_width() -> None:
    start = closed_form_start(positives(), N_ITEMS - 1, seed=0)
    assert start is not None
    weights = Ease.fit(positives(), L2).weights
    # All but the least of the singular values is kept, so the error is no larger than that one.
    least = np.linalg.svd(weights, compute_uv=False)[-1]
    product = start.histories @ start.items.T / SCALE**2
    assert np.linalg.norm(product - weights, 2) == pytest.approx(float(least), rel=1e-3)


def test_a_narrow_start_is_the_best_of_its_width() -> None:
    start = closed_form_start(positives(), 4, seed=0)
    assert start is not None
    weights = Ease.fit(positives(), L2).weights
    left, sizes, right = np.linalg.svd(weights)
    best = (left[:, :4] * sizes[:4]) @ right[:4]
    np.testing.assert_allclose(start.histories @ start.items.T / SCALE**2, best, atol=1e-5)


def test_where_arpack_finds_no_way_on_another_method_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """ARPACK gives up by chance, on about one of 60 starts, where users fall into two groups of one taste."""
    users, items = np.divmod(np.arange(40 * 40), 40)
    liked = (users - items) % 2 == 0
    groups = EncodedInteractions(users[liked], items[liked], None, None, 40, 40)

    def gives_up(matrix: object, *, solver: str = "arpack", **rest: Any) -> Any:
        if solver == "arpack":
            raise ArpackError(3)
        return svds(matrix, solver=solver, **rest)

    monkeypatch.setattr(ease_start, "svds", gives_up)
    one, two = (closed_form_start(groups, 8, seed=0) for _ in range(2))
    assert one is not None and two is not None and one.items.tobytes() == two.items.tobytes()
    sizes = np.linalg.svd(one.histories @ one.items.T / SCALE**2, compute_uv=False)
    np.testing.assert_allclose(
        sizes[:8], np.linalg.svd(Ease.fit(groups, L2).weights, compute_uv=False)[:8], rtol=1e-4
    )


def test_a_catalogue_narrower_than_the_towers_leaves_columns_of_0() -> None:
    start = closed_form_start(positives(5), 8, seed=0)
    assert start is not None
    assert start.histories.shape == start.items.shape == (5, 8)
    assert not start.histories[:, 4:].any() and start.histories[:, :4].any()


def test_it_repeats() -> None:
    one, two = (closed_form_start(positives(), 6, seed=1) for _ in range(2))
    assert one is not None and two is not None
    assert one.items.tobytes() == two.items.tobytes()
    assert one.histories.tobytes() == two.histories.tobytes()


def test_a_catalogue_too_large_for_ease_starts_from_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease_start, "EASE_MAX_ITEMS", N_ITEMS)
    assert closed_form_start(positives(), 4, seed=0) is not None
    monkeypatch.setattr(ease_start, "EASE_MAX_ITEMS", N_ITEMS - 1)
    assert closed_form_start(positives(), 4, seed=0) is None


def test_nobody_likes_two_items_and_nothing_is_said() -> None:
    alone = EncodedInteractions(np.arange(3), np.arange(3), None, None, 3, 3)
    start = closed_form_start(alone, 2, seed=0)
    assert start is not None and not start.items.any()
