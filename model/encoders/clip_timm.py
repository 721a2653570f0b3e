"""CLIPs whose image tower is a network of timm."""

from __future__ import annotations

from open_clip.timm_model import TimmModel

from model.encoders.image_encoder import ImageEncoder
from model.encoders.kind import EncoderOptions
from model.encoders.timm_models import wrap_timm
from model.encoders.timm_vit import is_plain_vit


def build_clip_timm(tower: TimmModel, options: EncoderOptions) -> ImageEncoder:
    """The encoder around a tower: its trunk, and its head or the trunk's classifier as projection.

    A tower that projects nothing (SigLIP's) has no joint space beside its final feature.

    Raises:
        ValueError: a tower that pools in its head; see `wrap_timm`.
    """
    trunk, head = tower.trunk, tower.head
    if hasattr(head, "pool"):
        raise ValueError(
            "MODEL.NAME: an image tower that pools by attention in open_clip's head is not "
            "supported; take timm/<name> for the network without it"
        )
    if not is_plain_vit(trunk) and hasattr(trunk, "set_input_size"):
        trunk.set_input_size(img_size=options.image_size)
    last = [module for module in head if hasattr(module, "out_features")]
    if hasattr(head, "mlp"):
        last = [head.mlp.fc2]
    width = last[-1].out_features if last else getattr(trunk, "num_classes", 0)
    return wrap_timm(trunk, options, head if len(head) else None, width)
