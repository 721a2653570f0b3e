"""Similarity of the identities in a batch, and time per plan: python benchmarks/dfgs.py.

Compares random P x K batches, the three walks, GS (every identity with its nearest ones) and the
releases of DFGS, written out here with their defects. Every sampler plans the same images over the
same features in one process; seconds are medians over the epochs and include building the graph.
Hits are also given for the thirds of a walk, before its batches are shuffled. Another table has
four data sets of the sizes of protocol 1: the most batches in a row that hold one of them alone,
and how many that are in a random order of the same batches. The last one finds identities by two
kinds of features together.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.samplers import (
    DepthFirstGraphSampler,
    GraphSampler,
    RandomIdentitySampler,
    WalkOptions,
    nearest_identities,
)
from datasets.samplers.neighbours import (
    join_features,
    longest_stretch,
    mean_hits,
    thirds,
)
from processor.features import mean_by_label
from processor.search.stored_features import read_features

SIZES = ((751, 12_936), (1_041, 32_621), (8_000, 200_000), (16_719, 88_000))
NUM_PIDS, NUM_INSTANCES, NUM_NEIGHBOURS, NUM_CAMERAS = 32, 4, 10, 6
DOMAINS = (1_502, 11_934, 1_816, 1_467)  # identities: Market-1501, CUHK-SYSU, CUHK02, CUHK03

PARTS = ("first", "middle", "last")

Plan = list[list[int]]


@dataclass(frozen=True)
class Release:
    """A release of DFGS.

    Attributes:
        num_neighbours: k.
        skip: m.
        shuffled: neighbours are visited in random order, not nearest first.
        misaligned: rows of the distance matrix are taken for other identities, as in the text
            variants: rows follow one order of the identities, keys a freshly shuffled one.
    """

    num_neighbours: int
    skip: int
    shuffled: bool
    misaligned: bool


@dataclass(frozen=True)
class Planned:
    """An epoch's batches; `by_third` has the hits of a walk's thirds, if they were shuffled."""

    batches: Plan
    by_third: list[float] = field(default_factory=list)


RELEASES = {
    "2024-10-image": Release(15, 0, shuffled=False, misaligned=False),
    "2024-11-image": Release(10, 0, shuffled=True, misaligned=False),
    "2024-10-text": Release(10, 2, shuffled=True, misaligned=True),
    "2024-11-text": Release(5, 1, shuffled=True, misaligned=True),
}


def draw_data(
    num_labels: int, num_images: int, *, clustered: bool
) -> tuple[list[int], list[int], Tensor]:
    """Labels and cameras of images (at least two of each identity) and features of identities.

    Features are normally distributed in 8 dimensions, or form clusters of about 25 in 64
    dimensions.
    """
    generator = torch.Generator().manual_seed(0)
    extra = torch.randint(num_labels, (num_images - 2 * num_labels,), generator=generator)
    labels = sorted([*range(num_labels), *range(num_labels), *extra.tolist()])
    camids = torch.randint(NUM_CAMERAS, (num_images,), generator=generator).tolist()
    if not clustered:
        return labels, camids, torch.randn(num_labels, 8, generator=generator)
    clusters = torch.randn(max(num_labels // 25, 1), 64, generator=generator)
    which = torch.randint(len(clusters), (num_labels,), generator=generator)
    noise = torch.randn(num_labels, 64, generator=generator)
    return labels, camids, 0.5 * clusters[which] + noise


def published_plan(
    labels: Sequence[int], camids: Sequence[int], features: Tensor, rng: Random, release: Release
) -> Plan:
    """The released algorithm: one start, no restart, dense sorted distances, lists searched."""
    distances = torch.cdist(features, features)
    distances.fill_diagonal_(torch.inf)
    columns = slice(release.skip, release.skip + release.num_neighbours)
    ranks = distances.argsort(1)[:, columns].tolist()
    if release.shuffled:
        for row in ranks:
            rng.shuffle(row)
    available = list(range(len(features)))
    rng.shuffle(available)
    keys = available if release.misaligned else range(len(features))
    graph = dict(zip(keys, ranks, strict=True))
    chunks = _published_chunks(labels, camids, rng)
    available = [label for label in available if chunks[label]]
    patience = len(available)
    stack = [rng.choice(available)]
    batch: list[int] = []
    members: list[int] = []
    plan: Plan = []
    while stack and patience > 0:
        label = stack.pop()
        if label not in available:
            continue
        if label in members:
            stack.insert(0, label)
            patience -= 1
            continue
        patience = len(available)
        batch += chunks[label].pop()
        members.append(label)
        if not chunks[label]:
            available.remove(label)
        if len(members) == NUM_PIDS:
            plan.append(batch)
            batch, members = [], []
        stack += [other for other in reversed(graph[label]) if other in available]
    return plan


def _published_chunks(
    labels: Sequence[int], camids: Sequence[int], rng: Random
) -> dict[int, list[list[int]]]:
    """Chunks of K, round-robin over cameras; one-image identities get none, remainders are lost."""
    images: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, (label, camid) in enumerate(zip(labels, camids, strict=True)):
        images[label][camid].append(index)
    chunks: dict[int, list[list[int]]] = {}
    for label, by_camera in images.items():
        queues = list(by_camera.values())
        for queue in queues:
            rng.shuffle(queue)
        order: list[int] = []
        while any(queues):
            order += [queue.pop() for queue in queues if queue]
        if 1 < len(order) < NUM_INSTANCES:
            order = rng.choices(order, k=NUM_INSTANCES)
        whole = len(order) - len(order) % NUM_INSTANCES
        chunks[label] = [order[i : i + NUM_INSTANCES] for i in range(0, whole, NUM_INSTANCES)]
    return chunks


def planners(
    labels: list[int], camids: list[int], features: Tensor
) -> dict[str, Callable[[int], Planned]]:
    """Per sampler: epoch -> plan, including building the graph."""

    def random(epoch: int) -> Planned:
        sampler = RandomIdentitySampler(labels, NUM_PIDS, NUM_INSTANCES)
        sampler.set_epoch(epoch)
        return Planned(list(sampler))

    def walk(epoch: int, kind: str) -> Planned:
        sampler = DepthFirstGraphSampler(
            labels, camids, NUM_PIDS, NUM_INSTANCES, options=WalkOptions(walk=kind)
        )
        sampler.set_graph(nearest_identities(features, NUM_NEIGHBOURS))
        sampler.set_epoch(epoch)
        return Planned(list(sampler), [sampler.stats[f"hits_{part}"] for part in PARTS])

    def graph(epoch: int) -> Planned:
        sampler = GraphSampler(labels, NUM_PIDS, NUM_INSTANCES)
        sampler.set_graph(nearest_identities(features, NUM_PIDS - 1))
        sampler.set_epoch(epoch)
        return Planned(list(sampler))

    def published(epoch: int, release: Release) -> Planned:
        return Planned(published_plan(labels, camids, features, Random(epoch), release))

    return {
        "random P x K": random,
        "depth first": lambda epoch: walk(epoch, "depth_first"),
        "balanced": lambda epoch: walk(epoch, "balanced"),
        "greedy": lambda epoch: walk(epoch, "greedy"),
        "GS": graph,
        **{name: partial(published, release=release) for name, release in RELEASES.items()},
    }


def measure(
    plan_epoch: Callable[[int], Planned], labels: list[int], nearest: list[list[int]], epochs: int
) -> list[str]:
    """Hits, hits by thirds, images, identities and seconds as cells of a table."""
    hits, parts, images, identities, yielded, seconds = [], [], [], [], [], []
    for epoch in range(1, epochs + 1):
        started = time.perf_counter()
        planned = plan_epoch(epoch)
        plan = planned.batches
        seconds.append(time.perf_counter() - started)
        batches = [[labels[i] for i in batch[::NUM_INSTANCES]] for batch in plan]
        hits.append(mean_hits(batches, nearest))
        parts.append(planned.by_third or [mean_hits(part, nearest) for part in thirds(batches)])
        images.append(len({i for batch in plan for i in batch}) / len(labels))
        yielded.append(sum(map(len, plan)) / len(labels))
        identities.append(len({label for batch in batches for label in batch}) / len(nearest))
    by_third = " / ".join(f"{statistics.mean(values):.2f}" for values in zip(*parts, strict=True))
    cells = [f"{statistics.mean(values):.2f}" for values in (images, yielded)]
    return [
        f"{statistics.mean(hits):.2f}",
        by_third,
        *cells,
        f"{statistics.mean(identities):.3f}",
        f"{statistics.median(seconds):.2f}",
    ]


def print_table(
    title: str, labels: list[int], camids: list[int], features: Tensor, epochs: int
) -> None:
    """One row per sampler."""
    print(f"\n**{title}\n")
    print(
        "| sampler | hits of 10 | by thirds | images seen | images drawn | identities | seconds |"
    )
    print("|---|---|---|---|---|---|---|")
    nearest = nearest_identities(features, NUM_NEIGHBOURS).tolist()
    for name, plan_epoch in planners(labels, camids, features).items():
        cells = measure(plan_epoch, labels, nearest, epochs)
        print("|", " | ".join([name, *cells]), "|", flush=True)


def print_stretches(epochs: int) -> None:
    """The most batches in a row that hold one of four data sets alone."""
    identities = sum(DOMAINS)
    labels, camids, features = draw_data(identities, 88_000, clustered=False)
    domains = [domain for domain, count in enumerate(DOMAINS) for _ in range(count)]
    features = features + 20.0 * torch.tensor(domains)[:, None]  # no look-alikes elsewhere
    print(f"\n**{identities:,} identities of {len(DOMAINS)} data sets**\n")
    print("| sampler | hits of 10 | batches of one data set | longest stretch | in random order |")
    print("|---|---|---|---|---|")
    nearest = nearest_identities(features, NUM_NEIGHBOURS).tolist()
    for name, plan_epoch in planners(labels, camids, features).items():
        if name in RELEASES:  # they stay in one data set
            continue
        hits, alone, stretches, by_chance = [], [], [], []
        for epoch in range(1, epochs + 1):
            batches = [
                [labels[i] for i in batch[::NUM_INSTANCES]] for batch in plan_epoch(epoch).batches
            ]
            groups = [{domains[label] for label in batch} for batch in batches]
            hits.append(mean_hits(batches, nearest))
            alone.append(sum(len(group) == 1 for group in groups) / len(groups))
            stretches.append(longest_stretch(groups))
            for seed in range(100):
                by_chance.append(longest_stretch(Random(seed).sample(groups, len(groups))))
        print(
            f"| {name} | {statistics.mean(hits):.2f} | {statistics.mean(alone):.0%} "
            f"| {max(stretches)} | {statistics.mean(by_chance):.1f} |",
            flush=True,
        )


def print_two_kinds(num_labels: int = 1_041) -> None:
    """Shares of the 10 truly nearest identities that two noisy views of them find."""
    print(f"\n**{num_labels:,} identities seen in texts and in images**\n")
    print("| noise of texts, images | texts | images | sum of ranks | both, joined |")
    print("|---|---|---|---|---|")
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(num_labels, 8, generator=generator)
    nearest = nearest_identities(true, NUM_NEIGHBOURS)

    def view(noise: float, scale: float, width: int) -> Tensor:
        directions = torch.randn(8, width, generator=generator) / width**0.5
        seen = true + noise * torch.randn(num_labels, 8, generator=generator)
        return scale * seen @ directions

    def share(found: Tensor) -> str:
        return f"{(found[:, :, None] == nearest[:, None]).any(2).float().mean():.2f}"

    for noise in ((0.5, 0.5), (0.3, 0.8), (0.8, 0.3)):
        texts, images = view(noise[0], 1.0, 512), view(noise[1], 20.0, 1280)
        kinds = [nearest_identities(part, NUM_NEIGHBOURS) for part in (texts, images)]
        # An identity itself has rank 0 in both.
        ranks = [torch.cdist(part, part).argsort(1).argsort(1) for part in (texts, images)]
        ranked = (ranks[0] + ranks[1]).argsort(dim=1, stable=True)[:, 1 : NUM_NEIGHBOURS + 1]
        joined = nearest_identities(join_features([texts, images]), NUM_NEIGHBOURS)
        cells = [share(found) for found in (*kinds, ranked, joined)]
        print(f"| {noise[0]}, {noise[1]} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print one Markdown table per kind of features and size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=SIZES[-1][0], help="most identities to try")
    parser.add_argument("--epochs", type=int, default=3, help="plans per sampler")
    parser.add_argument(
        "--features", help="a file of run.py extract: its identities instead of drawn ones"
    )
    arguments = parser.parse_args()
    if arguments.features:
        stored = read_features(arguments.features)
        kept = stored.pids >= 0
        known = sorted(set(stored.pids[kept].tolist()))
        labels = [known.index(pid) for pid in stored.pids[kept].tolist()]
        features = mean_by_label(
            torch.from_numpy(stored.features[kept]), torch.tensor(labels), len(known)
        )
        title = f"{len(known):,} identities, {len(labels):,} images** ({arguments.features})"
        print_table(title, labels, stored.camids[kept].tolist(), features, arguments.epochs)
        return
    for clustered in (False, True):
        for num_labels, num_images in SIZES:
            if num_labels > arguments.largest:
                continue
            labels, camids, features = draw_data(num_labels, num_images, clustered=clustered)
            kind = "clusters, 64-d" if clustered else "isotropic, 8-d"
            title = f"{num_labels:,} identities, {num_images:,} images** ({kind})"
            print_table(title, labels, camids, features, arguments.epochs)
    if arguments.largest >= sum(DOMAINS):
        print_stretches(arguments.epochs)
    print_two_kinds()


if __name__ == "__main__":
    main()
