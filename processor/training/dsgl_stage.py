"""The DSGL stage, without identity labels: cluster, learn from the clusters, repeat."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from torch import Tensor, nn
from torch.utils.data import DataLoader

from datasets.images.device_batches import DeviceBatches
from datasets.records import Batch, Sample
from datasets.samplers import ClusterSampler, EpochBatches
from loss import ClusteredBatch, DSGLLosses
from model import UnsupervisedReID
from processor.clustering import PoorClusteringError
from processor.runtime import distributed, gathering
from processor.runtime.wrapping import average_over_processes
from processor.training.pseudo_labels import SIZE_NAMES, PseudoLabels
from processor.training.stage import Optimization, StepResult

logger = logging.getLogger(__name__)


MOST_POOR = 5


class Clustering:
    """The current clusters and the schedule of new ones.

    A poor clustering is a passing condition: the previous clusters stay, up to MOST_POOR times in
    a row. In the first epoch there are none, so it is an error.

    Args:
        make: embeds and clusters the training images. It calls its argument, which frees the
            previous clusters, once it has found clusters to take their place.
        restore: rebuilds the clusters from a checkpoint.
        period: epochs between clusterings.
    """

    def __init__(
        self,
        make: Callable[[Callable[[], None]], PseudoLabels],
        restore: Callable[[dict[str, Any]], PseudoLabels],
        period: int = 1,
    ) -> None:
        self.make = make
        self.restore = restore
        self.period = period
        self.current: PseudoLabels | None = None
        self.poor = 0  # poor clusterings since the current one

    def refresh(self, epoch: int, first_batch: int) -> PseudoLabels:
        """The clusters of an epoch, new ones if due; a run resumed inside an epoch keeps them.

        Raises:
            PoorClusteringError: too few clusters, in the first epoch or too many times in a row.
        """
        due = first_batch == 0 and (epoch - 1) % self.period == 0
        if self.current is not None and not due:
            return self.current
        try:
            self.current = self.make(self._release)
            self.poor = 0
        except PoorClusteringError as error:
            if self.current is None:
                raise
            self._count_poor(error)
        return self.current

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint; raises RuntimeError before the first epoch."""
        if self.current is None:
            raise RuntimeError("call start_epoch first: it makes the clusters")
        return {"clusters": self.current.state_dict(), "poor": self.poor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self.current = self.restore(state["clusters"])
        self.poor = state.get("poor", 0)  # not in checkpoints of earlier versions

    def _release(self) -> None:
        self.current = None

    def _count_poor(self, error: PoorClusteringError) -> None:
        """Warn that the previous clusters stay; raises the error after MOST_POOR times."""
        self.poor += 1
        if self.poor > MOST_POOR:
            raise PoorClusteringError(
                f"{error}; {MOST_POOR} clusterings in a row were poor. Continue with other options "
                "by SOLVER.RESUME auto"
            ) from error
        logger.warning(
            "%s. The previous clusters stay (%d of at most %d times in a row)",
            error,
            self.poor,
            MOST_POOR,
        )


class DSGLStage:
    """Trains the whole encoder on clusters of the training images; never reads their identities.

    Args:
        model: the network.
        loader: augmented batches of anchors, followed by one partner per anchor if the losses need
            pairs. Its batch sampler is an `EpochBatches` of a `ClusterSampler`.
        samples: the training images.
        clustering: the source of clusters.
        losses: the losses of a batch.
        optimization: optimizer of the model, schedule, epochs.
    """

    name: int | str = "dsgl"

    def __init__(
        self,
        model: UnsupervisedReID,
        loader: DataLoader[Any] | DeviceBatches,
        samples: list[Sample],
        clustering: Clustering,
        losses: DSGLLosses,
        optimization: Optimization,
    ) -> None:
        self.model = model
        self.views = average_over_processes(_Views(model), model)
        self.loader = loader
        self.samples = samples
        self.clustering = clustering
        self.losses = losses
        self.optimization = optimization
        self.device = next(model.parameters()).device
        self._seen: tuple[Tensor, ClusteredBatch] | None = None

    @property
    def batches(self) -> EpochBatches:
        """The sampler behind the loader: which images are in which batch."""
        return cast(EpochBatches, self.loader.batch_sampler)

    @property
    def sampler(self) -> ClusterSampler:
        """The sampler that plans the batches."""
        return cast(ClusterSampler, self.batches.sampler)

    @property
    def clusters(self) -> PseudoLabels:
        """The clusters of this epoch; raises RuntimeError before the first epoch."""
        if self.clustering.current is None:
            raise RuntimeError("call start_epoch first: it makes the clusters")
        return self.clustering.current

    def start_epoch(self, epoch: int, first_batch: int) -> DataLoader[Any] | DeviceBatches:
        """Cluster if due, then return the epoch's batches; batch norms are in training mode."""
        clusters = self.clustering.refresh(epoch, first_batch)
        logger.debug("stage %s epoch %d: %s", self.name, epoch, describe(clusters))
        self.sampler.set_clusters(clusters.labels.tolist())
        self.model.train()
        self.batches.set_epoch(epoch, first_batch)
        return self.loader

    def compute_losses(self, batch: Batch) -> StepResult:
        """The losses of the global batch; accuracy = share of images nearest to their cluster."""
        batch = batch.to(self.device)
        images, partners, indices = batch.images, None, batch.indices
        if self.sampler.pairs:
            count = len(batch) // 2
            images, partners, indices = images[:count], images[count:], indices[:count]
        sizes = [len(part) for part in distributed.shares(self.sampler.batch_size)]
        gather = partial(gathering.gather, sizes=sizes)
        features, positives = self.views(images, partners, gather)
        clusters = self.clusters
        seen = clusters.batch(gather(indices))
        losses = self.losses(features, positives, seen, clusters.memory, clusters.bank)
        seen = seen.to(self.device)
        self._seen = features.detach(), seen
        nearest = (self._seen[0] @ clusters.memory.hard.T).argmax(1)
        return StepResult(
            losses, len(features), {"accuracy": (nearest == seen.labels).float().mean()}
        )

    def after_step(self, happened: Callable[[], bool]) -> None:
        """Update memory and bank with the batch's features, unless the step was skipped."""
        if self._seen is not None and happened():
            clusters = self.clusters
            self.losses.update(*self._seen, clusters.memory, clusters.bank)
        self._seen = None

    def image_paths(self, batch: Batch) -> list[str]:
        """The batch's files."""
        return [self.samples[i].path for i in batch.indices.tolist()]

    def extra_state(self) -> dict[str, Any]:
        """The clusters, including the memory's prototypes and the bank's features."""
        return self.clustering.state_dict()

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the clusters."""
        self.clustering.load_state_dict(state)

    def epoch_statistics(self) -> dict[str, float]:
        """Numbers about the clusters and the sampler's batches."""
        return {
            **self.clusters.statistics,
            "poor_clusterings": self.clustering.poor,
            **self.sampler.stats,
            "plan_seconds": self.sampler.plan_seconds,
        }


def describe(clusters: PseudoLabels) -> str:
    """A clustering in one line."""
    numbers = clusters.statistics
    sizes = "/".join(f"{numbers[f'size_{name}']:g}" for name in SIZE_NAMES)
    text = (
        f"{numbers['clusters']} clusters of {sizes} images (min/quartiles/max), "
        f"{numbers['outliers']} outliers of {len(clusters.labels)} images"
    )
    if "ari" in numbers:
        text += f"; against identities: ARI {numbers['ari']:.3f}, NMI {numbers['nmi']:.3f}"
    return text


class _Views(nn.Module):
    """Both images of every pair in one forward pass of a module that can be wrapped.

    They pass through the network one after the other, so that its batch norms learn from each.
    """

    def __init__(self, model: UnsupervisedReID) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, images: Tensor, partners: Tensor | None, gather: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Unit features (B, D) of the global batch, and of the partners."""
        features = self.model(images, gather)
        return features, None if partners is None else self.model(partners, gather)
