import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from retrieval.bundles.bundle import open_bundle
from retrieval.cli.commands import retrieval as group
from retrieval.errors import DataError
from retrieval.pipeline.build import Build
from retrieval.settings import BuildSettings, TowerSettings, id_towers
from tests.support.checkout import ROOT
from tests.support.commands import Ran, environment, run_cold
from tests.support.commands import run as run_command
from tests.support.manifests import DESCRIPTION

TINY = shlex.split("--dataset sample --dimension 8 --epochs 2 --threads 1 --index IVF8,Flat --candidates 20")


def run(
    *arguments: object, program: str = "retrieval", code: str | None = None, whole: bool = False, **more: str
) -> Ran:
    """A command in a process of its own; with `code` that code in a new process instead."""
    if code is not None:
        return run_cold([sys.executable, "-c", code, *map(str, arguments)], environment(**more))
    return run_command(program, *arguments, whole=whole, **more)


@pytest.fixture
def query(artifacts: Path) -> Callable[..., Ran]:
    """`retrieval query` on the session's bundle."""
    return lambda *arguments: run("query", *arguments, RETRIEVAL_ARTIFACTS=str(artifacts))


def folders_of(artifacts: Path) -> list[str]:
    return sorted(path.name for path in (artifacts / "builds").iterdir())


# build-index


@pytest.fixture(scope="module")
def cli_build(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Path]:
    folder = tmp_path_factory.mktemp("cli") / "artifacts"
    return run("build-index", *TINY, "--json", "--progress", "--artifacts", folder, whole=True), folder


def test_build_index_publishes_and_prints_its_report_as_json_only(cli_build: tuple[Ran, Path]) -> None:
    ran, folder = cli_build
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert ran.out.count("\n") == 1
    assert Path(document["bundle"]) == open_bundle(folder).folder
    assert document["split"]["train"] == 3375
    assert document.items() >= open_bundle(folder).json("report.json").items()


def test_build_index_tells_a_log_a_line_a_phase_if_asked(cli_build: tuple[Ran, Path]) -> None:
    lines = cli_build[0].err.splitlines()
    assert all(re.fullmatch(r" *\d+\.\d s  [A-Z].*", line) for line in lines), lines
    assert len(lines) == 13
    assert "\x1b" not in cli_build[0].err


def test_the_built_bundle_answers_by_its_own_command_and_by_environment(cli_build: tuple[Ran, Path]) -> None:
    ran = run("--user", "42", "--json", program="query", RETRIEVAL_ARTIFACTS=str(cli_build[1]))
    assert (ran.code, ran.err) == (0, "")
    assert len(json.loads(ran.out)["items"]) == 10


def test_build_index_by_its_own_command_prints_all_tables_if_asked(tmp_path: Path) -> None:
    ran = run(*TINY, "--no-refit", "--full", "--artifacts", tmp_path / "a", program="build-index")
    assert (ran.code, ran.err) == (0, "")  # no terminal, no progress
    for stage in ("popularity", "EASE", "exact", "ann", "exact+rerank", "ann+rerank"):
        assert re.search(rf"^{re.escape(stage)} .*\.\d", ran.out, re.M), stage
    assert str(open_bundle(tmp_path / "a").folder) in ran.out
    assert open_bundle(tmp_path / "a").manifest.settings.document["refit"] is False


