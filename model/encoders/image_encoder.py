"""The one interface of all image encoders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from torch import Tensor, nn

from model.encoders.positions import fit_position_embedding


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """Features of B images (CLIP-ReID, section 3).

    Attributes:
        last: (B, D_last) before the last block or stage: the ViT's class token, the ResNet's
            pooled layer3.
        final: (B, D) at the end: the ViT's class token after its last norm, pooled layer4.
        projected: (B, E) in the space shared with text; E = 0 for an encoder without one.
    """

    last: Tensor
    final: Tensor
    projected: Tensor


class ImageEncoder(nn.Module, ABC):
    """A backbone that maps images to features or to a feature map.

    Attributes:
        width: D, of the final feature.
        map_width: channels W of the map; 0 = D.
        joint_width: E, of the projected feature; 0 without a space shared with text.
        grid: (rows, columns) of the map at the image size the encoder was built for.
        position_embedding: parameter that holds a grid of position embeddings, resized when
            weights are loaded (`fit_positions`); "" if there is none.
        takes_side_information: whether `forward` adds side information to the tokens.
        published_heads: prefixes of layers beside the bare network in its published weights.
        num_prefix_tokens: tokens before the patches in attention weights; the first is the class
            token.
    """

    width: int
    map_width: int = 0
    joint_width: int
    grid: tuple[int, int]
    position_embedding: str = ""
    takes_side_information: bool = False
    published_heads: tuple[str, ...] = ("fc.", "head.", "classifier.")
    num_prefix_tokens: int = 1

    @abstractmethod
    def forward(self, images: Tensor, side_information: Tensor | None = None) -> ImageFeatures:
        """Features of (B, 3, H, W) images.

        Args:
            images: normalized.
            side_information: (B, D) added to the class token, or without one to all patches;
                ignored by encoders that do not take it.
        """

    @abstractmethod
    def maps(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images -> (B, W, rows, columns) map after the last block."""

    def beside_maps(self) -> Sequence[nn.Parameter]:
        """Parameters that maps do not depend on; frozen when maps are pooled."""
        return ()

    def patch_convolution(self) -> nn.Module | None:
        """The convolution that cuts an image into patches, which DSGL can freeze."""
        return None

    def recorded_attention(self) -> AbstractContextManager[list[Tensor]] | None:
        """A list that collects the attention weights of forward passes; None if there are none.

        Every self-attention layer over class token and patches appends (B, T, T), the mean over
        its heads, first block first.
        """
        return None

    def cam_layer(self) -> nn.Module | None:
        """The layer whose (B, ., rows, columns) output Grad-CAM explains."""
        return None

    def published_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of the bare network, as published, under this encoder's names.

        Raises:
            ValueError: weights of another network.
        """
        return state

    def fit_positions(self, table: Tensor) -> Tensor:
        """Position embeddings of another grid, resized to this one."""
        return fit_position_embedding(table, self.grid)
