"""An image encoder of your own.

python train.py --config_file configs/demo/vit_tiny_base.yml PLUGINS examples/extra_encoder.py \
    MODEL.NAME tiny_conv MODEL.PRETRAIN_CHOICE none MODEL.PRETRAIN_PATH "" \
    SOLVER.STAGE2.BASE_LR 1e-3
"""

from torch import Tensor, nn

from clipreid.plugins import Backbone, EncoderOptions, ImageEncoder, ImageFeatures, register_encoder


class TinyConv(ImageEncoder):
    """Convolutions of stride 4, 2 and 2, and a linear projection."""

    def __init__(self, image_size: tuple[int, int], width: int = 128, joint: int = 64) -> None:
        super().__init__()
        self.width, self.joint_width = width, joint
        self.grid = (image_size[0] // 16, image_size[1] // 16)
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 4, 4), nn.BatchNorm2d(32), nn.ReLU())
        self.head = nn.Sequential(nn.Conv2d(32, 64, 2, 2), nn.ReLU(), nn.Conv2d(64, width, 2, 2))
        self.project = nn.Linear(width, joint)

    def forward(self, images: Tensor, side_information: Tensor | None = None) -> ImageFeatures:
        """(B, 3, H, W) images -> features before the head, after it, and projected."""
        stem = self.stem(images)
        final = self.head(stem).mean((2, 3))
        return ImageFeatures(stem.mean((2, 3)), final, self.project(final))

    def maps(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images -> (B, D, H / 16, W / 16), which training without labels pools."""
        return self.head(self.stem(images))


@register_encoder("tiny_conv")
def build_tiny_conv(name: str, options: EncoderOptions) -> Backbone:
    """The encoder with random weights."""
    return Backbone(TinyConv(options.image_size, options.user.get("WIDTH", 128)))
