"""What all image encoders have in common."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """What an image encoder gives for B images (CLIP-ReID, section 3).

    Attributes:
        last: (B, D_last) before the last block: the ViT's class token, the ResNet's pooled layer3.
        final: (B, D) after the last block: the ViT's class token after `ln_post`, pooled layer4.
        projected: (B, E) in the space shared with text.
    """

    last: Tensor
    final: Tensor
    projected: Tensor
