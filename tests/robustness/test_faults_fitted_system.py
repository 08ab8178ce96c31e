"""Faults 30, 31, 33 and 49: parts that do not fit, though every digest is right; equal scores; memory."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from safetensors.numpy import load, save

from index import AnnIndex, ItemLists, SearchSettings
from retrieval.bundles.bundle import Bundle, open_bundle
from retrieval.bundles.fitted_system_files import write_system
from retrieval.bundles.writer import new_bundle
from retrieval.pipeline.build import Build
from tests.support.commands import Bench, environment
from tests.support.forging import npy, republish
from tests.support.manifests import DESCRIPTION

QUERY = ("query", "--user", "42")

# Every bundle named, by the code that stands behind `query`: what it answers, or the line it ends with.
ASK = """
import json, sys
from pathlib import Path
from retrieval.errors import ArtifactError
from retrieval.recommender import Recommender
for folder in sys.argv[1:]:
    try:
        said = [each.to_json() for each in Recommender.load(Path(folder)).recommend([42, 7], k=10)]
    except ArtifactError as error:
        said = str(error)
    print(json.dumps(said))
"""


Change = Callable[[Bundle], dict[str, bytes]]


def array(name: str, change: Callable[[Any], Any]) -> Change:
    """An .npy file with something else in it."""
    file = f"served/{name}.npy"
    return lambda bundle: {file: npy(np.ascontiguousarray(change(bundle.array(file).copy())))}


def tensors(name: str, change: Callable[[Any], Any]) -> Change:
    """A .safetensors file, of which every table is changed."""
    file = f"served/{name}.safetensors"
    return lambda bundle: {
        file: save({key: change(each.copy()) for key, each in load(bundle.read(file)).items()})
    }


def settings(**changes: Any) -> Change:
    """Other values in model.json; None: the key is gone. `index` goes into what is said of it."""

    def change(bundle: Bundle) -> dict[str, bytes]:
        document = bundle.json("served/model.json")
        document["index"] |= changes.get("index", {})
        document |= {key: value for key, value in changes.items() if key != "index"}
        document = {key: value for key, value in document.items() if value is not None}
        return {"served/model.json": json.dumps(document).encode()}

    return change


def index(metric: int, n: Callable[[Any], Any], factory: str = "IVF8,Flat") -> Change:
    """A whole FAISS index of other vectors, or by another metric."""

    def change(bundle: Bundle) -> dict[str, bytes]:
        vectors = np.ascontiguousarray(n(bundle.array("served/item_vectors.npy")))
        made = faiss.index_factory(vectors.shape[1], factory, metric)
        made.train(vectors)
        made.add(vectors)
        return {"served/index.faiss": faiss.serialize_index(made).tobytes()}

    return change


def with_value(value: Any) -> Callable[[Any], Any]:
    """One number is another."""

    def change(each: Any) -> Any:
        each.flat[each.size // 2] = value
        return each

    return change


def first_two(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda ids: np.concatenate([change(ids[:2]), ids[2:]])


PRODUCT, EUCLIDEAN = faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2
REFUSED: dict[str, Change] = {
    "vectors of another dimension": array("item_vectors", lambda each: each[:, :-1]),
    "user vectors of another dimension": array("user_vectors", lambda each: each[:, 1:]),
    "fewer vectors": array("item_vectors", lambda each: each[:-1]),
    "vectors in double precision": array("item_vectors", lambda each: each.astype(np.float64)),
    "NaN in the item vectors": array("item_vectors", with_value(np.nan)),
    "infinity in the user vectors": array("user_vectors", with_value(np.inf)),
    "NaN in the towers' weights": tensors("towers", with_value(np.nan)),
    "NaN in NeuralMF's weights": tensors("neural_mf", with_value(np.nan)),
    "NeuralMF's weights of another shape": tensors("neural_mf", lambda each: each[:-1]),
    "an index by Euclidean distance": index(EUCLIDEAN, lambda each: each),
    "an index of more vectors": index(PRODUCT, lambda each: np.concatenate([each, each[:1]])),
    "an index of another dimension": index(PRODUCT, lambda each: each[:, 1:]),
    "NaN in the index": lambda bundle: {
        "served/index.faiss": bundle.read("served/index.faiss").replace(
            bundle.array("served/item_vectors.npy")[60].tobytes(),
            with_value(np.nan)(bundle.array("served/item_vectors.npy")[60].copy()).tobytes(),
        )
    },
    "fewer ids": array("item_ids", lambda ids: ids[:-1]),
    "more ids": array("item_ids", lambda ids: np.append(ids, ids[-1] + 1)),
    "unsorted ids": array("item_ids", first_two(lambda ids: ids[::-1])),
    "the same id twice": array("user_ids", first_two(lambda ids: ids[[0, 0]])),
    "ids that are no integers": array("user_ids", lambda ids: ids.astype(np.float64)),
    "seen items out of range": array("seen_items", lambda rows: np.append(rows[:-1], 120).astype(rows.dtype)),
    "negative seen items": array("seen_items", lambda rows: np.append(-1, rows[1:]).astype(rows.dtype)),
    "seen items of fewer users": array("seen_starts", lambda starts: starts[:-1]),
    "NaN in the popularity": array("popularity", with_value(np.nan)),
    "negative popularity": array("popularity", with_value(-2)),
    "fewer titles": array("item_titles", lambda titles: titles[:-1]),
    "titles that are no texts": array("item_titles", lambda titles: np.arange(len(titles))),
    "attributes of items out of range": array("attribute_rows", with_value(9999)),
    "an array of 2^60 rows of nothing": lambda _: {"served/item_ids.npy": NO_ROWS},
    "alpha NaN": settings(alpha=float("nan")),
    "alpha a text": settings(alpha="0.5"),
    "alpha below 0": settings(alpha=-1),
    "alpha too large for a number": lambda bundle: {
        "served/model.json": settings(alpha="HUGE")(bundle)["served/model.json"].replace(b'"HUGE"', b"1e999")
    },
    "a weight NaN": settings(trend_weight=float("nan")),
    "rating bounds out of order": settings(rating_bounds={"lowest": 5, "highest": 1}),
    "a rating bound NaN": settings(rating_bounds={"lowest": float("nan"), "highest": 5}),
    "one rating bound": settings(rating_bounds={"lowest": 1}),
    "rating bounds that are a list": settings(rating_bounds=[1, 5]),
    "candidates 0": settings(candidates=0),
    "candidates 2.5": settings(candidates=2.5),
    "nprobe 0": settings(index={"settings": {"nprobe": 0, "ef_search": None, "k_factor": None}}),
    "settings the index does not have": settings(index={"settings": {"probes": 1}}),
    "a factory that is no text": settings(index={"factory": 8}),
    "serves x": settings(serves="x"),
    "no NeuralMF, though it is there": settings(has_neural_mf=False),
    "no histories, though they are there": settings(takes_histories=False),
    "no alpha": settings(alpha=None),
    "no digests of its files": settings(made_with={}),
    "digests that are no digests": settings(made_with=[1]),
    "model.json a list": lambda _: {"served/model.json": b"[]"},
    "model.json nested too deep": lambda _: {"served/model.json": b"[" * 100_000},
}
NO_ROWS = (
    np.lib.format.magic(1, 0)
    + b"\x76\0"
    + f"{{'descr': '<i8', 'fortran_order': False, 'shape': (0, {2**70}), }}".ljust(117).encode()
    + b"\n"
)
SAME: dict[str, Change] = {
    "nothing": lambda _: {},
    "the index by another name": settings(index={"factory": "IVF8,SQ8"}),
}


@pytest.fixture(scope="module")
def forgeries(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each of the cases an artifacts folder, whose digests are right."""
    source, folder = open_bundle(artifacts), tmp_path_factory.mktemp("forged")
    made = {}
    for number, (name, change) in enumerate((REFUSED | SAME).items()):
        made[name] = Path(shutil.copytree(artifacts, folder / str(number)))
        republish(made[name], change(source))
    return made


