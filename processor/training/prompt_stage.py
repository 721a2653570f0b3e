"""Stage 1, the prompt stage: learn every identity's context tokens (CLIP-ReID, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from datasets.records import Sample
from loss import contrastive_loss
from model import CLIPReID
from model.text import PrefixStates
from processor.features import FeatureTable
from processor.runtime import distributed, gathering
from processor.training.stage import Optimization, StepResult


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """A batch of cached image features.

    Attributes:
        features: (B, E) projected image features.
        labels: (B,) on the device.
        distinct: (U,) the batch's labels without repetition, on the device.
        places: (B,) position of every image's label in `distinct`, on the device.
        indices: (B,) positions in the training set, on the CPU.
    """

    features: Tensor
    labels: Tensor
    distinct: Tensor
    places: Tensor
    indices: Tensor

    def __len__(self) -> int:
        return len(self.labels)


class FeatureBatches:
    """Batches of cached features in a given order; the last, partial batch is kept.

    Args:
        table: features (N, E) on the device.
        labels: (N,) on the CPU.
        order: (N,) the epoch's order.
        batch_size: features per batch.
        first_batch: number of batches to skip.
    """

    def __init__(
        self,
        table: FeatureTable,
        labels: Tensor,
        order: Tensor,
        batch_size: int,
        first_batch: int = 0,
    ) -> None:
        self.table = table
        self.parts = order.split(batch_size)[first_batch:]
        self.labels = [labels[part] for part in self.parts]
        self.distinct = [part.unique(return_inverse=True) for part in self.labels]

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[FeatureBatch]:
        if not self.parts:
            return
        # One transfer for the whole epoch, so that no batch waits for the device.
        device = self.table.features.device
        rows, labels = torch.cat(self.parts).to(device), torch.cat(self.labels).to(device)
        distinct = torch.cat([values for values, _ in self.distinct]).to(device)
        places = torch.cat([inverse for _, inverse in self.distinct]).to(device)
        sizes = [len(part) for part in self.parts]
        columns = zip(
            rows.split(sizes),
            labels.split(sizes),
            distinct.split([len(values) for values, _ in self.distinct]),
            places.split(sizes),
            self.parts,
            strict=True,
        )
        for row, label, values, place, part in columns:
            features = self.table.features[row]
            yield FeatureBatch(features, label, values, place, self.table.indices[part])


class PromptStage:
    """Trains the prompts against cached image features; every other parameter is frozen.

    Args:
        model: with prompts and text encoder.
        table: projected features (N, E) of the training images, on the model's device.
        samples: the training images.
        labels: label of every training image.
        optimization: of the context tokens.
        batch_size: features per batch.
    """

    name: int | str = 1

    def __init__(
        self,
        model: CLIPReID,
        table: FeatureTable,
        samples: Sequence[Sample],
        labels: Sequence[int],
        optimization: Optimization,
        batch_size: int,
    ) -> None:
        freeze_all_but_prompts(model)
        self.model = model
        self.table = table
        self.samples = samples
        self.labels = torch.tensor(labels)[table.indices]
        with torch.no_grad():
            self.prefix = model.encode_prefix()
        self.encode_text = distributed_prompts(model)
        self.optimization = optimization
        self.batch_size = batch_size

    def start_epoch(self, epoch: int, first_batch: int) -> FeatureBatches:
        """The features in random order, drawn from torch's generator, which is seeded per epoch."""
        del epoch
        self.model.eval()
        order = torch.randperm(len(self.labels))
        return FeatureBatches(self.table, self.labels, order, self.batch_size, first_batch)

    def compute_losses(self, batch: FeatureBatch) -> StepResult:
        """Image-to-text and text-to-image contrastive losses; each distinct label is encoded once.

        With several processes, each encodes a share of the labels and all contrast the batch.
        """
        parts = distributed.shares(len(batch.distinct))
        own = parts[distributed.rank()]
        # A process without a label encodes one too, as every process takes part in backward.
        mine = batch.distinct[own.start : own.stop] if own else batch.distinct[:1]
        texts = self.encode_text(mine, self.prefix)
        texts = gathering.gather(texts, [len(part) for part in parts])[batch.places]
        images, labels = batch.features, batch.labels
        return StepResult(
            {
                "i2t": contrastive_loss(images, texts, labels, labels),
                "t2i": contrastive_loss(texts, images, labels, labels),
            },
            len(batch),
        )

    def after_step(self, happened: Callable[[], bool]) -> None:
        """Nothing to update."""

    def image_paths(self, batch: FeatureBatch) -> list[str]:
        """The files whose features are in the batch."""
        return [self.samples[i].path for i in batch.indices.tolist()]

    def extra_state(self) -> dict[str, Any]:
        """Empty: features are recomputed from the frozen encoder."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""

    def epoch_statistics(self) -> dict[str, float]:
        """Empty: every image occurs once."""
        return {}


class _Prompts(nn.Module):
    """The text side of a model as one module that can be wrapped for several processes."""

    def __init__(self, model: CLIPReID) -> None:
        super().__init__()
        self.prompt_learner, self.text_encoder = model.text_parts()

    def forward(self, labels: Tensor, prefix: PrefixStates) -> Tensor:
        features: Tensor = self.text_encoder(self.prompt_learner(labels), prefix)
        return features


def distributed_prompts(model: CLIPReID) -> Callable[[Tensor, PrefixStates], Tensor]:
    """The text encoder, wrapped to average gradients if there are several processes."""
    if distributed.size() == 1:
        return model.encode_text
    return gathering.average_gradients(_Prompts(model))


def freeze_all_but_prompts(model: CLIPReID) -> None:
    """Enable gradients for the context tokens only; none are computed for the towers' weights."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name == "prompt_learner.cls_ctx")
