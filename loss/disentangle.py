"""DSGL's irrelevant labels and its contrast with disentangled prototypes (DiseSGL, 2024, code)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from loss.batch_rows import last_of_equal
from loss.instance_bank import InstanceBank

SMALLEST_LENGTH = 1e-12  # of a vector to divide by, as in F.normalize
ROWS_PER_CHUNK = 4096  # images compared with all clusters at once


@torch.no_grad()
def irrelevant_labels(
    features: Tensor, mean_prototypes: Tensor, labels: Tensor, count: int = 2
) -> Tensor:
    """The other clusters each image looks most like: what it shares with them is not its identity.

    Args:
        features: (N, D), unit rows.
        mean_prototypes: (C, D), unit rows.
        labels: (N,) clusters, -1 = outlier.
        count: clusters per image.

    Returns:
        (N, count) int64, most similar first; -1 for outliers.

    Raises:
        ValueError: fewer than count + 1 clusters.
    """
    num_clusters = len(mean_prototypes)
    if num_clusters <= count:
        raise ValueError(
            f"{num_clusters} clusters are too few for {count} irrelevant labels per image; change "
            "DSGL.EPS until there are more, or lower DSGL.ORDERS"
        )
    labels = labels.to(features.device)
    prototypes = mean_prototypes.detach().to(features.device).float()
    parts = []
    for rows, own in zip(
        features.detach().split(ROWS_PER_CHUNK), labels.split(ROWS_PER_CHUNK), strict=True
    ):
        with torch.autocast(features.device.type, enabled=False):
            similarity = rows.float() @ prototypes.T
        similarity.scatter_(1, own.clamp(min=0)[:, None], -torch.inf)
        parts.append(similarity.topk(count, dim=1).indices)
    return torch.where(labels[:, None] >= 0, torch.cat(parts), -1)


def disentangled_loss(
    features: Tensor,
    labels: Tensor,
    irrelevant: Tensor,
    bank: InstanceBank,
    prototypes: Tensor,
    temperature: float = 0.05,
    mix: float = 0.5,
    *,
    faithful: bool = False,
) -> Tensor:
    """Contrast of images with prototypes that differ in what their clusters have in common.

    For an image f of cluster y with irrelevant labels r_a, a = 1..k, and the prototypes U:
    p_a is the mean feature of cluster y without the images whose label is r_a too, n_ac that of the
    images of another cluster c that share r_a; where there is none, U_y and the single U_{r_a}.

        L = -log( e^{z_y} / (sum_c e^{z_c} + mix/k sum_{a,c} e^{f . norm(n_ac) / T}) )

    z_c = f . U_c / T and z_y = f . norm((1 - mix) U_y + mix/k sum_a p_a) / T. Computed with
    logsumexp in float32.

    Args:
        features: (B, D), unit rows, with gradient.
        labels: (B,).
        irrelevant: (B, k) of these images; uses the bank's first k columns.
        bank: without gradient; not changed.
        prototypes: (C, D), unit rows, without gradient: the memory's means.
        temperature: T.
        mix: in 0..1 without 0.
        faithful: the published form, in which the mixed row of y, that of the last image of the
            cluster in the batch, stands in U for all images.

    Returns:
        Scalar, mean over the batch.

    Raises:
        ValueError: `mix` out of range.
    """
    if not 0 < mix <= 1:
        raise ValueError(f"disentangled loss: expected a mix above 0 and up to 1, got {mix}")
    orders = irrelevant.shape[1]
    prototypes = prototypes.detach().float()
    with torch.autocast(features.device.type, enabled=False):
        features = features.float()
        positives = torch.stack(
            [
                positive_prototypes(bank, prototypes, labels, irrelevant[:, a], a)
                for a in range(orders)
            ]
        )
        mixed = F.normalize((1 - mix) * prototypes[labels] + mix * positives.mean(0))
        if faithful:
            table = prototypes.clone()
            table[labels] = mixed[last_of_equal(labels)]
            logits = features @ table.T / temperature
        else:
            own = (features * mixed).sum(1, keepdim=True) / temperature
            logits = (features @ prototypes.T / temperature).scatter(1, labels[:, None], own)
        terms = [logits]
        for a in range(orders):
            pushed = _negative_similarity(features, labels, irrelevant[:, a], bank, prototypes, a)
            terms.append(pushed / temperature + math.log(mix / orders))
        share = logits.gather(1, labels[:, None])[:, 0] - torch.cat(terms, dim=1).logsumexp(1)
    return -share.mean()


def positive_prototypes(
    bank: InstanceBank, prototypes: Tensor, labels: Tensor, irrelevant: Tensor, column: int
) -> Tensor:
    """(B, D) of `bank.positives`, the cluster's own prototype where there is none."""
    means, found = bank.positives(labels, irrelevant, column)
    return torch.where(found[:, None], means, prototypes[labels])


def _negative_similarity(
    features: Tensor,
    labels: Tensor,
    irrelevant: Tensor,
    bank: InstanceBank,
    prototypes: Tensor,
    column: int,
) -> Tensor:
    """(B, G' + 1) cosines to the negatives, -inf where one is not the image's own.

    The last column is the prototype that takes the place of missing negatives.
    """
    negatives = bank.negatives(labels, irrelevant, column)
    lengths = torch.linalg.vector_norm(negatives.means, dim=1).clamp(min=SMALLEST_LENGTH)
    similarity = features @ negatives.means.T / lengths
    similarity = similarity.masked_fill(~negatives.mine, -torch.inf)
    missing = ~negatives.mine.any(1)
    instead = (features * prototypes[irrelevant]).sum(1).masked_fill(~missing, -torch.inf)
    return torch.cat([similarity, instead[:, None]], dim=1)
