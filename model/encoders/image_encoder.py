"""The one interface of all image encoders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """Features of B images (CLIP-ReID, section 3).

    Attributes:
        last: (B, D_last) before the last block: the ViT's class token, the ResNet's pooled layer3.
        final: (B, D) after the last block: the ViT's class token after `ln_post`, pooled layer4.
        projected: (B, E) in the space shared with text; E = 0 for an encoder without one.
    """

    last: Tensor
    final: Tensor
    projected: Tensor


class ImageEncoder(nn.Module, ABC):
    """A backbone that maps images to features or to a feature map.

    Attributes:
        width: D, of the final feature and of the map's channels.
        joint_width: E, of the projected feature; 0 without a space shared with text.
        grid: (rows, columns) of the map at the image size the encoder was built for.
        position_embedding: parameter that holds (1 + rows * columns, .) position embeddings,
            resized to the grid when weights are loaded; "" if there are none.
        takes_side_information: whether `forward` adds side information to a class token.
    """

    width: int
    joint_width: int
    grid: tuple[int, int]
    position_embedding: str = ""
    takes_side_information: bool = False

    @abstractmethod
    def forward(self, images: Tensor, side_information: Tensor | None = None) -> ImageFeatures:
        """Features of (B, 3, H, W) images.

        Args:
            images: normalized.
            side_information: (B, D) added to the class token; ignored by encoders without one.
        """

    @abstractmethod
    def maps(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images -> (B, D, rows, columns) map after the last block."""

    def projection(self) -> Sequence[nn.Parameter]:
        """Parameters used by the projected feature alone; frozen when maps are pooled instead."""
        return ()

    def patch_convolution(self) -> nn.Module | None:
        """The convolution that cuts an image into patches, which DSGL can freeze."""
        return None

    def attention_layers(self) -> Sequence[nn.Module]:
        """Self-attention layers over class token and patches, first block first."""
        return ()

    def cam_layer(self) -> nn.Module | None:
        """The layer whose (B, D, rows, columns) output Grad-CAM explains."""
        return None