def said(forgeries: dict[str, Path], *flags: str) -> dict[str, Any]:
    """What a process of its own says of each."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", ASK, *map(str, forgeries.values())],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
        timeout=180,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip(forgeries, lines, strict=True))


# 30


@pytest.mark.parametrize("flags", [(), ("-O",)], ids=["", "without asserts"])
def test_parts_that_do_not_fit_are_refused_or_answer_the_same(
    forgeries: dict[str, Path], flags: tuple[str, ...]
) -> None:
    answers = said(forgeries, *flags)
    wrong = {name: answers[name] for name in REFUSED if not isinstance(answers[name], str)}
    assert not wrong, f"read: {list(wrong)}"
    for name in REFUSED:
        line = answers[name]
        assert str(forgeries[name]) in line and "served" in line, line
        assert "\n" not in line and "; " in line, line
    assert isinstance(answers["nothing"], list)
    for name in SAME:
        assert answers[name] == answers["nothing"]


@pytest.mark.parametrize(
    "name", ["vectors of another dimension", "an index by Euclidean distance", "fewer ids", "alpha NaN"]
)
def test_the_query_says_which_parts_do_not_fit(forgeries: dict[str, Path], tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, forgeries[name])
    line = bench.refused(30, *QUERY, code=4, given=f"{name}, digests made right", PYTHONOPTIMIZE="1")
    assert f"{forgeries[name]}/builds/" in line and "/served" in line


# 31


def test_a_reranker_of_another_build_is_refused_though_the_manifest_lists_it(
    artifacts: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(artifacts, tmp_path / "artifacts"))
    old, name = open_bundle(own), "served/neural_mf.safetensors"
    other = tensors("neural_mf", lambda each: -each)(old)[name]  # as many weights, and others
    with new_bundle(own) as writer:
        for file in old.manifest.files:
            writer.write(file, other if file == name else old.read(file))
        writer.publish(old.manifest.description)
    bench = Bench(tmp_path, own)
    given = "a re-ranker of another build, listed in the manifest"
    line = bench.refused(31, *QUERY, code=4, given=given)
    assert f"{name}: of another build than served/model.json" in line and "rollback" in line
    line = bench.refused(31, "retrieval", "bundles", "verify", code=4, given="")
    assert f"{name}: of another build than served/model.json" in line


# 33


def test_two_items_of_equal_scores_come_in_the_order_of_their_numbers(
    tiny_build: Build, tmp_path: Path
) -> None:
    system = tiny_build.served
    model, ids = system.model, system.items.ids
    nine, ten = (int(np.flatnonzero(ids == number)[0]) for number in (9, 10))  # as texts 10 comes first
    items = model.vectors.items.copy()
    items[nine] = items[ten]
    ann = AnnIndex.build(items, "IVF8,Flat", seed=1, threads=1, settings=SearchSettings(nprobe=8))
    vectors, seen = replace(model.vectors, items=items), ItemLists.empty(len(system.users))
    model = replace(model, vectors=vectors, ann=ann, seen=seen)
    with new_bundle(tmp_path / "artifacts") as writer:
        write_system(writer, "served", replace(system, model=model))
        writer.publish(DESCRIPTION)
    bench = Bench(tmp_path, tmp_path / "artifacts")
    for flags in ((), ("--exact",), ()):
        answer = bench.run(*QUERY, "--no-rerank", "--k", "200", "--json", *flags).json
        order = [entry["item"] for entry in answer["items"]]
        assert order.index("9") + 1 == order.index("10")


# 49


def test_a_bundle_that_takes_more_than_the_memory_limit_is_not_loaded(
    artifacts: Path, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, artifacts)
    files = open_bundle(artifacts).manifest.files
    needed = sum(each.size for name, each in files.items() if name.startswith("served/"))
    line = bench.refused(49, *QUERY, "--memory-limit", "50K", code=6)
    assert f"served: takes {needed / 1024:,.1f} KiB, but --memory-limit allows 50.0 KiB" in line


def test_a_bundle_that_takes_more_than_the_process_may_have_is_not_loaded(
    artifacts: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(artifacts, tmp_path / "artifacts"))
    old, huge = open_bundle(own), 2**40
    with new_bundle(own) as writer:
        for file in old.manifest.files:
            writer.write(file, old.read(file))
        writer._files["served/index.faiss"] = writer._files["served/index.faiss"]._replace(size=huge)
        folder = writer.publish(old.manifest.description)
    os.truncate(folder / "served/index.faiss", huge)  # nearly all of it a hole
    bench = Bench(tmp_path / "work", own)
    bench.folder.mkdir()
    script = "ulimit -v 3000000; exec query --user 42"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.support.commands.files_of", lambda folder: {})  # nobody hashes a terabyte
        line = bench.refused(
            49, "/bin/sh", "-c", script, code=6, given="an index of 1 TiB under `ulimit -v`", PATH=path
        )
    assert "served: takes 1,048,576." in line and "(ulimit -v) leaves" in line
