import json
import subprocess
import sys
from pathlib import Path

from retrieval.bundles.bundle import open_bundle
from retrieval.evaluation.from_bundle import read_evaluated
from retrieval.pipeline.build import Build
from retrieval.training.curves import EpochRecord, TrainingHistory, training_curves

TOWERS = TrainingHistory(1, (EpochRecord(1, 0.69, 0.11), EpochRecord(2, 0.5, 0.1)))
NEURAL_MF = TrainingHistory(1, (EpochRecord(1, 1.2, None),))


def test_a_history_comes_back_from_its_json() -> None:
    for history in (TOWERS, NEURAL_MF, TrainingHistory(0, ())):
        assert TrainingHistory.from_json(json.loads(json.dumps(history.to_json()))) == history


def test_curves_go_by_the_names_of_the_models() -> None:
    both = training_curves([TOWERS], NEURAL_MF)
    assert both == {"TwoTowerBPR": TOWERS.curve, "NeuralMF": NEURAL_MF.curve}
    assert training_curves([TOWERS], None) == {"TwoTowerBPR": TOWERS.curve}
    members = training_curves([TOWERS, NEURAL_MF], TOWERS)
    assert list(members.items()) == [
        ("TwoTowerBPR 1", TOWERS.curve),
        ("TwoTowerBPR 2", NEURAL_MF.curve),
        ("NeuralMF", TOWERS.curve),
    ]


def test_the_report_of_a_build_has_every_epoch_and_so_has_its_bundle(
    tiny_build: Build, artifacts: Path
) -> None:
    training = tiny_build.report.training
    members = {f"TwoTowerBPR {i}": each.curve for i, each in enumerate(tiny_build.towers, start=1)}
    assert len(members) == 3
    assert training == members | {"NeuralMF": tiny_build.neural_mf.curve}
    assert read_evaluated(open_bundle(artifacts)).training == training
    document = tiny_build.report.to_json()["training"]
    assert list(document) == ["TwoTowerBPR 1", "TwoTowerBPR 2", "TwoTowerBPR 3", "NeuralMF"]
    assert [list(record) for record in document["NeuralMF"]] == [["epoch", "loss", "validation"]] * 2


def test_reports_and_curves_are_read_without_torch() -> None:
    code = (
        "import sys, retrieval.training.curves, retrieval.evaluation.report; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
