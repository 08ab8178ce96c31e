"""The training loop of both models: epochs, averaged weights, early stopping, checkpoints."""

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
    """The training loop that both models share.

    The loop validates and keeps a moving average of the weights after each epoch: the weights of one epoch
    are noisy, their mean is less so (Polyak and Juditsky, SIAM J. Control Optim. 1992). It keeps the last
    epoch that is at most one standard error behind the best so far: with few validation users (205 on half
    of MovieLens 1M) the best epoch is partly luck. Without `early_stopping` it keeps the last epoch.

    The loop goes on from its checkpoint, saves its state there from time to time, and saves the finished
    fit at the end; a finished checkpoint needs no training at all.

    Attributes:
        model: trained in place by `run_epoch`.
        optimizer: of the parameters of the model.
        rng: `run_epoch` draws from it, besides torch's own generator.
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
        """Train for at most this many epochs; return the kept model and its history.

        Raises:
            DataError: if the loss or a weight stops being a number; the last checkpoint stays.
            ArtifactError: if the checkpoint is damaged or of another model.
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
        # The last step can break the weights after the last loss was computed.
        whole = all(bool(weight.isfinite().all()) for weight in self.model.parameters())
        if not (np.isfinite(loss) and whole):
            raise DataError(f"training broke down in epoch {epoch} (loss {loss}); lower the learning rate")


def mean_loss(steps: Iterable[tuple[torch.optim.Optimizer, torch.Tensor, int]]) -> float:
    """Take every step (optimizer, loss, rows in the batch); return the mean loss over rows."""
    total, rows = 0.0, 0
    for optimizer, loss, size in steps:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += float(loss.detach()) * size
        rows += size
    return total / rows
