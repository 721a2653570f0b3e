"""The interface of all ReID models that can be trained."""

from __future__ import annotations

from model.embedder import Embedder
from model.encoders.image_encoder import ImageEncoder


class ReIDModel(Embedder):
    """A network of this project.

    Attributes:
        image_encoder: the backbone, which pre-trained weights fill.
    """

    image_encoder: ImageEncoder
