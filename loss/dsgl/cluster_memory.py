"""Memories of cluster prototypes (Cluster-Contrast, ACCV 2022; DiseSGL, 2024, code)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from loss.dsgl.batch_rows import add_rows, first_of_equal, moved
from loss.dsgl.disentangle import disentangled_loss
from loss.dsgl.instance_bank import InstanceBank

KINDS = ("CM", "CMhard", "DLhybrid", "DLhybrid_v2")
LOSS_ON = ("hard", "mean", "both")
SMOOTHING = 0.1
CLUSTERS_PER_SHARE = 50  # C / 50 clusters share the smoothed part of the target
DISENTANGLED_MIX = 0.2  # of DLhybrid_v2


class ClusterMemory(nn.Module):
    """Prototypes of C clusters: the loss reads them, `update` moves them after the optimizer step.

    CM and CMhard have one set of rows, returned by both `hard` and `mean`; DLhybrid and
    DLhybrid_v2 have two. A row becomes norm(momentum * row + (1 - momentum) * x), where x is
        CM: each image of the cluster in turn, in batch order;
        CMhard, and `hard`: the image of the cluster least similar to the row;
        `mean`: the mean of the cluster's images in the batch.

    Args:
        prototypes: (C, D) cluster centroids; normalized here.
        temperature: T of the logits f . row / T.
        momentum: weight of the old row, 0..1.
        loss_on: rows in the cross-entropy: "hard" (as published for Market-1501), "mean" (as
            published for MSMT17) or "both", weighted.
        kind: one of KINDS.
        hard_weight: weight of `hard` if the loss is on both.
        smoothing: smooth the target like the original's `--smooth`; see `smoothed_loss`.

    Raises:
        ValueError: unknown `kind` or `loss_on`, or constants out of range.
    """

    prototypes: Tensor  # (2 or 1, C, D) float32

    def __init__(
        self,
        prototypes: Tensor,
        temperature: float = 0.05,
        momentum: float = 0.1,
        loss_on: str = "hard",
        *,
        kind: str = "DLhybrid",
        hard_weight: float = 0.5,
        smoothing: bool = False,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"DSGL.MEMORY: unknown {kind!r}; known: {', '.join(KINDS)}")
        if loss_on not in LOSS_ON:
            raise ValueError(f"DSGL.MEM_LOSS: unknown {loss_on!r}; known: {', '.join(LOSS_ON)}")
        if temperature <= 0 or not 0 <= momentum <= 1:
            raise ValueError(
                f"DSGL.TEMPERATURE must be above 0 (got {temperature}), DSGL.MOMENTUM in 0..1 "
                f"(got {momentum})"
            )
        self.temperature = temperature
        self.momentum = momentum
        self.kind = kind
        self._hard_share = {"hard": 1.0, "mean": 0.0, "both": hard_weight}[loss_on]
        self._smoothing = smoothing
        rows = F.normalize(prototypes.detach().float())
        self.register_buffer("prototypes", rows.repeat(2 if "hybrid" in kind else 1, 1, 1))

    @property
    def hard(self) -> Tensor:
        """(C, D) unit rows."""
        return self.prototypes[0]

    @property
    def mean(self) -> Tensor:
        """(C, D) unit rows."""
        return self.prototypes[-1]

    def forward(
        self,
        features: Tensor,
        labels: Tensor,
        irrelevant: Tensor | None = None,
        bank: InstanceBank | None = None,
    ) -> Tensor:
        """Cross-entropy over the clusters in float32, with gradients for the features only.

        DLhybrid_v2 uses `disentangled_loss` with mix 0.2 instead.

        Args:
            features: (B, D), unit rows.
            labels: (B,) clusters; in main memory, no GPU is waited for.
            irrelevant: (B, orders), for DLhybrid_v2; likewise.
            bank: for DLhybrid_v2.

        Raises:
            ValueError: DLhybrid_v2 without irrelevant labels and bank.
        """
        if self.kind != "DLhybrid_v2":
            return self._weigh(lambda rows: self._contrast(features, labels, rows))
        if irrelevant is None or bank is None:
            raise ValueError("DSGL.MEMORY DLhybrid_v2 needs irrelevant labels and the bank")
        return self._weigh(
            lambda rows: disentangled_loss(
                features, labels, irrelevant, bank, rows, self.temperature, DISENTANGLED_MIX
            )
        )

    def _weigh(self, loss: Callable[[Tensor], Tensor]) -> Tensor:
        """The weighted loss over both sets of rows, or over the one that has all the weight."""
        share = self._hard_share
        if share in (0, 1):
            return loss(self.hard if share else self.mean)
        return share * loss(self.hard) + (1 - share) * loss(self.mean)

    def _contrast(self, features: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            logits = features.float() @ rows.T / self.temperature  # rows change before backward
        labels = moved(labels, features.device)
        return smoothed_loss(logits, labels) if self._smoothing else F.cross_entropy(logits, labels)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Move the rows of the batch's clusters; with several processes, gather the batch first.

        Args:
            features: (B, D), unit rows, as the loss saw them.
            labels: (B,).
        """
        features = features.detach().float()
        if self.kind == "CM":
            for feature, label in zip(features, labels.tolist(), strict=True):
                self.hard[label] = self._moved(self.hard[label], feature)
            return
        hardest = features[_least_similar(features, labels, self.hard)]
        self.hard[labels] = self._moved(self.hard[labels], hardest)
        if len(self.prototypes) == 2:
            means = _cluster_means(features, labels)
            self.mean[labels] = self._moved(self.mean[labels], means)

    def _moved(self, rows: Tensor, towards: Tensor) -> Tensor:
        return F.normalize(self.momentum * rows + (1 - self.momentum) * towards, dim=-1)


def smoothed_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with 0.9 on the label and 0.1 shared by the k = C / 50 most probable clusters.

    Args:
        logits: (B, C) float32.
        labels: (B,).

    Returns:
        Scalar; with k of 0 or 1 all clusters share the 0.1.
    """
    log_shares = logits.log_softmax(1)
    num_shares = logits.shape[1] // CLUSTERS_PER_SHARE
    spread = log_shares.topk(num_shares, dim=1).values if num_shares > 1 else log_shares
    own = log_shares.gather(1, labels[:, None])[:, 0]
    return -((1 - SMOOTHING) * own + SMOOTHING * spread.mean(1)).mean()


def _least_similar(features: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
    """(B,) position of the image least similar to its cluster's row; the first one on ties."""
    similarity = (features * rows[labels]).sum(1)
    same = labels[:, None] == labels[None, :]
    similarity = torch.where(same, similarity, torch.inf)  # row b: the images of b's cluster
    lowest = similarity == similarity.amin(1, keepdim=True)
    places = torch.arange(len(labels), device=labels.device)
    return torch.where(lowest, places, len(labels)).amin(1)


def _cluster_means(features: Tensor, labels: Tensor) -> Tensor:
    """(B, D) mean over each image's cluster; images of one cluster get bit-identical rows."""
    first = first_of_equal(labels)
    sums = torch.zeros_like(features)
    add_rows(sums, first, features)
    counts = (labels[:, None] == labels[None, :]).sum(1)  # bincount would wait for a GPU
    return sums[first] / counts[:, None]
