"""The one extraction loop: features of many images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datasets.records import Batch
from processor.runtime import distributed, gathering
from processor.runtime.precision import Precision
from processor.runtime.progress import Progress
from processor.runtime.signals import Interrupted, StopRequest, stop_between_steps

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Features of a data set's images, in its order.

    Attributes:
        features: (N, D) float32 on the model's device.
        indices: (N,) positions in the data set; skipped broken images are missing.
        bad_images: the files that were skipped.
    """

    features: Tensor
    indices: Tensor
    bad_images: tuple[str, ...] = ()


def extract_features(
    encode: Callable[[Batch], Tensor],
    loader: Callable[[range], DataLoader[Batch]],
    num_images: int,
    precision: Precision,
    *,
    title: str,
    stop: StopRequest | None = None,
) -> FeatureTable:
    """Run an encoder over images; several processes share the work, and each gets the whole table.

    Rows are written into one tensor, allocated after the first batch, so that there is never a
    second copy of the features.

    Args:
        encode: (B, 3, H, W) batch on the device -> (B, D); may raise for a D that is too large,
            as memory for all rows is allocated after the first batch.
        loader: yields consecutive images in order; its indices count from the first of them.
        num_images: N.
        precision: device and number format.
        title: names the work in progress and warnings.
        stop: a request to stop, checked between batches.

    Raises:
        Interrupted: a stop was requested.
        ValueError: no image could be read.
    """
    own = distributed.share(num_images)
    rows = _Rows(len(own))
    table = _extract(encode, loader(own), rows, precision, title, stop)
    if stop is not None and stop.agree():
        raise Interrupted(stop.signal)
    if distributed.size() > 1:
        table = _gather_tables(table, own.start)
    for path in table.bad_images:
        logger.warning("%s: skipped the broken image %s", title, path)
    if table.bad_images:
        logger.warning("%s: %d broken images skipped", title, len(table.bad_images))
    if not len(table.indices):
        raise ValueError(f"{title}: no image could be read")
    return table


def _extract(
    encode: Callable[[Batch], Tensor],
    loader: DataLoader[Batch],
    rows: _Rows,
    precision: Precision,
    title: str,
    stop: StopRequest | None,
) -> FeatureTable:
    """Features of this process's images, or of the first ones if a stop was requested."""
    indices = [torch.empty(0, dtype=torch.long)]
    bad: list[str] = []
    for table in feature_batches(encode, Progress(loader, title), precision):
        bad += table.bad_images
        if len(table.indices):
            rows.append(table.features)
        indices.append(table.indices)
        if stop is not None and stop.requested:  # before waiting for a slow loader
            break
    features = rows.filled().to(precision.device)
    return FeatureTable(features, torch.cat(indices), tuple(bad))


def feature_batches(
    encode: Callable[[Batch], Tensor], batches: Iterable[Batch], precision: Precision
) -> Iterator[FeatureTable]:
    """Features batch by batch; (0, 0) for a batch without a readable image.

    Args:
        encode: (B, 3, H, W) batch on the device -> (B, D).
        batches: of images.
        precision: device and number format.

    Raises:
        Interrupted: the program was asked to stop; the batches so far have been used.
    """
    with stop_between_steps() as check:
        for batch in batches:
            features = torch.empty(0, 0)
            if len(batch):
                with torch.no_grad(), precision.autocast():
                    features = encode(batch.to(precision.device)).float()
            yield FeatureTable(features, batch.indices, batch.bad_images)
            check()


def ids_of_model(camids: Tensor, viewids: Tensor, cameras: range | None) -> tuple[Tensor, Tensor]:
    """Cameras and viewpoints of a data set in the model's numbering; -1 = unknown to the model.

    Args:
        camids: (N,) of the data set.
        viewids: (N,).
        cameras: rows of the data set's cameras in the model's camera table; None if the model was
            not trained on the data set.
    """
    unknown = torch.full_like(camids, -1)
    if cameras is None:
        return unknown, unknown
    known = (camids >= 0) & (camids < len(cameras))
    return torch.where(known, camids + cameras.start, unknown), viewids


@torch.no_grad()
def mean_by_label(features: Tensor, labels: Tensor, num_labels: int) -> Tensor:
    """(N, D) features of images with (N,) labels -> (I, D) means per label.

    Raises:
        ValueError: a label without an image.
    """
    counts = torch.bincount(labels, minlength=num_labels)
    if bool((counts == 0).any()):
        missing = int((counts == 0).nonzero()[0])
        raise ValueError(f"the identity with label {missing} has no readable image")
    sums = features.new_zeros(num_labels, features.shape[1]).index_add_(0, labels, features)
    return sums / counts[:, None]


def _gather_tables(table: FeatureTable, start: int) -> FeatureTable:
    """Concatenate the tables of all processes; this one's images begin at `start`."""
    width = max(distributed.collect(table.features.shape[1]))
    sizes = gathering.all_sizes(table.features)
    features = gathering.gather(table.features.reshape(len(table.indices), width), sizes)
    indices = gathering.gather((table.indices + start).to(features.device), sizes).cpu()
    bad = tuple(path for part in distributed.collect(table.bad_images) for path in part)
    return FeatureTable(features, indices, bad)


@dataclass
class _Rows:
    """A matrix filled from the top."""

    expected: int  # number of rows; more are possible
    _memory: Tensor = field(default_factory=lambda: torch.empty(0, 0), init=False)
    _count: int = field(default=0, init=False)

    def append(self, rows: Tensor) -> None:
        """Add (n, D) rows."""
        end = self._count + len(rows)
        if not self._count:
            self._memory = rows.new_empty(max(self.expected, end), rows.shape[1])
        elif end > len(self._memory):
            self._memory = torch.cat([self._memory, torch.empty_like(self._memory), rows])
        self._memory[self._count : end] = rows
        self._count = end

    def filled(self) -> Tensor:
        """The rows so far."""
        return self._memory[: self._count]