def test_a_build_ends_with_the_first_screen_and_a_quiet_one_with_nothing(tmp_path: Path) -> None:
    plain = run(*TINY, "--no-refit", "--artifacts", tmp_path / "a", program="build-index")
    assert plain.code == 0
    first, last = plain.out.split("\n\n--full prints every figure, report.html in the bundle shows them.\n\n")
    assert first.splitlines()[:4] == [
        "sample: trained on the oldest 3,375 rows, judged on the newest 965",
        "  from 2023-01-01 to 2023-09-30, and from 2023-11-02 to 2023-12-31",
        "",
        "Ship it?",
    ]
    assert last == f"Published {open_bundle(tmp_path / 'a').folder}\n"
    quiet = run(*TINY, "--no-refit", "--quiet", "--artifacts", tmp_path / "a", program="build-index")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    assert len(list((tmp_path / "a" / "builds").iterdir())) == 2


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--dimension", "0"], "--dimension"),
        (["--epochs", "0"], "--epochs"),
        (["--batch-size", "-1"], "--batch-size"),
        (["--negatives", "0"], "--negatives"),
        (["--candidates", "0"], "--candidates"),
        (["--threads", "0"], "--threads"),
        (["--seed", "-1"], "--seed"),
        (["--learning-rate", "nan"], "learning.rate"),
        (["--learning-rate", "0"], "learning.rate"),
        (["--learning-rate", "inf"], "learning.rate"),
        (["--positive-threshold", "nan"], "--positive-threshold"),
        (["--recall-target", "nan"], "--recall-target"),
        (["--test-fraction", "1.5"], "--test-fraction"),
        (["--test-fraction", "0.6", "--validation-fraction", "0.4"], "--validation-fraction"),
        (["--user-tower", "both"], "--user-tower"),
        (["--loss", "warp"], "--loss"),
        (["--members", "0"], "--members"),
        (["--user-tower", "id", "--loss", "softmax"], "leave out --loss and --members"),
        (["--user-tower", "id", "--members", "2"], "leave out --loss and --members"),
        (["--preset", "notebook", "--loss", "bpr"], "--loss"),
        (["--preset", "notebook", "--members", "1"], "--members"),
        (["--device", "abacus"], "--device"),
        (["--dataset", "sampel"], "did you mean sample"),
        (["--dataset", "sample", "--ratings", "x"], "exclude each other"),
        (["--items", "x"], "--ratings"),
        (["--users", "x"], "--users goes with --ratings"),
        (["--dimensoin", "8"], "--dimension"),
        (["sample"], "sample"),
        ([], "no data named: give --ratings FILE .* --dataset NAME"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_flags_of_a_build_are_refused_before_any_work(
    tmp_path: Path, flags: list[str], says: str
) -> None:
    ran = run("build-index", "--artifacts", tmp_path / "a", "--data", tmp_path / "d", "--quiet", *flags)
    assert re.search(says, ran.refusal(2))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "towers"),
    [
        ("", TowerSettings()),
        ("--user-tower history --loss softmax --members 2", TowerSettings(loss="softmax", members=2)),
        ("--negatives 7 --batch-size 9", TowerSettings(negatives=7, batch_size=9)),
        ("--user-tower id", id_towers()),
        ("--user-tower id --loss bpr --members 1", id_towers()),
        ("--user-tower id --negatives 7 --learning-rate .5", id_towers(negatives=7, learning_rate=0.5)),
        (
            "--user-tower id --batch-size 9 --dimension 3 --epochs 2 --recency-half-life none",
            id_towers(batch_size=9, dimension=3, max_epochs=2, recency_half_life_days=None),
        ),
    ],
)
def test_flags_become_the_settings_of_the_user_tower_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, towers: TowerSettings
) -> None:
    told: list[BuildSettings] = []

    def build(*tables: object, settings: BuildSettings, **rest: object) -> Build:
        told.append(settings)
        raise DataError("that is all")

    monkeypatch.setattr("retrieval.pipeline.build.build", build)
    command = ["build-index", "--dataset", "sample", "--artifacts", str(tmp_path), *shlex.split(flags)]
    assert isinstance(CliRunner().invoke(group, command).exception, DataError)
    assert [settings.towers for settings in told] == [towers]


def test_a_wrong_index_is_refused_before_training_with_one_that_works(own_artifacts: Path) -> None:
    ran = run("build-index", *TINY, "--index", "IVF999,Flat", "--artifacts", own_artifacts)
    assert ran.code == 2
    assert '"IVF2,Flat" works here' in ran.err.splitlines()[-1]
    assert "Training" not in ran.err and "Traceback" not in ran.err
    assert len(folders_of(own_artifacts)) == 1


