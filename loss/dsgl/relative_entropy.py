"""DSGL's consistency loss between two images of a cluster (DiseSGL, 2024, code)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from loss.dsgl.comparison import SMALLEST_LENGTH, ComparedOrder, Comparison, compare
from loss.dsgl.instance_bank import InstanceBank, NegativePrototypes


def relative_entropy_loss(  # noqa: PLR0913 - a fixed public signature
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
    negative_mix n_ac); p_a and n_ac are those of `disentangled_loss`; without n_ac the row is
    unchanged. The loss is the mean over the k labels.

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
    compared = compare(features, labels, irrelevant, bank, prototypes, first_column=faithful)
    mixes = (positive_mix, negative_mix)
    return compare_predictions(
        compared, positives, temperature, mixes, faithful=faithful, detach=detach
    )


def compare_predictions(
    compared: Comparison,
    positives: Tensor,
    temperature: float = 0.05,
    mixes: tuple[float, float] = (0.8, 0.1),
    *,
    faithful: bool = False,
    detach: bool = False,
) -> Tensor:
    """`relative_entropy_loss` of an already compared batch.

    `mixes` are `positive_mix` and `negative_mix`.
    """
    guide = _guide_in_turn if faithful else _guide_each
    terms = []
    with torch.autocast(positives.device.type, enabled=False):
        expected = (positives.float() @ compared.prototypes.T / temperature).log_softmax(1)
        for order in compared.orders:
            guided = (guide(compared, order, *mixes) / temperature).log_softmax(1)
            guided = guided.detach() if detach else guided
            terms.append((guided.exp() * (guided - expected)).sum(1).mean())
    return torch.stack(terms).mean()


def _guide_each(
    compared: Comparison, order: ComparedOrder, positive_mix: float, negative_mix: float
) -> Tensor:
    """(B, C) cosines of each image to the prototypes moved by its own guidance.

    Only few prototypes move for an image: their cosines replace those to the unmoved ones.
    """
    prototypes, labels, push = compared.prototypes, compared.labels, order.negatives
    pull = F.normalize(torch.lerp(prototypes[labels], order.positives, positive_mix))
    own = (compared.features * pull).sum(1, keepdim=True)
    image, negative = push.image, push.negative
    cluster = push.clusters[negative]
    # Moved rows are never built: their products and lengths follow from those of their parts.
    cosines = compared.cosines
    moved = torch.lerp(cosines[image, cluster], order.products[image, negative], negative_mix)
    moved = moved / _mixed_lengths(prototypes, push, negative_mix)[negative]
    return cosines.index_put((image, cluster), moved).scatter(1, labels[:, None], own)


def _mixed_lengths(prototypes: Tensor, push: NegativePrototypes, share: float) -> Tensor:
    """(G',) lengths of (1 - share) U_c + share n for all negatives n, U_c of unit length."""
    products = (prototypes[push.clusters] * push.means).sum(1)
    kept, added = 1 - share, share * push.lengths
    total = kept**2 + 2 * kept * share * products + added.square()
    return total.clamp(min=0).sqrt().clamp(min=SMALLEST_LENGTH)


def _guide_in_turn(
    compared: Comparison, order: ComparedOrder, positive_mix: float, negative_mix: float
) -> Tensor:
    """(B, C) cosines to prototypes moved by the images of the batch one after the other."""
    table, push = compared.prototypes.clone(), order.negatives
    of_images = push.of_images(len(compared.labels))
    for i, (label, mine) in enumerate(zip(compared.labels.tolist(), of_images, strict=True)):
        pulled = torch.lerp(table[label], order.positives[i], positive_mix)
        table[label] = F.normalize(pulled, dim=0)
        clusters = push.clusters[mine]  # each at most once
        rows = torch.lerp(table[clusters], push.means[mine], negative_mix)
        table[clusters] = F.normalize(rows)
    return compared.features @ table.T
