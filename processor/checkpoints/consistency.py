"""A stored configuration beside the tensors of its file, compared before a model is built."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from typing import Any

from torch import Tensor
from yacs.config import CfgNode

from model.encoders.clip import clip_architecture, is_model_config
from model.encoders.positions import patch_grid
from model.encoders.timm_models import TIMM, count_parameters
from model.weights.read import WeightsFile
from processor.checkpoints.meta import ModelSizes

_ENCODER = "image_encoder."
_TEXT = "text_encoder."
_LARGEST_IMAGE = 4096  # pixels of a side
_MOST_PATCHES = 2**16


def check_consistency(
    file: WeightsFile,
    cfg: CfgNode,
    sizes: ModelSizes,
    origin: str,
    *,
    own_name: bool,
    own_size: bool,
) -> None:
    """Check that the sizes that the file describes are those of its tensors.

    Args:
        file: read, of this project; other files describe nothing.
        cfg: the configuration to build the model with.
        sizes: of the model.
        origin: names the file in errors.
        own_name: MODEL.NAME is the file's; a typed one is compared when the tensors are loaded.

        own_size: sizes of images and strides are the file's, too.

    Raises:
        ValueError: a size that the tensors contradict; names both values.
    """
    if not file.meta:
        return
    state = file.state
    claims = [*_claims_of_sizes(state, sizes)]
    if own_name and is_model_config(cfg.MODEL.NAME) and f"{_ENCODER}conv1.weight" in state:
        claims += _claims_of_architecture(state, clip_architecture(cfg.MODEL.NAME))
    if own_name:
        _check_network_size(state, cfg.MODEL.NAME, origin)
    if own_size:
        claims += _claims_of_images(state, cfg)
    for name, described, found in claims:
        if described != found:
            raise ValueError(
                f"{origin}: its description does not fit its tensors: {name} is {described}, the "
                f"tensors have {found}"
            )
    _check_image(cfg, origin)
    embedding = state.get("embedding.weight")
    if (0 if embedding is None else len(embedding)) < cfg.DSGL.EMBED_DIM:
        raise ValueError(
            f"DSGL.POOLING, DSGL.EMBED_DIM: {origin} has no embedding of {cfg.DSGL.EMBED_DIM}; "
            "leave these options out"
        )


def _check_network_size(state: dict[str, Tensor], name: str, origin: str) -> None:
    """Raise ValueError for a network of timm that is far larger than the file."""
    inner = name.removeprefix(TIMM) if name.startswith(TIMM) else ""
    if is_model_config(name):
        inner = str(clip_architecture(name)["vision_cfg"].get("timm_model_name", ""))
    if not inner:
        return
    found = sum(tensor.numel() for key, tensor in state.items() if key.startswith(_ENCODER))
    described = count_parameters(inner)
    if described > 2 * found:  # position embeddings and classifiers differ by less
        raise ValueError(
            f"{origin}: its description does not fit its tensors: {inner} has {described:,} "
            f"parameters, the tensors of its image encoder {found:,}"
        )


def _check_image(cfg: CfgNode, origin: str) -> None:
    """Raise ValueError if the images have more patches than any model is trained on."""
    for key in ("SIZE_TRAIN", "SIZE_TEST"):
        size = list(cfg.INPUT[key])
        patches = math.prod(s // t for s, t in zip(size, cfg.MODEL.STRIDE_SIZE, strict=True))
        if max(size) > _LARGEST_IMAGE or patches > _MOST_PATCHES:
            raise ValueError(
                f"{origin}: INPUT.{key} {size} with MODEL.STRIDE_SIZE {cfg.MODEL.STRIDE_SIZE} is "
                f"beyond {_LARGEST_IMAGE} pixels a side or {_MOST_PATCHES:,} patches"
            )


def _claims_of_sizes(state: dict[str, Tensor], sizes: ModelSizes) -> Iterator[tuple[str, int, int]]:
    """Name, described and found size of tables with a row per identity or camera."""
    for key in ("classifier.weight", "prompt_learner.cls_ctx"):
        if key in state:
            yield "num_classes", sizes.num_classes, len(state[key])
    if "classifier.weight" not in state:
        yield "num_classes", sizes.num_classes, 0
    if "cv_embed" in state:
        cameras, views = sizes.num_cameras, sizes.num_views
        rows = len(state["cv_embed"])
        if rows not in (cameras, views, cameras * views):
            yield "num_cameras", cameras, rows


def _claims_of_images(state: dict[str, Tensor], cfg: CfgNode) -> Iterator[tuple[str, int, int]]:
    """Name, described and found number of patches of a ViT's images."""
    positions = state.get(f"{_ENCODER}positional_embedding")
    conv = state.get(f"{_ENCODER}conv1.weight")
    if positions is None or conv is None or positions.ndim != 2 or conv.ndim != 4:
        return
    for key in ("SIZE_TRAIN", "SIZE_TEST"):
        patch = (conv.shape[2], conv.shape[3])
        grid = patch_grid(cfg.INPUT[key], patch, tuple(cfg.MODEL.STRIDE_SIZE))
        yield f"the number of patches by INPUT.{key}", math.prod(grid), len(positions) - 1


def _claims_of_architecture(
    state: dict[str, Tensor], architecture: dict[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """Name, described and found size of the towers of a CLIP."""
    vision, text = architecture["vision_cfg"], architecture["text_cfg"]
    conv = state[f"{_ENCODER}conv1.weight"]
    layers = vision.get("layers", 12)
    if isinstance(layers, list):
        yield "vision_cfg.width", vision.get("width", 64), 2 * len(conv)
        found = [_count(state, f"{_ENCODER}layer{stage}.") for stage in range(1, 5)]
        yield "vision_cfg.layers", layers, found
    else:
        yield "vision_cfg.width", vision.get("width", 768), len(conv)
        yield "vision_cfg.patch_size", vision.get("patch_size", 16), conv.shape[-1]
        yield "vision_cfg.layers", layers, _count(state, f"{_ENCODER}transformer.resblocks.")
        if f"{_ENCODER}proj" in state:
            yield "embed_dim", architecture["embed_dim"], state[f"{_ENCODER}proj"].shape[-1]
    positions = state.get(f"{_TEXT}positional_embedding")
    if positions is not None and positions.ndim == 2:
        yield "text_cfg.width", text.get("width", 512), positions.shape[1]
        yield "text_cfg.context_length", text.get("context_length", 77), len(positions)
        yield (
            "text_cfg.layers",
            text.get("layers", 12),
            _count(state, f"{_TEXT}transformer.resblocks."),
        )


def _count(names: Collection[str], prefix: str) -> int:
    """The number of different numbers that follow a prefix."""
    found = (re.match(re.escape(prefix) + r"(\d+)\.", name) for name in names)
    return len({match[1] for match in found if match})
