"""Images by position, and the loaders that batch them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datasets.images.decode import BadImageError, read_image
from datasets.images.workers import LONGEST_WAIT, prepare_worker, start_method
from datasets.records import Batch, Sample, SeededIndex

Transform = Callable[[Image.Image], Tensor]

ImageSource = Callable[[int], Image.Image]
"""Position -> RGB image; raises BadImageError if it cannot be decoded."""


@dataclass(frozen=True, slots=True)
class Item:
    """One transformed image; `image` is None if the file is broken and skipped."""

    image: Tensor | None
    label: int
    camid: int
    viewid: int
    index: int
    path: str


class ImageDataset(Dataset[Item]):
    """Images by position; a key with a seed makes random augmentation reproducible.

    Args:
        samples: the images.
        labels: labels of the batches: training labels, or pids in evaluation.
        transform: PIL image -> (3, H, W).
        source: decoded images by position; None = read the files.
        skip_bad_images: leave broken files out instead of raising BadImageError.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        labels: Sequence[int],
        transform: Transform,
        *,
        source: ImageSource | None = None,
        skip_bad_images: bool = False,
    ) -> None:
        self.samples = samples
        self.labels = labels
        self.transform = transform
        self.source = source
        self.skip_bad_images = skip_bad_images

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: int | SeededIndex) -> Item:
        index, seed = key if isinstance(key, SeededIndex) else (key, None)
        sample = self.samples[index]
        image = None
        try:
            decoded = self.source(index) if self.source else read_image(sample.path)
        except BadImageError:
            if not self.skip_bad_images:
                raise
        else:
            image = self._transform(decoded, seed)
        label = self.labels[index]
        return Item(image, label, sample.camid, sample.viewid, index, sample.path)

    def _transform(self, image: Image.Image, seed: int | None) -> Tensor:
        if seed is None:
            return self.transform(image)
        # Augmentations draw from the global generators, whose states are restored afterwards.
        python_state, torch_state = random.getstate(), torch.default_generator.get_state()
        random.seed(seed)
        torch.default_generator.manual_seed(seed)
        try:
            return self.transform(image)
        finally:
            random.setstate(python_state)
            torch.default_generator.set_state(torch_state)


def collate(items: Sequence[Item]) -> Batch:
    """Items as a batch; skipped images have no row and are listed in `bad_images`."""
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


@dataclass(frozen=True, slots=True)
class Loading:
    """How a loader works; batches do not depend on it.

    Attributes:
        num_workers: worker processes; 0 = load in this process. See `limit_workers`.
        pin_memory: return batches in page-locked memory, which speeds up copies to a GPU.
    """

    num_workers: int = 0
    pin_memory: bool = False


def ordered_loader(
    dataset: ImageDataset,
    batch_size: int,
    loading: Loading,
    generator: torch.Generator | None = None,
) -> DataLoader[Any]:
    """`Batch`es of all images in order.

    Args:
        dataset: the images.
        batch_size: images per batch, including skipped ones.
        loading: worker processes.
        generator: seeds the workers instead of torch's global generator.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size,
        collate_fn=collate,
        num_workers=loading.num_workers,
        worker_init_fn=prepare_worker,
        multiprocessing_context=start_method() if loading.num_workers else None,
        timeout=LONGEST_WAIT if loading.num_workers else 0,
        pin_memory=loading.pin_memory,
        generator=generator,
    )


def threaded_batches(dataset: ImageDataset, batch_size: int) -> Iterator[Batch]:
    """The batches of `ordered_loader` for a few images in memory, which start at once.

    As many threads as torch uses share the work: PIL resizes without holding Python's lock.

    Args:
        dataset: its source must allow several threads.
        batch_size: images per batch.
    """
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(dataset), batch_size):
            keys = range(start, min(start + batch_size, len(dataset)))
            step = -(-len(keys) // threads)
            shares = [keys[first : first + step] for first in range(0, len(keys), step)]
            load = pool.map if len(shares) > 1 else map
            loaded = load(lambda share: [dataset[key] for key in share], shares)
            yield collate([item for items in loaded for item in items])
