"""Any image network of timm as an encoder for ReID."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.models.resnet import ResNet
from torch import Tensor, nn

from model.encoders.image_encoder import ImageEncoder, ImageFeatures
from model.encoders.positions import fit_position_embedding

INNER = "network."  # the part of the encoder that holds timm's network


class TimmNetwork(ImageEncoder):
    """A network of timm without its classifier.

    Features are the network's own input of its classifier and, as `last`, the stage or block before
    the last one: its class token if there is one, else the mean over positions.

    Args:
        network: built for the image size, see `create_network`.
        image_size: (height, width) in pixels.
        last_stride: stride of a ResNet's layer4; no effect on other networks.
        projection: from the final feature to a space shared with text; None = no such space.
        joint_width: E of that space.
        grad_checkpointing: recompute activations in the backward pass.

    Raises:
        ValueError: the network does not take images of this size, or cannot recompute.
    """

    def __init__(
        self,
        network: Any,
        image_size: tuple[int, int],
        *,
        last_stride: int = 2,
        projection: nn.Module | None = None,
        joint_width: int = 0,
        grad_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if last_stride == 1 and isinstance(network, ResNet):
            keep_resolution(network.get_submodule("layer4"))
        if grad_checkpointing:
            enable_checkpointing(network)
        shapes = measure_shapes(network, image_size)
        self.network = network
        self.head = projection
        self.width, self.map_width = shapes.width, shapes.map_width
        self.joint_width = joint_width
        self.grid = shapes.grid
        self.num_prefix_tokens = shapes.num_prefix_tokens
        self._layout = shapes.layout
        self._beside_maps = shapes.beside_maps
        table = getattr(network, "pos_embed", None)
        if isinstance(table, nn.Parameter) and table.ndim == 3:
            self.position_embedding = f"{INNER}pos_embed"

    def forward(self, images: Tensor, side_information: Tensor | None = None) -> ImageFeatures:
        """Pooled features of the last two stages or blocks, and the projected one, if any."""
        del side_information
        features, before = _last_two(self.network, images)
        final = self.network.forward_head(features, pre_logits=True)
        return ImageFeatures(before, final, self.project(final))

    def project(self, final: Tensor) -> Tensor:
        """(B, D) -> (B, E)."""
        if not self.joint_width:
            return final[:, :0]
        head = self.head if self.head is not None else self.network.get_classifier()
        projected: Tensor = head(final)
        return projected

    def maps(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images -> (B, W, rows, columns) output before the network's pooling."""
        features: Tensor = self.network.forward_features(images)
        if self._layout == "NLC":
            patches = features[:, self.num_prefix_tokens :]
            return patches.transpose(1, 2).unflatten(2, self.grid)
        return features.permute(0, 3, 1, 2) if self._layout == "NHWC" else features

    def beside_maps(self) -> Sequence[nn.Parameter]:
        """Parameters of the network's head and of the projection."""
        named = dict(self.named_parameters())
        own = [named[INNER + name] for name in self._beside_maps]
        return own + (list(self.head.parameters()) if self.head is not None else [])

    def cam_layer(self) -> nn.Module | None:
        """The last stage of a network whose features are maps; None for tokens and for NHWC."""
        if self._layout != "NCHW":
            return None
        layer: nn.Module = self.network.get_submodule(self.network.feature_info[-1]["module"])
        return layer

    def published_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Timm's names, and those of the origins that timm itself translates, without classifier.

        The image tower of a CLIP keeps the network below `trunk.`.
        """
        trunk = {key[6:]: tensor for key, tensor in state.items() if key.startswith("trunk.")}
        if trunk:
            head = {key: tensor for key, tensor in state.items() if key.startswith("head.")}
            return {**self.published_state(trunk), **head}
        table = state.get("pos_embed")  # resized later, from any grid
        rest = {key: tensor for key, tensor in state.items() if key != "pos_embed"}
        convert = getattr(sys.modules[type(self.network).__module__], "checkpoint_filter_fn", None)
        if convert is not None and not self._fits(rest):
            rest = dict(convert(rest, self.network))
        if table is not None:
            rest["pos_embed"] = table
        return {INNER + key: tensor for key, tensor in rest.items()}

    def fit_positions(self, table: Tensor) -> Tensor:
        """(1, prefix + patches, D) of another grid, resized to this one."""
        own = self.network.pos_embed
        prefix = own.shape[1] - self.grid[0] * self.grid[1]
        kept, rows = table[0, :prefix], table[0, prefix:]
        # The function keeps one row in front, which is not used here.
        resized = fit_position_embedding(torch.cat([rows[:1], rows]), self.grid)[1:]
        return torch.cat([kept.float(), resized])[None]

    def _fits(self, state: dict[str, Tensor]) -> bool:
        """Whether a state dict has all names and shapes of the network already."""
        own = self.network.state_dict()
        return all(
            name in state and state[name].shape == tensor.shape
            for name, tensor in own.items()
            if name != "pos_embed"
        )


@dataclass(frozen=True, slots=True)
class NetworkShapes:
    """What a network makes of an image.

    Attributes:
        width: D of the final feature.
        map_width: W of the features before pooling.
        grid: (rows, columns) of these features.
        layout: their layout, "NCHW", "NHWC" or "NLC" (tokens).
        num_prefix_tokens: tokens before the patches.
        beside_maps: names of the parameters that these features do not depend on.
    """

    width: int
    map_width: int
    grid: tuple[int, int]
    layout: str
    num_prefix_tokens: int
    beside_maps: tuple[str, ...]


def measure_shapes(network: Any, image_size: tuple[int, int]) -> NetworkShapes:
    """Run a network on torch's meta device, which computes shapes and no numbers.

    Raises:
        ValueError: the network does not take images of this size.
    """
    twin = copy.deepcopy(network).to("meta").train()
    images = torch.zeros(2, 3, *image_size, device="meta")
    try:
        with torch.enable_grad():
            features, stages = twin.forward_intermediates(images, indices=1, norm=False)
            final = twin.forward_head(features, pre_logits=True)
            names, parameters = zip(*twin.named_parameters(), strict=True)
            gradients = torch.autograd.grad(features.sum(), parameters, allow_unused=True)
    except Exception as error:  # every network has its own
        raise ValueError(
            f"INPUT.SIZE_TRAIN: {type(network).__name__} does not take images of "
            f"{list(image_size)} ({error or type(error).__name__}); its own size is "
            f"{list(network.default_cfg['input_size'][1:])}"
        ) from error
    rows, columns = stages[-1].shape[2:]
    layout, prefix = "NCHW", 0
    if features.ndim == 3:
        layout, prefix = "NLC", features.shape[1] - rows * columns
    elif getattr(network, "output_fmt", "NCHW") == "NHWC":
        layout = "NHWC"
    return NetworkShapes(
        width=final.shape[1],
        map_width=features.shape[1] if layout == "NCHW" else features.shape[-1],
        grid=(rows, columns) if layout != "NCHW" else tuple(features.shape[2:]),
        layout=layout,
        num_prefix_tokens=prefix,
        beside_maps=tuple(
            name for name, found in zip(names, gradients, strict=True) if found is None
        ),
    )


def _last_two(network: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features before pooling, and (B, .) of the stage or block before the last."""
    features, stages = network.forward_intermediates(images, indices=2, norm=False)
    return features, stages[0].mean((2, 3))


def keep_resolution(stage: nn.Module) -> None:
    """Set the strides of a ResNet's stage to 1."""
    for module in stage.modules():
        if isinstance(module, nn.Conv2d | nn.AvgPool2d) and module.stride in (2, (2, 2)):
            module.stride = (1, 1)
            if isinstance(module, nn.AvgPool2d):
                module.kernel_size = 1


def enable_checkpointing(network: Any) -> None:
    """Make a network recompute its activations; raises ValueError if it cannot."""
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules()):
        raise ValueError(
            "MODEL.GRAD_CHECKPOINTING: the network's batch norms would count every batch twice; "
            "set it to False"
        )
    try:
        network.set_grad_checkpointing(True)
    except (AssertionError, AttributeError) as error:
        raise ValueError(
            f"MODEL.GRAD_CHECKPOINTING: {type(network).__name__} cannot recompute; set it to False"
        ) from error
