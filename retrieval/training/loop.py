"""What the fit loops share: epochs, averaged weights, early stopping on validation, and torch itself."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic

import numpy as np
import torch

from retrieval.arrays import MetricValues
from retrieval.errors import DataError
from retrieval.settings import NeuralMFSettings, TowerSettings
from retrieval.training.checkpoints import Checkpoint
from retrieval.training.curves import EpochRecord, TrainingHistory
from retrieval.training.loop_state import Model, TrainingState

OnEpoch = Callable[[EpochRecord], None]


@dataclass(frozen=True)
class Loop(Generic[Model]):
    """The loop both models share.

    Validated and kept is a moving average of the weights after each epoch: one epoch's are noisy,
    their mean is less so (Polyak and Juditsky, SIAM J. Control Optim. 1992). Kept is the last epoch
    that is no more than one standard error behind the best so far: on few validation users the best
    is best by chance. Without `early_stopping` the last epoch is kept, whatever validation says.

    With a checkpoint it goes on from what is kept there, which for a finished fit is nothing more to do,
    and keeps its own state there, from time to time and when it is done.

    Attributes:
        model: what `run_epoch` trains.
        optimizer: it does so with.
        rng: it draws from, beside torch's own chance.
        run_epoch: one pass over the data; returns the mean loss.
        validate: one metric value of a model for each validation list or rating, larger is better;
            None where there is no validation.
        summary: the figure shown for those values.
    """

    model: Model
    optimizer: torch.optim.Optimizer
    rng: np.random.Generator
    run_epoch: Callable[[], float]
    validate: Callable[[Model], MetricValues] | None
    summary: Callable[[MetricValues], float]
    settings: TowerSettings | NeuralMFSettings
    on_epoch: OnEpoch
    checkpoint: Checkpoint

    def run(self, epochs: int) -> tuple[Model, TrainingHistory]:
        """The kept model and how it came about.

        Raises:
            DataError: if the loss or a weight stops being a number; what was kept before still is.
            ArtifactError: if what is to go on is damaged.
            EnvironmentProblem: if a checkpoint cannot be written.
        """
        state = TrainingState(self.model, self.optimizer, self.rng, self.settings.averaging_decay)
        saved = self.checkpoint.read()
        if saved is not None:
            state.restore(saved)
            if saved.epoch is None:
                return state.kept, state.history
        while state.epoch < epochs:
            self._run_epoch(state)
            if state.epoch - (state.kept_epoch or state.epoch) >= self.settings.patience:
                break
            if state.epoch < epochs and self.checkpoint.is_due:
                self.checkpoint.save(state.epoch, state.tensors(), state.document())
        self.checkpoint.save(None, *state.finished())
        return state.kept, state.history

    def _run_epoch(self, state: TrainingState[Model]) -> None:
        epoch = state.epoch + 1
        self.model.train()
        loss = self.run_epoch()
        self._check(loss, epoch)
        state.average()
        values = None if self.validate is None else self.validate(state.averaged)
        if values is not None and not (np.isfinite(values).all() and len(values)):
            raise DataError(f"nothing to validate by in epoch {epoch}: {len(values)} figures, or NaN")
        state.curve.append(EpochRecord(epoch, loss, None if values is None else self.summary(values)))
        self.on_epoch(state.curve[-1])
        if values is not None and self.settings.early_stopping:
            state.choose(values)

    def _check(self, loss: float, epoch: int) -> None:
        # The last step can break the weights after the last loss was taken.
        whole = all(bool(weight.isfinite().all()) for weight in self.model.parameters())
        if not (np.isfinite(loss) and whole):
            raise DataError(f"training broke down in epoch {epoch} (loss {loss}); lower the learning rate")


def mean_loss(steps: Iterable[tuple[torch.optim.Optimizer, torch.Tensor, int]]) -> float:
    """Take every step and return the mean loss over rows."""
    total, rows = 0.0, 0
    for optimizer, loss, size in steps:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += float(loss.detach()) * size
        rows += size
    return total / rows
