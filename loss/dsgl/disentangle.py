"""DSGL's irrelevant labels and its disentangled contrastive loss (DiseSGL, 2024, code)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from loss.dsgl.batch_rows import last_of_equal
from loss.dsgl.comparison import SMALLEST_LENGTH, ComparedOrder, Comparison, compare
from loss.dsgl.instance_bank import InstanceBank

ROWS_PER_CHUNK = 4096  # images compared with all clusters per chunk


@torch.no_grad()
def irrelevant_labels(
    features: Tensor, mean_prototypes: Tensor, labels: Tensor, count: int = 2
) -> Tensor:
    """The other clusters that each image resembles most; shared traits do not tell identity.

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
            f"{num_clusters} clusters are too few for {count} irrelevant labels per image; adjust "
            "DSGL.EPS to get more clusters, or lower DSGL.ORDERS"
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
    """Contrast images with prototypes freed of the traits that clusters share.

    For an image f of cluster y with irrelevant labels r_a, a = 1..k, and the prototypes U:
    p_a is the mean feature of cluster y, excluding images whose label is also r_a (U_y if none
    remains); n_ac is the mean feature of the images of another cluster c that share r_a (the
    single U_{r_a} if there is none).

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
        mix: above 0, at most 1.
        faithful: the published form: in U, the mixed row of y is that of the cluster's last image
            in the batch, for all images.

    Returns:
        Scalar, mean over the batch.

    Raises:
        ValueError: `mix` out of range.
    """
    compared = compare(features, labels, irrelevant, bank, prototypes)
    return contrast_disentangled(compared, temperature, mix, faithful=faithful)


def contrast_disentangled(
    compared: Comparison, temperature: float = 0.05, mix: float = 0.5, *, faithful: bool = False
) -> Tensor:
    """`disentangled_loss` of an already compared batch."""
    if not 0 < mix <= 1:
        raise ValueError(f"DSGL.TAU_DIS: the mix must be above 0 and at most 1, got {mix}")
    features, labels, prototypes = compared.features, compared.labels, compared.prototypes
    with torch.autocast(features.device.type, enabled=False):
        positives = torch.stack([order.positives for order in compared.orders])
        mixed = F.normalize((1 - mix) * prototypes[labels] + mix * positives.mean(0))
        if faithful:
            table = prototypes.clone()
            table[labels] = mixed[last_of_equal(labels)]
            cosines = features @ table.T
        else:
            own = (features * mixed).sum(1, keepdim=True)
            cosines = compared.cosines.scatter(1, labels[:, None], own)
        weight = math.log(mix / len(compared.orders))
        logits = [cosines / temperature]
        for order in compared.orders:
            pushed = _negative_cosines(compared.cosines, order)
            logits.append(pushed / temperature + weight)
        own = logits[0].gather(1, labels[:, None])[:, 0]
        return (torch.cat(logits, dim=1).logsumexp(1) - own).mean()


def _negative_cosines(cosines: Tensor, order: ComparedOrder) -> Tensor:
    """(B, G' + 1) cosines to the negatives, -inf for other images' negatives.

    The last column is the prototype that replaces missing negatives.
    """
    mine = order.negatives.of_images(len(cosines))
    lengths = order.negatives.lengths.clamp(min=SMALLEST_LENGTH)
    similarity = (order.products / lengths).masked_fill(~mine, -torch.inf)
    instead = cosines.gather(1, order.irrelevant[:, None])
    return torch.cat([similarity, instead.masked_fill(mine.any(1)[:, None], -torch.inf)], dim=1)
