"""The gate: what is worse on validation than the current bundle is kept, and not published."""

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval.bundles.bundle import open_bundle
from retrieval.bundles.layout import VALIDATION
from retrieval.bundles.writer import new_bundle
from retrieval.evaluation.from_bundle import read_evaluated
from retrieval.evaluation.judgements import score_lists
from retrieval.evaluation.validation import CHOICE_K
from retrieval.pipeline.build import Build
from retrieval.pipeline.gate import GateVerdict, compare_with_current
from retrieval.pipeline.save import write_build
from tests.support.commands import Bench


def worse(build: Build, by: float) -> Build:
    return replace(build, validation_ndcg=build.validation_ndcg - by)


def test_the_figures_are_those_of_the_served_lists_on_validation(tiny_build: Build, artifacts: Path) -> None:
    evaluated = read_evaluated(open_bundle(artifacts))
    data, model = evaluated.data, evaluated.model
    from retrieval.evaluation.judgements import Judgements

    judged = Judgements.of(data.validation, data.train, data.positive_threshold)
    lists = model.for_users(judged.users, CHOICE_K).rows
    expected = score_lists(lists, judged, CHOICE_K).ndcg
    assert np.array_equal(tiny_build.validation_ndcg, expected)
    bundle = open_bundle(artifacts)
    assert np.array_equal(bundle.array(VALIDATION), expected)
    assert bundle.manifest.validation.value == expected.mean()


@pytest.mark.parametrize(("by", "held"), [(-0.1, False), (0.0, False), (0.0199, False), (0.0201, True)])
def test_a_build_is_held_back_where_it_is_worse_by_more_than_allowed(
    tiny_build: Build, artifacts: Path, by: float, held: bool
) -> None:
    verdict = compare_with_current(worse(tiny_build, by), artifacts, 0.02)
    assert verdict.held is held
    assert verdict.against == open_bundle(artifacts).folder.name
    assert verdict.low == pytest.approx(-by) and verdict.high == pytest.approx(-by)  # the same for each user


def test_other_data_is_compared_without_an_interval(tiny_build: Build, artifacts: Path) -> None:
    verdict = compare_with_current(worse(replace(tiny_build, digest="another"), 0.1), artifacts, 0.02)
    assert verdict.held and verdict.low is None
    assert "of other validation users" in verdict.text()


def test_a_first_build_passes_and_so_does_one_after_a_damaged_one(
    tiny_build: Build, own_artifacts: Path, tmp_path: Path
) -> None:
    first = compare_with_current(worse(tiny_build, 1.0), tmp_path / "nothing", 0.0)
    assert not first.held and "no bundle here" in first.text()
    (open_bundle(own_artifacts).folder / VALIDATION).write_bytes(b"")
    assert not compare_with_current(worse(tiny_build, 1.0), own_artifacts, 0.0).held


def test_what_is_held_back_lies_there_and_does_not_answer(tiny_build: Build, own_artifacts: Path) -> None:
    before = open_bundle(own_artifacts).folder
    verdict = compare_with_current(worse(tiny_build, 0.5), own_artifacts, 0.1)
    with new_bundle(own_artifacts) as writer:
        folder = write_build(writer, worse(tiny_build, 0.5), gate=verdict.to_json(), current=not verdict.held)
    assert folder.is_dir() and folder != before
    assert open_bundle(own_artifacts).folder == before


def test_a_verdict_says_what_it_found() -> None:
    verdict = GateVerdict("b", 0.01, 0.2, 7, 0.25, -0.06, -0.04)
    assert verdict.text() == (
        "validation NDCG@10 is 0.2000, -0.0500 beside 0.2500 of b "
        "(95% interval -0.0600 to -0.0400, paired over 7 users)"
    )
    assert verdict.to_json()["held"] is True


def test_the_command_exits_with_7_and_promote_publishes(own_artifacts: Path, tmp_path: Path) -> None:
    bench = Bench(tmp_path, own_artifacts)
    before = bench.answer()
    words = "--dataset sample --epochs 1 --dimension 2 --threads 1 --index IVF8,Flat --recall-target 0.5"
    held = bench.run("build-index", *shlex.split(words), "--candidates", "20", "--max-regression", "0.001")
    line = held.err.splitlines()[-1]
    assert held.code == 7 and held.err.count("\n") == 1
    assert "kept, not published: validation NDCG@10 is" in line and "paired over" in line
    assert held.out.splitlines()[-1].startswith("Kept, not published: ")
    assert bench.answer() == before
    listed = bench.run("retrieval", "bundles", "list", "--json").json["bundles"]
    assert [each["state"] for each in listed] == ["held back", "current"]
    assert bench.run("retrieval", "bundles", "promote", listed[0]["name"]).code == 0
    assert bench.answer() != before
