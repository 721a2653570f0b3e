"""Stage 2, the image stage: fine-tune the image encoder (CLIP-ReID, section 3.2); the baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from datasets.images.dataset import ImageDataset
from datasets.images.device_batches import DeviceBatches
from datasets.records import Batch
from datasets.samplers import EpochBatches
from datasets.sources import TrainingSet
from loss import ImageStageLosses, image_to_text_logits
from model import CLIPReID
from processor.runtime import distributed
from processor.runtime.wrapping import average_over_processes
from processor.training.identity_graph import IdentityGraph
from processor.training.stage import StageTiming, StepResult
from solver.schedule import Schedule

SMALLEST_BATCH = 2  # batch norm cannot learn from one image
_FROZEN = ("text_encoder.", "prompt_learner.")
_FROZEN_BIASES = ("bottleneck.bias", "bottleneck_proj.bias")


class ImageStage:
    """Trains everything but prompts, text encoder and the BNNecks' biases.

    Args:
        model: the network.
        loader: augmented batches; its batch sampler is an `EpochBatches`.
        data: the training images.
        text_features: (C, E) of all prompts, on the model's device; None for the baseline.
        losses: what a batch costs.
        optimizers: of the model and, when there are some, of the class centers.
        schedule: of the first optimizer.
        timing: epochs and periods.
        graph: makes the sampler's graph, when it needs one.
    """

    name: int | str = 2

    def __init__(
        self,
        model: CLIPReID,
        loader: DataLoader[Any] | DeviceBatches,
        data: TrainingSet,
        text_features: Tensor | None,
        losses: ImageStageLosses,
        optimizers: list[Optimizer],
        schedule: Schedule,
        timing: StageTiming,
        graph: IdentityGraph | None = None,
    ) -> None:
        self.model = model
        self.costs = average_over_processes(
            _Costs(model, losses, text_features),
            model,
            find_unused_parameters=losses.id_weight is None,  # the classifiers
        )
        self.loader = loader
        self.data = data
        self.weighted_losses = losses
        self.optimizers = optimizers
        self.schedule = schedule
        self.timing = timing
        self.graph = graph
        self.device = next(model.parameters()).device

    @property
    def batches(self) -> EpochBatches:
        """What decides the content of the loader's batches."""
        return cast(EpochBatches, self.loader.batch_sampler)

    def start_epoch(self, epoch: int, first_batch: int) -> DataLoader[Any] | DeviceBatches:
        """The epoch's batches; all batch norms learn. Inside an epoch the graph stays."""
        if self.graph is not None and first_batch == 0:
            self.graph.refresh(epoch)
        self.model.train()
        self.batches.set_epoch(epoch, first_batch)
        return self.loader

    def losses(self, batch: Batch) -> StepResult | None:
        """Identity, triplet, image-to-text and center loss, and the accuracy of the global batch.

        With several processes every one computes the same losses from all features.
        """
        batch = batch.to(self.device)
        sizes = self._all_sizes(batch.labels)
        if sum(sizes) < SMALLEST_BATCH:
            return None
        gather = partial(distributed.gather, sizes=sizes)
        seen = batch if all(sizes) else _with_an_image(batch)
        labels = gather(batch.labels)
        losses, accuracy = self.costs(seen.images, seen.camids, seen.viewids, labels, gather)
        return StepResult(losses, len(labels), {"accuracy": accuracy})

    def _all_sizes(self, labels: Tensor) -> list[int]:
        """Images of this batch on every process; asked for only where they can differ."""
        if distributed.size() == 1:
            return [len(labels)]
        may_skip = cast(ImageDataset, self.loader.dataset).skip_bad_images
        if self.batches.plan.equal_shares and not may_skip:
            return [len(labels)] * distributed.size()
        return distributed.all_sizes(labels)

    def after_step(self, happened: Callable[[], bool]) -> None:
        """Nothing follows a step."""

    def image_paths(self, batch: Batch) -> list[str]:
        """The batch's files."""
        return [self.data.samples[i].path for i in batch.indices.tolist()]

    def extra_state(self) -> dict[str, Any]:
        """The class centers and the sampler's graph, which are no part of the model."""
        state = {}
        if self.weighted_losses.center is not None:
            state["center"] = self.weighted_losses.center.state_dict()
        if self.graph is not None:
            state["graph"] = self.graph.state_dict()
        return state

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Put the class centers and the graph back."""
        if self.graph is not None and "graph" in state:
            self.graph.load_state_dict(state["graph"])
        if self.weighted_losses.center is not None and "center" in state:
            self.weighted_losses.center.load_state_dict(state["center"])

    def epoch_statistics(self) -> dict[str, float]:
        """The sampler's: batches, coverage, hits, ...; and how the sources mix in them."""
        plan = self.batches.plan
        stats = {**plan.stats, "plan_seconds": plan.plan_seconds}
        if self.graph is not None:
            stats |= self.graph.statistics(self.batches.epoch)
        domains = [{self.data.domains[i] for i in batch} for batch in plan]
        stats["domains"] = len(set().union(*domains))
        stats["domains_per_batch"] = sum(map(len, domains)) / len(domains)
        return stats


def _with_an_image(batch: Batch) -> Batch:
    """A blank image where a process has none: gradients are averaged over all processes.

    No loss sees it, but a ResNet's batch norms do. Every process has to come here.
    """
    shape = max(distributed.collect(tuple(batch.images.shape[1:])))  # () of those without images
    if len(batch):
        return batch
    ids = batch.camids.new_zeros(1)
    images = torch.zeros(1, *shape, device=batch.labels.device)
    return replace(batch, images=images, camids=ids, viewids=ids)


class PriorStage(ImageStage):
    """Stage 0: the image encoder without text, before the prompts are learned (CLIP-DFGS)."""

    name: int | str = 0


class _Costs(nn.Module):
    """From images to losses as a module of its own, which can be wrapped.

    The wrapper finds parameters without a gradient only when no output but the losses has a graph.
    """

    def __init__(
        self, model: CLIPReID, losses: ImageStageLosses, text_features: Tensor | None
    ) -> None:
        super().__init__()
        self.model = model
        self.losses = losses
        self.text_features = text_features

    def forward(
        self,
        images: Tensor,
        camids: Tensor,
        viewids: Tensor,
        labels: Tensor,
        gather: Callable[[Tensor], Tensor],
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Losses by name and the accuracy; labels are those of the global batch."""
        output = self.model(images, camids, viewids, gather)
        i2t_logits = None
        if self.text_features is not None:
            i2t_logits = image_to_text_logits(output.projected, self.text_features)
        losses = self.losses(output.logits, output.features, labels, i2t_logits)
        scores = output.logits[0] if i2t_logits is None else i2t_logits
        return losses, (scores.argmax(1) == labels).float().mean()


def freeze_text_side(model: CLIPReID) -> None:
    """Everything gets gradients but prompts, text encoder and the BNNecks' biases."""
    for name, parameter in model.named_parameters():
        frozen = name.startswith(_FROZEN) or name in _FROZEN_BIASES
        parameter.requires_grad_(not frozen)


@torch.no_grad()
def all_text_features(model: CLIPReID, batch_size: int = 256) -> Tensor:
    """(C, E) text features of all identities, in float32; computed once, the prompts are frozen."""
    prefix = model.encode_prefix()
    device = next(model.parameters()).device
    labels = torch.arange(model.num_classes, device=device).split(batch_size)
    return torch.cat([model.encode_text(part, prefix).float() for part in labels])
