"""The model for training without labels: image encoder, pooling, batch norm, unit features."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.encoders.image_encoder import ImageEncoder
from model.heads import build_neck
from model.reid_model import ReIDModel


class UnsupervisedReID(ReIDModel):
    """One unit feature per image, for training, clustering and retrieval alike.

    Args:
        image_encoder: parameters that the feature does not depend on are frozen.
        pooling: (B, W, h, w) maps -> (B, W); None concatenates the encoder's final and projected
            feature instead (a batch norm of both equals one of each, as it works per channel).
        embed_dim: width of a linear layer after the pooling; 0 = none.
        dropout: share of the unit feature's numbers dropped in training.

    Raises:
        ValueError: no pooling, and the encoder has no projected feature.
    """

    def __init__(
        self,
        image_encoder: ImageEncoder,
        pooling: nn.Module | None,
        *,
        embed_dim: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if pooling is not None:
            width = image_encoder.map_width or image_encoder.width
            for parameter in image_encoder.beside_maps():
                parameter.requires_grad = False
        elif image_encoder.joint_width:
            width = image_encoder.width + image_encoder.joint_width
        else:
            raise ValueError(
                "DSGL.POOLING: clip needs an encoder of CLIP; use gem, avg, max or avg+max"
            )
        self.image_encoder = image_encoder
        self.pooling = pooling
        self.embedding = build_embedding(width, embed_dim) if embed_dim else None
        self.bottleneck = build_neck("bnneck", embed_dim or width)
        self.dropout = dropout

    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images -> (B, W) features before the embedding and the batch norm."""
        if self.pooling is None:
            features = self.image_encoder(images)
            return torch.cat([features.final, features.projected], dim=1)
        pooled: Tensor = self.pooling(self.image_encoder.maps(images))
        return pooled

    def head(self, pooled: Tensor) -> Tensor:
        """(B, W) pooled features -> (B, D) float32 rows of unit length, then dropout."""
        with torch.autocast(pooled.device.type, enabled=False):
            pooled = pooled.float()
            if self.embedding is not None:
                pooled = self.embedding(pooled)
            features = F.normalize(self.bottleneck(pooled))
            return F.dropout(features, self.dropout, self.training)

    def embed(
        self, images: Tensor, camids: Tensor | None = None, viewids: Tensor | None = None
    ) -> Tensor:
        """(B, D) unit features; cameras and viewpoints are ignored."""
        del camids, viewids
        return self.head(self.encode(images))

    def forward(self, images: Tensor, gather: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """(B, D) unit features for the losses.

        Args:
            images: (B, 3, H, W) normalized.
            gather: features of this process -> features of the global batch, before the batch
                norm.
        """
        pooled = self.encode(images)
        return self.head(pooled if gather is None else gather(pooled))


def build_embedding(width: int, embed_dim: int) -> nn.Linear:
    """Linear layer (D, W), initialized as He et al. (2015) for the backward pass, bias 0."""
    embedding = nn.Linear(width, embed_dim)
    nn.init.kaiming_normal_(embedding.weight, mode="fan_out")
    nn.init.zeros_(embedding.bias)
    return embedding
