"""Images from files: decoding, a torch data set of them, and batches."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datasets.images.decode import BadImageError, read_image
from datasets.records import Batch, Sample, SeededIndex

Transform = Callable[[Image.Image], Tensor]

GRACE_SECONDS = 10

Pictures = Callable[[int], Image.Image]
"""Position -> image, or BadImageError; in place of decoding a file."""


@dataclass(frozen=True, slots=True)
class Item:
    """One decoded image of a data set; `image` is None when the file is broken and skipped."""

    image: Tensor | None
    label: int
    camid: int
    viewid: int
    index: int
    path: str


class ImageDataset(Dataset[Item]):
    """Images by position; with a seed in the key, augmentation is a function of that seed.

    Args:
        samples: the images.
        labels: what a batch carries as labels: training labels, or pids in evaluation.
        transform: PIL image -> (3, H, W).
        pictures: where images come from; None = their files.
        skip_bad_images: leave broken files out instead of raising BadImageError.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        labels: Sequence[int],
        transform: Transform,
        *,
        pictures: Pictures | None = None,
        skip_bad_images: bool = False,
    ) -> None:
        self.samples = samples
        self.labels = labels
        self.transform = transform
        self.pictures = pictures
        self.skip_bad_images = skip_bad_images

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: int | SeededIndex) -> Item:
        index = key.position if isinstance(key, SeededIndex) else key
        sample = self.samples[index]
        image = None
        try:
            picture = self.pictures(index) if self.pictures else read_image(sample.path)
        except BadImageError:
            if not self.skip_bad_images:
                raise
        else:
            seed = key.seed if isinstance(key, SeededIndex) else None
            image = self._transform(picture, seed)
        label = self.labels[index]
        return Item(image, label, sample.camid, sample.viewid, index, sample.path)

    def _transform(self, picture: Image.Image, seed: int | None) -> Tensor:
        if seed is None:
            return self.transform(picture)
        # Augmentations draw from the global generators; the caller's states are put back.
        python_state, torch_state = random.getstate(), torch.default_generator.get_state()
        random.seed(seed)
        torch.default_generator.manual_seed(seed)
        try:
            return self.transform(picture)
        finally:
            random.setstate(python_state)
            torch.default_generator.set_state(torch_state)


def collate(items: Sequence[Item]) -> Batch:
    """Items as a batch; skipped images are named in `bad_images` and have no row."""
    good = [item for item in items if item.image is not None]
    images = [item.image for item in good if item.image is not None]
    return Batch(
        images=torch.stack(images) if images else torch.empty(0),
        labels=torch.tensor([item.label for item in good], dtype=torch.long),
        camids=torch.tensor([item.camid for item in good], dtype=torch.long),
        viewids=torch.tensor([item.viewid for item in good], dtype=torch.long),
        indices=torch.tensor([item.index for item in good], dtype=torch.long),
        bad_images=tuple(item.path for item in items if item.image is None),
    )


def ordered_loader(
    dataset: ImageDataset,
    batch_size: int,
    workers: int,
    *,
    processes: int = 1,
    pin_memory: bool = False,
) -> DataLoader[Any]:
    """`Batch`es of the images in order.

    Args:
        dataset: the images.
        batch_size: images of a batch, counting those that are skipped.
        workers: worker processes wanted; see `num_workers`.
        processes: processes on this machine, which share its cores.
        pin_memory: batches come in page-locked memory.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size,
        collate_fn=collate,
        num_workers=num_workers(workers, processes),
        worker_init_fn=outlive_sigterm,
        pin_memory=pin_memory,
    )


def num_workers(wanted: int, processes: int = 1) -> int:
    """Worker processes: at most one per core; results do not depend on their number.

    Args:
        wanted: of one training process.
        processes: training processes that share this machine's cores.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return min(wanted, max(cores // processes, 1))


def outlive_sigterm(_worker: int) -> None:
    """Let this worker go on for a while after a SIGTERM; a loader's `worker_init_fn`.

    Clusters send the signal to every process of a job. The main process then stops between two
    batches, saves and ends its workers; a worker that died at once would end it first.
    """
    if hasattr(signal, "alarm"):  # not on Windows, which has no such signals
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_SECONDS))
