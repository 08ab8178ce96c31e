"""Training histories, epoch by epoch; imports no torch, so that reading a report does not either."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from retrieval.json_document import JsonObject

TOWERS, NEURAL_MF = "TwoTowerBPR", "NeuralMF"


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of one model: the mean training loss and, where validated, the validation figure."""

    epoch: int
    loss: float
    validation: float | None

    @classmethod
    def from_json(cls, record: JsonObject) -> "EpochRecord":
        """Read one; a diverged training may have recorded NaN or infinity.

        Raises:
            ValueError: if a field is missing or of another type.
        """
        validation = record.optional("validation", JsonObject.figure)
        return cls(record.integer("epoch"), record.figure("loss"), validation)


@dataclass(frozen=True)
class TrainingHistory:
    """The training of one model.

    Attributes:
        epochs: the number of epochs behind the kept weights.
        curve: one record for every epoch that ran.
    """

    epochs: int
    curve: tuple[EpochRecord, ...]

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "TrainingHistory":
        """Read what `to_json` gave.

        Raises:
            ValueError: if a field is missing or of another type.
        """
        history = JsonObject(document)
        return cls(history.integer("epochs"), tuple(map(EpochRecord.from_json, history.objects("curve"))))


TrainingCurves = dict[str, tuple[EpochRecord, ...]]


def training_curves(towers: Sequence[TrainingHistory], neural_mf: TrainingHistory | None) -> TrainingCurves:
    """The curves of a build by model; several members are numbered; without ratings there is no NeuralMF."""
    many = len(towers) > 1
    curves = {f"{TOWERS} {i}" if many else TOWERS: each.curve for i, each in enumerate(towers, start=1)}
    return curves if neural_mf is None else curves | {NEURAL_MF: neural_mf.curve}
