"""The interface of all ReID models."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from model.encoders.image_encoder import ImageEncoder


class ReIDModel(nn.Module, ABC):
    """A network that turns images into retrieval features.

    Attributes:
        image_encoder: the backbone, which pre-trained weights fill.
    """

    image_encoder: ImageEncoder

    @abstractmethod
    def embed(
        self, images: Tensor, camids: Tensor | None = None, viewids: Tensor | None = None
    ) -> Tensor:
        """The (B, D) retrieval features of images.

        Args:
            images: (B, 3, H, W) normalized.
            camids: (B,) cameras, -1 = unknown to the model; None leaves them out.
            viewids: (B,) viewpoints, likewise.
        """
