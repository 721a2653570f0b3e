"""The images of a training set, with and without augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader

from datasets.images.cache import CachedImages, ImageStore
from datasets.images.dataset import (
    ImageDataset,
    Loading,
    Transform,
    collate,
    ordered_loader,
)
from datasets.images.device_augmentation import BatchAugmentation
from datasets.images.device_batches import DeviceBatches
from datasets.images.workers import LONGEST_WAIT, prepare_worker, start_method
from datasets.samplers.epoch_batches import EpochBatches, Share
from datasets.samplers.planner import EpochPlanner
from datasets.sources import TrainingSet


@dataclass(frozen=True, slots=True)
class ProcessShare:
    """This process's share of the work.

    Attributes:
        of_batch: the places of a global batch that it loads.
        processes: processes on this machine, which share its cores.
    """

    of_batch: Share = range
    processes: int = 1


@dataclass(frozen=True, slots=True)
class TrainingTransforms:
    """How images that a store provides become tensors.

    Attributes:
        augment: with random changes, image by image.
        augment_batch: the same for whole batches on the device; None = use `augment`.
        plain: without random changes.
    """

    augment: Transform
    augment_batch: BatchAugmentation | None
    plain: Transform


@dataclass(frozen=True, slots=True)
class TrainingImages:
    """A training set and how its images become batches; nothing is read before it is needed.

    Attributes:
        data: samples and labels.
        store: where the images are kept.
        transforms: how they become tensors.
        loading: worker processes.
        share: this process's share of every batch.
        seed: of the run.
        plain_batch_size: images per batch without augmentation.
        skip_bad_images: leave broken files out instead of raising BadImageError.
    """

    data: TrainingSet
    store: ImageStore
    transforms: TrainingTransforms
    loading: Loading
    share: Share
    seed: int
    plain_batch_size: int
    skip_bad_images: bool

    @property
    def summary(self) -> str:
        """Where the images are kept and why, for the log."""
        return self.store.summary

    def augmented(self, plan: EpochPlanner) -> DataLoader[Any] | DeviceBatches:
        """Augmented `Batch`es as a sampler plans them; the `batch_sampler` is an `EpochBatches`.

        Raises:
            BadImageError: images are read into memory now, and one is broken and not skipped.
        """
        cache = self.store.for_training()
        dataset = ImageDataset(
            self.data.samples,
            self.data.labels,
            self.transforms.augment,
            source=None if cache is None else cache.image,
            skip_bad_images=self.skip_bad_images,
        )
        batches = EpochBatches(plan, self.seed, self.share)
        augment_batch = self.transforms.augment_batch
        if cache is not None and augment_batch is not None:
            return DeviceBatches(dataset, cache, batches, augment_batch)
        return DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=self.loading.num_workers,
            worker_init_fn=prepare_worker,
            multiprocessing_context=start_method() if self.loading.num_workers else None,
            timeout=LONGEST_WAIT if self.loading.num_workers else 0,
            persistent_workers=self.loading.num_workers > 0,
            pin_memory=self.loading.pin_memory,
            # Its own, so that dropout depends neither on workers nor on where a run is resumed.
            generator=torch.Generator(),
        )

    def plain(self, positions: Sequence[int]) -> DataLoader[Any]:
        """`Batch`es of some images in order, without augmentation.

        Args:
            positions: of the images in the training set. The batches' indices count in this
                sequence, from 0.

        Raises:
            BadImageError: as in `augmented`.
        """
        cache = self.store.for_evaluation()
        dataset = ImageDataset(
            [self.data.samples[i] for i in positions],
            [self.data.labels[i] for i in positions],
            self.transforms.plain,
            source=None if cache is None else CachedImages(cache, positions),
            skip_bad_images=self.skip_bad_images,
        )
        return ordered_loader(dataset, self.plain_batch_size, self.loading)
