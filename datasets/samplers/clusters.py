"""Batches of pseudo-labelled images: a few images of each cluster, from several cameras."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch

from datasets.samplers.chunks import indices_by_label
from datasets.samplers.planner import EpochPlan, EpochPlanner

OUTLIER = -1


@dataclass(frozen=True, slots=True)
class PassGenerators:
    """What a pass draws from; of the kinds that the published sampler takes, one for each draw."""

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
    """All clusters once, in random order: an anchor and num_instances - 1 companions of each.

    Companions are images of the cluster from other cameras than the anchor's or, where there are
    none, any others; they are drawn with replacement where there are fewer than num_instances of
    them. A cluster of one image gives that image alone, so that later clusters move forward in
    their batches (DiseSGL, 2024, code).

    Args:
        groups: image positions per cluster.
        camids: camera of every image.
        num_instances: images of a cluster that has two or more.
        generators: sources of randomness.
        camera_aware: False = companions are any others always.

    Returns:
        Image positions, those of a cluster side by side, its anchor first.
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
    """Plans an epoch of batches from the present clusters; outliers are in none.

    A batch is `batch_size` consecutive positions of a pass over the clusters (`cluster_pass`); what
    a pass leaves over is dropped. The plan depends on (seed, epoch) and the clusters alone.

    Args:
        camids: camera of every image, (N,).
        batch_size: anchors in a global batch.
        num_instances: images of a cluster in a pass; None = a pass is every image of a cluster
            once, shuffled.
        num_batches: batches in an epoch, over as many passes as that takes; 0 = one pass.
        seed: with the epoch, decides the plan; the same on every process.
        camera_aware: see `cluster_pass`.
        pairs: a batch has `batch_size` positions more, behind the anchors: for each of them a
            random image of its cluster, which may be itself. The anchors are the same without.
    """

    def __init__(
        self,
        camids: Sequence[int],
        batch_size: int,
        num_instances: int | None,
        num_batches: int = 0,
        seed: int = 0,
        *,
        camera_aware: bool = True,
        pairs: bool = False,
    ) -> None:
        super().__init__(seed)
        self._camids = [int(camid) for camid in camids]
        self.batch_size = batch_size
        self.num_instances = num_instances
        self.num_batches = num_batches
        self.camera_aware = camera_aware
        self.pairs = pairs
        self._labels: list[int] | None = None
        self._groups: list[list[int]] = []

    def set_clusters(self, labels: Sequence[int]) -> None:
        """Take the clusters that the next epochs are planned from.

        Args:
            labels: (N,) cluster 0..C-1 of every image, -1 = outlier.

        Raises:
            ValueError: not one label per image, labels with gaps, or a pass fills no batch.
        """
        labels = [int(label) for label in labels]  # of a list, an array or a tensor
        if len(labels) != len(self._camids):
            raise ValueError(f"{len(labels)} cluster labels, but {len(self._camids)} camids")
        members = [i for i, label in enumerate(labels) if label != OUTLIER]
        if not members:
            raise ValueError(f"all {len(labels)} images are outliers: raise DSGL.EPS")
        groups = indices_by_label([labels[i] for i in members])
        groups = [[members[place] for place in group] for group in groups]
        self._check_size(groups)
        self._labels, self._groups, self._plan = labels, groups, None

    def _check_size(self, groups: Sequence[Sequence[int]]) -> None:
        most = self.num_instances
        length = sum(
            len(group) if most is None else most if len(group) > 1 else 1 for group in groups
        )
        if length < self.batch_size:
            each = "each image once" if most is None else f"{most} images of each"
            raise ValueError(
                f"{len(groups)} clusters, {each}, do not fill a batch of {self.batch_size}: change "
                "DSGL.EPS until there are more clusters, or lower SOLVER.STAGE2.IMS_PER_BATCH to "
                f"{length} or less"
            )

    def _make_plan(self) -> EpochPlan:
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
        while not passes or len(batches) < self.num_batches:
            positions = self._draw_pass(generators)
            ends = range(self.batch_size, len(positions) + 1, self.batch_size)
            batches += [positions[end - self.batch_size : end] for end in ends]
            passes += 1
        batches = batches[: self.num_batches or None]
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
            camera_aware=self.camera_aware,
        )

    def _partners(
        self, labels: Sequence[int], anchors: Sequence[int], rng: np.random.Generator
    ) -> list[int]:
        groups = [self._groups[labels[anchor]] for anchor in anchors]
        places = rng.integers([len(group) for group in groups]).tolist()
        return [group[place] for group, place in zip(groups, places, strict=True)]


def paired_share(share: Callable[[int], Sequence[int]]) -> Callable[[int], Sequence[int]]:
    """`share` for batches of 2B positions, B anchors and their partners: the same part of both."""

    def part(length: int) -> list[int]:
        half = length // 2
        anchors = share(half)
        return [*anchors, *(half + place for place in anchors)]

    return part
