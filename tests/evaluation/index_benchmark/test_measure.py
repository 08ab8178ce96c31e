"""The benchmark of an index: its result, how it measures, and the command that prints it."""

import json
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from index import IndexKind, ItemLists, OperatingPoint, recall_against_exact, search_filtered, sweep
from retrieval.bundles.bundle import open_bundle
from retrieval.cli.commands import retrieval as group
from retrieval.data.ids import IdMap
from retrieval.errors import ArtifactError, EnvironmentProblem, UsageError
from retrieval.evaluation.index_benchmark import measure as measure_module
from retrieval.evaluation.index_benchmark.measure import Subject, measure, read_subject
from retrieval.evaluation.index_benchmark.result import BATCH, Benchmark, headline, pareto_front
from retrieval.machine import Machine
from retrieval.reporting.text.index_benchmark import benchmark_text
from tests.support.benchmarks import CHOSEN, EXACT, FRONT, POINTS, benchmark, point

# The Pareto front


def test_the_front_of_a_worked_example() -> None:
    assert [each.name for each in pareto_front(POINTS)] == FRONT


def test_of_equal_points_one_is_on_the_front() -> None:
    same = [point("IVF4,Flat", 0.9, 1.0, nprobe=1), point("IVF8,Flat", 0.9, 1.0, nprobe=2)]
    assert [each.name for each in pareto_front(same)] == ["IVF4,Flat nprobe=1"]


def dominates(one: OperatingPoint, other: OperatingPoint) -> bool:
    """Whether it finds at least as much in at most as much time, and is better in one of the two."""
    at_least = one.recall >= other.recall and one.p50_ms <= other.p50_ms
    return at_least and (one.recall > other.recall or one.p50_ms < other.p50_ms)


levels = st.sampled_from([0.2, 0.5, 0.8, 0.9, 0.95, 1.0])  # few, so that there are ties


@given(st.lists(st.tuples(levels, levels), min_size=1, max_size=30))
def test_no_point_dominates_one_of_the_front_and_the_front_leaves_nothing_out(
    figures: list[tuple[float, float]],
) -> None:
    points = [point("IVF9,Flat", recall, ms, nprobe=i + 1) for i, (recall, ms) in enumerate(figures)]
    front = pareto_front(points)
    assert not [(a.name, b.name) for a in points for b in front if dominates(a, b)]
    for each in points:
        assert any(b.recall >= each.recall and b.p50_ms <= each.p50_ms for b in front), each.name
    assert all(a.recall < b.recall and a.p50_ms < b.p50_ms for a, b in pairwise(front))


# JSON


def test_the_document_has_every_point_with_its_marks() -> None:
    document = json.loads(json.dumps(benchmark().to_json(), allow_nan=False))
    assert set(document) == {
        "dataset", "bundle", "machine", "threads", "seed", "items", "dimension", "k", "queries", "batch",
        "recall_target", "serves", "chosen", "exact", "points", "filters", "ndcg_change", "pays_from",
    }  # fmt: skip
    points = {each["name"]: each for each in document["points"]}
    assert list(points) == [each.name for each in POINTS]
    assert {name for name, each in points.items() if each["pareto"]} == set(FRONT)
    assert [name for name, each in points.items() if each["chosen"]] == [CHOSEN.name] == [document["chosen"]]
    assert points[CHOSEN.name].items() >= {
        "factory": "IVF64,Flat", "recall": 0.96, "recall_error": 0.002, "p50_ms": 0.5, "p99_ms": 2.5,
        "bytes_per_item": 268.0, "build_seconds": 1.25, "queries_per_second": 12_000.0,
    }.items()  # fmt: skip
    assert points["Flat"]["queries_per_second"] is None
    assert document["filters"][0].keys() >= {"label", "kind", "items", "share", "recall", "p50_ms"}
    assert document["ndcg_change"] == {"k": 10, "value": -0.0012, "low": -0.0031, "high": 0.0004}


