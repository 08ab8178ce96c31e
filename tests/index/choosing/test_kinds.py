"""Laws that every kind of index on offer keeps, for any vectors."""

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index import AnnIndex, ExactIndex, SearchSettings, candidate_kinds, recall_against_exact
from index.choosing.kinds import code_widths, ladder
from index.transforms import principal_axes, random_rotation

# Scalar codes keep no whole vector, so what is exact about them is which vectors they have looked at.
COMPRESSED = ("SQ8", "SQfp16", "Refine(SQ8)")


def towers(n=400, d=12, q=30, seed=0, mean=0.6):
    """Of unequal length, about a mean that is not zero, with a few long directions: as item vectors are."""
    rng = np.random.default_rng(seed)
    scales = np.arange(1, d + 1) ** -0.7
    vectors = rng.normal(size=(n, d)) * scales * rng.lognormal(sigma=0.6, size=(n, 1)) + mean
    return vectors.astype(np.float32), (rng.normal(size=(q, d)) * scales + mean).astype(np.float32)


KINDS = [kind.factory for kind in candidate_kinds(towers(25_000)[0], small=True)]


def fitted(factory, n):
    """The same kind for fewer items."""
    return next(kind for kind in candidate_kinds(towers(n)[0], small=True) if kind.factory == factory)


@pytest.mark.parametrize(
    "factory", sorted({kind.factory for kind in candidate_kinds(towers()[0], small=True)})
)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 60), mean=st.sampled_from([0.0, 0.6, 3.0]))
def test_at_exhaustive_depth_the_answers_are_exact_searchs(factory, seed, k, mean):
    vectors, queries = towers(seed=seed, mean=mean)
    index = AnnIndex.build(vectors, factory, seed=1, threads=1).exhaustive()
    exact, found = ExactIndex(vectors).search(queries, k), index.search(queries, k)
    if factory.endswith(COMPRESSED):
        assert (found.rows >= 0).all()
        assert recall_against_exact(found.rows, exact.rows).mean() > (0.8 if "fp16" not in factory else 0.95)
        return
    np.testing.assert_allclose(found.scores, exact.scores, rtol=2e-4, atol=2e-4)
    clear = exact.scores[:, -1:] + 1e-3 * (1 + np.abs(exact.scores[:, -1:]))
    for line in range(len(queries)):
        must = exact.rows[line][exact.scores[line] > clear[line]]
        assert set(must.tolist()) <= set(found.rows[line].tolist())


def test_every_family_is_among_the_candidates():
    kinds = candidate_kinds(towers(25_000)[0], small=True)
    assert {kind.family for kind in kinds} == {
        "flat",
        "half precision",
        "panorama",
        "lists",
        "fast scan",
        "fast scan lists",
        "graph",
    }
    assert [kind.simplicity for kind in kinds[:1]] == [1]
    assert len({kind.recipe for kind in kinds}) == len(kinds)


@pytest.mark.parametrize("n", [1, 2, 15, 16, 40, 300])
def test_a_small_catalogue_has_kinds_that_can_be_built(n):
    vectors, queries = towers(n)
    kinds = candidate_kinds(vectors)
    assert kinds[0].factory == "Flat"
    for kind in kinds:
        index = AnnIndex.build(vectors, kind.factory, seed=1, threads=1)
        assert index.search(queries[:2], 3).rows.shape == (2, min(3, n))


@pytest.mark.parametrize("d", [1, 2, 3, 9])
def test_so_have_narrow_vectors(d):
    vectors, queries = towers(300, d)
    for kind in candidate_kinds(vectors, small=True):
        index = AnnIndex.build(vectors, kind.factory, seed=1, threads=1)
        assert (index.exhaustive().search(queries, 5).rows >= 0).all()


def test_principal_axes_keep_products_where_faiss_pca_changes_the_order():
    vectors, queries = towers(2000, mean=3.0)
    exact = ExactIndex(vectors).search(queries, 10).rows
    ours = AnnIndex.build(vectors, "UPCA12,FlatIPPanorama4", seed=1, threads=1).search(queries, 10).rows
    assert recall_against_exact(ours, exact).mean() > 0.999
    centring = faiss.index_factory(12, "PCA12,Flat", faiss.METRIC_INNER_PRODUCT)
    centring.train(vectors)
    centring.add(vectors)
    assert recall_against_exact(centring.search(queries, 10)[1], exact).mean() < 0.9


def test_the_axes_are_orthonormal_and_hold_most_of_the_second_moment():
    vectors, _ = towers(mean=2.0)
    axes = principal_axes(vectors, 3, seed=0)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-9)
    kept = ((vectors @ axes.T) ** 2).sum()
    other = np.linalg.qr(np.random.default_rng(1).normal(size=(12, 3)))[0]
    assert kept > ((vectors @ other) ** 2).sum()
    left = np.linalg.svd(vectors.astype(np.float64), compute_uv=False) ** 2
    assert kept == pytest.approx(left[:3].sum(), rel=1e-5)
    rotation = random_rotation(5, 3)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(5), atol=1e-12)


def test_codes_are_as_wide_as_the_second_moment_asks():
    narrow = np.zeros((100, 40), np.float32)
    narrow[:, :3] = np.random.default_rng(0).normal(size=(100, 3))
    assert code_widths(narrow) == (8,)
    assert code_widths(np.random.default_rng(0).normal(size=(5000, 40)).astype(np.float32)) == (40,)
    assert code_widths(narrow[:, :5].copy()) == (5,)


def test_lists_clustered_by_distance_find_more_than_by_direction_where_lengths_differ():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(60, 16))
    vectors = centres[rng.integers(0, 60, 6000)] + 0.3 * rng.normal(size=(6000, 16))
    vectors = (vectors * rng.lognormal(sigma=0.6, size=(6000, 1)) + 0.5).astype(np.float32)
    queries = (centres[rng.integers(0, 60, 100)] + 0.5).astype(np.float32)
    exact = ExactIndex(vectors).search(queries, 50).rows

    def recall(factory):
        index = AnnIndex.build(vectors, factory, seed=1, threads=1, settings=SearchSettings(nprobe=8))
        return recall_against_exact(index.search(queries, 50).rows, exact).mean()

    assert recall("UPCA16,IVF64,Flat") > recall("IVF64,Flat") + 0.05


def test_every_setting_of_a_ladder_fits_its_index_and_lines_look_at_more_and_more():
    vectors, queries = towers()
    exact = ExactIndex(vectors).search(queries, 10).rows
    for kind in candidate_kinds(vectors, small=True):
        index = AnnIndex.build(vectors, kind.factory, seed=1, threads=1)
        for line in ladder(index):
            recalls = [
                recall_against_exact(index.with_settings(each).search(queries, 10).rows, exact).mean()
                for each in line
            ]
            assert recalls[-1] >= recalls[0] - 0.01
