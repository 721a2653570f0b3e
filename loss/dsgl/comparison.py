"""Images against the prototypes that DSGL's losses put together, computed once for all of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from loss.dsgl.instance_bank import InstanceBank, NegativePrototypes

SMALLEST_LENGTH = 1e-12  # of a vector to divide by, as in F.normalize


@dataclass(frozen=True, slots=True)
class ComparedOrder:
    """B images and one irrelevant label r of each.

    Attributes:
        irrelevant: (B,) r.
        positives: (B, D) mean feature of the image's cluster y without the images whose label is r
            too; y's prototype where there is none.
        negatives: mean features of the images of other clusters that share r.
        products: (B, G') dot products with all negatives, with gradient; not all are the image's.
    """

    irrelevant: Tensor
    positives: Tensor
    negatives: NegativePrototypes
    products: Tensor


@dataclass(frozen=True, slots=True)
class Comparison:
    """B images with what they are compared with, in float32.

    Attributes:
        features: (B, D), unit rows, with gradient.
        labels: (B,) clusters.
        prototypes: (C, D), unit rows, without gradient.
        cosines: (B, C) of features and prototypes, with gradient.
        orders: one for each irrelevant label.
    """

    features: Tensor
    labels: Tensor
    prototypes: Tensor
    cosines: Tensor
    orders: tuple[ComparedOrder, ...]


def compare(
    features: Tensor,
    labels: Tensor,
    irrelevant: Tensor,
    bank: InstanceBank,
    prototypes: Tensor,
    *,
    first_column: bool = False,
) -> Comparison:
    """Compare a batch with the prototypes and with means of the bank's features.

    Args:
        features: (B, D), unit rows, with gradient.
        labels: (B,).
        irrelevant: (B, k) of these images.
        bank: without gradient; not changed.
        prototypes: (C, D), unit rows, without gradient: the memory's means.
        first_column: the bank's first irrelevant label counts for all k, as in the published
            relative entropy; otherwise each has its own.
    """
    prototypes = prototypes.detach().float()
    orders = []
    with torch.autocast(features.device.type, enabled=False):
        features = features.float()
        for a, shared in enumerate(irrelevant.T):
            column = 0 if first_column else a
            means, found = bank.positives(labels, shared, column)
            positives = torch.where(found[:, None], means, prototypes[labels])
            negatives = bank.negatives(labels, shared, column)
            orders.append(ComparedOrder(shared, positives, negatives, features @ negatives.means.T))
        cosines = features @ prototypes.T
    return Comparison(features, labels, prototypes, cosines, tuple(orders))