def test_missing_or_bad_data_ends_with_3(tmp_path: Path) -> None:
    flags = ("build-index", "--quiet", "--artifacts", tmp_path / "a", "--ratings")
    missing = run(*flags, tmp_path / "nothing.csv")
    assert f"{tmp_path / 'nothing.csv'}: no such file" in missing.refusal(3)
    bad = tmp_path / "bad.csv"
    bad.write_text("userId,movieId,rating,timestamp\n1,2,3.0,10\n1,3,good,11\n")
    wrong = run(*flags, bad)
    assert f"{bad}:3" in wrong.refusal(3) and "good" in wrong.err
    good = ROOT / "data" / "sample" / "ratings.csv"
    untitled = run(*flags, good, "--items", tmp_path / "nothing.csv")
    assert "nothing.csv" in untitled.refusal(3)
    unknown = run(*flags, good, "--users", tmp_path / "nothing.csv")
    assert "nothing.csv: no such file or folder; give a users file" in unknown.refusal(3)
    assert not (tmp_path / "a").exists()


def test_a_folder_that_cannot_be_written_ends_with_6_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = run("build-index", *TINY, "--artifacts", tmp_path / "file" / "x")
    assert ran.code == 6
    assert "cannot be written" in ran.err.splitlines()[-1]
    assert "Training" not in ran.err and "Traceback" not in ran.err


def test_what_was_understood_rather_than_read_is_said(tmp_path: Path) -> None:
    text = (ROOT / "data" / "sample" / "ratings.csv").read_text().splitlines()
    header, *rows = text
    assert header.endswith("timestamp")
    (tmp_path / "ms.csv").write_text("\n".join([header, *(f"{row}000" for row in rows)]))
    quick = ["--epochs", "1", "--dimension", "4", "--threads", "1", "--index", "IVF1,Flat", "--no-refit"]
    quick += ["--artifacts", str(tmp_path)]
    ran = run("build-index", "--ratings", tmp_path / "ms.csv", *quick)
    assert ran.code == 0
    assert ran.err.splitlines() == ["ms.csv: timestamps were read as milliseconds"]
    # A refusal is one line, whatever else there is to say of the table.
    (tmp_path / "few.csv").write_text("user,item,timestamp\n1,2,1600000000000\n2,3,1600000000001\n")
    refused = run("build-index", "--ratings", tmp_path / "few.csv", *quick)
    assert refused.code == 3
    assert len(refused.err.splitlines()) == 1


def test_a_torch_that_finds_no_memory_is_no_bug(tmp_path: Path) -> None:
    ran = run("build-index", "--dataset", "sample", "--dimension", "1000000000", "--artifacts", tmp_path)
    assert ran.code == 6
    line = ran.err.splitlines()[-1]
    assert line.startswith(
        "error: not enough memory; free some, or lower --dimension, --threads or the rows; "
    )
    assert "--no-ease" in line


# query


def test_query_prints_ten_titled_items_and_nothing_else(query: Callable[..., Ran]) -> None:
    ran = query("--user", "42", "--k", "10")
    assert (ran.code, ran.err) == (0, "")
    first, header, *rows = ran.out.splitlines()
    assert first == "10 recommendations for user 42"
    assert header.split() == ["item", "title", "score", "rating", "retrieved"]
    assert [row.split()[0] for row in rows] == [str(rank) for rank in range(1, 11)]
    assert all(re.search(r" (Action|Comedy|Drama|Sci-Fi) \d\d \(\d{4}\) ", row) for row in rows)
    assert max(map(len, ran.out.splitlines())) <= 80


