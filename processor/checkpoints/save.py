"""Writing checkpoints: whole or not at all, and readable without executing code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from model.weights.read import CHECKPOINT_FORMAT
from processor.runtime.files import atomic_file

Meta = dict[str, int | float | str]


def save_checkpoint(
    path: Path,
    model: nn.Module,
    config_text: str,
    meta: dict[str, int | float | str],
    training: dict[str, Any] | None = None,
) -> None:
    """Write `{"format", "model", "config", "meta"}`, and "training" for a file to resume from.

    The file is written beside its place and renamed, so that a killed run leaves the old one.

    Args:
        path: the file.
        model: its state dict is saved.
        config_text: the configuration as YAML.
        meta: what is needed to rebuild the model: num_classes, num_cameras, num_views, ...
        training: optimizer, schedule and random states: tensors, numbers, strings and containers.
    """
    content = {
        "format": CHECKPOINT_FORMAT,
        "model": model.state_dict(),
        "config": config_text,
        "meta": meta,
    }
    if training is not None:
        content["training"] = training
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as beside:
        torch.save(content, beside)
