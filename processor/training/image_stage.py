"""Stage 2, the image stage: fine-tune the image encoder (CLIP-ReID, section 3.2); the baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from datasets.images.dataset import ImageDataset
from datasets.images.device_batches import DeviceBatches
from datasets.records import Batch
from datasets.samplers import EpochBatches
from datasets.samplers.neighbours import longest_stretch
from datasets.sources import TrainingSet
from loss import LossInputs, WeightedLoss, compute_losses, image_to_text_logits
from model import CLIPReID
from processor.runtime import distributed, gathering
from processor.runtime.wrapping import average_over_processes
from processor.training.identity_graph import IdentityGraph
from processor.training.stage import WITHOUT_NEGATIVES, Optimization, StepResult

SMALLEST_BATCH = 2  # batch norm cannot learn from one image
_FROZEN = ("text_encoder.", "prompt_learner.")
_FROZEN_BIASES = ("bottleneck.bias", "bottleneck_proj.bias")


class ImagesToLosses(nn.Module):
    """From images to weighted losses, as one module that can be wrapped for several processes.

    Only the losses may have a graph: otherwise the wrapper misses parameters without a gradient.

    Args:
        model: the network.
        losses: by name.
        text_features: (C, E) of all prompts, on the model's device; None = no image-to-text loss.
    """

    def __init__(
        self,
        model: CLIPReID,
        losses: Mapping[str, WeightedLoss],
        text_features: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.losses = losses
        self.text_features = text_features

    def forward(
        self,
        images: Tensor,
        camids: Tensor | None,
        viewids: Tensor | None,
        labels: Tensor,
        gather: Callable[[Tensor], Tensor] | None,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Losses by name and the accuracy; labels are those of the global batch."""
        output = self.model(images, camids, viewids, gather)
        i2t_logits = None
        if self.text_features is not None:
            i2t_logits = image_to_text_logits(output.projected, self.text_features)
        features = dict(zip(("last", "final", "projected"), output.features, strict=True))
        batch = LossInputs(output.logits, features, labels, i2t_logits)
        scores = output.logits[0] if i2t_logits is None else i2t_logits
        accuracy = (scores.argmax(1) == labels).float().mean()
        return compute_losses(self.losses, batch), accuracy