def test_query_json_is_one_document_with_the_keys_of_the_design(query: Callable[..., Ran]) -> None:
    ran = query("--user", "42", "--k", "3", "--json")
    assert (ran.code, ran.err, ran.out.count("\n")) == (0, "", 1)
    answer = json.loads(ran.out)
    assert answer.keys() == {"user", "status", "k", "items", "notes"}
    assert (answer["user"], answer["status"], answer["k"], len(answer["items"])) == ("42", "warm", 3, 3)
    keys = {"item", "title", "score", "retrieval_rank", "retrieval_score", "predicted_rating"}
    types = {"item": str, "title": str, "retrieval_rank": int}
    for item in answer["items"]:
        assert item.keys() == keys
        assert all(isinstance(item[key], types.get(key, float)) for key in keys)


def test_a_history_may_stand_in_a_file(query: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "liked.txt").write_text("1\n2\n\n")
    assert (
        query("--history", f"@{tmp_path / 'liked.txt'}", "--json").out
        == query("--history", "1,2", "--json").out
    )
    (tmp_path / "none.txt").write_text("\n")
    assert "--history names no item" in query("--history", f"@{tmp_path / 'none.txt'}").refusal(2)
    assert "cannot be read" in query("--history", f"@{tmp_path / 'missing.txt'}").refusal(3)


def test_query_answers_a_history_and_says_what_it_left_out(query: Callable[..., Ran]) -> None:
    ran = query("--history", "1, 2,777,", "--k", "5")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0] == "5 recommendations for someone with this history"
    assert "note: unknown items were left out: 777" in lines
    answer = json.loads(query("--history", "1,2", "--json").out)
    assert (answer["user"], answer["status"]) == (None, "history")
    assert all(item["predicted_rating"] > 1 for item in answer["items"])
    plain = json.loads(query("--history", "1,2", "--json", "--no-rerank").out)
    assert {item["predicted_rating"] for item in plain["items"]} == {None}
    assert [item["retrieval_rank"] for item in plain["items"]] == list(range(1, 11))


def test_more_than_there_is_gives_all_there_is_and_a_note(query: Callable[..., Ran]) -> None:
    ran = query("--user", "42", "--k", "5000")
    assert ran.code == 0
    *rows, note = ran.out.splitlines()
    assert note.startswith("note: only ")
    assert len(rows) - 2 == int(ran.out.split()[0]) < 120


