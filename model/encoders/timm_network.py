"""Any image network of timm as an encoder for ReID."""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import BlurPool2d
from timm.models.resnet import ResNet
from torch import Tensor, nn

from model.encoders.image_encoder import ImageEncoder, ImageFeatures
from model.encoders.positions import fit_position_embedding

INNER = "network."  # the part of the encoder that holds timm's network
_PATCHES = "patch_embed.proj.weight"


class TimmNetwork(ImageEncoder):
    """A network of timm without its classifier.

    Features are the network's own input of its classifier and, as `last`, the stage or block before
    the last one: its class token if that is what the network pools, else the mean over positions.

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
        self._class_token = shapes.class_token
        self._beside_maps = shapes.beside_maps
        self._position_prefix = count_prefix_rows(network, shapes)
        if self._position_prefix is not None:
            self.position_embedding = f"{INNER}pos_embed"
        named = network.default_cfg.get("classifier") or ()
        self.published_heads = ("fc.", "head.", "classifier.")
        for name in (named,) if isinstance(named, str) else named:
            self.published_heads += (f"{name}.",)

    def forward(self, images: Tensor, side_information: Tensor | None = None) -> ImageFeatures:
        """Pooled features of the last two stages or blocks, and the projected one, if any."""
        del side_information
        features, before = self._last_two(images)
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
        own = self.network.state_dict()
        kept = {}
        if self.position_embedding and own.keys() <= state.keys():
            kept["pos_embed"] = state["pos_embed"]  # resized later, from any grid
        patches = state.get(_PATCHES)
        if patches is not None and patches.ndim == 4:
            kept[_PATCHES] = patches  # not to be resampled: it has to fit
        convert = getattr(sys.modules[type(self.network).__module__], "checkpoint_filter_fn", None)
        if convert is not None and not self._fits(state, own):
            withheld = {x: t for x, t in state.items() if x not in kept or x == _PATCHES}
            state = dict(convert(withheld, self.network))
        return {INNER + key: tensor for key, tensor in {**state, **kept}.items()}

    def fit_positions(self, table: Tensor) -> Tensor:
        """(1, prefix + patches, D) of another grid, resized to this one."""
        assert self._position_prefix is not None
        return fit_position_embedding(table[0], self.grid, self._position_prefix)[None]

    def _last_two(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features before pooling, and (B, .) of the stage or block before the last."""
        if self._class_token:
            features, stages = self.network.forward_intermediates(
                images, indices=2, norm=False, return_prefix_tokens=True
            )
            return features, stages[0][1][:, 0]
        features, stages = self.network.forward_intermediates(images, indices=2, norm=False)
        return features, stages[0].mean((2, 3))

    @staticmethod
    def _fits(state: dict[str, Tensor], own: dict[str, Tensor]) -> bool:
        """Whether a state dict has all names and shapes of the network already."""
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
        class_token: whether the network pools the first of them.
        beside_maps: names of the parameters that these features do not depend on.
    """

    width: int
    map_width: int
    grid: tuple[int, int]
    layout: str
    num_prefix_tokens: int
    class_token: bool
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
            f"MODEL.NAME, INPUT.SIZE_TRAIN: {type(network).__name__} fails on images of "
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
        class_token=prefix > 0 and pools_class_token(network),
        beside_maps=tuple(
            name for name, found in zip(names, gradients, strict=True) if found is None
        ),
    )


def pools_class_token(network: Any) -> bool:
    """Whether a network's feature is its class token, which its intermediate outputs include."""
    options = inspect.signature(network.forward_intermediates).parameters
    return getattr(network, "global_pool", "") == "token" and "return_prefix_tokens" in options


def count_prefix_rows(network: Any, shapes: NetworkShapes) -> int | None:
    """Rows before the patches in (1, rows, D) position embeddings; None without such a table."""
    table = getattr(network, "pos_embed", None)
    if not isinstance(table, nn.Parameter) or table.ndim != 3 or shapes.layout != "NLC":
        return None
    prefix = table.shape[1] - shapes.grid[0] * shapes.grid[1]
    return prefix if prefix in (0, shapes.num_prefix_tokens) else None


def keep_resolution(stage: nn.Module) -> None:
    """Set the strides of a ResNet's stage to 1."""
    for module in stage.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (1, 1)
        elif isinstance(module, nn.AvgPool2d | BlurPool2d) and module.stride in (2, (2, 2)):
            module.stride = 1
            if isinstance(module, nn.AvgPool2d) and module.kernel_size in (2, (2, 2)):
                module.kernel_size = 1  # one pixel in place of four; a padded pool keeps its size


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
