"""Retrieval features of any images, from a checkpoint alone."""

from __future__ import annotations

import io
import math
import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datasets.images.build import build_level_normalization, build_level_transform
from datasets.images.crops import crop_boxes
from datasets.images.dataset import (
    ImageDataset,
    Loading,
    ordered_loader,
    threaded_batches,
)
from datasets.images.decode import BadImageError
from datasets.images.given import CHANNEL_ORDERS, GivenImage, GivenImages
from datasets.images.workers import choose_workers
from datasets.records import UNKNOWN, Batch, Sample
from processor.checkpoints.description import describe_features
from processor.checkpoints.load import open_model
from processor.features import FeatureTable, feature_batches
from processor.metrics.normalize import normalize_features
from processor.runtime import distributed
from processor.runtime.device import choose_device
from processor.runtime.guest import own_defaults, own_globals
from processor.runtime.precision import Precision
from processor.runtime.progress import Progress

ON_BAD_IMAGE = ("error", "skip")


class Extractor:
    """Images to retrieval features, preprocessed as in the checkpoint's evaluation.

    Call it with one image or a list: paths, files' bytes, PIL images, arrays, tensors (see
    `GivenImage`), mixed and of any sizes. `stream` handles more images than fit in memory.

        extractor = Extractor("runs/demo/last.pth")
        features = extractor(["a.jpg", "b.png"])  # (2, D) float32, on the CPU, rows of length 1
        distances = torch.cdist(features, features)

    Args:
        checkpoint: the file, an exported folder or `hf://user/model`; neither CLIP's own weights
            nor a configuration are needed.
        device: auto | cpu | cuda | cuda:1 | mps; None = MODEL.DEVICE.
        batch_size: images per forward pass; None = TEST.IMS_PER_BATCH.
        amp: compute in the precision of the checkpoint's SOLVER.AMP; False = float32.
        normalize: scale every row to unit length.
        num_workers: processes that decode images; 0 = this one, None = DATALOADER.NUM_WORKERS.
            On Windows and macOS, which spawn processes, the calling script needs
            `if __name__ == "__main__":`.
        channels: channel order of arrays and tensors, "rgb" or "bgr" (OpenCV's); files and PIL
            images carry their own.
        opts: overrides of the checkpoint's configuration, `["TEST.NECK_FEAT", "after"]` or
            `{"TEST.NECK_FEAT": "after"}`.

    Attributes:
        description: weights and options that the features depend on; see `describe_features`.
        cfg: the configuration that the model was rebuilt with.
        cameras: per training data set, the rows of its cameras in the camera table.

    Raises:
        ConfigError, FileNotFoundError, ValueError: see `open_model`; an unknown device or order.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str],
        device: str | torch.device | None = "auto",
        *,
        batch_size: int | None = 64,
        amp: bool = False,
        normalize: bool = True,
        num_workers: int | None = 0,
        channels: str = "rgb",
        opts: Sequence[str] | Mapping[str, Any] = (),
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
        if channels not in CHANNEL_ORDERS:
            raise ValueError(f"channels: {channels!r}; known: {', '.join(CHANNEL_ORDERS)}")
        self.checkpoint = os.fspath(checkpoint)
        with own_globals():
            loaded = open_model(self.checkpoint, opts=opts)
        cfg = loaded.cfg
        name, _, number = str(device or cfg.MODEL.DEVICE).partition(":")
        chosen = choose_device(name, number or cfg.MODEL.DEVICE_ID)
        self.description = describe_features(loaded)
        self.cfg = cfg
        self.cameras = loaded.cameras
        self.batch_size = cfg.TEST.IMS_PER_BATCH if batch_size is None else batch_size
        self.normalize = normalize
        self.num_workers = cfg.DATALOADER.NUM_WORKERS if num_workers is None else num_workers
        self.channels = channels
        self.precision = (
            Precision.of(self.cfg.SOLVER.AMP, chosen) if amp else Precision(None, chosen)
        )
        self.model = loaded.model.to(chosen).eval()
        self._transform = build_level_transform(cfg)
        self._normalize_levels = build_level_normalization(cfg, chosen)

    @cached_property
    def dim(self) -> int:
        """D, measured on a blank image."""
        blank = Image.new("RGB", (8, 8))
        return next(self.stream([blank])).features.shape[1]

    def __call__(
        self,
        images: GivenImage | Iterable[GivenImage],
        camids: Iterable[int] | None = None,
        viewids: Iterable[int] | None = None,
    ) -> Tensor:
        """Features of all images.

        Args:
            images: N images, one image, or a batch as one four-dimensional array or tensor.
            camids: (N,) rows in the camera table of a model with side information: the camera in
                its data set plus `cameras[data set].start`; -1 = unknown. Unknown cameras, or None
                for all, get the mean embedding, as in evaluation on other data sets.
            viewids: (N,) viewpoints, likewise.

        Returns:
            (N, D) float32 on the CPU; (0, D) for an empty list.

        Raises:
            BadImageError: a file cannot be decoded; names it.
            ValueError: wrong kind, type or shape of an image; names its position.
        """
        given = list(_as_many(images))
        with own_defaults():
            features = torch.empty(len(given), self.dim)
            for table in self.stream(given, camids, viewids):
                features[table.indices] = table.features
        return features

    def crops(self, frame: np.ndarray, boxes: Any) -> Tensor:
        """Features of the boxes of a frame, such as a detector's.

        Args:
            frame: (H, W, 3) uint8, in the order of `channels`.
            boxes: (N, 4) left, top, right, bottom in pixels; see `crop_boxes`.

        Returns:
            (N, D) float32 on the CPU, bit-identical to `extractor(list of the boxes' pixels)`.

        Raises:
            ValueError: a box that is not finite or has no pixel of the frame, by number.
        """
        crops = crop_boxes(frame, boxes)
        dataset = self._dataset(_Part(crops, [UNKNOWN] * len(crops), [UNKNOWN] * len(crops)))
        with own_defaults():
            features = torch.empty(len(crops), self.dim)
            for table in self._tables(threaded_batches(dataset, self.batch_size)):
                features[table.indices] = table.features
        return features

    def stream(
        self,
        images: Iterable[GivenImage],
        camids: Iterable[int] | None = None,
        viewids: Iterable[int] | None = None,
        *,
        on_bad_image: str = "error",
    ) -> Iterator[FeatureTable]:
        """Features batch by batch, in bounded memory.

        Args:
            images: a sequence, or any iterable (a generator), consumed one batch at a time.
            camids: one per image, as in `__call__`.
            viewids: likewise.
            on_bad_image: "error", or "skip" to leave out images that cannot be decoded: a table's
                rows belong to its `indices`, and its `bad_images` names the skipped files.

        Yields:
            Tables on the CPU; indices count over all images.

        Raises:
            BadImageError, ValueError: as in `__call__`.
        """
        if on_bad_image not in ON_BAD_IMAGE:
            raise ValueError(f"on_bad_image: {on_bad_image!r}; known: {', '.join(ON_BAD_IMAGE)}")
        skip = on_bad_image == "skip"
        start = 0
        for part in _parts(_as_many(images), camids, viewids, self.batch_size):
            for table in self._extract(part, start, skip=skip):
                yield replace(table, indices=table.indices + start)
            start += len(part.images)

    def _extract(self, part: _Part, start: int, *, skip: bool) -> Iterator[FeatureTable]:
        """Tables for a list of images whose first position is `start`."""
        dataset = self._dataset(part, start, skip=skip)
        batch_bytes = self.batch_size * 3 * math.prod(self.cfg.INPUT.SIZE_TEST)
        several = len(dataset) > self.batch_size
        here = distributed.local_size()
        workers = choose_workers(self.num_workers, batch_bytes, here) if several else 0
        loading = Loading(workers, pin_memory=self.precision.on_cuda)
        # Its own generator, so that torch's global one stays as it is.
        loader = ordered_loader(dataset, self.batch_size, loading, torch.Generator())
        batches = Progress(loader, "features") if len(dataset) > self.batch_size else loader
        try:
            yield from self._tables(batches)
        except BadImageError as error:  # its traceback would keep the workers alive
            raise error.with_traceback(None) from None

    def _dataset(self, part: _Part, start: int = 0, *, skip: bool = False) -> ImageDataset:
        """The images of a part, resized; raises ValueError as `GivenImages.check`."""
        given = GivenImages(_in_main_memory(part.images), self.channels, start)
        given.check()
        ids = zip(part.camids, part.viewids, strict=True)
        samples = [Sample(given.name(i), UNKNOWN, *of_image) for i, of_image in enumerate(ids)]
        labels = [UNKNOWN] * len(samples)
        return ImageDataset(samples, labels, self._transform, source=given, skip_bad_images=skip)

    def _tables(self, batches: Iterable[Batch]) -> Iterator[FeatureTable]:
        """Features of resized images, batch by batch, on the CPU."""
        for table in feature_batches(self._embed, batches, self.precision):
            features = normalize_features(table.features) if self.normalize else table.features
            yield replace(table, features=features.cpu())

    def _embed(self, batch: Batch) -> Tensor:
        images = self._normalize_levels(batch.images)
        return self.model.embed(images, batch.camids, batch.viewids)


@dataclass(frozen=True, slots=True)
class _Part:
    """A list of images with their ids."""

    images: Sequence[GivenImage]
    camids: list[int]
    viewids: list[int]


def _in_main_memory(images: Sequence[GivenImage]) -> Sequence[GivenImage]:
    """The images, those on a device copied: worker processes cannot use it."""
    if any(isinstance(image, Tensor) and image.device.type != "cpu" for image in images):
        return [image.cpu() if isinstance(image, Tensor) else image for image in images]
    return images


def _as_many(images: GivenImage | Iterable[GivenImage]) -> Iterable[GivenImage]:
    """One image, or a batch in one array, as a list."""
    if isinstance(images, str | os.PathLike | bytes | io.BytesIO | Image.Image):
        return [images]
    if isinstance(images, np.ndarray | Tensor):
        return [images] if images.ndim < 4 else list(images)
    return images


def _parts(
    images: Iterable[GivenImage],
    camids: Iterable[int] | None,
    viewids: Iterable[int] | None,
    size: int,
) -> Iterator[_Part]:
    """A sequence as one part; any other iterable in parts of `size` images."""
    if isinstance(images, Sequence):
        yield _Part(images, _ids("camids", camids, images), _ids("viewids", viewids, images))
        return
    remaining = iter(Progress(images, "features", "images"))
    columns = [None if ids is None else iter(ids) for ids in (camids, viewids)]
    while chosen := list(islice(remaining, size)):
        taken = [None if ids is None else islice(ids, len(chosen)) for ids in columns]
        yield _Part(chosen, _ids("camids", taken[0], chosen), _ids("viewids", taken[1], chosen))


def _ids(name: str, given: Iterable[int] | None, images: Sequence[GivenImage]) -> list[int]:
    """One number per image, UNKNOWN if not given; raises ValueError."""
    if given is None:
        return [UNKNOWN] * len(images)
    try:
        numbers = [operator.index(number) for number in given]
    except TypeError as error:
        raise ValueError(f"{name}: expected one whole number per image ({error})") from error
    if len(numbers) != len(images):
        raise ValueError(f"{name}: {len(numbers)} numbers for {len(images)} images")
    return numbers
