"""Features of many images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sized
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from datasets.records import Batch
from processor.runtime.precision import Precision
from processor.runtime.signals import Interrupted, StopRequest

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Features of the images of a data set, in its order.

    Attributes:
        features: (N, D) float32 on the model's device.
        indices: (N,) positions in the data set; broken images that were skipped are absent.
        bad_images: the files of those.
    """

    features: Tensor
    indices: Tensor
    bad_images: tuple[str, ...] = ()


@torch.no_grad()
def extract_features(
    encode: Callable[[Batch], Tensor],
    loader: DataLoader[Batch],
    precision: Precision,
    *,
    title: str,
    stop: StopRequest | None = None,
    check_width: Callable[[int], None] | None = None,
) -> FeatureTable:
    """Run an encoder over all batches of a loader.

    The rows are written into one tensor, made when the first batch is through, so that no second
    copy of the features exists at any time.

    Args:
        encode: (B, 3, H, W) batch on the device -> (B, D).
        loader: yields every image once, in order.
        precision: device and number format.
        title: of the progress bar, shown on a terminal only.
        stop: a request to stop that is looked at between batches.
        check_width: is told D before memory for all rows is taken, and may raise.

    Raises:
        Interrupted: a stop was requested.
        ValueError: no image could be read.
    """
    rows, indices, bad = _Rows(_num_images(loader), check_width), [], []
    for batch in tqdm(loader, desc=title, leave=False, disable=None):
        bad += batch.bad_images
        if len(batch):
            with precision.autocast():
                rows.append(encode(batch.to(precision.device)).float())
            indices.append(batch.indices)
        if stop is not None and stop.requested:  # before a slow loader is waited for
            raise Interrupted
    for path in bad:
        logger.warning("%s: skipped the broken image %s", title, path)
    if bad:
        logger.warning("%s: %d broken images skipped", title, len(bad))
    if not indices:
        raise ValueError(f"{title}: no image could be read")
    return FeatureTable(rows.filled(), torch.cat(indices), tuple(bad))


@dataclass
class _Rows:
    """A matrix that is filled from the top."""

    expected: int  # rows to come; more may
    check_width: Callable[[int], None] | None
    _memory: Tensor = field(default_factory=lambda: torch.empty(0, 0), init=False)
    _count: int = field(default=0, init=False)

    def append(self, rows: Tensor) -> None:
        """Add (n, D) rows."""
        end = self._count + len(rows)
        if not self._count:
            if self.check_width is not None:
                self.check_width(rows.shape[1])
            self._memory = rows.new_empty(max(self.expected, end), rows.shape[1])
        elif end > len(self._memory):
            self._memory = torch.cat([self._memory, torch.empty_like(self._memory), rows])
        self._memory[self._count : end] = rows
        self._count = end

    def filled(self) -> Tensor:
        """The rows so far."""
        return self._memory[: self._count]


def _num_images(loader: DataLoader[Batch]) -> int:
    """Images a loader is about to read, 0 where it does not say."""
    dataset = getattr(loader, "dataset", None)
    return len(dataset) if isinstance(dataset, Sized) else 0
