"""DSGL's consistency of two images of a cluster (DiseSGL, 2024, code)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from loss.disentangle import SMALLEST_LENGTH, positive_prototypes
from loss.instance_bank import InstanceBank, NegativePrototypes


@dataclass(frozen=True, slots=True)
class _Guidance:
    """What moves the prototypes for the images of a batch."""

    labels: Tensor  # (B,)
    pull: Tensor  # (B, D) positive prototypes
    push: NegativePrototypes
    positive_mix: float
    negative_mix: float


def relative_entropy_loss(  # noqa: PLR0913
    features: Tensor,
    positives: Tensor,
    labels: Tensor,
    irrelevant: Tensor,
    bank: InstanceBank,
    prototypes: Tensor,
    temperature: float = 0.05,
    positive_mix: float = 0.8,
    negative_mix: float = 0.1,
    *,
    faithful: bool = False,
    detach: bool = False,
) -> Tensor:
    """KL(p || q) between two images of a cluster, one of which sees guided prototypes.

    q = softmax(g U^T / T) of the second image g. p = softmax(f G_a^T / T) of the first, for each of
    its k irrelevant labels: G_a is U with, in row y, norm((1 - positive_mix) U_y + positive_mix
    p_a) and, in the row of each cluster c with a negative, norm((1 - negative_mix) U_c +
    negative_mix n_ac); p_a and n_ac are those of `disentangled_loss`, a missing n_ac changes
    nothing. The mean over the k labels counts.

    Args:
        features: (B, D), unit rows, with gradient.
        positives: (B, D), unit rows, with gradient: another image of the same cluster each.
        labels: (B,).
        irrelevant: (B, k) of the first images; uses the bank's first k columns.
        bank: without gradient; not changed.
        prototypes: (C, D), unit rows, without gradient: the memory's means.
        temperature: T.
        positive_mix: weight of the positive prototype in row y.
        negative_mix: weight of a negative prototype in the row of its cluster.
        faithful: the published form: one G for the batch, to which the images' corrections are
            applied one after the other, and the bank's first column for every label.
        detach: no gradient through p.

    Returns:
        Scalar, mean over the batch.
    """
    prototypes = prototypes.detach().float()
    terms = []
    with torch.autocast(features.device.type, enabled=False):
        features = features.float()
        expected = (positives.float() @ prototypes.T / temperature).log_softmax(1)
        plain = features @ prototypes.T
        for a, shared in enumerate(irrelevant.T):
            column = 0 if faithful else a
            guidance = _Guidance(
                labels,
                positive_prototypes(bank, prototypes, labels, shared, column),
                bank.negatives(labels, shared, column),
                positive_mix,
                negative_mix,
            )
            if faithful:
                similarity = features @ _guide_in_turn(prototypes, guidance).T
            else:
                similarity = _guide_each(features, plain, prototypes, guidance)
            guided = (similarity / temperature).log_softmax(1)
            guided = guided.detach() if detach else guided
            terms.append((guided.exp() * (guided - expected)).sum(1).mean())
    return torch.stack(terms).mean()


def _guide_each(features: Tensor, plain: Tensor, prototypes: Tensor, guide: _Guidance) -> Tensor:
    """(B, C) cosines of each image to the prototypes as its own guidance moves them.

    The few that differ replace those of `plain`, the cosines to the prototypes as they are.
    """
    pull = F.normalize(torch.lerp(prototypes[guide.labels], guide.pull, guide.positive_mix))
    own = (features * pull).sum(1, keepdim=True)
    push, share = guide.push, guide.negative_mix
    image, group = push.mine.nonzero(as_tuple=True)
    cluster = push.clusters[group]
    # The moved rows are never made: their products and lengths follow from those of their parts.
    moved = torch.lerp(plain[image, cluster], (features @ push.means.T)[image, group], share)
    guided = plain.index_put(
        (image, cluster), moved / _mixed_lengths(prototypes, push, share)[group]
    )
    return guided.scatter(1, guide.labels[:, None], own)


def _mixed_lengths(prototypes: Tensor, push: NegativePrototypes, share: float) -> Tensor:
    """(G',) lengths of (1 - share) U_c + share n for all negatives n, U_c of unit length."""
    cosines = torch.einsum("gd,gd->g", prototypes[push.clusters], push.means)
    squares = torch.einsum("gd,gd->g", push.means, push.means)
    total = (1 - share) ** 2 + 2 * share * (1 - share) * cosines + share**2 * squares
    return total.clamp(min=0).sqrt().clamp(min=SMALLEST_LENGTH)


def _guide_in_turn(prototypes: Tensor, guide: _Guidance) -> Tensor:
    """(C, D) prototypes moved by the guidance of all images, one after the other."""
    table = prototypes.clone()
    push = guide.push
    for i, (label, mine) in enumerate(zip(guide.labels.tolist(), push.mine, strict=True)):
        table[label] = F.normalize(
            torch.lerp(table[label], guide.pull[i], guide.positive_mix), dim=0
        )
        clusters = push.clusters[mine]  # each at most once
        rows = torch.lerp(table[clusters], push.means[mine], guide.negative_mix)
        table[clusters] = F.normalize(rows)
    return table
