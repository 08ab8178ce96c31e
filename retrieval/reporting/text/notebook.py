"""The reference notebook's tables, its reported figures beside ours, for `--preset notebook`."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from retrieval.evaluation.report import Report, finite
from retrieval.evaluation.uncertainty import Estimate
from retrieval.reporting.text.tables import format_table, shorten, wrap

if TYPE_CHECKING:
    from retrieval.bundles.manifest import RecordedTraining
    from retrieval.training.curves import TrainingHistory

# The notebook's figures for the whole of MovieLens 1M: RMSE and MAE, the three metrics at 10, and after each
# of five epochs the validation RMSE of NeuralMF and the loss of TwoTowerBPR.
RATING = {"RMSE": 0.9371, "MAE": 0.7358}
RANKING = {
    "neural_mf": {"precision": 0.0252, "recall": 0.0044, "ndcg": 0.0160},
    "exact": {"precision": 0.1847, "recall": 0.0540, "ndcg": 0.2428},
}
VALIDATION_RMSE = (0.9555, 0.9450, 0.9424, 0.9385, 0.9362)
BPR_LOSS = (0.6896, 0.5691, 0.3619, 0.2907, 0.2699)

NAME_WIDTH = 40
MODELS = {"neural_mf": "NeuralMF", "exact": "TwoTowerBPR"}
METRICS = {"precision": "Precision", "recall": "Recall", "ndcg": "NDCG"}


@dataclass(frozen=True)
class Curves:
    """The training curves of the two models, one figure per epoch.

    Attributes:
        bpr_loss: mean training loss of TwoTowerBPR.
        validation_rmse: of NeuralMF; empty without ratings.
    """

    bpr_loss: tuple[float, ...]
    validation_rmse: tuple[float, ...]

    @classmethod
    def of(cls, towers: "TrainingHistory", neural_mf: "TrainingHistory | None") -> "Curves":
        """Read the curves off the histories of a build."""
        rated = () if neural_mf is None else neural_mf.curve
        validated = tuple(record.validation for record in rated if record.validation is not None)
        return cls(tuple(record.loss for record in towers.curve), validated)

    @classmethod
    def from_manifest(cls, training: "RecordedTraining") -> "Curves":
        """From a bundle's manifest."""
        from retrieval.training.curves import TrainingHistory

        rated = None if training.neural_mf is None else TrainingHistory.from_json(training.neural_mf)
        return cls.of(TrainingHistory.from_json(training.towers[0]), rated)


@dataclass(frozen=True)
class Figure:
    """One figure of the notebook's tables: measured here, and as the notebook reports it."""

    model: str
    name: str
    here: Estimate
    reported: float


def notebook_text(report: Report, curves: Curves) -> str:
    """Every figure that the notebook reports, beside the same figure measured here.

    Args:
        report: by the notebook's protocol, k 10.
    """
    rows = [
        [each.model, each.name, _four(each.here.value), _interval(each.here), _four(each.reported)]
        for each in _figures(report)
    ]
    header = ["as the notebook counts", "", "here", "95% interval", "notebook"]
    table = format_table(header, rows, right=[2, 4])
    epochs = _curve("Validation RMSE of NeuralMF", curves.validation_rmse, VALIDATION_RMSE)
    losses = _curve("Training loss of TwoTowerBPR", curves.bpr_loss, BPR_LOSS)
    at_random = ", split AT RANDOM" if report.split_kind == "random" else ""
    mind = (
        f"here: {shorten(report.dataset, NAME_WIDTH)}{at_random}; notebook: as it reports for the whole of "
        "MovieLens 1M, without an interval; on other data its figures orient, they cannot agree. NeuralMF "
        "orders the whole catalogue by predicted rating alone."
    )
    return "\n".join([table, *epochs, *losses, wrap(mind)])


def notebook_json(report: Report, curves: Curves) -> dict[str, Any]:
    """The same figures as a JSON document; a figure that does not exist is null."""
    figures = [
        {"model": each.model, "figure": each.name, "here": asdict(each.here), "reported": each.reported}
        for each in _figures(report)
    ]
    document = {
        "figures": figures,
        "validation_rmse": {"here": list(curves.validation_rmse), "reported": list(VALIDATION_RMSE)},
        "bpr_loss": {"here": list(curves.bpr_loss), "reported": list(BPR_LOSS)},
    }
    return finite(document)


def _figures(report: Report) -> list[Figure]:
    """Figures of NeuralMF, where there are ratings, then those of TwoTowerBPR."""
    found = []
    if report.rating is not None:
        here = {"RMSE": report.rating.rmse, "MAE": report.rating.mae}
        found += [Figure(MODELS["neural_mf"], name, here[name], known) for name, known in RATING.items()]
    for stage, metrics in RANKING.items():
        if stage in report.stages:
            found += [
                Figure(
                    MODELS[stage], f"{METRICS[name]}@{report.k}", getattr(report.stages[stage], name), known
                )
                for name, known in metrics.items()
            ]
    return found


def _interval(estimate: Estimate) -> str:
    return "-" if math.isnan(estimate.low) else f"{_four(estimate.low)}-{_four(estimate.high)}"


def _curve(title: str, here: Sequence[float], reported: Sequence[float]) -> list[str]:
    if not here:
        return []
    lines = [("here", here), ("notebook", reported)]
    return [
        f"{title}, epoch by epoch",
        *(f"  {name:<9}" + "".join(f" {_four(v)}" for v in vs) for name, vs in lines),
    ]


def _four(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
