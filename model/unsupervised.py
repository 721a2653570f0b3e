"""The model that is trained without labels: image encoder, pooling, batch norm, unit features."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.encoders.clip_resnet import ResNetEncoder
from model.encoders.clip_vit import ViTEncoder
from model.encoders.imagenet_resnet import ImageNetResNet
from model.heads import build_neck
from model.reid_model import ReIDModel


class UnsupervisedReID(ReIDModel):
    """One unit feature per image, for training, clustering and retrieval alike.

    Args:
        image_encoder: of CLIP or ImageNet. What the feature does not need of it is frozen.
        pooling: (B, W, h, w) maps -> (B, W); None takes the final and the projected feature of a
            CLIP encoder instead, side by side (their batch norms are one, as they are per channel).
        embed_dim: width of a linear layer after the pooling; 0 = none.
        dropout: share of the unit feature's numbers that are dropped in training.

    Raises:
        ValueError: no pooling for an encoder that gives maps only.
    """

    image_encoder: ViTEncoder | ResNetEncoder | ImageNetResNet

    def __init__(
        self,
        image_encoder: ViTEncoder | ResNetEncoder | ImageNetResNet,
        pooling: nn.Module | None,
        *,
        embed_dim: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width = image_encoder.width
        if pooling is None:
            if isinstance(image_encoder, ImageNetResNet):
                raise ValueError("DSGL.POOLING: clip is for CLIP's encoders")
            width += image_encoder.projected_width
        else:
            freeze_projection(image_encoder)
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
        """(B, W) pooled features -> (B, D) float32 rows of length 1, before any dropout."""
        with torch.autocast(pooled.device.type, enabled=False):
            pooled = pooled.float()
            if self.embedding is not None:
                pooled = self.embedding(pooled)
            features = F.normalize(self.bottleneck(pooled))
            return F.dropout(features, self.dropout, self.training)

    def embed(
        self, images: Tensor, camids: Tensor | None = None, viewids: Tensor | None = None
    ) -> Tensor:
        """The (B, D) unit features; cameras and viewpoints are not used."""
        del camids, viewids
        return self.head(self.encode(images))

    def forward(self, images: Tensor, gather: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """(B, D) unit features for the losses.

        Args:
            images: (B, 3, H, W) normalized.
            gather: features of these images -> those of the global batch, before the batch norm.
        """
        pooled = self.encode(images)
        return self.head(pooled if gather is None else gather(pooled))


def build_embedding(width: int, embed_dim: int) -> nn.Linear:
    """Linear layer (D, W), init normal by He et al. (2015) for the backward pass, bias 0."""
    embedding = nn.Linear(width, embed_dim)
    nn.init.kaiming_normal_(embedding.weight, mode="fan_out")
    nn.init.zeros_(embedding.bias)
    return embedding


def freeze_projection(encoder: ViTEncoder | ResNetEncoder | ImageNetResNet) -> None:
    """Freeze what a CLIP encoder projects into the space shared with text by."""
    if isinstance(encoder, ViTEncoder):
        encoder.proj.requires_grad_(requires_grad=False)
    elif isinstance(encoder, ResNetEncoder):
        encoder.attnpool.requires_grad_(requires_grad=False)
