"""BNNeck and classifier (Luo et al., Bag of Tricks for Person ReID, 2019)."""

from __future__ import annotations

from torch import nn


def build_neck(kind: str, width: int) -> nn.Module:
    """Batch norm with a frozen bias ("bnneck"), or the identity ("no")."""
    if kind == "no":
        return nn.Identity()
    neck = nn.BatchNorm1d(width)
    neck.bias.requires_grad = False
    return neck


def build_classifier(width: int, num_classes: int) -> nn.Linear:
    """Linear layer (C, D) without bias, initialized from a normal with deviation 0.001."""
    classifier = nn.Linear(width, num_classes, bias=False)
    nn.init.normal_(classifier.weight, std=0.001)
    return classifier
