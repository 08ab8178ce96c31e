import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index import AnnIndex, ExactIndex, SearchSettings, default_factory, faiss_threads


def spread(n, d, seed=0):
    """Vectors of unequal length around a mean that is not zero, as trained item vectors are."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) * rng.lognormal(sigma=0.7, size=(n, 1)) + 0.4).astype(np.float32)


def build(vectors, factory, **settings):
    return AnnIndex.build(vectors, factory, seed=3, threads=1, settings=SearchSettings(**settings))


def assert_same_up_to_ties(found, exact, vectors, queries):
    """Scores agree; rows agree unless they tie with the last; every row has the score it claims."""
    np.testing.assert_allclose(found.scores, exact.scores, rtol=1e-5, atol=1e-5)
    true = queries @ vectors.T
    for line in range(len(queries)):
        rows = found.rows[line]
        assert len(set(rows.tolist())) == len(rows)
        assert rows.min() >= 0
        np.testing.assert_allclose(true[line, rows], found.scores[line], rtol=1e-5, atol=1e-5)
        clear = exact.scores[line] > exact.scores[line, -1] + 1e-6 * (1 + abs(exact.scores[line, -1]))
        assert set(exact.rows[line, clear].tolist()) <= set(rows.tolist())


@st.composite
def catalogues(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, d, q = draw(st.integers(1, 60)), draw(st.integers(1, 8)), draw(st.integers(1, 6))
    values = rng.normal(size=(n + q, d)) * rng.lognormal(size=(n + q, 1)) + 0.5
    if draw(st.booleans()):  # ties, with products exact in float32
        values = np.round(np.clip(values, -4, 4) * 2) / 2
    # Rounding errors grow with the norms: products beyond 16 would not be right to 1e-5 in float32. A
    # power of two keeps the spread of the norms, and the ties exact.
    norms = np.linalg.norm(values, axis=1)
    largest = norms[:n].max() * norms[n:].max()
    if largest > 16:
        values = values * 2.0 ** -np.ceil(np.log2(largest / 16) / 2)
    return values[:n].astype(np.float32), values[n:].astype(np.float32)


@settings(max_examples=60)
@given(catalogues(), st.integers(1, 70), st.integers(1, 16), st.sampled_from(["", "RR8,"]))
def test_looking_at_every_list_equals_exact_search(catalogue, k, nlist, rotation):
    vectors, queries = catalogue
    nlist = min(nlist, len(vectors))
    if vectors.shape[1] < 2:
        rotation = ""
    index = build(vectors, f"{rotation}IVF{nlist},Flat", nprobe=nlist)
    exact = ExactIndex(vectors).search(queries, k)
    assert_same_up_to_ties(index.search(queries, k), exact, vectors, queries)


@settings(max_examples=60)
@given(catalogues(), st.integers(1, 70), st.integers(2, 16))
def test_few_probes_give_ordered_distinct_rows_then_padding(catalogue, k, nlist):
    vectors, queries = catalogue
    nlist = min(nlist, len(vectors))
    result = build(vectors, f"IVF{nlist},Flat", nprobe=1).search(queries, k)
    assert result.rows.shape == (len(queries), min(k, len(vectors)))
    for scores, rows in zip(result.scores.tolist(), result.rows.tolist(), strict=True):
        real = [(-score, row) for score, row in zip(scores, rows, strict=True) if row >= 0]
        assert real == sorted(set(real))
        assert all(row < len(vectors) for row in rows)
        assert rows[len(real) :] == [-1] * (len(rows) - len(real))
        assert scores[len(real) :] == [-np.inf] * (len(rows) - len(real))


def test_short_lists_are_padded_with_minus_infinity():
    vectors = np.array([[10, 0], [0, 10]], dtype=np.float32)
    result = build(vectors, "IVF2,Flat", nprobe=1).search(np.array([[1, 0]], dtype=np.float32), 2)
    assert result.rows.tolist() == [[0, -1]]
    assert result.scores.tolist() == [[10, -np.inf]]


def test_equal_scores_are_ordered_by_row():
    vectors = np.tile(np.array([[1, 0], [2, 0]], dtype=np.float32), (20, 1))
    for factory in ["IVF4,Flat", "Flat"]:
        index = build(vectors, factory, nprobe=4 if "IVF" in factory else None)
        rows = index.search(np.array([[1, 0]], dtype=np.float32), 40).rows[0].tolist()
        assert rows == [*range(1, 40, 2), *range(0, 40, 2)]


@pytest.mark.parametrize("n", [1, 2, 20, 38, 39, 100, 1573, 3500, 60_000, 1_000_000, 10_000_000])
def test_default_factory_is_a_power_of_two_near_four_roots_that_faiss_can_train(n):
    kind, _, nlist = default_factory(n).split(",")[0].partition("IVF")[0:3]
    lists = int(nlist)
    assert kind == ""
    assert lists & (lists - 1) == 0
    assert lists == 1 or 39 * lists <= n
    assert lists <= 4 * np.sqrt(n) * 2**0.5
    # the next power would be too many for one of the two reasons
    assert 39 * 2 * lists > n or 2 * lists > 4 * np.sqrt(n) * 2**0.5


def test_default_factory_known_values():
    values = [default_factory(n) for n in (20, 1573, 3500, 1_000_000)]
    assert values == ["IVF1,Flat", "IVF32,Flat", "IVF64,Flat", "IVF4096,Flat"]
    with pytest.raises(ValueError, match="0 items"):
        default_factory(0)


@pytest.mark.parametrize(
    ("n", "factory"),
    [
        *((n, default_factory(n)) for n in (1, 20, 200)),
        *((20, factory) for factory in ("IVF8,Flat", "HNSW8", "PQ4x4fs")),
        *((300, factory) for factory in ("IVF8,PQ4x6", "OPQ4,IVF4,PQ4x4", "IVF4,PQ4x4,RFlat")),
    ],
)
def test_nothing_is_printed_however_few_items(n, factory, capfd):
    vectors = spread(n, 8)
    index = build(vectors, factory)
    index.search(vectors[:1], 5)
    AnnIndex.from_bytes(
        index.to_bytes(),
        factory=index.factory,
        settings=index.settings,
        size=n,
        dimension=8,
    )
    assert capfd.readouterr() == ("", "")


ROUND_TRIP = [
    "Flat",
    "IVF8,Flat",
    "IVF8_HNSW8,Flat",
    "HNSW8",
    "SQ8",
    "IVF8,SQ8",
    "IVF4,PQ4x4",
    "RR8,IVF8,Flat",
]
ROUND_TRIP += ["OPQ4,IVF4,PQ4x4", "IVF4,PQ4x4,RFlat", "UPCA8,FlatIPPanorama2", "UPCA6,IVF4,FlatPanorama2"]
ROUND_TRIP += [
    "RR8,PQ8x4fs,RFlat",
    "UPCAR6,IVF4,PQ6x4fsr,RFlat",
    "UPCAR8,PQ4x4fs,Refine(SQ8)",
    "HNSW8,SQ8",
    "SQfp16",
]


@pytest.mark.parametrize("factory", ROUND_TRIP)
def test_loaded_index_answers_as_the_saved_one(factory):
    vectors, queries = spread(300, 8), spread(20, 8, seed=1)
    saved = build(vectors, factory, nprobe=3 if "IVF" in factory else None)
    loaded = AnnIndex.from_bytes(
        saved.to_bytes().tobytes(),
        factory=factory,
        settings=saved.settings,
        size=300,
        dimension=8,
    )
    assert (loaded.name, loaded.size, loaded.dimension) == (saved.name, 300, 8)
    before, after = saved.search(queries, 20), loaded.search(queries, 20)
    np.testing.assert_array_equal(before.rows, after.rows)
    np.testing.assert_array_equal(before.scores, after.scores)


@pytest.mark.parametrize("factory", ["IVF8,Flat", "IVF4,PQ4x4", "OPQ4,PQ4x4"])
def test_seed_decides_the_index_byte_for_byte(factory):
    vectors = spread(300, 8)
    one, same, other = (AnnIndex.build(vectors, factory, seed=s, threads=1).to_bytes() for s in (5, 5, 6))
    assert one.tobytes() == same.tobytes()
    assert one.tobytes() != other.tobytes()


def test_settings_belong_to_the_object_not_to_the_shared_index():
    vectors, queries = spread(400, 8), spread(30, 8, seed=1)
    narrow = build(vectors, "IVF16,Flat", nprobe=1)
    before = narrow.search(queries, 30).rows
    wide = narrow.with_nprobe(16)
    assert (narrow.name, wide.name) == ("IVF16,Flat nprobe=1", "IVF16,Flat nprobe=16")
    np.testing.assert_array_equal(wide.search(queries, 30).rows, ExactIndex(vectors).search(queries, 30).rows)
    np.testing.assert_array_equal(narrow.search(queries, 30).rows, before)
    assert (before == -1).any()
    assert [narrow.deeper().settings.nprobe, wide.deeper().settings.nprobe] == [2, 16]


def test_hnsw_breadth_is_a_setting_of_its_own():
    vectors, queries = spread(3000, 8), spread(100, 8, seed=1)
    exact = ExactIndex(vectors).search(queries, 1).rows
    narrow = build(vectors, "HNSW4").with_ef_search(1)
    wide = narrow.with_ef_search(500)
    assert (narrow.name, narrow.deeper().settings.ef_search, wide.settings.ef_search) == (
        "HNSW4 efSearch=1",
        2,
        500,
    )
    hits = [(index.search(queries, 1).rows == exact).mean() for index in (narrow, wide)]
    assert hits[0] < hits[1]


@pytest.mark.parametrize("nprobe", [0, -1, 9, 1.5, True])
def test_nprobe_out_of_range_is_refused(nprobe):
    index = build(spread(100, 8), "IVF8,Flat")
    with pytest.raises(ValueError, match="1 to 8"):
        index.with_nprobe(nprobe)


def test_settings_an_index_does_not_have_are_refused():
    index = build(spread(100, 8), "Flat")
    with pytest.raises(ValueError, match="no nprobe"):
        index.with_nprobe(1)
    with pytest.raises(ValueError, match="no ef_search"):
        index.with_ef_search(1)


REFUSED = {
    "nonsense": "unknown",
    "": "unknown",
    "IVF8, Flat": "unknown",
    "IDMap,Flat": "unknown",
    "IVF8": "cannot build",
    "IVF0,Flat": "out of range",
    "HNSW0": "out of range",  # these four end the process when FAISS gets them
    "HNSW1": "out of range",
    "RR0,Flat": "out of range",
    "PQ1x0": "out of range",
    "RR999999999,Flat": "out of range",
    "IVF101,Flat": "101 lists for 100 items",
    "IVF999999999M,Flat": "lists for 100 items",
    "IVF4,PQ5": "divisor of 8, such as 4",
    "OPQ3,IVF4,PQ2x4": "divisor of 8, such as 2",
    "IVF4,PQ4": "2\\^8 centroids",
    "PQ4x999999999": "centroids",
    "PCA4,Flat": 'use a rotation, "RR8"',
    "PCAR4,IVF4,Flat": "changes inner products",
    "ITQ,Flat": "changes inner products",
    "L2norm,Flat": "changes inner products",
    "HNSW8,PQ4x4": "out of range|not by inner product|cannot build|unknown",
}


@pytest.mark.parametrize("factory", REFUSED)
def test_factories_that_cannot_work_are_refused_with_one_that_does(factory, capfd):
    vectors = spread(100, 8)
    with pytest.raises(ValueError, match=REFUSED[factory]) as caught:
        build(vectors, factory)
    message = str(caught.value)
    assert "\n" not in message
    assert ".cpp" not in message
    assert "faiss::" not in message
    suggested = [text for text in message.split('"')[1::2] if "RR8" not in text]
    assert suggested
    for text in suggested:
        build(vectors, text).search(vectors, 3)
    assert capfd.readouterr() == ("", "")


def test_a_product_quantizer_that_fits_after_a_rotation_is_taken():
    assert build(spread(100, 65), "RR64,IVF2,PQ16x4").dimension == 65


def loading(index, data=None, **changes):
    expected = {
        "factory": index.factory,
        "settings": index.settings,
        "size": index.size,
        "dimension": index.dimension,
    }
    return AnnIndex.from_bytes(index.to_bytes() if data is None else data, **{**expected, **changes})


def test_an_index_of_other_vectors_is_refused():
    index = build(spread(100, 8), "IVF4,Flat")
    with pytest.raises(ValueError, match="holds 100 vectors of 8 numbers; expected 101 of 8"):
        loading(index, size=101)
    with pytest.raises(ValueError, match="expected 100 of 9"):
        loading(index, dimension=9)
    with pytest.raises(ValueError, match="1 to 4"):
        loading(index, settings=SearchSettings(nprobe=5))


@pytest.mark.parametrize("cut", [0, 1, 40, 1000, -1])
def test_truncated_bytes_are_refused(cut):
    index = build(spread(100, 8), "IVF4,Flat")
    with pytest.raises(ValueError, match="not a whole FAISS index"):
        loading(index, index.to_bytes()[:cut])


def test_trailing_bytes_are_refused():
    index = build(spread(100, 8), "IVF4,Flat")
    with pytest.raises(ValueError, match="3 bytes follow"):
        loading(index, index.to_bytes().tobytes() + b"abc")


def test_an_index_by_euclidean_distance_is_refused():
    vectors = spread(100, 8)
    other = faiss.index_factory(8, "Flat", faiss.METRIC_L2)
    other.add(vectors)
    with pytest.raises(ValueError, match="inner product"):
        AnnIndex.from_bytes(faiss.serialize_index(other), factory="Flat", size=100, dimension=8)


@pytest.mark.parametrize("ids", [np.arange(1, 101), np.zeros(100)], ids=["shifted", "repeated"])
def test_an_index_whose_ids_are_not_its_rows_is_refused(ids):
    vectors = spread(100, 8)
    other = faiss.index_factory(8, "IVF2,Flat", faiss.METRIC_INNER_PRODUCT)
    other.train(vectors)
    other.add_with_ids(vectors, ids.astype(np.int64))
    with pytest.raises(ValueError, match="each row"):
        AnnIndex.from_bytes(faiss.serialize_index(other), factory="IVF2,Flat", size=100, dimension=8)


def test_bad_vectors_and_queries_are_refused():
    vectors = spread(50, 8)
    with pytest.raises(ValueError, match="NaN"):
        build(vectors * np.float32(np.nan), "Flat")
    index = build(vectors, "IVF2,Flat")
    with pytest.raises(ValueError, match="NaN"):
        index.search(vectors[:1] * np.float32(np.nan), 1)
    with pytest.raises(ValueError, match="dimension 7"):
        index.search(vectors[:1, :7].copy(), 1)
    with pytest.raises(ValueError, match="k is 0"):
        index.search(vectors[:1], 0)


def test_threads_are_put_back_also_after_an_error():
    before = faiss.omp_get_max_threads()
    with pytest.raises(KeyError), faiss_threads(before + 1):
        assert faiss.omp_get_max_threads() == before + 1
        raise KeyError
    assert faiss.omp_get_max_threads() == before
    with pytest.raises(ValueError, match="threads is 0"), faiss_threads(0):
        pass
