"""DSGL's consistency of two images of a cluster (DiseSGL, 2024, code)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from loss.disentangle import positive_prototypes
from loss.instance_bank import InstanceBank, NegativePrototypes


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
        for a, shared in enumerate(irrelevant.T):
            column = 0 if faithful else a
            pull = positive_prototypes(bank, prototypes, labels, shared, column)
            push = bank.negatives(labels, shared, column)
            if faithful:
                table = _guide_in_turn(
                    prototypes,
                    labels,
                    pull,
                    push,
                    positive_mix=positive_mix,
                    negative_mix=negative_mix,
                )
                similarity = features @ table.T
            else:
                pull = F.normalize(torch.lerp(prototypes[labels], pull, positive_mix))
                rows = F.normalize(torch.lerp(prototypes[push.clusters], push.means, negative_mix))
                image, group = push.mine.nonzero(as_tuple=True)
                places = (image, push.clusters[group])
                similarity = (features @ prototypes.T).index_put(
                    places, (features @ rows.T)[image, group]
                )
                own = (features * pull).sum(1, keepdim=True)
                similarity = similarity.scatter(1, labels[:, None], own)
            guided = (similarity / temperature).log_softmax(1)
            guided = guided.detach() if detach else guided
            terms.append((guided.exp() * (guided - expected)).sum(1).mean())
    return torch.stack(terms).mean()


def _guide_in_turn(
    prototypes: Tensor,
    labels: Tensor,
    pull: Tensor,
    push: NegativePrototypes,
    *,
    positive_mix: float,
    negative_mix: float,
) -> Tensor:
    """(C, D) prototypes after the corrections of all images, in batch order."""
    table = prototypes.clone()
    for i, (label, mine) in enumerate(zip(labels.tolist(), push.mine, strict=True)):
        table[label] = F.normalize(torch.lerp(table[label], pull[i], positive_mix), dim=0)
        clusters = push.clusters[mine]  # each at most once
        rows = torch.lerp(table[clusters], push.means[mine], negative_mix)
        table[clusters] = F.normalize(rows)
    return table
