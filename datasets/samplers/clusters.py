"""Batches from clusters, for training without labels: a few images per cluster (DSGL)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch

from datasets.samplers.chunks import indices_by_label
from datasets.samplers.options import PassOptions, SamplerOptions
from datasets.samplers.planner import EpochPlan, EpochPlanner
from datasets.sources import TrainingSet

logger = logging.getLogger(__name__)

OUTLIER = -1
ONE_PASS = PassOptions()


@dataclass(frozen=True, slots=True)
class PassGenerators:
    """The random generators of a pass: those of the published sampler, one per kind of draw."""

    clusters: torch.Generator
    anchors: Random
    companions: np.random.RandomState


def cluster_pass(
    groups: Sequence[Sequence[int]],
    camids: Sequence[int],
    num_instances: int,
    generators: PassGenerators,
    *,
    camera_aware: bool = True,
) -> list[int]:
    """Visit all clusters in random order; take an anchor and its companions from each.

    The num_instances - 1 companions come from other cameras than the anchor if possible, and are
    drawn with replacement if there are fewer than num_instances candidates. A cluster with a single
    image gives that image only, so later clusters move forward in their batches (DiseSGL, 2024,
    code).

    Args:
        groups: image positions per cluster.
        camids: camera of every image.
        num_instances: images per cluster that has two or more.
        generators: sources of randomness.
        camera_aware: False = companions come from any camera.

    Returns:
        Image positions; those of a cluster are consecutive, its anchor first.
    """
    positions = []
    for label in torch.randperm(len(groups), generator=generators.clusters).tolist():
        anchor = generators.anchors.choice(groups[label])
        others = [i for i in groups[label] if i != anchor]
        if camera_aware:
            others = [i for i in others if camids[i] != camids[anchor]] or others
        positions.append(anchor)
        if others:
            places = generators.companions.choice(
                len(others), num_instances - 1, replace=len(others) < num_instances
            )
            positions += [others[place] for place in places]
    return positions


class ClusterSampler(EpochPlanner):
    """Plans batches from the current clusters; outliers are never drawn.

    A batch is `batch_size` consecutive positions of a pass over the clusters (`cluster_pass`); an
    incomplete last batch of a pass is dropped. Clusters that do not fill a batch in one pass are
    repeated in further passes until they do. The plan depends only on (seed, epoch) and the
    clusters.

    Args:
        camids: (N,) camera of every image.
        batch_size: anchors in a global batch.
        num_instances: images per cluster in a pass; None = a pass is a shuffle of all clustered
            images.
        seed: with the epoch, decides the plan; the same on every process.
        options: batches per epoch, cameras, partners. The anchors are the same with and without
            partners.
    """

    def __init__(
        self,
        camids: Sequence[int],
        batch_size: int,
        num_instances: int | None,
        seed: int = 0,
        options: PassOptions = ONE_PASS,
    ) -> None:
        super().__init__(seed)
        self._camids = [int(camid) for camid in camids]
        self.batch_size = batch_size
        self.num_instances = num_instances
        self.options = options
        self.pairs = options.pairs
        self._labels: list[int] | None = None
        self._groups: list[list[int]] = []

    def set_clusters(self, labels: Sequence[int]) -> None:
        """Set the clusters to plan the next epochs from.

        Args:
            labels: (N,) cluster 0..C-1 of every image, -1 = outlier.

        Raises:
            ValueError: the number of labels is not N, labels have gaps, or all are outliers.
        """
        labels = [int(label) for label in labels]  # from a list, an array or a tensor
        if len(labels) != len(self._camids):
            raise ValueError(f"{len(labels)} cluster labels, but {len(self._camids)} camids")
        members = [i for i, label in enumerate(labels) if label != OUTLIER]
        if not members:
            raise ValueError(f"all {len(labels)} images are outliers: raise DSGL.EPS")
        groups = indices_by_label([labels[i] for i in members])
        groups = [[members[place] for place in group] for group in groups]
        self._labels, self._groups, self._plan = labels, groups, None
        self._warn_of_repeats()

    def _warn_of_repeats(self) -> None:
        most = self.num_instances
        sizes = [len(group) for group in self._groups]
        length = sum(size if most is None else most if size > 1 else 1 for size in sizes)
        if length < self.batch_size:
            logger.warning(
                "%d clusters fill %d of the %d places in a batch, so batches repeat them; "
                "another DSGL.EPS may give more clusters",
                len(sizes),
                length,
                self.batch_size,
            )

    def plan_epoch(self) -> EpochPlan:
        if self._labels is None:
            raise RuntimeError("the sampler has no clusters yet: call set_clusters first")
        seeds = np.random.SeedSequence([self.seed, self.epoch]).generate_state(4).tolist()
        generators = PassGenerators(
            torch.Generator().manual_seed(seeds[0]),
            Random(seeds[1]),
            np.random.RandomState(seeds[2]),
        )
        batches: list[list[int]] = []
        passes = 0
        while not passes or len(batches) < self.options.num_batches:
            positions = self._draw_pass(generators)
            passes += 1
            while len(positions) < self.batch_size:
                positions += self._draw_pass(generators)
                passes += 1
            ends = range(self.batch_size, len(positions) + 1, self.batch_size)
            batches += [positions[end - self.batch_size : end] for end in ends]
        batches = batches[: self.options.num_batches or None]
        if self.pairs:
            rng = np.random.Generator(np.random.PCG64(seeds[3]))
            batches = [batch + self._partners(self._labels, batch, rng) for batch in batches]
        drawn = {index for batch in batches for index in batch}
        seen = {self._labels[index] for index in drawn}
        stats = {
            "batches": float(len(batches)),
            "passes": float(passes),
            "cluster_coverage": len(seen) / len(self._groups),
            "image_coverage": len(drawn) / sum(map(len, self._groups)),
        }
        return EpochPlan(batches, stats)

    def _draw_pass(self, generators: PassGenerators) -> list[int]:
        if self.num_instances is None:
            positions = [index for group in self._groups for index in group]
            order = torch.randperm(len(positions), generator=generators.clusters).tolist()
            return [positions[place] for place in order]
        return cluster_pass(
            self._groups,
            self._camids,
            self.num_instances,
            generators,
            camera_aware=self.options.camera_aware,
        )

    def _partners(
        self, labels: Sequence[int], anchors: Sequence[int], rng: np.random.Generator
    ) -> list[int]:
        groups = [self._groups[labels[anchor]] for anchor in anchors]
        places = rng.integers([len(group) for group in groups]).tolist()
        return [group[place] for group, place in zip(groups, places, strict=True)]


def make_sampler(data: TrainingSet, options: SamplerOptions) -> ClusterSampler:
    """The sampler of a training set; its labels are not used."""
    return ClusterSampler(
        data.camids,
        options.batch_size,
        options.num_instances if options.p_x_k else None,
        options.seed,
        options.clusters,
    )
