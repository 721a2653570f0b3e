"""What all ReID models have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class ReIDModel(nn.Module, ABC):
    """A network that turns images into retrieval features.

    Attributes:
        image_encoder: the backbone; what takes the time, and what pre-trained weights fill.
    """

    image_encoder: nn.Module

    @abstractmethod
    def embed(
        self, images: Tensor, camids: Tensor | None = None, viewids: Tensor | None = None
    ) -> Tensor:
        """The (B, D) retrieval features of images.

        Args:
            images: (B, 3, H, W) normalized.
            camids: (B,) cameras; one the model does not know is -1; None leaves them out.
            viewids: (B,) viewpoints, likewise.
        """
