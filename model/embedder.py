"""The interface of everything that turns images into retrieval features."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Embedder(nn.Module, ABC):
    """A network of this project, or a file that another program wrote."""

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
