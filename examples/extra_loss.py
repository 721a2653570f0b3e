"""Two losses of your own.

python train_clipreid.py --config_file configs/demo/vit_tiny.yml PLUGINS examples/extra_loss.py \
    MODEL.EXTRA_LOSSES length,0.1,cosine,0.5 USER.SCALE 16
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipreid.plugins import LossOptions, register_loss


@register_loss("length")
def length_loss(features: Tensor, labels: Tensor) -> Tensor:
    """Mean squared deviation of the features' length from 1."""
    return (features.norm(dim=1) - 1).square().mean()


class CosineClassifier(nn.Module):
    """Cross-entropy over cosines between features and one learned direction per identity."""

    def __init__(self, num_classes: int, width: int, scale: float) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(num_classes, width))
        self.scale = scale

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """(B, D) features and (B,) labels -> scalar."""
        cosines = F.linear(F.normalize(features), F.normalize(self.directions))
        return F.cross_entropy(self.scale * cosines, labels)


@register_loss("cosine", factory=True)
def make_cosine(options: LossOptions) -> nn.Module:
    """Made once per stage, as it needs the number of identities."""
    return CosineClassifier(options.num_classes, options.width, options.user.get("SCALE", 16.0))
