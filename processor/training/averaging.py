"""Averaged weights: the exponential moving average of a model while it is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_ema_multi_avg_fn


class AveragedWeights:
    """After every batch, `average = decay * average + (1 - decay) * weights`.

    The mean teacher of Tarvainen & Valpola (NeurIPS 2017, section 2), which starts at the weights
    of the stage's start. It holds the parameters that are trained and the batch norms' statistics.

    Args:
        model: on its device; its parameters must stay the same tensors.
        decay: 0 to 1, e.g. 0.99 remembers about 100 batches.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        trained = [(name, p.detach()) for name, p in model.named_parameters() if p.requires_grad]
        statistics = [
            (f"{name}.{own}", buffer)
            for name, module in model.named_modules()
            if isinstance(module, _BatchNorm)
            for own, buffer in module.named_buffers()
            if buffer.is_floating_point()
        ]
        self._own = dict([*trained, *statistics])
        self.weights = {name: tensor.clone() for name, tensor in self._own.items()}
        self._average = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the model's weights."""
        self._average(list(self.weights.values()), list(self._own.values()), 0)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Restore the average of a stopped run."""
        _copy(weights, self.weights)

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """The model has the averaged weights; its own are back at the end."""
        own = {name: tensor.clone() for name, tensor in self._own.items()}
        _copy(self.weights, self._own)
        try:
            yield
        finally:
            _copy(own, self._own)


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    """Write the values of tensors into those of the same names."""
    for name, tensor in target.items():
        tensor.copy_(source[name])
