"""A sample of identities from one or several data sets, with the features of their images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from config.text import encode
from datasets.records import Batch, DataSplits, Sample
from datasets.sources import TrainingSet, number_test_images, training_images
from model import CLIPReID
from model.embedder import Embedder
from processor.evaluation.evaluator import Evaluator
from processor.evaluation.target import Target
from processor.features import FeatureTable, extract_features, ids_of_model

SPLITS = ("test", "train")
Identity = tuple[str, int]  # data set and pid


@dataclass(frozen=True, slots=True)
class FewIdentities:
    """The readable images of some identities.

    Attributes:
        samples: N images with the pids and camids of their data sets.
        domains: data set of every image.
        features: (N, D) or, if projected, (N, E) float32 on the CPU.
    """

    samples: list[Sample]
    domains: list[str]
    features: Tensor

    @property
    def identities(self) -> list[Identity]:
        """Identity of every image."""
        return [(name, x.pid) for name, x in zip(self.domains, self.samples, strict=True)]


def images_of_split(source: DataSplits, split: str, *, use_all: bool) -> list[Sample]:
    """The training images of a data set, or its test images without distractors.

    Args:
        source: the data set.
        split: one of SPLITS.
        use_all: query and gallery are training images too.
    """
    if split == "train":
        return training_images(source, use_all=use_all)
    distinct = {sample.path: sample for sample in number_test_images(source)}
    return [sample for sample in distinct.values() if sample.pid not in source.distractors]


def choose_identities(
    images: Mapping[str, Sequence[Sample]], count: int, seed: int = 0
) -> dict[str, list[Sample]]:
    """Draw identities with at least two images, equally many per data set; return all their images.

    Args:
        images: data set -> its images.
        count: number of identities over all data sets; a remainder goes to the first data sets.
        seed: of the draw.

    Raises:
        ValueError: a data set has no identity with two images, or `count` is below the number of
            data sets.
    """
    if count < len(images):
        raise ValueError(
            f"--max_identities {count}: expected at least one for each of {len(images)} data sets"
        )
    chosen: dict[str, list[Sample]] = {}
    for number, (name, samples) in enumerate(images.items()):
        groups: dict[int, list[Sample]] = {}
        for sample in samples:
            groups.setdefault(sample.pid, []).append(sample)
        pids = sorted(pid for pid, group in groups.items() if len(group) > 1)
        if not pids:
            raise ValueError(f"{name}: no identity has two images in this split")
        wanted = count // len(images) + (number < count % len(images))
        drawn = Random(encode(f"identities {seed} {name}")).sample(pids, min(wanted, len(pids)))
        chosen[name] = [sample for pid in sorted(drawn) for sample in groups[pid]]
    return chosen


def extract_few(
    model: Embedder,
    evaluator: Evaluator,
    images: Mapping[str, Sequence[Sample]],
    *,
    projected: bool = False,
) -> FewIdentities:
    """Extract features of images as an evaluation does.

    Args:
        model: on the evaluator's device, in evaluation mode.
        evaluator: of the data sets.
        images: data set -> images.
        projected: extract the features that are compared with text instead of the descriptor.
    """
    samples: list[Sample] = []
    domains: list[str] = []
    features: list[Tensor] = []
    for target in evaluator.targets:
        own = images[target.name]
        table = _extract(model, evaluator, target, own, projected=projected)
        samples += [own[place] for place in table.indices.tolist()]
        domains += [target.name] * len(table.indices)
        features.append(table.features.cpu())
    return FewIdentities(samples, domains, torch.cat(features))


def _extract(
    model: Embedder,
    evaluator: Evaluator,
    target: Target,
    samples: Sequence[Sample],
    *,
    projected: bool,
) -> FeatureTable:
    """Features of images of one data set."""

    def encode(batch: Batch) -> Tensor:
        ids = ids_of_model(batch.camids, batch.viewids, target.cameras)
        if projected:
            assert isinstance(model, CLIPReID)  # the only model with projected features
            return model.encode_image(batch.images, *ids).projected
        return model.embed(batch.images, *ids)

    return extract_features(
        encode,
        lambda part: evaluator.loader(samples[part.start : part.stop]),
        len(samples),
        evaluator.precision,
        title=target.name,
    )


def labels_of_identities(data: TrainingSet) -> dict[Identity, int]:
    """The training label of every identity."""
    names = (data.names[domain] for domain in data.domains)
    pids = (sample.pid for sample in data.samples)
    return dict(zip(zip(names, pids, strict=True), data.labels, strict=True))
