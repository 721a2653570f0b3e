"""Retrieval features of any images, from a checkpoint alone."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from datasets.images.build import build_evaluation_transform
from datasets.images.dataset import ImageDataset, ordered_loader
from datasets.images.decode import BadImageError
from datasets.images.given import CHANNEL_ORDERS, GivenImage, GivenImages
from datasets.records import Batch, Sample
from processor.checkpoints.load import describe_features, open_model
from processor.features import FeatureTable, feature_batches
from processor.metrics.normalize import normalize_features
from processor.runtime.device import choose_device
from processor.runtime.precision import Precision

UNKNOWN = -1
ON_BAD_IMAGE = ("error", "skip")


class Extractor:
    """Images to retrieval features, preprocessed as the checkpoint's evaluation does.

    Call it with a list of images, or one: paths, PIL images, arrays, tensors (see `GivenImage`), of
    any sizes and mixed. `stream` takes more images than fit the memory.

        extractor = Extractor("runs/demo/last.pth")
        features = extractor(["a.jpg", "b.png"])  # (2, D) float32, on the CPU, rows of length 1
        distances = torch.cdist(features, features)

    Args:
        checkpoint: the file; CLIP's own weights and a configuration are not needed.
        device: auto | cpu | cuda | cuda:1 | mps; None = as MODEL.DEVICE says.
        batch_size: images that go through the model at once; None = TEST.IMS_PER_BATCH.
        amp: compute as the checkpoint's SOLVER.AMP says; False = in float32.
        normalize: scale every row to length 1.
        num_workers: processes that decode images; 0 = this one, None = DATALOADER.NUM_WORKERS.
            Where processes are spawned (Windows, macOS) the caller's script needs its
            `if __name__ == "__main__":`.
        channels: order of the channels in arrays and tensors, "rgb" or "bgr" (OpenCV's); files and
            PIL images know theirs.
        opts: overrides `KEY VALUE ...` of the checkpoint's configuration, such as TEST.NECK_FEAT.

    Attributes:
        description: what the features depend on besides the images; see `describe_features`.
        cfg: the configuration that the model was rebuilt with.
        cameras: per data set it was trained on, the rows of its cameras in the camera table.

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
        opts: Sequence[str] = (),
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
        if channels not in CHANNEL_ORDERS:
            raise ValueError(f"channels: {channels!r}; known: {', '.join(CHANNEL_ORDERS)}")
        self.checkpoint = os.fspath(checkpoint)
        loaded = open_model(self.checkpoint, opts=list(opts))
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
        self._transform = build_evaluation_transform(self.cfg)

    @cached_property
    def dim(self) -> int:
        """D, found by a blank image."""
        blank = Image.new("RGB", (8, 8))
        return next(self.stream([blank])).features.shape[1]

    def __call__(
        self,
        images: GivenImage | Iterable[GivenImage],
        camids: Iterable[int] | None = None,
        viewids: Iterable[int] | None = None,
    ) -> Tensor:
        """Features of all images, or an error.

        Args:
            images: N of them, or one, or a batch as one array or tensor of four dimensions.
            camids: (N,) rows of the camera table of a model with side information: the camera in
                its data set plus `cameras[data set].start`; -1 where unknown. None = all unknown,
                which takes the table's mean embedding, as evaluation on other data sets does.
            viewids: (N,) viewpoints, likewise.

        Returns:
            (N, D) float32 on the CPU; (0, D) of an empty list.

        Raises:
            BadImageError: names a file that cannot be decoded.
            ValueError: names the position of an image of a wrong kind, type or shape.
        """
        given = list(_as_many(images))
        features = torch.empty(len(given), self.dim)
        for table in self.stream(given, camids, viewids):
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
        """Features of a batch at a time; files of later batches are not read, or in advance only.

        Args:
            images: a sequence, or any iterable (a generator) that is asked for a batch at a time.
            camids: as many numbers as images, as in a call.
            viewids: likewise.
            on_bad_image: "error", or "skip" to leave images out that cannot be decoded: the rows of
                a table are those of its `indices`, and `bad_images` names the others.

        Yields:
            Tables on the CPU; indices count from the first image of all.

        Raises:
            BadImageError, ValueError: as in a call.
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
        """Tables of images in a list; `start` is the position of the first of them."""
        given = GivenImages(part.images, self.channels, start)
        given.check()
        ids = zip(part.camids, part.viewids, strict=True)
        samples = [Sample(given.name(i), UNKNOWN, *of_image) for i, of_image in enumerate(ids)]
        dataset = ImageDataset(
            samples,
            [UNKNOWN] * len(samples),
            self._transform,
            pictures=given,
            skip_bad_images=skip,
        )
        loader = ordered_loader(
            dataset,
            self.batch_size,
            self.num_workers if len(samples) > self.batch_size else 0,
            pin_memory=self.precision.on_cuda,
        )
        quiet = None if len(samples) > self.batch_size else True
        batches = tqdm(loader, desc="features", leave=False, disable=quiet)
        try:
            for table in feature_batches(self._embed, batches, self.precision):
                features = normalize_features(table.features) if self.normalize else table.features
                yield replace(table, features=features.cpu())
        except BadImageError as error:  # its traceback refers to it, and holds on to the workers
            raise error.with_traceback(None) from None

    def _embed(self, batch: Batch) -> Tensor:
        return self.model.embed(batch.images, batch.camids, batch.viewids)


@dataclass(frozen=True, slots=True)
class _Part:
    """Images in a list, with their ids."""

    images: Sequence[GivenImage]
    camids: list[int]
    viewids: list[int]


def _as_many(images: GivenImage | Iterable[GivenImage]) -> Iterable[GivenImage]:
    """One image as a list of it, a batch in one array as a list."""
    if isinstance(images, str | os.PathLike | Image.Image):
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
    """A sequence as it is; of any other iterable `size` images at a time."""
    if isinstance(images, Sequence):
        yield _Part(images, _ids("camids", camids, images), _ids("viewids", viewids, images))
        return
    remaining = iter(tqdm(images, desc="features", leave=False, disable=None, unit=" images"))
    columns = [None if ids is None else iter(ids) for ids in (camids, viewids)]
    while chosen := list(islice(remaining, size)):
        taken = [None if ids is None else islice(ids, len(chosen)) for ids in columns]
        yield _Part(chosen, _ids("camids", taken[0], chosen), _ids("viewids", taken[1], chosen))


def _ids(name: str, given: Iterable[int] | None, images: Sequence[GivenImage]) -> list[int]:
    """One number per image; raises ValueError."""
    if given is None:
        return [UNKNOWN] * len(images)
    numbers = [operator.index(number) for number in given]
    if len(numbers) != len(images):
        raise ValueError(f"{name}: {len(numbers)} numbers for {len(images)} images")
    return numbers
