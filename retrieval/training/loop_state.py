"""The state of a fit between two epochs, in memory and as a checkpoint."""

import copy
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from index import standard_error
from retrieval.arrays import MetricValues
from retrieval.errors import ArtifactError
from retrieval.training.checkpoint_files import Tensors
from retrieval.training.checkpoints import Saved
from retrieval.training.curves import EpochRecord, TrainingHistory

Model = TypeVar("Model", bound=torch.nn.Module)


class TrainingState(Generic[Model]):
    """A fit between two epochs.

    The state includes every random generator (of the batches, of torch, of the CUDA device), so that a fit
    restored from `tensors` and `document` gives the same bits as an uninterrupted one.

    Args:
        model: trained in place.
        optimizer: of its parameters.
        rng: the batches draw from it.
        decay: share of the past in the moving average of the weights.

    Attributes:
        averaged: the moving average.
        kept: the average to keep; `averaged` itself until an epoch is chosen.
        kept_epoch: its epoch; None until one is chosen.
        best: the metric values of the best epoch so far.
        curve: one record for every epoch so far.
    """

    def __init__(
        self, model: Model, optimizer: torch.optim.Optimizer, rng: np.random.Generator, decay: float
    ) -> None:
        self.model, self.optimizer, self.rng = model, optimizer, rng
        moving_average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self._averaging = AveragedModel(model, multi_avg_fn=moving_average)
        self.averaged = cast(Model, self._averaging.module.eval())
        self.kept, self.kept_epoch = self.averaged, cast(int | None, None)
        self.best: MetricValues | None = None
        self.curve = list[EpochRecord]()

    @property
    def epoch(self) -> int:
        """The number of finished epochs."""
        return len(self.curve)

    @property
    def history(self) -> TrainingHistory:
        """The history so far."""
        return TrainingHistory(self.epoch if self.kept_epoch is None else self.kept_epoch, tuple(self.curve))

    def average(self) -> None:
        """Add the weights of an epoch to the moving average."""
        self._averaging.update_parameters(self.model)

    def choose(self, values: MetricValues) -> None:
        """Keep the last epoch if it is at most one standard error behind the best so far."""
        if self.best is None or values.mean() > self.best.mean():
            self.best = values
        if (self.best - values).mean() <= standard_error(self.best - values):
            self.kept, self.kept_epoch = copy.deepcopy(self.averaged), self.epoch

    def tensors(self) -> Tensors:
        """All arrays of the state, by name."""
        found = _of_module("model", self.model) | _of_module("averaging", self._averaging)
        if self.kept is not self.averaged:
            found |= _of_module("kept", self.kept)
        for number, state in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{number}.{name}": _array(tensor) for name, tensor in state.items()}
        found["chance.torch"] = _array(torch.get_rng_state())
        if self._device.type == "cuda":
            found["chance.cuda"] = _array(torch.cuda.get_rng_state(self._device))
        if self.best is not None:
            found["best"] = self.best
        return found

    def document(self) -> dict[str, Any]:
        """The rest of the state, of plain JSON types."""
        return {
            "kept_epoch": self.kept_epoch,
            "history": self.history.to_json(),
            "chance": self.rng.bit_generator.state,
        }

    def finished(self) -> tuple[Tensors, dict[str, Any]]:
        """Tensors and document of a finished fit: the kept weights and the history."""
        return _of_module("kept", self.kept), {"history": self.history.to_json()}

    def restore(self, saved: Saved) -> None:
        """Take over a saved state, of an epoch or of the finished fit.

        Raises:
            ArtifactError: if it does not fit these models.
        """
        try:
            history = TrainingHistory.from_json(saved.document["history"])
            self.curve = list(history.curve)
            if saved.epoch is None:
                self.kept_epoch = history.epochs
                _load("kept", self.kept, saved.tensors)
            else:
                self._go_on(saved)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            why = " ".join(str(error).split())
            raise ArtifactError(
                f"{saved.path}: does not fit these models ({why})", "delete it, or build without `resume`"
            ) from error

    def _go_on(self, saved: Saved) -> None:
        tensors = saved.tensors
        _load("model", self.model, tensors)
        _load("averaging", self._averaging, tensors)
        self.kept_epoch = saved.document["kept_epoch"]
        if self.kept_epoch is not None:
            self.kept = copy.deepcopy(self.averaged)
            _load("kept", self.kept, tensors)
        self.best = tensors.get("best")
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in _below("optimizer", tensors).items():
            number, _, part = name.partition(".")
            state.setdefault(int(number), {})[part] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.rng.bit_generator.state = saved.document["chance"]
        chance = _below("chance", tensors)
        torch.set_rng_state(chance["torch"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(chance["cuda"], self._device)

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array


def _of_module(prefix: str, module: torch.nn.Module) -> Tensors:
    return {f"{prefix}.{name}": _array(tensor) for name, tensor in module.state_dict().items()}


def _load(prefix: str, module: torch.nn.Module, tensors: Tensors) -> None:
    """Copy into the existing tensors; the optimizer and the average keep pointing at them."""
    module.load_state_dict(_below(prefix, tensors))


def _below(prefix: str, tensors: Tensors) -> dict[str, torch.Tensor]:
    """Copies of the tensors under a prefix, by the rest of their names."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): torch.from_numpy(array.copy())
        for name, array in tensors.items()
        if name.startswith(start)
    }
