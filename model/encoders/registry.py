"""The table of image encoders: MODEL.NAME -> how it is built and where its weights are found."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from config.plugins import register
from model.encoders.clip import (
    build_clip_backbone,
    clip_architecture,
    clip_names,
    find_clip_weights,
    is_model_config,
    openai_names,
)
from model.encoders.imagenet_resnet import (
    IMAGENET_RESNETS,
    build_imagenet_backbone,
    find_imagenet_weights,
)
from model.encoders.kind import REMEDY, EncoderKind
from model.encoders.timm_models import TIMM, build_timm_backbone, find_timm_weights, known_name

CLIP = EncoderKind(build_clip_backbone, find_clip_weights)
IMAGENET = EncoderKind(build_imagenet_backbone, find_imagenet_weights)

TIMM_NETWORK = EncoderKind(build_timm_backbone, find_timm_weights)

ENCODERS: dict[str, EncoderKind] = {
    **dict.fromkeys(clip_names(), CLIP),
    **dict.fromkeys(IMAGENET_RESNETS, IMAGENET),
}


def register_encoder(name: str, build: Any = None, *, find_weights: Any = None) -> Any:
    """Register an image encoder; without `build`, the decorator of a function.

    Args:
        name: in MODEL.NAME.
        build: MODEL.NAME and `EncoderOptions` -> a `Backbone` with random weights.
        find_weights: MODEL.NAME -> the path of its published weights; None = there are none.

    Raises:
        ValueError: the name is taken.
    """

    def add(build: Any) -> Any:
        find = find_weights or _find_no_weights
        register(ENCODERS, name, EncoderKind(build, lambda name, _: find(name)))
        return build

    return add if build is None else add(build)


def _find_no_weights(name: str) -> Path:
    raise FileNotFoundError(f"MODEL.NAME {name} has no published weights: {REMEDY}")


def is_known(name: str) -> bool:
    """Whether MODEL.NAME is in the table, or of a kind that needs no entry there."""
    return is_model_config(name) or name.startswith(TIMM) or name in ENCODERS


def find_encoder_kind(name: str) -> EncoderKind:
    """The family of the encoder that MODEL.NAME names; a JSON model config describes a CLIP.

    Raises:
        ValueError: unknown name, or an incomplete model config.
    """
    if is_model_config(name):
        clip_architecture(name)
        return CLIP
    if name.startswith(TIMM):
        known_name(name)
        return TIMM_NETWORK
    if name not in ENCODERS:
        close = difflib.get_close_matches(name, list(ENCODERS), 4, 0.5)
        nearest = f"the nearest known are {', '.join(close)}; " if close else ""
        raise ValueError(
            f"MODEL.NAME: unknown encoder {name!r}; {nearest}known are OpenAI's "
            f"{', '.join(openai_names())}, all other models of open_clip, "
            f"{', '.join(IMAGENET_RESNETS)}, timm/<name>, or the path of a JSON file in "
            "open_clip's model-config format; PLUGINS names files that register others"
        )
    return ENCODERS[name]
