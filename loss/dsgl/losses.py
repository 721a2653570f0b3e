"""DSGL's losses, by name and already weighted (DiseSGL, 2024, code)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from loss.dsgl.batch_rows import moved
from loss.dsgl.cluster_memory import ClusterMemory
from loss.dsgl.comparison import compare
from loss.dsgl.disentangle import contrast_disentangled, disentangled_loss
from loss.dsgl.instance_bank import InstanceBank
from loss.dsgl.relative_entropy import compare_predictions, relative_entropy_loss


@dataclass(frozen=True, slots=True)
class ClusteredBatch:
    """Pseudo labels of a batch; in main memory, no step waits for a GPU to read them.

    Attributes:
        indices: (B,) positions in the instance bank.
        labels: (B,) clusters.
        irrelevant: (B, orders) irrelevant labels.
    """

    indices: Tensor
    labels: Tensor
    irrelevant: Tensor

    def to(self, device: torch.device) -> ClusteredBatch:
        """A copy on a device."""
        return ClusteredBatch(
            moved(self.indices, device),
            moved(self.labels, device),
            moved(self.irrelevant, device),
        )


@dataclass(frozen=True, slots=True)
class DSGLLosses:
    """L = memory + disentangled + relative entropy; the last two for the memory DLhybrid only.

    Attributes:
        disentangled_weight: 0 leaves the loss out.
        entropy_weight: 0 leaves the loss out.
        temperature: T of the softmaxes.
        mix: of `disentangled_loss`.
        positive_mix: of `relative_entropy_loss`.
        negative_mix: of `relative_entropy_loss`.
        detach: of `relative_entropy_loss`.
        faithful: the published forms. The disentangled loss is then the mean over one pass per
            order, each with the first irrelevant label and followed by an update of the bank.
    """

    disentangled_weight: float = 1.0
    entropy_weight: float = 1.0
    temperature: float = 0.05
    mix: float = 0.5
    positive_mix: float = 0.8
    negative_mix: float = 0.1
    detach: bool = False
    faithful: bool = False

    @property
    def need_pairs(self) -> bool:
        """Whether every image needs a second one of its cluster."""
        return self.entropy_weight > 0

    def __call__(
        self,
        features: Tensor,
        positives: Tensor | None,
        batch: ClusteredBatch,
        memory: ClusterMemory,
        bank: InstanceBank,
    ) -> dict[str, Tensor]:
        """Named, weighted losses of B images in float32.

        Args:
            features: (B, D), unit rows, with gradient.
            positives: (B, D), unit rows, with gradient: another image of the same cluster each;
                None if not needed.
            batch: pseudo labels of the images.
            memory: not changed.
            bank: changed by the published form only; see `update`.
        """
        losses = {"memory": memory(features, batch.labels, batch.irrelevant, bank)}
        if not (self.disentangled_weight or self.need_pairs):
            return losses
        if self.faithful:
            return losses | self._published(features, positives, batch, memory, bank)
        compared = compare(features, batch.labels, batch.irrelevant, bank, memory.mean)
        if self.disentangled_weight:
            contrast = contrast_disentangled(compared, self.temperature, self.mix)
            losses["disentangled"] = self.disentangled_weight * contrast
        if self.need_pairs and positives is not None:
            mixes = (self.positive_mix, self.negative_mix)
            entropy = compare_predictions(
                compared, positives, self.temperature, mixes, detach=self.detach
            )
            losses["relative_entropy"] = self.entropy_weight * entropy
        return losses

    def _published(
        self,
        features: Tensor,
        positives: Tensor | None,
        batch: ClusteredBatch,
        memory: ClusterMemory,
        bank: InstanceBank,
    ) -> dict[str, Tensor]:
        losses = {}
        places = moved(batch.indices, features.device)
        given = (bank, memory.mean, self.temperature)
        if self.disentangled_weight:
            passes = []
            first = batch.irrelevant[:, :1]
            for _ in range(batch.irrelevant.shape[1]):
                passes.append(
                    disentangled_loss(
                        features, batch.labels, first, *given, self.mix, faithful=True
                    )
                )
                bank.update(places, features)
            losses["disentangled"] = self.disentangled_weight * torch.stack(passes).mean()
        if self.need_pairs and positives is not None:
            mixes = (self.positive_mix, self.negative_mix)
            entropy = relative_entropy_loss(
                features,
                positives,
                batch.labels,
                batch.irrelevant,
                *given,
                *mixes,
                faithful=True,
                detach=self.detach,
            )
            losses["relative_entropy"] = self.entropy_weight * entropy
        return losses

    def update(
        self, features: Tensor, batch: ClusteredBatch, memory: ClusterMemory, bank: InstanceBank
    ) -> None:
        """Update memory and bank with a batch, after the optimizer step.

        Args:
            features: (B, D), unit rows, as the losses saw them.
            batch: pseudo labels of the images.
            memory: changed.
            bank: changed, unless the losses have done so already.
        """
        seen = batch.to(features.device)
        memory.update(features, seen.labels)
        if not (self.faithful and self.disentangled_weight):
            bank.update(seen.indices, features)
