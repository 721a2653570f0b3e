"""The table of image encoders: MODEL.NAME -> how it is built and where its weights are found."""

from __future__ import annotations

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
from model.encoders.kind import EncoderKind

CLIP = EncoderKind(build_clip_backbone, find_clip_weights)
IMAGENET = EncoderKind(build_imagenet_backbone, find_imagenet_weights)

ENCODERS: dict[str, EncoderKind] = {
    **dict.fromkeys(clip_names(), CLIP),
    **dict.fromkeys((name + QUICK_GELU for name in clip_names()), CLIP),
    **dict.fromkeys(IMAGENET_RESNETS, IMAGENET),
}


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
            "JSON file in open_clip's model-config format"
        )
    return ENCODERS[name]