class ImageStage:
    """Trains everything but prompts, text encoder and the BNNecks' biases.

    Args:
        images_to_losses: the model and its losses.
        loader: augmented batches; its batch sampler is an `EpochBatches`.
        data: the training images.
        optimization: optimizers of the model and of the losses' own parameters, schedule, epochs.
        graph: makes the sampler's graph, when it needs one.
    """

    name: int | str = 2

    def __init__(
        self,
        images_to_losses: ImagesToLosses,
        loader: DataLoader[Any] | DeviceBatches,
        data: TrainingSet,
        optimization: Optimization,
        graph: IdentityGraph | None = None,
    ) -> None:
        self.model = images_to_losses.model
        self.losses = images_to_losses.losses
        self.images_to_losses = average_over_processes(
            images_to_losses,
            self.model,
            find_unused_parameters="id" not in self.losses,  # then the classifiers have none
        )
        self.loader = loader
        self.data = data
        self.optimization = optimization
        self.graph = graph
        self.device = next(self.model.parameters()).device

    @property
    def batches(self) -> EpochBatches:
        """The sampler behind the loader: which images are in which batch."""
        return cast(EpochBatches, self.loader.batch_sampler)

    def start_epoch(self, epoch: int, first_batch: int) -> DataLoader[Any] | DeviceBatches:
        """The epoch's batches; batch norms are in training mode.

        A run resumed inside an epoch keeps that epoch's graph.
        """
        if self.graph is not None and first_batch == 0:
            self.graph.refresh(epoch)
        self.model.train()
        self.batches.set_epoch(epoch, first_batch)
        return self.loader

    def compute_losses(self, batch: Batch) -> StepResult | None:
        """The losses and the accuracy of the global batch.

        With several processes, each computes the same losses from all features.
        """
        batch = batch.to(self.device)
        sizes = self._all_sizes(batch.labels)
        if sum(sizes) < SMALLEST_BATCH:
            return None
        gather = partial(gathering.gather, sizes=sizes)
        seen = batch if all(sizes) else _with_an_image(batch)
        labels = gather(batch.labels)
        losses, accuracy = self.images_to_losses(
            seen.images, seen.camids, seen.viewids, labels, gather
        )
        averages = {"accuracy": accuracy}
        if "triplet" in losses:
            averages[WITHOUT_NEGATIVES] = (labels == labels[0]).all().float()
        return StepResult(losses, len(labels), averages)

    def _all_sizes(self, labels: Tensor) -> list[int]:
        """The batch's number of images on every process; exchanged only if they can differ."""
        if distributed.size() == 1:
            return [len(labels)]
        may_skip = cast(ImageDataset, self.loader.dataset).skip_bad_images
        if self.batches.sampler.equal_shares and not may_skip:
            return [len(labels)] * distributed.size()
        return gathering.all_sizes(labels)

    def after_step(self, happened: Callable[[], bool]) -> None:
        """Nothing to update."""

    def image_paths(self, batch: Batch) -> list[str]:
        """The batch's files."""
        return [self.data.samples[i].path for i in batch.indices.tolist()]

    def extra_state(self) -> dict[str, Any]:
        """The losses' own parameters and the sampler's graph, which are not part of the model."""
        state = {name: module.state_dict() for name, module in self._loss_modules()}
        if self.graph is not None:
            state["graph"] = self.graph.state_dict()
        return state

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the losses' own parameters and the graph."""
        if self.graph is not None and "graph" in state:
            self.graph.load_state_dict(state["graph"])
        for name, module in self._loss_modules():
            if name in state:
                module.load_state_dict(state[name])

    def _loss_modules(self) -> list[tuple[str, nn.Module]]:
        return [(name, x.module) for name, x in self.losses.items() if x.module is not None]

    def epoch_statistics(self) -> dict[str, float]:
        """The sampler's numbers (batches, coverage, hits, ...) and how the sources mix."""
        sampler = self.batches.sampler
        stats = {**sampler.stats, "plan_seconds": sampler.plan_seconds}
        if self.graph is not None:
            stats |= self.graph.statistics(self.batches.epoch)
        domains = [{self.data.domains[i] for i in batch} for batch in sampler]
        stats["domains"] = len(set().union(*domains))
        stats["domains_per_batch"] = sum(map(len, domains)) / len(domains)
        stats["longest_stretch"] = longest_stretch(domains)
        return stats


def _with_an_image(batch: Batch) -> Batch:
    """Add a blank image to an empty batch, as every process must take part in the backward pass.

    Losses do not see it, but a ResNet's batch norms do. All processes must call this.
    """
    shape = max(distributed.collect(tuple(batch.images.shape[1:])))  # () where there are no images
    if len(batch):
        return batch
    ids = batch.camids.new_zeros(1)
    images = torch.zeros(1, *shape, device=batch.labels.device)
    return replace(batch, images=images, camids=ids, viewids=ids)


class PriorStage(ImageStage):
    """Stage 0: the image encoder without text, before the prompts are learned (CLIP-DFGS)."""

    name: int | str = 0


def freeze_text_side(model: CLIPReID) -> None:
    """Enable gradients for everything but prompts, text encoder and the BNNecks' biases."""
    for name, parameter in model.named_parameters():
        frozen = name.startswith(_FROZEN) or name in _FROZEN_BIASES
        parameter.requires_grad_(not frozen)


@torch.no_grad()
def all_text_features(model: CLIPReID, batch_size: int = 256) -> Tensor:
    """(C, E) float32 text features of all identities; fixed in stage 2, as prompts are frozen."""
    prefix = model.encode_prefix()
    device = next(model.parameters()).device
    labels = torch.arange(model.num_classes, device=device).split(batch_size)
    return torch.cat([model.encode_text(part, prefix).float() for part in labels])