@pytest.mark.parametrize(
    "flags", [[], ["--exact"], ["--no-rerank"], ["--exact", "--no-rerank"]], ids=" ".join
)
def test_exact_and_no_rerank_do_what_they_say(
    query: Callable[..., Ran], tiny_build: Build, flags: list[str]
) -> None:
    from retrieval import Recommender

    recommender = Recommender(tiny_build.served)
    users = recommender.system.users.ids
    lists = [
        [each.items for each in recommender.recommend(users, 10, exact=exact)] for exact in (True, False)
    ]
    user = next(user for user, exact, ann in zip(users, *lists, strict=True) if exact != ann)
    exact, rerank = "--exact" in flags, "--no-rerank" not in flags
    expected = recommender.recommend([user], 10, exact=exact, rerank=rerank)[0]
    assert json.loads(query("--user", user, "--json", *flags).out) == expected.to_json()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--user", "99999"], 5, r"user 99999 .*148, 149, 150.*--history"),
        (["--user", "bob"], 5, r"user bob .*numbers from 1 to 150"),
        (["--history", "777,888"], 5, r"777, 888.*118, 119, 120"),
        (["--history", ","], 2, "names no item"),
        (["--user", "42", "--k", "0"], 2, r"--k.*0.*see retrieval query --help"),
        (["--user", "42", "--k", "many"], 2, "--k.*many"),
        (["--user", "42", "--history", "1"], 2, "one of --user and --history.*both"),
        ([], 2, "one of --user and --history.*neither"),
        (["--usr", "42"], 2, "--usr.*--user"),
        (["--user"], 2, "--user.*argument"),
        (["42"], 2, "42"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_query_is_one_line_and_a_code(
    query: Callable[..., Ran], arguments: list[str], code: int, says: str
) -> None:
    ran = query(*arguments)
    assert re.search(says, ran.refusal(code))


def test_no_bundle_ends_with_4_and_what_to_run(tmp_path: Path) -> None:
    for command in (["query", "--user", "42"], ["evaluate"]):
        ran = run(*command, "--artifacts", tmp_path / "nothing")
        assert ran.refusal(4) == (
            f"error: {tmp_path / 'nothing'}: no bundle here; run build-index first, or give --artifacts"
        )


def test_a_damaged_bundle_ends_with_4_and_names_the_file(own_artifacts: Path) -> None:
    for name, command in (
        ("served/item_vectors.npy", ["query", "--user", "42"]),
        ("evaluated/item_vectors.npy", ["evaluate", "--json"]),
    ):
        path = open_bundle(own_artifacts).folder / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        ran = run(*command, "--artifacts", own_artifacts)
        assert str(path) in ran.refusal(4) and "run build-index again" in ran.err


def test_parts_of_two_fits_are_refused_under_python_o(own_artifacts: Path) -> None:
    from retrieval.bundles.writer import new_bundle

    old = open_bundle(own_artifacts)
    with new_bundle(own_artifacts) as writer:
        for name in old.manifest.files:
            writer.write(name, old.read(name.replace("served/neural_mf", "evaluated/neural_mf")))
        writer.publish(DESCRIPTION)
    command = [sys.executable, "-O", "-m", "retrieval", "query", "--user", "42"]
    ran = run_cold([*command, "--artifacts", str(own_artifacts)], environment())
    assert "of another build" in ran.refusal(4)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_under_stdout_ends_with_6(artifacts: Path) -> None:
    command = [sys.executable, "-m", "retrieval", "query", "--user", "42", "--artifacts", str(artifacts)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment(), check=False
        )
    assert done.returncode == 6
    assert re.fullmatch(r"error: .*No space left on device.*\n", done.stderr)


# evaluate


def test_evaluate_json_is_the_report_of_the_build_and_nothing_else(
    artifacts: Path, tiny_build: Build
) -> None:
    ran = run("evaluate", "--json", "--artifacts", artifacts)
    assert (ran.code, ran.err, ran.out.count("\n")) == (0, "", 1)
    document, report = json.loads(ran.out), tiny_build.report.to_json()
    assert document.keys() == report.keys()
    assert document["stages"] == report["stages"]
    assert document["rating"] == report["rating"]
    assert {"dataset", "protocol", "k", "split", "stages", "ann", "rating"} <= document.keys()
    estimates = document["stages"]["ann+rerank"]
    assert all(
        estimates[f"{name}@10"].keys() >= {"value", "low", "high"} for name in ("precision", "recall", "ndcg")
    )
    assert "recall@candidates" in document["ann"] and {"rmse", "mae"} <= document["rating"].keys()


def test_evaluate_prints_a_table_at_the_k_asked_for(artifacts: Path) -> None:
    ran = run("evaluate", "--k", "5", "--artifacts", artifacts)
    assert (ran.code, ran.err) == (0, "")
    assert "NDCG@5" in ran.out


# A bug is no message


def test_a_bug_shows_its_traceback() -> None:
    code = """
import click
from retrieval.cli.app import run
from retrieval.cli.process import start
@click.command()
def broken():
    {}
start(lambda: run(broken, "broken"))
"""
    for kind, arguments in (("KeyError", "'x'"), ("EOFError", ""), ("OSError", "5, 'Input/output error'")):
        ran = run(code=code.format(f"raise {kind}({arguments})"))
        assert ran.code == 1
        assert "Traceback" in ran.err and re.match(rf"{kind}\b", ran.err.splitlines()[-1])
    for short in (
        "MemoryError",
        "RuntimeError('Memory error in scipy.linalg.inv')",
        "RuntimeError('CUDA out of memory. Tried to allocate 2 GiB')",
        'RuntimeError("can\'t start new thread")',
        "OSError(12, 'Cannot allocate memory')",
    ):
        assert run(code=code.format(f"raise {short}")).refusal(6).startswith("error: not enough memory; ")
