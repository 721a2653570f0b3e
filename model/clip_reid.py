"""The CLIP-ReID model: image encoder, two BNNecks and classifiers, prompts and text encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.encoders.image_encoder import ImageEncoder, ImageFeatures
from model.heads import build_classifier, build_neck
from model.prompt import PromptLearner
from model.reid_model import ReIDModel
from model.text import PrefixStates, TextEncoder


@dataclass(frozen=True, slots=True)
class TrainOutput:
    """Inputs of the image stage's losses for B images.

    Attributes:
        logits: (B, C) of the final and, with a joint space, of the projected feature, after
            their BNNecks.
        features: three (B, .), last, final and projected before the BNNecks; for the triplet loss.
        projected: (B, E), for the image-to-text loss; E = 0 without a joint space.
    """

    logits: list[Tensor]
    features: list[Tensor]
    projected: Tensor


@dataclass(frozen=True, slots=True)
class SideInformation:
    """Size of the embedding table for cameras and viewpoints (TransReID, section 3.3).

    Attributes:
        num_cameras: one row per camera; 0 leaves cameras out.
        num_views: one row per viewpoint, or per pair with a camera; 0 leaves viewpoints out.
        coefficient: factor on the embedding.
    """

    num_cameras: int = 0
    num_views: int = 0
    coefficient: float = 3.0

    @property
    def rows(self) -> int:
        """Number of rows; 0 = no side information."""
        if self.num_cameras and self.num_views:
            return self.num_cameras * self.num_views
        return self.num_cameras or self.num_views


@dataclass(frozen=True, slots=True)
class TextSide:
    """Prompts of the training identities and the text tower that encodes them."""

    prompt_learner: PromptLearner
    text_encoder: TextEncoder


class CLIPReID(ReIDModel):
    """CLIP-ReID (Li et al., AAAI 2023); without a text side it is the baseline.

    Args:
        image_encoder: one without a joint space leaves out everything about projected features.
        num_classes: training identities C.
        neck: "bnneck" or "no".
        neck_feature: "before" or "after" the neck: the features that `embed` returns.
        side_information: cameras and viewpoints; only for encoders that take them.
        text: None = baseline.
    """

    def __init__(
        self,
        image_encoder: ImageEncoder,
        num_classes: int,
        *,
        neck: str = "bnneck",
        neck_feature: str = "before",
        side_information: SideInformation | None = None,
        text: TextSide | None = None,
    ) -> None:
        super().__init__()
        width, joint_width = image_encoder.width, image_encoder.joint_width
        self.num_classes = num_classes
        self.neck_feature = neck_feature
        self.side_information = side_information or SideInformation()
        self.cv_embed = None
        if self.side_information.rows:
            self.cv_embed = nn.Parameter(torch.empty(self.side_information.rows, width))
            nn.init.trunc_normal_(self.cv_embed, std=0.02)
        self.classifier = build_classifier(width, num_classes)
        self.classifier_proj = build_classifier(joint_width, num_classes) if joint_width else None
        self.bottleneck = build_neck(neck, width)
        self.bottleneck_proj = build_neck(neck, joint_width) if joint_width else None
        self.image_encoder = image_encoder
        self.prompt_learner = text.prompt_learner if text else None
        self.text_encoder = text.text_encoder if text else None

    def encode_image(
        self, images: Tensor, camids: Tensor | None = None, viewids: Tensor | None = None
    ) -> ImageFeatures:
        """Features of images before the BNNecks.

        Args:
            images: (B, 3, H, W) normalized.
            camids: (B,) cameras; unknown ones (e.g. -1) get the mean embedding; None leaves side
                information out.
            viewids: (B,) viewpoints, likewise.
        """
        features: ImageFeatures = self.image_encoder(images, self._side_embedding(camids, viewids))
        return features

    def encode_prefix(self) -> PrefixStates:
        """States of the prompts' constant first words; compute once and pass to `encode_text`.

        Raises:
            RuntimeError: the model is a baseline without a text encoder.
        """
        prompts, text = self.text_parts()
        return text.encode_prefix(prompts.token_prefix)

    def encode_text(self, labels: Tensor, prefix: PrefixStates | None = None) -> Tensor:
        """Prompt features of identities: (B,) labels -> (B, E), not normalized.

        Raises:
            RuntimeError: the model is a baseline without a text encoder.
        """
        prompts, text = self.text_parts()
        return text(prompts(labels), prefix or text.encode_prefix(prompts.token_prefix))

    def embed(
        self, images: Tensor, camids: Tensor | None = None, viewids: Tensor | None = None
    ) -> Tensor:
        """The (B, D + E) retrieval descriptor, final | projected, not normalized."""
        features = self.encode_image(images, camids, viewids)
        final, projected = features.final, features.projected
        if self.neck_feature == "after":
            final = self.bottleneck(final)
            projected = self.bottleneck_proj(projected) if self.bottleneck_proj else projected
        return torch.cat([final, projected], dim=1)

    def forward(
        self,
        images: Tensor,
        camids: Tensor | None = None,
        viewids: Tensor | None = None,
        gather: Callable[[Tensor], Tensor] | None = None,
    ) -> TrainOutput:
        """Inputs of the image stage's losses.

        Args:
            images: (B, 3, H, W) normalized.
            camids: (B,) or None, as in `encode_image`.
            viewids: (B,) or None.
            gather: features of this process -> features of the global batch, before the BNNecks.
        """
        features = self.encode_image(images, camids, viewids)
        parts = [features.last, features.final, features.projected]
        last, final, projected = parts if gather is None else map(gather, parts)
        logits = [self.classifier(self.bottleneck(final))]
        if self.classifier_proj is not None and self.bottleneck_proj is not None:
            logits.append(self.classifier_proj(self.bottleneck_proj(projected)))
        return TrainOutput(logits, [last, final, projected], projected)

    def text_parts(self) -> tuple[PromptLearner, TextEncoder]:
        """Prompts and text encoder; raises RuntimeError if the model is a baseline."""
        if self.prompt_learner is None or self.text_encoder is None:
            raise RuntimeError("a baseline model has no prompts and no text encoder")
        return self.prompt_learner, self.text_encoder

    def _side_embedding(self, camids: Tensor | None, viewids: Tensor | None) -> Tensor | None:
        """(B, D) embeddings of cameras and viewpoints; None without a table or without ids."""
        info = self.side_information
        if self.cv_embed is None:
            return None
        ids = []
        for values, count in ((camids, info.num_cameras), (viewids, info.num_views)):
            if count:
                if values is None:
                    return None
                ids.append((values, count))
        index = torch.zeros_like(ids[0][0])
        known = torch.ones_like(index, dtype=torch.bool)
        for values, count in ids:
            known = known & (values >= 0) & (values < count)
            index = index * count + values
        mean_row = len(self.cv_embed)
        index = torch.where(known, index, mean_row)
        table = torch.cat([self.cv_embed, self.cv_embed.mean(0, keepdim=True)])
        return info.coefficient * table[index]
