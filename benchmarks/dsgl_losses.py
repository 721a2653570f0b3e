"""The losses of one DSGL step against loops over the data set: python benchmarks/dsgl_losses.py.

The published formulation, written out here: for each image of the batch a loop over all images
finds those of its prototypes, twice for the contrast and once per order for the relative entropy;
the memory's rows are updated cluster by cluster. `FAITHFUL` is the same in vectorized form, with
the same values; the default is the program's own. Forward, backward and both updates.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from drawn_features import Size, describe_machine, draw, load, print_table
from torch import Tensor

from loss import (
    ClusteredBatch,
    ClusterMemory,
    DSGLLosses,
    InstanceBank,
    irrelevant_labels,
)

IMAGES, WIDTH, CLUSTERS, OUTLIERS = 12_936, 2_048, 600, 2_000
NUM_PIDS, NUM_INSTANCES, ORDERS = 4, 16, 2
TEMPERATURE, MOMENTUM, MIX, PULL, PUSH = 0.05, 0.1, 0.5, 0.8, 0.1


@dataclass(frozen=True)
class Epoch:
    """A clustering of drawn features, and a batch."""

    features: Tensor  # (N, D)
    labels: Tensor  # (N,)
    centroids: Tensor  # (C, D)
    irrelevant: Tensor  # (N, orders)
    indices: Tensor  # (B,)
    anchors: Tensor  # (B, D)
    partners: Tensor  # (B, D)


@dataclass(frozen=True)
class Step:
    """Results of a step: losses, gradients of anchors and partners, the two memories."""

    losses: dict[str, float]
    gradients: tuple[Tensor, Tensor]
    prototypes: Tensor
    instances: Tensor


def draw_epoch() -> Epoch:
    """Normal clusters with outliers; a batch of P clusters x K images."""
    retrieval = draw(Size(0, IMAGES, WIDTH, CLUSTERS))
    features, labels = retrieval.gallery, torch.from_numpy(retrieval.ids[1]).clone()
    labels[:OUTLIERS] = -1
    clusters = [features[labels == label].mean(0) for label in range(CLUSTERS)]
    centroids = torch.stack(clusters)
    irrelevant = irrelevant_labels(features, F.normalize(centroids), labels, ORDERS)
    generator = torch.Generator().manual_seed(1)
    large = (labels[labels >= 0].bincount(minlength=CLUSTERS) >= NUM_INSTANCES).nonzero()[:, 0]
    chosen = large[torch.randperm(len(large), generator=generator)[:NUM_PIDS]].tolist()
    indices = torch.cat([(labels == label).nonzero()[:NUM_INSTANCES, 0] for label in chosen])
    noise = 0.01 * torch.randn(2, len(indices), WIDTH, generator=generator)
    anchors, partners = F.normalize(features[indices] + noise, dim=-1)
    return Epoch(features, labels, centroids, irrelevant, indices, anchors, partners)


class Loops:
    """A step of the published formulation, found image by image.

    Args:
        epoch: the clustering.
    """

    def __init__(self, epoch: Epoch) -> None:
        self.hard = F.normalize(epoch.centroids)
        self.mean = self.hard.clone()
        self.instances = epoch.features.clone()
        self.labels = epoch.labels.tolist()
        self.shared = epoch.irrelevant[:, 0].tolist()  # the published code reads column 0 only

    def positive(self, label: int, other: int) -> Tensor:
        """Mean of the cluster's images with another irrelevant label; the prototype if none."""
        found = [i for i, y in enumerate(self.labels) if y == label and self.shared[i] != other]
        return self.instances[found].mean(0) if found else self.mean[label]

    def negatives(self, label: int, other: int) -> dict[int, Tensor]:
        """Per other cluster, the mean of its images with the same irrelevant label."""
        groups: dict[int, list[int]] = {}
        for i, y in enumerate(self.labels):
            if y not in (label, -1) and self.shared[i] == other:
                groups.setdefault(y, []).append(i)
        return {y: self.instances[rows].mean(0) for y, rows in groups.items()}

    def disentangled(self, features: Tensor, labels: list[int], others: list[int]) -> Tensor:
        """The contrast, with the exponentials summed as they are."""
        pulls = [self.positive(y, j) for y, j in zip(labels, others, strict=True)]
        table = self.mean.clone()
        for y, pull in zip(labels, pulls, strict=True):
            table[y] = F.normalize((1 - MIX) * self.mean[y] + MIX * pull, dim=0)
        terms = []
        for feature, y, j in zip(features, labels, others, strict=True):
            rows = list(self.negatives(y, j).values()) or [self.mean[j]]
            near = (feature @ table.T / TEMPERATURE).exp()
            far = (feature @ F.normalize(torch.stack(rows)).T / TEMPERATURE).exp().sum()
            terms.append(-(near[y] / (near.sum() + MIX * far)).log())
        return torch.stack(terms).mean()

    def relative_entropy(
        self, features: Tensor, partners: Tensor, labels: list[int], others: list[int]
    ) -> Tensor:
        """The consistency, with one table that all images change in turn."""
        table = self.mean.clone()
        for y, j in zip(labels, others, strict=True):
            table[y] = F.normalize((1 - PULL) * table[y] + PULL * self.positive(y, j), dim=0)
            for c, row in self.negatives(y, j).items():
                table[c] = F.normalize((1 - PUSH) * table[c] + PUSH * row, dim=0)
        guided = (features @ table.T / TEMPERATURE).log_softmax(1)
        expected = (partners @ self.mean.T / TEMPERATURE).log_softmax(1)
        return (guided.exp() * (guided - expected)).sum(1).mean()

    def update(self, features: Tensor, labels: list[int]) -> None:
        """Move the prototypes of the batch's clusters."""
        for y in set(labels):
            own = features[[b for b, label in enumerate(labels) if label == y]]
            hardest = own[(own @ self.hard[y]).argmin()]
            for table, row in ((self.hard, hardest), (self.mean, own.mean(0))):
                table[y] = F.normalize(MOMENTUM * table[y] + (1 - MOMENTUM) * row, dim=0)


