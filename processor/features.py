"""Features of many images."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

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
) -> FeatureTable:
    """Run an encoder over all batches of a loader.

    Args:
        encode: (B, 3, H, W) batch on the device -> (B, D).
        loader: yields every image once, in order.
        precision: device and number format.
        title: of the progress bar, shown on a terminal only.
        stop: a request to stop that is looked at between batches.

    Raises:
        Interrupted: a stop was requested.
        ValueError: no image could be read.
    """
    features, indices, bad = [], [], []
    for batch in tqdm(loader, desc=title, leave=False, disable=None):
        bad += batch.bad_images
        if len(batch):
            with precision.autocast():
                features.append(encode(batch.to(precision.device)).float())
            indices.append(batch.indices)
        if stop is not None and stop.requested:  # before a slow loader is waited for
            raise Interrupted
    for path in bad:
        logger.warning("%s: skipped the broken image %s", title, path)
    if bad:
        logger.warning("%s: %d broken images skipped", title, len(bad))
    if not features:
        raise ValueError(f"{title}: no image could be read")
    return FeatureTable(torch.cat(features), torch.cat(indices), tuple(bad))
