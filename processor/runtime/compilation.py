"""torch.compile for the part of a model that takes the time."""

from __future__ import annotations

import shutil

import torch

from model import ReIDModel
from model.vision import ResNetEncoder, ViTEncoder


def compile_encoder(model: ReIDModel) -> None:
    """Compile the image encoder when it first runs; names and values of its weights stay.

    Raises:
        ValueError: the model is on a CPU and there is no C++ compiler.
    """
    device = next(model.parameters()).device
    if device.type == "cpu" and not (shutil.which("g++") or shutil.which("clang++")):
        raise ValueError(
            "MODEL.COMPILE: on a CPU it needs a C++ compiler, g++ or clang++; install one or set "
            "MODEL.COMPILE False"
        )
    encoder = model.image_encoder
    encoder.compile()
    if isinstance(encoder, ViTEncoder | ResNetEncoder):  # a second way through it
        encoder.maps = torch.compile(encoder.maps)  # type: ignore[method-assign]