def step_by_loops(epoch: Epoch, state: Loops) -> Step:
    """One step, its losses summed and their gradients taken."""
    inputs = _inputs(epoch)
    anchors, partners = inputs
    labels = epoch.labels[epoch.indices].tolist()
    others = epoch.irrelevant[epoch.indices]
    targets = torch.tensor(labels)
    losses = {"memory": F.cross_entropy(anchors @ state.hard.T / TEMPERATURE, targets)}
    passes = []
    for _ in range(2):
        passes.append(state.disentangled(anchors, labels, others[:, 0].tolist()))
        state.instances[epoch.indices] = anchors.detach()
    losses["disentangled"] = torch.stack(passes).mean()
    entropies = [
        state.relative_entropy(anchors, partners, labels, column.tolist()) for column in others.T
    ]
    losses["relative_entropy"] = torch.stack(entropies).mean()
    gradients = _backward(losses, inputs)
    state.update(anchors.detach(), labels)
    return Step(_values(losses), gradients, torch.stack([state.hard, state.mean]), state.instances)


def step_vectorized(
    epoch: Epoch, memory: ClusterMemory, bank: InstanceBank, *, faithful: bool
) -> Step:
    """The program's step; the default does not depend on the order of the batch."""
    way = DSGLLosses(
        temperature=TEMPERATURE,
        mix=MIX,
        positive_mix=PULL,
        negative_mix=PUSH,
        faithful=faithful,
    )
    inputs = _inputs(epoch)
    anchors, partners = inputs
    indices = epoch.indices
    batch = ClusteredBatch(indices, epoch.labels[indices], epoch.irrelevant[indices])
    losses = way(anchors, partners, batch, memory, bank)
    gradients = _backward(losses, inputs)
    way.update(anchors.detach(), batch, memory, bank)
    return Step(_values(losses), gradients, memory.prototypes, bank.features)


def _inputs(epoch: Epoch) -> tuple[Tensor, Tensor]:
    return epoch.anchors.clone().requires_grad_(), epoch.partners.clone().requires_grad_()


def _backward(losses: dict[str, Tensor], inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    first, second = torch.autograd.grad(torch.stack(list(losses.values())).sum(), inputs)
    return first, second


def _values(losses: dict[str, Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in losses.items()}


def check_equal(expected: Step, found: Step) -> float:
    """Largest difference between two steps' results; exits above 2e-5."""
    gaps = [abs(expected.losses[name] - found.losses[name]) for name in expected.losses]
    pairs = [*zip(expected.gradients, found.gradients, strict=True)]
    pairs += [(expected.prototypes, found.prototypes), (expected.instances, found.instances)]
    gaps += [float((one - other).abs().max()) for one, other in pairs]
    if max(gaps) > 2e-5:
        sys.exit(
            f"the implementations disagree: {expected.losses}, {found.losses}, differences {gaps}"
        )
    return max(gaps)


def timed_steps(step: Callable[[], object], repeats: int) -> float:
    """Median milliseconds of a step."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return 1e3 * statistics.median(seconds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20, help="steps of the vectorized forms")
    repeats = parser.parse_args().repeats
    epoch = draw_epoch()
    loops = Loops(epoch)
    expected = step_by_loops(epoch, loops)
    expected = replace(expected, instances=expected.instances.clone())
    print(f"{describe_machine()}, {load()}")
    print(f"\n{IMAGES:,} images x {WIDTH:,}, {CLUSTERS} clusters, batch {len(epoch.indices)}\n")
    slow = timed_steps(lambda: step_by_loops(epoch, loops), max(repeats // 5, 1))
    rows = [("way", "ms per step", "times faster"), ("loops", f"{slow:,.0f}", "1")]
    for name, faithful in (("FAITHFUL", True), ("default", False)):
        step = partial(step_vectorized, epoch, faithful=faithful)
        memory = ClusterMemory(epoch.centroids, TEMPERATURE, MOMENTUM)
        bank = InstanceBank(epoch.features, epoch.labels, epoch.irrelevant)
        found = step(memory, bank)
        if faithful:
            gap = check_equal(expected, found)
            print(f"Loops and FAITHFUL: largest difference of losses, gradients, rows {gap:.1e}.\n")
        fast = timed_steps(partial(step, memory, bank), repeats)
        rows.append((name, f"{fast:,.1f}", f"{slow / fast:,.1f}"))
    print_table(*rows)


if __name__ == "__main__":
    main()
