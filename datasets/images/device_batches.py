"""Augmented batches of images in the device's memory, without a loader and its workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from datasets.images.cache import ImageCache
from datasets.images.dataset import ImageDataset
from datasets.images.device_augmentation import BatchAugmentation, Changes
from datasets.records import Batch
from datasets.samplers import EpochBatches, SeededIndex


class DeviceBatches:
    """Augments whole batches on the device; used like a `DataLoader`.

    Args:
        dataset: samples and labels of the images.
        cache: their pixels, on the device.
        batch_sampler: positions and seeds of every batch.
        augment: changes a batch at random.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        cache: ImageCache,
        batch_sampler: EpochBatches,
        augment: BatchAugmentation,
    ) -> None:
        self.dataset = dataset
        self.batch_sampler = batch_sampler
        self._images = cache.images
        self._readable = cache.readable.numpy()
        self._augment = augment
        camids = [sample.camid for sample in dataset.samples]
        viewids = [sample.viewid for sample in dataset.samples]
        self._ids = np.array([dataset.labels, camids, viewids], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Batch]:
        for keys in self.batch_sampler:
            yield self._batch(keys)

    def _batch(self, keys: Sequence[SeededIndex]) -> Batch:
        """A batch on the device; enqueued without waiting for it."""
        positions, seeds = np.array(keys, dtype=np.int64).reshape(-1, 2).T  # also of none
        readable = self._readable[positions]
        broken = tuple(self.dataset.samples[i].path for i in positions[~readable])
        positions, seeds = positions[readable], seeds[readable]
        changes = self._augment.draw(seeds)
        # One transfer of a few kB for all ids and changes.
        numbers = torch.from_numpy(np.vstack([positions, self._ids[:, positions], changes]))
        at_once = self._images.is_cuda  # elsewhere the source may be freed too early
        if at_once:
            numbers = numbers.pin_memory()
        numbers = numbers.to(self._images.device, non_blocking=at_once)
        places, labels, camids, viewids, *rows = numbers
        return Batch(
            images=self._augment(self._images, places, Changes(*rows)),
            labels=labels,
            camids=camids,
            viewids=viewids,
            indices=torch.from_numpy(positions),
            bad_images=broken,
        )
