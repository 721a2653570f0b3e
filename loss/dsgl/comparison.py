"""Similarities between images and prototypes, computed once and shared by DSGL's losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from loss.dsgl.batch_rows import moved
from loss.dsgl.instance_bank import InstanceBank, NegativePrototypes

SMALLEST_LENGTH = 1e-12  # of a vector to divide by, as in F.normalize


@dataclass(frozen=True, slots=True)
class ComparedOrder:
    """B images and one irrelevant label r of each.

    Attributes:
        irrelevant: (B,) r.
        positives: (B, D) mean feature of the image's cluster y, excluding images whose label is
            also r; y's prototype if no image remains.
        negatives: mean features of the images of other clusters that share r.
        products: (B, G') dot products with all negatives, also those of other images; with
            gradient.
    """

    irrelevant: Tensor
    positives: Tensor
    negatives: NegativePrototypes
    products: Tensor


@dataclass(frozen=True, slots=True)
class Comparison:
    """B images and their similarities to prototypes, in float32.

    Attributes:
        features: (B, D), unit rows, with gradient.
        labels: (B,) clusters.
        prototypes: (C, D), unit rows, without gradient.
        cosines: (B, C) of features and prototypes, with gradient.
        orders: one per irrelevant label.
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
        labels: (B,); in main memory, no GPU is waited for.
        irrelevant: (B, k) of these images; likewise.
        bank: without gradient; not changed.
        prototypes: (C, D), unit rows, without gradient: the memory's means.
        first_column: use the bank's first column for all k labels, as the published relative
            entropy does; otherwise each label has its own column.
    """
    prototypes = prototypes.detach().float()
    own, others = moved(labels, features.device), moved(irrelevant, features.device)
    orders = []
    with torch.autocast(features.device.type, enabled=False):
        features = features.float()
        for a, shared in enumerate(others.T):
            column = 0 if first_column else a
            means, found = bank.positives(own, shared, column)
            positives = torch.where(found[:, None], means, prototypes[own])
            negatives = bank.negatives(labels, irrelevant[:, a], column)
            orders.append(ComparedOrder(shared, positives, negatives, features @ negatives.means.T))
        cosines = features @ prototypes.T
    return Comparison(features, own, prototypes, cosines, tuple(orders))
