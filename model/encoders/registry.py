"""The table of image encoders: MODEL.NAME -> how it is built and where its weights are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from config.plugins import register
from model.encoders.clip import (
    QUICK_GELU,
    build_clip_backbone,
    clip_architecture,
    clip_names,
    find_clip_weights,
    is_model_config,
)
from model.encoders.imagenet_resnet import (
    IMAGENET_RESNETS,
    build_imagenet_backbone,
    find_imagenet_weights,
)
from model.encoders.kind import REMEDY, EncoderKind

CLIP = EncoderKind(build_clip_backbone, find_clip_weights)
IMAGENET = EncoderKind(build_imagenet_backbone, find_imagenet_weights)

ENCODERS: dict[str, EncoderKind] = {
    **dict.fromkeys(clip_names(), CLIP),
    **dict.fromkeys((name + QUICK_GELU for name in clip_names()), CLIP),
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
        register(ENCODERS, name, EncoderKind(build, find_weights or _find_no_weights))
        return build

    return add if build is None else add(build)


def _find_no_weights(name: str) -> Path:
    raise FileNotFoundError(f"MODEL.NAME {name} has no published weights: {REMEDY}")


def find_encoder_kind(name: str) -> EncoderKind:
    """The family of the encoder that MODEL.NAME names; a JSON model config describes a CLIP.

    Raises:
        ValueError: unknown name, or an incomplete model config.
    """
    if is_model_config(name):
        clip_architecture(name)
        return CLIP
    if name not in ENCODERS:
        known = [known for known in ENCODERS if not known.endswith(QUICK_GELU)]
        raise ValueError(
            f"MODEL.NAME: unknown encoder {name!r}; known: {', '.join(known)}, or the path of a "
            "JSON file in open_clip's model-config format; PLUGINS names files that register others"
        )
    return ENCODERS[name]
