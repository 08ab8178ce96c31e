"""What the fit loops share: epochs, averaged weights, early stopping on validation, and torch itself."""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from index import standard_error
from retrieval.curves import EpochRecord, TrainingHistory
from retrieval.errors import DataError, EnvironmentProblem
from retrieval.settings import NeuralMFSettings, TowerSettings

Model = TypeVar("Model", bound=torch.nn.Module)
Merits = NDArray[np.float64]
OnEpoch = Callable[[EpochRecord], None]


@contextmanager
def borrowed_torch(threads: int) -> Iterator[None]:
    """Let torch use this many threads inside the block.

    The number of threads and the state of torch's random numbers are the caller's again after it.
    """
    before, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_rng_state(state)


def choose_device(name: str) -> torch.device:
    """The torch device for auto, cpu or cuda.

    Raises:
        EnvironmentProblem: if cuda is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise EnvironmentProblem(
            "--device cuda: this torch build or machine has no usable CUDA device; use --device cpu or auto"
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@dataclass(frozen=True)
class Loop(Generic[Model]):
    """The loop both models share.

    Validated and kept is a moving average of the weights after each epoch: one epoch's are noisy,
    their mean is less so (Polyak and Juditsky, SIAM J. Control Optim. 1992). Kept is the last epoch
    that is no more than one standard error behind the best so far: on few validation users the best
    is best by chance. Without `early_stopping` the last epoch is kept, whatever validation says.

    Attributes:
        model: what `run_epoch` trains.
        run_epoch: one pass over the data; returns the mean loss.
        merits: of a model, one figure for each validation user or rating, larger is better.
        summary: the figure of those merits that people read.
    """

    model: Model
    run_epoch: Callable[[], float]
    merits: Callable[[Model], Merits] | None
    summary: Callable[[Merits], float]
    settings: TowerSettings | NeuralMFSettings
    on_epoch: OnEpoch

    def run(self, epochs: int) -> tuple[Model, TrainingHistory]:
        """The kept model and how it came about.

        Raises:
            DataError: if the loss or a weight stops being a number.
        """
        moving_average = get_ema_multi_avg_fn(self.settings.averaging_decay)  # type: ignore[no-untyped-call]
        averaging = AveragedModel(self.model, multi_avg_fn=moving_average)
        averaged = cast(Model, averaging.module.eval())
        best: Merits | None = None
        kept, kept_epoch, curve = averaged, epochs, list[EpochRecord]()
        for epoch in range(1, epochs + 1):
            self.model.train()
            loss = self.run_epoch()
            self._check(loss, epoch)
            averaging.update_parameters(self.model)
            merits = None if self.merits is None else self.merits(averaged)
            if merits is not None and not (np.isfinite(merits).all() and len(merits)):
                raise DataError(f"nothing to validate by in epoch {epoch}: {len(merits)} figures, or NaN")
            curve.append(EpochRecord(epoch, loss, None if merits is None else self.summary(merits)))
            self.on_epoch(curve[-1])
            if merits is None or not self.settings.early_stopping:
                continue
            if best is None or merits.mean() > best.mean():
                best = merits
            if (best - merits).mean() <= standard_error(best - merits):
                kept, kept_epoch = copy.deepcopy(averaged), epoch
            elif epoch - kept_epoch >= self.settings.patience:
                break
        return kept, TrainingHistory(kept_epoch, tuple(curve))

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