def test_a_change_of_ndcg_without_a_judged_user_is_null() -> None:
    assert benchmark(ndcg_change=None).to_json()["ndcg_change"] is None
    nothing = {"value": None, "low": None, "high": None}
    report = {"k": 10, "comparisons": [{"stage": "ann", "against": "exact", "ndcg@10": nothing}]}
    assert measure_module._ndcg_change(report) is None


# The text


def marked(text: str, mark: str) -> list[str]:
    """Names in the lines of the first table whose mark column has this; nprobe is short there."""
    table = text.split("\n\n")[1].splitlines()[1:]
    names = [line[4:].split("  ")[0] for line in table if mark in line[:3] and line[2:4] == "  "]
    return [name.replace(" n=", " nprobe=") for name in names]


def test_the_chosen_point_and_the_front_are_marked() -> None:
    text = benchmark_text(benchmark())
    assert marked(text, ">") == [CHOSEN.name]
    assert marked(text, "*") == FRONT
    slow = point("IVF64,Flat", 0.951, 0.8, nprobe=7)  # a point that others beat
    text = benchmark_text(benchmark(points=(*POINTS, slow), chosen=slow))
    assert marked(text, ">") == [slow.name]
    assert marked(text, "*") == FRONT


def test_every_kind_has_a_line_with_its_fastest_setting_at_the_target() -> None:
    kinds = benchmark_text(benchmark()).split("\n\n")[2].splitlines()
    assert kinds[0].split() == ["kind", "bytes/item", "build", "s", "ms", "at", "0.95", "recall"]
    assert [line.split() for line in kinds[1:6]] == [
        ["IVF64,Flat", "268", "1.25", "0.500", ".9600"],
        ["HNSW32", "268", "1.25", "0.900", ".9600"],
        ["SQfp16", "268", "1.25", "2.00", ".9890"],
        ["Flat", "268", "1.25", "3.00", "1"],
        ["exact", "268", "1.25", "4.00", "1"],
    ]
    missing = benchmark_text(benchmark(recall_target=0.999)).split("\n\n")[2]
    assert ["IVF64,Flat", "268", "1.25", "-", ".9900"] in [line.split() for line in missing.splitlines()]


def wide() -> Benchmark:
    """Everything as wide as it comes."""
    name = "UPCAR128,IVF65536,PQ128x4fsr,Refine(SQ8)"
    chosen = point(name, 0.95123, 1234.5, family="fast scan lists", nprobe=49152, k_factor=16.0)
    exact = replace(EXACT, p50_ms=54321.9, bytes_per_item=123_456.7)
    found = benchmark()
    filters = tuple(replace(each, label="千と千尋の神隠し" * 9, items=123_456_789) for each in found.filters)
    return benchmark(
        dataset="d" * 300,
        machine=Machine("p" * 40 + " with words behind it", 128, "Linux"),
        threads=64,
        items=123_456_789,
        k=100_000,
        queries=100_000,
        points=(*POINTS[:-1], chosen, exact),
        chosen=chosen,
        exact=exact,
        per_second={chosen.name: 1e7},
        filters=filters,
        serves="exact",
        pays_from=234_567_890,
    )


@pytest.mark.parametrize("found", [benchmark(), wide(), benchmark(filters=benchmark().filters[:1])])
def test_no_line_is_wider_than_a_terminal(found: Benchmark) -> None:
    from retrieval.reporting.text.tables import cell_width

    text = benchmark_text(found)
    assert max(map(cell_width, text.splitlines())) <= 80, text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "The index pays here: IVF64,Flat nprobe=8 is 8.0 times as fast as exact search"),
        ({}, "finds 96.0% (standard error 0.2%) of the exact top 200; the target is 95%."),
        ({"recall_target": 0.97}, "The index is faster, but finds too little"),
        ({"recall_target": 0.97}, "the target is 97%, which it MISSES here."),
        ({"exact": replace(EXACT, p50_ms=0.52)}, "The index is no faster than exact search here"),
        ({"exact": replace(EXACT, p50_ms=0.25)}, "Exact search is faster here, 2.0 times as fast as IVF64"),
        ({"serves": "exact"}, "Exact search is what this bundle answers by."),
        ({"pays_from": 8000}, "Enlarged to 8,000 items, an index was faster"),
        ({"recall_target": None}, "finds 96.0% (standard error 0.2%) of the exact top 200."),
        ({}, "changes NDCG@10 against exact search by -.0012, 95% interval -.0031 to +.0004: no clear"),
    ],
)
def test_the_verdict_says_whether_the_index_pays(changes: dict[str, Any], says: str) -> None:
    if "exact" in changes:
        changes = changes | {"points": (*POINTS[:-1], changes["exact"])}
    assert says in " ".join(benchmark_text(benchmark(**changes)).split())


