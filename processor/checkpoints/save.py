"""Writing checkpoints atomically, readable without executing code."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.weights.read import CHECKPOINT_FORMAT
from processor.runtime.files import atomic_file

Meta = dict[str, int | float | str]


def save_checkpoint(
    path: Path,
    model: nn.Module,
    config_text: str,
    meta: Meta,
    training: dict[str, Any] | None = None,
    averaged: dict[str, Tensor] | None = None,
) -> None:
    """Write `{"format", "model", "config", "meta"}`, plus "training" in a file to resume from.

    Args:
        path: the file; a killed process leaves the old one intact.
        model: its state dict is saved.
        config_text: the configuration as YAML.
        meta: facts about the model; see `describe_training`.
        training: optimizer, schedule and random states as tensors, numbers, strings, containers.
        averaged: "ema" in the file: averages of some of the model's tensors, by name.
    """
    content = {
        "format": CHECKPOINT_FORMAT,
        "model": model.state_dict(),
        "config": config_text,
        "meta": meta,
    }
    if training is not None:
        content["training"] = training
    if averaged is not None:
        content["ema"] = averaged
    with atomic_file(path) as partial:
        try:
            torch.save(_on_cpu(content), partial)
        except RuntimeError as error:  # torch's own writer; its text names neither file nor reason
            raise OSError(errno.EIO, "not written completely, the disk may be full") from error


def _on_cpu(content: Any) -> Any:
    """The content with its tensors on the CPU, where every machine can load them."""
    if isinstance(content, Tensor):
        return content.cpu()
    if isinstance(content, dict):
        return {key: _on_cpu(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_on_cpu(value) for value in content]
    return content
