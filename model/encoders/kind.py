"""How a family of image encoders is built and where its pre-trained weights are found."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.encoders.clip_text import TextTower
from model.encoders.image_encoder import ImageEncoder

REMEDY = (
    "set MODEL.PRETRAIN_PATH to a local file, or MODEL.PRETRAIN_CHOICE none to start from random "
    "weights (smoke tests only)"
)


def suggest_nearest(name: str, known: Sequence[str]) -> str:
    """The end of an error about an unknown name: "; the nearest it has are ...", or ""."""
    close = difflib.get_close_matches(name, known, 4, 0.5)
    return f"; the nearest it has are {', '.join(close)}" if close else ""


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """Options of image encoders; each family uses those that apply to it.

    Attributes:
        image_size: (height, width) in pixels.
        stride: (rows, columns) between a ViT's patches; below the patch size they overlap.
        last_stride: stride of a ResNet's layer4, 1 or 2; 1 keeps the resolution of layer3.
        grad_checkpointing: recompute a ViT's blocks in the backward pass to save memory.
        tag: which of a CLIP's published weights are meant; some differ in their GELU.
        user: options below USER, for encoders of plug-ins.
    """

    image_size: tuple[int, int]
    stride: tuple[int, int] = (16, 16)
    last_stride: int = 1
    grad_checkpointing: bool = False
    tag: str = ""
    user: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Backbone:
    """An image encoder with random weights and, if it is part of a CLIP, its text tower.

    Attributes:
        image_encoder: holds the image side's parameters.
        text: the tower that prompts are learned with; None = images only.
        without_text: why there is no such tower, for error messages.
    """

    image_encoder: ImageEncoder
    text: TextTower | None = None
    without_text: str = "it was trained without texts"


@dataclass(frozen=True, slots=True)
class EncoderKind:
    """A family of image encoders.

    Attributes:
        build: MODEL.NAME and options -> the backbone; raises ValueError for options that do not
            fit the architecture.
        find_weights: MODEL.NAME and MODEL.PRETRAIN_TAG -> published weights, downloaded if
            necessary; raises FileNotFoundError with every way out.
    """

    build: Callable[[str, EncoderOptions], Backbone]
    find_weights: Callable[[str, str], Path]