def test_a_setting_clearly_faster_at_the_target_is_named_and_others_are_not() -> None:
    assert "Fastest with" not in benchmark_text(benchmark())
    faster = point("IVF32,Flat", 0.955, 0.4, nprobe=3)
    text = " ".join(benchmark_text(benchmark(points=(*POINTS, faster))).split())
    assert "Fastest with that recall in this run: IVF32,Flat nprobe=3, recall .9550 in 0.400 ms." in text


def test_the_headline_of_the_picture_says_it_too() -> None:
    assert headline(benchmark()) == "96.0% of the exact top 200, 8.0 times faster"
    assert (
        headline(benchmark(exact=replace(EXACT, p50_ms=0.51))) == "the index is no faster than exact search"
    )
    assert headline(benchmark(exact=replace(EXACT, p50_ms=0.25))).startswith(
        "exact search is 2.0 times faster"
    )


# Measuring


@pytest.fixture
def small_sweep(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """In place of the sweep two points, so that tests take no minutes; what it was asked is kept."""
    asked: list[dict[str, Any]] = []

    def fake(vectors: Any, queries: Any, k: int, **others: Any) -> tuple[OperatingPoint, ...]:
        asked.append({"vectors": vectors, "queries": queries, "k": k} | others)
        others["say"]("IVF4,Flat")
        return (EXACT, point("IVF4,Flat", 0.99, 1e-6, nprobe=3), point("IVF8,Flat", 0.1, 9.0, nprobe=8))

    monkeypatch.setattr(measure_module, "sweep", fake)
    return asked


@pytest.fixture(scope="module")
def subject(artifacts: Path) -> Subject:
    return read_subject(open_bundle(artifacts))


def test_the_subject_is_the_evaluated_part_with_the_users_of_test(artifacts: Path, subject: Subject) -> None:
    from retrieval.evaluation.from_bundle import read_evaluated

    bundle = open_bundle(artifacts)
    evaluated = read_evaluated(bundle)
    assert np.array_equal(subject.users, np.unique(evaluated.data.test.users))
    assert np.array_equal(subject.system.model.vectors.items, evaluated.model.vectors.items)
    assert (subject.dataset, subject.bundle) == ("sample", bundle.folder.name)
    assert (subject.recall_target, subject.seed) == (0.5, 42)
    comparison = next(
        each
        for each in bundle.json("report.json")["comparisons"]
        if (each["stage"], each["against"]) == ("ann", "exact")
    )
    assert subject.ndcg_change is not None
    assert vars(subject.ndcg_change.difference) == comparison["ndcg@10"]


def test_measuring_asks_for_users_of_test_without_what_they_have_seen(
    subject: Subject, small_sweep: list[dict[str, Any]]
) -> None:
    model = subject.system.model
    found = measure(subject, None, queries=40, threads=1)
    (asked,) = small_sweep
    assert (len(asked["queries"]), asked["k"], found.queries, found.k) == (40, 20, 40, 20)
    users = [int(np.flatnonzero((model.vectors.users == query).all(1))[0]) for query in asked["queries"]]
    assert set(users) <= set(subject.users.tolist()) and len(set(users)) == 40
    assert [asked["exclude"].of(i).tolist() for i in range(40)] == [
        model.seen.of(user).tolist() for user in users
    ]
    again = measure(subject, None, queries=40, threads=1)
    assert np.array_equal(small_sweep[1]["queries"], asked["queries"]) and again.queries == 40
    everybody = measure(subject, 5, queries=10_000, threads=1)
    assert (everybody.queries, everybody.k) == (len(subject.users), 5)


def test_the_chosen_point_is_the_bundles_index_as_tuning_counts_recall(
    subject: Subject, small_sweep: list[dict[str, Any]]
) -> None:
    model = subject.system.model
    found = measure(subject, None, queries=40, threads=1)
    queries, exclude = small_sweep[0]["queries"], small_sweep[0]["exclude"]
    asked = (model.exact, queries, 20, exclude)
    own = search_filtered(model.ann, *asked, rescue=False).result.rows
    recalls = recall_against_exact(own, search_filtered(model.exact, *asked).result.rows)
    assert found.chosen.name == model.ann.name and found.chosen in found.points
    assert found.chosen.recall == pytest.approx(recalls.mean())
    assert 0 < found.chosen.recall < 1  # else nothing is tested here
    assert found.chosen.bytes_per_item == model.ann.n_bytes / 112
    assert found.chosen.build_seconds == 1.25  # of the same kind in the sweep
    names = [each.name for each in found.points]
    assert len(set(names)) == len(names) and names.count("exact") == 1
    assert found.exact is not EXACT and found.exact.p50_ms > 0
    assert found.per_second.keys() >= {found.chosen.name, "exact", "IVF4,Flat nprobe=3"}
    assert found.per_second.keys() == {each.name for each in (*found.front, found.chosen, found.exact)}
    assert all(1 < per_second < 1e9 for per_second in found.per_second.values())
    assert BATCH == 256


def test_filters_are_parts_of_each_other_and_what_is_served_keeps_to_them(
    subject: Subject, small_sweep: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = measure_module._allowed_sets(subject.system, seed=3)
    random = [rows for _, kind, rows in sets if kind == "random"]
    assert [len(rows) for rows in random] == [112, 56, 22, 11, 6, 2, 1]  # 1 % and 0.5 % are one item alike
    assert all(np.isin(small, large).all() for large, small in pairwise(random))
    assert all((np.diff(rows) > 0).all() and rows.dtype == np.int64 for _, _, rows in sets)
    asked: list[Any] = []
    search = measure_module.search_filtered

    def spy(*arguments: Any, **options: Any) -> Any:
        if options.get("allowed") is not None:
            asked.append((options["allowed"], search(*arguments, **options).result.rows))
        return search(*arguments, **options)

    monkeypatch.setattr(measure_module, "search_filtered", spy)
    found = measure(subject, None, queries=12, threads=1)
    assert [each.items for each in found.filters if each.kind == "random"] == [112, 56, 22, 11, 6, 2, 1]
    assert asked and all(np.isin(rows[rows >= 0], allowed).all() for allowed, rows in asked)
    assert all(0 <= each.recall <= 1 and each.share == each.items / 112 for each in found.filters)
    # So few items are answered by exact search itself.
    assert found.filters[-1].recall == 1


def test_the_largest_genres_are_filters_too(subject: Subject) -> None:
    from retrieval.serving.item_attributes import ItemAttributes, ItemColumn

    names, sizes = ["A", "B", "C", "D", "E", "F"], [3, 9, 1, 20, 7, 5]
    places, rows = np.repeat(np.arange(6), sizes), np.concatenate([np.arange(size) for size in sizes])
    column = ItemColumn(IdMap.from_values(names), ItemLists.from_pairs(places, rows, 6))
    system = replace(subject.system, attributes=ItemAttributes({"genre": column}))
    found = measure_module._allowed_sets(system, 3)
    genres = [(label, rows.tolist()) for label, kind, rows in found if kind == "genre"]
    assert genres == [(name, list(range(size))) for name, size in zip("DBEFA", (20, 9, 7, 5, 3), strict=True)]
    without = measure_module._allowed_sets(replace(system, attributes=ItemAttributes()), 3)
    assert [each[0] for each in without] == [each[0] for each in found if each[1] == "random"]


def test_a_real_sweep_gives_a_benchmark(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [IndexKind("Flat", "flat"), IndexKind("IVF4,Flat", "lists"), IndexKind("HNSW32", "graph")]
    monkeypatch.setattr(measure_module, "sweep", partial(sweep, kinds=kinds))
    found = measure(subject, None, queries=20, threads=1)
    assert {each.family for each in found.points} == {"exact", "flat", "lists", "graph", "by name"}
    assert [each.factory for each in found.points].count("IVF4,Flat") == 3  # nprobe 1, 2 and 4
    assert all(each.recall == 1 for each in found.points if each.is_exact)
    everything = next(each for each in found.points if each.name == "IVF4,Flat nprobe=4")
    assert everything.recall == 1
    assert benchmark_text(found).startswith("sample: recall against latency")


# The command


def command(*arguments: object) -> Result:
    return CliRunner().invoke(group, ["benchmark", *map(str, arguments)])


def test_the_command_prints_tables_and_writes_both_files(
    artifacts: Path, tmp_path: Path, small_sweep: list[dict[str, Any]]
) -> None:
    out = tmp_path / "deep" / "pictures"
    before = sorted(artifacts.rglob("*"))
    ran = command("--artifacts", artifacts, "--output", out, "--queries", "20", "--k", "15")
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.startswith("sample: recall against latency")
    assert (
        max(map(len, ran.stdout.removesuffix(f"Wrote {out}: benchmark.json, benchmark.png\n").splitlines()))
        <= 80
    )
    assert sorted(path.name for path in out.iterdir()) == ["benchmark.json", "benchmark.png"]
    document = json.loads((out / "benchmark.json").read_text())
    assert (document["k"], document["queries"], document["threads"]) == (15, 20, 1)
    assert (out / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(artifacts.rglob("*")) == before


def test_json_prints_the_document_only(
    artifacts: Path, tmp_path: Path, small_sweep: list[dict[str, Any]]
) -> None:
    ran = command("--artifacts", artifacts, "--output", tmp_path, "--queries", "20", "--json")
    assert (ran.exit_code, ran.stderr, ran.stdout.count("\n")) == (0, "", 1)
    assert json.loads(ran.stdout) == json.loads((tmp_path / "benchmark.json").read_text())


def test_without_a_bundle_nothing_is_made(tmp_path: Path) -> None:
    ran = command("--artifacts", tmp_path / "a", "--output", tmp_path / "out")
    assert isinstance(ran.exception, ArtifactError) and ran.exception.exit_code == 4
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["--k", "--queries", "--threads"])
@pytest.mark.parametrize("value", ["0", "-1", "ten"])
def test_a_value_out_of_range_is_wrong_use(tmp_path: Path, flag: str, value: str) -> None:
    ran = command(flag, value, "--artifacts", tmp_path / "a", "--output", tmp_path / "out")
    assert ran.exit_code == 2 and flag in ran.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("inside", [".", "builds", "pictures"])
def test_bundles_stay_as_they_are(artifacts: Path, inside: str) -> None:
    before = sorted(artifacts.rglob("*"))
    ran = command("--artifacts", artifacts, "--output", artifacts / inside)
    assert isinstance(ran.exception, UsageError) and "name another folder" in str(ran.exception)
    assert sorted(artifacts.rglob("*")) == before


def test_a_folder_that_cannot_be_made_is_known_before_anything_is_measured(
    artifacts: Path, tmp_path: Path, small_sweep: list[dict[str, Any]]
) -> None:
    (tmp_path / "file").write_text("")
    ran = command("--artifacts", artifacts, "--output", tmp_path / "file" / "out")
    assert isinstance(ran.exception, EnvironmentProblem)
    assert "give another --output" in str(ran.exception) and not small_sweep
