"""Wrappers around a model: torch.compile, and averaged gradients of several processes."""

from __future__ import annotations

import logging
import os
import shutil
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import BatchNorm2d, SyncBatchNorm
from torch.nn.parallel import DistributedDataParallel

from model import ReIDModel
from processor.runtime import distributed, gathering

logger = logging.getLogger(__name__)

COMPILERS = {"cpu": ("g++", "clang++"), "cuda": ("gcc", "clang", "cc")}  # Triton builds in C

Wrapped = TypeVar("Wrapped", bound=nn.Module)


def compile_encoder(model: ReIDModel) -> None:
    """Compile the image encoder on its first use; names and values of its weights stay.

    Raises:
        ValueError: there is no compiler for the model's device.
    """
    device = next(model.parameters()).device
    needed = COMPILERS.get(device.type, ())
    chosen = os.environ.get("CXX" if device.type == "cpu" else "CC", "")
    if needed and not any(map(shutil.which, filter(None, (chosen, *needed)))):
        raise ValueError(
            f"MODEL.COMPILE: compiling for {device.type} needs {' or '.join(needed)}; install one "
            "or set MODEL.COMPILE False"
        )
    encoder = model.image_encoder
    for name in ("forward", "maps"):
        setattr(encoder, name, _FullBatches(encoder, name))


class _FullBatches:
    """A method of (B, 3, H, W) images, compiled for the sizes of full batches only.

    By default, the smaller last batch of a data set makes torch.compile recompile with a dynamic
    batch size, for training as well, which is slower. Here a batch smaller than an earlier one, of
    training or of inference, runs uncompiled.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        self._module = module
        self._name = name
        self._plain = getattr(type(module), name).__get__(module)
        self._compiled = torch.compile(self._plain, dynamic=False)
        self._largest = {True: 0, False: 0}  # with and without gradients

    def __call__(self, images: Tensor, *others: Any) -> Any:
        training = torch.is_grad_enabled()
        if len(images) < self._largest[training]:
            return self._plain(images, *others)
        self._largest[training] = len(images)
        return self._compiled(images, *others)

    def __reduce__(self) -> tuple[Any, ...]:  # a copy of the module gets a wrapper of its own
        return _FullBatches, (self._module, self._name)


def average_over_processes(
    module: Wrapped, model: ReIDModel, *, find_unused_parameters: bool = False
) -> Wrapped | DistributedDataParallel:
    """Wrap a module to average its gradients over all processes; one process needs no wrapper.

    On GPUs the batch norms inside a ResNet see the images of all processes. torch cannot
    synchronize them on CPUs, where they see those of their own process.

    Args:
        module: contains the model.
        model: its image encoder's batch norms are replaced.
        find_unused_parameters: some parameters may have no gradient.
    """
    if distributed.size() == 1:
        return module
    device = next(model.parameters()).device
    has_norms = any(isinstance(x, BatchNorm2d) for x in model.image_encoder.modules())
    if has_norms and device.type == "cpu":
        logger.warning("on CPUs, a ResNet's batch norms see the images of their own process only")
    elif has_norms:
        model.image_encoder = SyncBatchNorm.convert_sync_batchnorm(model.image_encoder)
    return gathering.average_gradients(module, find_unused_parameters=find_unused_parameters)
